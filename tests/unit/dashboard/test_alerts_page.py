"""The logic of the alerts page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import alerts as data
from dashboard.data import pictures
from infra.errors import DatabaseAwayError
from infra.store.alerts import Alert, AlertAction, AlertFilter, AlertKey
from infra.store.tables import AlertState

from .shown import AT, HOSTILE, PICTURE, alert_of, marked_up, texts


@dataclass
class FakeAlerts:
    """What the pages would find, in memory; `away` makes the database not answer."""

    alerts: list[Alert] = field(default_factory=list)
    actions: dict[int, list[AlertAction]] = field(default_factory=dict)
    heat: np.ndarray | None = None
    away: bool = False
    quicker: bool = False

    def alert_page(self, wanted: AlertFilter, after: AlertKey | None) -> tuple[list[Alert], bool]:
        self._answer()
        found = [
            one for one in self.alerts if wanted.state in (None, one.state) and (after is None or one.id < after.id)
        ]
        return found[:2], len(found) > 2

    def open_alerts(self) -> int:
        self._answer()
        return sum(one.state is AlertState.OPEN for one in self.alerts)

    def alert(self, alert_id: int) -> tuple[Alert, list[AlertAction]] | None:
        self._answer()
        found = next((one for one in self.alerts if one.id == alert_id), None)
        return (found, self.actions.get(alert_id, [])) if found else None

    def acknowledge(self, alert_id: int, reason: str) -> bool:
        self._answer()
        who = "somebody else" if self.quicker else "m.weber"
        self.actions[alert_id] = [AlertAction("acknowledge", who, reason, AT)]
        self.alerts = [
            replace(one, state=AlertState.ACKNOWLEDGED) if one.id == alert_id else one for one in self.alerts
        ]
        return not self.quicker

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeAlerts:
    fake = FakeAlerts()
    for name in ("alert_page", "open_alerts", "alert", "acknowledge"):
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(pictures, "picture", lambda _ref: PICTURE)
    monkeypatch.setattr(pictures, "heat", lambda _verdict: fake.heat)
    return fake


def alerts_page(opened: str | None = None) -> AppTest:
    def script() -> None:
        from dashboard.views import alerts  # noqa: PLC0415 - the function's text is the script

        alerts.page({})

    page = AppTest.from_function(script, default_timeout=30)
    if opened is not None:
        page.query_params["alert"] = opened
    return page


def test_alerts_are_filtered_by_state(store: FakeAlerts) -> None:
    store.alerts = [alert_of(2), alert_of(1, AlertState.ACKNOWLEDGED)]
    page = alerts_page().run()
    assert page.dataframe[0].value["camera"].tolist() == [HOSTILE]
    page.segmented_control(key="shown").set_value("All").run()
    assert page.dataframe[0].value["state"].tolist() == ["open", "acknowledged"]


def test_older_and_newer_turn_the_pages(store: FakeAlerts) -> None:
    store.alerts = [alert_of(number) for number in (5, 4, 3, 2, 1)]
    page = alerts_page().run()
    newer, older = page.button
    assert newer.disabled
    older.click().run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [3, 2]
    page.button[1].click().run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [1]
    assert page.button[1].disabled
    page.button[0].click().run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [3, 2]


def test_another_filter_starts_from_the_newest(store: FakeAlerts) -> None:
    store.alerts = [alert_of(number) for number in (5, 4, 3)]
    page = alerts_page().run()
    page.button[1].click().run()
    page.segmented_control(key="shown").set_value("All").run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [5, 4]


@pytest.mark.parametrize("number", ["99", "-1", "1e3", "٣", "9" * 5000, "<b>"])
def test_a_link_to_no_alert_says_so(store: FakeAlerts, number: str) -> None:
    store.alerts = [alert_of(3)]
    page = alerts_page(number).run()
    assert not page.exception
    assert page.info[0].value == "There is no alert of this number."


def test_an_opened_alert_shows_its_facts_as_text(store: FakeAlerts) -> None:
    store.alerts = [alert_of(3)]
    store.heat = np.full((4, 6), 5.0, np.float32)
    page = alerts_page("3").run()
    assert not page.exception
    assert {HOSTILE, "31.5", "21", "0.0062", "MT-7", "version 3", "frame-1"} <= set(texts(page))
    assert HOSTILE not in marked_up(page)
    assert page.slider[0].value == 70


def test_an_alert_about_missing_frames_needs_no_frame(store: FakeAlerts) -> None:
    gap = Alert(4, "ledger_gap", HOSTILE, "", AT, "", AlertState.OPEN, AT, None, run=HOSTILE + "run", missing=1234)
    store.alerts = [gap, alert_of(3)]
    page = alerts_page("4").run()
    assert not page.exception
    assert page.dataframe[0].value["about"].tolist() == ["frames missing", "defect"]
    assert {HOSTILE, HOSTILE + "run", "1,234", "frames missing"} <= set(texts(page))
    assert HOSTILE not in marked_up(page)
    assert "accepted and are not accounted for" in marked_up(page)
    assert "frame" not in [caption.value for caption in page.caption]


def test_missing_picture_heatmap_or_verdict_is_said(store: FakeAlerts, monkeypatch: pytest.MonkeyPatch) -> None:
    store.alerts = [alert_of(3)]
    assert "No heatmap was kept" in marked_up(alerts_page("3").run())
    monkeypatch.setattr(pictures, "picture", lambda _ref: None)
    assert "picture of this frame is not kept" in marked_up(alerts_page("3").run())
    store.alerts = [replace(alert_of(3), verdict=None)]
    assert "verdict behind this alert is no longer kept" in marked_up(alerts_page("3").run())


def test_acknowledging_needs_a_reason_and_then_shows_who_and_why(store: FakeAlerts) -> None:
    store.alerts = [alert_of(3)]
    page = alerts_page("3").run()
    acknowledge = next(button for button in page.button if button.label == "Acknowledge")
    page.text_area[0].set_value("  ")
    acknowledge.click().run()
    assert page.error[0].value == "Write a reason first."
    assert store.actions == {}
    page.text_area[0].set_value("scratch from the *gripper*")
    next(button for button in page.button if button.label == "Acknowledge").click().run()
    assert store.actions[3][0].reason == "scratch from the *gripper*"
    assert "scratch from the *gripper*" in texts(page)
    assert any(text.startswith("acknowledged by m.weber") for text in texts(page))
    assert not page.text_area


def test_who_was_slower_sees_who_was_quicker(store: FakeAlerts) -> None:
    store.alerts, store.quicker = [alert_of(3)], True
    page = alerts_page("3").run()
    page.text_area[0].set_value("late")
    next(button for button in page.button if button.label == "Acknowledge").click().run()
    assert not page.exception
    assert any(text.startswith("acknowledged by somebody else") for text in texts(page))


def test_nothing_is_lost_when_the_database_goes_away_while_acknowledging(
    store: FakeAlerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_alert_id: int, _reason: str) -> bool:
        raise DatabaseAwayError("the database went away")

    store.alerts = [alert_of(3)]
    page = alerts_page("3").run()
    monkeypatch.setattr(data, "acknowledge", away)
    page.text_area[0].set_value("scratch")
    next(button for button in page.button if button.label == "Acknowledge").click().run()
    assert "Not saved" in page.error[0].value
    assert page.text_area[0].value == "scratch"


def test_the_alerts_page_recovers_as_a_whole(store: FakeAlerts) -> None:
    store.alerts, store.away = [alert_of(3)], True
    page = alerts_page("3").run()
    assert not page.exception
    assert len(page.warning) == 2
    store.away = False
    page.run()
    assert not page.warning
    assert "frame-1" in texts(page)


@pytest.mark.parametrize(
    ("cause", "said", "what"),
    [("lens_or_light", "drift: lens or light", "Lens or light:"), ("product", "drift: product", "Product:")],
)
def test_an_alert_of_drift_says_where_to_look_above_its_frame(
    store: FakeAlerts, cause: str, said: str, what: str
) -> None:
    store.alerts = [replace(alert_of(7), kind="drift", detail=cause)]
    page = alerts_page("7").run()
    assert not page.exception
    assert what in marked_up(page)
    assert said in texts(page)
    assert page.dataframe[0].value["about"].tolist() == [said]
    assert "frame-1" in texts(page)
