import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from scorer.detector import (
    CELLS,
    FINE,
    Detector,
    Extractor,
    LocalModel,
    LocalSpec,
    Subject,
    local_features,
    local_heat,
    local_scores,
    look,
    prepare,
)
from tests.unit.scorer.detector.conftest import with_local_model


def test_the_last_layer_is_the_one_that_the_extractor_pools(extractor: Extractor) -> None:
    pixels = torch.rand(2, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    layers = extractor.layers(pixels)
    assert [tuple(layer.shape) for layer in layers] == [(2, 192, 27, 27), (2, 384, 27, 27), (2, 256, 27, 27)]
    pooled = F.max_pool2d(layers[-1], 3, 2).mean(dim=(2, 3))
    torch.testing.assert_close(pooled, extractor(pixels)[:, :256])


def test_cells_hold_three_layers_at_two_scales(extractor: Extractor, pictures: list[NDArray[np.uint8]]) -> None:
    prepared = prepare(pictures)
    cells = local_features(extractor, prepared)
    assert cells.shape == (3, CELLS, CELLS, 2 * FINE)
    fine = torch.cat(extractor.layers(prepared.float() / 255), dim=1)
    middle = fine[:, :, 10:13, 5:8].mean(dim=(2, 3))  # the cell at row 11, column 6, and its neighbours
    torch.testing.assert_close(cells[:, 11, 6, :FINE], middle)
    corner = fine[:, :, :2, :2].mean(dim=(2, 3))  # nothing beyond the border counts
    torch.testing.assert_close(cells[:, 0, 0, :FINE], corner)


def test_unlikeness_is_the_mahalanobis_distance_against_what_is_usual_at_a_place() -> None:
    rng = np.random.default_rng(2)
    model = LocalModel(LocalSpec(hidden=(4, 2))).requires_grad_(requires_grad=False)
    mixing = rng.normal(size=(FINE, FINE)) / FINE**0.5 + np.eye(FINE)
    covariance, centre = mixing @ mixing.T, rng.normal(size=FINE)
    model.whitener.copy_(torch.from_numpy(np.linalg.cholesky(np.linalg.inv(covariance))))
    model.centre.copy_(torch.from_numpy(centre))
    model.usual[2, 3], model.spread[2, 3] = 5.0, 0.5
    cell = rng.normal(size=FINE)
    cells = torch.zeros(1, CELLS, CELLS, 2 * FINE)
    cells[0, 2, 3, :FINE] = torch.from_numpy(cell)
    away = cell - centre
    expected = (np.log(away @ np.linalg.solve(covariance, away)) - 5.0) / 0.5
    assert model(cells)[0][0, 2, 3].item() == pytest.approx(expected, rel=1e-3)


def test_scores_are_means_of_the_highest_cells() -> None:
    unlike = torch.zeros(2, CELLS, CELLS)
    unlike[0].view(-1)[:44] = torch.arange(44.0)
    defects = torch.full((2, CELLS, CELLS), -3.0)
    defects[1, 4, 4] = 7.0
    scores = local_scores(unlike, defects)
    assert scores.dtype == torch.float64
    assert scores[0].tolist() == [np.arange(22, 44).mean(), -3.0]
    assert scores[1].tolist() == [0.0, pytest.approx((7.0 - 4 * 3.0) / 5)]


def test_heat_is_highest_where_both_maps_are_and_never_negative() -> None:
    generator = torch.Generator().manual_seed(3)
    unlike, defects = torch.randn(2, 1, CELLS, CELLS, generator=generator) - 12.0
    unlike[0, 20, 6], defects[0, 20, 6] = 5.0, 5.0
    heat = local_heat(unlike, defects)
    assert heat.shape == (1, 112, 112)
    assert heat.dtype == np.float32
    assert heat.min() > 0
    assert len(np.unique(heat)) > heat.size / 4  # quiet places keep their order
    row, column = np.unravel_index(heat[0].argmax(), (112, 112))
    assert (row * CELLS // 112, column * CELLS // 112) == (20, 6)


def test_the_whole_detector_fuses_what_its_parts_say(detector: Detector, pictures: list[NDArray[np.uint8]]) -> None:
    whole = with_local_model(detector)
    fusion = whole.manifest.fusion
    assert fusion is not None
    assert whole.local is not None
    flow_alone = Subject(detector.extractor, detector.flow, None, prepare(pictures), detector.manifest.views)
    by_flow = look([flow_alone])[0].by_view
    with torch.inference_mode():
        by_local = local_scores(*whole.local(local_features(whole.extractor, prepare(pictures)))).numpy()
    expected = fusion(np.column_stack([np.log(by_flow.mean(axis=1)), by_local]))
    np.testing.assert_allclose(whole.score(pictures).score, expected, rtol=1e-5)
    alone = np.concatenate([whole.score([picture]).score for picture in pictures])
    np.testing.assert_allclose(alone, expected, rtol=1e-5)
    assert whole.heatmap(pictures).shape == (3, 112, 112)
    assert whole.score([]).score.shape == (0,)
    cap = float(np.median(np.log(by_flow)))
    whole.manifest = whole.manifest.model_copy(update={"fusion": fusion.model_copy(update={"cap": cap})})
    expected = fusion(np.column_stack([np.minimum(np.log(by_flow), cap).mean(axis=1), by_local]))
    np.testing.assert_allclose(whole.score(pictures).score, expected, rtol=1e-5)


def test_a_local_model_without_a_fusion_is_refused(detector: Detector) -> None:
    with pytest.raises(ValueError, match="go together"):
        Detector(detector.manifest, detector.extractor, detector.flow, local=LocalModel(LocalSpec()))


def test_both_maps_are_the_same_in_bfloat16(extractor: Extractor, pictures: list[NDArray[np.uint8]]) -> None:
    random = torch.Generator().manual_seed(4)
    cells = local_features(extractor, prepare(pictures))
    rows = cells.flatten(0, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = LocalModel(LocalSpec()).requires_grad_(requires_grad=False)
    model.centre.copy_(rows[:, :FINE].mean(dim=0))
    model.whitener.copy_(torch.randn(FINE, FINE, generator=random) / rows[:, :FINE].std(dim=0).clamp_min(1e-3)[:, None])
    model.level.copy_(rows.mean(dim=0))
    model.scale.copy_(rows.std(dim=0).clamp_min(1e-3))
    for exact, found in zip(model(cells), model(cells.bfloat16()), strict=True):
        assert found.dtype == torch.float32
        assert (found - exact).abs().median() < 0.02 * exact.std()
        assert torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1] > 0.999
