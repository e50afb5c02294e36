"""The logic of the line page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.camera_state import CameraState
from dashboard.data import line as data
from infra.errors import DatabaseAwayError
from infra.pictures import encode_jpeg
from infra.store.line import OpenAlerts
from infra.store.tables import VerdictState
from infra.store.verdicts import ScoreBucket, ScoreSeries

from .shown import AT, HOSTILE, PICTURE, VERDICT, marked_up, texts


@dataclass
class FakeLine:
    """What the page would find, in memory; `away` makes the database not answer."""

    cameras: list[data.Camera] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)
    scorers: int | None = 1
    picture: bytes | None = None
    away: bool = False

    def current_line(self) -> data.Line:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")
        alerts = sum(camera.alerts.count for camera in self.cameras if camera.alerts)
        return data.Line(tuple(self.cameras), len(self.cameras), alerts, self.missing, self.scorers)

    def tile(self, name: str) -> data.Tile:
        (camera,) = (camera for camera in self.cameras if camera.name == name)
        return data.Tile(name, camera.verdict, self.picture, picture_is_earlier=False)

    def strip_of(self, _camera: data.Camera) -> bytes:
        return encode_jpeg(PICTURE)

    def score_series(self, _camera: str, window: timedelta) -> ScoreSeries:
        return ScoreSeries(AT - window, AT, (ScoreBucket(AT, 9.0, 31.5, 21.0, 5, 1, 2),))


def camera(name: str = "cam", state: CameraState = CameraState.WELL, **changes: Any) -> data.Camera:
    return replace(data.Camera(name, state, VERDICT, None, 0, 0.0), **changes)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeLine:
    fake = FakeLine()
    for name in ("current_line", "tile", "strip_of", "score_series"):
        monkeypatch.setattr(data, name, getattr(fake, name))
    return fake


def live_page() -> AppTest:
    return AppTest.from_file(str(Path(dashboard.__file__).with_name("app.py")), default_timeout=30)


@pytest.mark.usefixtures("store")
def test_an_empty_line_says_how_to_start_a_camera() -> None:
    page = live_page().run()
    assert not page.exception
    assert "No frames yet" in marked_up(page)
    assert "differline ingest folder" in page.code[0].value


def links(page: AppTest) -> list[tuple[str, str]]:
    """Label and address of every link."""
    found = [element.proto for element in page.get("page_link")]
    return [(proto.label, proto.query_string) for proto in found]


def test_a_tile_says_state_verdict_score_and_counts_and_shows_the_name_as_text(store: FakeLine) -> None:
    store.cameras = [camera(HOSTILE, CameraState.WELL, false_alarms=3, frames_per_s=2.5)]
    store.picture = encode_jpeg(PICTURE)
    page = live_page().run()
    assert not page.exception
    assert texts(page) == [HOSTILE, "m.weber · admin"]
    assert HOSTILE not in marked_up(page)
    for said in (
        "the camera is well",
        "ledger balanced",
        "1 scorer",
        "DEFECT",
        "score 31.5, threshold 21",
        "5 frames · 1 DEFECT · 2 without verdict",
        "2.5 frames/s · 3 false alarms this shift",
    ):
        assert said in marked_up(page)


def test_an_alerting_camera_links_to_its_newest_alert_and_to_all_of_them(store: FakeLine) -> None:
    store.cameras = [camera("a", CameraState.ALERTING, alerts=OpenAlerts(2, 0, 41)), camera("b & c")]
    page = live_page().run()
    assert links(page) == [
        ("2 open alerts", ""),
        ("newest alert", "alert=41"),
        ("alerts (2)", "camera=a"),
        ("alerts", "camera=b+%26+c"),
    ]
    assert "1 of 2 cameras not well" in marked_up(page)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ("w", "the camera is well"),
        ("s", "the camera is not well"),
        ("ww", "all 2 cameras well"),
        ("wr", "1 camera well, 1 at rest"),
        ("wwr", "2 cameras well, 1 at rest"),
        ("rr", "all cameras at rest"),
        ("wrsan", "3 of 5 cameras not well"),
    ],
)
def test_the_first_words_say_whether_the_line_is_well(store: FakeLine, states: str, said: str) -> None:
    words = {"w": "WELL", "r": "AT_REST", "s": "SILENT", "a": "ALERTING", "n": "NO_MODEL"}
    store.cameras = [camera(str(n), CameraState[words[state]]) for n, state in enumerate(states)]
    page = live_page().run()
    assert said in page.markdown[0].value


def test_a_gap_in_the_ledger_and_an_absent_scorer_are_in_plain_sight(store: FakeLine) -> None:
    store.cameras = [camera(HOSTILE)]
    quiet = live_page().run()
    assert not quiet.error
    assert not quiet.warning
    store.missing, store.scorers = {HOSTILE: 3, "other": 4}, 0
    page = live_page().run()
    assert "gap" in page.error[0].value
    assert f"{HOSTILE}: 3 missing · other: 4 missing" in texts(page)
    assert HOSTILE not in marked_up(page)
    assert "7 frames missing" in marked_up(page)
    assert "No scorer" in page.warning[0].value
    store.scorers = None
    assert "scorers not known" in marked_up(live_page().run())


def test_a_tile_without_a_verdict_says_why(store: FakeLine) -> None:
    blank = replace(VERDICT, state=VerdictState.NO_VERDICT, reason="black", score=None)
    store.cameras = [camera(verdict=blank)]
    page = live_page().run()
    assert "NO VERDICT" in marked_up(page)
    assert "the picture is black" in marked_up(page)
    assert "no picture at hand" in marked_up(page)


def test_many_cameras_have_no_charts_and_those_in_trouble_are_named_first(store: FakeLine) -> None:
    store.cameras = [camera(f"cam-{n:02}") for n in range(60)]
    store.cameras[55] = camera(HOSTILE, CameraState.SILENT)
    store.cameras[58] = camera("cam-58", CameraState.DRIFTING, alerts=OpenAlerts(1, 1, 7))
    page = live_page().run()
    assert not page.exception
    assert not page.get("vega_lite_chart")
    assert len(page.get("image")) == data.MOST_TILES
    assert f"{HOSTILE}: silent · cam-58: drifting" in texts(page)
    shown = [text for text in texts(page) if text in {HOSTILE, "cam-00", "cam-45", "cam-46", "cam-58"}]
    assert shown == [HOSTILE, "cam-00", "cam-45", "cam-58"]  # by name; 48 of 60, those in trouble among them
    assert "48 of 60 cameras are shown" in marked_up(page)
    assert HOSTILE not in marked_up(page)


def test_few_cameras_have_a_chart_each(store: FakeLine) -> None:
    store.cameras = [camera(f"cam-{n}") for n in range(6)]
    assert len(live_page().run().get("vega_lite_chart")) == 6


def test_a_camera_that_is_enlarged_stays_so_and_stands_in_the_address(store: FakeLine) -> None:
    store.cameras = [camera(f"cam-{n}") for n in range(9)]
    page = live_page().run()
    assert not page.get("vega_lite_chart")
    page.button(key="line_open_cam-4").click().run()
    assert page.query_params["camera"] == "cam-4"
    store.cameras[4] = camera("cam-4", CameraState.SILENT)
    store.cameras.append(camera("a new one"))
    page.run()
    assert len(page.get("vega_lite_chart")) == 1
    assert "product tile · part MT-7 · model version 3" in texts(page)
    del page.query_params["camera"]  # somebody has been on another page
    page.run()
    assert page.query_params["camera"] == "cam-4"
    page.button(key="line_close").click().run()
    assert "camera" not in page.query_params
    assert not page.run().get("vega_lite_chart")


def test_an_address_with_a_camera_that_is_not_there_says_so(store: FakeLine) -> None:
    store.cameras = [camera("cam")]
    page = live_page()
    page.query_params["camera"] = HOSTILE
    page.run()
    assert not page.exception
    assert HOSTILE in texts(page)
    assert "There is no camera of this name." in marked_up(page)
    assert HOSTILE not in marked_up(page)


def test_the_window_is_kept_from_one_run_to_the_next(store: FakeLine) -> None:
    store.cameras = [camera()]
    page = live_page().run()
    assert page.segmented_control(key="line_window").value == "1 h"
    page.segmented_control(key="line_window").set_value("8 h").run()
    assert page.run().segmented_control(key="line_window").value == "8 h"


def test_an_absent_database_is_said_calmly_and_the_page_recovers(store: FakeLine) -> None:
    store.away = True
    page = live_page().run()
    assert not page.exception
    assert "does not answer" in page.warning[0].value
    store.away = False
    assert not page.run().warning
