"""A refit of two products in one small flow; test_refit_together.py runs it as a process of its own, to kill it."""

import trainer.life.refit
from infra.settings import load_settings
from infra.store.connect import open_database
from trainer.life.refit import Order

from ..small_model import SMALL
from .curated import new_workshop

if __name__ == "__main__":
    trainer.life.refit.choose_preset = lambda _: SMALL  # type: ignore[assignment]
    settings = load_settings()
    assert settings.database_url is not None
    new_workshop(open_database(settings.database_url, pool_size=2), settings).refit(Order("cap", others=("tile",)))
