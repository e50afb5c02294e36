"""The logic of the curate page, with the data layer replaced; keys and looks are for a browser (tests/e2e)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import curate as data
from dashboard.data import pictures
from dashboard.views.curation_session import MOST_UNDONE, SHOWN
from infra.errors import CurationError, DatabaseAwayError
from infra.evidence import PictureState
from infra.pictures import encode_jpeg
from infra.refit_due import Due
from infra.store.curation import Decided, Decision, KeptFrame
from infra.store.curation_queue import CurationCounts, CurationFrame, QueueKey, Stretch
from infra.store.tables import FrameDecision, Role, VerdictState

from .shown import AT, HOSTILE, PICTURE, marked_up, texts

RELEASED, REJECTED, OPEN = FrameDecision.RELEASED, FrameDecision.REJECTED, FrameDecision.OPEN
Become = Callable[[Role], None]
REASON = "eye *check*, light as usual"


def frame_of(number: int, state: VerdictState = VerdictState.GOOD, p_value: float = 0.5) -> CurationFrame:
    at = AT + timedelta(seconds=number)
    kept = KeptFrame(f"{number:064}", HOSTILE, f"frame-{number}", HOSTILE, HOSTILE, at, state, 1.25, p_value)
    return CurationFrame(kept, 1.5, OPEN, None)


@dataclass
class FakeCuration:
    """What the page would find, in memory; `stretch` frames are handed out at once."""

    open: dict[str, CurationFrame] = field(default_factory=dict)
    quarantined: dict[str, CurationFrame] = field(default_factory=dict)
    made: list[tuple[str, FrameDecision, str, bool]] = field(default_factory=list)
    stretch: int = 1000
    away: bool = False
    refuses: str | None = None
    due: Due = field(default_factory=lambda: Due((), 12, 12))

    def fill(self, frames: int, quarantined: int = 0) -> None:
        self.open = {f"{number:064}": frame_of(number) for number in range(frames)}
        doubtful = [frame_of(1000 + number, VerdictState.DEFECT, 0.001) for number in range(quarantined)]
        self.quarantined = {each.frame.sha256: each for each in doubtful}

    def next_stretch(self, _product: str, *, quarantined: bool, after: QueueKey | None) -> Stretch:
        self._answer()
        known = self.quarantined if quarantined else self.open
        found = [sha256 for sha256, each in known.items() if each.decision is OPEN]
        found = [each for each in found if after is None or each > after.sha256]
        chosen = found[: self.stretch]
        return Stretch(tuple(chosen), QueueKey(0.5, chosen[-1]) if len(found) > self.stretch else None)

    def frames(self, _product: str, sha256: Sequence[str]) -> list[CurationFrame]:
        known = self.open | self.quarantined
        return [known[each] for each in sha256 if each in known]

    def counts(self, _product: str) -> CurationCounts:
        self._answer()
        of = [[each.decision for each in known.values()] for known in (self.open, self.quarantined)]
        both = of[0] + of[1]
        return CurationCounts(of[0].count(OPEN), of[1].count(OPEN), both.count(RELEASED), both.count(REJECTED))

    def decide(
        self,
        _product: str,
        seen: Sequence[CurationFrame],
        decision: FrameDecision,
        reason: str,
        *,
        challenge: bool = False,
    ) -> Decided:
        self._answer()
        if self.refuses:
            raise CurationError(self.refuses)
        now = {each.frame.sha256: each for each in self.frames("", [each.frame.sha256 for each in seen])}
        fresh = [each.frame.sha256 for each in seen if now[each.frame.sha256].decision_id == each.decision_id]
        late = [each.frame.sha256 for each in seen if each.frame.sha256 not in fresh]
        recorded = {sha256: self._set(sha256, decision) for sha256 in fresh}
        self.made += [(sha256, decision, reason, challenge) for sha256 in fresh]
        theirs = [
            Decision("tile", each, REJECTED, HOSTILE, HOSTILE, None, None, None, challenge=False, decided_at=AT)
            for each in late
        ]
        return Decided(recorded, tuple(theirs))

    def take_back(self, product: str, numbers: dict[str, int], reason: str) -> Decided:
        seen = [replace(self.frames("", [sha256])[0], decision_id=number) for sha256, number in numbers.items()]
        return self.decide(product, seen, OPEN, reason)

    def decided_by_somebody_else(self, number: int) -> None:
        self._set(f"{number:064}", REJECTED)

    def _set(self, sha256: str, decision: FrameDecision) -> int:
        known = self.open if sha256 in self.open else self.quarantined
        number = len(self.made) + 7000
        known[sha256] = replace(known[sha256], decision=decision, decision_id=number)
        return number

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAwayError("the database does not answer: refused")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeCuration:
    fake = FakeCuration()
    for name in ("next_stretch", "frames", "counts", "decide", "take_back"):
        monkeypatch.setattr(data, name, getattr(fake, name))
    monkeypatch.setattr(data, "products", lambda: [HOSTILE, "tile"])
    monkeypatch.setattr(data, "due", lambda _product: fake.due)
    monkeypatch.setattr(data, "heat", lambda _frame: None)
    monkeypatch.setattr(data, "trouble", lambda _sha256: PictureState.ALTERED)
    monkeypatch.setattr(pictures, "picture", lambda _ref: PICTURE)
    monkeypatch.setattr(pictures, "small_picture", lambda _ref, _px: encode_jpeg(PICTURE))
    return fake


def curate_page(reason: str | None = REASON) -> AppTest:
    def script() -> None:
        from dashboard.views import curate  # noqa: PLC0415 - the function's text is the script

        curate.page({})

    page = AppTest.from_function(script, default_timeout=30)
    if reason is not None:
        page.session_state["curate_reason"] = reason
    return page.run()


def press(page: AppTest, label: str) -> AppTest:
    assert not page.exception
    pressed = next(button for button in page.button if button.label == label).click().run()
    assert not pressed.exception
    return pressed


def current(page: AppTest) -> int:
    """The number of the frame that is shown large: the buttons belong to it."""
    return int(next(button.key for button in page.button if button.label == "Skip").rpartition("_")[2])


def tiles(page: AppTest) -> list[int]:
    return [int(b.key.rpartition("_")[2]) for b in page.button if b.key and b.key.startswith("curate_tile_")]


def test_one_press_is_one_decision_with_its_reason_and_shows_the_next_frame(store: FakeCuration) -> None:
    store.fill(5)
    page = curate_page()
    assert (current(page), tiles(page)) == (0, [0, 1, 2, 3, 4])
    for label in ("Release", "Reject", "Challenge", "Skip"):
        page = press(page, label)
    assert store.made == [
        (f"{0:064}", RELEASED, REASON, False),
        (f"{1:064}", REJECTED, REASON, False),
        (f"{2:064}", REJECTED, REASON, True),
    ]
    assert (current(page), tiles(page)) == (4, [4])
    assert "2 open · 0 in quarantine · 1 released · 2 rejected" in marked_up(page)


def test_undo_opens_the_newest_decision_again_and_shows_its_frame(store: FakeCuration) -> None:
    store.fill(3)
    page = press(press(press(curate_page(), "Release"), "Reject"), "Undo")
    assert store.made[-1][:2] == (f"{1:064}", OPEN)
    assert current(page) == 1
    page = press(page, "Undo")
    assert (current(page), tiles(page)) == (0, [0, 1, 2])
    assert next(button for button in page.button if button.label == "Undo").disabled
    assert len(store.made) == 4


def test_undo_forgets_what_is_too_long_ago(store: FakeCuration) -> None:
    store.fill(3)
    page = curate_page()
    for _ in range(MOST_UNDONE):
        page.session_state["curate_session"].done.append(object())
    page = press(page, "Release")
    assert len(page.session_state["curate_session"].done) == MOST_UNDONE


def test_what_is_taken_back_in_quarantine_does_not_come_among_the_open_ones(store: FakeCuration) -> None:
    store.fill(2, quarantined=2)
    page = curate_page()
    page.segmented_control(key="curate_frames").set_value("In quarantine").run()
    page = press(page, "Release")
    page.segmented_control(key="curate_frames").set_value("Open").run()
    page = press(page, "Undo")
    assert tiles(page) == [0, 1]


def test_nothing_is_decided_without_a_reason_and_it_is_asked_for_once(store: FakeCuration) -> None:
    store.fill(3)
    page = curate_page(reason=None)
    assert all(button.disabled for button in page.button if button.label in ("Release", "Reject", "Challenge"))
    page.text_input[0].set_value("  ")
    page = press(page, "Use it")
    assert page.error[0].value == "Write a reason first."
    page.text_input[0].set_value(REASON)
    page = press(page, "Use it")
    assert not page.text_input
    assert REASON in texts(page)
    assert REASON not in marked_up(page)
    page = press(page, "Release")
    assert store.made[0][2] == REASON
    page = press(page, "Change")
    assert page.text_input[0].value == REASON
    assert next(button for button in page.button if button.label == "Release").disabled


def test_what_somebody_else_has_decided_is_told_and_stays(store: FakeCuration) -> None:
    store.fill(3)
    page = curate_page()
    store.decided_by_somebody_else(0)
    page = press(page, "Release")
    assert store.made == []
    assert "Somebody has decided about a frame meanwhile" in page.warning[0].value
    assert f"{HOSTILE}, rejected: {HOSTILE}" in texts(page)
    assert HOSTILE not in marked_up(page)
    assert current(page) == 1
    store.decided_by_somebody_else(2)
    assert tiles(page.run()) == [1]
    assert not press(page, "Skip").warning


def test_a_tile_makes_its_frame_the_current_one(store: FakeCuration) -> None:
    store.fill(4)
    page = curate_page()
    next(button for button in page.button if button.key == f"curate_tile_{2:064}").click().run()
    assert tiles(page) == [2, 0, 1, 3]
    page = press(page, "Release")
    assert (store.made[0][0], current(page)) == (f"{2:064}", 0)


def test_all_that_are_shown_are_released_after_a_question_and_taken_back_together(store: FakeCuration) -> None:
    store.fill(SHOWN + 3)
    page = press(curate_page(), f"Release all {SHOWN} shown")
    assert store.made == []
    assert f"**{SHOWN} frames**" in marked_up(page)
    page = press(page, f"Release {SHOWN}")
    assert [made[:2] for made in store.made] == [(f"{number:064}", RELEASED) for number in range(SHOWN)]
    page = press(page.run(), "Undo")
    assert tiles(page) == list(range(SHOWN))


def test_frames_in_quarantine_are_apart_and_never_released_together(store: FakeCuration) -> None:
    store.fill(2, quarantined=2)
    page = curate_page()
    assert tiles(page) == [0, 1]
    page.segmented_control(key="curate_frames").set_value("In quarantine").run()
    assert tiles(page) == [1000, 1001]
    assert not any(button.label.startswith("Release all") for button in page.button)
    page = press(page, "Release")
    assert store.made[0][:2] == (f"{1000:064}", RELEASED)


def test_stretch_follows_stretch_and_skipped_ones_come_from_the_beginning(store: FakeCuration) -> None:
    store.fill(20)
    store.stretch = 7
    page = curate_page()
    assert tiles(page) == list(range(SHOWN))
    for number in range(20):
        assert current(page) == number
        page = press(page, "Skip")
    assert "20 are open" in marked_up(page)
    page = press(page, "From the beginning")
    assert current(page) == 0


def test_a_viewer_sees_the_frames_and_no_button_that_decides(store: FakeCuration, become: Become) -> None:
    become(Role.VIEWER)
    store.fill(3)
    page = curate_page()
    assert not page.exception
    assert tiles(page) == [0, 1, 2]
    assert len(page.button) == 3
    assert not page.text_input


def test_a_picture_that_is_gone_or_altered_is_told_and_a_refusal_says_why(
    store: FakeCuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(2)
    monkeypatch.setattr(pictures, "picture", lambda _ref: None)
    monkeypatch.setattr(pictures, "small_picture", lambda _ref, _px: None)
    page = curate_page()
    assert marked_up(page).count("altered in the archive") == 3
    assert "it cannot be released" in marked_up(page)
    store.refuses = "the picture is altered in the archive, so no model can learn from it"
    page = press(page, "Release")
    assert page.warning[0].value == f"Not saved: {store.refuses}."
    assert (current(page), store.made) == (0, [])


def test_the_frame_stays_when_the_database_goes_away(store: FakeCuration) -> None:
    store.fill(2)
    page = curate_page()
    store.away = True
    page = press(page, "Release")
    assert "does not answer" in page.warning[0].value
    store.away = False
    page.run()
    assert "Not saved" in page.warning[0].value
    assert current(page) == 0


def test_names_from_outside_are_text_and_a_heatmap_stands_beside(
    store: FakeCuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(1)
    monkeypatch.setattr(data, "heat", lambda _frame: np.full((4, 6), 5.0, np.float32))
    page = curate_page()
    assert texts(page).count(HOSTILE) == 3  # camera, part, production run
    assert HOSTILE not in marked_up(page)
    assert "score 1.25 · threshold 1.5 · p-value 0.5" in marked_up(page)


def test_how_far_it_is_to_the_next_refit(store: FakeCuration) -> None:
    store.fill(1)
    assert "there is no model yet" in marked_up(curate_page())
    store.due = Due(("version 3 is 40 days old",), 12, 12)
    page = curate_page()
    assert not page.exception


@pytest.mark.usefixtures("store")
def test_nothing_to_decide_about_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing is open here" in marked_up(curate_page())
    monkeypatch.setattr(data, "products", list)
    assert "No frames to decide about yet" in marked_up(curate_page())
