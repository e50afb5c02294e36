"""A simulated camera: machined parts pass on a belt, some of them with a defect, and the truth is known.

Frame `i` depends on the seed, the product and `i` alone: a restart repeats the same pictures, and two cameras of one product
with different seeds differ.
"""

import itertools
from collections.abc import Iterator

from infra.clock import Clock, utc_now
from infra.pictures import RgbPicture, encode_jpeg
from ingest.sources import CapturedPicture
from ingest.sources.simulator.belt import expose
from ingest.sources.simulator.defects import DEFECTS, draw_defect
from ingest.sources.simulator.parts import place
from ingest.sources.simulator.seeds import stream

GOOD = "good"
JPEG_QUALITY = 95


class SimulatedCamera:
    """An endless line of pictures of one product."""

    def __init__(
        self,
        product: str,
        *,
        seed: int = 0,
        defect_rate: float = 0.1,
        frames: int | None = None,
        job_id: str | None = None,
        lamp: float = 1.0,
        clock: Clock = utc_now,
    ) -> None:
        """Put a camera over the belt.

        Args:
            product: The product's name; it decides what the part looks like.
            seed: Chooses the sequence of pictures.
            defect_rate: Chance that a part has a defect, in [0, 1].
            frames: How many pictures; None: without end.
            job_id: Job or order of all pictures.
            lamp: How bright the light above is; 1: as usual.
            clock: Source of `captured_at`.
        """
        self._product = product
        self._seed = seed
        self._defect_rate = defect_rate
        self._frames = frames
        self._job_id = job_id
        self._lamp = lamp
        self._clock = clock

    def __iter__(self) -> Iterator[CapturedPicture]:
        """Take picture after picture, from number 0."""
        for index in itertools.count() if self._frames is None else range(self._frames):
            truth = self.truth(index)
            yield CapturedPicture(
                body=encode_jpeg(self.picture(index, truth), JPEG_QUALITY),
                content_type="image/jpeg",
                captured_at=self._clock(),
                part_id=f"{self._seed}-{index:06d}",
                job_id=self._job_id,
                simulated=truth,
            )

    def truth(self, index: int) -> str:
        """Return what a frame shows: `good` or the kind of defect."""
        rng = stream(self._seed, index, "truth", self._product)
        defective = rng.random() < self._defect_rate
        return str(rng.choice(list(DEFECTS))) if defective else GOOD

    def picture(self, index: int, truth: str) -> RgbPicture:
        """Draw a frame with a given truth; apart from the defect it is the same picture for each."""
        scene = place(self._product, stream(self._seed, index, "part", self._product))
        if truth != GOOD:
            draw_defect(truth, self._product, scene, stream(self._seed, index, "defect", self._product))
        return expose(scene, index, stream(self._seed, index, "camera", self._product), self._lamp)
