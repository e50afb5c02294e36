"""Schema by Alembic migrations, and the days ahead."""

from datetime import datetime, timedelta
from importlib.resources import files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from infra.errors import EngineError
from infra.store.connect import transaction
from infra.store.tables import ensure_day_partitions

DAYS_AHEAD = 3
OWNER = "differline_migrator"
_MIGRATION_LOCK = 5_704_130_001  # any number that nothing else in the database locks


def migrate(engine: sa.Engine, now: datetime) -> str:
    """Bring the schema to the newest revision and prepare the partitions of the next days.

    Safe to run by several processes at once: they wait for each other.

    Returns:
        The revision in force.

    Raises:
        EngineError: The database was written by a newer differline, or this user may not change it.
        DatabaseAwayError: PostgreSQL does not answer.
    """
    config = Config()
    config.set_main_option("script_location", str(files("infra.store") / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    with transaction(engine) as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        _become_owner(connection)
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


def _become_owner(connection: sa.Connection) -> None:
    """Go on, in this transaction, as the role that everything belongs to once the migration 0003 has run."""
    owner = connection.scalar(
        sa.text("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('alembic_version')")
    )
    if owner != OWNER:
        return
    if not connection.scalar(sa.text("SELECT pg_has_role(:owner, 'MEMBER')"), {"owner": OWNER}):
        user = connection.scalar(sa.text("SELECT current_user"))
        raise EngineError(f"the user {user} may not change the schema: GRANT {OWNER} TO {user}")
    connection.execute(sa.text(f"SET LOCAL ROLE {OWNER}"))
