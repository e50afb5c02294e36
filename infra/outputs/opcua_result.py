"""The variables of a result, named as in OPC 40100-1 (machine vision) where it has a name; times in UTC, durations in ms."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asyncua import ua

from infra.store.outbox import PublishedVerdict

VERDICT_CODES = {"NO_VERDICT": 0, "GOOD": 1, "DEFECT": 2}
_COMPLETED, _FAILED = 1, 4  # ResultState of OPC 40100-1
_NAN = float("nan")
Type = ua.VariantType


@dataclass(frozen=True, slots=True)
class Field:
    """A variable of a result."""

    name: str
    type: ua.VariantType
    value: Callable[[PublishedVerdict], Any]


def _recipe(result: PublishedVerdict) -> str:
    version = result.verdict.model_version
    return "" if version is None else f"{result.verdict.product}/{version}"


def _spent_ms(result: PublishedVerdict) -> float:
    return (result.decode_ms or 0.0) + (result.score_ms or 0.0)


FIELDS = (
    Field("ResultId", Type.String, lambda r: r.result_id),
    Field("PartId", Type.String, lambda r: r.verdict.part_id or ""),
    Field("ProductId", Type.String, lambda r: r.verdict.product),
    Field("JobId", Type.String, lambda r: r.verdict.job_id or ""),
    Field("RecipeId", Type.String, _recipe),
    Field("IsSimulated", Type.Boolean, lambda r: r.verdict.simulated is not None),
    Field("ResultState", Type.Int32, lambda r: _FAILED if r.verdict.state == "NO_VERDICT" else _COMPLETED),
    Field("CreationTime", Type.DateTime, lambda r: r.verdict.committed_at),
    Field("StartTime", Type.DateTime, lambda r: r.verdict.received_at),
    Field("EndTime", Type.DateTime, lambda r: r.verdict.committed_at),
    Field("ProcessingDuration", Type.Double, _spent_ms),
    Field("CapturedTime", Type.DateTime, lambda r: r.verdict.captured_at),
    Field("FrameId", Type.String, lambda r: r.verdict.frame_id),
    Field("Score", Type.Double, lambda r: _NAN if r.verdict.score is None else r.verdict.score),
    Field("Threshold", Type.Double, lambda r: _NAN if r.verdict.threshold is None else r.verdict.threshold),
    Field("PValue", Type.Double, lambda r: _NAN if r.verdict.p_value is None else r.verdict.p_value),
)
# These say what may be relied on; an output that is late or has stopped changes them.
SHOWN = (("Reason", Type.String), ("InTime", Type.Boolean), ("VerdictCode", Type.Int32), ("Verdict", Type.String))
SEQUENCE = "Sequence"


EMPTY: dict[ua.VariantType, Any] = {
    Type.String: "",
    Type.Boolean: False,
    Type.Int32: 0,
    Type.UInt32: 0,
    Type.Double: _NAN,
    Type.DateTime: datetime(1970, 1, 1, tzinfo=UTC),
}


def shown(result: PublishedVerdict | None, doubt: str | None) -> tuple[str, bool, int, str]:
    """Return Reason, InTime, VerdictCode and Verdict; with a doubt about the result it says NO_VERDICT and why."""
    if doubt is not None or result is None:
        return (doubt or "no_result"), False, VERDICT_CODES["NO_VERDICT"], "NO_VERDICT"
    state = result.verdict.state.value
    return result.verdict.reason or "", True, VERDICT_CODES[state], state
