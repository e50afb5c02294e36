"""The schema in a real PostgreSQL: tables.py and the migrations agree, and any number of programs may migrate."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from infra.errors import DatabaseAwayError, EngineError
from infra.store.connect import open_database
from infra.store.schema import DAYS_AHEAD, migrate
from infra.store.tables import PARTITIONED, ensure_day_partitions, metadata

from .rows import NOON

MIDNIGHT = datetime(2026, 3, 3, tzinfo=UTC)
INSERT = {
    "verdicts": "INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, "
    "sha256, captured_at, state, reason) VALUES (:at, 'f', 'r', 't', 0, 0, 'c', 'p', '0', :at, 'NO_VERDICT', 'black')",
    "heatmaps": "INSERT INTO heatmaps (received_at, frame_id, png) VALUES (:at, 'f', '')",
    "dead_letters": "INSERT INTO dead_letters (received_at, topic, partition, bus_offset, frame_id, camera, reason, detail, "
    "headers) VALUES (:at, 't', 0, 0, 'f', 'c', 'broken_image', '', '{}')",
}


def at_once(work: Callable[[], object], times: int = 4) -> list[object]:
    """Run something in several threads that start together; returns what came out, errors too."""
    together = threading.Barrier(times)
    results: list[object] = []

    def run() -> None:
        together.wait(30)
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def insert(database: sa.Engine, table: str, at: datetime) -> str:
    """Insert a row; returns the name of the partition that took it."""
    with database.begin() as connection:
        connection.execute(sa.text(INSERT[table]), {"at": at})
        place = connection.scalar(
            sa.text(f"SELECT tableoid::regclass FROM {table} WHERE received_at = :at"), {"at": at}
        )
        return str(place)


def prepare(database: sa.Engine, first: date, days: int) -> None:
    with database.begin() as connection:
        ensure_day_partitions(connection, first, days)


def is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
    """Leave out the day partitions, which only the database knows."""
    return not (kind == "table" and name is not None and name.startswith(tuple(f"{table}_" for table in PARTITIONED)))


def test_the_migrations_make_what_tables_py_says(database: sa.Engine) -> None:
    with database.connect() as connection:
        options = {"include_object": is_ours, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_check_constraints_are_those_of_tables_py(database: sa.Engine) -> None:
    """Alembic does not compare these; PostgreSQL says both in its own words."""
    with database.connect() as connection, connection.begin() as transaction:
        found = check_constraints(connection)
        connection.execute(sa.text("CREATE SCHEMA written"))
        connection.execute(sa.text("SET search_path TO written"))
        metadata.create_all(connection)
        assert found == check_constraints(connection)
        transaction.rollback()


def check_constraints(connection: sa.Connection) -> dict[str, str]:
    query = sa.text(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'c' AND coninhcount = 0 AND connamespace = current_schema()::regnamespace"
    )
    return {row.conname: row.pg_get_constraintdef for row in connection.execute(query)}


def test_migrating_again_changes_nothing(bare_database: sa.Engine) -> None:
    revision = migrate(bare_database, NOON)
    insert(bare_database, "verdicts", NOON)
    assert migrate(bare_database, NOON) == revision
    with bare_database.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM verdicts")) == 1


def test_programs_that_migrate_at_the_same_time_wait_for_each_other(bare_database: sa.Engine) -> None:
    revisions = at_once(lambda: migrate(bare_database, NOON))
    assert len(revisions) == 4
    assert set(revisions) == {migrate(bare_database, NOON)}


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(EngineError, match="its schema 9999 is not known here") as caught:
        migrate(database, NOON)
    assert "\n" not in str(caught.value)
    with database.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"


@pytest.mark.parametrize("table", PARTITIONED)
def test_a_day_partition_takes_the_rows_of_its_utc_day(database: sa.Engine, table: str) -> None:
    prepare(database, MIDNIGHT.date(), 1)
    last = MIDNIGHT + timedelta(days=1) - timedelta(microseconds=1)
    assert insert(database, table, MIDNIGHT) == insert(database, table, last) == f"{table}_20260303"
    assert insert(database, table, MIDNIGHT - timedelta(microseconds=1)) == f"{table}_other"
    assert insert(database, table, MIDNIGHT + timedelta(days=1)) == f"{table}_other"


def test_days_are_utc_whatever_the_sessions_time_zone(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("SET LOCAL timezone TO 'Pacific/Auckland'"))
        ensure_day_partitions(connection, MIDNIGHT.date(), 1)
    assert insert(database, "heatmaps", MIDNIGHT) == "heatmaps_20260303"
    assert insert(database, "heatmaps", MIDNIGHT - timedelta(microseconds=1)) == "heatmaps_other"
    assert insert(database, "heatmaps", MIDNIGHT + timedelta(days=1)) == "heatmaps_other"


def test_migrating_prepares_the_days_around_now(bare_database: sa.Engine) -> None:
    migrate(bare_database, NOON)
    for days in range(-1, DAYS_AHEAD + 1):
        at = NOON + timedelta(days=days)
        assert insert(bare_database, "verdicts", at) == f"verdicts_{at:%Y%m%d}"
    assert insert(bare_database, "verdicts", NOON - timedelta(days=2)) == "verdicts_other"


def test_a_day_whose_rows_came_before_its_partition_stays_where_they_are(database: sa.Engine) -> None:
    assert insert(database, "verdicts", NOON) == "verdicts_other"
    prepare(database, MIDNIGHT.date(), 2)
    assert insert(database, "verdicts", NOON + timedelta(seconds=1)) == "verdicts_other"
    assert insert(database, "verdicts", NOON + timedelta(days=1)) == "verdicts_20260304"
    assert insert(database, "heatmaps", NOON) == "heatmaps_20260303"


def test_days_are_prepared_once_however_many_programs_ask(database: sa.Engine) -> None:
    assert at_once(lambda: prepare(database, MIDNIGHT.date(), 5)) == [None] * 4
    assert insert(database, "dead_letters", NOON + timedelta(days=4)) == "dead_letters_20260307"


def test_a_database_that_is_away_is_said_in_one_line() -> None:
    engine = open_database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseAwayError, match="the database does not answer"):
        migrate(engine, NOON)
    engine.dispose()
