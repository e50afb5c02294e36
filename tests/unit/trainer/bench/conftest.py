from dataclasses import replace

import pytest
import torch

from scorer.detector import Extractor
from trainer.bench.pictures import drawn
from trainer.bench.setting import Setting
from trainer.bench.sizes import QUICK, Size
from trainer.presets import Preset


@pytest.fixture(scope="session")
def size(tiny: Preset) -> Size:
    one_view = replace(tiny, bank_views=1, epoch_views=1, scoring_views=1)
    return replace(
        QUICK,
        train=40,
        good=3,
        defective=3,
        views=4,
        rounds=2,
        frames=2,
        speed=replace(one_view, standardize=False),
        plant=one_view,
        floor_views=(1, 2),
        floor_budget=2,
        matrix=64,
        rival_frames=2,
        exit_frames=4,
        small_pictures=8,
        small_seeds=2,
        training=one_view,
        plain_views=2,
        small=one_view,
        stage_frames=4,
        workers=(1, 2),
        worker_frames=1,
        worker_views=1,
    )


@pytest.fixture(scope="session")
def setting(size: Size, extractor: Extractor) -> Setting:
    return Setting(drawn(size.train, size.good, size.defective), extractor, torch.device("cpu"), size)
