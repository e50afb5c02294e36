"""The engines that every command stands on: servers by URL, or embedded ones that start and stop with the command.

Several commands share the embedded engines. Each holds a shared lock on `users.lock` while it runs; the last one to leave gets
the exclusive lock and stops them. Locks vanish with their process, so a kill -9 leaves nothing to clean up: engines that were
left running are joined, and stopped, by the next command.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from infra.bus.embedded import EmbeddedRedis
from infra.clock import utc_now
from infra.errors import EngineError
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.embedded import EmbeddedPostgres
from infra.store.schema import migrate

_DATA_FORMAT = "1"
_LOCK_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Engines:
    """Where PostgreSQL and Redis answer."""

    database_url: str
    redis_url: str


@contextmanager
def running_engines(settings: Settings) -> Iterator[Engines]:
    """Start, or join, the embedded engines for what has no URL in the settings.

    The embedded database is migrated; a server by URL is left to `differline migrate`.

    Raises:
        EngineError: An engine does not start, or the data folder is of another version.
    """
    if settings.database_url and settings.redis_url:
        yield Engines(settings.database_url, settings.redis_url)
        return
    folder = settings.data_dir.resolve()
    _check_format(folder)
    postgres = None if settings.database_url else EmbeddedPostgres(folder / "postgres")
    redis = None if settings.redis_url else EmbeddedRedis(folder / "redis", settings.redis_max_memory_mb)
    with (folder / "users.lock").open("w") as users:
        try:
            with _exclusive(folder / "engines.lock"):
                fcntl.flock(users, fcntl.LOCK_SH)
                engines = Engines(
                    settings.database_url or (postgres.start() if postgres else ""),
                    settings.redis_url or (redis.start() if redis else ""),
                )
            if postgres:
                _migrate(engines.database_url)
            yield engines
        finally:
            with _exclusive(folder / "engines.lock"):
                if _nobody_else_uses(users):
                    _stop(postgres, redis)


def _stop(postgres: EmbeddedPostgres | None, redis: EmbeddedRedis | None) -> None:
    try:
        if redis:
            redis.stop()
    finally:
        if postgres:
            postgres.stop()


def _migrate(database_url: str) -> None:
    engine = open_database(database_url, pool_size=1)
    try:
        migrate(engine, utc_now())
    finally:
        engine.dispose()


def _check_format(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "FORMAT"
    if not marker.exists():
        marker.write_text(_DATA_FORMAT + "\n")
    found = marker.read_text().strip()
    if found != _DATA_FORMAT:
        raise EngineError(f"the data folder {folder} has format {found[:20]!r}, this differline reads {_DATA_FORMAT!r}")


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EngineError(f"another command has held {path} for {_LOCK_TIMEOUT_S:.0f} s") from None
                time.sleep(0.05)
        yield


def _nobody_else_uses(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
