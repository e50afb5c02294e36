"""Several products in one flow, beside a flow for each of them."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray

from scorer.detector import score_views
from trainer.paper.bench import FULL, Bench
from trainer.paper.outcomes import Kind, Outcome
from trainer.paper.splits import Split
from trainer.presets import Preset
from trainer.training import TrainingRun, train_flow

ALONE = "a flow of its own"
TOGETHER = "one flow for all"


def deeper(preset: Preset) -> Preset:
    """The preset with half as many blocks again: 12 for the paper's 8 (section 3.1, several products in one model)."""
    return replace(preset, blocks=preset.blocks * 3 // 2)


def together(products: Sequence[tuple[Bench, Split]], seed: int) -> dict[str, tuple[Outcome, Outcome]]:
    """Score the test pictures of each product by a flow of its own, and by one flow that learned all of them.

    Products count by their pictures: none is weighted.

    Args:
        products: Bench and split of each; all with one extractor, preset and store.
        seed: Seed of the flows.

    Returns:
        By name of the product's folder: alone, together.

    Raises:
        TrainingSetError: A score or the loss is not finite.
    """
    found = {}
    for (bench, split), scores in zip(products, _scores(products, seed), strict=True):
        views = bench.preset.scoring_views
        alone = bench.flow_scores(split, FULL, seed, views).mean(axis=1)
        classes = bench.labelled.classes[split.test]
        found[bench.labelled.folder.resolve().name] = tuple(
            Outcome(name, Kind.MEASURED, split.protocol, split.number, seed, len(split.train), each, classes)
            for name, each in ((ALONE, alone), (TOGETHER, scores))
        )
    return {name: (alone, joint) for name, (alone, joint) in found.items()}


def _scores(products: Sequence[tuple[Bench, Split]], seed: int) -> list[NDArray[np.float64]]:
    bench = products[0][0]
    preset = deeper(bench.preset)
    keys = [
        {
            "what": "together",
            "product": place,
            "extractor": bench.extractor.sha256,
            "preset": {**asdict(preset), "name": "", "heatmap_views": 0},
            "seed": seed,
            "trials": [each.hashes(split) for each, split in products],
        }
        for place in range(len(products))
    ]
    known = [bench.store.read(key) for key in keys]
    if all(scores is not None for scores in known):
        return [scores for scores in known if scores is not None]
    banks = [each.training_features(split, FULL) for each, split in products]
    views = min(bank.shape[1] for bank in banks)
    run = TrainingRun(preset, bench.extractor, seed, bench.device)
    flow, _ = train_flow(run, torch.cat([bank[:, :views] for bank in banks]))
    made = []
    for (each, split), key in zip(products, keys, strict=True):
        features = each.bank().features(split.test, preset.scoring_views).flatten(0, 1).to(bench.device)
        made.append(score_views(flow, features, preset.scoring_views).cpu().numpy())
        bench.store.write(key, made[-1])
    return made
