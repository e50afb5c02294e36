"""The logic of the health page, with the data layer replaced."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import health as data
from dashboard.data import pictures
from infra.bus.protocol import Extent, Partition
from infra.errors import AccessDeniedError, DatabaseAwayError
from infra.kept_positions import KeptPosition
from infra.store.health import Letter, LetterKey, Pace, StageTime, TableSize
from infra.store.positions import StoredPosition
from infra.store.tables import Role

from .conftest import Become
from .shown import AT, HOSTILE, marked_up, texts

PARTITION = KeptPosition(
    Partition("frames", 0),
    StoredPosition(Partition("frames", 0), 40, 3, HOSTILE, AT - timedelta(seconds=4)),
    Extent(0, 100),
    60,
)
PACE = Pace(101, AT - timedelta(seconds=50), AT, (StageTime("waiting", 0.05, 2.5), StageTime("scoring", 0.02, 0.03)))
FLOW = data.Flow(PACE, (PARTITION,), 7, AT - timedelta(minutes=3), 2, AT)
SPACE = data.Space((TableSize("verdicts", 12_300_000, date(2026, 3, 1)),), "/data/archive", 40 * 10**9, 100 * 10**9)


def letter_of(number: int) -> Letter:
    return Letter(
        AT, AT, "frames", 0, number, f"frame-{number}", HOSTILE, "missing_product", HOSTILE, {"ce_id": HOSTILE}, "aa/1"
    )


@dataclass
class FakeHealth:
    flows: data.Flow = FLOW
    kept: list[Letter] = field(default_factory=list)
    away: bool = False
    sent: list[tuple[LetterKey, str]] = field(default_factory=list)
    refuses: Exception | None = None

    def flow(self) -> data.Flow:
        self._answer()
        return self.flows

    def letters(self, after: LetterKey | None) -> tuple[list[Letter], bool]:
        self._answer()
        older = [one for one in self.kept if after is None or one.bus_offset < after.bus_offset]
        return older[:2], len(older) > 2

    def send_letter_again(self, key: LetterKey, reason: str) -> str:
        if self.refuses:
            raise self.refuses
        self.sent.append((key, reason))
        return "again-1"

    def space(self) -> data.Space:
        self._answer()
        return SPACE

    def versions(self) -> dict[str, str]:
        self._answer()
        return {"differline": "0.1.0"}

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeHealth:
    fake = FakeHealth()
    for name in ("flow", "letters", "send_letter_again", "space", "versions"):
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(pictures, "small_picture", lambda _ref, _side_px: None)
    return fake


def health_page() -> AppTest:
    def script() -> None:
        from dashboard.views import health  # noqa: PLC0415 - the function's text is the script

        health.page({})

    return AppTest.from_function(script, default_timeout=30).run()


def test_what_waits_and_what_moves_is_told(store: FakeHealth) -> None:
    page = health_page()
    assert not page.exception
    assert {"60 frames", "2 a second", "now", "7 messages", "3 min ago", "2"} <= set(texts(page))
    stages, partitions, *_ = (frame.value for frame in page.dataframe)
    assert stages["median"].tolist() == ["50 ms", "20 ms"]
    assert stages["95 % under"].tolist() == ["2.5 s", "30 ms"]
    assert partitions.iloc[0].tolist() == ["frames/0", 60, 100, HOSTILE, "4 s ago"]
    assert HOSTILE not in marked_up(page)
    assert not page.warning
    assert "None: every frame" in marked_up(page)
    assert store.sent == []


def test_an_absent_bus_and_a_lost_position_are_in_plain_sight(store: FakeHealth) -> None:
    store.flows = replace(FLOW, partitions=None, scorers=None)
    page = health_page()
    assert "bus does not answer" in page.warning[0].value
    assert {"bus away", "not known"} <= set(texts(page))
    lost = replace(PARTITION, held=Extent(0, 10))
    store.flows = replace(FLOW, partitions=(lost,))
    assert "ends before a stored position" in health_page().error[0].value


def test_a_line_without_frames_is_no_error(store: FakeHealth) -> None:
    store.flows = data.Flow(Pace(0, None, None, ()), (), 0, None, 0, datetime(2026, 3, 1, tzinfo=UTC))
    page = health_page()
    assert not page.exception
    assert "no frame yet" in texts(page)
    assert "No frame was scored yet." in marked_up(page)


def test_a_dead_letter_shows_what_came_as_text_and_is_sent_again_with_a_reason(store: FakeHealth) -> None:
    store.kept = [letter_of(3), letter_of(2), letter_of(1)]
    page = health_page()
    assert f"missing product: {HOSTILE}" in texts(page)
    assert HOSTILE not in marked_up(page)
    page.text_input[0].set_value("the product is set now")
    page.button[0].click().run()
    assert store.sent == [(letter_of(3).key, "the product is set now")]
    assert "Sent again" in page.success[0].value
    next(button for button in page.button if button.label == "Older").click().run()
    assert "frame-1" in texts(page)
    assert "frame-3" not in texts(page)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a reason has 1 to 500 characters"), "Not sent: a reason"),
        (LookupError("there is no such dead letter"), "Not sent: there is no"),
        (AccessDeniedError("this needs the role engineer"), "Not allowed"),
        (DatabaseAwayError("away"), "Not known to be sent"),
    ],
)
def test_what_was_not_sent_is_said(store: FakeHealth, error: Exception, said: str) -> None:
    store.kept, store.refuses = [letter_of(3)], error
    page = health_page()
    page.button[0].click().run()
    assert said in page.error[0].value


def test_only_an_engineer_is_offered_to_send(store: FakeHealth, become: Become) -> None:
    store.kept = [letter_of(3)]
    become(Role.INSPECTOR)
    assert not health_page().text_input
    become(Role.ENGINEER)
    assert health_page().text_input


def test_an_absent_database_is_said_calmly(store: FakeHealth) -> None:
    store.away = True
    page = health_page()
    assert not page.exception
    assert all("does not answer" in warning.value for warning in page.warning)
