"""From what a camera gave to what is sent: the part is known, the picture cut, resized and encoded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingest.part_id import CodeReader
from ingest.shaping import Shaping
from ingest.sources import CapturedPicture
from ingest.sources.shots import Shot


@dataclass(frozen=True, slots=True)
class Developing:
    """The pictures of a source of shots; an iterable of `CapturedPicture`.

    Attributes:
        shots: What the camera gives.
        shaping: What is sent of it.
        job_id: Job of all pictures, unless a trigger names another.
        code: Reads the part id in the picture, all of it and before it is cut; a trigger's part id wins.
    """

    shots: Iterable[Shot]
    shaping: Shaping
    job_id: str | None = None
    code: CodeReader | None = None

    def __iter__(self) -> Iterator[CapturedPicture]:
        """Hand out one picture after the other.

        Raises:
            SourceError: A picture cannot be sent as it was asked for.
        """
        for shot in self.shots:
            yield self._developed(shot)

    def _developed(self, shot: Shot) -> CapturedPicture:
        part_id = shot.trigger.part_id if shot.trigger else None
        if part_id is None and self.code is not None:
            part_id = self.code.part_id(shot.pixels)
        return CapturedPicture(
            body=self.shaping.encoded(shot.pixels),
            content_type=self.shaping.content_type,
            captured_at=shot.captured_at,
            part_id=part_id,
            job_id=(shot.trigger.job_id if shot.trigger else None) or self.job_id,
            name=shot.name,
        )
