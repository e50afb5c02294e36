"""Scores as they are drawn."""

import json

import numpy as np
import pytest

from infra.score_histogram import CHALLENGE, EDGES, GOOD, score_histogram


def test_every_finite_score_is_in_a_bin_and_the_last_one_has_all_beyond() -> None:
    good = np.linspace(0, 1, 50)
    found = score_histogram(good, [0.5, 1e9, np.nan, np.inf], 1.2)
    assert len(found[EDGES]) == 31
    assert (sum(found[GOOD]), sum(found[CHALLENGE])) == (50, 2)
    assert found[CHALLENGE][-1] == 1
    assert found[EDGES][0] == 0
    assert found[EDGES][-1] >= 1.2
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("threshold", [1.0, 0.0, 5.0])
def test_equal_scores_are_no_trouble(threshold: float) -> None:
    assert sum(score_histogram([1.0] * 5, (), threshold)[GOOD]) == 5
