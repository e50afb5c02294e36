"""P5: the plain training loop against ours: time to the same last epoch, and whether it is worth the same.

The plain loop draws new views in every epoch, extracts them one at a time in float32, and takes plain Adam steps. At a size
worth the name it would take hours, so its steps are timed and multiplied; at a small size both loops are run in full, with
several seeds, and the AUROC of their last epochs compared.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from scorer.detector import Flow, ViewPlan, extract, loss_per_view, prepare, score_views
from trainer.bench.pictures import EncodedPicture
from trainer.bench.plain import PlainExtractor, plain_features
from trainer.bench.row import Row
from trainer.bench.setting import Setting, say
from trainer.bench.timing import seconds
from trainer.presets import Preset
from trainer.training import TrainingRun, train_flow, training_bank

_STEPS_TIMED = 5
_SEED = 0
_SEEDS_APART = 10_000  # of the plain loop, which draws views by numbers from its seed on


class PlainTraining(Row):
    """Seconds of both loops.

    Attributes:
        pictures: Training pictures.
        epochs: Epochs of both loops.
        epoch_views: Views of a picture in an epoch.
        ours_s: Ours, bank and all epochs, measured.
        plain_s: The plain loop's, extrapolated from `plain_view_s` and `plain_step_s`.
        plain_view_s: Seconds a view of the plain loop, JPEG to features.
        plain_step_s: Seconds a step of plain Adam.
        small_pictures: Training pictures of the small setting.
        small_epochs: Its epochs.
        small_auroc_plain: AUROC of the plain loop's last epoch at the small setting, of each seed.
        small_auroc_ours: AUROC of ours, with the same seeds.
        small_ratio: The ratio of seconds at the small setting, both measured in full; the median over seeds.
    """

    pictures: int
    epochs: int
    epoch_views: int
    ours_s: float
    plain_s: float
    plain_view_s: float
    plain_step_s: float
    small_pictures: int
    small_epochs: int
    small_auroc_plain: tuple[float, ...]
    small_auroc_ours: tuple[float, ...]
    small_ratio: float

    def figures(self) -> str:
        """Ratio and AUROC."""
        plain, ours = (100 * statistics.mean(each) for each in (self.small_auroc_plain, self.small_auroc_ours))
        return (
            f"{self.ratio:.1f} times (plain loop extrapolated); AUROC of the last epoch at a small setting, both in full, "
            f"mean of {len(self.small_auroc_ours)} seeds: plain {plain:.1f}, ours {ours:.1f}"
        )

    def details(self) -> list[str]:
        """Seconds."""
        said = (
            f"{self.pictures} pictures, {self.epochs} epochs of {self.epoch_views} views: ours {self.ours_s:.1f} s; plain "
            f"loop {self.plain_s:,.0f} s, from {1000 * self.plain_view_s:.1f} ms a view and {1000 * self.plain_step_s:.1f} ms "
            f"a step. The small setting ({self.small_pictures} pictures, {self.small_epochs} epochs): {self.small_ratio:.1f} "
            f"times; AUROC by seed, plain {_percent(self.small_auroc_plain)}, ours {_percent(self.small_auroc_ours)}."
        )
        return [said]


@dataclass(frozen=True)
class PlainLoop:
    """The plain loop.

    Attributes:
        extractor: In float32.
        preset: How to train.
        device: Where.
        seed: Seed of views, initial weights and order.
    """

    extractor: PlainExtractor
    preset: Preset
    device: torch.device
    seed: int = _SEED

    def train(self, pictures: Sequence[EncodedPicture]) -> Flow:
        """Train a flow on new views in every epoch; it is the last epoch's."""
        flow = Flow(self.preset.flow(self.seed))
        for epoch in range(self.preset.epochs):
            rows = self.epoch_features(pictures, epoch)
            if epoch == 0:
                if self.preset.standardize:
                    flow.standardize_by(rows.cpu())
                flow = flow.to(self.device).train()
                optimiser = torch.optim.Adam(flow.parameters(), lr=self.preset.learning_rate, foreach=False)
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed + epoch))
            for batch in torch.split(order, self.preset.batch):
                self.step(flow, optimiser, rows[batch.to(self.device)])
        return flow.eval()

    def epoch_features(self, pictures: Sequence[EncodedPicture], epoch: int) -> Tensor:
        """Features of an epoch's new views, (R, 768) float32, one picture at a time."""
        rows: list[Tensor] = []
        for place, picture in enumerate(pictures):
            plan = ViewPlan(
                count=self.preset.epoch_views + 1,
                seed=1 + self.seed + epoch * len(pictures) + place,
                brightness=self.preset.brightness,
                contrast=self.preset.contrast,
            )
            turned = plan.draw(1).chosen(slice(1, None))  # without the first one, which is not rotated
            rows.append(plain_features(self.extractor, picture.body, turned))
        return torch.cat(rows)

    def step(self, flow: Flow, optimiser: torch.optim.Optimizer, rows: Tensor) -> float:
        """One step, and its loss, which waits for the device as the reference does."""
        noise = self.preset.noise * rows.std(dim=0) * torch.randn_like(rows) if self.preset.noise else 0.0
        loss = loss_per_view(*flow(rows + noise)).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        return loss.item()


