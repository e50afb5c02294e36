import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from infra.errors import SettingsError, TrainingSetError
from infra.pictures import RgbPicture, encode_png
from scorer.detector import Extractor, calibrate
from trainer.__main__ import guarantee_app
from trainer.guarantee.cameras import measure_cameras
from trainer.guarantee.pictures import GoodPictures, GuaranteeOrder, learned_from, mixed_with, read_good
from trainer.guarantee.rates import Row, expected, halves, measure, trial
from trainer.guarantee.run import Bench, GuaranteeReport, Measured
from trainer.guarantee.table import guarantee_markdown, percent
from trainer.guarantee.thresholds import PROMISED, Scored, Share, Way, line_of
from trainer.images import drawn_pictures
from trainer.paper.run import reduced
from trainer.paper.store import ArrayStore
from trainer.presets import Preset

SIZES = (1, 3, 6, 12)


def fresh_scores(groups: int, correlation: float, rng: np.random.Generator, sizes: tuple[int, ...] = (6,)) -> Scored:
    """Scores of groups that share a part of their variance."""
    of = np.repeat(np.arange(groups), np.resize(sizes, groups))
    shared, own = rng.normal(size=groups)[of], rng.normal(size=len(of))
    return Scored(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own, of)


def mean_rate(
    way: Way, rate: float, correlation: float, sizes: tuple[int, ...], draws: int = 800
) -> tuple[float, float]:
    """What a way promises, measured on new groups after each of many calibrations; and the error of that."""
    rng = np.random.default_rng(5)
    found = [
        trial(fresh_scores(40, correlation, rng, sizes), fresh_scores(40, correlation, rng, sizes), way, rate, rng)
        for _ in range(draws)
    ]
    rates = [each.rates[PROMISED[way]] for each in found]
    return float(np.mean(rates)), float(np.std(rates) / np.sqrt(draws))


def row_of(rows: tuple[Row, ...], way: Way, rate: float) -> Row:
    (found,) = [row for row in rows if (row.way, row.rate) == (way, rate)]
    return found


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01])
def test_exchangeable_scores_keep_the_bound_and_fill_it(rate: float) -> None:
    fits = [Scored(np.random.default_rng(seed).gumbel(size=400)) for seed in range(4)]
    (row,) = measure(fits, [rate], 200)
    assert row.expected is not None
    assert row.expected_mean is not None
    assert rate - 1 / 201 <= row.expected_mean <= rate == row.bound
    tolerance = 4 * np.sqrt(2 * rate * (1 - rate) / 200) / np.sqrt(200)  # calibration and test have their luck each
    assert abs(row.measured - row.expected_mean) < tolerance
    assert abs(row.exceeding - row.expected.exceeding) < 4 * np.sqrt(0.25 / 200)
    assert row.low <= rate <= row.high
    assert row.expected.true_rate == pytest.approx(calibrate(fits[0].scores[:200], rate).rate_upper_bound())


def test_theory_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(2)
    measured, true = [], []
    for _ in range(20_000):
        threshold = calibrate(scores := rng.random(99), 0.05).threshold
        measured.append(float((rng.random(50) > threshold).mean()))
        true.append(1 - threshold)
        assert len(scores) == 99
    by_theory = expected(line_of(Scored(np.arange(99.0)), Way.PICTURES, 0.05, rng), 0.05, 50)
    assert np.percentile(measured, [2.5, 97.5]) == pytest.approx([by_theory.low, by_theory.high], abs=0.021)
    assert np.mean(np.array(measured) > 0.05) == pytest.approx(by_theory.exceeding, abs=0.02)
    assert np.percentile(true, 95) == pytest.approx(by_theory.true_rate, abs=0.003)


@pytest.mark.parametrize("way", [Way.ONE, Way.ALIKE, Way.HIGHEST])
@pytest.mark.parametrize("correlation", [0.0, 0.7, 1.0])
def test_one_voice_a_group_keeps_the_bound_on_new_groups(way: Way, correlation: float) -> None:
    mean, error = mean_rate(way, 0.1, correlation, SIZES)
    assert mean <= 0.1 + 3 * error
    assert mean > 0.05  # and does not buy it with a threshold that nothing exceeds


def test_all_pictures_of_repeated_parts_promise_too_much() -> None:
    mean, error = mean_rate(Way.GROUPS, 0.01, 1.0, (6,))
    assert mean > 0.01 + 3 * error
    assert mean <= 0.01 + 1 / 41 + 3 * error  # as far as it can go
    independent, error = mean_rate(Way.GROUPS, 0.01, 0.0, (6,))
    assert independent <= 0.01 + 3 * error


