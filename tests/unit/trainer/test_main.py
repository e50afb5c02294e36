from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from infra.errors import SettingsError
from scorer.detector import Extractor
from trainer.__main__ import evaluate_app, pretrain_app, train_app

RUN = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the command asks of the run behind it."""
    seen: dict[str, object] = {}

    def pretrain(folder: Path, budget: object, **options: object) -> SimpleNamespace:
        seen.update(options, folder=folder, budget=budget)
        return SimpleNamespace(path=folder / "w.safetensors", state=SimpleNamespace(pictures=70, step=7))

    monkeypatch.setattr("trainer.pretrain.pretrain.pretrain", pretrain)
    return seen


def test_pretraining_is_asked_for_by_options(asked: dict[str, object], tmp_path: Path) -> None:
    options = ["--minutes", "2", "--device", "cpu", "--resume", "--folder", str(tmp_path), "--seed", "3"]
    done = RUN.invoke(pretrain_app, [*options, "--out", str(tmp_path / "mine.safetensors")])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path}/w.safetensors: 70 pictures in 7 steps\n"
    assert asked["budget"].seconds == 120  # type: ignore[attr-defined]
    assert (asked["folder"], asked["resume"], asked["seed"]) == (tmp_path, True, 3)
    assert (asked["device"], asked["out"]) == (torch.device("cpu"), tmp_path / "mine.safetensors")


def measured(extractor: Extractor, _: torch.device, *, whole: bool) -> list[str]:
    return [f"of {extractor.name}, {whole}"]


def test_measuring_trains_nothing(asked: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.pretrain.validation.measured_lines", measured)
    done = RUN.invoke(pretrain_app, ["--measure", "random"])
    assert (done.exit_code, done.stdout) == (0, "of random, False\n")
    assert RUN.invoke(pretrain_app, ["--measure", "random", "--whole"]).stdout == "of random, True\n"
    assert not asked


def test_weights_that_nobody_knows_are_one_clear_line(asked: dict[str, object]) -> None:
    done = RUN.invoke(pretrain_app, ["--measure", "resnet"])
    assert isinstance(done.exception, SettingsError)
    assert not asked


@pytest.mark.parametrize("options", [["--paper"], ["--report", "report.md"]])
def test_a_report_needs_both_of_its_options(options: list[str]) -> None:
    with pytest.raises(SettingsError, match="go together"):
        evaluate_app(["somewhere", *options], standalone_mode=False)


def test_a_report_is_of_one_extractor() -> None:
    with pytest.raises(SettingsError, match="of one extractor"):
        evaluate_app(["somewhere", "--paper", "--report", "report.md", "--extractor", "auto"], standalone_mode=False)


def test_evaluation_is_asked_for_what_training_would_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def run(*positional: object, **options: object) -> None:
        seen.update(options, extractors=positional[2])
        raise SettingsError("far enough")

    monkeypatch.setattr("trainer.evaluate.evaluate", run)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))  # no ImageNet weights in there
    with pytest.raises(SettingsError, match="far enough"):
        evaluate_app(["somewhere", "--adapt", "2.5", "--extractor", "auto"], standalone_mode=False)
    assert seen["adapt_minutes"] == 2.5
    assert [extractor.name for extractor in seen["extractors"]] == ["bundled"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options",
    [
        ["--product", "a", "--product", "b", "--images", "x"],
        ["--product", "a", "--images", "x", "--images", "y"],
        ["--product", "a", "--product", "a", "--images", "x", "--images", "y"],
    ],
)
def test_each_product_needs_a_folder_of_its_own(options: list[str]) -> None:
    done = RUN.invoke(train_app, options)
    assert isinstance(done.exception, SettingsError)
    assert "name each product once, and a folder for it" in str(done.exception)
