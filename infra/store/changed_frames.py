"""Frames of which another model says something else than the verdict on record, a page at a time; and how many there are.

Everything here is bounded: a candidate may have looked on for a million frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.second_verdicts import Seen
from infra.store.tables import (
    FrameDecision,
    SecondSource,
    VerdictState,
    decisions,
    models,
    second_verdicts,
    verdicts,
)

COUNTED_FRAMES = 20_000
EXAMINED_FRAMES = 3_000


@dataclass(frozen=True, slots=True)
class ChangedKey:
    """Where a frame stands in the list."""

    received_at: datetime
    camera: str
    frame_id: str


@dataclass(frozen=True, slots=True)
class ChangedFrame:
    """A frame with the verdict on record and what another model says.

    Attributes:
        version_before: Version of the model that judged it; None where none did.
        archive_ref: Its picture in the archive; None where it was not kept.
        decision: What a person decided about its picture; open where nobody did.
    """

    received_at: datetime
    camera: str
    frame_id: str
    part_id: str | None
    archive_ref: str | None
    before: VerdictState
    score_before: float | None
    p_value_before: float | None
    threshold_before: float | None
    version_before: int | None
    after: VerdictState
    score_after: float
    p_value_after: float
    threshold_after: float
    source: SecondSource
    decision: FrameDecision

    @property
    def key(self) -> ChangedKey:
        """Where it stands in the list."""
        return ChangedKey(self.received_at, self.camera, self.frame_id)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a model said of the newest frames that it saw, `COUNTED_FRAMES` at most.

    Attributes:
        frames: How many there are.
        defects: Those that it calls a defect.
        rejects: Those of these that are no defect by the verdict on record.
        accepts: Those that it calls good, and the verdict on record does not.
    """

    frames: int
    defects: int
    rejects: int
    accepts: int


def changed_page(
    engine: sa.Engine, model_id: int, after_state: VerdictState | None, after: ChangedKey | None, limit: int
) -> list[ChangedFrame]:
    """Return frames of which a model says something else, newest first.

    Args:
        engine: The database.
        model_id: Which model.
        after_state: Only those of which it says this; None: all.
        after: The last frame of the page before; None: from the newest.
        limit: Most frames that are returned.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(changed_page_query(model_id, after_state, after, limit)).mappings()
        return [_changed_from_row(row) for row in rows]


def changed_page_query(
    model_id: int, after_state: VerdictState | None, after: ChangedKey | None, limit: int
) -> sa.Select[*tuple[Any, ...]]:
    """One page from the index of the changed, then one verdict by primary key for each of it."""
    row = second_verdicts.c
    page = sa.select(second_verdicts).where(row.model_id == model_id, row.state_before != row.state)
    if after_state is not None:
        page = page.where(row.state == after_state)
    if after is not None:
        behind = sa.tuple_(row.camera, row.frame_id) > (after.camera, after.frame_id)
        page = page.where(
            row.received_at <= after.received_at, sa.or_(row.received_at < after.received_at, behind)
        )  # the first of them is a range of the index
    second = page.order_by(row.received_at.desc(), row.camera, row.frame_id).limit(limit).subquery("page")
    same = sa.and_(*(verdicts.c[name] == second.c[name] for name in ("received_at", "camera", "frame_id")))
    joined = second.join(verdicts, same).outerjoin(models, models.c.id == verdicts.c.model_id)
    return (
        sa.select(
            second.c.received_at,
            second.c.camera,
            second.c.frame_id,
            verdicts.c.part_id,
            verdicts.c.archive_ref,
            verdicts.c.state.label("before"),
            verdicts.c.score.label("score_before"),
            verdicts.c.p_value.label("p_value_before"),
            verdicts.c.threshold.label("threshold_before"),
            models.c.version.label("version_before"),
            second.c.state.label("after"),
            second.c.score.label("score_after"),
            second.c.p_value.label("p_value_after"),
            second.c.threshold.label("threshold_after"),
            second.c.source,
            sa.func.coalesce(_newest_decision(second.c.product, verdicts.c.sha256), FrameDecision.OPEN).label(
                "decision"
            ),
        )
        .select_from(joined)
        .order_by(second.c.received_at.desc(), second.c.camera, second.c.frame_id)
    )


def looked(engine: sa.Engine, model_id: int) -> Looked:
    """Count what a model said of the newest frames that it saw.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    newest = _newest_seen(model_id, COUNTED_FRAMES)
    changed = newest.c.state_before != newest.c.state
    defect = newest.c.state == VerdictState.DEFECT
    query = sa.select(
        sa.func.count(),
        sa.func.count().filter(defect),
        sa.func.count().filter(changed, defect),
        sa.func.count().filter(changed, ~defect),
    ).select_from(newest)
    with transaction(engine) as connection:
        return Looked(*connection.execute(query).one())


def seen_since_registered(engine: sa.Engine, model_id: int, registered_at: datetime) -> Seen:
    """Return how a model did on pictures that people released after it was registered, so that it cannot know them.

    Of the newest `EXAMINED_FRAMES` that it saw. Whoever has the model's manifest knows better which pictures it learned from:
    `seen_by`.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    newest = _newest_seen(model_id, EXAMINED_FRAMES)
    same = (verdicts.c[name] == newest.c[name] for name in ("received_at", "camera", "frame_id"))
    # One step by primary key a frame: asked for a join, the planner may read through all verdicts.
    judged = sa.select(verdicts.c.sha256).where(*same).limit(1).lateral("judged")
    row = decisions.c
    learned = sa.exists().where(
        row.product == newest.c.product,
        row.sha256 == judged.c.sha256,
        row.decision == FrameDecision.RELEASED,
        row.decided_at <= registered_at,
    )
    decided = _newest_decision(newest.c.product, judged.c.sha256)
    each = (
        sa.select(
            judged.c.sha256,
            (newest.c.state == VerdictState.DEFECT).label("defect"),
            (newest.c.state_before != newest.c.state).label("changed"),
            sa.and_(decided == FrameDecision.RELEASED, ~learned).label("released"),
        )
        .select_from(newest.join(judged, sa.true()))
        .cte("each")
        .prefix_with("MATERIALIZED")  # what people decided is looked up once a frame
    )
    picture = each.c.sha256.distinct()
    query = sa.select(
        sa.func.count(),
        sa.func.count().filter(each.c.defect),
        sa.func.count().filter(each.c.changed),
        sa.func.count(picture).filter(each.c.released),
        sa.func.count(picture).filter(each.c.released, each.c.defect),
    ).select_from(each)
    with transaction(engine) as connection:
        return Seen(*connection.execute(query).one())


def _newest_seen(model_id: int, limit: int) -> sa.Subquery:
    row = second_verdicts.c
    return (
        sa.select(second_verdicts)
        .where(row.model_id == model_id)
        .order_by(row.received_at.desc())
        .limit(limit)
        .subquery("newest")
    )


def _newest_decision(product: sa.ColumnElement[Any], sha256: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    row = decisions.c
    of_picture = (row.product == product, row.sha256 == sha256)
    return sa.select(row.decision).where(*of_picture).order_by(row.id.desc()).limit(1).scalar_subquery()


def _changed_from_row(row: Mapping[Any, Any]) -> ChangedFrame:
    kinds = {
        "before": VerdictState(row["before"]),
        "after": VerdictState(row["after"]),
        "source": SecondSource(row["source"]),
        "decision": FrameDecision(row["decision"]),
    }
    return ChangedFrame(**{**row, **kinds})
