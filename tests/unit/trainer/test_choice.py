from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infra.pictures import RgbPicture, encode_png
from scorer.detector import ADAPTED, Extractor, cap_of, load_artifact, load_extractor
from tests.unit.trainer.test_local import QUICK
from trainer import choice as choice_module
from trainer.assembly import PROBE_SHARE, Assembly, assemble, part_off
from trainer.choice import Choice, fit_parts
from trainer.evaluate import evaluate
from trainer.fit import fit
from trainer.images import PictureSet, drawn_pictures
from trainer.presets import Preset
from trainer.progress import Stage, silent
from trainer.training import TrainingRun, runs_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(part) -> PictureSet:  # type: ignore[no-untyped-def]
    return drawn_pictures([part(index) for index in range(20)])


@pytest.fixture(scope="module")
def whole(tiny: Preset) -> Preset:
    return replace(tiny, local=QUICK, bank_views=1, epoch_views=1, scoring_views=1)


@pytest.fixture(scope="module")
def bundled() -> Extractor:
    return load_extractor("bundled")


def hashes(pictures: PictureSet) -> set[str]:
    return {picture.sha256 for picture in pictures.pictures}


def test_a_probe_is_held_out_of_all_learning(pictures: PictureSet) -> None:
    parted = part_off(pictures, seed=1)
    assert (len(parted.learning), len(parted.probe)) == (16, len(pictures) // PROBE_SHARE)
    assert hashes(parted.learning) | hashes(parted.probe) == hashes(pictures)
    assert not hashes(parted.learning) & hashes(parted.probe)
    assert len(part_off(pictures, seed=1, needed=False).probe) == 0


def test_what_is_usual_comes_from_the_probe(whole: Preset, bundled: Extractor, pictures: PictureSet) -> None:
    parted = part_off(pictures, seed=0)
    found = assemble(TrainingRun(whole, bundled, 0, CPU), parted)
    scores = found.parts(parted.probe, silent, Stage.PROBE).side_by_side()
    assert found.fusion is not None
    logs = replace(found, fusion=None).parts(parted.probe, silent, Stage.PROBE).by_view
    assert found.fusion.cap == pytest.approx(cap_of(logs))
    assert found.fusion.flow.middle == pytest.approx(np.median(scores[:, 0]))
    assert found.fusion.defects.middle == pytest.approx(np.median(scores[:, 2]))
    assert found.evidence is not None
    assert 0.5 < found.evidence <= 1.0


def test_the_best_evidence_is_taken(
    whole: Preset, bundled: Extractor, pictures: PictureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = {"bundled": 0.8, "random": 0.9}
    monkeypatch.setattr(
        choice_module, "assemble", lambda run, _: SimpleNamespace(evidence=evidence[run.extractor.name], run=run)
    )
    runs = runs_of(whole, [bundled, load_extractor("random", 0)], 0, CPU)
    found = fit_parts(pictures, runs)
    assert found.evidence == evidence
    assert found.taken.run is runs[1]  # type: ignore[attr-defined]
    evidence["bundled"] = 0.9
    assert fit_parts(pictures, runs).taken.run is runs[0]  # type: ignore[attr-defined] # of equals, the first


def test_a_product_on_which_all_fail_is_told() -> None:
    taken = SimpleNamespace()
    assert Choice(taken, {}).warnings == ()  # type: ignore[arg-type]
    assert Choice(taken, {"bundled": 0.5, "adapted": 0.9}).warnings == ()  # type: ignore[arg-type]
    (line,) = Choice(taken, {"bundled": 0.512, "adapted": 0.6}).warnings  # type: ignore[arg-type]
    assert "hardly tells defects from good parts of this product" in line
    assert "bundled 51, adapted 60, where 50 is a coin" in line


def test_adapted_weights_are_one_more_to_choose_from_and_are_kept(
    whole: Preset, bundled: Extractor, pictures: PictureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = Extractor({k: (1.01 * v).half().float() for k, v in bundled.convolutions.state_dict().items()}, ADAPTED)
    monkeypatch.setattr(choice_module, "adapt", lambda *_: tuned)
    monkeypatch.setattr(choice_module, "assemble", better_if_adapted)
    fitted = fit(pictures, "part", whole, bundled, false_alarm_rate=0.2, adapt_minutes=1)
    assert set(fitted.report.evidence) == {"bundled", ADAPTED}
    assert fitted.detector.extractor is tuned
    manifest = fitted.detector.manifest
    assert manifest.evidence == fitted.report.evidence[ADAPTED] == 1.0
    hashes = fitted.save(tmp_path / "v1")
    loaded = load_artifact(tmp_path / "v1", hashes.flow, hashes.manifest)
    assert loaded.manifest.extractor.name == ADAPTED
    probe = [pictures.pictures[0].load()]
    assert loaded.score(probe).score == fitted.detector.score(probe).score


def better_if_adapted(run: TrainingRun, parted: object) -> Assembly:
    found = assemble(run, parted)  # type: ignore[arg-type]
    return replace(found, evidence=1.0) if run.extractor.name == ADAPTED else found


def test_the_flow_alone_of_the_paper_needs_no_probe(tiny: Preset, extractor: Extractor, pictures: PictureSet) -> None:
    alone = fit_parts(pictures, runs_of(tiny, extractor, 0, CPU))
    assert (alone.evidence, alone.warnings, alone.taken.fusion, alone.taken.local) == ({}, (), None, None)
    chosen = fit_parts(pictures, runs_of(tiny, [extractor, load_extractor("random", 1)], 0, CPU))
    assert chosen.evidence.keys() == {"random"}  # both have that name; the flow alone gives evidence too


def test_evaluation_shows_the_parts_beside_the_whole(
    whole: Preset, bundled: Extractor, tmp_path: Path, part: Callable[[int, bool], RgbPicture]
) -> None:
    for name, count, defective in (("train/good", 16, False), ("test/good", 4, False), ("test/bar", 4, True)):
        (tmp_path / name).mkdir(parents=True)
        for index in range(count):
            picture = part(index + 100 * (name != "train/good") + 50 * defective, defective)
            (tmp_path / name / f"{index}.png").write_bytes(encode_png(picture))
    report = evaluate(tmp_path, whole, bundled)
    assert report.auroc == 1.0
    assert set(report.parts) == {"flow", "unlikeness", "defects"}
    assert report.parts["unlikeness"].auroc == 1.0
    assert report.evidence.keys() == {"bundled"}
