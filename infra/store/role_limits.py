"""The most that a person may be on the dashboard, whatever the sign-in says: how a role is taken away at once."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from infra.store.audit import person_subject, record
from infra.store.connect import transaction
from infra.store.reasons import checked_reason
from infra.store.tables import Role, role_limits

MAX_PERSON = 200


@dataclass(frozen=True, slots=True)
class RoleLimit:
    """The newest limit of a person, and who set it, why and when."""

    person: str
    role: Role
    who: str
    reason: str
    limited_at: datetime


def limits(engine: sa.Engine) -> dict[str, RoleLimit]:
    """Return the newest limit of each person that has one.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = role_limits.c
    newest = sa.select(role_limits).ext(postgresql.distinct_on(row.person)).order_by(row.person, row.id.desc())
    with transaction(engine) as connection:
        found = connection.execute(newest).mappings()
        return {
            each["person"]: RoleLimit(
                each["person"], Role(each["role"]), each["who"], each["reason"], each["limited_at"]
            )
            for each in found
        }


def limit_role(engine: sa.Engine, person: str, role: Role, *, who: str, reason: str) -> None:
    """Say what somebody is at most, from now on; ADMIN lifts a limit.

    Raises:
        ValueError: The person or the reason is empty or too long, or has a NUL.
        DatabaseAwayError: PostgreSQL does not answer; to try again is safe.
    """
    person, reason = person.strip(), checked_reason(reason)
    if not person or len(person) > MAX_PERSON or "\0" in person:
        raise ValueError(f"a name has 1 to {MAX_PERSON} characters, none of them NUL")
    with transaction(engine) as connection:
        connection.execute(sa.insert(role_limits).values(person=person, role=role, who=who, reason=reason))
        record(connection, who, "limit_role", person_subject(person), reason=reason, detail={"role": role})
