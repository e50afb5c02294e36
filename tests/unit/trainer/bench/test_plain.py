import io

import numpy as np
import pytest
import torch
from PIL import Image

from infra.pictures import decode, encode_png
from scorer.detector import Extractor, ViewPlan, extract, prepare, render, score_views
from trainer.bench.plain import PlainExtractor, plain_features, plain_flow, plain_score, plain_views
from trainer.bench.setting import Setting

CPU = torch.device("cpu")
LIT = ViewPlan(count=4, seed=3, brightness=(0.85, 1.15), contrast=(0.85, 1.15))


def smooth(height: int, width: int) -> bytes:
    """A picture without sharp edges: what differs is rounded."""
    rows, columns = np.mgrid[0:height, 0:width] / 40.0
    channels = [128 + 90 * np.sin(rows + phase) * np.cos(columns) for phase in range(3)]
    return encode_png(np.stack(channels, axis=2).astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(448, 448), (300, 200), (900, 700), (600, 100)])
def test_views_are_those_of_the_detector(height: int, width: int) -> None:
    body = smooth(height, width)
    views = LIT.draw(1)
    plain = torch.stack(list(plain_views(body, views)))
    ours = render(prepare([decode(body, 10**7)]), views)
    assert (ours - plain).abs().mean() < 0.005
    edge = (ours > 0) & (ours < 0.05)  # where black is blended in; a jagged edge has none of it
    assert (ours - plain).abs()[edge].mean() < 0.01


def test_features_and_scores_are_those_of_the_detector(setting: Setting) -> None:
    detector = setting.speed.detector
    body, views = setting.pictures.good[0].body, ViewPlan(count=3, seed=1).draw(1)
    plain = plain_features(PlainExtractor(setting.extractor, CPU), body, views)
    ours = extract(setting.extractor, prepare([decode(body, 10**7)]), views).features
    assert torch.cosine_similarity(plain, ours).min() > 0.999
    assert (plain - ours).abs().max() < 0.01 * ours.abs().max()
    by_flow = float(score_views(detector.flow, ours, 3))
    plain_one = plain_score(PlainExtractor(setting.extractor, CPU), plain_flow(detector.flow, CPU), body, views)
    assert plain_one == pytest.approx(by_flow, rel=5e-3)


def test_a_copy_of_a_flow_is_its_own(setting: Setting) -> None:
    flow = setting.speed.detector.flow
    copy = plain_flow(flow, CPU)
    y = torch.randn(2, 768)
    torch.testing.assert_close(copy(y)[0], flow(y)[0])
    with torch.no_grad():
        next(copy.parameters()).zero_()
    assert all(not torch.equal(one, torch.zeros_like(one)) for one in flow.parameters() if one.dim() == 2)


def test_a_grey_jpeg_is_opened_as_colour(extractor: Extractor) -> None:
    file = io.BytesIO()
    Image.new("L", (20, 30), 90).save(file, "JPEG")
    (view,) = plain_views(file.getvalue(), ViewPlan(count=1).draw(1))
    assert view.shape == (3, 448, 448)
    assert PlainExtractor(extractor, CPU)(view[None]).shape == (1, 768)
