from contextlib import closing
from itertools import islice

import numpy as np

from trainer.pretrain.bank import Bank
from trainer.pretrain.episodes import draw_episodes, episodes_ahead
from trainer.pretrain.recipe import Recipe


def test_a_step_depends_on_its_number_alone(bank: Bank, recipe: Recipe) -> None:
    with closing(episodes_ahead(bank, recipe, seed=0, first=0)) as ahead:
        steps = list(islice(ahead, 5))
    with closing(episodes_ahead(bank, recipe, seed=0, first=3)) as ahead:
        later = next(ahead)
    np.testing.assert_array_equal(later.pictures, steps[3].pictures)
    np.testing.assert_array_equal(later.changed, steps[3].changed)
    assert (steps[1].pictures != steps[3].pictures).any()
    assert (draw_episodes(bank, recipe, 1, 0).pictures != steps[0].pictures).any()


def test_only_the_last_pictures_of_a_program_have_a_defect(bank: Bank, recipe: Recipe) -> None:
    seen = 0
    for step in range(4):
        episodes = draw_episodes(bank, recipe, 0, step)
        size_px = recipe.size_px(step)
        assert episodes.pictures.shape == (recipe.programs(step), 4, size_px, size_px, 3)
        assert not episodes.changed[:, :3].any()
        seen += int(episodes.changed[:, 3].any(axis=(1, 2)).sum())
    assert seen >= 8


def test_programs_of_a_step_differ_and_are_alike_in_groups(bank: Bank, recipe: Recipe) -> None:
    for step in range(10):
        programs = draw_episodes(bank, recipe, 0, step).programs
        assert len(set(programs)) == len(programs)
        families = programs // recipe.programs_per_family
        assert (families[::2] == families[1::2]).all()
