"""The drift page in a browser: the table of all cameras, a click, and the charts of one."""

from datetime import timedelta

import numpy as np
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from infra.clock import utc_now
from infra.store.connect import transaction
from infra.store.drift_history import DriftMinute, minute_of, write_minutes
from infra.store.models import NewModel, register_in_force
from infra.store.rollups import BUCKET, P_VALUE_BINS
from infra.store.tables import AlertKind, DriftCause, DriftKind, alerts, drift_states, verdict_rollups

HOSTILE = "<img src=x onerror=alert(1)>"
MODEL = NewModel(
    "tile", "folder", "f" * 64, "e" * 64, "compact", 3.0, 0.01, 0.01, 8, 0.5, 100, 99, "test",
    calibration_quantiles=(0.1, 0.2, 0.5, 1.0, 1.5, 2.5, 2.9),
    calibration_quality=((4.0, 5.0, 6.0), (110.0, 120.0, 130.0), (30.0, 40.0, 50.0)),
)  # fmt: skip


def produce(database: sa.Engine, camera: str, model_id: int, wealth: float) -> None:
    """Six hours of a camera; with a wealth of 2 or more it has alarmed."""
    now = minute_of(utc_now())
    first = now.replace(minute=now.minute // 10 * 10)
    quantiles = {"lowest": 0.1, "q05": 0.3, "q25": 0.8, "median": 1.0, "q75": 1.5, "q95": 2.5, "highest": 3.5}
    counts = {"frames": 100, "defects": 1, "no_verdicts": 0, "p_values": [2] * P_VALUE_BINS, "threshold": 3.0}
    seen = {"focus": 5.0, "brightness": 120.0, "contrast": 40.0}
    key = {"camera": camera, "product": "tile", "model_id": model_id}
    rows = [{**key, **quantiles, **counts, **seen, "at": first - n * BUCKET} for n in range(36)]
    rise = np.linspace(0.0, wealth, 360)
    alarm = int(np.argmax(rise >= 2)) if wealth >= 2 else None
    minutes = [
        DriftMinute(
            camera, "tile", DriftKind.SCORE, model_id, now - timedelta(minutes=359 - n), n, w, w, n == 0, n == alarm
        )
        for n, w in enumerate(rise)
    ]
    with transaction(database) as connection:
        connection.execute(sa.insert(verdict_rollups), rows)
        write_minutes(connection, minutes)
        about = {"camera": camera, "product": "tile", "received_at": now, "frame_id": "frame"}
        alert = {"kind": AlertKind.DRIFT, "detail": DriftCause.PRODUCT, **about}
        told = connection.scalar(sa.insert(alerts).values(alert).returning(alerts.c.id)) if alarm else None
        state = {
            "kind": "score",
            "state": {"own": None},
            "cursor_at": now,
            "cursor_offset": 1,
            "parts": 360,
            "wealth": wealth,
        }
        alarmed = {"alarmed_at": now if alarm else None, "alert_id": told}
        connection.execute(sa.insert(drift_states).values(**key, **state, **alarmed))


def test_a_camera_that_drifts_stands_first_and_the_address_says_what_is_shown(
    database: sa.Engine, url: str, page: Page
) -> None:
    model = register_in_force(database, MODEL)
    produce(database, "press", model.id, 0.5)
    produce(database, HOSTILE, model.id, 2.5)
    page.goto(f"{url}/drift")
    expect(page.get_by_text("Alarm since")).to_be_visible()
    charts = page.get_by_test_id("stVegaLiteChart")
    expect(charts).to_have_count(7)
    expect(page.get_by_text("over 3,600 frames with a score")).to_be_visible()
    expect(page.get_by_role("radio", name="24 h")).to_be_checked()
    page.goto(f"{url}/drift?drift_camera=press&drift_product=tile&drift_range=7+d")
    expect(page.get_by_text("No drift is told by 360 parts")).to_be_visible()
    expect(page.get_by_role("radio", name="7 d")).to_be_checked()
    expect(charts).to_have_count(7)
    expect(charts.first.locator("canvas, svg").first).to_be_visible()
