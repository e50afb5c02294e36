import subprocess
import sys
from datetime import UTC, datetime

from infra.store.second_verdicts import ChangedVerdict
from infra.store.tables import FrameDecision, SecondSource, VerdictState
from scorer.detector import Extractor
from tests.unit.scorer.detector.conftest import make_detector
from trainer.life.cameras import camera_lines
from trainer.life.tables import cameras_table, changed_table

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
GOOD, DEFECT = VerdictState.GOOD, VerdictState.DEFECT


def changed(part: str, before: VerdictState = GOOD, after: VerdictState = DEFECT) -> ChangedVerdict:
    scores = (1.0, 2.0, 0.01)
    return ChangedVerdict(
        NOON, "cam", "frame", part, "0" * 64, before, after, *scores, SecondSource.REPLAY, FrameDecision.OPEN
    )


def test_what_comes_from_outside_reaches_a_terminal_as_text() -> None:
    table = changed_table([changed("[bold]7[/bold]\x1b]0;gotcha\x07\n8")])
    assert "\x1b" not in table
    assert "\x07" not in table
    assert "[bold]7[/bold]" in table.replace("\n", "")


def test_parts_that_would_be_rejected_come_first_and_how_many_are_left_out_is_said() -> None:
    rows = [changed("let go", DEFECT, GOOD), *(changed(f"part {number}") for number in range(60))]
    table = changed_table(rows)
    assert "61 verdicts differ, 60 of them would be rejected now; 50 are shown" in table
    assert "let go" not in table
    assert changed_table([]) == "no verdict differs"


def test_by_which_threshold_each_camera_is_judged_and_why(extractor: Extractor) -> None:
    plain = make_detector(extractor).manifest.model_copy(update={"false_alarm_rate": 0.2})
    assert cameras_table(camera_lines(plain)) is None
    cameras = ("oven-2\x1b[2J", *["oven-1"] * 4, None)
    changes = {"calibration_scores": (9.0, 1.0, 2.0, 3.0, 4.0, 5.0), "calibration_cameras": cameras}
    table = cameras_table(camera_lines(plain.model_copy(update=changes)))
    assert table is not None
    (first,) = [line for line in table.splitlines() if "oven-1" in line]
    (second,) = [line for line in table.splitlines() if "oven-2" in line]
    assert "its own threshold, 4; with 95 % confidence the true rate is below 52.713%" in first
    assert "the threshold of all cameras: 20.000% needs 4" in second
    assert "\x1b" not in table


def test_a_list_of_models_does_not_wait_for_torch() -> None:
    asks = "import trainer.life.commands, trainer.life.tables, sys; print({'torch', 'sklearn'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n", "this takes seconds of every look"
