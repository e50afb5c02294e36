"""How a pretraining run tells how far it is."""

import sys
from dataclasses import dataclass
from typing import Protocol, TextIO

from trainer.pretrain.checkpoints import RunState


@dataclass(frozen=True)
class Losses:
    """The mean of each loss since the last report."""

    classes: float
    picture: float
    positions: float
    novelty: float

    def __str__(self) -> str:
        return (
            f"classes {self.classes:.3f}, picture {self.picture:.3f}, "
            f"positions {self.positions:.3f}, novelty {self.novelty:.3f}"
        )


class Report(Protocol):
    """Told now and then how far a run is."""

    def drawn(self, done: int, total: int) -> None:
        """Take note that so many files of the bank are there."""

    def trained(self, state: RunState, seconds: float, losses: Losses, pictures_per_s: float) -> None:
        """Take note of how far training is; `seconds` is what it may take in all."""


class Lines:
    """Writes a line for each report."""

    def __init__(self, to: TextIO | None = None) -> None:
        self._to = to or sys.stderr

    def drawn(self, done: int, total: int) -> None:
        """Write a line now and then: there are many files."""
        if done == total or done % max(1, total // 20) == 0:
            self._write(f"drawing pictures: {done} of {total} files")

    def trained(self, state: RunState, seconds: float, losses: Losses, pictures_per_s: float) -> None:
        """Write how far it is and how it goes."""
        self._write(
            f"minute {state.spent_s / 60:.1f} of {seconds / 60:.0f}: step {state.step}, {state.pictures} pictures, "
            f"{pictures_per_s:.0f} a second; {losses}"
        )

    def _write(self, line: str) -> None:
        self._to.write(line + "\n")
        self._to.flush()


class _Silent:
    def drawn(self, done: int, total: int) -> None:
        """Take no note."""

    def trained(self, state: RunState, seconds: float, losses: Losses, pictures_per_s: float) -> None:
        """Take no note."""


SILENT: Report = _Silent()
