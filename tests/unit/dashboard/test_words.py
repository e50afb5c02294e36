from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dashboard import words
from infra.store.tables import AlertKind, AlertState, CameraTrouble, DriftCause, NoVerdictReason, VerdictState


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "now"),
        (0.4, "now"),
        (1, "1 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (172800, "2 d ago"),
    ],
)
def test_age_is_said_in_the_largest_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    assert words.age(timedelta(seconds=seconds)) == said


def test_a_time_is_said_in_the_zone_of_who_looks() -> None:
    at = datetime(2026, 3, 1, 13, 5, 9, 120_400, tzinfo=UTC)
    assert words.local_time(at, ZoneInfo("Europe/Berlin")) == "2026-03-01 14:05:09.120 CET"
    assert words.local_time(None, UTC) == "—"


def test_verdicts_are_told_apart_by_word_sign_and_colour() -> None:
    badges = [words.verdict_badge(state) for state in VerdictState]
    for part in ("label", "icon", "color"):
        assert len({getattr(badge, part) for badge in badges}) == len(VerdictState)


def test_every_alert_state_has_a_badge() -> None:
    assert len({words.alert_badge(state).label for state in AlertState}) == len(AlertState)


@pytest.mark.parametrize("kind", list(AlertKind))
def test_every_kind_of_alert_is_said_in_our_own_words(kind: AlertKind) -> None:
    assert "does not know" not in words.alert_kind(kind.value) + words.without_verdict(kind.value)
    assert "_" not in words.alert_kind(kind.value)


def test_a_kind_that_is_not_known_is_never_repeated_as_markup() -> None:
    assert words.alert_kind("**later**") == "of a kind that this dashboard does not know"
    assert words.without_verdict("**later**") == "This dashboard does not know what this alert is about."


@pytest.mark.parametrize("cause", list(DriftCause))
def test_every_cause_of_a_drift_is_said_in_our_own_words(cause: DriftCause) -> None:
    assert "does not know" not in words.drift_cause(cause.value) + words.about_drift(cause.value)
    assert words.alert_about("drift", cause.value) == f"drift: {words.drift_cause(cause.value)}"
    assert "_" not in words.alert_about("drift", cause.value)


def test_an_alert_without_a_cause_is_said_by_its_kind_and_a_strange_one_never_as_markup() -> None:
    assert words.alert_about("defect", None) == "defect"
    for said in (words.alert_about("drift", "**later**"), words.about_drift("**later**"), words.about_drift(None)):
        assert "does not know" in said
        assert "**" not in said


@pytest.mark.parametrize("reason", list(NoVerdictReason))
def test_every_reason_is_said_in_our_own_words(reason: NoVerdictReason) -> None:
    assert "does not know" not in words.no_verdict_reason(reason.value)


@pytest.mark.parametrize("reason", [None, "", "**of a later version**"])
def test_a_reason_that_is_not_known_is_never_repeated_as_markup(reason: str | None) -> None:
    assert words.no_verdict_reason(reason) == "no verdict, for a reason that this dashboard does not know"


def test_numbers_have_four_digits_or_a_dash() -> None:
    assert [words.number(value) for value in (None, 21.0, -812.3456, 0.00621)] == ["—", "21", "-812.3", "0.00621"]


@pytest.mark.parametrize("trouble", list(CameraTrouble))
def test_every_trouble_of_a_camera_is_said_in_our_own_words(trouble: CameraTrouble) -> None:
    assert "does not know" not in words.trouble(trouble.value) + words.alert_about("camera_health", trouble.value)
    assert "_" not in words.trouble(trouble.value) + words.alert_about("camera_health", trouble.value)


def test_a_trouble_of_a_later_release_is_said_to_be_unknown() -> None:
    said = words.alert_about("camera_health", "<b>stolen</b>")
    assert said == "camera: something that this dashboard does not know"
    assert "does not know" in words.trouble("<b>stolen</b>")
