"""The dashboard as its user has it: the real command, a real PostgreSQL and Redis, and Chromium."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect, sync_playwright

from infra.archive import open_archive
from infra.clock import utc_now
from infra.heatmaps import encode_heatmap
from infra.live import LatestFrame, LiveState
from infra.pictures import decode, encode_jpeg
from infra.settings import Settings
from infra.store.tables import alert_actions, alerts, heatmaps, ledger_counts, models, verdicts

from ..servers import free_port

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
HOSTILE = "**b**<img src=x onerror=alert(1)>"
PATIENCE_MS = 60_000
STOP_TIMEOUT_S = 60
HEADER_PX, ROW_PX = 36, 33


def picture_with_a_spot() -> np.ndarray:
    picture = np.full((240, 320, 3), 150, np.uint8)
    return np.asarray(cv2.circle(picture, (200, 90), 12, (60, 60, 60), -1))


def heat_on_the_spot() -> np.ndarray:
    heat = np.zeros((60, 80), np.float32)
    return np.asarray(cv2.circle(heat, (50, 22), 5, 6.0, -1))


def defect(database: sa.Engine, settings: Settings, camera: str, frame_id: str) -> int:
    """One DEFECT with its picture, heatmap and alert, as the scorer leaves it; returns the alert's number."""
    at = utc_now() - timedelta(seconds=20)
    body = encode_jpeg(picture_with_a_spot())
    model = {
        "product": "tile", "version": 1, "state": "in_force", "folder": "f", "flow_sha256": "a", "manifest_sha256": "b",
        "preset": "compact", "threshold": 21.0, "false_alarm_rate": 0.01, "attainable_rate": 0.01, "views": 8,
        "heat_scale": 1.0, "training_frames": 100, "calibration_frames": 100, "registered_by": "test",
    }  # fmt: skip
    verdict = {
        "received_at": at, "frame_id": frame_id, "result_id": frame_id, "topic": "frames", "partition": 0, "bus_offset": 1,
        "camera": camera, "product": "tile", "part_id": "MT-7", "sha256": "0" * 64, "captured_at": at, "scored_at": at,
        "state": "DEFECT", "score": 31.5, "p_value": 0.0062, "threshold": 21.0, "views": 8,
        "archive_ref": open_archive(settings.archive_location).write(body),
    }  # fmt: skip
    alert = {"kind": "defect", "camera": camera, "product": "tile", "received_at": at, "frame_id": frame_id}
    png = encode_heatmap(heat_on_the_spot())
    with database.begin() as connection:
        known = connection.scalar(sa.select(models.c.id))
        model_id = known or connection.scalar(sa.insert(models).values(model).returning(models.c.id))
        connection.execute(sa.insert(verdicts).values(**verdict, model_id=model_id))
        connection.execute(sa.insert(heatmaps).values(received_at=at, camera=camera, frame_id=frame_id, png=png))
        connection.execute(sa.insert(ledger_counts).values(camera=camera, state="DEFECT", reason="", frames=1))
        alert_id = connection.execute(sa.insert(alerts).values(alert).returning(alerts.c.id)).scalar_one()
    live = LiveState(settings.redis_url or "")
    live.show_frames([LatestFrame(camera, frame_id, at.isoformat(), body)])
    live.close()
    return int(alert_id)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


def start(settings: Settings, port: int) -> "subprocess.Popen[str]":
    own = {
        "DIFFERLINE_DATA_DIR": str(settings.data_dir),
        "DIFFERLINE_DATABASE_URL": settings.database_url or "",
        "DIFFERLINE_REDIS_URL": settings.redis_url or "",
        "DIFFERLINE_USER": "m.weber",
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
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, timezone_id="Europe/Berlin")
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script from outside ran: {dialog.message}"))
    yield page
    context.close()


def loaded(page: Page, name: str) -> None:
    """Wait until a picture has arrived in the browser, not just its place."""
    picture = page.get_by_role("img", name=name, exact=True).first
    expect(picture).to_be_visible()
    expect(picture).not_to_have_js_property("naturalWidth", 0)


def shown(page: Page, name: str) -> np.ndarray:
    """The pixels of a picture as the browser got them."""
    address = page.get_by_role("img", name=name, exact=True).evaluate("picture => picture.currentSrc")
    return decode(page.request.get(address).body(), max_pixels=10**6)


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 60


