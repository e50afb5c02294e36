from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.outputs.announcing import Announcer, standing_json
from infra.outputs.delivered import Delivered
from infra.outputs.sink import CameraStanding, Standing
from infra.outputs.standing import Watchdog
from infra.store.line_pace import CameraPace
from infra.store.outbox import OutboxKey, OutboxRow, PublishedVerdict
from infra.store.tables import VerdictState
from infra.store.verdicts import Verdict

from ....fake_time import FakeTime

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
DEADLINE_S = 10.0
SILENT_S = 60.0
RUNNING = CameraPace("cam", "run", waiting=0, accepted=5, accounted=5, ended=False, heard_s=0.0)


class Line:
    """A watchdog that looks as the database is, and one output."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.watchdog = Watchdog(DEADLINE_S, SILENT_S, self.time)
        self.delivered = Delivered(DEADLINE_S, self.time)
        self.paces = [RUNNING]

    def passes(self, seconds: float, *paces: CameraPace, away: bool = False) -> None:
        """The watchdog looks once a second."""
        self.paces = list(paces) or self.paces
        for _ in range(round(seconds)):
            self.time.now += 1
            if not away:
                self.watchdog.looked(self.paces)

    def delivers(self, age_s: float = 0.5, state: VerdictState = VerdictState.GOOD, camera: str = "cam") -> bool:
        return self.delivered.acknowledged(row(age_s, state, camera), self.delivered.read_at())

    def standing(self) -> Standing:
        return self.watchdog.standing(7, NOON, self.delivered)

    @property
    def camera(self) -> CameraStanding:
        return self.standing().cameras["cam"]


def row(age_s: float, state: VerdictState = VerdictState.GOOD, camera: str = "cam") -> OutboxRow:
    verdict = Verdict(
        received_at=NOON,
        frame_id="frame",
        camera=camera,
        product="tile",
        part_id=None,
        job_id=None,
        sha256="",
        simulated=None,
        captured_at=NOON,
        scored_at=None,
        committed_at=NOON,
        state=state,
        reason=None,
        model_version=1,
        score=1.0,
        p_value=0.5,
        threshold=2.0,
        views=1,
        archive_ref=None,
    )
    return OutboxRow(OutboxKey(1, 1), PublishedVerdict(verdict, "result", None, None, None, None), age_s)


@pytest.fixture
def line() -> Line:
    made = Line()
    made.passes(1)
    return made


def test_before_the_database_was_asked_nothing_is_in_time() -> None:
    line = Line()
    assert (line.standing().in_time, line.standing().cameras) == (False, {})
    line.delivers()
    assert (line.camera.in_time, line.camera.last_state, line.camera.reason) == (False, "NO_VERDICT", "stopped")


def test_a_line_without_a_camera_is_in_time() -> None:
    line = Line()
    line.watchdog.looked([])
    assert (line.standing().in_time, line.standing().cameras) == (True, {})


def test_a_camera_whose_verdicts_come_says_its_newest_one(line: Line) -> None:
    assert (line.camera.in_time, line.camera.last_state, line.camera.last_result_id) == (True, None, None)
    line.delivers(state=VerdictState.DEFECT)
    assert line.standing() == Standing(
        7, NOON, {"cam": CameraStanding("cam", True, "DEFECT", "result", NOON, None)}, in_time=True
    )


def test_frames_that_wait_with_no_verdict_for_the_deadline_are_stopped_and_come_back(line: Line) -> None:
    line.delivers()
    stuck = replace(RUNNING, accepted=6, waiting=1)
    line.passes(DEADLINE_S, stuck)
    assert line.camera.in_time
    line.passes(2, replace(stuck, accepted=9, waiting=4))  # more frames are no verdict
    assert (line.camera.in_time, line.camera.last_state, line.camera.reason) == (False, "NO_VERDICT", "stopped")
    assert not line.standing().in_time
    line.passes(1, replace(stuck, accepted=9, accounted=6, waiting=3))
    assert (line.camera.in_time, line.camera.last_state) == (True, "GOOD")


def test_verdicts_that_come_while_frames_wait_are_not_stopped(line: Line) -> None:
    for second in range(60):
        line.passes(1, replace(RUNNING, accepted=105 + second, accounted=5 + second, waiting=100))
    assert line.camera.in_time


def test_a_verdict_after_the_deadline_is_late_until_one_is_in_time(line: Line) -> None:
    assert line.delivers(age_s=DEADLINE_S + 0.1)
    assert (line.camera.in_time, line.camera.last_state, line.camera.reason) == (False, "NO_VERDICT", "late")
    assert line.camera.last_result_id == "result"
    assert not line.delivers(age_s=DEADLINE_S - 0.1)
    assert (line.camera.in_time, line.camera.last_state) == (True, "GOOD")


def test_the_time_until_the_peer_has_it_counts(line: Line) -> None:
    read_at = line.delivered.read_at()
    line.time.now += DEADLINE_S
    assert line.delivered.acknowledged(row(0.1), read_at)


def test_what_the_peer_still_waits_for_makes_every_camera_late(line: Line) -> None:
    line.delivers()
    read_at = line.delivered.read_at()
    line.delivered.waits(row(1.0, camera="other"), read_at)
    line.passes(DEADLINE_S - 2)
    assert line.camera.in_time
    line.passes(2)
    assert (line.camera.reason, line.standing().in_time) == ("late", False)
    line.delivered.waits(None, line.delivered.read_at())
    assert line.standing().in_time


def test_an_output_that_is_behind_is_not_in_time_before_it_knows_a_camera(line: Line) -> None:
    line.watchdog.looked([])
    line.delivered.waits(row(100.0), line.delivered.read_at())
    assert not line.standing().in_time


def test_a_database_that_is_away_for_the_deadline_stops_everything(line: Line) -> None:
    line.delivers()
    line.passes(DEADLINE_S, away=True)
    assert line.standing().in_time
    assert line.camera.in_time
    line.passes(1, away=True)
    assert (line.camera.last_state, line.camera.reason, line.standing().in_time) == ("NO_VERDICT", "stopped", False)
    line.passes(1)
    assert line.standing().in_time


def test_a_camera_that_was_ended_is_in_time_for_ever_once_it_has_all_verdicts(line: Line) -> None:
    line.delivers(age_s=DEADLINE_S + 1)
    line.passes(2 * SILENT_S, replace(RUNNING, ended=True))
    assert (line.camera.in_time, line.camera.last_state) == (True, "GOOD")


def test_a_camera_that_was_ended_with_frames_on_the_bus_is_stopped_when_no_verdict_comes(line: Line) -> None:
    line.passes(DEADLINE_S + 1, replace(RUNNING, ended=True, accepted=6, waiting=1))
    assert line.camera.reason == "stopped"


def test_a_camera_that_says_nothing_and_was_not_ended_is_stopped(line: Line) -> None:
    line.delivers()
    line.passes(SILENT_S)
    assert line.camera.in_time
    line.passes(1)
    assert (line.camera.last_state, line.camera.reason) == ("NO_VERDICT", "stopped")


def test_a_camera_that_was_silent_before_the_relay_started_is_known_at_once() -> None:
    line = Line()
    line.passes(1, replace(RUNNING, heard_s=SILENT_S + 1))
    assert line.camera.reason == "stopped"


def test_a_camera_may_be_silent_where_the_setting_says_so() -> None:
    line = Line()
    line.watchdog = Watchdog(DEADLINE_S, None, line.time)
    line.passes(10 * SILENT_S)
    assert line.camera.in_time


def test_a_new_run_of_a_camera_begins_anew(line: Line) -> None:
    line.passes(DEADLINE_S + 1, replace(RUNNING, accepted=6, waiting=1))
    assert not line.camera.in_time
    line.passes(1, replace(RUNNING, run="next", accepted=2, accounted=0, waiting=2))
    assert line.camera.in_time


def test_a_clock_that_is_set_back_makes_nothing_fresh(line: Line) -> None:
    """Ages come out as 0 then; what counts is that nothing changed."""
    line.passes(DEADLINE_S + 1, replace(RUNNING, accepted=6, waiting=1, heard_s=0.0))
    assert line.camera.reason == "stopped"


def test_a_foreign_camera_that_tells_of_no_runs_is_known_by_its_verdicts(line: Line) -> None:
    line.watchdog.looked([])
    line.paces = []
    line.delivers(camera="foreign")
    assert line.standing().cameras["foreign"].in_time
    line.passes(SILENT_S + 1)
    assert line.standing().cameras["foreign"].reason == "stopped"
    assert not line.standing().in_time


def test_a_camera_of_days_ago_is_no_longer_expected(line: Line) -> None:
    line.watchdog.looked([])
    line.paces = []
    line.delivers(camera="foreign")
    line.time.now += 86_500
    line.watchdog.looked([])
    assert line.standing().in_time
    assert line.standing().cameras["foreign"].last_state == "NO_VERDICT"


def test_dead_letters_say_nothing_of_verdicts(line: Line) -> None:
    assert not line.delivered.acknowledged(OutboxRow(OutboxKey(1, 1), None, 1000.0), line.delivered.read_at())
    assert line.delivered.last() == {}


def test_a_standing_is_due_when_it_changes_and_after_its_period(line: Line) -> None:
    announcer = Announcer(10.0, line.time)
    good, bad = line.standing(), replace(line.standing(), in_time=False)
    assert announcer.due(good)
    assert announcer.due(good)  # the peer has not heard it
    announcer.told(good)
    assert not announcer.due(replace(good, alive=99))
    assert announcer.due(bad)
    announcer.told(bad)
    assert announcer.due(good)
    line.time.now += 10
    assert announcer.due(bad)


def test_a_standing_names_the_cameras_that_are_not_in_time(line: Line) -> None:
    line.delivers(age_s=100)
    line.delivers(camera="right")
    assert standing_json(line.standing()) == {
        "alive": 7,
        "time": "2026-03-03T12:00:00.000000Z",
        "inTime": False,
        "cameras": 2,
        "notInTime": [
            {
                "camera": "cam",
                "state": "NO_VERDICT",
                "reason": "late",
                "lastResultId": "result",
                "lastTime": "2026-03-03T12:00:00.000000Z",
            }
        ],
    }
