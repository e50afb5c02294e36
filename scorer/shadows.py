"""The candidates in shadow: they score live frames beside the model in force, and nobody hears of it but the record."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger

from infra.store.models import RegisteredModel, models_in_shadow
from scorer.detector import DetectorError
from scorer.models import REFRESH_S, LoadedModel, Loader


@dataclass(frozen=True, slots=True)
class _Refused:
    row: RegisteredModel


class Shadows:
    """Which candidate looks on for which product; at most one each, in memory as long as it is in shadow.

    Args:
        database: Where the registry is.
        load: Reads artifacts.
        log: Where events go.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        database: sa.Engine,
        load: Loader,
        log: FilteringBoundLogger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._load = load
        self._log = log
        self._monotonic = monotonic
        self._models: dict[str, LoadedModel | _Refused] = {}
        self._next_look = 0.0

    def refresh(self) -> None:
        """Follow the registry, at most every `REFRESH_S` seconds; call it between two batches.

        A candidate that is refused is said once, and is not tried again until it is another one.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; what is loaded stays.
        """
        if self._monotonic() < self._next_look:
            return
        rows = models_in_shadow(self._database)
        self._next_look = self._monotonic() + REFRESH_S
        self._models = {product: self._model(row) for product, row in rows.items()}

    def of(self, product: str) -> LoadedModel | None:
        """Return the candidate that looks on, if there is one that could be loaded."""
        found = self._models.get(product)
        return found if isinstance(found, LoadedModel) else None

    def _model(self, row: RegisteredModel) -> LoadedModel | _Refused:
        before = self._models.get(row.product)
        if before is not None and before.row == row:
            return before
        try:
            loaded = LoadedModel(row, self._load(row))
        except DetectorError as error:
            self._log.error("shadow.refused", product=row.product, version=row.version, error=str(error))
            return _Refused(row)
        self._log.info("shadow.loaded", product=row.product, version=row.version)
        return loaded
