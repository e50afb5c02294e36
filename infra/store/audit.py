"""The audit log: who did what, when and why; no row can be changed or taken out without it being seen.

Each row has the hash of the row before. A row's hash is SHA-256, in hex, over these fields in UTF-8, each as a netstring
(`LENGTH:FIELD,` with the length in bytes, in decimal):

    differline.audit.v1     the version of this encoding
    id                      in decimal
    at                      UTC to the microsecond: 2026-03-03T12:00:00.000000Z
    who  action  subject  reason
    detail                  as PostgreSQL writes its jsonb
    previous                hash of the row before; 64 zeros in the first row

PostgreSQL writes number, time and hashes itself (migration 0007), so whoever may add a row cannot choose them; `verify`
computes them again. Numbers rise along the chain; some are missing, those of transactions that were rolled back.

The rows alone do not tell that the newest of them were cut off, or that all were written anew by somebody who owns the
database. For that a person keeps the newest hash elsewhere, and `verify` looks whether it is still in the chain.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from infra.errors import SettingsError
from infra.store.connect import transaction
from infra.store.tables import audit_log

ENCODING = "differline.audit.v1"
GENESIS = "0" * 64
PROMOTION = "promotion"  # in `detail`: the number of the row of `promotions`
ALERT_ACTION = "alert_action"  # in `detail`: the number of the row of `alert_actions`
_HASH = re.compile("[0-9a-f]{64}")
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('audit_log'))")  # the same as in the trigger
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What somebody did.

    Attributes:
        id: Its number; rises along the chain, with gaps.
        at: When, by the database's clock (UTC).
        who: The person or service.
        action: What was done: `acknowledge`, `move_position`, or how a model came into force (`promoted`, …).
        subject: To what; see `model_subject` and the others.
        reason: Why, in that person's words; may be empty.
        detail: What else should be known.
        hash: Its hash.
    """

    id: int
    at: datetime
    who: str
    action: str
    subject: str
    reason: str
    detail: dict[str, object]
    hash: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What the chain is found to be.

    Attributes:
        rows: Rows that were found whole: all of them, or those before the first broken place.
        head: Hash of the last of these; GENESIS where there is none.
        broken: The first broken place, in one line; None where the chain is whole.
    """

    rows: int
    head: str
    broken: str | None

    def __str__(self) -> str:
        """Say it in one line."""
        if self.broken is None:
            return f"the audit chain is whole: {self.rows} rows, newest hash {self.head}"
        return f"THE AUDIT CHAIN IS BROKEN: {self.broken}; the {self.rows} rows before are whole"


def model_subject(product: str, version: int) -> str:
    """Return how a model is named in the log."""
    return f"model {product} {version}"


def alert_subject(alert_id: int) -> str:
    """Return how an alert is named in the log."""
    return f"alert {alert_id}"


def product_subject(product: str) -> str:
    """Return how a product is named in the log, where something is done to its pictures or to all of its models."""
    return f"product {product}"


def person_subject(person: str) -> str:
    """Return how somebody is named in the log, whose rights are changed."""
    return f"person {person}"


def position_subject(topic: str, partition: int) -> str:
    """Return how the position of a partition is named in the log."""
    return f"position {topic}/{partition}"


def output_subject(sink: str) -> str:
    """Return how an output is named in the log."""
    return f"output {sink}"


def letter_subject(place: str) -> str:
    """Return how a dead letter is named in the log, by TOPIC/PARTITION/OFFSET."""
    return f"dead letter {place}"


def record(
    connection: sa.Connection,
    who: str,
    action: str,
    subject: str,
    *,
    reason: str = "",
    detail: Mapping[str, object] | None = None,
) -> int:
    """Put on record what was done; call it in the transaction that does it, as its last step.

    Until that transaction ends, nobody else can record anything.

    Args:
        connection: In a transaction of isolation READ COMMITTED.
        who: The person or service.
        action: What was done, as a stable word.
        subject: To what, by one of the functions above.
        reason: Why, in that person's words.
        detail: What else should be known; JSON without NaN.

    Returns:
        The number of the row.
    """
    connection.execute(_LOCK)  # before the row draws its number, so that numbers rise along the chain
    row = {"who": who, "action": action, "subject": subject, "reason": reason, "detail": dict(detail or {})}
    number: int = connection.execute(sa.insert(audit_log).values(row).returning(audit_log.c.id)).scalar_one()
    return number


def verify(engine: sa.Engine, head: str | None = None) -> Verified:
    """Compute the whole chain again, oldest first, and stop at the first broken place; a bounded number of rows is in memory.

    Args:
        engine: The database.
        head: A hash that was once the newest, to be looked for; None: rows that were cut off at the end are not seen.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    rows, before, last_hash, head_found = 0, 0, GENESIS, head in (None, GENESIS)
    with transaction(engine) as connection:
        stream = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(_HASHED)
        for row_id, *fields, previous, stored in stream:
            if None in fields or stored != row_hash(row_id, *fields, str(previous)):
                return Verified(rows, last_hash, f"row {row_id} was changed: its hash does not fit")
            if previous != last_hash:
                place = f"row {row_id} does not follow row {before}" if before else f"row {row_id} is not the first"
                return Verified(rows, last_hash, f"{place}: a row before it is missing or was replaced")
            rows, before, last_hash = rows + 1, row_id, stored
            head_found = head_found or stored == head
    gone = f"no row has the hash {head}: rows were cut off at the end, or all were written anew"
    return Verified(rows, last_hash, None if head_found else gone)