def open_row(page: Page, row: int) -> None:
    """Click a row of the list: it is drawn on a canvas, so by its place."""
    table = page.get_by_test_id("stDataFrame")
    expect(table.locator("canvas").first).to_be_visible()
    table.click(position={"x": 60, "y": HEADER_PX + ROW_PX * row + ROW_PX // 2})


def test_a_defect_is_seen_opened_and_acknowledged(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    page.goto(url)
    expect(page.get_by_text("No frames yet")).to_be_visible()

    alert_id = defect(database, settings, "press 1", "frame-1")  # the open page finds it by itself
    expect(page.get_by_text("press 1", exact=True)).to_be_visible()
    expect(page.locator(".stMarkdownBadge", has_text="DEFECT")).to_be_visible()
    expect(page.get_by_text("score 31.5, threshold 21")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    loaded(page, "latest frame")

    page.get_by_role("link", name="1 open alert").click()
    open_row(page, 0)
    expect(page).to_have_url(re.compile(rf"/alerts\?.*alert={alert_id}$"))
    expect(page.get_by_text(f"Alert {alert_id}")).to_be_visible()
    loaded(page, "frame")
    loaded(page, "heatmap")
    assert coloured(shown(page, "frame")).sum() == 0
    rows, columns = np.nonzero(coloured(shown(page, "heatmap")))
    assert (rows.mean(), columns.mean()) == pytest.approx((90, 200), abs=5)  # the heat lies on the spot
    for fact in ("press 1", "31.5", "0.0062", "MT-7", "version 1", "frame-1"):
        expect(page.get_by_test_id("stText").get_by_text(fact, exact=True)).to_be_visible()

    page.get_by_label("Reason").fill("spot of <i>grease</i>, wiped off")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_text(re.compile(r"^acknowledged by m\.weber, \d{4}-.* CES?T$"))).to_be_visible()
    expect(page.get_by_text("spot of <i>grease</i>, wiped off", exact=True)).to_be_visible()
    expect(page.get_by_text("No open alerts.")).to_be_visible()
    with database.connect() as connection:
        state = connection.scalar(sa.select(alerts.c.state).where(alerts.c.id == alert_id))
        action = connection.execute(sa.select(alert_actions)).one()
    assert state == "acknowledged"
    assert (action.alert_id, action.action, action.who) == (alert_id, "acknowledge", "m.weber")
    assert action.reason == "spot of <i>grease</i>, wiped off"


def test_the_strength_of_the_heat_changes_the_heatmap_and_not_the_frame(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    alert_id = defect(database, settings, "press 1", "frame-1")
    page.goto(f"{url}/alerts?alert={alert_id}")  # a link to one alert can be shared
    loaded(page, "frame")
    loaded(page, "heatmap")
    frame, heatmap = (page.get_by_role("img", name=name, exact=True) for name in ("frame", "heatmap"))
    before = (frame.get_attribute("src"), heatmap.get_attribute("src"))
    page.get_by_role("slider").press("Home")
    expect(heatmap).not_to_have_attribute("src", before[1] or "")
    assert frame.get_attribute("src") == before[0]


def test_a_name_from_outside_is_shown_as_it_is(database: sa.Engine, settings: Settings, url: str, page: Page) -> None:
    alert_id = defect(database, settings, HOSTILE, "frame-1")
    page.goto(url)
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    page.goto(f"{url}/alerts?alert={alert_id}")
    expect(page.get_by_text(HOSTILE, exact=True)).to_be_visible()
    expect(page.locator("img[src='x']")).to_have_count(0)


def test_an_alert_that_opens_meanwhile_does_not_take_the_place_of_the_opened_one(
    database: sa.Engine, settings: Settings, url: str, page: Page
) -> None:
    first = defect(database, settings, "press 1", "frame-1")
    page.goto(f"{url}/alerts")
    open_row(page, 0)
    expect(page.get_by_text(f"Alert {first}")).to_be_visible()
    second = defect(database, settings, "press 2", "frame-2")
    expect(page.get_by_text("2 are open")).to_be_visible()
    expect(page.get_by_text(f"Alert {first}")).to_be_visible()
    open_row(page, 0)
    expect(page.get_by_text(f"Alert {second}")).to_be_visible()


def test_a_port_that_is_taken_is_one_line(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [str(Path(sys.executable).with_name("differline")), "dashboard", "--port", str(port)]
        environment = {**os.environ, "DIFFERLINE_DATA_DIR": str(settings.data_dir)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"differline: the dashboard cannot listen on 127\.0\.0\.1 port {port}: .*\n", done.stderr)
    assert not settings.data_dir.exists()  # nothing was started for it


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_too(settings: Settings, how: signal.Signals) -> None:
    port = free_port()
    with start(settings, port) as command:
        assert command.stdout is not None
        command.stdout.readline()
        command.send_signal(how)
        assert command.wait(STOP_TIMEOUT_S) == 0
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
