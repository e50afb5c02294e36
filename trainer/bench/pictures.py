"""The pictures of a benchmark, as encoded bytes: those of a folder in MVTec AD layout, or drawn ones."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2

from infra.errors import TrainingSetError
from infra.pictures import RgbPicture, decode, encode_jpeg
from trainer.evaluate import GOOD
from trainer.images import MAX_PIXELS, PictureSet, StoredPicture, read_folder, require_enough
from trainer.pretrain.defects import HELD_OUT_KINDS
from trainer.pretrain.validation import Protocol, draw_product

DRAWN_FAMILY = "tablets"
DRAWN_PX = 640  # a camera's picture is larger than a view: both sides have to shrink it
_QUALITY = 92


@dataclass(frozen=True, eq=False)
class EncodedPicture:
    """A picture as a camera sends it.

    Attributes:
        body: JPEG or PNG.
    """

    body: bytes
    run: None = None
    camera: None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the body."""
        return hashlib.sha256(self.body).hexdigest()

    def load(self) -> RgbPicture:
        """Decode the body."""
        return decode(self.body, MAX_PIXELS)


@dataclass(frozen=True)
class BenchPictures:
    """One product's pictures.

    Attributes:
        name: Where they come from, for the report.
        training: Defect-free ones to learn from.
        good: Defect-free test pictures.
        defective: Defective ones.
    """

    name: str
    training: tuple[EncodedPicture, ...]
    good: tuple[EncodedPicture, ...]
    defective: tuple[EncodedPicture, ...]

    def training_set(self, most: int | None = None) -> PictureSet:
        """The first `most` pictures to learn from; all, if not given."""
        return PictureSet(self.training[:most])

    def stream(self, frames: int, defective_share: float = 0.5) -> list[bytes]:
        """Bodies of test pictures, defective ones spread evenly among them; over again where there are not so many."""
        bodies: list[bytes] = []
        taken = 0
        for place in range(frames):
            if int((place + 1) * defective_share) > taken and self.defective:
                bodies.append(self.defective[taken % len(self.defective)].body)
                taken += 1
            else:
                bodies.append(self.good[(place - taken) % len(self.good)].body)
        return bodies


def drawn(train: int, good: int, defective: int) -> BenchPictures:
    """Draw a product of a family that the extractor's weights never saw, as JPEG."""
    protocol = Protocol(programs=1, train=train, good=good, defective=defective)
    parts = draw_product(DRAWN_FAMILY, 0, protocol, HELD_OUT_KINDS)
    encoded = [tuple(EncodedPicture(_jpeg(picture)) for picture in part) for part in parts]
    return BenchPictures(f"drawn {DRAWN_FAMILY}, JPEG of {DRAWN_PX} x {DRAWN_PX} px", *encoded)


def read(folder: Path, train: int, good: int, defective: int, max_pixels: int = MAX_PIXELS) -> BenchPictures:
    """Read so many pictures of a folder with `train/good`, `test/good` and `test/<defect>`, evenly spread over each.

    Raises:
        TrainingSetError: The layout is another one, or there are too few pictures to learn from.
    """
    training = read_folder(folder / "train" / GOOD, max_pixels)
    require_enough(training, str(folder / "train" / GOOD))
    test = read_folder(folder / "test", max_pixels, drop_equal=False)
    sound: list[EncodedPicture] = []
    others: list[EncodedPicture] = []
    for picture in test.pictures:
        if isinstance(picture, StoredPicture):
            is_good = picture.path.relative_to(folder / "test").parts[0] == GOOD
            (sound if is_good else others).append(EncodedPicture(picture.path.read_bytes()))
    if not sound or not others:
        raise TrainingSetError(f"{folder / 'test'} needs pictures both in {GOOD}/ and in a folder of defective ones")
    learned = [EncodedPicture(each.path.read_bytes()) for each in training.pictures if isinstance(each, StoredPicture)]
    return BenchPictures(folder.name, _spread(learned, train), _spread(sound, good), _spread(others, defective))


def _spread(pictures: list[EncodedPicture], most: int) -> tuple[EncodedPicture, ...]:
    step = max(1.0, len(pictures) / most)
    return tuple(pictures[int(place * step)] for place in range(min(most, len(pictures))))


def _jpeg(picture: RgbPicture) -> bytes:
    larger = cv2.resize(picture, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_LINEAR)
    return encode_jpeg(larger.astype("uint8"), _QUALITY)
