"""Who is looking, and what they may do; asked in the data layer, on every rerun and before every write.

A page may hide a button, but it is the functions of `dashboard.data` that refuse: each of them names the right it needs.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import ParamSpec, TypeVar

import streamlit as st

from dashboard import identity
from dashboard.sources import sources
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.store.role_limits import RoleLimit, limits
from infra.store.tables import Role

P = ParamSpec("P")
R = TypeVar("R")

_RANKS = tuple(Role)
RIGHT = "right"  # what a guarded function has its right as
_LIMITS_KEPT_S = 1.0


class Right(Enum):
    """What may be done, by the least role that may do it."""

    SEE = Role.VIEWER
    INSPECT = Role.INSPECTOR  # acknowledge and resolve alerts, release and reject frames
    ENGINEER = Role.ENGINEER  # refit, shadow, promote, roll back; send dead letters again
    ADMINISTER = Role.ADMIN  # take roles away


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who looks at the dashboard; the name stands beside what they do."""

    name: str
    role: Role

    def may(self, right: Right) -> bool:
        """Tell whether the role suffices."""
        return _RANKS.index(self.role) >= _RANKS.index(right.value)


def person(*, anew: bool = False) -> Person:
    """Return who is looking at this moment: the lower of what the sign-in says and what an administrator left.

    Args:
        anew: Ask the provider and the database, whatever is remembered.

    Raises:
        AccessDeniedError: Nobody is signed in.
        DatabaseAwayError: The database does not answer, so nobody knows.
    """
    signed_in = identity.signed_in(anew=anew)
    limit = (limits(sources().database) if anew else _limits()).get(signed_in.name)
    role = signed_in.role if limit is None else min(signed_in.role, limit.role, key=_RANKS.index)
    return Person(signed_in.name, role)


def require(right: Right) -> Person:
    """Return who is looking, if they may do this; what writes asks anew.

    Raises:
        AccessDeniedError: They may not, or nobody is signed in.
        DatabaseAwayError: The database does not answer, so nobody knows.
    """
    who = person(anew=right is not Right.SEE)
    if not who.may(right):
        raise AccessDeniedError(f"this needs the role {right.value}, and you are {who.role}")
    return who


def needs(right: Right) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function of the data layer run only for somebody who has the right; it raises AccessDeniedError otherwise."""

    def guarded(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            require(right)
            return function(*args, **kwargs)

        setattr(checked, RIGHT, right)  # read by the test that none is forgotten
        return checked

    return guarded


def may(right: Right) -> bool:
    """Tell whether a button should be there at all; what it does asks again."""
    with suppress(AccessDeniedError, DatabaseAwayError):
        return person().may(right)
    return False


@st.cache_data(ttl=_LIMITS_KEPT_S, max_entries=1, show_spinner=False)
def _limits() -> dict[str, RoleLimit]:
    return limits(sources().database)
