"""The logic of the search page, with the data layer replaced; what it looks like is looked at in a browser (tests/e2e)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from dashboard import access
from dashboard import sources as sources_module
from dashboard.data import alerts as alert_data
from dashboard.data import pictures
from dashboard.data import search as data
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.evidence import ModelEvidence, PictureState
from infra.store.search import Found, Search, SearchKey
from infra.store.tables import Role, VerdictState
from infra.store.traces import Deed, Trace, TracedAlert, TracedModel, TracedSecond, TracedVerdict
from infra.trace_report import TraceReport

from .conftest import Become
from .shown import AT, HOSTILE, VERDICT, marked_up, texts

MODEL = TracedModel(
    "tile", 3, "/models/3", "f" * 64, "e" * 64, "compact", 21.0, 0.01, 0.02, 8, 100, 50, "a.first", AT,
    (Deed("promoted", "b.second", HOSTILE, AT, 7),),
)  # fmt: skip
TRACED = TracedVerdict(
    HOSTILE, "frame-1", AT, "frames", 0, 17, "result", "tile", "MT-7", None, None, None, "0" * 64, None, AT, AT, AT, "DEFECT",
    None, 31.5, 0.0062, 21.0, 8, None, MODEL,
    (TracedSecond("tile", 4, "shadow", "GOOD", 1.5, 21.0, 0.5, 8, AT),),
    (TracedAlert(12, "defect", AT, (Deed("acknowledge", "m.weber", "a scratch", AT, 9),)),),
)  # fmt: skip
REPORT = TraceReport(
    Trace("frame-1", None, (TRACED,), ()),
    (PictureState.NOT_KEPT,),
    {
        ("tile", 3): ModelEvidence(
            {"flow.safetensors": "whole", "manifest.json": "whole"}, ("1" * 64,), None, None, None
        )
    },  # type: ignore[dict-item]
)
NOTHING = TraceReport(Trace("frame-1", None, (), ()), (), {})


@dataclass
class FakeSearch:
    """What the page would find; `away` makes the database not answer."""

    answer: Found = field(default_factory=lambda: Found((VERDICT,), None))
    report: TraceReport = REPORT
    away: bool = False
    asked: list[tuple[Search, SearchKey | None]] = field(default_factory=list)
    traced: list[tuple[str, str, datetime]] = field(default_factory=list)

    def found(self, search: Search, after: SearchKey | None) -> Found:
        self._answer()
        self.asked.append((search, after))
        return self.answer

    def trace(self, frame_id: str, camera: str, received_at: datetime) -> TraceReport:
        self._answer()
        self.traced.append((frame_id, camera, received_at))
        return self.report

    def cameras_and_products(self) -> tuple[list[str], list[str]]:
        self._answer()
        return ["press 1", HOSTILE], []

    def export(self, _search: Search) -> Callable[[], bytes]:
        return lambda: b""

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeSearch:
    fake = FakeSearch()
    for name in ("found", "trace", "export"):
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(alert_data, "cameras_and_products", fake.cameras_and_products)
    monkeypatch.setattr(pictures, "small_picture", lambda _ref, _side_px: None)
    return fake


def search_page(**address: str) -> AppTest:
    def script() -> None:
        from dashboard.views import search  # noqa: PLC0415 - the function's text is the script

        search.page({})

    page = AppTest.from_function(script, default_timeout=30)
    for name, value in address.items():
        page.query_params[name] = value
    return page


def button(page: AppTest, label: str) -> Button:
    return next(each for each in page.button if each.label == label)


def test_without_a_wish_the_newest_verdicts_stand_there(store: FakeSearch) -> None:
    page = search_page().run()
    assert not page.exception
    assert store.asked == [(Search(), None)]
    assert page.dataframe[0].value["frame"].tolist() == ["frame-1"]
    assert page.dataframe[0].value["verdict"].tolist() == ["DEFECT"]
    assert "1 verdict, and no older ones" in marked_up(page)
    assert HOSTILE not in marked_up(page)


def test_what_is_entered_goes_into_the_address_and_is_searched_for(
    store: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = sources_module.sources()
    berlin = replace(at, settings=at.settings.model_copy(update={"time_zone": "Europe/Berlin"}))
    monkeypatch.setattr(sources_module, "opened", lambda: berlin)
    page = search_page().run()
    page.text_input(key="search_part").set_value(" MT-7 ")
    page.selectbox(key="search_camera").set_value(HOSTILE)
    page.selectbox(key="search_verdict").set_value(VerdictState.DEFECT)
    page.session_state["search_from"] = datetime.fromisoformat("2026-07-01T08:00")
    page.number_input(key="search_least").set_value(-1.5)
    button(page, "Search").click().run()
    assert not page.exception
    july = datetime(2026, 7, 1, 6, tzinfo=UTC)  # by a clock of the plant it is eight
    expected = Search(None, "MT-7", HOSTILE, VerdictState.DEFECT, july, None, -1.5, None)
    assert store.asked[-1] == (expected, None)
    said = {name: page.query_params[name] for name in ("part", "camera", "verdict", "from", "least")}
    again = search_page(**said).run()
    assert store.asked[-1] == (expected, None)
    assert again.text_input(key="search_part").value == "MT-7"
    assert again.session_state["search_from"] == datetime.fromisoformat("2026-07-01T08:00")
    button(again, "Clear").click().run()
    assert store.asked[-1] == (Search(), None)
    assert again.text_input(key="search_part").value == ""
    assert again.selectbox(key="search_camera").value is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"part": "x" * 10_000}, "a part id of more than 500 characters"),
        ({"frame": "a\0b"}, "a frame id has no NUL character"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "the time range ends before it begins"),
        ({"least": "2", "most": "1"}, "the lowest score is above the highest"),
    ],
)
def test_what_cannot_be_searched_for_is_said_calmly(store: FakeSearch, address: dict[str, str], said: str) -> None:
    page = search_page(**address).run()
    assert not page.exception
    assert said in page.info[0].value
    assert store.asked == []


@pytest.mark.parametrize(
    "address",
    [
        {"verdict": "<b>"},
        {"from": "yesterday"},
        {"to": "9999-12-31T23:59:59-23:00"},
        {"from": "0001-01-01T00:00:00Z"},
        {"least": "nan"},
        {"most": "1e999"},
    ],
)
def test_an_address_that_says_nonsense_narrows_nothing(store: FakeSearch, address: dict[str, str]) -> None:
    page = search_page(**address).run()
    assert not page.exception
    assert store.asked == [(Search(), None)]


def test_nothing_found_is_said_and_so_is_how_far_it_was_looked(store: FakeSearch) -> None:
    store.answer = Found((), None)
    page = search_page(part="gone").run()
    assert page.info[0].value == "No verdict fits."
    assert not page.dataframe
    store.answer = Found((), SearchKey(AT, "cam", "frame"), gave_up=True)
    page = search_page(least="99").run()
    assert "0 verdicts among the 20,000 that were looked through, back to 2026-03-01 12:00:00.000 UTC" in marked_up(
        page
    )
    assert not page.info
    button(page, "Look further back").click().run()
    assert store.asked[-1][1] == SearchKey(AT, "cam", "frame")


def test_older_and_newer_turn_the_pages_and_a_new_search_begins_with_the_newest(store: FakeSearch) -> None:
    first = SearchKey(AT, "cam", "frame")
    store.answer = Found((VERDICT,), first)
    page = search_page().run()
    assert "there are older ones" in marked_up(page)
    assert button(page, "Newer").disabled
    button(page, "Older").click().run()
    assert store.asked[-1] == (Search(), first)
    page.text_input(key="search_frame").set_value("f")
    button(page, "Search").click().run()
    assert store.asked[-1] == (Search(frame_id="f"), None)
    store.answer = Found((VERDICT,), None)
    button(page, "Search").click().run()
    assert button(page, "Older").disabled


def test_a_verdict_is_traced_from_picture_to_acknowledgement_with_the_plants_times(store: FakeSearch) -> None:
    page = search_page(trace="frame-1", of=HOSTILE, at=AT.isoformat()).run()
    assert not page.exception
    assert store.traced == [("frame-1", HOSTILE, AT)]
    shown = "\n".join(texts(page))
    for said in (
        "sha256 " + "0" * 64,
        "2026-03-01 12:00:00.000 UTC",
        "DEFECT, result result",
        "31.5",
        "tile version 3, preset compact",
        "registered by a.first",
        "sha256 " + "1" * 64,
        "promoted by b.second",
        HOSTILE,
        "GOOD, score 1.5",
        "acknowledge by m.weber, 2026-03-01 12:00:00.000 UTC (audit row 9): a scratch",
    ):
        assert said in shown
    assert HOSTILE not in marked_up(page)


@pytest.mark.parametrize("address", [{"trace": "f"}, {"trace": "f", "of": "c", "at": "then"}, {"of": "c"}])
def test_half_an_address_traces_nothing(store: FakeSearch, address: dict[str, str]) -> None:
    page = search_page(**address).run()
    assert not page.exception
    assert store.traced == []
    assert "Choose a verdict in the list" in marked_up(page)


def test_a_frame_that_is_not_on_record_is_said(store: FakeSearch) -> None:
    store.report = NOTHING
    page = search_page(trace="frame-1", of="cam", at=AT.isoformat()).run()
    assert page.info[0].value == "This frame is not on record."


def test_the_page_recovers_from_a_database_that_was_away(store: FakeSearch) -> None:
    store.away = True
    page = search_page(part="MT-7", trace="frame-1", of="cam", at=AT.isoformat()).run()
    assert not page.exception
    assert len(page.warning) == 2
    store.away = False
    page.run()
    assert not page.warning
    assert page.dataframe


def test_an_export_is_made_when_it_is_taken_by_who_still_may(monkeypatch: pytest.MonkeyPatch, become: Become) -> None:
    pages = [Found((VERDICT,), SearchKey(AT, "cam", "frame")), Found((replace(VERDICT, frame_id="second"),), None)]
    asked: list[Search] = []

    def walk(_database: object, search: Search, _limit: int, *, most_looks: int) -> list[Found]:
        assert most_looks <= 200
        asked.append(search)
        return pages

    monkeypatch.setattr("infra.store.search.walk", walk)
    make = data.export(Search(part_id="MT-7", since=AT - timedelta(days=1)))
    assert asked == []
    assert make().decode().count("\n") == 3
    assert asked[0].part_id == "MT-7"
    become(Role.NONE)
    with pytest.raises(AccessDeniedError):
        make()
    assert access.person().role is Role.NONE
