"""Fixtures of all tests: real engines in a folder of their own, one clean database for each test that asks.

The engines are the servers of `make up`, PostgreSQL and Redis from Debian's packages. `DIFFERLINE_TEST_ENGINES=embedded` takes
those of the wheels, another version of each, for a machine that is no Debian; the end-to-end tests use them anyway.
"""

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
import structlog

from infra.clock import utc_now
from infra.engines import Engines, running_engines
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.schema import migrate

from .kafka_server import OFF, kafka, mortal_kafka, needs_kafka
from .rtsp_camera import numbered_pictures
from .servers import LocalServers, ServersError

__all__ = ["kafka", "mortal_kafka", "numbered_pictures"]  # fixtures
_left_out = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With DIFFERLINE_TEST_KAFKA=off the tests that need Kafka are deselected, and named at the end."""
    left_out = [item for item in items if OFF and needs_kafka(item)]
    config.stash[_left_out] = [item.nodeid for item in left_out]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With several processes each tells the first one what it left out: all of them the same."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(_left_out, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process left out, in the first one."""
    node.config.stash[_left_out] = getattr(node, "workeroutput", {}).get("left_out", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was left out, and why."""
    for name in config.stash.get(_left_out, []):
        terminalreporter.write_line(f"NOT RUN, DIFFERLINE_TEST_KAFKA=off: {name}")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """What a test leaves behind in this process is put right: a log that writes to a test's own closed file, and a main
    module that Streamlit's AppTest has replaced, which a process that is spawned later would try to run.
    """
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """PostgreSQL and Redis, started once for the whole run."""
    started = _embedded if os.environ.get("DIFFERLINE_TEST_ENGINES") == "embedded" else _servers
    with _engine_folder() as folder, started(folder) as running:
        yield running


def _embedded(folder: Path) -> AbstractContextManager[Engines]:
    return running_engines(Settings(data_dir=folder))


@contextmanager
def _servers(folder: Path) -> Iterator[Engines]:
    folder.chmod(0o755)  # PostgreSQL runs under an account of its own
    servers = LocalServers(folder)
    try:
        exports = servers.up("postgres", "redis")
        engines = Engines(exports["DIFFERLINE_DATABASE_URL"], exports["DIFFERLINE_REDIS_URL"])
        database = open_database(engines.database_url)
        migrate(database, utc_now())
        _without_fsync(database)
        database.dispose()  # tests copy it, which nobody may hold open
        yield engines
    except ServersError as error:
        pytest.fail(
            f"these tests need PostgreSQL and Redis, and they cannot be had: {error}\n"
            "DIFFERLINE_TEST_ENGINES=embedded takes those of the wheels",
            pytrace=False,
        )
    finally:
        servers.down("postgres", "redis")


def _without_fsync(database: sa.Engine) -> None:
    """It is for power cuts, and nothing here cuts the power; the fault tests have servers of their own, as plants do."""
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")


@pytest.fixture
def engine_folder() -> Iterator[Path]:
    """An empty folder for engines of the test's own."""
    with _engine_folder() as folder:
        yield folder


@contextmanager
def _engine_folder() -> Iterator[Path]:
    """Not pytest's tmp_path: a second pytest of root closes that folder to the account that PostgreSQL runs under."""
    with tempfile.TemporaryDirectory(prefix="differline-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def template_database(engines: Engines) -> str:
    """Name of a migrated, empty database that tests are copied from; migrating once saves seconds a test."""
    return sa.make_url(engines.database_url).database or ""


@pytest.fixture
def database_url(engines: Engines, template_database: str) -> Iterator[str]:
    """URL of an empty, migrated database of the test's own."""
    url = sa.make_url(engines.database_url)
    admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    name = "test_" + uuid.uuid4().hex
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"'))
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[sa.Engine]:
    """An empty, migrated database of the test's own."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def redis_url(engines: Engines) -> str:
    """The run's Redis, emptied."""
    client = redis.Redis.from_url(engines.redis_url)
    client.flushall()
    client.close()
    return engines.redis_url


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """Settings of a line of the test's own, on the engines of the run."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url, redis_url=redis_url)
