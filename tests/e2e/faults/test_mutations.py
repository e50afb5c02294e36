"""Damaged pictures: no crash, no hang, and each of them accounted for."""

import random
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest

from infra.bus import Partition, Record
from infra.frames import FrameMessage, to_headers
from infra.pictures import encode_jpeg
from scorer.decode import DecodedFrame, decode_record

from ...small_model import PRODUCT, part_picture
from ..commands import SOAK
from .conftest import Sizes, Table
from .mutations import MUTATIONS
from .plant import Plant
from .scenarios import PROGRESS_S, REST_S, patience

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(7200 if SOAK else 300)]

HANG_S = 5.0
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


def originals() -> list[bytes]:
    """Pictures as cameras send them: JPEG, progressive and grey JPEG, PNG, 16-bit and interlaced-free grey PNG."""
    picture = part_picture(100)[..., ::-1]
    encoded = [
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1],
        cv2.imencode(".jpg", picture[..., 0])[1],
        cv2.imencode(".png", picture)[1],
        cv2.imencode(".png", picture[..., 0].astype("uint16") * 257)[1],
        cv2.imencode(".png", picture[..., 0])[1],
    ]
    return [encode_jpeg(part_picture(101)), *(each.tobytes() for each in encoded)]


def damaged(count: int) -> list[bytes]:
    """So many damaged pictures, the kinds in turns, always the same ones."""
    whole = originals()
    return [
        MUTATIONS[number % len(MUTATIONS)](whole[number // len(MUTATIONS) % len(whole)], random.Random(number))
        for number in range(count)
    ]


def test_every_kind_changes_every_original() -> None:
    for body in originals():
        for mutation in MUTATIONS:
            assert any(mutation(body, random.Random(seed)) != body for seed in range(20)), mutation.__name__


def test_no_damaged_picture_holds_a_decoder_up(sizes: Sizes, table: Table) -> None:
    slowest, decoded = 0.0, 0
    for number, body in enumerate(damaged(sizes.mutated)):
        headers = to_headers(FrameMessage(f"frame-{number}", "camera", PRODUCT, NOON, body))
        record = Record(Partition("frames", 0), number, b"camera", headers, body, NOON)
        started = time.perf_counter()
        outcome = decode_record(record, max_pixels=50_000_000)
        slowest = max(slowest, time.perf_counter() - started)
        decoded += isinstance(outcome, DecodedFrame)
    assert 0 < decoded < sizes.mutated
    assert slowest < HANG_S
    table.row(
        "decoding of damaged pictures",
        f"{sizes.mutated:,} pictures, {len(MUTATIONS)} kinds",
        f"0 raised; {decoded:,} still decode; slowest {slowest * 1000:.0f} ms",
    )


def test_damaged_pictures_are_all_accounted_for(plant: Plant, sizes: Sizes, table: Table, tmp_path: Path) -> None:
    # Nobody is taken for dead, and both have joined before the frames come: what is unfinished was left by a crash then.
    with plant.line(batch_frames=16, kafka_session_timeout_s=30.0) as line:
        planned = []
        for number, body in enumerate(damaged(sizes.mutated)):
            path = tmp_path / str(number)
            path.write_bytes(body)
            planned.append(line.planned(f"camera {number % 8}", PRODUCT, path, "any"))
        pair = []
        for _ in range(2):
            pair.append(line.start())
            line.wait_for_scorer(PROGRESS_S)
        line.send(line.write_plan(planned)).wait(patience(sizes.mutated))
        line.settle(sizes.mutated, REST_S)
        assert line.stop_scorers() == [0, 0]
        found = line.judge(any_score=True)
        assert found.violations == []
        crashed = sum(scorer.events("batch.unfinished") for scorer in pair)
        assert crashed == 0
        fates = found.fates
        table.row(
            "damaged pictures through the line",
            f"{sizes.mutated:,} pictures, {len(MUTATIONS)} kinds",
            f"{crashed} crashes, {found.frames:,} accounted: {fates['scored']:,} scored + {fates['no_verdict']:,} NO_VERDICT + "
            f"{fates['dead']:,} dead letters",
        )
