"""Whether the dashboard knows that somebody who opens it would see nothing."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import sqlalchemy as sa

from dashboard.watch import DashboardWatch
from infra.engines import Engines
from infra.settings import Settings


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers as Streamlit's server does when asked for its health."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/_stcore/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def pages() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("database")
def test_it_is_healthy_while_pages_are_served_and_results_can_be_read(settings: Settings, engines: Engines) -> None:
    ours = Engines(str(settings.database_url), engines.redis_url)
    with pages() as port:
        watch = DashboardWatch(settings.model_copy(update={"dashboard_port": port}))
        assert watch.health() == "the engines are not up"
        with watch.watched(lambda _: nullcontext(ours), settings) as running:
            assert running == ours
            assert watch.health() is None
    with watch.watched(lambda _: nullcontext(ours), settings):
        assert watch.health() == "the pages are not served"


def test_without_a_database_it_says_so(settings: Settings, engines: Engines) -> None:
    gone = sa.make_url(settings.database_url or "").set(database="nowhere").render_as_string(hide_password=False)
    with pages() as port:
        watch = DashboardWatch(settings.model_copy(update={"dashboard_port": port}))
        with watch.watched(lambda _: nullcontext(Engines(gone, engines.redis_url)), settings):
            reason = watch.health()
    assert reason is not None
    assert reason.startswith("the database does not answer")
    assert "\n" not in reason
