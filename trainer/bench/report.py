"""A run's figures, as JSON and as Markdown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.bench.machine import Machine
from trainer.bench.row import NotMeasured, Row
from trainer.bench.tables import table

NO_CUDA = "not measured"


@dataclass(frozen=True)
class Kind:
    """What a row is about.

    Attributes:
        against: What ours is compared with.
        bar: What must be reached.
    """

    against: str
    bar: str


KINDS = {
    "P1": Kind(
        "a plain loop as the paper's reference has it, JPEG to score",
        "10 times on CPU, 30 times on GPU; rank correlation 0.999; no flip farther than 0.5 % from the threshold",
    ),
    "P2": Kind("the floor: multiply-adds at the rate of matrix products", "25 % on CPU, 35 % on GPU"),
    "P3": Kind("anomalib's detectors on the same bytes", "the frontier, printed"),
    "P4": Kind("all views against early exit", "4 times fewer views, 99.9 % the same verdict"),
    "P5": Kind("the plain training loop", "15 times, AUROC within 0.3 points"),
    "P6": Kind("the stages of a scorer", "no stage but the extractor above 20 %"),
    "P7": Kind("one process against several that share the cores", "efficiency 0.85"),
}


@dataclass(frozen=True)
class Report:
    """All figures of a run.

    Attributes:
        machine: Where.
        pictures: Of what.
        rows: What was found, by row.
    """

    machine: Machine
    pictures: str
    rows: Mapping[str, Row | NotMeasured]

    def as_json(self) -> str:
        """`{"P1": {"ratio": ..., ...}, ...}`, with machine and pictures beside the rows."""
        found = {name: row.model_dump(mode="json") for name, row in self.rows.items()}
        return json.dumps(
            {**found, "machine": self.machine.model_dump(mode="json"), "pictures": self.pictures}, indent=2
        )

    def as_markdown(self) -> str:
        """A table of all rows, and the rates behind them."""
        on_cpu = self.machine.device == "cpu"
        rows = []
        for name, row in self.rows.items():
            found = f"not measured: {row.not_measured}" if isinstance(row, NotMeasured) else row.figures()
            columns = (found, NO_CUDA) if on_cpu else (NO_CUDA, found)
            rows.append((name, KINDS[name].against, KINDS[name].bar, *columns))
        versions = ", ".join(f"{name} {version}" for name, version in self.machine.versions.items())
        lines = [
            f"{self.machine.line()}. {self.pictures[:1].upper()}{self.pictures[1:]}. {versions}.",
            "",
            table(("#", "ours against", "must reach", "CPU", "GPU"), rows),
        ]
        for name, row in self.rows.items():
            if isinstance(row, Row) and (details := row.details()):
                lines += ["", f"{name}: {details[0]}" if not details[0].startswith("|") else f"{name}:\n\n{details[0]}"]
                lines += details[1:]
        return "\n".join(lines) + "\n"
