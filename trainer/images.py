"""The pictures to learn from: found, checked and hashed once, then decoded as they are needed."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.errors import BadFrameError, TrainingSetError
from infra.pictures import RgbPicture, decode, picture_files
from trainer.progress import Progress, Stage, silent

LEAST_PICTURES = 16
MAX_PIXELS = 50_000_000


class Picture(Protocol):
    """One picture that can be decoded again and again.

    Attributes:
        sha256: Of the file; of shape and pixels where there is no file.
        run: The production run, whose pictures stay together when some are held out; None: a run of its own.
        camera: Where it came from; None where that is not known, as of files.
    """

    @property
    def sha256(self) -> str:
        """Hash, in hex."""

    @property
    def run(self) -> str | None:
        """Production run."""

    @property
    def camera(self) -> str | None:
        """Name of the camera."""

    def load(self) -> RgbPicture:
        """Decode: (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class StoredPicture:
    """A picture in a file.

    Attributes:
        path: The file.
        sha256: Of its bytes when it was found.
        max_pixels: Largest width x height that is decoded.
        run: The production run, where one is known.
    """

    path: Path
    sha256: str
    max_pixels: int
    run: str | None = None
    camera: None = None

    def load(self) -> RgbPicture:
        """Decode the file.

        Raises:
            TrainingSetError: It changed since it was found, so that its hash would be a lie.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise TrainingSetError(f"{self.path}: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise TrainingSetError(f"{self.path} changed while it was being learned from")
        return decode(data, self.max_pixels)


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class DrawnPicture:
    """A picture in memory.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        run: The production run, where one is known.
        camera: The camera, where it is known.
    """

    pixels: RgbPicture
    run: str | None = None
    camera: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of shape and pixels."""
        return hashlib.sha256(f"{self.pixels.shape}".encode() + self.pixels.tobytes()).hexdigest()

    def load(self) -> RgbPicture:
        """Hand the pixels out."""
        return self.pixels


@dataclass(frozen=True)
class SkippedPicture:
    """A file that cannot be learned from.

    Attributes:
        path: The file.
        reason: Why, in one line.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class PictureSet:
    """Pictures, and what was skipped on the way to them.

    Attributes:
        pictures: Those that decode.
        skipped: Those that do not, and files that are equal to an earlier one.
    """

    pictures: tuple[Picture, ...]
    skipped: tuple[SkippedPicture, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def runs(self) -> list[str | None]:
        """The production run of each picture."""
        return [picture.run for picture in self.pictures]

    @property
    def cameras(self) -> list[str | None]:
        """The camera of each picture."""
        return [picture.camera for picture in self.pictures]

    def subset(self, indices: Sequence[int]) -> "PictureSet":
        """The pictures at `indices`, in that order."""
        return PictureSet(tuple(self.pictures[index] for index in indices))

    def chunks(self, size: int) -> Iterator[list[RgbPicture]]:
        """Decode `size` pictures at a time, so that a large set does not have to fit into memory."""
        for start in range(0, len(self), size):
            yield [picture.load() for picture in self.pictures[start : start + size]]


def drawn_pictures(pixels: Sequence[RgbPicture]) -> PictureSet:
    """Make a set of pictures in memory, (H, W, 3) uint8 RGB each."""
    return PictureSet(tuple(DrawnPicture(picture) for picture in pixels))


def read_folder(
    folder: Path, max_pixels: int = MAX_PIXELS, progress: Progress = silent, drop_equal: bool = True
) -> PictureSet:
    """Find the JPEG and PNG files below a folder, in the order of their paths, and check that each decodes.

    Args:
        folder: Where to look, at any depth.
        max_pixels: Largest width x height that is decoded.
        progress: Told how far it is.
        drop_equal: Skip a file whose bytes were seen: learned from and calibrated on, it would flatter the threshold.

    Raises:
        TrainingSetError: The folder is not there, or holds no JPEG or PNG file at all.
    """
    if not folder.is_dir():
        raise TrainingSetError(f"{folder} is not a folder")
    paths = picture_files(folder)
    if not paths:
        raise TrainingSetError(f"{folder} holds no JPEG or PNG pictures")
    pictures: dict[str, StoredPicture] = {}
    skipped: list[SkippedPicture] = []
    for done, path in enumerate(paths):
        progress(Stage.SCAN, done, len(paths))
        picture = _check(path, max_pixels)
        if isinstance(picture, SkippedPicture):
            skipped.append(picture)
        elif drop_equal and picture.sha256 in pictures:
            skipped.append(SkippedPicture(path, f"the same bytes as {pictures[picture.sha256].path}"))
        else:
            pictures[picture.sha256 if drop_equal else str(path)] = picture
    progress(Stage.SCAN, len(paths), len(paths))
    return PictureSet(tuple(pictures.values()), tuple(skipped))


def require_enough(pictures: PictureSet, where: str) -> None:
    """Refuse a set that is too small to learn from.

    Raises:
        TrainingSetError: Fewer than 16 usable pictures; the first skipped file is named.
    """
    if len(pictures) >= LEAST_PICTURES:
        return
    skipped = pictures.skipped
    others = f"; {len(skipped)} skipped, first {skipped[0].path}: {skipped[0].reason}" if skipped else ""
    raise TrainingSetError(
        f"{where} holds {len(pictures)} usable pictures, at least {LEAST_PICTURES} are needed to learn from{others}"
    )


def _check(path: Path, max_pixels: int) -> StoredPicture | SkippedPicture:
    try:
        data = path.read_bytes()
        decode(data, max_pixels)
    except BadFrameError as error:
        return SkippedPicture(path, str(error))
    except OSError as error:
        return SkippedPicture(path, error.strerror or str(error))
    return StoredPicture(path, hashlib.sha256(data).hexdigest(), max_pixels)