def test_a_split_by_picture_does_not_see_that_parts_repeat() -> None:
    scored = fresh_scores(80, 1.0, np.random.default_rng(3))
    rows = measure([scored], [0.01], 200)
    assert row_of(rows, Way.PICTURES, 0.01).measured < 0.013
    assert row_of(rows, Way.GROUPS, 0.01).measured > 0.015


@pytest.mark.parametrize("rate", [0.3, 0.1, 0.05, 0.01])
def test_weights_with_one_picture_a_group_are_the_plain_threshold(rate: float) -> None:
    rng = np.random.default_rng(4)
    for count in (5, 9, 10, 99, 150):
        scored = Scored(rng.normal(size=count), np.arange(count))
        weighted = line_of(scored, Way.ALIKE, rate, rng)
        plain = calibrate(scored.scores, rate)
        assert (weighted.threshold, weighted.possible) == (plain.threshold, plain.rate_possible)


def test_a_large_group_weighs_no_more_than_a_small_one() -> None:
    scores = np.array([1.0, 2.0, 3.0, *np.full(96, 9.0)])
    groups = np.array([0, 1, 2, *np.full(96, 3)])
    rng = np.random.default_rng(0)
    assert line_of(Scored(scores, groups), Way.ALIKE, 0.5, rng).threshold == 3.0  # 1 of 5 above, and the new one
    assert line_of(Scored(scores, groups), Way.GROUPS, 0.5, rng).threshold == 9.0
    assert line_of(Scored(scores, groups), Way.HIGHEST, 0.5, rng).units == 4


def test_shares_by_hand() -> None:
    calibration = Scored(np.arange(9.0), np.arange(9))
    test = Scored(np.array([9.0, 1.0, 1.0, 1.0, 9.0, 1.0]), np.array([0, 0, 0, 0, 1, 2]))
    found = trial(calibration, test, Way.PICTURES, 0.1, np.random.default_rng(0))
    assert found.rates == {Share.PICTURES: 2 / 6, Share.ALIKE: pytest.approx((1 / 4 + 1 + 0) / 3), Share.GROUPS: 2 / 3}


def grouped_report(scored: Scored, rates: tuple[float, ...]) -> GuaranteeReport:
    measured = Measured(
        name="line", pictures=480, groups=80, learned=240.0, skipped={}, rows=measure([scored, scored], rates, 20)
    )
    return GuaranteeReport(
        measured=(measured,),
        fits=2,
        splits=20,
        seed=0,
        preset="compact",
        views=4,
        training_views=2,
        extractor="bundled",
        extractor_sha256="0" * 64,
    )


def test_too_few_are_said_with_the_rate_that_is_possible() -> None:
    scored = fresh_scores(40, 0.5, np.random.default_rng(1))  # 120 pictures of 20 groups calibrate
    report = grouped_report(scored, (0.01,))
    row = row_of(report.measured[0].rows, Way.ALIKE, 0.01)
    assert (row.enough, row.bound) == (0.0, pytest.approx(1 / 21))
    assert row_of(report.measured[0].rows, Way.GROUPS, 0.01).enough == 1.0
    text = guarantee_markdown(report)
    line = "line, whole groups, each of one weight: too few for 1 %; 20 groups can promise 4.8 %"
    assert line.replace("4.8", percent(1 / 21)) in text
    assert "| line | whole groups, each of one weight | (1) |" in text
    assert "| line | pictures | 1 |" in text


def test_the_table_has_a_line_for_each_rate_and_way() -> None:
    report = grouped_report(fresh_scores(40, 0.9, np.random.default_rng(1)), (0.1, 0.05))
    lines = [line for line in guarantee_markdown(report).splitlines() if line.startswith("| line")]
    assert len(lines) == 2 * (len(Way) - 1)  # nothing was mixed
    assert {line.count("|") for line in lines} == {15}
    assert all(line.count("**") == 2 for line in lines)  # one promised figure


def test_percent_keeps_the_figures_that_count() -> None:
    assert [percent(rate) for rate in (0.1, 0.05, 0.0476, 0.0093, 0.123, 1.0, 0.0)] == [
        "10", "5", "4.76", "0.93", "12.3", "100", "0",
    ]  # fmt: skip


def test_fewer_splits_than_fits_are_refused() -> None:
    with pytest.raises(TrainingSetError, match="1 splits are fewer than 2 fits"):
        measure([Scored(np.arange(20.0))] * 2, [0.1], 1)


