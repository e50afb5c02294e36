"""A folder of pictures as a camera: every file once, in the order of their paths, byte for byte as it lies there."""

import os
from collections.abc import Iterator
from pathlib import Path

from infra.clock import Clock, utc_now
from infra.frames import MAX_TEXT
from infra.telemetry import get_logger
from ingest.sources import CapturedPicture

CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
_NAMES_KEPT = 20

_log = get_logger("ingest")


class FolderSource:
    """The pictures below a folder.

    A picture counts as captured at the moment it is read: a file's own time says when it was copied, and a replayed folder
    would otherwise look years late.

    Attributes:
        unreadable: How many files could not be read.
        unreadable_names: The first of them, by their path within the folder.
    """

    def __init__(self, folder: Path, *, max_bytes: int, job_id: str | None = None, clock: Clock = utc_now) -> None:
        """Look at nothing yet.

        Args:
            folder: The folder; folders below it count, links to folders are not followed.
            max_bytes: A file is read up to one byte more than this, enough for the gateway to see that it is too large.
            job_id: Job or order of all pictures.
            clock: Source of `captured_at`.
        """
        self.folder = folder
        self.unreadable = 0
        self.unreadable_names: list[str] = []
        self._max_bytes = max_bytes
        self._job_id = job_id
        self._clock = clock

    def files(self) -> list[Path]:
        """Return the picture files now below the folder, sorted by path."""
        found = [
            Path(parent) / name for parent, _, names in os.walk(self.folder) for name in names if is_picture_name(name)
        ]
        return sorted(path for path in found if path.is_file())  # a pipe or a device would never end

    def __iter__(self) -> Iterator[CapturedPicture]:
        """Read one file after the other."""
        for path in self.files():
            picture = self.read(path)
            if picture is not None:
                yield picture

    def read(self, path: Path) -> CapturedPicture | None:
        """Read one file; None if that fails, which is logged and counted in `unreadable`."""
        name = path_text(path.relative_to(self.folder))
        try:
            with path.open("rb") as file:
                body = file.read(self._max_bytes + 1)
        except OSError as error:
            self.unreadable += 1
            if len(self.unreadable_names) < _NAMES_KEPT:
                self.unreadable_names.append(name)
            _log.error("file_unreadable", file=name, reason=error.strerror or str(error))
            return None
        return CapturedPicture(
            body=body,
            content_type=CONTENT_TYPES[path.suffix.lower()],
            captured_at=self._clock(),
            part_id=part_id(path.relative_to(self.folder)),
            job_id=self._job_id,
            name=name,
        )


def is_picture_name(name: str) -> bool:
    """Say whether a file of this name is taken for a picture; what is in it is not looked at."""
    return os.path.splitext(name)[1].lower() in CONTENT_TYPES  # noqa: PTH122 - called once a file of a large folder


def part_id(relative: Path) -> str:
    """Return the part id of a file: its path without suffix, with `/`; of a longer one its last 256 characters."""
    return path_text(relative.with_suffix(""))[-MAX_TEXT:]


def path_text(path: Path) -> str:
    """Return a path as text that UTF-8 can carry, whatever bytes its name is made of."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")
