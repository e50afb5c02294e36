"""What the page says about the next refit."""

from dataclasses import replace
from datetime import timedelta

from streamlit.testing.v1 import AppTest

from infra.clock import utc_now
from infra.refit_due import Due, calibration_frames_needed
from infra.store.promotions import ModelRow
from infra.store.tables import ModelState

from .shown import marked_up

NEWEST = ModelRow(
    id=1, product="tile", version=3, state=ModelState.IN_FORCE, folder="f", flow_sha256="a", manifest_sha256="b",
    preset="compact", threshold=1.5, false_alarm_rate=0.005, attainable_rate=0.0196, views=8, training_frames=100,
    calibration_frames=50, shadow=False, registered_by="m.weber", registered_at=utc_now() - timedelta(days=12),
    challenge_parts=None, challenge_found=None, challenge_found_before=None, report=None,
)  # fmt: skip


def shown(due: Due) -> tuple[str, str, float]:
    """The text on the bar, all below it, and how full it is."""

    def script(due: "Due") -> None:
        from dashboard.views.refit_progress import show_progress  # noqa: PLC0415 - the function's text is the script

        show_progress(due)

    page = AppTest.from_function(script, args=(due,), default_timeout=30).run()
    assert not page.exception
    bar = page.get("progress")[0].proto
    return bar.text, marked_up(page), bar.value


def test_so_many_pictures_of_so_many() -> None:
    text, below, full = shown(Due((), 40, 12, NEWEST))
    assert text.startswith("12 of 200 new released pictures")
    assert full == 6
    assert "version 3, the newest, was learned 12 d ago; due after 30 days" in below
    assert "promise 0.0196 false alarms at best: the 0.005 asked for needs 199" in below


def test_due_now_and_why() -> None:
    text, below, full = shown(Due(("version 3 is 40 days old", "2 drift alarms since version 3"), 900, 900, NEWEST))
    assert text == "**A refit is due now**: version 3 is 40 days old; 2 drift alarms since version 3"
    assert full == 100
    assert "due after" not in below


def test_no_model_and_an_artifact_that_is_gone() -> None:
    assert "there is no model yet · 12 pictures are released" in shown(Due((), 12, 12))[1]
    assert "its pictures are not known here" in shown(Due((), 12, 12, NEWEST, manifest_read=False))[1]
    enough = replace(NEWEST, attainable_rate=0.005, calibration_frames=199)
    assert "199 frames, enough for the 0.005 false alarms asked for" in shown(Due((), 12, 12, enough))[1]


def test_the_frames_that_a_rate_needs() -> None:
    assert [calibration_frames_needed(rate) for rate in (0.5, 0.1, 0.01, 0.005, 0.003)] == [1, 9, 99, 199, 333]
