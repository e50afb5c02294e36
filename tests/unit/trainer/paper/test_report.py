import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infra.errors import SettingsError, TrainingSetError
from infra.pictures import decode, encode_png
from scorer.detector import Extractor, load_extractor
from trainer.paper import bank as bank_module
from trainer.paper import bench as bench_module
from trainer.paper import multimodal as multimodal_module
from trainer.paper.results import PaperReport
from trainer.paper.run import Order, paper_report, reduced
from trainer.presets import COMPACT, LocalRecipe, Preset

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def order(folder: Path) -> Order:
    return Order(groups=folder / "parts.csv", splits=2, seeds=2, views_max=1, others=(other_product(folder),))


def other_product(folder: Path) -> Path:
    """The same pictures as another product, darker and turned: learned together, they must not be confused."""
    other = folder.parent / "other"
    for name in ("train/good", "test/good", "test/bar"):
        (other / name).mkdir(parents=True, exist_ok=True)
        for file in (folder / name).iterdir():
            picture = decode(file.read_bytes(), 64 * 64)
            (other / name / file.name).write_bytes(encode_png(picture.transpose(1, 0, 2) // 2))
    return other


Run = Callable[..., PaperReport]


@pytest.fixture(scope="module")
def run(folder: Path, tiny: Preset, extractor: Extractor, order: Order) -> Run:
    return lambda file, kept, extractor=extractor, order=order: paper_report(
        folder, file, tiny, extractor, order, kept=kept
    )


@pytest.fixture(scope="module")
def written(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[PaperReport, Path]:
    root = tmp_path_factory.mktemp("report")
    file = root / "parts.md"
    return run(file, root / "kept"), file


def table(text: str, title: str) -> list[list[str]]:
    section = text.partition(f"## {title}")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]


def test_every_table_and_plot_is_there_and_the_honest_protocol_leads(written: tuple[PaperReport, Path]) -> None:
    text = written[1].read_text()
    assert text.index("**Parts never seen (groups apart):** DifferNet 100.0") < text.index("**The given split:**")
    header, _, *methods = table(text, "Table 2")
    assert header[1].startswith("groups apart: AUROC")
    assert [row[0] for row in methods] == [
        "DifferNet",
        "1-NN",
        "one-class SVM",
        "*control: pixel correlation*",
        "*control: mean brightness*",
        "*control: sharpness*",
        "*control: width to height*",
        "GANomaly *(quoted)*",
        "GeoTrans *(quoted)*",
        "DSEBM *(quoted)*",
        "ADGAN *(quoted)*",
    ]
    assert methods[0][-1] == "97.7"
    assert methods[0][1] == methods[0][4] == "100.0 ± 0.0"  # black bars on grey
    assert all(row[1:-1] == [""] * 6 for row in methods if "quoted" in row[0])
    assert [row[0] for row in table(text, "Table 3")[2:]] == [
        "448 px alone",
        "448 and 224 px",
        "no rotated views in training",
        "no rotated views in training, 1 test view",
        "all scales, 1 test view",
        "all scales, 2 test views",
    ]
    assert table(text, "AUROC by class")[0] == ["method", "bar"]
    assert "## Light" not in text
    assert table(text, "Few training pictures")[0][1] == "16"
    assert len(table(text, "Heatmaps")) == 3
    products = table(text, "Several products in one flow")[2:]
    assert [row[0] for row in products] == [written[0].name, "other"]
    assert all(row[1:] == ["100.0 ± 0.0", "100.0 ± 0.0"] for row in products)
    plots = re.findall(r"\]\((.+?\.png)\)", text)
    assert [plot.removeprefix("parts-").removesuffix(".png") for plot in plots] == [
        "roc",
        "histogram",
        "subsets",
        "heatmaps",
    ]
    assert all((written[1].parent / plot).read_bytes().startswith(PNG) for plot in plots)


def test_figures_count_splits_and_seeds(written: tuple[PaperReport, Path]) -> None:
    report, _ = written
    flow, neighbour = report.table2[:2]
    assert flow.grouped is not None
    assert flow.given is not None
    assert neighbour.grouped is not None
    assert (flow.grouped.auroc.count, flow.given.auroc.count, neighbour.grouped.auroc.count) == (4, 2, 2)
    assert (report.groups, report.splits, report.seeds) == (12, {"grouped": 2, "given": 1}, (0, 1))
    assert report.subsets["DifferNet"][16].count == 3
    assert report.table3[-1].gain is not None
    assert report.table3[-1].gain.mean == 0.0  # of the reference to itself
    assert 0.5 < report.pixels[0].auroc_on_defects <= 1.0
    assert PaperReport.model_validate_json(report.model_dump_json()) == report


def test_bars_make_the_pictures_darker_and_the_report_says_so_first(written: tuple[PaperReport, Path]) -> None:
    report, file = written
    assert any("mean brightness alone separates" in mark and "100 AUROC" in mark for mark in report.marks)
    assert file.read_text().index("mean brightness alone") < file.read_text().index("## Table 2")


def test_a_detector_with_a_local_model_has_rows_of_its_own_and_one_on_an_adapted_extractor(
    folder: Path, tiny: Preset, extractor: Extractor, tmp_path: Path
) -> None:
    preset = replace(tiny, local=LocalRecipe(pictures=4, few=1, twins=8, steps=20, defective=32, clean=64))
    order = Order(groups=folder / "parts.csv", splits=1, seeds=1, views_max=1, heatmaps=0, adapt_minutes=0.02)
    report = paper_report(folder, tmp_path / "parts.md", preset, extractor, order, kept=tmp_path / "kept")
    found = {row.method: row.grouped for row in report.table2}
    assert list(found)[:5] == ["DifferNet", "differline", "unlikeness alone", "defect map alone", "differline, adapted"]
    adapted = found["differline, adapted"]
    assert adapted is not None
    assert adapted.auroc.count == 1
    assert adapted.auroc.mean > 0.9  # black bars on grey
    assert "for 0.02 minutes" in (tmp_path / "parts.md").read_text()


def test_a_second_report_computes_nothing_twice_and_other_weights_everything(
    written: tuple[PaperReport, Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, file = written

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(bank_module, "extract", refused)
    monkeypatch.setattr(bench_module, "train_flow", refused)
    monkeypatch.setattr(multimodal_module, "train_flow", refused)
    monkeypatch.setattr(bench_module, "heatmaps", refused)
    again = run(file, file.parent / "kept")
    assert again.model_dump(exclude={"seconds"}) == report.model_dump(exclude={"seconds"})
    with pytest.raises(AssertionError, match="computed again"):
        run(file, file.parent / "kept", extractor=load_extractor("random", 1))


def test_without_groups_the_reader_is_warned_and_light_is_measured_where_asked(
    written: tuple[PaperReport, Path], run: Run, order: Order
) -> None:
    bare = replace(order, groups=None, seeds=1, others=(), heatmaps=0, photographs=False, photometry=True)
    file = written[1].parent / "bare.md"
    report = run(file, file.parent / "kept", order=bare)
    assert "No groups were given" in report.marks[0]
    text = file.read_text()
    assert table(text, "Table 2")[0][1] == "given split: AUROC"
    assert "groups apart" not in text
    assert [row[0] for row in table(text, "Light")[2:]] == [
        "all scales, 2 test views",
        "brightness and contrast factors",
        "normalised per picture",
    ]
    assert "Several products" not in text


def test_a_score_that_is_not_a_number_ends_the_report(
    written: tuple[PaperReport, Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = bench_module.Bench.flow_scores

    def broken(*arguments: object) -> np.ndarray:
        found = scores(*arguments).copy()  # type: ignore[arg-type]
        found[0, 0] = np.nan
        return found

    monkeypatch.setattr(bench_module.Bench, "flow_scores", broken)
    with pytest.raises(TrainingSetError, match="not finite"):
        run(tmp_path / "r.md", written[1].parent / "kept")
    assert not list(tmp_path.iterdir())


def test_a_report_needs_a_folder_to_lie_in(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not a folder"):
        run(tmp_path / "no" / "r.md", tmp_path)


def test_two_products_of_one_name_are_refused(run: Run, order: Order, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="names of their folders"):
        run(tmp_path / "r.md", tmp_path, order=replace(order, others=(folder,)))


def test_fewer_views_are_asked_for_in_an_epoch_than_there_are() -> None:
    less = reduced(COMPACT, views=2, training_views=4)
    assert (less.scoring_views, less.bank_views, less.epoch_views) == (2, 4, 4)
    assert reduced(COMPACT, None, None) == COMPACT