def measure_plain_training(setting: Setting) -> PlainTraining:
    """Time ours in full and the plain loop in part, and train both in full at a small setting."""
    size = setting.size
    preset, pictures = size.training, setting.pictures.training
    ours_s = seconds(lambda: _ours(setting, preset, len(pictures)))
    view_s, step_s = _plain_costs(setting, preset)
    views = len(pictures) * preset.epoch_views
    plain_s = preset.epochs * (views * view_s + -(-views // preset.batch) * step_s)
    small, few = size.small, min(size.small_pictures, len(pictures))
    extractor = PlainExtractor(setting.extractor, setting.device)
    aurocs: dict[str, list[float]] = {"plain": [], "ours": []}
    ratios: list[float] = []
    test = _Test.of(setting, small)
    for seed in range(size.small_seeds):
        say(f"  the small setting, seed {seed}")
        loop = PlainLoop(extractor, small, setting.device, seed * _SEEDS_APART)
        flows: dict[str, Flow] = {}
        small_plain_s = seconds(lambda: flows.update(plain=loop.train(pictures[:few])))  # noqa: B023 - called at once
        small_ours_s = seconds(lambda: flows.update(ours=_ours(setting, small, few, seed)))  # noqa: B023
        ratios.append(small_plain_s / small_ours_s)
        for name, flow in flows.items():
            aurocs[name].append(test.auroc(flow))
    return PlainTraining(
        device=setting.device_name,
        ratio=plain_s / ours_s,
        pictures=len(pictures),
        epochs=preset.epochs,
        epoch_views=preset.epoch_views,
        ours_s=ours_s,
        plain_s=plain_s,
        plain_view_s=view_s,
        plain_step_s=step_s,
        small_pictures=few,
        small_epochs=small.epochs,
        small_auroc_plain=tuple(aurocs["plain"]),
        small_auroc_ours=tuple(aurocs["ours"]),
        small_ratio=statistics.median(ratios),
    )


def _percent(aurocs: Sequence[float]) -> str:
    return " ".join(f"{100 * auroc:.1f}" for auroc in aurocs)


def _ours(setting: Setting, preset: Preset, pictures: int, seed: int = _SEED) -> Flow:
    run = TrainingRun(preset, setting.extractor, seed, setting.device)
    return train_flow(run, training_bank(run, setting.pictures.training_set(pictures)))[0]


def _plain_costs(setting: Setting, preset: Preset) -> tuple[float, float]:
    """Seconds of the plain loop a view, and a step."""
    loop = PlainLoop(PlainExtractor(setting.extractor, setting.device), preset, setting.device)
    some = setting.pictures.training[: -(-setting.size.plain_views // preset.epoch_views)]
    loop.epoch_features(some[:1], 0)
    view_s = seconds(lambda: loop.epoch_features(some, 1)) / (len(some) * preset.epoch_views)
    rows = loop.epoch_features(some[:2], 2)
    batch = rows.repeat(-(-preset.batch // len(rows)), 1)[: preset.batch]
    flow = Flow(preset.flow(_SEED)).to(setting.device).train()
    optimiser = torch.optim.Adam(flow.parameters(), lr=preset.learning_rate, foreach=False)
    loop.step(flow, optimiser, batch)
    step_s = seconds(lambda: [loop.step(flow, optimiser, batch) for _ in range(_STEPS_TIMED)]) / _STEPS_TIMED
    return view_s, step_s


@dataclass(frozen=True)
class _Test:
    """Features of the test pictures' views, and how many of the pictures are good; those come first."""

    features: Tensor
    views: int
    good: int

    @classmethod
    def of(cls, setting: Setting, preset: Preset) -> "_Test":
        good, defective = setting.pictures.good, setting.pictures.defective
        prepared = prepare([picture.load() for picture in (*good, *defective)], device=setting.device)
        plan = preset.scoring_plan(_SEED)
        return cls(extract(setting.extractor, prepared, plan.draw(len(prepared))).features, plan.count, len(good))

    def auroc(self, flow: Flow) -> float:
        scores = score_views(flow.eval(), self.features, self.views).cpu().numpy()
        return float(roc_auc_score(np.arange(len(scores)) >= self.good, scores))
