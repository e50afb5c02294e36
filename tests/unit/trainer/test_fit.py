import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from infra.errors import TrainingSetError
from infra.pictures import encode_png
from scorer.detector import Extractor, calibrate, load_artifact
from trainer.fit import BLOCKS_TOGETHER, FittedModel, fit, fit_together, split
from trainer.images import DrawnPicture, PictureSet, drawn_pictures
from trainer.presets import Preset
from trainer.progress import Stage


@pytest.fixture(scope="module")
def pictures(part) -> PictureSet:  # type: ignore[no-untyped-def]
    return drawn_pictures([part(index) for index in range(24)])


@pytest.fixture(scope="module")
def fitted(pictures: PictureSet, tiny: Preset, extractor: Extractor) -> FittedModel:
    return fit(pictures, "part", tiny, extractor, false_alarm_rate=0.2, seed=4)


def numbered(count: int) -> PictureSet:
    return drawn_pictures([np.full((1, 1, 3), index % 251, np.uint8) + np.uint8(0) for index in range(count)])


@pytest.mark.parametrize(
    ("count", "rate", "held_out"),
    [
        (1000, 0.01, 200),  # one in five is enough
        (300, 0.01, 99),  # more, as that is just what the rate needs
        (198, 0.01, 99),
        (197, 0.01, 40),  # not even half would do
        (16, 0.01, 4),
        (16, 0.2, 4),
    ],
)
def test_held_out_pictures_are_enough_where_they_can_be(count: int, rate: float, held_out: int) -> None:
    training, calibration = split(numbered(count), rate, seed=0)
    assert (len(training), len(calibration)) == (count - held_out, held_out)


def test_the_split_is_drawn_by_seed_and_loses_nothing(pictures: PictureSet) -> None:
    training, calibration = split(pictures, 0.2, seed=1)
    together = [picture.sha256 for part in (training, calibration) for picture in part.pictures]
    assert sorted(together) == sorted(picture.sha256 for picture in pictures.pictures)
    assert split(pictures, 0.2, seed=1) == (training, calibration)
    assert split(pictures, 0.2, seed=2) != (training, calibration)


def test_a_fitted_model_knows_where_it_comes_from(
    fitted: FittedModel, pictures: PictureSet, extractor: Extractor
) -> None:
    manifest, report = fitted.detector.manifest, fitted.report
    assert (report.n_train, report.n_calibration) == (19, 5)
    known = {picture.sha256 for picture in pictures.pictures}
    assert set(manifest.training_sha256) | set(manifest.calibration_sha256) == known
    assert not set(manifest.training_sha256) & set(manifest.calibration_sha256)
    assert (manifest.product, manifest.preset, manifest.seed, manifest.epochs) == ("part", "tiny", 4, 3)
    assert manifest.extractor.sha256 == extractor.sha256
    assert manifest.threshold == report.threshold == manifest.calibration.threshold
    assert report.rate_possible == pytest.approx(1 / 6)
    assert 0.2 < report.rate_upper_bound < 1
    assert report.warnings == ()


def test_calibration_scores_are_what_production_gives(fitted: FittedModel, pictures: PictureSet) -> None:
    manifest = fitted.detector.manifest
    by_hash = {picture.sha256: picture for picture in pictures.pictures}
    held_out = [by_hash[sha256].load() for sha256 in manifest.calibration_sha256]
    np.testing.assert_allclose(fitted.detector.score(held_out).score, manifest.calibration_scores, rtol=1e-6)
    assert fitted.detector.heatmap(held_out).max() == pytest.approx(1.0, rel=1e-3)


def test_a_defect_scores_above_the_threshold_and_a_new_good_part_is_likelier(fitted: FittedModel, part) -> None:  # type: ignore[no-untyped-def]
    scores = fitted.detector.score([part(100, True), part(101, False)])
    assert scores.defect[0]
    assert scores.score[0] > scores.score[1]


def test_the_same_seed_gives_the_same_model(
    fitted: FittedModel, pictures: PictureSet, tiny: Preset, extractor: Extractor
) -> None:
    again = fit(pictures, "part", tiny, extractor, false_alarm_rate=0.2, seed=4)
    assert again.detector.manifest.calibration_scores == fitted.detector.manifest.calibration_scores
    assert again.detector.manifest.heat_scale == fitted.detector.manifest.heat_scale


def test_a_saved_model_scores_the_same(fitted: FittedModel, extractor: Extractor, tmp_path: Path, part) -> None:  # type: ignore[no-untyped-def]
    hashes = fitted.save(tmp_path / "v1")
    loaded = load_artifact(tmp_path / "v1", hashes.flow, hashes.manifest, extractor=extractor)
    assert loaded.score([part(50)]).score == fitted.detector.score([part(50)]).score


def test_a_folder_is_learned_from_and_what_was_wrong_is_said(
    tiny: Preset, extractor: Extractor, tmp_path: Path, part, told
) -> None:  # type: ignore[no-untyped-def]
    for index in range(16):
        (tmp_path / f"{index:02}.png").write_bytes(encode_png(part(index)))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    model = fit(
        tmp_path,
        "part",
        tiny,
        extractor,
        views=1,
        progress=told,
    )
    assert model.detector.manifest.views.count == 1
    assert model.report.n_skipped == 1
    skipped, too_few = model.report.warnings
    assert skipped.startswith("1 files were skipped, first")
    assert "broken.jpg: not_an_image" in skipped
    assert too_few == (
        "4 held-out pictures can promise a false-alarm rate of 20.00% at best, not 1.00%: "
        "that needs 99 held-out ones, 198 pictures in all"
    )
    assert [stage for stage, done, total in told.calls if done == total] == [
        Stage.SCAN,
        Stage.FEATURES,
        Stage.FIT,
        Stage.CALIBRATION,
        Stage.HEATMAPS,
    ]


