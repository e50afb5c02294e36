"""A registered model, written as ONNX by the command, and scored by ONNX Runtime in a scorer."""

import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

import scorer.export
from infra.errors import BadFrameError, ExportError, SettingsError
from infra.pictures import encode_png
from infra.settings import Settings
from infra.store.models import RegisteredModel, registered_model
from infra.store.tables import verdicts
from scorer.__main__ import build_worker, export_app
from scorer.detector import ExportManifest, ParityError
from scorer.export import export_model

from ..small_model import PRODUCT, part_picture
from .line import Line

PutInForce = Callable[[], RegisteredModel]


def test_the_model_in_force_and_any_version_is_found(database: sa.Engine, put_in_force: PutInForce) -> None:
    assert registered_model(database, PRODUCT) is None
    first, second = put_in_force(), put_in_force()
    assert registered_model(database, PRODUCT) == second
    assert registered_model(database, PRODUCT, 1) == first
    assert registered_model(database, PRODUCT, 3) is None
    assert registered_model(database, "cap", 1) is None


def test_the_command_writes_a_version_and_says_how_close_it_is(
    settings: Settings, put_in_force: PutInForce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force()
    put_in_force()
    for name in ("data_dir", "database_url", "redis_url"):
        monkeypatch.setenv(f"DIFFERLINE_{name.upper()}", str(getattr(settings, name)))
    pictures = tmp_path / "pictures" / "deep"
    pictures.mkdir(parents=True)
    for seed in range(2):
        (pictures / f"{seed}.png").write_bytes(encode_png(part_picture(seed)))
    to = tmp_path / "out"
    options = ["--product", PRODUCT, "--version", "1", "--to", str(to), "--images", str(pictures.parent)]
    done = CliRunner().invoke(export_app, options)
    assert done.exit_code == 0, done.output
    assert f"{to} is written: on 15 pictures scores are at most " in done.stdout
    manifest = ExportManifest.model_validate_json((to / "manifest.json").read_bytes())
    assert (manifest.product, manifest.version, manifest.parity_pictures) == (PRODUCT, 1, 15)
    for name, sha256 in manifest.files.items():
        assert hashlib.sha256((to / name).read_bytes()).hexdigest() == sha256
    again = CliRunner().invoke(export_app, options)
    assert isinstance(again.exception, SettingsError)
    assert "never overwritten" in str(again.exception)


def test_what_cannot_be_exported_is_one_line_and_nothing_is_written(
    settings: Settings, database: sa.Engine, put_in_force: PutInForce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, images = tmp_path / "out", tmp_path / "pictures"
    images.mkdir()
    with pytest.raises(SettingsError, match=r"product 'part' has no model in force"):
        export_model(settings, database, (PRODUCT, None), to)
    model = put_in_force()
    with pytest.raises(SettingsError, match="has no version 7"):
        export_model(settings, database, (PRODUCT, 7), to)
    with pytest.raises(SettingsError, match="no pictures"):
        export_model(settings, database, (PRODUCT, None), to, images)
    (images / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadFrameError):
        export_model(settings, database, (PRODUCT, None), to, images)

    def refuse(*_: object, **__: object) -> None:
        raise ParityError("picture 3 of the parity gate scores 2 instead of 1")

    with monkeypatch.context() as patched:
        patched.setattr(scorer.export, "export_onnx", refuse)
        with pytest.raises(ExportError, match="part version 1 is not exported: picture 3"):
            export_model(settings, database, (PRODUCT, None), to)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(ExportError, match="pip install 'differline"):
            export_model(settings, database, (PRODUCT, None), to)
    flow = Path(model.folder) / "flow.safetensors"
    flow.write_bytes(flow.read_bytes()[:-1] + b"!")
    with pytest.raises(ExportError, match="SHA-256"):
        export_model(settings, database, (PRODUCT, None), to)
    assert not to.exists()


def test_a_scorer_on_onnxruntime_gives_the_verdicts_of_one_on_torch(line: Line, put_in_force: PutInForce) -> None:
    put_in_force()
    bodies = [encode_png(part_picture(seed)) for seed in range(200, 204)]
    for camera, backend in (("one", "torch"), ("two", "onnxruntime")):
        line.send(*(line.frame(body, camera=camera) for body in bodies))
        line.worker(backend=backend, arithmetic="float32" if backend == "torch" else "auto").run(until_idle_s=0.5)
    found: dict[str, list[tuple[float, str]]] = {"one": [], "two": []}
    for row in sorted(line.rows(verdicts), key=lambda row: row.sequence):
        found[row.camera].append((row.score, row.state))
    assert [state for _, state in found["two"]] == [state for _, state in found["one"]]
    assert [score for score, _ in found["two"]] == pytest.approx([score for score, _ in found["one"]], rel=1e-5)
    assert len(found["two"]) == len(bodies)


def test_a_scorer_without_the_package_does_not_start(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    settings = line.settings.model_copy(update={"backend": "onnxruntime"})
    with pytest.raises(SettingsError, match=r"onnxruntime is not installed: pip install 'differline\[onnx\]'"):
        build_worker(settings, line.engines, threading.Event())
