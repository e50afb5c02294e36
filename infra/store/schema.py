"""Schema by Alembic migrations, and the days ahead."""

from datetime import datetime, timedelta
from importlib.resources import files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from infra.errors import EngineError
from infra.store.tables import ensure_day_partitions

DAYS_AHEAD = 3
_MIGRATION_LOCK = 5_704_130_001  # any number that nothing else in the database locks


def migrate(engine: sa.Engine, now: datetime) -> str:
    """Bring the schema to the newest revision and prepare the partitions of the next days.

    Safe to run by several processes at once: they wait for each other.

    Returns:
        The revision in force.

    Raises:
        EngineError: The database was written by a newer differline.
    """
    config = Config()
    config.set_main_option("script_location", str(files("infra.store") / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
            raise EngineError(f"the database is of another version of differline: its schema {found} is not known here")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        prepare_days(connection, now)
    return str(scripts.get_current_head())


def prepare_days(connection: sa.Connection, now: datetime) -> None:
    """Create the partitions from yesterday to a few days ahead of `now`."""
    ensure_day_partitions(connection, (now - timedelta(days=1)).date(), DAYS_AHEAD + 2)
