"""Rows as a scorer writes them, for the tests of the store."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from infra.bus import Partition
from infra.store.models import NewModel, RegisteredModel, register_candidates
from infra.store.results import Batch, DeadLetterRow, HeatmapRow, VerdictRow

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
FIRST = Partition("frames", 0)
SECOND = Partition("frames", 1)

MODEL = NewModel(
    product="tile",
    folder="/models/tile/1",
    flow_sha256="f" * 64,
    manifest_sha256="e" * 64,
    preset="compact",
    threshold=1.5,
    false_alarm_rate=0.01,
    attainable_rate=0.02,
    views=8,
    heat_scale=0.5,
    training_frames=100,
    calibration_frames=50,
    registered_by="test",
)

_UNJUDGED = VerdictRow(
    received_at=NOON,
    frame_id="frame",
    result_id="result",
    topic="frames",
    partition=0,
    bus_offset=0,
    camera="cam",
    product="tile",
    part_id=None,
    job_id=None,
    run=None,
    sequence=None,
    sha256="0" * 64,
    simulated=None,
    captured_at=NOON,
    scored_at=None,
    state="NO_VERDICT",
    reason="no_model",
    model_id=None,
    score=None,
    p_value=None,
    threshold=None,
    views=None,
    archive_ref=None,
    decode_ms=None,
    score_ms=None,
)
_DEAD = DeadLetterRow(NOON, "frames", 0, 0, "frame", "cam", None, None, "broken_image", "cut short", "{}", None)


def unjudged(frame_id: str, offset: int, **changes: Any) -> VerdictRow:
    """A NO_VERDICT; later offsets were received later."""
    at = NOON + timedelta(milliseconds=offset)
    return replace(_UNJUDGED, **{"frame_id": frame_id, "bus_offset": offset, "received_at": at, **changes})


def judged(frame_id: str, offset: int, model_id: int, state: str = "GOOD", **changes: Any) -> VerdictRow:
    score = 2.0 if state == "DEFECT" else 1.0
    scored = {"model_id": model_id, "score": score, "threshold": 1.5, "p_value": 0.5, "views": 8} | changes
    return unjudged(frame_id, offset, state=state, reason=None, **scored)


def dead(frame_id: str, offset: int, **changes: Any) -> DeadLetterRow:
    at = NOON + timedelta(milliseconds=offset)
    return replace(_DEAD, **{"frame_id": frame_id, "bus_offset": offset, "received_at": at, **changes})


def heat_of(row: VerdictRow) -> HeatmapRow:
    return HeatmapRow(row.received_at, row.camera, row.frame_id, f"png of {row.frame_id}".encode())


def batch(*rows: VerdictRow | DeadLetterRow, heatmaps: Iterable[HeatmapRow] = ()) -> Batch:
    """A batch that moves each partition on behind its last row."""
    positions: dict[Partition, int] = {}
    for row in rows:
        partition = Partition(row.topic, row.partition)
        positions[partition] = max(positions.get(partition, 0), row.bus_offset + 1)
    return Batch(
        verdicts=[row for row in rows if isinstance(row, VerdictRow)],
        heatmaps=list(heatmaps),
        dead_letters=[row for row in rows if isinstance(row, DeadLetterRow)],
        next_offsets=positions,
    )


def frame_ids(database: sa.Engine, table: str) -> list[str]:
    """Frame ids of a table, in the order of their receipt."""
    with database.connect() as connection:
        return list(connection.scalars(sa.text(f"SELECT frame_id FROM {table} ORDER BY received_at, frame_id")))


def register_candidate(database: sa.Engine, new: NewModel) -> RegisteredModel:
    """One candidate, as a refit of one product leaves it."""
    (candidate,) = register_candidates(database, [new])
    return candidate