def test_a_fit_learns_from_whole_groups() -> None:
    groups = np.repeat(np.arange(30), 4)
    pictures = drawn_pictures([np.full((2, 2, 3), index, np.uint8) for index in range(120)])
    drawn = [learned_from(GoodPictures("line", pictures, groups), GuaranteeOrder(), number) for number in range(3)]
    for learned in drawn:
        assert learned.sum() == 60
        assert not set(groups[learned]) & set(groups[~learned])
    assert (drawn[0] != drawn[1]).any()
    with pytest.raises(TrainingSetError, match="groups of line are left to calibrate and test on"):
        learned_from(GoodPictures("line", pictures, groups), GuaranteeOrder(learned=0.95), 0)


def test_mixing_learns_from_and_calibrates_on_the_same_groups_and_tests_on_others() -> None:
    groups = np.repeat(np.arange(30), 4)
    good = GoodPictures("line", drawn_pictures([np.full((2, 2, 3), index, np.uint8) for index in range(120)]), groups)
    learned, tested = mixed_with(good, GuaranteeOrder(), 0)
    calibration = ~learned & ~tested
    assert (learned.sum(), tested.sum(), calibration.sum()) == (60, 28, 32)  # 28 or 32 are as near to 30
    assert not set(groups[tested]) & set(groups[~tested])
    assert len(set(groups[learned]) & set(groups[calibration])) > 10
    with pytest.raises(TrainingSetError, match="no groups of line"):
        mixed_with(GoodPictures("line", good.pictures), GuaranteeOrder(), 0)


