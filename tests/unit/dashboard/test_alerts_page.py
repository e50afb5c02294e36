"""The logic of the alerts page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from dashboard.data import alerts as data
from dashboard.data import pictures
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.pictures import encode_jpeg
from infra.store.alert_outcomes import Judged
from infra.store.alerts import Alert, AlertAction, AlertFilter, AlertKey
from infra.store.tables import AlertKind, AlertOutcome, AlertState, Role, VerdictState
from infra.store.verdicts import Verdict

from .conftest import Become
from .shown import AT, HOSTILE, PICTURE, VERDICT, alert_of, marked_up, texts


@dataclass
class FakeAlerts:
    """What the pages would find, in memory; `away` makes the database not answer."""

    alerts: list[Alert] = field(default_factory=list)
    actions: dict[int, list[AlertAction]] = field(default_factory=dict)
    heat: np.ndarray | None = None
    around: list[Verdict] = field(default_factory=list)
    away: bool = False
    quicker: bool = False
    asked: list[AlertFilter] = field(default_factory=list)

    def alert_page(self, wanted: AlertFilter, after: AlertKey | None, limit: int = 2) -> tuple[list[Alert], bool]:
        self._answer()
        self.asked.append(wanted)
        limit = min(limit, 2) if limit < data.MOST_AT_ONCE else limit
        found = [
            one for one in self.alerts if wanted.state in (None, one.state) and (after is None or one.id < after.id)
        ]
        return found[:limit], len(found) > limit

    def open_alerts(self) -> int:
        self._answer()
        return sum(one.state is AlertState.OPEN for one in self.alerts)

    def cameras_and_products(self) -> tuple[list[str], list[str]]:
        self._answer()
        return ["press 1", HOSTILE], ["tile"]

    def frames_around(self, _verdict: Verdict) -> list[Verdict]:
        self._answer()
        return self.around

    def alert(self, alert_id: int) -> tuple[Alert, list[AlertAction]] | None:
        self._answer()
        found = next((one for one in self.alerts if one.id == alert_id), None)
        return (found, self.actions.get(alert_id, [])) if found else None

    def acknowledge(self, alert_ids: Sequence[int], reason: str) -> int:
        self._done(alert_ids, AlertState.ACKNOWLEDGED, "acknowledge", reason)
        return 0 if self.quicker else len(alert_ids)

    def resolve(self, alert_id: int, reason: str) -> bool:
        self._done([alert_id], AlertState.RESOLVED, "resolve", reason)
        return not self.quicker

    def judge(self, alert_id: int, reason: str, outcome: AlertOutcome) -> Judged:
        self._done([alert_id], AlertState.RESOLVED, outcome, reason)
        return Judged(not self.quicker, None)

    def _done(self, alert_ids: Sequence[int], state: AlertState, action: str, reason: str) -> None:
        self._answer()
        who = "somebody else" if self.quicker else "m.weber"
        for number in alert_ids:
            self.actions[number] = [AlertAction(action, who, reason, AT)]
        self.alerts = [replace(one, state=state) if one.id in alert_ids else one for one in self.alerts]

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeAlerts:
    fake = FakeAlerts()
    for name in (
        "alert_page",
        "open_alerts",
        "cameras_and_products",
        "frames_around",
        "alert",
        "acknowledge",
        "resolve",
        "judge",
    ):
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(pictures, "picture", lambda _ref: PICTURE)
    monkeypatch.setattr(pictures, "small_picture", lambda _ref, _side_px: encode_jpeg(PICTURE))
    monkeypatch.setattr(pictures, "heat", lambda _verdict: fake.heat)
    return fake


def alerts_page(opened: str | None = None, **address: str) -> AppTest:
    def script() -> None:
        from dashboard.views import alerts  # noqa: PLC0415 - the function's text is the script

        alerts.page({})

    page = AppTest.from_function(script, default_timeout=30)
    if opened is not None:
        page.query_params["alert"] = opened
    for name, value in address.items():
        page.query_params[name] = value
    return page


def button(page: AppTest, label: str) -> Button:
    return next(each for each in page.button if each.label == label)


DEEDS = ["Acknowledge", "False alarm", "Real defect", "Resolve"]


def test_alerts_are_filtered_by_state(store: FakeAlerts) -> None:
    store.alerts = [alert_of(2), alert_of(1, AlertState.ACKNOWLEDGED)]
    page = alerts_page().run()
    assert page.dataframe[0].value["camera"].tolist() == [HOSTILE]
    page.segmented_control(key="shown").set_value("All").run()
    assert page.dataframe[0].value["state"].tolist() == ["open", "acknowledged"]


def test_older_and_newer_turn_the_pages(store: FakeAlerts) -> None:
    store.alerts = [alert_of(number) for number in (5, 4, 3, 2, 1)]
    page = alerts_page().run()
    assert button(page, "Newer").disabled
    button(page, "Older").click().run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [3, 2]
    button(page, "Older").click().run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [1]
    assert button(page, "Older").disabled
    button(page, "Newer").click().run()
    assert page.dataframe[0].value["time"].dt.second.tolist() == [3, 2]


def test_another_filter_starts_from_the_newest(store: FakeAlerts) -> None:
    store.alerts = [alert_of(number) for number in (5, 4, 3)]
    page = alerts_page().run()
    button(page, "Older").click().run()
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
    page.text_area[0].set_value("  ")
    button(page, "Acknowledge").click().run()
    assert page.error[0].value == "Write a reason first."
    assert store.actions == {}
    page.text_area[0].set_value("scratch from the *gripper*")
    button(page, "Acknowledge").click().run()
    assert store.actions[3][0].reason == "scratch from the *gripper*"
    assert "scratch from the *gripper*" in texts(page)
    assert any(text.startswith("acknowledged by m.weber") for text in texts(page))
    assert [each.label for each in page.button if each.label in DEEDS] == DEEDS[1:]  # of what is left to do


def test_who_was_slower_sees_who_was_quicker(store: FakeAlerts) -> None:
    store.alerts, store.quicker = [alert_of(3)], True
    page = alerts_page("3").run()
    page.text_area[0].set_value("late")
    button(page, "Acknowledge").click().run()
    assert not page.exception
    assert any(text.startswith("acknowledged by somebody else") for text in texts(page))


def test_nothing_is_lost_when_the_database_goes_away_while_acknowledging(
    store: FakeAlerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_alert_ids: object, _reason: str) -> int:
        raise DatabaseAwayError("the database went away")

    store.alerts = [alert_of(3)]
    page = alerts_page("3").run()
    monkeypatch.setattr(data, "acknowledge", away)
    page.text_area[0].set_value("scratch")
    button(page, "Acknowledge").click().run()
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


def test_filters_are_what_the_address_says_and_go_into_it(store: FakeAlerts) -> None:
    store.alerts = [alert_of(2)]
    page = alerts_page(state="resolved", kind="drift", camera=HOSTILE, product="gone").run()
    assert not page.exception
    assert store.asked[-1] == AlertFilter(AlertState.RESOLVED, AlertKind.DRIFT, HOSTILE, "gone")
    assert page.selectbox(key="alerts_camera").value == HOSTILE
    assert page.selectbox(key="alerts_product").options == ["tile", "gone"]
    assert page.selectbox(key="alerts_kind").options[1:3] == ["dead letters", "frames missing"]
    page.selectbox(key="alerts_camera").set_value("press 1").run()
    assert store.asked[-1] == AlertFilter(AlertState.RESOLVED, AlertKind.DRIFT, "press 1", "gone")
    assert page.query_params["camera"] == "press 1"
    page.selectbox(key="alerts_kind").set_value(None).run()
    assert "kind" not in page.query_params
    page.segmented_control(key="shown").set_value("All").run()
    assert store.asked[-1] == AlertFilter(None, None, "press 1", "gone")
    assert page.query_params["state"] == "all"
    assert HOSTILE not in marked_up(page)


@pytest.mark.parametrize("camera", ["a\0b", "x" * 10_000])
def test_an_address_that_says_nonsense_filters_nothing(store: FakeAlerts, camera: str) -> None:
    page = alerts_page(state="<b>", kind="'; DROP", camera=camera).run()
    assert not page.exception
    assert store.asked[-1] == AlertFilter(AlertState.OPEN)


def test_who_comes_back_without_an_address_finds_the_filters_as_they_were(store: FakeAlerts) -> None:
    page = alerts_page(state="all", camera="press 1").run()
    page.selectbox(key="alerts_product").set_value("tile").run()
    for name in ("state", "camera", "product"):
        del page.query_params[name]
    page.run()
    assert store.asked[-1] == AlertFilter(None, None, "press 1", "tile")


@pytest.mark.parametrize(
    ("pressed", "action", "said"),
    [
        ("False alarm", "false_alarm", "resolved as a false alarm by m.weber"),
        ("Real defect", "real_defect", "resolved as a real defect by m.weber"),
        ("Resolve", "resolve", "resolved by m.weber"),
    ],
)
def test_an_alert_is_resolved_with_a_reason(store: FakeAlerts, pressed: str, action: str, said: str) -> None:
    store.alerts = [alert_of(3)]
    page = alerts_page("3").run()
    button(page, pressed).click().run()
    assert page.error[0].value == "Write a reason first."
    page.text_area[0].set_value("a hair")
    button(page, pressed).click().run()
    assert [(each.action, each.reason) for each in store.actions[3]] == [(action, "a hair")]
    assert any(text.startswith(said) for text in texts(page))
    assert not page.text_area
    assert not [each for each in page.button if each.label in DEEDS]


def test_what_follows_for_learning_is_said_before(store: FakeAlerts) -> None:
    store.alerts = [alert_of(3), replace(alert_of(2), verdict=replace(VERDICT, archive_ref=None))]
    assert "also releases the picture for learning" in marked_up(alerts_page("3").run())
    assert "nothing is learned from it" in marked_up(alerts_page("2").run())


def test_only_a_defect_can_be_a_false_alarm(store: FakeAlerts) -> None:
    store.alerts = [Alert(4, "camera_health", "cam", "", AT, "", AlertState.OPEN, AT, None, detail="silent")]
    page = alerts_page("4").run()
    assert [each.label for each in page.button if each.label in DEEDS] == ["Acknowledge", "Resolve"]
    assert "learning" not in marked_up(page)


def test_a_viewer_sees_everything_and_no_forms(store: FakeAlerts, become: Become) -> None:
    store.alerts = [alert_of(3)]
    store.actions = {3: [AlertAction("acknowledge", "a.first", "I look", AT)]}
    become(Role.VIEWER)
    page = alerts_page("3").run()
    assert {"frame-1", "I look"} <= set(texts(page))
    assert not page.text_area
    assert not page.toggle
    assert not [each for each in page.button if each.label in DEEDS]


def test_what_is_refused_just_now_is_said_and_what_was_typed_stays(
    store: FakeAlerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> bool:
        raise AccessDeniedError("this needs the role inspector, and you are viewer")

    store.alerts = [alert_of(3)]
    page = alerts_page("3").run()
    monkeypatch.setattr(data, "resolve", denied)
    page.text_area[0].set_value("a hair")
    button(page, "Resolve").click().run()
    assert "this needs the role inspector" in page.error[0].value
    assert page.text_area[0].value == "a hair"


def test_a_right_that_is_gone_meanwhile_is_said_and_the_form_goes(
    store: FakeAlerts, become: Become, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> bool:
        become(Role.VIEWER)
        raise AccessDeniedError("this needs the role inspector, and you are viewer")

    store.alerts = [alert_of(3)]
    page = alerts_page("3").run()
    monkeypatch.setattr(data, "resolve", denied)
    page.text_area[0].set_value("a hair")
    button(page, "Resolve").click().run()
    assert "this needs the role inspector" in page.toast[0].value
    assert not page.text_area


def test_the_frames_before_and_after_stand_around_the_opened_one(store: FakeAlerts) -> None:
    store.alerts = [alert_of(3)]
    ages = {"a": -2, "b": -1, "c": 1}
    store.around = [
        replace(VERDICT, frame_id=name, received_at=AT + timedelta(seconds=age), state=VerdictState.GOOD)
        for name, age in ages.items()
    ]
    store.around[1] = replace(store.around[1], archive_ref=None)
    page = alerts_page("3").run()
    assert not page.exception
    assert marked_up(page).count("GOOD") == 3
    assert marked_up(page).count("not kept") == 1
    captions = [caption.value for caption in page.caption]
    assert "frames of this camera before and after" in captions
    store.around = []
    assert "before and after" not in marked_up(alerts_page("3").run())


def test_several_are_acknowledged_together(store: FakeAlerts) -> None:
    store.alerts = [alert_of(number) for number in range(200, 0, -1)]
    page = alerts_page().run()
    page.toggle[0].set_value(True).run()
    assert len(page.dataframe[0].value) == 200
    page.text_area[0].set_value("lamp replaced")
    button(page, "Acknowledge").click().run()
    assert page.error[0].value == "Select alerts in the list first."
    page.session_state["alerts_chosen"] = set(range(1, 201)) | {999}  # one is no longer in the list
    page.run()
    button(page, "Acknowledge 200 alerts").click().run()
    assert not page.exception
    assert len(store.actions) == 200
    assert {each.reason for done in store.actions.values() for each in done} == {"lamp replaced"}
    assert page.session_state["alerts_chosen"] == set()
    assert "No open alerts." in marked_up(page)


def test_of_several_one_at_least_needs_a_reason(store: FakeAlerts) -> None:
    store.alerts = [alert_of(1)]
    page = alerts_page().run()
    page.toggle[0].set_value(True).run()
    page.session_state["alerts_chosen"] = {1}
    page.run()
    button(page, "Acknowledge 1 alert").click().run()
    assert page.error[0].value == "Write a reason first."
    assert store.actions == {}
