"""The database of a command, open as long as it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from infra import engines
from infra.settings import Settings
from infra.store.connect import open_database


@contextmanager
def opened_database(settings: Settings, pool_size: int = 1) -> Iterator[sa.Engine]:
    """Open the database, with the engines that the settings ask for.

    Raises:
        EngineError: An embedded engine does not start.
    """
    with engines.running_engines(settings) as running:
        database = open_database(running.database_url, pool_size=pool_size)
        try:
            yield database
        finally:
            database.dispose()
