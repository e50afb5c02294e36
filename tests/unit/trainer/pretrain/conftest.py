import pytest

from trainer.pretrain.bank import Bank, draw_bank
from trainer.pretrain.recipe import Recipe

TINY = Recipe(
    programs_per_family=2,
    pictures_per_program=3,
    bank_px=64,
    sizes_px=(64, 96),
    programs_per_step=4,
    programs_alike=2,
    support=2,
    queries=1,
    defective=1,
)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return TINY


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return draw_bank(tmp_path_factory.mktemp("bank"), TINY, seed=0, workers=1)