def checked_hash(text: str) -> str:
    """Return the hash that a person wrote, in lower case.

    Raises:
        SettingsError: It is none.
    """
    found = text.strip().lower()
    if _HASH.fullmatch(found) is None:
        raise SettingsError(
            f"--head {text[:80]!r} is no hash: 64 hexadecimal digits, as `differline audit verify` prints them"
        )
    return found


def row_hash(row_id: int, *fields: str) -> str:
    """Return the hash of a row.

    Args:
        row_id: Its number.
        fields: at, who, action, subject, reason, detail and previous, as the encoding has them.
    """
    digest = hashlib.sha256()
    for field in (ENCODING, str(row_id), *fields):
        encoded = field.encode()
        digest.update(b"%d:%b," % (len(encoded), encoded))
    return digest.hexdigest()


def newest(engine: sa.Engine, limit: int, subject: str | None = None) -> list[AuditRow]:
    """Return the newest rows, newest first.

    Args:
        engine: The database.
        limit: Most rows that are returned.
        subject: Only those about this; None: all.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    query = sa.select(*_SHOWN).order_by(audit_log.c.id.desc()).limit(limit)
    if subject is not None:
        query = query.where(audit_log.c.subject == subject)
    with transaction(engine) as connection:
        return [AuditRow(*row) for row in connection.execute(query)]


def about(connection: sa.Connection, subject: str, until: datetime | None = None) -> list[AuditRow]:
    """Return what was done to something, oldest first.

    Args:
        connection: A transaction.
        subject: To what.
        until: Only what was done until then; None: until now.
    """
    query = sa.select(*_SHOWN).where(audit_log.c.subject == subject).order_by(audit_log.c.id)
    if until is not None:
        query = query.where(audit_log.c.at <= until)
    return [AuditRow(*row) for row in connection.execute(query)]


_SHOWN = tuple(audit_log.c[name] for name in AuditRow.__dataclass_fields__)

# As text, also a time that Python has no number for: whatever somebody wrote into a row, it is hashed and not choked on.
_AT = sa.func.to_char(sa.func.timezone("UTC", audit_log.c.at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
_HASHED = sa.select(
    audit_log.c.id,
    sa.func.coalesce(_AT, sa.cast(audit_log.c.at, sa.Text)),
    audit_log.c.who,
    audit_log.c.action,
    audit_log.c.subject,
    audit_log.c.reason,
    sa.cast(audit_log.c.detail, sa.Text),
    audit_log.c.previous,
    audit_log.c.hash,
).order_by(audit_log.c.id)
