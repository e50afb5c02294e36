"""What people at the dashboard ask of the trainer: learn a product anew, look on in shadow, put in force, roll back.

The dashboard asks, with the audit record of the asking in the same transaction; the trainer takes one request after another
and does what the command would do. A request is done in the transaction of its effect (`conclude`), so it has its effect once,
whoever is killed when: until then its trainer says that it lives (`beat`), and when it has not for `LEASE`, another one begins
anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from infra.errors import RequestLostError
from infra.printable import printable
from infra.store.audit import model_subject, product_subject, record
from infra.store.connect import transaction
from infra.store.reasons import checked_reason
from infra.store.tables import RequestKind, RequestOutcome, model_requests

LEASE = timedelta(seconds=60)
MOST_ATTEMPTS = 2
MAX_MESSAGE = 1000
QUICK = (RequestKind.PROMOTE, RequestKind.ROLLBACK, RequestKind.SHADOW)

Along = Callable[[sa.Connection, int | None], None]
"""What is done along with a change of models, as the last step of its transaction; told the version, None for none."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """What is asked for; the attributes are columns of `model_requests`.

    Attributes:
        product: Of which product.
        what: What is to be done.
        who: Who asks.
        reason: Why, in that person's words; it stays on record with what is done.
        version: Which version; of a rollback, the one that is to leave; of shadow, None: let none look on.
        force: Whether objections are overruled.
    """

    product: str
    what: RequestKind
    who: str
    reason: str
    version: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request and how far it is; the attributes are columns of `model_requests`, times in UTC."""

    id: int
    product: str
    what: RequestKind
    version: int | None
    force: bool
    who: str
    reason: str
    asked_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str | None
    taken_at: datetime | None
    beat_at: datetime | None
    stage: str | None
    progress: float | None
    done_at: datetime | None
    outcome: RequestOutcome | None
    message: str | None

    @property
    def open(self) -> bool:
        """Whether it is still to be done."""
        return self.outcome is None and self.cancelled_at is None


@dataclass(frozen=True, slots=True)
class TakenRequest:
    """A request that a trainer has taken.

    Attributes:
        worker: Which trainer.
        attempts: How often it has been taken; with `worker`, it tells whether it is still this trainer's.
    """

    id: int
    product: str
    what: RequestKind
    version: int | None
    force: bool
    who: str
    reason: str
    worker: str
    attempts: int


def ask(engine: sa.Engine, new: NewRequest, role: str) -> int:
    """Ask for something, and put on record who did, as what, and why.

    Returns:
        The number of the request.

    Raises:
        ValueError: The reason is missing, too long or has a NUL, or the same is asked for already and not done.
        DatabaseAwayError: PostgreSQL does not answer; whether it was asked for is seen in the list.
    """
    reason = checked_reason(new.reason)
    values = {name: getattr(new, name) for name in NewRequest.__dataclass_fields__} | {"reason": reason}
    with transaction(engine) as connection:
        try:
            with connection.begin_nested():
                inserted = sa.insert(model_requests).values(values).returning(model_requests.c.id)
                number: int = connection.execute(inserted).scalar_one()
        except sa.exc.IntegrityError as error:
            if "model_requests_open" in str(error.orig):
                raise ValueError("the same is asked for already and not done yet") from error
            raise
        subject = product_subject(new.product) if new.version is None else model_subject(new.product, new.version)
        detail = {"request": number, "role": role, "force": new.force}
        record(connection, new.who, f"ask_{new.what}", subject, reason=reason, detail=detail)
    return number


def cancel(engine: sa.Engine, number: int, who: str, role: str) -> bool:
    """Take back a request that nobody has taken; on record with who did.

    Returns:
        False where it was taken, done or cancelled before.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; to try again is safe.
    """
    row = model_requests.c
    cancelled = (
        sa.update(model_requests)
        .where(row.id == number, row.taken_at.is_(None), _OPEN)
        .values(cancelled_at=sa.func.clock_timestamp(), cancelled_by=who)
        .returning(row.product, row.what)
    )
    with transaction(engine) as connection:
        found = connection.execute(cancelled).one_or_none()
        if found is None:
            return False
        detail = {"request": number, "role": role, "what": found.what}
        record(connection, who, "cancel_request", product_subject(found.product), detail=detail)
        return True


