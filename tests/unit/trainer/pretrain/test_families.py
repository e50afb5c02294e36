import numpy as np
import pytest

from trainer.pretrain.families import HELD_OUT, TRAINING, program_of
from trainer.pretrain.lighting import Picture

SIZE_PX = 96


def draw(family: str, number: int = 0, seed: int = 0, chance: int = 0, size_px: int = SIZE_PX) -> Picture:
    return program_of(family, number, seed)(np.random.default_rng(chance), size_px)


def test_no_family_is_trained_on_and_held_out() -> None:
    assert not TRAINING.keys() & HELD_OUT.keys()


@pytest.mark.parametrize("family", [*TRAINING, *HELD_OUT])
def test_a_program_draws_the_same_picture_from_the_same_chance(family: str) -> None:
    picture = draw(family)
    assert (picture.shape, picture.dtype) == ((SIZE_PX, SIZE_PX, 3), np.uint8)
    np.testing.assert_array_equal(picture, draw(family))
    assert draw(family, size_px=112).shape == (112, 112, 3)


@pytest.mark.parametrize("family", [*TRAINING, *HELD_OUT])
def test_pictures_programs_and_seeds_differ(family: str) -> None:
    picture = draw(family)
    for other in (draw(family, chance=1), draw(family, number=1), draw(family, seed=1)):
        assert (picture != other).mean() > 0.05


@pytest.mark.parametrize("family", [*TRAINING, *HELD_OUT])
def test_there_is_something_to_see(family: str) -> None:
    spread = [float(draw(family, number).std()) for number in range(6)]
    assert np.median(spread) > 6  # grey values; the sensor's noise alone has 3 at most


@pytest.mark.parametrize("family", [*TRAINING, *HELD_OUT])
def test_a_picture_does_not_depend_on_what_was_drawn_before(family: str) -> None:
    program = program_of(family, 0, 0)
    first = program(np.random.default_rng(5), SIZE_PX)
    program(np.random.default_rng(6), SIZE_PX)
    np.testing.assert_array_equal(program(np.random.default_rng(5), SIZE_PX), first)
