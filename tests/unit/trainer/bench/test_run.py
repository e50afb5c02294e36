import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from infra.errors import SettingsError
from scorer.detector import Extractor
from trainer.__main__ import bench_app
from trainer.bench.machine import Machine, machine_line
from trainer.bench.report import KINDS, Report
from trainer.bench.row import NotMeasured, Row
from trainer.bench.run import MEASURES, bench, chosen_rows
from trainer.bench.sizes import FULL, QUICK, Size

MACHINE = Machine(
    processor="AMD EPYC",
    cores=2,
    threads=2,
    load=0.5,
    device="cpu",
    matmul_fp32=100.0,
    matmul_bf16=350.0,
    fast_bf16=True,
    versions={"torch": "2.15"},
    date="2026-11-25",
)
ROWS: dict[str, Row | NotMeasured] = {
    "P2": Row(device="cpu", ratio=0.25),
    "P3": NotMeasured(not_measured="needs the extra"),
}


def test_rows_are_measured_and_said_both_ways(
    size: Size, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anomalib", None)
    report = bench(size, extractor, torch.device("cpu"), only=("P2", "P3"))
    said = json.loads(report.as_json())
    assert list(said) == ["P2", "P3", "machine", "pictures"]
    assert said["P2"]["ratio"] == said["P2"]["share"]["2"]
    assert "needs the extra" in said["P3"]["not_measured"]
    assert said["machine"]["fast_bf16"] in {True, False}
    markdown = report.as_markdown()
    assert "| P2 | the floor" in markdown
    assert "| not measured: needs the extra" in markdown


def test_the_other_device_was_not_measured() -> None:
    on_cpu = Report(MACHINE, "drawn", ROWS).as_markdown()
    assert "| 25 % on CPU, 35 % on GPU | 0.25 | not measured |" in on_cpu
    assert "fast bf16" in on_cpu.splitlines()[0]
    on_gpu = Report(MACHINE.model_copy(update={"device": "A GPU"}), "drawn", ROWS).as_markdown()
    assert "| 25 % on CPU, 35 % on GPU | not measured | 0.25 |" in on_gpu
    assert "measured on A GPU" in on_gpu.splitlines()[0]


def test_every_row_has_its_bar() -> None:
    assert list(MEASURES) == list(KINDS) == [f"P{number}" for number in range(1, 8)]


def test_rows_are_chosen_by_name() -> None:
    assert chosen_rows(None) == tuple(MEASURES)
    assert chosen_rows("p4, P1") == ("P4", "P1")
    with pytest.raises(SettingsError, match="P9: the rows are P1, P2"):
        chosen_rows("P1,P9")


def test_the_command_prints_json_and_writes_markdown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[object, ...]] = []

    def measured(*arguments: object) -> Report:
        seen.append(arguments)
        return Report(MACHINE, "drawn", ROWS)

    monkeypatch.setattr("trainer.bench.run.bench", measured)
    out = tmp_path / "bench.md"
    done = CliRunner().invoke(bench_app, ["--json", "--quick", "--only", "P2,P3", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["P2"] == {"device": "cpu", "ratio": 0.25}
    assert out.read_text() == Report(MACHINE, "drawn", ROWS).as_markdown()
    assert CliRunner().invoke(bench_app, []).stdout == out.read_text()
    assert [(size, rows) for size, _, _, _, rows in seen] == [(QUICK, ("P2", "P3")), (FULL, tuple(MEASURES))]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    done = CliRunner().invoke(bench_app, ["--out", str(tmp_path / "nowhere" / "bench.md")])
    assert isinstance(done.exception, SettingsError)


def test_the_machine_is_one_line() -> None:
    assert "cores, load average at the start" in machine_line()
    assert "\n" not in MACHINE.line()
