"""What a test of the pages puts into the store, and what it sees of it in the browser."""

from datetime import timedelta

import cv2
import numpy as np
import sqlalchemy as sa
from playwright.sync_api import Page, expect
from sqlalchemy.dialects import postgresql

from infra.archive import open_archive
from infra.clock import utc_now
from infra.heatmaps import encode_heatmap
from infra.live import LatestFrame, LiveState
from infra.pictures import decode, encode_jpeg
from infra.settings import Settings
from infra.store.tables import alerts, heatmaps, ledger_counts, models, verdicts


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
        counted = postgresql.insert(ledger_counts).values(camera=camera, state="DEFECT", reason="", frames=1)
        one_more = {"frames": ledger_counts.c.frames + 1}
        connection.execute(counted.on_conflict_do_update(constraint=ledger_counts.primary_key, set_=one_more))
        alert_id = connection.execute(sa.insert(alerts).values(alert).returning(alerts.c.id)).scalar_one()
    live = LiveState(settings.redis_url or "")
    live.show_frames([LatestFrame(camera, frame_id, at.isoformat(), body)])
    live.close()
    return int(alert_id)


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
