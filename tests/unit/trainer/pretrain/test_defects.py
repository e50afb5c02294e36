import numpy as np
import pytest

from trainer.pretrain.defects import HELD_OUT_KINDS, TRAINING_KINDS, Kind, add_defect
from trainer.pretrain.families import program_of

SIZE_PX = 112
KINDS = {f"{kind.shape.__name__}-{kind.fill.__name__}": kind for kind in (*TRAINING_KINDS, *HELD_OUT_KINDS)}


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    return program_of("noises", 1, 0)(chance, SIZE_PX), program_of("bricks", 0, 0)(chance, SIZE_PX)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_defect_changes_its_place_and_nothing_else(kind: Kind, pictures: tuple[np.ndarray, np.ndarray]) -> None:
    picture, other = pictures
    before = picture.copy()
    seen = 0
    for seed in range(8):
        defective, changed = add_defect(np.random.default_rng(seed), picture, other, (kind,))
        differs = (defective != picture).any(axis=2)
        assert not (changed & ~differs).any()
        if changed.any():
            seen += 1
            rows, columns = np.nonzero(differs)
            assert differs.mean() < 0.5
            assert np.ptp(rows) + np.ptp(columns) > 0
        else:
            assert not differs.any()  # what nobody can see is not there at all
    assert seen >= 4
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_nothing_changes_outside_of_the_mask(kind: Kind, pictures: tuple[np.ndarray, np.ndarray]) -> None:
    masks = []

    def shape(rng: np.random.Generator, size_px: int, place: np.ndarray, radius: float) -> np.ndarray:
        masks.append(kind.shape(rng, size_px, place, radius))
        return masks[-1]

    defective, _ = add_defect(np.random.default_rng(3), *pictures, (Kind(shape, kind.fill),))
    differs = (defective != pictures[0]).any(axis=2)
    assert not differs[masks[-1] == 0].any()
    assert 0 <= masks[-1].min() <= masks[-1].max() <= 1


def test_a_defect_depends_on_its_chance_alone(pictures: tuple[np.ndarray, np.ndarray]) -> None:
    first, second, third = (add_defect(np.random.default_rng(s), *pictures, TRAINING_KINDS)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_a_defect_that_cannot_be_seen_is_given_up() -> None:
    black = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    darker = tuple(kind for kind in TRAINING_KINDS if kind.fill.__name__ == "darker")
    defective, changed = add_defect(np.random.default_rng(0), black, black, darker)
    assert not changed.any()
    assert not defective.any()


def test_held_out_kinds_are_not_trained_on() -> None:
    assert not set(TRAINING_KINDS) & set(HELD_OUT_KINDS)
    trained_fills = {kind.fill for kind in TRAINING_KINDS}
    trained_shapes = {kind.shape for kind in TRAINING_KINDS}
    for kind in HELD_OUT_KINDS:
        assert kind.fill not in trained_fills or kind.shape not in trained_shapes
