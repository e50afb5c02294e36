"""What speaks against a model by what it saw, and the interval of a share."""

import pytest

from infra.objections import exact_interval, line_objections, too_many
from infra.store.second_verdicts import Seen


def test_one_that_saw_nothing_is_unknown_unless_it_is_the_first() -> None:
    nothing = Seen(0, 0, 0, 0, 0)
    (line,) = line_objections(nothing, 0.01, replaces_another=True)
    assert "nobody knows which verdicts it would change" in line
    assert line_objections(nothing, 0.01, replaces_another=False) == []


def test_more_false_alarms_than_the_rate_explains() -> None:
    (line,) = line_objections(Seen(100, 9, 9, 100, 9), 0.01, replaces_another=True)
    assert "9 of 100 released pictures" in line
    assert "1.000%" in line
    assert line_objections(Seen(100, 1, 1, 100, 1), 0.01, replaces_another=True) == []


def test_too_many_is_a_one_sided_exact_test() -> None:
    assert not too_many(0, 0, 0.01)
    assert not too_many(3, 100, 0.01)  # 7.9 % by chance
    assert too_many(4, 100, 0.01)  # 1.8 %


def test_the_exact_interval() -> None:
    assert exact_interval(9, 10) == (pytest.approx(0.5550, abs=1e-4), pytest.approx(0.9975, abs=1e-4))
    assert exact_interval(0, 10)[0] == 0
