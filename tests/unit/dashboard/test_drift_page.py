"""The logic of the drift page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import drift as data
from dashboard.data.drift import History
from dashboard.drift_distances import Standing
from dashboard.views import drift as view
from infra.errors import DatabaseAwayError
from infra.store.rollups import RollupSeries
from infra.store.tables import DriftKind, Role

from .conftest import Become
from .drift_seen import WIDTH, alarmed, bucket, history, line, standing
from .shown import AT, HOSTILE, marked_up, texts

NOW = AT + timedelta(hours=3, seconds=10)


@dataclass
class FakeDrift:
    """What the page would find; `away` makes the database not answer."""

    lines: tuple[Standing, ...] = ()
    found: History = field(default_factory=history)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    away: bool = False

    def overview(self) -> tuple[Standing, ...]:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")
        return self.lines

    def history(self, *asked: Any) -> History:
        self.asked.append(asked)
        return self.found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeDrift:
    fake = FakeDrift((line("oven", scores=alarmed("oven")), line("press"), line("weaver", scores=None)))
    for name in ("overview", "history"):
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(view, "utc_now", lambda: NOW)
    return fake


def drift_page(**address: str) -> AppTest:
    def script() -> None:
        from dashboard.views import drift  # noqa: PLC0415 - the function's text is the script

        drift.page({})

    page = AppTest.from_function(script, default_timeout=30)
    for name, value in address.items():
        page.query_params[name] = value
    return page


def charts(page: AppTest) -> int:
    return len(page.get("vega_lite_chart"))


def test_all_cameras_stand_against_the_line_and_the_first_one_is_shown(store: FakeDrift) -> None:
    page = drift_page().run()
    table = page.dataframe[0].value
    assert table["camera"].tolist() == ["oven", "press", "weaver"]
    assert table["state"].tolist() == ["▲ product", "no drift", "scores are not tested: no model"]
    assert table["scores"].tolist()[:2] == [2.5, 0.4]
    assert table["pictures"].tolist() == [0.0, 0.0, 0.0]  # a bar has no length below nothing
    assert store.asked[0][:2] == ("oven", "tile")
    assert page.query_params["drift_camera"] == "oven"
    assert charts(page) == 7
    assert "Alarm since 2026-03-01 12:00:00.000 UTC. Product:" in marked_up(page)


def test_the_address_says_what_is_shown(store: FakeDrift) -> None:
    page = drift_page(drift_camera="press", drift_product="tile", drift_range="7 d").run()
    ((camera, product, since, until),) = store.asked
    assert (camera, product, until) == ("press", "tile", None)
    assert since == NOW - timedelta(days=7, seconds=10)  # so that everybody asks for the same
    assert page.selectbox[0].value == "press"
    assert "No drift is told by 400 parts" in marked_up(page)


def test_another_camera_is_shown_and_named_in_the_address(store: FakeDrift) -> None:
    page = drift_page().run()
    page.selectbox[0].select("press").run()
    assert store.asked[-1][0] == "press"
    assert page.query_params["drift_camera"] == "press"
    assert page.selectbox[0].value == "press"


def test_a_camera_that_nobody_knows_is_said(store: FakeDrift) -> None:
    page = drift_page(drift_camera=HOSTILE, drift_product="tile").run()
    assert "not known here" in marked_up(page)
    assert HOSTILE not in marked_up(page)
    assert store.asked[0][0] == "oven"


@pytest.mark.parametrize(
    ("chosen", "since"),
    [
        ("This shift", datetime(2026, 3, 1, 14, tzinfo=UTC)),
        ("24 h", datetime(2026, 2, 28, 15, tzinfo=UTC)),
        ("30 d", datetime(2026, 1, 30, 15, tzinfo=UTC)),
    ],
)
def test_usual_times_end_now(store: FakeDrift, chosen: str, since: datetime) -> None:
    drift_page(drift_range=chosen).run()
    assert store.asked[0][2:] == (since, None)


def test_any_time_can_be_asked_for(store: FakeDrift) -> None:
    address = {"drift_range": "From … to", "drift_from": "2026-02-01T06:00", "drift_to": "2026-02-03T14:30"}
    drift_page(**address).run()
    assert store.asked[0][2:] == (datetime(2026, 2, 1, 6, tzinfo=UTC), datetime(2026, 2, 3, 14, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        ("2026-02-03T06:00", "2026-02-01T06:00", "ends before it begins"),
        ("2026-04-01T06:00", None, "ends before it begins"),
        ("2024-01-01T06:00", None, "More than 366 days"),
        (None, None, "Say from when"),
    ],
)
def test_a_time_that_cannot_be_is_said_calmly(store: FakeDrift, begin: str | None, end: str | None, said: str) -> None:
    given = {"drift_range": "From … to", "drift_from": begin, "drift_to": end}
    page = drift_page(**{name: value for name, value in given.items() if value}).run()
    assert said in marked_up(page)
    assert store.asked == []


def test_a_free_time_begins_with_the_last_day(store: FakeDrift) -> None:
    page = drift_page().run()
    page.segmented_control[0].set_value("From … to").run()
    assert store.asked[-1][2] == datetime(2026, 2, 28, 15, tzinfo=UTC)


def test_without_frames_in_the_time_it_says_so(store: FakeDrift) -> None:
    store.found = history(series=RollupSeries(WIDTH, ()), distances=(), tests=(), models={}, whole=None, frames=0)
    page = drift_page().run()
    assert "No frames of this camera and product in this time." in marked_up(page)
    assert charts(page) == 0


def test_without_a_model_there_are_pictures_and_words(store: FakeDrift) -> None:
    unjudged = RollupSeries(WIDTH, (bucket(0, None),))
    store.found = history(series=unjudged, distances=(), tests=(), models={}, promotions=(), whole=None)
    page = drift_page(drift_camera="weaver", drift_product="tile").run()
    assert "there was no model" in marked_up(page)
    assert "is not on record" in marked_up(page)
    assert charts(page) == 3


@pytest.mark.usefixtures("store")
def test_a_model_without_calibration_on_record_is_named() -> None:
    page = drift_page().run()
    said = marked_up(page)
    assert (
        "No grey band for version 1: it was registered before quantiles of its calibration scores went on record"
        in said
    )
    assert "calibration pictures went on record" in said


def test_a_test_without_calibration_says_what_it_compares_with(store: FakeDrift) -> None:
    waiting = standing("press", DriftKind.QUALITY, compares_with_itself=True, parts=0)
    store.lines = (line("press", pictures=waiting),)
    page = drift_page().run()
    assert "The test of the pictures takes its first 200 parts for the usual" in marked_up(page)
    assert page.dataframe[0].value["state"].tolist() == ["learning what is usual"]


@pytest.mark.usefixtures("store")
def test_psi_and_ks_are_said_to_be_for_the_eye() -> None:
    page = drift_page().run()
    said = marked_up(page)
    assert "PSI 0.300 (another population, by custom), KS 0.200 to 0.220 over 500 frames" in said
    assert "Only the test above alarms with a bound" in said


def test_names_from_outside_are_no_markup(store: FakeDrift) -> None:
    store.lines = (line(HOSTILE, scores=alarmed(HOSTILE, cause=HOSTILE)),)
    page = drift_page().run()
    assert HOSTILE not in marked_up(page)
    assert texts(page) == []
    assert page.dataframe[0].value["camera"].tolist() == [HOSTILE]


def test_nothing_yet_and_no_database_are_said_calmly(store: FakeDrift) -> None:
    store.lines = ()
    assert "No frames yet" in marked_up(drift_page().run())
    store.away = True
    assert "The database does not answer" in marked_up(drift_page().run())


def test_who_has_no_role_sees_nothing(become: Become) -> None:
    become(Role.NONE)
    assert "Not allowed" in marked_up(drift_page().run())
