import pytest
import sqlalchemy as sa

from infra.store import audit, role_limits
from infra.store.tables import Role


def test_the_newest_limit_of_a_person_counts_and_all_are_on_record(database: sa.Engine) -> None:
    role_limits.limit_role(database, " m.weber ", Role.VIEWER, who="chief", reason="left the team")
    role_limits.limit_role(database, "a.kurz", Role.NONE, who="chief", reason="badge lost")
    role_limits.limit_role(database, "m.weber", Role.ADMIN, who="chief", reason="is back")
    found = role_limits.limits(database)
    assert {person: (limit.role, limit.reason) for person, limit in found.items()} == {
        "m.weber": (Role.ADMIN, "is back"),
        "a.kurz": (Role.NONE, "badge lost"),
    }
    rows = audit.newest(database, 10)
    assert sorted((row.action, row.subject, row.detail["role"]) for row in rows) == [
        ("limit_role", "person a.kurz", "none"),
        ("limit_role", "person m.weber", "admin"),
        ("limit_role", "person m.weber", "viewer"),
    ]


@pytest.mark.parametrize(
    ("person", "reason"), [("", "r"), ("p" * 201, "r"), ("p", " "), ("p\0", "r"), ("p", "r" * 501)]
)
def test_a_limit_needs_a_person_and_a_reason(database: sa.Engine, person: str, reason: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        role_limits.limit_role(database, person, Role.NONE, who="chief", reason=reason)
    assert role_limits.limits(database) == {}
