"""The logic of the line page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard.data import line as data
from infra.errors import DatabaseAwayError
from infra.pictures import encode_jpeg
from infra.store.tables import VerdictState
from infra.store.verdicts import ScoreBucket, ScoreSeries

from .shown import AT, HOSTILE, PICTURE, VERDICT, marked_up, texts


@dataclass
class FakeLine:
    """What the page would find, in memory; `away` makes the database not answer."""

    tiles: list[data.Tile] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)
    scorers: int | None = 1
    away: bool = False

    def current_line(self) -> data.Line:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")
        return data.Line(tuple(self.tiles), len(self.tiles), 0, self.missing, self.scorers)

    def score_series(self, _camera: str, window: timedelta) -> ScoreSeries:
        return ScoreSeries(AT - window, AT, (ScoreBucket(AT, 9.0, 31.5, 21.0, 5, 1, 2),))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeLine:
    fake = FakeLine()
    for name in ("current_line", "score_series"):
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


def test_a_tile_says_verdict_score_and_counts_and_shows_the_name_as_text(store: FakeLine) -> None:
    store.tiles = [data.Tile(HOSTILE, VERDICT, encode_jpeg(PICTURE), picture_is_earlier=False)]
    page = live_page().run()
    assert not page.exception
    assert texts(page) == [HOSTILE, "m.weber · admin"]
    assert HOSTILE not in marked_up(page)
    assert "DEFECT" in marked_up(page)
    assert "score 31.5, threshold 21" in marked_up(page)
    assert "5 frames · 1 DEFECT · 2 without verdict" in marked_up(page)


def test_a_gap_in_the_ledger_and_an_absent_scorer_are_in_plain_sight(store: FakeLine) -> None:
    store.tiles = [data.Tile(HOSTILE, VERDICT, encode_jpeg(PICTURE), picture_is_earlier=False)]
    quiet = live_page().run()
    assert not quiet.error
    assert not quiet.warning
    store.missing, store.scorers = {HOSTILE: 3}, 0
    page = live_page().run()
    assert "gap" in page.error[0].value
    assert f"{HOSTILE}: 3 missing" in texts(page)
    assert HOSTILE not in marked_up(page)
    assert "No scorer" in page.warning[0].value


def test_a_tile_without_a_verdict_says_why(store: FakeLine) -> None:
    blank = replace(VERDICT, state=VerdictState.NO_VERDICT, reason="black", score=None)
    store.tiles = [data.Tile("cam", blank, None, picture_is_earlier=False)]
    page = live_page().run()
    assert "NO VERDICT" in marked_up(page)
    assert "the picture is black" in marked_up(page)
    assert "no picture at hand" in marked_up(page)


def test_the_window_is_kept_from_one_run_to_the_next(store: FakeLine) -> None:
    store.tiles = [data.Tile("cam", VERDICT, None, picture_is_earlier=False)]
    page = live_page().run()
    page.segmented_control(key="window").set_value("8 h").run()
    assert page.run().segmented_control(key="window").value == "8 h"


def test_an_absent_database_is_said_calmly_and_the_page_recovers(store: FakeLine) -> None:
    store.away = True
    page = live_page().run()
    assert not page.exception
    assert "does not answer" in page.warning[0].value
    store.away = False
    assert not page.run().warning
