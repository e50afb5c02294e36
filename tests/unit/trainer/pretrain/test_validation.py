from dataclasses import replace

import numpy as np
import pytest

from scorer.detector import Extractor
from tests.unit.trainer.test_local import QUICK
from trainer.pretrain import validation
from trainer.pretrain.defects import HELD_OUT_KINDS, TRAINING_KINDS
from trainer.pretrain.families import HELD_OUT
from trainer.pretrain.validation import Measured, Protocol, draw_product, measure, measured_lines, summary

FEW = Protocol(programs=1, train=6, good=3, defective=3, views=1)


def test_a_product_is_drawn_anew_each_time_and_its_pictures_differ() -> None:
    train, good, defective = draw_product("spots", 0, FEW, HELD_OUT_KINDS)
    assert (len(train), len(good), len(defective)) == (6, 3, 3)
    for first, second in zip(good, draw_product("spots", 0, FEW, HELD_OUT_KINDS)[1], strict=True):
        np.testing.assert_array_equal(first, second)
    together = np.stack([*train, *good, *defective]).reshape(12, -1)
    assert len(np.unique(together, axis=0)) == 12


def test_only_the_defective_pictures_depend_on_the_kinds() -> None:
    held_out, trained = (draw_product("gears", 0, FEW, kinds) for kinds in (HELD_OUT_KINDS, TRAINING_KINDS))
    np.testing.assert_array_equal(held_out[0], trained[0])
    np.testing.assert_array_equal(held_out[1][0], trained[1][0])


def test_each_product_gets_a_number(extractor: Extractor) -> None:
    rows = list(measure(extractor, FEW, families={"spots": None, "gears": None}))
    assert [(row.family, row.number) for row in rows] == [("spots", 0), ("gears", 0)]
    assert all(0 <= row.auroc <= 1 for row in rows)


def test_the_whole_detector_can_be_measured(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "COMPACT", replace(validation.COMPACT, epochs=2, local=QUICK))
    (row,) = measure(extractor, FEW, families={"tablets": None}, whole=True)
    (nearest,) = measure(extractor, FEW, families={"tablets": None})
    assert 0 <= row.auroc <= 1
    assert (row.family, row.number) == (nearest.family, nearest.number)


def test_the_lines_end_with_the_summary(extractor: Extractor) -> None:
    lines = list(measured_lines(extractor, protocol=Protocol(programs=1, train=3, good=2, defective=2, views=1)))
    assert [line.split()[0] for line in lines[:-1]] == list(HELD_OUT)
    assert lines[-1].startswith("random: mean AUROC ")


def test_the_summary_is_a_mean_of_products() -> None:
    rows = [Measured("spots", 0, 0.5), Measured("spots", 1, 1.0), Measured("gears", 0, 0.6)]
    assert summary(rows) == "mean AUROC 70.0 (spots 75.0, gears 60.0)"


@pytest.mark.parametrize("field", ["train", "good", "defective"])
def test_the_protocol_is_large_enough_to_mean_something(field: str) -> None:
    assert getattr(Protocol(), field) >= 40
