"""What the commands of a model's life have in common: options, and settings, database and workshop, opened and closed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import sqlalchemy as sa

    from infra.settings import Settings
    from trainer.life.refit import Workshop

Product = Annotated[str, typer.Option(help="Of which product.")]
Version = Annotated[int, typer.Option(help="Which version of the product.")]
Reason = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it stays on record.")]


@contextmanager
def open_life() -> "Iterator[tuple[Settings, sa.Engine]]":
    """Settings and an open database."""
    from infra.opened import opened_database
    from infra.settings import load_settings
    from infra.telemetry import configure_logging

    settings = load_settings()
    configure_logging(settings.log_level)
    with opened_database(settings, pool_size=2) as database:
        yield settings, database


@contextmanager
def open_workshop(extractor: str | None = None) -> "Iterator[Workshop]":
    """What refits, promotes and scores again."""
    from datetime import timedelta

    from infra.archive import open_archive
    from infra.clock import utc_now
    from infra.refit_due import DueRule
    from trainer.bars import progress_shown
    from trainer.equipment import extractors_and_device
    from trainer.life.refit import Workshop

    with open_life() as (settings, database), progress_shown() as progress:
        extractors, device = extractors_and_device(settings, extractor)
        archive = open_archive(settings.archive_location)
        archive.prepare()
        yield Workshop(
            database=database,
            archive=archive,
            models_folder=settings.models_folder,
            extractors=extractors,
            device=device,
            who=settings.user,
            max_pixels=settings.max_pixels,
            quarantine=settings.quarantine_p_value,
            rule=DueRule(timedelta(days=settings.refit_after_days), settings.refit_after_frames),
            clock=utc_now,
            progress=progress,
        )


@contextmanager
def refusals() -> Iterator[None]:
    """A model that is refused is said in one line."""
    from infra.errors import PromotionError
    from scorer.detector import DetectorError

    try:
        yield
    except DetectorError as error:
        raise PromotionError(f"the model is refused: {error}") from error
