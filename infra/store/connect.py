"""Connections to PostgreSQL, and the one place where the driver's errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from infra.errors import DatabaseAwayError, SettingsError

_CONNECT_TIMEOUT_S = 10


def open_database(url: str, pool_size: int = 4) -> sa.Engine:
    """Return an engine on psycopg 3; it connects when first used.

    Args:
        url: `postgresql://…`, with or without a driver's name.
        pool_size: Connections that are kept; as many again may be opened for a moment.

    Raises:
        SettingsError: The URL is not one of PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise SettingsError("database_url is not a URL") from error
    if parsed.get_backend_name() != "postgresql":
        raise SettingsError(f"database_url must begin with postgresql://, not {parsed.drivername}://")
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=_CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "differline"},
    )


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction; committed at the end, rolled back on any error.

    Raises:
        DatabaseAwayError: The server cannot be reached, or went away; whether the commit happened is then unknown.
    """
    with database_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate what the driver raises.

    Raises:
        DatabaseAwayError: The server cannot be reached, or went away.
    """
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, psycopg.OperationalError) as error:
        raise DatabaseAwayError(f"the database does not answer: {_first_line(error)}") from error
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseAwayError(f"the database went away: {_first_line(error)}") from error
        raise


def _first_line(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return (str(origin).strip() or type(origin).__name__).splitlines()[0]
