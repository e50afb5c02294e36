"""What models say that are not in force, live in shadow or later from the archive: beside the verdicts, never instead."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from infra.store.connect import transaction
from infra.store.tables import UNUSABLE, FrameDecision, SecondSource, VerdictState, decisions, second_verdicts, verdicts


@dataclass(frozen=True, slots=True)
class SecondVerdict:
    """What another model says of a frame; the attributes are columns of `second_verdicts`."""

    model_id: int
    received_at: datetime
    camera: str
    frame_id: str
    source: SecondSource
    product: str
    state: VerdictState
    score: float
    p_value: float
    threshold: float
    views: int
    scored_at: datetime


@dataclass(frozen=True, slots=True)
class ChangedVerdict:
    """A frame of which another model says something else.

    Attributes:
        before: What is on record for it.
        after: What the other model says.
        decision: What a person decided about its picture; open where nobody did.
    """

    received_at: datetime
    camera: str
    frame_id: str
    part_id: str | None
    sha256: str
    before: VerdictState
    after: VerdictState
    score_before: float | None
    score_after: float
    p_value_after: float
    source: SecondSource
    decision: FrameDecision


@dataclass(frozen=True, slots=True)
class Seen:
    """How much another model has seen of the line.

    Attributes:
        frames: Frames that it scored.
        defects: Those that it calls a defect.
        changed: Those of which it says something else than the verdict on record.
        released: Released pictures among them, each once.
        false_alarms: Those of these that it calls a defect.
    """

    frames: int
    defects: int
    changed: int
    released: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class FrameToReplay:
    """A frame whose picture is kept, and that a model has not scored yet."""

    received_at: datetime
    camera: str
    frame_id: str
    archive_ref: str


def add_second(connection: sa.Connection, rows: Sequence[SecondVerdict]) -> int:
    """Put down what another model says; what it said of a frame before stays.

    Returns:
        How many were new.
    """
    if not rows:
        return 0
    insert = postgresql.insert(second_verdicts).on_conflict_do_nothing().returning(second_verdicts.c.frame_id)
    return len(connection.execute(insert.values([asdict(row) for row in rows])).all())


def changed_verdicts(
    engine: sa.Engine,
    model_id: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[ChangedVerdict]:
    """Return the frames of which a model says something else than their verdict, oldest first; NO_VERDICT counts as another.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    second = second_verdicts.c
    decision = sa.func.coalesce(_newest_decision(), FrameDecision.OPEN)
    query = (
        sa.select(
            second.received_at,
            second.camera,
            second.frame_id,
            verdicts.c.part_id,
            verdicts.c.sha256,
            verdicts.c.state.label("before"),
            second.state.label("after"),
            verdicts.c.score.label("score_before"),
            second.score.label("score_after"),
            second.p_value.label("p_value_after"),
            second.source,
            decision.label("decision"),
        )
        .join(verdicts, _SAME_FRAME)
        .where(second.model_id == model_id, second.state != verdicts.c.state, *_within(since, until))
        .order_by(second.received_at, second.camera, second.frame_id)
    )
    with transaction(engine) as connection:
        return [
            ChangedVerdict(
                **{
                    **row,
                    "before": VerdictState(row["before"]),
                    "after": VerdictState(row["after"]),
                    "source": SecondSource(row["source"]),
                    "decision": FrameDecision(row["decision"]),
                }
            )
            for row in connection.execute(query).mappings()
        ]


def seen_by(engine: sa.Engine, model_id: int, learned_from: Sequence[str] = ()) -> Seen:
    """Return how much another model has seen of the line, and how it did on what people released.

    Args:
        engine: The database.
        model_id: Which model.
        learned_from: Pictures that count as neither released nor false alarms, as the model knows them.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    second = second_verdicts.c
    defect = second.state == VerdictState.DEFECT
    known = verdicts.c.sha256 == sa.any_(sa.literal(list(learned_from), sa.ARRAY(sa.Text)))
    released = sa.and_(_newest_decision() == FrameDecision.RELEASED, ~known)
    picture = verdicts.c.sha256.distinct()
    query = (
        sa.select(
            sa.func.count(),
            sa.func.count().filter(defect),
            sa.func.count().filter(second.state != verdicts.c.state),
            sa.func.count(picture).filter(released),
            sa.func.count(picture).filter(released, defect),
        )
        .select_from(second_verdicts)
        .join(verdicts, _SAME_FRAME)
        .where(second.model_id == model_id)
    )
    with transaction(engine) as connection:
        return Seen(*connection.execute(query).one())


def frames_to_replay(
    engine: sa.Engine, product: str, model_id: int, since: datetime, until: datetime
) -> list[FrameToReplay]:
    """Return the kept frames of a window that a model has not scored, oldest first; those that can be judged at all.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = verdicts.c
    scored = sa.exists().where(second_verdicts.c.model_id == model_id, _SAME_FRAME)
    query = (
        sa.select(row.received_at, row.camera, row.frame_id, row.archive_ref)
        .where(row.product == product, _TO_JUDGE, row.received_at >= since, row.received_at < until)
        .where(~scored)
        .order_by(row.received_at, row.camera, row.frame_id)
    )
    with transaction(engine) as connection:
        return [FrameToReplay(*each) for each in connection.execute(query)]


def frames_of(engine: sa.Engine, product: str, since: datetime, until: datetime) -> tuple[int, int]:
    """Return how many frames of a product a window has, and of how many the picture is kept and can be judged.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = verdicts.c
    query = sa.select(sa.func.count(), sa.func.count().filter(_TO_JUDGE)).where(
        row.product == product, row.received_at >= since, row.received_at < until
    )
    with transaction(engine) as connection:
        frames, kept = connection.execute(query).one()
        return frames, kept


_TO_JUDGE = sa.and_(verdicts.c.archive_ref.is_not(None), sa.func.coalesce(verdicts.c.reason, "").not_in(UNUSABLE))
_SAME_FRAME = sa.and_(
    second_verdicts.c.received_at == verdicts.c.received_at,
    second_verdicts.c.camera == verdicts.c.camera,
    second_verdicts.c.frame_id == verdicts.c.frame_id,
)


def _newest_decision() -> sa.ScalarSelect[Any]:
    row = decisions.c
    of_picture = (row.product == second_verdicts.c.product, row.sha256 == verdicts.c.sha256)
    return sa.select(row.decision).where(*of_picture).order_by(row.id.desc()).limit(1).scalar_subquery()


def _within(since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    received = second_verdicts.c.received_at
    return ([received >= since] if since else []) + ([received < until] if until else [])
