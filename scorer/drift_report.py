"""`differline drift`: how far scores and pictures of each camera and product have drifted, for people and programs."""

import io
import json
from dataclasses import asdict, dataclass

import numpy as np
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.distances import ks, psi
from infra.store.drift import DriftRow, drift_rows, recent_scores
from infra.store.tables import DriftKind
from infra.telemetry import get_logger
from scorer.detector import Manifest
from scorer.drift import Calibrations

RECENT = 1000
_WIDTH = 160


@dataclass(frozen=True, slots=True)
class DriftLine:
    """One kind of drift of one camera and product.

    Attributes:
        n: Parts that were tested.
        log10_wealth: How strongly they speak against no drift; the alarm is at 2.
        alarm: Whether it has alarmed, and nobody has acknowledged it yet.
        since: When the part was received that made it alarm, ISO 8601; None where it has not.
        compared_with: `calibration`, `own calibration` of a camera that has one, or `own first parts`.
        psi: Of the last RECENT scores against the calibration scores; None for pictures, and where it cannot be told.
        ks: Largest distance between their cumulative distributions.
        ks_p_value: How probable one so large is by chance.
    """

    camera: str
    product: str
    kind: str
    model_id: int | None
    n: int
    log10_wealth: float
    alarm: bool
    since: str | None
    compared_with: str
    psi: float | None = None
    ks: float | None = None
    ks_p_value: float | None = None


def drift_report(database: sa.Engine, product: str | None = None) -> list[DriftLine]:
    """Read the states, and compare recent scores with those of the calibration.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    calibrations = Calibrations(database, get_logger("drift"))
    return [_line(database, row, calibrations) for row in drift_rows(database, product)]


def drift_json(lines: list[DriftLine]) -> str:
    """Return the report as JSON."""
    return json.dumps([asdict(line) for line in lines], indent=2)


def drift_table(lines: list[DriftLine]) -> str:
    """Return the report as a table of text."""
    columns = (
        "camera",
        "product",
        "kind",
        "model",
        "n",
        "log10 wealth",
        "alarm",
        "compared with",
        "PSI",
        "KS",
        "KS p-value",
    )
    table = Table(
        *columns, title="drift", title_justify="left", caption="an alarm from 2 on; PSI and KS of the last 1,000 scores"
    )
    for name in (3, 4, 5, 8, 9, 10):
        table.columns[name].justify = "right"
    for line in lines:
        table.add_row(*(Text(cell) for cell in _cells(line)))  # names come from outside: no markup
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(table)
    return text.getvalue().rstrip()


def _line(database: sa.Engine, row: DriftRow, calibrations: Calibrations) -> DriftLine:
    manifest = calibrations.of(row.model_id)
    line = DriftLine(
        row.camera,
        row.product,
        str(row.kind),
        row.model_id,
        row.parts,
        round(row.wealth, 3),
        row.alarmed_at is not None,
        row.alarmed_at.isoformat() if row.alarmed_at else None,
        _compared_with(row, manifest),
    )
    if manifest is None or row.kind is not DriftKind.SCORE:
        return line
    scores = recent_scores(database, row, RECENT)
    if not scores:
        return line
    expected = np.array([manifest.calibration_scores[place] for place in manifest.compared_with(row.camera)])
    observed = np.array(scores)
    distance = ks(expected, observed)
    found = {
        "psi": round(psi(expected, observed), 4),
        "ks": round(distance.statistic, 4),
        "ks_p_value": distance.p_value,
    }
    return DriftLine(**(asdict(line) | found))


def _compared_with(row: DriftRow, manifest: Manifest | None) -> str:
    if row.state.get("own") is not None:
        return "own first parts"
    return "own calibration" if manifest is not None and row.camera in manifest.camera_thresholds else "calibration"


def _cells(line: DriftLine) -> tuple[str, ...]:
    return (
        line.camera,
        line.product,
        line.kind,
        "—" if line.model_id is None else str(line.model_id),
        f"{line.n:,}",
        f"{line.log10_wealth:.2f}",
        f"since {line.since}" if line.alarm else "no",
        line.compared_with,
        *("—" if value is None else f"{value:.3g}" for value in (line.psi, line.ks, line.ks_p_value)),
    )
