"""P2: how near scoring comes to the floor, which is what its multiply-adds alone cost at the rate of plain matrix products."""

import statistics
from functools import partial

from scorer.detector import FlowSpec
from trainer.bench.row import Row
from trainer.bench.scoring import score_bodies
from trainer.bench.setting import Setting
from trainer.bench.tables import table
from trainer.bench.timing import in_turns, matmul_rate

EXTRACTOR_MACS = 3.576e9
"""Multiply-adds of a view in the extractor: 2,774 + 656 + 146 million at 448, 224 and 112 px."""

_CUDA_VIEWS = 16  # so many times more views fill a GPU


class FloorShare(Row):
    """The share of the floor by views; the ratio is the share at the most views.

    Attributes:
        share: Seconds of the floor over seconds measured, by views.
        frames_s: Frames a second, by views.
        matmul_gflops: The rate behind the floor, measured between the rounds.
        dtype: Of those matrices.
        flow_macs: Multiply-adds of a view in the flow.
    """

    share: dict[int, float]
    frames_s: dict[int, float]
    matmul_gflops: float
    dtype: str
    flow_macs: float

    def figures(self) -> str:
        """The share at each number of views."""
        return ", ".join(f"{100 * share:.0f} % at {views}" for views, share in self.share.items()) + " views"

    def details(self) -> list[str]:
        """Rates by views."""
        rows = [
            (str(views), f"{self.frames_s[views]:.2f}", f"{share / self.frames_s[views]:.4f}", f"{100 * share:.1f} %")
            for views, share in self.share.items()
        ]
        giga = (EXTRACTOR_MACS + self.flow_macs) / 1e9
        return [
            f"{giga:.2f} G multiply-adds a view at {self.matmul_gflops:,.0f} GFLOP/s ({self.dtype} matrices, in this run).",
            "",
            *table(("views", "frames/s", "floor s/frame", "share"), rows).splitlines(),
        ]


def measure_floor(setting: Setting) -> FloorShare:
    """Score pictures at each number of views, and multiply matrices, in turns."""
    size, detector = setting.size, setting.speed.detector
    rates: list[float] = []
    budget = size.floor_budget * (_CUDA_VIEWS if setting.device.type == "cuda" else 1)
    frames = {views: max(1, budget // views) for views in size.floor_views}

    def score(views: int, pictures: int) -> None:
        plan = detector.manifest.views.model_copy(update={"count": views})
        score_bodies(detector, setting.pictures.stream(pictures), plan, early_exit=False)

    def multiply(_: int) -> None:
        rates.append(matmul_rate(setting.fastest_dtype, setting.device, size.matrix))

    def round_of(views: int, _: int) -> None:
        score(views, frames[views])

    for views in size.floor_views:
        score(views, 1)  # what the first call costs is no rate
    sides = {str(views): partial(round_of, views) for views in size.floor_views}
    taken = in_turns(size.rounds, {**sides, "matrices": multiply})
    rate, macs = statistics.median(rates), flow_macs(detector.flow.spec)
    seconds = {views: statistics.median(taken[str(views)]) / frames[views] for views in size.floor_views}
    share = {views: views * 2 * (EXTRACTOR_MACS + macs) / rate / each for views, each in seconds.items()}
    return FloorShare(
        device=setting.device_name,
        ratio=share[max(share)],
        share=share,
        frames_s={views: 1 / each for views, each in seconds.items()},
        matmul_gflops=rate / 1e9,
        dtype=str(setting.fastest_dtype).removeprefix("torch."),
        flow_macs=macs,
    )


def flow_macs(spec: FlowSpec) -> float:
    """Multiply-adds of a view in a flow: the two inner networks of each coupling block."""
    first, second = spec.features // 2, spec.features - spec.features // 2
    hidden = (spec.hidden_layers - 1) * spec.hidden**2
    networks = [spec.hidden * (taken + 2 * given) + hidden for taken, given in ((first, second), (second, first))]
    return float(spec.blocks * sum(networks))
