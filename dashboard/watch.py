"""What the dashboard tells of itself: whether somebody who opens it would see the line."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import sqlalchemy as sa

from dashboard.server import answers
from infra.engines import Engines
from infra.errors import DatabaseAwayError
from infra.metrics import Metrics, Service
from infra.settings import Settings
from infra.store.alerts import count_open
from infra.store.connect import open_database


class DashboardWatch:
    """Healthy while pages are served and the results behind them can be read."""

    def __init__(self, settings: Settings) -> None:
        """Watch the address of the settings.

        Args:
            settings: Where the pages are.
        """
        self.metrics = Metrics(Service.DASHBOARD)
        self._settings = settings
        self._database: sa.Engine | None = None

    @contextmanager
    def watched(
        self, engines: Callable[[Settings], AbstractContextManager[Engines]], settings: Settings
    ) -> Iterator[Engines]:
        """Start the engines as `engines` does, and know where the results are as long as they run."""
        with engines(settings) as running:
            self._database = open_database(running.database_url, pool_size=1)
            try:
                yield running
            finally:
                database, self._database = self._database, None
                database.dispose()

    def health(self) -> str | None:
        """Return None while the line can be seen, else why not, in one line."""
        if self._database is None:
            return "the engines are not up"
        try:
            count_open(self._database)
        except DatabaseAwayError as error:
            return str(error)
        if not answers(self._settings.dashboard_host, self._settings.dashboard_port):
            return "the pages are not served"
        return None
