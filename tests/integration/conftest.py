"""The small model, registered by the tests that need it, and a line to try it on."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.engines import Engines
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.models import RegisteredModel
from trainer.fit import FittedModel
from trainer.register import register

from ..kafka_server import KafkaServer, on_kafka
from ..small_model import fitted
from .line import Line

__all__ = ["fitted"]  # a fixture


@pytest.fixture
def put_in_force(database: sa.Engine, settings: Settings, fitted: FittedModel) -> Callable[[], RegisteredModel]:
    """Register the small model for the product `part`; again for a next version."""

    def put() -> RegisteredModel:
        return register(database, Path(settings.models_folder), fitted, "test")

    return put


@pytest.fixture
def line(settings: Settings, engines: Engines, database: sa.Engine) -> Iterator[Line]:
    """A line of the test's own."""
    running = Line(settings, engines, database)
    yield running
    running.close()


@pytest.fixture
def bare_database(engines: Engines) -> Iterator[sa.Engine]:
    """A database that nobody has migrated."""
    url = sa.make_url(engines.database_url)
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = "bare_" + uuid.uuid4().hex
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine = open_database(url.set(database=name).render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name}"))
    admin.dispose()


@pytest.fixture
def kafka_line(settings: Settings, engines: Engines, database: sa.Engine, kafka: KafkaServer) -> Iterator[Line]:
    """The same on Kafka, with small batches and a quick eye for scorers that are gone."""
    running = Line(on_kafka(settings, kafka, kafka_session_timeout_s=6.0, batch_frames=4), engines, database)
    yield running
    running.close()