def requests_of(engine: sa.Engine, product: str, limit: int = 10) -> list[ModelRequest]:
    """Return the newest requests about a product, newest first.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    columns = [model_requests.c[name] for name in ModelRequest.__dataclass_fields__]
    query = sa.select(*columns).where(model_requests.c.product == product)
    with transaction(engine) as connection:
        rows = connection.execute(query.order_by(model_requests.c.id.desc()).limit(limit)).mappings()
        return [
            ModelRequest(
                **{
                    **row,
                    "what": RequestKind(row["what"]),
                    "outcome": RequestOutcome(row["outcome"]) if row["outcome"] else None,
                }
            )
            for row in rows
        ]


def take(engine: sa.Engine, worker: str, kinds: Sequence[RequestKind], lease: timedelta = LEASE) -> TakenRequest | None:
    """Take the oldest request of these kinds that nobody works on; None where there is none.

    Requests of these kinds about one product are done in the order in which they were asked for. One whose trainer has been
    silent for `lease` is taken again, or failed when it has been taken `MOST_ATTEMPTS` times.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row, earlier = model_requests.c, model_requests.alias("earlier")
    wanted = row.what.in_(list(kinds))
    lapsed = row.beat_at < sa.func.clock_timestamp() - lease
    before_it = sa.exists().where(
        earlier.c.product == row.product,
        earlier.c.what.in_(list(kinds)),
        earlier.c.id < row.id,
        earlier.c.outcome.is_(None),
        earlier.c.cancelled_at.is_(None),
    )
    free = (
        sa.select(row.id)
        .where(_OPEN, wanted, sa.or_(row.taken_at.is_(None), lapsed), ~before_it)
        .order_by(row.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=model_requests)
    )
    with transaction(engine) as connection:
        given_up = (_OPEN, wanted, lapsed, row.attempts >= MOST_ATTEMPTS)
        connection.execute(sa.update(model_requests).where(*given_up).values(_ended(RequestOutcome.FAILED, _GONE)))
        number = connection.scalar(free)
        if number is None:
            return None
        now = sa.func.clock_timestamp()
        taken = (
            sa.update(model_requests)
            .where(row.id == number)
            .values(
                taken_at=now, beat_at=now, worker=worker, attempts=row.attempts + 1, stage=sa.null(), progress=sa.null()
            )
            .returning(*(row[name] for name in TakenRequest.__dataclass_fields__))
        )
        found = connection.execute(taken).mappings().one()
        return TakenRequest(**{**found, "what": RequestKind(found["what"])})


def taken_request(engine: sa.Engine, number: int, worker: str, attempts: int) -> TakenRequest | None:
    """Return a request that a trainer has taken; None where it is not that trainer's any more.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = model_requests.c
    query = sa.select(*(row[name] for name in TakenRequest.__dataclass_fields__)).where(
        row.id == number, row.worker == worker, row.attempts == attempts, _OPEN
    )
    with transaction(engine) as connection:
        found = connection.execute(query).mappings().one_or_none()
        return None if found is None else TakenRequest(**{**found, "what": RequestKind(found["what"])})


def beat(engine: sa.Engine, taken: TakenRequest) -> None:
    """Say that whoever works on a request lives.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        connection.execute(_mine(taken).values(beat_at=sa.func.clock_timestamp()))


def tell_progress(engine: sa.Engine, taken: TakenRequest, stage: str, progress: float) -> None:
    """Say how far a request is.

    Args:
        engine: The database.
        taken: Which request.
        stage: What is being done, as a stable word.
        progress: Share of all that is to be done, in [0, 1].

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        connection.execute(_mine(taken).values(stage=stage, progress=progress))


def conclude(connection: sa.Connection, taken: TakenRequest, outcome: RequestOutcome, message: str) -> None:
    """Put on record what came of a request; of one that has an effect, in the transaction of the effect.

    Raises:
        RequestLostError: It is not this trainer's any more: whatever the transaction did, it is not to be done.
    """
    if connection.execute(_mine(taken).values(_ended(outcome, message))).rowcount == 0:
        raise RequestLostError(f"request {taken.id} is not this trainer's any more: nothing was done")


def put_back(engine: sa.Engine, taken: TakenRequest) -> None:
    """Let another trainer take a request, as if this one had not: it ends in order and is not the request's fault.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer; the request is free when its lease has passed.
    """
    nobody = {name: sa.null() for name in ("taken_at", "beat_at", "worker", "stage", "progress")}
    with transaction(engine) as connection:
        connection.execute(_mine(taken).values(**nobody, attempts=taken.attempts - 1))


_OPEN = sa.and_(model_requests.c.outcome.is_(None), model_requests.c.cancelled_at.is_(None))
_GONE = "the trainer that worked on it was gone, again: look at its log before you ask once more"


def _mine(taken: TakenRequest) -> sa.Update:
    row = model_requests.c
    return sa.update(model_requests).where(
        row.id == taken.id, row.worker == taken.worker, row.attempts == taken.attempts, _OPEN
    )


def _ended(outcome: RequestOutcome, message: str) -> dict[str, Any]:
    text = printable(message)[:MAX_MESSAGE] or outcome
    return {"outcome": outcome, "message": text, "done_at": sa.func.clock_timestamp()}
