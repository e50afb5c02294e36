import threading

import pytest

from infra.errors import DatabaseAwayError
from ingest.ledger import AcceptedReporter

WAIT_S = 20.0


class FakeLedger:
    """Keeps what it is told; away for as many calls as asked for."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.told: list[int] = []
        self.calls = 0
        self.changed = threading.Condition()

    def tell(self, accepted: int) -> None:
        with self.changed:
            self.calls += 1
            self.changed.notify_all()
            if self.calls <= self.away:
                raise DatabaseAwayError("away")
            self.told.append(accepted)

    def wait_for_calls(self, calls: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.calls >= calls, WAIT_S)


def test_tells_zero_at_the_start_and_the_count_at_the_end() -> None:
    ledger = FakeLedger()
    with AcceptedReporter(ledger.tell, interval_s=1000) as reporter:
        ledger.wait_for_calls(1)
        for count in range(1, 51):
            reporter.accepted(count)
    assert ledger.told == [0, 50]


def test_the_last_frame_before_a_pause_is_told_without_another_frame() -> None:
    ledger = FakeLedger()
    with AcceptedReporter(ledger.tell, interval_s=0.01) as reporter:
        ledger.wait_for_calls(1)
        reporter.accepted(3)
        ledger.wait_for_calls(2)
        assert ledger.told == [0, 3]


def test_frames_go_on_while_the_database_does_not_answer() -> None:
    release = threading.Event()
    told: list[int] = []

    def hangs(accepted: int) -> None:
        assert release.wait(WAIT_S)
        told.append(accepted)

    with AcceptedReporter(hangs, interval_s=0.01) as reporter:
        for count in range(1, 1001):
            reporter.accepted(count)
        assert told == []
        release.set()
    assert told[-1] == 1000


def test_what_could_not_be_told_is_told_later() -> None:
    ledger = FakeLedger(away=3)
    with AcceptedReporter(ledger.tell, interval_s=0.01) as reporter:
        reporter.accepted(7)
        ledger.wait_for_calls(4)
    assert ledger.told[-1] == 7


def test_a_database_that_stays_away_ends_in_a_log_line_and_not_in_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = FakeLedger(away=10**9)
    with AcceptedReporter(ledger.tell, interval_s=0.01, last_word_s=0.05) as reporter:
        reporter.accepted(9)
    assert ledger.told == []
    assert "last_count_not_told" in capsys.readouterr().out


def test_any_other_error_reaches_the_one_who_counts() -> None:
    def broken(_: int) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"), AcceptedReporter(broken, interval_s=0.01):
        pass
