import pytest

from infra.errors import SettingsError
from scorer.detector import FlowSpec
from trainer.presets import COMPACT, MAX_BANK_VIEWS, PAPER, choose_preset


def test_paper_is_the_designs_table() -> None:
    assert PAPER.flow(seed=0) == FlowSpec(blocks=8, hidden=2048, hidden_layers=3, clamp=3.0, standardize=False)
    assert (PAPER.learning_rate, PAPER.batch, PAPER.epochs, PAPER.scoring_views) == (2e-4, 96, 192, 64)
    assert PAPER.brightness == PAPER.contrast == (1.0, 1.0)


def test_presets_are_found_by_name() -> None:
    assert choose_preset("paper") is PAPER
    assert choose_preset("compact") is COMPACT
    with pytest.raises(SettingsError, match="'large': paper, compact"):
        choose_preset("large")


def test_training_and_scoring_look_at_different_angles() -> None:
    bank, scoring = COMPACT.bank_plan(100, seed=3), COMPACT.scoring_plan(seed=3)
    assert bank.seed != scoring.seed
    assert scoring.count == COMPACT.scoring_views
    assert COMPACT.with_views(5).scoring_plan(seed=3).count == 5
    assert COMPACT.with_views(None) == COMPACT


def test_a_large_set_gets_fewer_views_a_picture_and_never_none() -> None:
    assert PAPER.bank_plan(1_000, seed=0).count == PAPER.bank_views
    assert PAPER.bank_plan(100_000, seed=0).count == MAX_BANK_VIEWS // 100_000
    assert PAPER.bank_plan(1_000_000, seed=0).count == 1