def test_parts_that_are_known_do_not_stand_for_new_ones() -> None:
    """Scores of new groups lie higher, as those of parts that nothing was learned from do."""
    rng = np.random.default_rng(6)
    apart = [Scored(rng.normal(size=400), np.arange(400) // 4) for _ in range(2)]
    sides = [(Scored(rng.normal(size=200)), Scored(rng.normal(1, size=200), np.arange(200) // 4)) for _ in range(2)]
    rows = measure(apart, [0.1], 20, mixed=sides)
    found = row_of(rows, Way.MIXED, 0.1)
    assert found.measured > 0.2
    assert found.exceeding == 1.0
    assert found.expected_mean == pytest.approx(20 / 201)
    assert [row.way for row in rows] == list(Way)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, part: Callable[[int], RgbPicture]) -> Path:
    """Twelve runs of four pictures, a defect that must not be read, and a CSV of the runs."""
    folder = tmp_path_factory.mktemp("line")
    rows = ["file,group"]
    for index in range(48):
        file = folder / f"run-{index // 4}" / "train" / "good" / f"{index % 4}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(part(index)))
        rows.append(f"{file.relative_to(folder).as_posix()},{index // 4}")
    bad = folder / "run-0" / "test" / "scratch" / "0.png"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(encode_png(part(99)))
    (folder / "runs.csv").write_text("\n".join(rows))
    cameras = [f"{row.rpartition(',')[0]},oven-{number % 2 + 1}" for number, row in enumerate(rows[1:])]
    (folder / "cameras.csv").write_text("\n".join(["file,camera", *cameras]))
    return folder


def test_good_pictures_of_all_runs_are_read_once(line: Path) -> None:
    good = read_good(line, line / "runs.csv")
    assert len(good.pictures) == 48
    assert good.groups is not None
    assert np.bincount(good.groups).tolist() == [4] * 12
    assert read_good(line).groups is None
    with pytest.raises(TrainingSetError, match="no folder called good"):
        read_good(line / "run-0" / "test")


def test_from_pictures_to_the_table(line: Path, tiny: Preset, extractor: Extractor, tmp_path: Path) -> None:
    bench = Bench(reduced(tiny, 1, 1), extractor, torch.device("cpu"), ArrayStore(tmp_path))
    order = GuaranteeOrder(rates=(0.1,), splits=3, fits=1, mixed=True)
    good = read_good(line, line / "runs.csv", cameras=line / "cameras.csv")
    report = bench.report([good], order)
    assert [row.camera for row in report.measured[0].cameras] == ["oven-1", "oven-2"]
    assert {row.calibration for row in report.measured[0].cameras} == {6.0}
    assert f"| {good.name} | oven-2 | 10 | 6 | 0 |" in guarantee_markdown(report)
    assert report.measured[0].learned == 24
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert [row.way for row in report.measured[0].rows] == list(Way)
    assert row_of(report.measured[0].rows, Way.MIXED, 0.1).units == 12
    assert row_of(report.measured[0].rows, Way.PICTURES, 0.1).units == 12
    assert bench.report([good], order) == report  # from what was kept
    for kept in tmp_path.rglob("*.npy"):
        np.save(kept, np.zeros(24))
    assert row_of(bench.report([good], order).measured[0].rows, Way.PICTURES, 0.1).measured == 0


def test_the_command_asks_for_what_its_options_say(line: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[int, GuaranteeOrder, int]] = []

    def report(bench: Bench, sets: list[GoodPictures], order: GuaranteeOrder) -> GuaranteeReport:
        seen.append((len(sets), order, bench.preset.scoring_views))
        return grouped_report(Scored(np.arange(48.0)), (0.1,))

    monkeypatch.setattr("trainer.guarantee.run.Bench.report", report)
    monkeypatch.setenv("DIFFERLINE_DATA_DIR", str(tmp_path))
    options = ["--rates", "0.2,0.1", "--fits", "2", "--splits", "9", "--views", "1", "--seed", "7"]
    done = CliRunner().invoke(guarantee_app, [str(line), str(line), *options, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["measured"][0]["rows"][0]["way"] == "pictures"
    assert seen == [(2, GuaranteeOrder(rates=(0.2, 0.1), splits=9, fits=2, seed=7), 1)]


@pytest.mark.parametrize("rates", ["0.1;0.2", "0", "0.1,1"])
def test_a_rate_that_is_none_is_one_clear_line(rates: str) -> None:
    with pytest.raises(SettingsError, match="--rates"):
        guarantee_app(["somewhere", "--rates", rates], standalone_mode=False)


def test_mixing_needs_groups() -> None:
    with pytest.raises(SettingsError, match="--mixed needs --groups"):
        guarantee_app(["somewhere", "--mixed"], standalone_mode=False)


def test_groups_are_named_for_each_folder_or_for_none() -> None:
    for what in ("groups", "cameras"):
        with pytest.raises(SettingsError, match=f"1 files of {what} for 2 folders"):
            guarantee_app(["here", "there", f"--{what}", "parts.csv"], standalone_mode=False)


def two_cameras(rng: np.random.Generator) -> Scored:
    """Camera b is a sixth of the pictures, and scores higher."""
    cameras = np.repeat(["a", "b"], [500, 100])
    return Scored(rng.normal(size=600) + 2.0 * (cameras == "b"), cameras=cameras)


def test_false_alarms_by_camera_are_as_promised_by_its_own_threshold_alone() -> None:
    fits = [two_cameras(np.random.default_rng(seed)) for seed in range(6)]
    rows = {row.camera: row for row in measure_cameras(fits, [0.05], 300)}
    assert {camera: row.own for camera, row in rows.items()} == {"a": 1.0, "b": 1.0}
    assert rows["b"].by_all > 0.2
    assert rows["a"].by_all < 0.02
    for row in rows.values():
        assert row.expected is not None
        assert abs(row.measured - row.expected) < 0.02
        assert row.expected <= 0.05
        assert row.error is not None
        assert row.error < 0.02


def test_a_camera_with_too_few_pictures_is_judged_by_the_threshold_of_all() -> None:
    fits = [two_cameras(np.random.default_rng(0))]
    few = {row.camera: row for row in measure_cameras(fits, [0.01], 20)}["b"]
    assert (few.own, few.expected, few.error) == (0.0, None, None)
    assert few.measured == few.by_all > 0.05
    assert few.calibration == pytest.approx(50, abs=8)
    with pytest.raises(TrainingSetError, match="no cameras"):
        measure_cameras([Scored(np.arange(20.0))], [0.1], 1)


def test_a_split_without_a_test_picture_of_a_camera_is_left_out() -> None:
    lone = Scored(np.arange(20.0), cameras=np.array(["a"] * 19 + ["lone"]))  # the highest score
    rows = {row.camera: row for row in measure_cameras([lone], [0.1], 20)}
    assert (rows["lone"].calibration, rows["lone"].measured) == (0.0, 1.0)
    assert set(rows) == {"a", "lone"}


def test_the_cameras_of_a_split_stay_with_their_scores() -> None:
    scored = two_cameras(np.random.default_rng(1))
    groups = np.arange(600) // 10
    dealt = halves(Scored(scored.scores, groups, scored.cameras), Way.GROUPS, np.random.default_rng(0))
    for half in dealt:
        assert half.groups is not None
        assert ((half.known_cameras() == "b") == (half.groups >= 50)).all()
    assert not set(dealt[0].known_groups()) & set(dealt[1].known_groups())
