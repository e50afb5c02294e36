"""How long work tells its caller how far it is."""

from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """Stages of fitting and evaluating; done and total count what the comment says."""

    SCAN = "scan"  # files
    FEATURES = "features"  # training pictures
    FIT = "fit"  # epochs
    LOCAL = "local"  # pictures whose cells are looked at
    DEFECT_MAP = "defect_map"  # steps
    PROBE = "probe"  # training pictures that nothing learns from
    EVIDENCE = "evidence"  # the same with synthetic defects
    ADAPT = "adapt"  # seconds
    CALIBRATION = "calibration"  # held-out pictures
    HEATMAPS = "heatmaps"  # held-out pictures, for the colour scale
    CHALLENGE = "challenge"  # challenge parts
    REGISTER = "register"  # 1: the candidate
    REPLAY = "replay"  # frames of the line
    TEST = "test"  # test pictures
    BASELINES = "baselines"  # baselines
    BANK = "bank"  # pictures whose views were missing in a report's bank
    TRIALS = "trials"  # trials of a report: one method on one split
    GANOMALY = "ganomaly"  # epochs
    PIXELS = "pixels"  # pictures whose heatmaps are compared with masks


class Progress(Protocol):
    """Called with done = 0 when a stage begins, and with done = total when it is finished."""

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        """Take note that `done` of `total` are done; `detail` is a few words, such as the loss."""


def silent(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """Take no note."""
