import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scorer.detector import ViewPlan, make_views, prepare
from scorer.detector.views import rotate


@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (9000, 1), (448, 448), (20, 2000), (1000, 700)])
def test_pictures_of_any_size_become_squares(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), (10, 120, 250), np.uint8)
    prepared = prepare([picture])
    assert prepared.shape == (1, 3, 448, 448)
    assert prepared.dtype == torch.uint8
    assert prepared.amin(dim=(0, 2, 3)).tolist() == [10, 120, 250]
    assert prepared.amax(dim=(0, 2, 3)).tolist() == [10, 120, 250]


def test_shrinking_averages_even_where_the_other_side_grows() -> None:
    stripes = np.zeros((10, 4480, 3), np.uint8)
    stripes[:, ::5] = 250  # every fifth column, so that sampling anywhere finds 0, 125 or 250 and never 50
    assert prepare([stripes]).float().sub(50).abs().max() <= 1


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_rgb_picture_is_refused(bad: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        prepare([bad])


def test_no_pictures_give_no_views() -> None:
    assert make_views(prepare([]), ViewPlan(count=2)).shape == (0, 3, 448, 448)


def test_the_first_view_is_the_picture_itself(pictures: list[NDArray[np.uint8]]) -> None:
    prepared = prepare(pictures)
    views = make_views(prepared, ViewPlan(count=3, seed=1))
    assert views.shape == (9, 3, 448, 448)
    torch.testing.assert_close(views[::3], prepared.float() / 255, rtol=0, atol=1e-3)


def test_views_depend_on_the_seed_and_not_on_the_batch(pictures: list[NDArray[np.uint8]]) -> None:
    prepared, plan = prepare(pictures), ViewPlan(count=4, seed=1, brightness=(0.85, 1.15), contrast=(0.85, 1.15))
    together = make_views(prepared, plan).view(3, 4, 3, 448, 448)
    assert torch.equal(together[1], make_views(prepared[1:2], plan))
    assert not torch.equal(together[1], make_views(prepared[1:2], plan.model_copy(update={"seed": 2})))


def test_more_views_begin_with_the_same_angles() -> None:
    few, many = ViewPlan(count=3, seed=4).draw(1), ViewPlan(count=8, seed=4).draw(1)
    assert few.angle.tolist() == many.angle[:3].tolist()
    assert few.angle[0] == 0.0


def test_training_views_differ_between_pictures_and_fill_the_circle() -> None:
    views = ViewPlan(count=50, seed=0).draw(40, shared=False)
    angles = views.angle.reshape(40, 50)
    assert (angles[:, 0] == 0).all()
    assert len(np.unique(angles[:, 1:])) == 40 * 49
    share, _ = np.histogram(angles[:, 1:], bins=8, range=(0, 2 * math.pi))
    assert share.min() > 0.8 * 40 * 49 / 8
    assert share.sum() == 40 * 49


def test_a_quarter_turn_is_exact_and_counts_like_numpys() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    turned = rotate(images, np.array([math.pi / 2], np.float32))
    turns = [torch.rot90(images, k, dims=(2, 3)) for k in (1, 3)]
    assert min((turned - turn).abs().max().item() for turn in turns) < 1e-3


def test_rotation_leaves_black_corners_and_the_inverse_brings_the_middle_back() -> None:
    rows = torch.linspace(0.2, 0.8, 128)
    images = (rows[:, None] * rows[None, :]).expand(1, 1, 128, 128)
    angle = np.array([0.7], np.float32)
    turned = rotate(images, angle)
    assert turned[0, 0, 0, 0] == 0
    back = rotate(turned, -angle)
    middle = slice(40, 88)
    torch.testing.assert_close(back[..., middle, middle], images[..., middle, middle], rtol=0, atol=2e-3)


def test_brightness_and_contrast_change_the_picture_and_not_the_black_outside() -> None:
    grey = np.full((50, 50, 3), 100, np.uint8)
    grey[:25] = 150
    prepared = prepare([grey])
    for plan in (
        ViewPlan(count=6, seed=3, brightness=(1.1, 1.15)),
        ViewPlan(count=6, seed=3, contrast=(1.1, 1.15)),
    ):
        plain = make_views(prepared, ViewPlan(count=6, seed=3))
        changed = make_views(prepared, plan)
        assert torch.equal(changed == 0, plain == 0)
        assert (changed - plain).abs().max() > 0.01
        assert changed.max() <= 1.0
    bright = make_views(prepared, ViewPlan(count=1, brightness=(1.1, 1.1)))
    torch.testing.assert_close(bright, prepared.float() / 255 * 1.1, rtol=1e-3, atol=1e-3)
