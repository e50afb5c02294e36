"""The database goes away and comes back, while pages are open and while one is opened."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.engines import Engines
from infra.settings import Settings

from .seen import defect

AWAY = "The database does not answer."


@contextmanager
def away(engines: Engines, database: sa.Engine) -> Iterator[None]:
    """Let PostgreSQL throw everybody out of the database, and nobody in."""
    name = database.url.database
    url = sa.make_url(engines.database_url).set(drivername="postgresql+psycopg", database="postgres")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false'))
        try:
            out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(sa.text(out), {"name": name})
            yield
        finally:
            connection.execute(sa.text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true'))
    admin.dispose()


def test_pages_say_so_calmly_and_go_on_by_themselves(
    engines: Engines, database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    alert_id = defect(database, settings, "press 1", "frame-1")
    second = page.context.new_page()
    page.goto(url)
    expect(page.get_by_text("press 1", exact=True)).to_be_visible()
    with away(engines, database):
        expect(page.get_by_text(AWAY, exact=False).first).to_be_visible()
        second.goto(f"{url}/alerts?alert={alert_id}")  # opened meanwhile
        expect(second.get_by_text(AWAY, exact=False).first).to_be_visible()
    expect(page.get_by_text("press 1", exact=True)).to_be_visible()
    expect(second.get_by_text(f"Alert {alert_id}")).to_be_visible()
    for opened in (page, second):
        expect(opened.get_by_text(AWAY, exact=False)).to_have_count(0)