def test_too_few_pictures_and_a_rate_out_of_range_are_refused(
    pictures: PictureSet, tiny: Preset, extractor: Extractor
) -> None:
    with pytest.raises(TrainingSetError, match="15 usable pictures"):
        fit(pictures.subset(range(15)), "part", tiny, extractor)
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(TrainingSetError, match="between 0 and 1"):
            fit(pictures, "part", tiny, extractor, false_alarm_rate=rate)


def test_a_loss_that_explodes_is_one_clear_line(pictures: PictureSet, tiny: Preset, extractor: Extractor) -> None:
    with pytest.raises(TrainingSetError, match="loss is"):
        fit(pictures, "part", dataclasses.replace(tiny, learning_rate=1e30), extractor, false_alarm_rate=0.2)


def test_pictures_in_memory_are_hashed_by_shape_and_pixels() -> None:
    wide, high = np.zeros((1, 4, 3), np.uint8), np.zeros((4, 1, 3), np.uint8)
    assert DrawnPicture(wide).sha256 != DrawnPicture(high).sha256


def of_runs(pictures: PictureSet, *runs: str) -> PictureSet:
    """The pictures, dealt out to runs in turn."""
    loaded = [picture.load() for picture in pictures.pictures]
    return PictureSet(tuple(DrawnPicture(each, runs[place % len(runs)]) for place, each in enumerate(loaded)))


def test_whole_production_runs_are_held_out(pictures: PictureSet, tiny: Preset, extractor: Extractor) -> None:
    dealt = of_runs(pictures, *"abcdefgh")
    run_of = {picture.sha256: picture.run for picture in dealt.pictures}
    model = fit(dealt, "part", tiny, extractor, false_alarm_rate=0.2)
    manifest = model.detector.manifest
    learned, calibrated = (
        {run_of[each] for each in part} for part in (manifest.training_sha256, manifest.calibration_sha256)
    )
    assert learned | calibrated == set("abcdefgh")
    assert not learned & calibrated
    assert model.report.warnings == ()


def test_a_single_production_run_is_said_to_promise_nothing_of_the_next(
    pictures: PictureSet, tiny: Preset, extractor: Extractor
) -> None:
    model = fit(of_runs(pictures, "monday"), "part", tiny, extractor, false_alarm_rate=0.2)
    (warning,) = model.report.warnings
    assert "the same production run (monday)" in warning
    assert "not for the next one" in warning


def test_one_flow_of_several_products_has_a_threshold_for_each(
    pictures: PictureSet, tiny: Preset, extractor: Extractor, part
) -> None:  # type: ignore[no-untyped-def]
    others = drawn_pictures([255 - part(200 + index) for index in range(20)])
    models = fit_together({"part": pictures, "other": others}, tiny, extractor, false_alarm_rate=0.2)
    first, second = models["part"].detector, models["other"].detector
    assert [detector.manifest.product for detector in (first, second)] == ["part", "other"]
    assert first.flow is second.flow
    assert first.manifest.architecture.blocks == BLOCKS_TOGETHER
    assert first.manifest.training_sha256 == second.manifest.training_sha256
    own = {picture.sha256 for picture in pictures.pictures}
    calibrated = [set(detector.manifest.calibration_sha256) for detector in (first, second)]
    assert calibrated[0] <= own
    assert not calibrated[1] & own
    assert len(first.manifest.training_sha256) == len(pictures) + len(others) - len(calibrated[0]) - len(calibrated[1])
    assert first.manifest.threshold != second.manifest.threshold


def test_a_picture_of_two_products_is_refused(pictures: PictureSet, tiny: Preset, extractor: Extractor) -> None:
    with pytest.raises(TrainingSetError, match="is of part and of other"):
        fit_together({"part": pictures, "other": pictures.subset(range(16))}, tiny, extractor, false_alarm_rate=0.2)


def test_a_camera_with_enough_calibration_pictures_has_a_threshold_of_its_own(
    tiny: Preset, extractor: Extractor, part, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    """Of 34 pictures seven are held out: four of camera a, just enough for 0.2, two of b, and one of no known camera."""
    cameras = ["a"] * 20 + ["b"] * 9 + [None] * 5
    loaded = [part(index) for index in range(len(cameras))]
    pictures = PictureSet(tuple(DrawnPicture(each, None, of) for each, of in zip(loaded, cameras, strict=True)))
    camera_of = {picture.sha256: picture.camera for picture in pictures.pictures}
    seed = next(seed for seed in range(100) if held_out_of(pictures, seed) == {"a": 4, "b": 2, None: 1})
    model = fit(pictures, "part", tiny, extractor, false_alarm_rate=0.2, seed=seed)
    manifest = model.detector.manifest
    assert manifest.calibration_cameras == tuple(camera_of[sha256] for sha256 in manifest.calibration_sha256)
    own = [
        score for score, of in zip(manifest.calibration_scores, manifest.calibration_cameras, strict=True) if of == "a"
    ]
    assert manifest.camera_thresholds == {"a": max(own)}
    assert manifest.threshold == model.report.threshold == calibrate(manifest.calibration_scores, 0.2).threshold
    model.save(tmp_path / "v1")
    assert load_artifact(tmp_path / "v1", extractor=extractor).manifest.camera_thresholds == manifest.camera_thresholds


def held_out_of(pictures: PictureSet, seed: int) -> Counter[str | None]:
    return Counter(split(pictures, 0.2, seed)[1].cameras)


def test_pictures_of_no_known_camera_leave_the_manifest_without_cameras(fitted: FittedModel) -> None:
    manifest = fitted.detector.manifest
    assert (manifest.calibration_cameras, manifest.camera_thresholds) == ((), {})
