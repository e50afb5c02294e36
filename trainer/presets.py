"""Training presets: the paper's settings, and a smaller flow for two CPU cores."""

from dataclasses import dataclass, replace

from infra.errors import SettingsError
from scorer.detector import FEATURES, FlowSpec, ViewPlan

MAX_BANK_VIEWS = 400_000  # 1.2 GB of features: larger sets get fewer views a picture


@dataclass(frozen=True)
class LocalRecipe:
    """How a local model is fitted.

    That there is one was decided on families and kinds of defects held out of pretraining; its numbers are the first tried.

    Attributes:
        pictures: Training pictures that are looked at, at most: they bound time and memory.
        few: With fewer training pictures, turned and mirrored copies are looked at as well, until there are about so many.
        twins: Pictures with synthetic defects in all, in whole rounds over the pictures; two rounds at least, 20 at most.
        cells: Cells that the Gaussian is taken from, at most.
        steps: Steps of the defect map.
        defective: Defective cells of a step.
        clean: Clean ones.
        learning_rate: AdamW's at the start; it falls to zero.
        weight_decay: AdamW's.
        dropout: Share of hidden units that is left out in a step.
    """

    pictures: int = 400
    few: int = 64
    twins: int = 600
    cells: int = 25_000
    steps: int = 1200
    defective: int = 512
    clean: int = 1536
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3

    def rounds(self, pictures: int) -> int:
        """How often each picture gets a synthetic defect."""
        return min(20, max(2, round(self.twins / pictures)))


@dataclass(frozen=True)
class Preset:
    """What a training run does.

    Features of the training views are computed once, for a bank of `bank_views` views a picture, and reused in every epoch. The
    paper draws new views in each epoch; the bank stands for them, and an epoch looks at `epoch_views` of it, drawn anew.

    Attributes:
        name: Name on the command line and in the manifest.
        blocks: Coupling blocks of the flow.
        hidden: Units of each hidden layer of the inner networks.
        hidden_layers: Hidden layers of the inner networks.
        standardize: Whether features are brought to mean 0 and deviation 1 first.
        noise: Gaussian noise on the features in training, in deviations of each feature. Pooled features of one product lie
            close to a plane of far fewer dimensions; without noise a flow grows a spike there, and new good pictures fall
            beside it.
        learning_rate: Adam's.
        batch: Views a step.
        epochs: Passes over the training pictures.
        bank_views: Views a picture whose features are computed.
        epoch_views: Views a picture that an epoch looks at.
        scoring_views: Views a picture when scoring.
        heatmap_views: Views a picture when making a heatmap.
        brightness: Range of the brightness factor in training and scoring; (1, 1) is off.
        contrast: Range of the contrast factor in training and scoring; (1, 1) is off.
        local: How the local model beside the flow is fitted; None leaves the flow alone, as in the paper.
    """

    name: str
    blocks: int
    hidden: int
    hidden_layers: int
    standardize: bool
    noise: float
    learning_rate: float
    batch: int
    epochs: int
    bank_views: int
    epoch_views: int
    scoring_views: int
    heatmap_views: int
    brightness: tuple[float, float] = (1.0, 1.0)
    contrast: tuple[float, float] = (1.0, 1.0)
    local: LocalRecipe | None = None

    def flow(self, seed: int, features: int = FEATURES) -> FlowSpec:
        """The architecture, for feature vectors of that length."""
        return FlowSpec(
            features=features,
            blocks=self.blocks,
            hidden=self.hidden,
            hidden_layers=self.hidden_layers,
            standardize=self.standardize,
            seed=seed,
        )

    def bank_plan(self, pictures: int, seed: int) -> ViewPlan:
        """Views of the training bank; other angles than those that score."""
        return self._plan(max(1, min(self.bank_views, MAX_BANK_VIEWS // pictures)), seed + 1)

    def scoring_plan(self, seed: int) -> ViewPlan:
        """Views behind a score, in calibration and in production alike."""
        return self._plan(self.scoring_views, seed)

    def heatmap_plan(self, seed: int) -> ViewPlan:
        """Views behind a heatmap."""
        return ViewPlan(count=self.heatmap_views, seed=seed)

    def with_views(self, views: int | None) -> "Preset":
        """The same with another number of scoring views."""
        return self if views is None else replace(self, scoring_views=views)

    def _plan(self, count: int, seed: int) -> ViewPlan:
        return ViewPlan(count=count, seed=seed, brightness=self.brightness, contrast=self.contrast)


PAPER = Preset(
    name="paper",
    blocks=8,
    hidden=2048,
    hidden_layers=3,
    standardize=False,
    noise=0.0,
    learning_rate=2e-4,
    batch=96,
    epochs=192,
    bank_views=32,
    epoch_views=4,
    scoring_views=64,
    heatmap_views=16,
)

# Chosen on training pictures alone: the likelihood of held-out good ones, and defects drawn into them.
COMPACT = Preset(
    name="compact",
    blocks=4,
    hidden=256,
    hidden_layers=2,
    standardize=True,
    noise=0.05,
    learning_rate=1e-3,
    batch=256,
    epochs=20,
    bank_views=8,
    epoch_views=8,
    scoring_views=8,
    heatmap_views=4,
    local=LocalRecipe(),
)

PRESETS = {preset.name: preset for preset in (PAPER, COMPACT)}


def choose_preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        SettingsError: There is none of that name.
    """
    if name not in PRESETS:
        raise SettingsError(f"no preset is called {name!r}: {', '.join(PRESETS)}")
    return PRESETS[name]
