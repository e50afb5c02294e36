"""Pictures of a folder with the part and the job that their names or the pictures themselves say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from infra.telemetry import get_logger
from ingest.part_id import CodeReader, PartNames
from ingest.sources import CapturedPicture

_log = get_logger("ingest")


@dataclass(frozen=True, slots=True)
class Identified:
    """The pictures of a source, each with the part that it shows; an iterable of `CapturedPicture`.

    Attributes:
        pictures: The source.
        names: Reads part and job out of a picture's name; where the pattern does not fit, the part stays what it was.
        code: Reads the part id in the picture, which wins; what cannot be decoded has none.
    """

    pictures: Iterable[CapturedPicture]
    names: PartNames | None = None
    code: CodeReader | None = None

    def __iter__(self) -> Iterator[CapturedPicture]:
        """Hand out one picture after the other; bodies stay as they are."""
        for picture in self.pictures:
            yield self._identified(picture)

    def _identified(self, picture: CapturedPicture) -> CapturedPicture:
        if self.names is not None and picture.name is not None:
            found = self.names.identity(picture.name)
            if found is None:
                _log.warning("name_without_part", file=picture.name)
            else:
                picture = replace(picture, part_id=found.part_id, job_id=found.job_id or picture.job_id)
        if self.code is not None and (read := self._read(self.code, picture.body)) is not None:
            picture = replace(picture, part_id=read)
        return picture

    @staticmethod
    def _read(code: CodeReader, body: bytes) -> str | None:
        try:
            pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) if body else None
        except cv2.error:
            pixels = None
        return None if pixels is None else code.part_id(pixels)
