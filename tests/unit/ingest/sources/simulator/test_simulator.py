import hashlib
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from infra.pictures import decode
from ingest.sources.simulator import GOOD, SimulatedCamera
from ingest.sources.simulator.defects import DEFECTS
from ingest.sources.simulator.designs import design_of

# One product of each family: gear, flange, bracket, washer, link.
PRODUCTS = {design_of(f"product-{k}").family: f"product-{k}" for k in range(40)}


def bodies(camera: SimulatedCamera, count: int = 5) -> list[bytes]:
    return [picture.body for picture in islice(camera, count)]


def test_names_choose_at_least_four_families_of_parts() -> None:
    assert sorted(PRODUCTS) == ["bracket", "flange", "gear", "link", "washer"]


@pytest.mark.parametrize("family", ["bracket", "flange", "gear", "link", "washer"])
def test_a_product_named_after_a_family_is_one_of_it_and_two_of_them_differ(family: str) -> None:
    designs = [design_of(f"{family}-{number}") for number in range(6)]
    assert {design.family for design in designs} == {family}
    assert len({design.holes for design in designs}) == 6


def test_a_restart_repeats_the_pictures_bit_by_bit() -> None:
    first = bodies(SimulatedCamera("plate", seed=3, defect_rate=0.5))
    assert bodies(SimulatedCamera("plate", seed=3, defect_rate=0.5)) == first


def test_a_frame_depends_on_seed_product_and_number_alone() -> None:
    camera = SimulatedCamera("plate", seed=3)
    last_first = [camera.picture(index, GOOD) for index in (4, 2, 0)]
    in_order = [SimulatedCamera("plate", seed=3).picture(index, GOOD) for index in (0, 2, 4)]
    for ours, theirs in zip(reversed(last_first), in_order, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_seeds_products_and_numbers_all_give_different_pictures() -> None:
    pictures = [
        body for product in ("plate", "ring") for seed in (1, 2) for body in bodies(SimulatedCamera(product, seed=seed))
    ]
    assert len({hashlib.sha256(body).digest() for body in pictures}) == len(pictures) == 20


def test_the_defect_rate_is_kept_and_every_kind_occurs() -> None:
    camera = SimulatedCamera("plate", seed=1, defect_rate=0.2)
    truths = Counter(camera.truth(index) for index in range(3000))
    assert 500 < 3000 - truths[GOOD] < 700  # five standard deviations around 600
    assert set(truths) == {GOOD, *DEFECTS}
    assert min(truths[kind] for kind in DEFECTS) > 40


@pytest.mark.parametrize(("rate", "good"), [(0.0, True), (1.0, False)])
def test_a_rate_of_none_and_of_all(rate: float, good: bool) -> None:
    camera = SimulatedCamera("plate", defect_rate=rate)
    assert {camera.truth(index) == GOOD for index in range(200)} == {good}


def test_the_message_tells_the_truth_about_its_picture() -> None:
    camera = SimulatedCamera("plate", seed=5, defect_rate=0.5, frames=12)
    for index, picture in enumerate(camera):
        assert picture.simulated == camera.truth(index)
        assert picture.part_id == f"5-{index:06d}"
        shown = decode(picture.body, max_pixels=10**6).astype(int)
        drawn = camera.picture(index, picture.simulated or "").astype(int)
        assert np.abs(shown - drawn).mean() < 4  # JPEG only


@pytest.mark.parametrize("family", sorted(PRODUCTS))
@pytest.mark.parametrize("kind", sorted(DEFECTS))
def test_a_defect_changes_the_picture_visibly_and_in_one_place_only(family: str, kind: str) -> None:
    camera = SimulatedCamera(PRODUCTS[family], seed=11)
    for index in range(6):
        good = camera.picture(index, GOOD).astype(int)
        difference = np.abs(camera.picture(index, kind).astype(int) - good).max(axis=2)
        rows, columns = np.nonzero(difference)
        assert (difference > 15).sum() >= 15, "nothing to see"
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert area < 0.25 * difference.size, "more than a place"
        assert (difference > 0).mean() < 0.08


@pytest.mark.parametrize("family", sorted(PRODUCTS))
def test_good_parts_vary_but_little_and_lie_within_the_picture(family: str) -> None:
    camera = SimulatedCamera(PRODUCTS[family], seed=2)
    pictures = np.stack([camera.picture(index, GOOD) for index in range(8)]).astype(float)
    assert pictures.shape == (8, 384, 512, 3)
    assert (pictures.std(axis=0) > 1).mean() > 0.9
    brightness = pictures.mean(axis=(1, 2, 3))
    assert np.ptp(brightness) < 0.15 * brightness.mean()
    border = np.concatenate([pictures[:, :6].ravel(), pictures[:, -6:].ravel(), pictures[:, :, :6].ravel()])
    assert np.percentile(border, 99) < pictures.max() / 2, "the belt is dark, the part bright"


def test_a_weaker_lamp_darkens_the_same_parts() -> None:
    usual, dim = (SimulatedCamera("plate", seed=3, lamp=lamp).picture(0, GOOD).astype(float) for lamp in (1.0, 0.7))
    assert dim.mean() / usual.mean() == pytest.approx(0.7, abs=0.02)
    assert np.corrcoef(usual.ravel(), dim.ravel())[0, 1] > 0.95
