import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch.nn import functional as F

from scorer.detector import Extractor, ExtractorError, extractors_at_hand, load_extractor, save_extractor
from scorer.detector.extractor import BUNDLED_FILE, BUNDLED_SHA256


def test_features_are_alexnets_at_three_scales(extractor: Extractor) -> None:
    views = torch.rand(2, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    reference = torchvision.models.alexnet(weights=None).features.eval()
    reference.load_state_dict(extractor.convolutions.state_dict())
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = []
    for size in (448, 224, 112):
        scaled = F.interpolate(views, size=size, mode="area")
        expected.append(reference((scaled - mean) / std).mean(dim=(2, 3)))
    features = extractor(views)
    assert features.shape == (2, 768)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_a_scorer_starts_without_torchs_compiler() -> None:
    asks = "import scorer.worker, trainer.fit, sys; print({'torchvision', 'torch._dynamo'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n", "these take seconds of every start"


def test_extractor_is_frozen(extractor: Extractor) -> None:
    assert not extractor.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_random_weights_depend_on_the_seed_alone_and_leave_the_global_generator() -> None:
    before = torch.get_rng_state()
    first = load_extractor("random", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert load_extractor("random", seed=1).sha256 == first.sha256
    assert load_extractor("random", seed=2).sha256 != first.sha256


def test_random_weights_are_the_same_on_every_machine() -> None:
    # Pinned: a model fitted on one machine's random extractor must load on another.
    assert load_extractor("random", seed=0).sha256 == (
        "7219db1f6c15e52ba749c319747680fa01ccbc0ba4355316b823d2c6a4b855d6"
    )


def test_saved_extractor_loads_with_the_same_hash(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "plant.safetensors"
    save_extractor(extractor, path)
    loaded = load_extractor(str(path))
    assert loaded.sha256 == extractor.sha256
    assert (loaded.name, loaded.seed) == ("file:plant.safetensors", None)


def test_the_bundled_weights_are_the_ones_that_the_code_names() -> None:
    extractor = load_extractor("bundled")
    assert (extractor.name, extractor.seed) == ("bundled", None)
    assert BUNDLED_FILE.stat().st_size <= 6 * 2**20
    features = extractor(torch.rand(1, 3, 448, 448, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(features).all()
    assert extractor.sha256 in (BUNDLED_FILE.parent / "CARD.md").read_text()
    assert BUNDLED_SHA256 in (BUNDLED_FILE.parent / "CARD.md").read_text()


def test_a_bundled_file_that_is_not_what_its_hash_says_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = bytearray(BUNDLED_FILE.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(changed)
    monkeypatch.setattr("scorer.detector.extractor.BUNDLED_FILE", tmp_path / "changed.safetensors")
    with pytest.raises(ExtractorError, match=f"SHA-256 is [0-9a-f]{{64}}, not {BUNDLED_SHA256}"):
        load_extractor("bundled")
    monkeypatch.setattr("scorer.detector.extractor.BUNDLED_FILE", tmp_path / "missing.safetensors")
    with pytest.raises(ExtractorError, match="cannot read extractor weights"):
        load_extractor("bundled")


def test_unknown_missing_and_broken_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no header here")
    for weights in ("resnet", str(tmp_path / "none.safetensors"), str(tmp_path / "broken.safetensors")):
        with pytest.raises(ExtractorError) as refused:
            load_extractor(weights)
        assert "\n" not in str(refused.value)


def test_weights_of_other_shapes_or_with_nan_are_refused(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    state = {key: value.clone().contiguous() for key, value in extractor.convolutions.state_dict().items()}
    path.write_bytes(safetensors.torch.save({**state, "0.bias": torch.zeros(63)}))
    with pytest.raises(ExtractorError, match="names and shapes"):
        load_extractor(str(path))
    state["3.bias"][0] = float("nan")
    path.write_bytes(safetensors.torch.save(state))
    with pytest.raises(ExtractorError, match=r"3\.bias"):
        load_extractor(str(path))


def test_weights_in_half_precision_are_computed_with_in_single(extractor: Extractor, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    state = {key: value.half().contiguous() for key, value in extractor.convolutions.state_dict().items()}
    path.write_bytes(safetensors.torch.save(state))
    loaded = load_extractor(str(path))
    for key, value in loaded.convolutions.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, state[key].float(), rtol=0, atol=0)
    path.write_bytes(safetensors.torch.save({key: value.double() for key, value in state.items()}))
    with pytest.raises(ExtractorError, match="not finite float32 or float16"):
        load_extractor(str(path))


def test_imagenet_weights_that_cannot_be_had_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("<urlopen error\n no route>")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(ExtractorError, match="neither on disk nor to be downloaded: <urlopen error no route>"):
        load_extractor("imagenet")


def test_at_hand_is_what_needs_no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert [extractor.name for extractor in extractors_at_hand("random", seed=2)] == ["random", "bundled"]
    assert [extractor.name for extractor in extractors_at_hand("bundled")] == ["bundled"]
    cached = tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth"
    cached.parent.mkdir()
    state = load_extractor("random").convolutions.state_dict()
    torch.save({f"features.{name}": value for name, value in state.items()}, cached)
    assert [extractor.name for extractor in extractors_at_hand("bundled")] == ["bundled", "imagenet"]


def test_importing_the_detector_imports_nothing_else_of_ours() -> None:
    code = (
        "import sys, scorer.detector; "
        "print([m for m in sys.modules if m.split('.')[0] in ('infra', 'ingest', 'trainer', 'dashboard')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
