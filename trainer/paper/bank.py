"""Features of many views of each picture: extracted once, and read by every split, seed, subset and row of a report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.errors import TrainingSetError
from infra.pictures import RgbPicture
from scorer.detector import Extractor, Views, extract, prepare
from trainer.images import PictureSet
from trainer.paper.store import ArrayStore
from trainer.progress import Progress, Stage, silent

PICTURES_PER_CHUNK = 8
FACTORS = (0.85, 1.15)  # section 4.2 of the paper
NORMAL_GREY = 128.0
NORMAL_DEVIATION = 40.0


class Photometry(StrEnum):
    """What is done about light: nothing, the paper's random factors on each view, or the same grey for every picture."""

    AS_IT_IS = "as it is"
    FACTORS = "brightness and contrast factors"
    NORMALISED = "normalised per picture"


@dataclass(frozen=True)
class FeatureBank:
    """Features of views, per picture.

    Each picture has angles of its own, drawn by seed and its hash; the first view is the picture as it is. A longer list
    of views begins with the shorter one, so that 64 views are 8 known ones and 56 more.

    Attributes:
        pictures: N pictures.
        extractor: The frozen extractor.
        store: Where features are kept, by the extractor's and the picture's SHA-256.
        device: Where to compute.
        photometry: What is done about light.
        seed: Seed of angles and factors.
        progress: Told how far it is.
    """

    pictures: PictureSet
    extractor: Extractor
    store: ArrayStore
    device: torch.device
    photometry: Photometry = Photometry.AS_IT_IS
    seed: int = 0
    progress: Progress = silent
    _known: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def features(self, indices: Sequence[int] | NDArray[np.int64], views: int) -> Tensor:
        """Return the features of the first `views` views of the pictures at `indices`: (len, views, 768) float32.

        What is missing is extracted and kept, a few pictures at a time.

        Raises:
            TrainingSetError: A feature is not finite, a picture changed meanwhile, or the store cannot be written to.
        """
        short = [int(index) for index in indices if self._at_hand(int(index)) < views]
        for start in range(0, len(short), PICTURES_PER_CHUNK):
            self.progress(Stage.BANK, start, len(short), f"{views} views")
            self._extend(short[start : start + PICTURES_PER_CHUNK], views)
        if short:
            self.progress(Stage.BANK, len(short), len(short), f"{views} views")
        return torch.from_numpy(np.stack([self._known[int(index)][:views] for index in indices]))

    def _at_hand(self, index: int) -> int:
        if index not in self._known:
            stored = self.store.read(self._key(index))
            if stored is None:
                return 0
            self._known[index] = stored.astype(np.float32, copy=False)
        return len(self._known[index])

    def _extend(self, indices: Sequence[int], views: int) -> None:
        pictures = [self.pictures.pictures[index].load() for index in indices]
        if self.photometry is Photometry.NORMALISED:
            pictures = [normalised(picture) for picture in pictures]
        missing = [self._draw(index, views)[self._at_hand(index) :] for index in indices]
        drawn = np.concatenate(missing).astype(np.float32)
        of_picture = np.repeat(np.arange(len(indices)), [len(part) for part in missing])
        self.extractor.to(self.device)
        made = extract(self.extractor, prepare(pictures, device=self.device), Views(of_picture, *drawn.T))
        features = made.features.cpu().numpy()
        for place, index in enumerate(indices):
            fresh = features[of_picture == place]
            if not np.isfinite(fresh).all():
                raise TrainingSetError(f"picture {self.pictures.pictures[index].sha256[:12]}: features are not finite")
            self._known[index] = np.concatenate([self._known[index], fresh]) if index in self._known else fresh
            self.store.write(self._key(index), self._known[index])

    def _draw(self, index: int, views: int) -> NDArray[np.float64]:
        """Angle, brightness and contrast of a picture's views, (views, 3), row by row: longer lists begin as shorter ones."""
        rng = np.random.default_rng([self.seed, int(self.pictures.pictures[index].sha256[:15], 16)])
        low, high = FACTORS if self.photometry is Photometry.FACTORS else (1.0, 1.0)
        drawn = rng.uniform((0.0, low, low), (2.0 * np.pi, high, high), (views, 3))
        drawn[0, 0] = 0.0
        return drawn

    def _key(self, index: int) -> dict[str, object]:
        return {
            "what": "features",
            "extractor": self.extractor.sha256,
            "arithmetic": str(self.extractor.arithmetic),
            "picture": self.pictures.pictures[index].sha256,
            "photometry": self.photometry.value,
            "seed": self.seed,
        }


def normalised(picture: RgbPicture) -> RgbPicture:
    """Bring a picture's grey values, (H, W, 3) uint8, to mean 128 and deviation 40; a flat picture becomes flat grey."""
    values = picture.astype(np.float32)
    deviation = max(float(values.std()), 1.0)
    scaled = (values - values.mean()) / deviation * NORMAL_DEVIATION + NORMAL_GREY
    return np.asarray(np.clip(scaled, 0, 255).round(), dtype=np.uint8)
