"""What models say that are not in force, live in shadow or later by a replay: beside the verdicts, never instead."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from infra.bus.protocol import Partition
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


@dataclass(frozen=True, slots=True)
class FrameOnRecord:
    """A frame with its verdict, as far as scoring it again needs it.

    Attributes:
        received_at: With `camera` and `frame_id` the key of its verdict.
        sha256: Of the picture that was judged, in hex.
        judgeable: Whether anything can be judged on it: it was neither black, nor over-exposed, nor of a frozen camera.
        scored: Whether the other model has scored it before.
    """

    received_at: datetime
    camera: str
    frame_id: str
    sha256: str
    judgeable: bool
    scored: bool


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
        .where(*_of_window(product, since, until), _TO_JUDGE, ~scored)
        .order_by(row.received_at, row.camera, row.frame_id)
    )
    with transaction(engine) as connection:
        return [FrameToReplay(*each) for each in connection.execute(query)]


def frames_of(engine: sa.Engine, product: str, since: datetime, until: datetime) -> tuple[int, int]:
    """Return how many frames of a product a window has, and of how many the picture is kept and can be judged.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(sa.func.count(), sa.func.count().filter(_TO_JUDGE)).where(*_of_window(product, since, until))
    with transaction(engine) as connection:
        frames, kept = connection.execute(query).one()
        return frames, kept


def frames_on_record(
    engine: sa.Engine, model_id: int, frames: Collection[tuple[datetime, str, str]]
) -> list[FrameOnRecord]:
    """Return those of some frames that have a verdict.

    Args:
        engine: The database.
        model_id: Whose other verdicts count as scored.
        frames: Time of receipt, camera and id; at least one, each once.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = verdicts.c
    times, cameras, ids = zip(*frames, strict=True)
    wanted = (
        sa.func.unnest(
            sa.literal(list(times), sa.ARRAY(sa.DateTime(timezone=True))),
            sa.literal(list(cameras), sa.ARRAY(sa.Text)),
            sa.literal(list(ids), sa.ARRAY(sa.Text)),
        )
        .table_valued("received_at", "camera", "frame_id")
        .render_derived(name="wanted")
    )
    scored = sa.exists().where(second_verdicts.c.model_id == model_id, _SAME_FRAME)
    same = sa.and_(*(row[name] == wanted.c[name] for name in ("received_at", "camera", "frame_id")))
    query = sa.select(row.received_at, row.camera, row.frame_id, row.sha256, _JUDGEABLE, scored).select_from(
        wanted.join(verdicts, same)
    )
    with transaction(engine) as connection:
        return [FrameOnRecord(*each) for each in connection.execute(query)]


def judgeable_frames(engine: sa.Engine, product: str, since: datetime, until: datetime) -> tuple[int, int]:
    """Return how many frames of a product a window has, and how many of them can be judged, kept in the archive or not.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(sa.func.count(), sa.func.count().filter(_JUDGEABLE)).where(*_of_window(product, since, until))
    with transaction(engine) as connection:
        frames, judgeable = connection.execute(query).one()
        return frames, judgeable


def ends_on_bus(engine: sa.Engine, product: str, since: datetime, until: datetime) -> dict[Partition, int]:
    """Return, by partition, the offset behind the last frame of a product's window, as it lay when it was judged.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = verdicts.c
    query = (
        sa.select(row.topic, row.partition, sa.func.max(row.bus_offset) + 1)
        .where(*_of_window(product, since, until))
        .group_by(row.topic, row.partition)
    )
    with transaction(engine) as connection:
        return {Partition(topic, number): end for topic, number, end in connection.execute(query)}


_JUDGEABLE = sa.func.coalesce(verdicts.c.reason, "").not_in(UNUSABLE)
_TO_JUDGE = sa.and_(verdicts.c.archive_ref.is_not(None), _JUDGEABLE)
_SAME_FRAME = sa.and_(
    second_verdicts.c.received_at == verdicts.c.received_at,
    second_verdicts.c.camera == verdicts.c.camera,
    second_verdicts.c.frame_id == verdicts.c.frame_id,
)


def _of_window(product: str, since: datetime, until: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    row = verdicts.c
    return row.product == product, row.received_at >= since, row.received_at < until


def _newest_decision() -> sa.ScalarSelect[Any]:
    row = decisions.c
    of_picture = (row.product == second_verdicts.c.product, row.sha256 == verdicts.c.sha256)
    return sa.select(row.decision).where(*of_picture).order_by(row.id.desc()).limit(1).scalar_subquery()


def _within(since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    received = second_verdicts.c.received_at
    return ([received >= since] if since else []) + ([received < until] if until else [])
