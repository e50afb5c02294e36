"""Cameras in trouble, on a real PostgreSQL and a running scorer: an alert each, and no verdict where nothing can be judged."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import cv2
import numpy as np
import pytest
import sqlalchemy as sa
import structlog

from infra.clock import utc_now
from infra.pictures import encode_png
from infra.store import alerts as alert_store
from infra.store.alerts import Alert
from infra.store.models import RegisteredModel
from infra.store.runs import report_accepted, report_ended
from infra.store.tables import AlertKind, verdicts
from scorer.camera_health import CameraHealth

from ..small_model import part_picture
from .line import Line

PutInForce = Callable[[], RegisteredModel]
BLACK = encode_png(np.zeros((60, 80, 3), np.uint8))
WHITE = encode_png(np.full((60, 80, 3), 255, np.uint8))


def troubles(database: sa.Engine) -> list[tuple[str, str | None]]:
    """Camera and trouble of each alert of this kind, oldest first."""
    found = [one for one in alert_store.list_alerts(database) if one.kind == AlertKind.CAMERA_HEALTH]
    return [(one.camera, one.detail) for one in reversed(found)]


def judge(line: Line) -> None:
    line.worker().run(until_idle_s=0.5)
    line.workers.pop().close()


def test_a_frozen_camera_has_no_verdicts_and_one_alert(
    line: Line, database: sa.Engine, put_in_force: PutInForce
) -> None:
    put_in_force()
    first = line.frame()
    line.send(first, *(line.frame(first.body) for _ in range(8)), line.frame())
    judge(line)
    fates = [row.reason or "judged" for row in sorted(line.rows(verdicts), key=lambda row: row.sequence)]
    assert fates == ["judged"] * 5 + ["frozen"] * 4 + ["judged"]
    assert troubles(database) == [("cam", "frozen")]
    assert line.ledger().balanced


def test_black_and_over_exposed_pictures_are_told_once_each_and_again_when_they_come_back(
    line: Line, database: sa.Engine, put_in_force: PutInForce
) -> None:
    put_in_force()
    line.send(line.frame(BLACK), line.frame(BLACK), line.frame(), line.frame(WHITE))
    judge(line)
    assert troubles(database) == [("cam", "black"), ("cam", "over_exposed")]
    line.send(line.frame(BLACK))
    judge(line)
    assert len(troubles(database)) == 2  # the first one is still open
    for one in alert_store.list_alerts(database):
        alert_store.acknowledge(database, one.id, "m.weber", "a new lamp")
    line.send(line.frame(), line.frame(BLACK))
    judge(line)
    assert troubles(database)[2:] == [("cam", "black")]


@pytest.mark.parametrize(("off_s", "found"), [(7, "clock_ahead"), (-7, "clock_behind"), (3, None), (-3, None)])
def test_a_clock_that_is_off_is_told(
    line: Line, database: sa.Engine, put_in_force: PutInForce, off_s: float, found: str | None
) -> None:
    put_in_force()
    for _ in range(50):
        frame = line.frame()
        line.send(replace(frame, captured_at=frame.captured_at + timedelta(seconds=off_s)))
    judge(line)
    assert troubles(database) == ([("cam", found)] if found else [])


def test_frames_that_waited_are_no_clock_that_is_behind(
    line: Line, database: sa.Engine, put_in_force: PutInForce
) -> None:
    put_in_force()
    for waited_s in range(60, 10, -1):
        frame = line.frame()
        line.send(replace(frame, captured_at=frame.captured_at - timedelta(seconds=waited_s)))
    judge(line)
    assert troubles(database) == []


def test_a_lens_that_is_out_of_focus_is_told_but_a_lamp_that_is_weaker_is_not(
    line: Line, database: sa.Engine, put_in_force: PutInForce
) -> None:
    put_in_force()
    pictures = [part_picture(200 + number) for number in range(7)]
    line.send(*(line.frame(encode_png(picture // 2)) for picture in pictures))
    judge(line)
    assert troubles(database) == []
    line.send(*(line.frame(encode_png(np.asarray(cv2.GaussianBlur(picture, (0, 0), 2)))) for picture in pictures[:4]))
    line.send(line.frame(encode_png(pictures[4])))  # a sharp one between them
    line.send(*(line.frame(encode_png(np.asarray(cv2.GaussianBlur(picture, (0, 0), 3)))) for picture in pictures[:4]))
    judge(line)
    assert troubles(database) == []
    line.send(*(line.frame(encode_png(np.asarray(cv2.GaussianBlur(picture, (0, 0), 2)))) for picture in pictures[:6]))
    judge(line)
    assert troubles(database) == [("cam", "out_of_focus")]


class Looks:
    """A scorer's looks at cameras that may be silent, with the time in hand."""

    def __init__(self, database: sa.Engine) -> None:
        self.database = database
        self.now = 1000.0
        self.health = CameraHealth(database, structlog.get_logger(), 60, 5, lambda: self.now)

    def after(self, seconds: float) -> list[tuple[str, str | None]]:
        """Let every run be so much older, look, and return the alerts."""
        with self.database.begin() as connection:
            older = "UPDATE camera_runs SET updated_at = updated_at - make_interval(secs => :s)"
            connection.execute(sa.text(older), {"s": seconds})
        self.now += 100
        self.health.look()
        return troubles(self.database)


def test_a_silent_camera_is_told_once_until_it_was_heard_again(database: sa.Engine) -> None:
    looks = Looks(database)
    report_accepted(database, "cam", "monday", 3)
    assert looks.after(55) == []
    assert looks.after(10) == [("cam", "silent")]
    assert looks.after(10) == [("cam", "silent")]
    (alert,) = alert_store.list_alerts(database)
    assert alert.received_at < utc_now() - timedelta(seconds=60)
    alert_store.acknowledge(database, alert.id, "m.weber", "lunch")
    assert Looks(database).after(1) == [("cam", "silent")]  # nor by another scorer
    report_accepted(database, "cam", "monday", 4)
    with database.begin() as connection:  # what was told was told before
        connection.execute(sa.text("UPDATE alerts SET opened_at = opened_at - interval '1 hour'"))
    assert looks.after(61) == [("cam", "silent")] * 2


def test_a_camera_that_ingest_ended_is_not_silent(database: sa.Engine) -> None:
    looks = Looks(database)
    report_accepted(database, "ended", "monday", 3)
    report_ended(database, "ended", "monday")
    report_accepted(database, "killed", "monday", 3)
    report_accepted(database, "went on", "monday", 3)
    assert looks.after(55) == []
    report_accepted(database, "went on", "tuesday", 1)
    assert looks.after(10) == [("killed", "silent")]


def test_what_was_silent_for_days_is_forgotten(database: sa.Engine) -> None:
    report_accepted(database, "cam", "monday", 3)
    assert Looks(database).after(25 * 3600) == []


def test_an_alert_of_a_camera_has_its_frame(line: Line, database: sa.Engine, put_in_force: PutInForce) -> None:
    put_in_force()
    black = line.frame(BLACK)
    line.send(black)
    judge(line)
    alert: Alert = next(one for one in alert_store.list_alerts(database) if one.kind == AlertKind.CAMERA_HEALTH)
    assert (alert.frame_id, alert.product) == (black.frame_id, "part")
    assert alert.verdict is not None
    assert alert.verdict.archive_ref is not None
