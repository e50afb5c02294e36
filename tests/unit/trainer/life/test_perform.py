"""How far a refit is, as it is put on record."""

import pytest

from infra.errors import DatabaseAwayError
from trainer.life.perform import ProgressOnRecord
from trainer.progress import Stage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_a_share_of_all_that_never_falls() -> None:
    told: list[tuple[str, float]] = []
    clock = Clock()
    progress = ProgressOnRecord(lambda stage, share: told.append((stage, share)), clock)
    steps = [
        (Stage.SCAN, 0, 4),
        (Stage.SCAN, 4, 4),
        (Stage.FEATURES, 5, 10),
        (Stage.FIT, 24, 24),
        (Stage.CHALLENGE, 10, 10),
        (Stage.CHALLENGE, 0, 10),  # the model in force is shown them, too
        (Stage.REGISTER, 1, 1),
    ]
    for stage, done, total in steps:
        progress(stage, done, total)
        clock.now += 1
    assert [stage for stage, _ in told] == [stage.value for stage, _, _ in steps]
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[2] == pytest.approx(0.03 + 0.10 + 0.125)
    assert shares[-1] == pytest.approx(1)


def test_it_is_told_at_most_once_a_second() -> None:
    told: list[str] = []
    clock = Clock()
    progress = ProgressOnRecord(lambda stage, _: told.append(stage), clock)
    for step in range(100):
        clock.now = step / 10
        progress(Stage.FIT, step, 100)
    assert len(told) == 10


def test_an_empty_stage_and_one_of_no_refit_are_no_trouble() -> None:
    told: list[float] = []
    clock = Clock()
    progress = ProgressOnRecord(lambda _, share: told.append(share), clock)
    for stage in (Stage.CHALLENGE, Stage.TEST):
        progress(stage, 0, 0)
        clock.now += 1
    assert told == [pytest.approx(0.99), pytest.approx(0.99)]


def test_a_database_that_is_away_keeps_no_refit_waiting() -> None:
    def away(_stage: str, _share: float) -> None:
        raise DatabaseAwayError("away")

    ProgressOnRecord(away)(Stage.FIT, 1, 2)
