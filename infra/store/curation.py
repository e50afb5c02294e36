"""What people, and rules that they state, decided about frames: which may be learned from, which are defective.

A decision is about a picture, by its SHA-256, for one product. It is never changed; the newest one counts, and a picture
without one is open. Only pictures that the archive keeps can be decided about.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from infra.errors import CurationError
from infra.store.audit import product_subject, record
from infra.store.connect import transaction
from infra.store.tables import FrameDecision, VerdictState, curation, decisions, verdicts
from infra.telemetry import get_logger

RULE_PREFIX = "rule: "
_MOST_ROWS = 100_000  # they are in memory at once

_log = get_logger("curation")


@dataclass(frozen=True, slots=True)
class NewDecision:
    """What is decided about a picture; the attributes are columns of `decisions`.

    Attributes:
        product: For which product.
        sha256: Of the encoded picture, in hex.
        decision: Released, rejected, or open again.
        who: Who decided.
        reason: Why, in that person's words; of a rule, the rule.
        camera: Where the picture came from; None: not from the line.
        frame_id: Its frame, of several with the same bytes the newest.
        run: Of production; its pictures stay together when some are held out. None: a run of its own.
        challenge: Whether each new model is shown it, as a known defect.
    """

    product: str
    sha256: str
    decision: FrameDecision
    who: str
    reason: str
    camera: str | None = None
    frame_id: str | None = None
    run: str | None = None
    challenge: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The newest decision about a picture; as `NewDecision`, and when."""

    product: str
    sha256: str
    decision: FrameDecision
    who: str
    reason: str
    camera: str | None
    frame_id: str | None
    run: str | None
    challenge: bool
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame of the line whose picture is kept; of several with the same bytes the newest.

    Attributes:
        run: Of production: the job, and without one the camera's run and the day (UTC) of the frame.
        p_value: None where it was not scored.
    """

    sha256: str
    camera: str
    frame_id: str
    part_id: str | None
    run: str
    received_at: datetime
    state: VerdictState
    score: float | None
    p_value: float | None

    def quarantined(self, below: float) -> bool:
        """Tell whether only a person may release it: its p-value is below, or no model found it good."""
        return self.state is not VerdictState.GOOD or self.p_value is None or self.p_value < below


def decide(engine: sa.Engine, made: Sequence[NewDecision]) -> int:
    """Put decisions on record, all or none; what would change nothing about a picture is left out.

    Returns:
        How many were put on record.

    Raises:
        CurationError: The same picture is decided about twice, in different ways.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return decide_in(connection, made)


def decide_in(connection: sa.Connection, made: Sequence[NewDecision]) -> int:
    """As `decide`, in a transaction that does something else too; it holds the audit log from then on.

    Raises:
        CurationError: The same picture is decided about twice, in different ways.
    """
    by_picture: dict[tuple[str, str], NewDecision] = {}
    for each in made:
        before = by_picture.setdefault((each.product, each.sha256), each)
        if (before.decision, before.challenge) != (each.decision, each.challenge):
            raise CurationError(
                f"{each.sha256} is both {before.decision} and {each.decision}; nothing was put on record"
            )
    known: dict[tuple[str, str], Decision] = {}
    for product in sorted({product for product, _ in by_picture}):
        connection.execute(_LOCK, {"product": product})
        wanted = [sha256 for of, sha256 in by_picture if of == product]
        known |= {(product, row.sha256): row for row in _newest(connection, product, wanted)}
    fresh = [
        _with_its_run(each, known.get(picture))
        for picture, each in by_picture.items()
        if _changes(known.get(picture), each)
    ]
    if fresh:
        connection.execute(sa.insert(decisions), [asdict(each) for each in fresh])
        _record(connection, fresh)
    return len(fresh)


def latest_decision(connection: sa.Connection, product: str, sha256: str) -> Decision | None:
    """Return the newest decision about a picture; until the transaction ends nobody else can make a newer one."""
    connection.execute(_LOCK, {"product": product})
    return next(iter(_newest(connection, product, [sha256])), None)


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of decisions that were made on what somebody saw.

    Attributes:
        recorded: Number of the decision, by the hash of the picture.
        overtaken: What somebody else decided about the others meanwhile; nothing was put on record about these.
    """

    recorded: dict[str, int]
    overtaken: tuple[Decision, ...] = ()


def decide_as_seen(engine: sa.Engine, made: Sequence[NewDecision], seen: Mapping[str, int | None]) -> Decided:
    """Put decisions about pictures of one product on record, where nobody has decided since they were looked at.

    Args:
        engine: The database.
        made: At most one for each picture.
        seen: Number of the decision that stood when the picture was looked at; None: there was none.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; whether they are on record is then seen by looking again.
    """
    if not made:
        return Decided({})
    with transaction(engine) as connection:
        connection.execute(_LOCK, {"product": made[0].product})
        wanted = sa.any_(sa.literal([each.sha256 for each in made], sa.ARRAY(sa.Text)))
        now = sa.select(curation.c.sha256, curation.c.decision_id)
        numbers = dict(
            connection.execute(now.where(curation.c.product == made[0].product, curation.c.sha256 == wanted)).all()
        )
        fresh = [each for each in made if numbers.get(each.sha256) == seen[each.sha256]]
        late = [each.sha256 for each in made if numbers.get(each.sha256) != seen[each.sha256]]
        overtaken = tuple(_newest(connection, made[0].product, late)) if late else ()
        if not fresh:
            return Decided({}, overtaken)
        rows = [asdict(each) for each in fresh]
        added = sa.insert(decisions).returning(decisions.c.sha256, decisions.c.id)
        recorded: dict[str, int] = dict(connection.execute(added, rows).all())
        _record(connection, fresh)
        return Decided(recorded, overtaken)


def newest_decisions(engine: sa.Engine, product: str, sha256: Collection[str] | None = None) -> list[Decision]:
    """Return the newest decision of each picture of a product that has one, in the order in which they were made.

    Args:
        engine: The database.
        product: Of which product.
        sha256: Only about these pictures; None: about all.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return _newest(connection, product, sha256)


