"""The dashboard as its users have it: the real command, a real PostgreSQL and Redis, and Chromium."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from infra.settings import Settings

from ...servers import free_port

CHROMIUM = os.environ.get("DIFFERLINE_TEST_CHROMIUM", "/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000
STOP_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of one file: while Playwright holds it, an event loop runs in this thread, and no other may."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


def start(settings: Settings, port: int, **further: str) -> "subprocess.Popen[str]":
    own = {
        "DIFFERLINE_DATA_DIR": str(settings.data_dir),
        "DIFFERLINE_DATABASE_URL": settings.database_url or "",
        "DIFFERLINE_REDIS_URL": settings.redis_url or "",
        "DIFFERLINE_USER": "m.weber",
        "DIFFERLINE_TIME_ZONE": "Europe/Berlin",  # the browser is elsewhere
        **further,
    }
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("differline")), "dashboard", "--port", str(port)],
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """A running dashboard."""
    port = free_port()
    with start(settings, port) as command:
        try:
            assert command.stdout is not None
            said = command.stdout.readline()
            assert f"http://127.0.0.1:{port}" in said
            yield f"http://127.0.0.1:{port}"
        finally:
            command.send_signal(signal.SIGINT)
            command.wait(STOP_TIMEOUT_S)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, timezone_id="America/Lima")
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script from outside ran: {dialog.message}"))
    yield page
    context.close()
