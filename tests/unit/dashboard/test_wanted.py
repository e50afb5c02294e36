import pytest

from dashboard import wanted
from dashboard.wanted import Wanted, _Memory, browser_of

ONE = "2|00000000|0a0b0c0d0e0f|1700000000"
ONE_MASKED = "2|01010101|0b0a0d0c0f0e|1700000000"
ANOTHER = "2|00000000|0a0b0c0d0e0e|1700000000"


def test_a_browser_is_known_however_its_cookie_is_masked() -> None:
    assert browser_of(ONE) == browser_of(ONE_MASKED) == browser_of(f'"{ONE}"')
    assert browser_of(ONE) != browser_of(ANOTHER)


@pytest.mark.parametrize("cookie", ["", "2|", "2|00|zz|1", "1|00|0a|1", "2|00||1", "2||0a0b|1", "a|b|c|d|e", "ü"])
def test_a_cookie_of_another_form_is_nobody(cookie: str) -> None:
    assert browser_of(cookie) is None


def test_what_was_wanted_is_told_once_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(wanted.time, "monotonic", lambda: now)
    memory = _Memory()
    alert = Wanted("alerts", {"alert": "7"})
    memory.put("one", alert)
    assert memory.take("another") is None
    assert memory.take("one") == alert
    assert memory.take("one") is None
    memory.put("one", alert)
    now += 16 * 60
    assert memory.take("one") is None


def test_the_oldest_are_forgotten_first() -> None:
    memory = _Memory()
    for number in range(1001):
        memory.put(str(number), Wanted("line", {}))
    assert memory.take("0") is None
    assert memory.take("1") == Wanted("line", {})