def products_with_decisions(engine: sa.Engine) -> list[str]:
    """Return the products that somebody decided about pictures of, by name.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return list(connection.scalars(sa.select(decisions.c.product).distinct().order_by(decisions.c.product)))


def kept_frames(
    engine: sa.Engine,
    product: str,
    sha256: Collection[str] | None = None,
) -> list[KeptFrame]:
    """Return the frames of a product whose pictures are kept, newest first: the newest 100,000.

    Where there are more, a warning says from when on older ones are left out.

    Args:
        engine: The database.
        product: Of which product.
        sha256: Only these pictures; None: all.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    return _frames(engine, product, sha256)


def open_frames(engine: sa.Engine, product: str) -> list[KeptFrame]:
    """Return those of the kept frames that nobody has decided about, or that were opened again; newest first, at most 100,000.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    # Written out, so that the planner sees that the index of the open ones fits.
    return _frames(engine, product, None, sa.text("decision = 'open'"))


def products_of_pictures(engine: sa.Engine, sha256: Collection[str]) -> dict[str, frozenset[str]]:
    """Return for which products the line has seen pictures; one that it never kept is left out.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = (
        sa.select(verdicts.c.sha256, sa.func.array_agg(verdicts.c.product.distinct()))
        .where(
            verdicts.c.archive_ref.is_not(None),
            verdicts.c.sha256 == sa.any_(sa.literal(list(sha256), sa.ARRAY(sa.Text))),
        )
        .group_by(verdicts.c.sha256)
    )
    with transaction(engine) as connection:
        return {picture: frozenset(products) for picture, products in connection.execute(query)}


_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('decisions'), hashtext(:product))")


def _frames(
    engine: sa.Engine, product: str, sha256: Collection[str] | None, *further: sa.ColumnElement[bool] | sa.TextClause
) -> list[KeptFrame]:
    row = curation.c
    columns = (row[name] for name in KeptFrame.__dataclass_fields__)
    query = sa.select(*columns).where(row.product == product, row.received_at.is_not(None), *further)
    if sha256 is not None:
        query = query.where(row.sha256 == sa.any_(sa.literal(list(sha256), sa.ARRAY(sa.Text))))
    with transaction(engine) as connection:
        rows = connection.execute(query.order_by(row.received_at.desc()).limit(_MOST_ROWS + 1)).mappings().all()
    found = [KeptFrame(**{**each, "state": VerdictState(each["state"])}) for each in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        before = str(found[-1].received_at)
        _log.warning("curation.older_frames_left_out", product=product, frames=_MOST_ROWS, before=before)
    return found


def _newest(connection: sa.Connection, product: str, sha256: Collection[str] | None) -> list[Decision]:
    row = decisions.c
    query = sa.select(decisions).where(row.product == product)
    if sha256 is not None:
        query = query.where(row.sha256 == sa.any_(sa.literal(list(sha256), sa.ARRAY(sa.Text))))
    newest = query.ext(postgresql.distinct_on(row.sha256)).order_by(row.sha256, row.id.desc()).subquery()
    found = sa.select(*(newest.c[name] for name in Decision.__dataclass_fields__)).order_by(newest.c.id)
    return [
        Decision(**{**each, "decision": FrameDecision(each["decision"])})
        for each in connection.execute(found).mappings()
    ]


def _record(connection: sa.Connection, made: Sequence[NewDecision]) -> None:
    """Put into the audit log who decided, a row for each product, person and decision; the reasons stand with the decisions."""
    groups: dict[tuple[str, str, FrameDecision], list[str]] = defaultdict(list)
    for each in made:
        groups[each.product, each.who, each.decision].append(each.sha256)
    for (product, who, decision), pictures in groups.items():
        record(connection, who, decision, product_subject(product), detail={"sha256": pictures})


def _with_its_run(made: NewDecision, before: Decision | None) -> NewDecision:
    """A picture stays of its production run, also where the new decision does not name it."""
    return replace(made, run=before.run) if before is not None and made.run is None else made


def _changes(before: Decision | None, after: NewDecision) -> bool:
    if before is None:
        return after.decision is not FrameDecision.OPEN
    return (before.decision, before.challenge) != (after.decision, after.challenge)
