"""How much is measured: all of it, or just enough to see that it works."""

from dataclasses import dataclass, replace

from trainer.presets import COMPACT, PAPER, Preset


@dataclass(frozen=True)
class Size:
    """How much each row measures.

    Attributes:
        train: Pictures to learn from.
        good: Defect-free test pictures.
        defective: Defective test pictures.
        views: Most views of a picture.
        rounds: Rounds in which the two sides take turns.
        frames: Pictures of a round of P1.
        speed: Preset of the flow of P1, P2 and P7: speed and equality are measured with it, not accuracy.
        plant: Preset of the detector of P3 and P4, as a plant has it.
        floor_views: Numbers of views in P2.
        floor_budget: Views of a measurement of P2, over all pictures.
        matrix: Side of the matrices whose product sets the floor.
        rival_frames: Pictures of P3.
        exit_frames: Pictures of P4.
        training: Preset of P5.
        plain_views: Views by which P5 measures the plain loop.
        small: Preset of P5's small setting, which both loops train in full.
        small_pictures: Pictures of the small setting.
        small_seeds: Seeds of both loops there.
        stage_preset: Preset of the model of P6, by name.
        stage_frames: Pictures that P6 sends through a scorer.
        workers: Numbers of processes in P7.
        worker_frames: Pictures that each of them scores.
        worker_views: Views of each.
        worker_rounds: Rounds of P7.
    """

    train: int
    good: int
    defective: int
    views: int
    rounds: int
    frames: int
    speed: Preset
    plant: Preset
    floor_views: tuple[int, ...]
    floor_budget: int
    matrix: int
    rival_frames: int
    exit_frames: int
    training: Preset
    plain_views: int
    small: Preset
    small_pictures: int
    small_seeds: int
    stage_preset: str
    stage_frames: int
    workers: tuple[int, ...]
    worker_frames: int
    worker_views: int
    worker_rounds: int


_FLOW_ALONE = replace(COMPACT, local=None)

FULL = Size(
    train=120,
    good=100,
    defective=100,
    views=64,
    rounds=5,
    frames=8,
    speed=replace(PAPER, epochs=12, bank_views=4, heatmap_views=1),
    plant=COMPACT,
    floor_views=(1, 4, 8, 16, 64),
    floor_budget=256,
    matrix=2048,
    rival_frames=64,
    exit_frames=200,
    training=_FLOW_ALONE,
    plain_views=32,
    small=replace(_FLOW_ALONE, epochs=8, bank_views=4, epoch_views=2),
    small_pictures=32,
    small_seeds=5,
    stage_preset=COMPACT.name,
    stage_frames=64,
    workers=(1, 2, 4),
    worker_frames=16,
    worker_views=16,
    worker_rounds=2,
)

QUICK = replace(
    FULL,
    train=40,
    good=8,
    defective=8,
    rounds=2,
    frames=1,
    speed=replace(PAPER, blocks=2, epochs=2, bank_views=2, epoch_views=2, heatmap_views=1),
    plant=replace(_FLOW_ALONE, epochs=5, bank_views=2, epoch_views=2, heatmap_views=1),
    floor_budget=64,
    rival_frames=8,
    exit_frames=8,
    training=replace(_FLOW_ALONE, bank_views=2, epoch_views=2),
    plain_views=4,
    small=replace(_FLOW_ALONE, epochs=2, bank_views=2, epoch_views=1, scoring_views=2),
    small_pictures=16,
    small_seeds=2,
    stage_frames=8,
    worker_frames=2,
    worker_rounds=1,
)
