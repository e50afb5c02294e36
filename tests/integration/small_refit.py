"""A refit that a trainer has taken, with a small flow: what its child runs, told the request, the worker and the attempt."""

import sys

import trainer.life.refit
from infra.settings import load_settings
from infra.store.connect import open_database
from infra.store.model_requests import taken_request
from trainer.life.perform import refit_asked

from ..small_model import SMALL
from .curated import new_workshop


def main() -> None:
    settings = load_settings()
    database = open_database(settings.database_url or "", pool_size=2)
    trainer.life.refit.choose_preset = lambda _: SMALL
    number, worker, attempts = sys.argv[1:]
    asked = taken_request(database, int(number), worker, int(attempts))
    assert asked is not None
    refit_asked(new_workshop(database, settings), asked)
    database.dispose()


if __name__ == "__main__":
    main()
