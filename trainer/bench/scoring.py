"""Our side: encoded bytes to scores, the next pictures decoded while these are scored."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from infra.pictures import RgbPicture, decode
from scorer.detector import Detector, Scores, ViewPlan
from trainer.images import MAX_PIXELS

PICTURES_PER_BATCH = 8


class Scoring(Protocol):
    """What the benchmark needs of a detector."""

    def score(
        self, pictures: Sequence[NDArray[np.uint8]], plan: ViewPlan | None = None, *, early_exit: bool = True
    ) -> Scores:
        """Score pictures, (H, W, 3) uint8 RGB each, by views of the plan, or by as many of them as a verdict needs."""


def leaves_early(detector: Detector) -> bool:
    """Whether a detector was calibrated on enough pictures to leave views out."""
    return detector.manifest.early_exit is not None


def score_bodies(
    detector: Scoring, bodies: Sequence[bytes], plan: ViewPlan | None = None, *, early_exit: bool
) -> Scores:
    """Score encoded pictures, some at a time.

    Args:
        detector: Scores them.
        bodies: N pictures, JPEG or PNG.
        plan: Other views than the manifest's.
        early_exit: Whether to leave out views that change no verdict.
    """
    found = [detector.score(chunk, plan, early_exit=early_exit) for chunk in _decoded_ahead(bodies)]
    return Scores(
        np.concatenate([each.score for each in found]),
        np.concatenate([each.p_value for each in found]),
        np.concatenate([each.defect for each in found]),
        np.concatenate([each.views for each in found]),
        sum(each.views_s for each in found),
        sum(each.features_s for each in found),
        sum(each.flow_s for each in found),
    )


def _decoded_ahead(bodies: Sequence[bytes]) -> Iterator[list[RgbPicture]]:
    """Decode in batches, one ahead of the one in use."""
    chunks = [bodies[start : start + PICTURES_PER_BATCH] for start in range(0, len(bodies), PICTURES_PER_BATCH)]
    with ThreadPoolExecutor(max_workers=1) as decoder:
        waiting = [decoder.submit(_decoded, chunk) for chunk in chunks[:1]]
        for chunk in [*chunks[1:], None]:
            ready = waiting.pop().result()
            if chunk is not None:
                waiting.append(decoder.submit(_decoded, chunk))
            yield ready


def _decoded(bodies: Sequence[bytes]) -> list[RgbPicture]:
    return [decode(body, MAX_PIXELS) for body in bodies]
