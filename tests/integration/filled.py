"""A database that is filled once for all tests of a module, which only read it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa

from infra.engines import Engines
from infra.store.connect import open_database
from infra.store.schema import migrate


@contextmanager
def filled_database(
    engines: Engines, template: str, name: str, now: datetime, fill: Callable[[sa.Engine], None]
) -> Iterator[sa.Engine]:
    """Copy the template, with the days around a moment, and fill it."""
    url = sa.make_url(engines.database_url)
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE {name} TEMPLATE "{template}"'))
    database = open_database(url.set(database=name).render_as_string(hide_password=False))
    migrate(database, now)
    fill(database)
    yield database
    database.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
