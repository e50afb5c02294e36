"""What people are at most, and how an administrator takes a role away."""

from dashboard.access import Right, needs, person
from dashboard.sources import sources
from infra.store import role_limits
from infra.store.role_limits import RoleLimit
from infra.store.tables import Role


@needs(Right.ADMINISTER)
def limits() -> list[RoleLimit]:
    """Return who was limited, by name.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    return list(role_limits.limits(sources().database).values())


@needs(Right.ADMINISTER)
def limit_role(of: str, role: Role, reason: str) -> None:
    """Say what somebody is at most from now on, whatever the sign-in says.

    Raises:
        AccessDeniedError: Who is looking may not.
        ValueError: The name or the reason is empty or too long, or it is about oneself.
        DatabaseAwayError: The database does not answer; to try again is safe.
    """
    who = person().name
    if of.strip() == who:
        raise ValueError("nobody limits themselves: the last administrator would be gone")
    role_limits.limit_role(sources().database, of, role, who=who, reason=reason)
