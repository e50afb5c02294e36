"""Pictures in the archive, decided about, and frames of them on record, for the tests of a model's life."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import torch

from infra.archive import Archive, open_archive
from infra.frames import sha256_hex
from infra.pictures import encode_png
from infra.refit_due import DueRule
from infra.settings import Settings
from infra.store.curation import NewDecision, decide
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.tables import FrameDecision
from scorer.detector import load_extractor
from trainer.life.refit import Workshop

from ..small_model import PRODUCT, part_picture
from .rows import FIRST, NOON, batch, judged

RELEASED, REJECTED, OPEN = FrameDecision.RELEASED, FrameDecision.REJECTED, FrameDecision.OPEN


def new_workshop(database: sa.Engine, settings: Settings) -> Workshop:
    return Workshop(
        database=database,
        archive=open_archive(settings.archive_location),
        models_folder=Path(settings.models_folder),
        extractors=[load_extractor("random", 0)],
        device=torch.device("cpu"),
        who="m.weber",
        max_pixels=10**6,
        quarantine=0.05,
        rule=DueRule(timedelta(days=30), 200),
        clock=lambda: NOON,
    )


def keep(archive: Archive, seed: int, *, scratched: bool = False) -> str:
    """Put a picture of the small model's part into the archive; returns its hash."""
    picture = part_picture(seed)
    if scratched:
        picture[20:40, 30:50] = 255 - picture[20:40, 30:50]
    body = encode_png(picture)
    archive.write(body)
    return sha256_hex(body)


def release(database: sa.Engine, pictures: Sequence[str], **changes: Any) -> None:
    """Decide about pictures: released, unless the changes say otherwise."""
    first = NewDecision(PRODUCT, "", RELEASED, "m.weber", "looked at")
    decide(database, [replace(first, sha256=picture, **changes) for picture in pictures])


def on_record(
    database: sa.Engine, model_id: int, pictures: Sequence[str | None], state: str = "GOOD", **further: Any
) -> list[str]:
    """Put frames on record, one a picture, a minute apart from noon on; None is one whose picture was not kept."""
    mine = claim(database, FIRST, "scorer")
    first = mine.next_offset or 0
    rows = []
    for number, picture in enumerate(pictures, start=first):
        changes = {
            "product": PRODUCT,
            "received_at": NOON + timedelta(minutes=number),
            "part_id": f"part {number}",
            "sha256": picture or "0" * 64,
            "archive_ref": f"{picture[:2]}/{picture}" if picture else None,
        }
        rows.append(replace(judged(f"frame {number}", number, model_id, state, **changes), **further))
    write_batch(database, [mine], batch(*rows), 7)
    return [row.frame_id for row in rows]
