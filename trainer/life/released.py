"""The pictures that people decided about, out of the archive: checked and hashed once, then decoded as they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from infra.archive import Archive, reference_of
from infra.errors import BadFrameError, RefitError
from infra.pictures import RgbPicture, decode
from infra.store.curation import RULE_PREFIX, Decision, newest_decisions
from infra.store.tables import FrameDecision
from trainer.images import PictureSet
from trainer.progress import Progress, Stage, silent


@dataclass(frozen=True)
class ArchivedPicture:
    """A picture in the archive.

    Attributes:
        archive: Where it is.
        sha256: Of its bytes, and its name there.
        max_pixels: Largest width x height that is decoded.
        run: The production run, where one is known.
        camera: The camera, where it came from one.
    """

    archive: Archive
    sha256: str
    max_pixels: int
    run: str | None = None
    camera: str | None = None

    def load(self) -> RgbPicture:
        """Decode the picture.

        Raises:
            RefitError: It is gone, altered, or does not decode.
            ArchiveAwayError: The archive does not answer.
        """
        try:
            return decode(self.archive.read(reference_of(self.sha256)), self.max_pixels)
        except FileNotFoundError as error:
            raise RefitError(f"picture {self.sha256} is gone from the archive, or was altered") from error
        except BadFrameError as error:
            raise RefitError(f"picture {self.sha256} does not decode: {error}") from error


@dataclass(frozen=True)
class Curated:
    """What people decided about the pictures of a product.

    Attributes:
        released: What may be learned from, by SHA-256, so that their order says nothing.
        challenge: Known defects that each new model is shown.
        decisions: The decisions behind `released`, in its order.
    """

    released: PictureSet
    challenge: PictureSet
    decisions: tuple[Decision, ...]

    @property
    def by_rule(self) -> int:
        """How many were released by a rule and not by a person."""
        return sum(each.reason.startswith(RULE_PREFIX) for each in self.decisions)

    @property
    def runs(self) -> int:
        """How many production runs they are of; a picture without one is a run of its own."""
        named = {each.run for each in self.decisions if each.run is not None}
        return len(named) + sum(each.run is None for each in self.decisions)


def read_curated(
    database: sa.Engine, archive: Archive, product: str, max_pixels: int, progress: Progress = silent
) -> Curated:
    """Find what was decided about a product's pictures, and check that each of them is there, whole, and decodes.

    Raises:
        RefitError: Pictures are gone, altered or broken; how many, and the first of them. Nothing is left out silently.
        DatabaseAwayError: PostgreSQL does not answer.
        ArchiveAwayError: The archive does not answer.
    """
    decided = sorted(newest_decisions(database, product), key=lambda each: each.sha256)
    released = tuple(each for each in decided if each.decision is FrameDecision.RELEASED)
    challenge = [each for each in decided if each.challenge]
    wanted = [
        ArchivedPicture(archive, each.sha256, max_pixels, each.run, each.camera) for each in [*released, *challenge]
    ]
    _require_whole(wanted, product, progress)
    sets = PictureSet(tuple(wanted[: len(released)])), PictureSet(tuple(wanted[len(released) :]))
    return Curated(*sets, released)


def _require_whole(pictures: Sequence[ArchivedPicture], product: str, progress: Progress) -> None:
    broken: list[str] = []
    for done, picture in enumerate(pictures):
        progress(Stage.SCAN, done, len(pictures))
        try:
            picture.load()
        except RefitError as error:
            broken.append(str(error))
    progress(Stage.SCAN, len(pictures), len(pictures))
    if broken:
        raise RefitError(
            f"{len(broken)} of {len(pictures)} decided pictures of {product} cannot be used, first: {broken[0]}; bring them "
            f"back, or take the decision back (`differline curate set open SHA256 --product {product} --why …`)"
        )
