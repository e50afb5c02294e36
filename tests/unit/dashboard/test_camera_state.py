"""One word for a camera: which one, where several would do."""

from dataclasses import replace
from datetime import timedelta

import pytest

from dashboard.camera_state import NOT_WELL, CameraState, Known, camera_state
from infra.store.line import Heard, OpenAlerts
from infra.store.tables import VerdictState

from .shown import AT, VERDICT

SILENT_AFTER = timedelta(seconds=60)
JUDGED = replace(VERDICT, state=VerdictState.GOOD)
UNJUDGED = replace(VERDICT, state=VerdictState.NO_VERDICT, reason="no_model")
HEARD = Heard(AT, ended=False)
ENDED = Heard(AT, ended=True)
DEFECTS, DRIFT, BOTH = OpenAlerts(2, 0, 1), OpenAlerts(1, 1, 1), OpenAlerts(2, 1, 1)


def state(known: Known, after: timedelta = timedelta(seconds=1), silent_after: timedelta | None = SILENT_AFTER) -> str:
    return camera_state(known, AT + after, silent_after)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Known(HEARD, JUDGED, None), CameraState.WELL),
        (Known(HEARD, JUDGED, DEFECTS), CameraState.ALERTING),
        (Known(HEARD, JUDGED, DRIFT), CameraState.DRIFTING),
        (Known(HEARD, JUDGED, BOTH), CameraState.ALERTING),
        (Known(HEARD, UNJUDGED, None), CameraState.NO_MODEL),
        (Known(HEARD, UNJUDGED, DEFECTS), CameraState.NO_MODEL),
        (Known(HEARD, replace(UNJUDGED, reason="unknown_product"), None), CameraState.NO_MODEL),
        (Known(HEARD, replace(UNJUDGED, reason="model_refused"), None), CameraState.NO_MODEL),
        (Known(HEARD, replace(UNJUDGED, reason="black"), None), CameraState.WELL),
        (Known(HEARD, None, None), CameraState.WELL),
        (Known(None, JUDGED, None), CameraState.WELL),
        (Known(ENDED, JUDGED, None), CameraState.AT_REST),
        (Known(ENDED, UNJUDGED, None), CameraState.AT_REST),
        (Known(ENDED, JUDGED, DEFECTS), CameraState.ALERTING),
        (Known(None, None, None), CameraState.AT_REST),
        (Known(None, None, DRIFT), CameraState.DRIFTING),
    ],
)
def test_a_camera_that_was_just_heard_of(known: Known, expected: CameraState) -> None:
    assert state(known) == expected


def test_silence_comes_before_everything_until_it_is_forgotten() -> None:
    for alerts in (None, DEFECTS, DRIFT):
        for verdict in (JUDGED, UNJUDGED):
            known = Known(HEARD, verdict, alerts)
            assert state(known, timedelta(seconds=59)) != CameraState.SILENT
            assert state(known, timedelta(seconds=61)) == CameraState.SILENT
            assert state(known, timedelta(hours=24)) == CameraState.SILENT
    assert state(Known(HEARD, UNJUDGED, None), timedelta(hours=25)) == CameraState.AT_REST
    assert state(Known(HEARD, JUDGED, DEFECTS), timedelta(hours=25)) == CameraState.ALERTING


def test_a_run_that_was_ended_and_a_plant_that_does_not_ask_know_no_silence() -> None:
    assert state(Known(ENDED, JUDGED, None), timedelta(minutes=5)) == CameraState.AT_REST
    assert state(Known(HEARD, JUDGED, None), timedelta(minutes=5), None) == CameraState.WELL


def test_what_is_newest_of_run_and_verdict_counts() -> None:
    heard_later = Known(Heard(AT + timedelta(minutes=5), ended=False), JUDGED, None)
    assert state(heard_later, timedelta(minutes=5, seconds=30)) == CameraState.WELL
    judged_later = Known(HEARD, replace(JUDGED, received_at=AT + timedelta(minutes=5)), None)
    assert state(judged_later, timedelta(minutes=5, seconds=30)) == CameraState.WELL


def test_rest_is_nothing_to_look_after() -> None:
    assert set(CameraState) - set(NOT_WELL) == {CameraState.AT_REST, CameraState.WELL}
