"""P4: all views against early exit: how many fewer views, and whether the verdicts are the same."""

from collections.abc import Sequence

import numpy as np

from trainer.bench.row import NotMeasuredError, Row
from trainer.bench.scoring import Scoring, leaves_early, score_bodies
from trainer.bench.setting import Setting


class FewerViews(Row):
    """Views and verdicts; the ratio says how many times fewer views.

    Attributes:
        frames: Pictures that were scored both ways.
        views: All views of a picture.
        mean_views: Views with early exit, on average.
        mean_views_good: The same over pictures that are GOOD by all views.
        mean_views_defect: The same over those that are DEFECT; None without any.
        agreement: Share of pictures with the same verdict.
        differ: How many have another one.
        distance_percent: How far the farthest of those lies from the threshold, by all views; 0 without any.
    """

    frames: int
    views: int
    mean_views: float
    mean_views_good: float | None
    mean_views_defect: float | None
    agreement: float
    differ: int
    distance_percent: float

    def figures(self) -> str:
        """Views and agreement."""
        return (
            f"{self.ratio:.1f} times fewer views ({self.mean_views:.1f} of {self.views}); the same verdict in "
            f"{100 * self.agreement:.2f} % of {self.frames}"
        )

    def details(self) -> list[str]:
        """Views by verdict, and what differs."""
        kinds = {"GOOD": self.mean_views_good, "DEFECT": self.mean_views_defect}
        by_kind = ", ".join(f"{views:.1f} where {kind}" for kind, views in kinds.items() if views is not None)
        return [
            f"Mean views {by_kind}; {self.differ} verdicts differ, at most {self.distance_percent:.2f} % from the threshold."
        ]


def measure_early_exit(setting: Setting) -> FewerViews:
    """Score pictures by all views and with early exit, by a detector as a plant has it.

    Raises:
        NotMeasuredError: It was calibrated on too few pictures to leave views out.
    """
    if not leaves_early(setting.plant):
        raise NotMeasuredError("too few pictures to calibrate early exit on")
    bodies = setting.pictures.stream(setting.size.exit_frames)
    return compare(setting.plant, setting.plant.manifest.threshold, bodies, setting.device_name)


def compare(detector: Scoring, threshold: float, bodies: Sequence[bytes], device: str = "cpu") -> FewerViews:
    """Score pictures both ways.

    Args:
        detector: Scores them.
        threshold: A score above it is a defect.
        bodies: JPEG or PNG each.
        device: What to say of the device.
    """
    whole = score_bodies(detector, bodies, early_exit=False)
    early = score_bodies(detector, bodies, early_exit=True)
    differ = whole.defect != early.defect
    away = 100 * np.abs(whole.score[differ] - threshold) / abs(threshold)
    by_kind = [early.views[whole.defect == kind] for kind in (False, True)]
    good, defect = (float(views.mean()) if len(views) else None for views in by_kind)
    return FewerViews(
        device=device,
        ratio=float(whole.views.mean() / early.views.mean()),
        frames=len(bodies),
        views=int(whole.views.max()),
        mean_views=float(early.views.mean()),
        mean_views_good=good,
        mean_views_defect=defect,
        agreement=float(1 - differ.mean()),
        differ=int(differ.sum()),
        distance_percent=float(away.max(initial=0.0)),
    )
