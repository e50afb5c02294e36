from pathlib import Path

import pytest

from infra.errors import SettingsError
from infra.settings import Settings, load_settings, settings_table

README = Path(__file__).parents[3] / "README.md"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside: an empty folder and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("DIFFERLINE_CONFIG", *("DIFFERLINE_" + field.upper() for field in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)


def refusal(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_hold_where_nothing_is_set() -> None:
    assert load_settings() == Settings.model_construct()


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "differline.toml").write_text("partitions = 7\nbatch_frames = 8\n")
    monkeypatch.setenv("DIFFERLINE_PARTITIONS", "9")
    settings = load_settings()
    assert (settings.partitions, settings.batch_frames, settings.heatmap_sample) == (9, 8, 50)
    assert load_settings(partitions=11).partitions == 11


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "differline.toml").write_text("partitions = 7\n")
    (tmp_path / "other.toml").write_text("partitions = 3\n")
    monkeypatch.setenv("DIFFERLINE_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().partitions == 3


@pytest.mark.parametrize("name", ["DIFFERLINE_PARTITION", "DIFFERLINE_CONFIG_FILE", "DIFFERLINE_"])
def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "4")
    assert refusal() == f"unknown setting in the environment: {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTITIONS", "0"),
        ("PARTITIONS", "many"),
        ("BUS_SEND_TIMEOUT_S", "0"),
        ("BUS", "carrier-pigeon"),
        ("MQTT_HOST", "a..b"),
        ("MQTT_PREFIX", "plant/#"),
        ("DASHBOARD_PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("USER", ""),
    ],
)
def test_a_value_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("DIFFERLINE_" + name, value)
    assert refusal().startswith(f"setting {name.lower()}: ")


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "differline.toml").write_text("partitons = 7\n")
    assert "partitons" in refusal()


@pytest.mark.parametrize("text", [b"partitions = \n", b"[[[", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "differline.toml").write_bytes(text)
    assert "differline.toml" in refusal()


def test_a_file_that_is_named_and_missing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIFFERLINE_CONFIG", str(tmp_path / "none.toml"))
    assert "none.toml" in refusal()


def test_folders_lie_under_the_data_folder_unless_they_are_set(tmp_path: Path) -> None:
    below = Settings(data_dir=tmp_path)
    assert (below.archive_location, below.models_folder) == (str(tmp_path / "archive"), tmp_path / "models")
    elsewhere = Settings(data_dir=tmp_path, archive_url="s3://frames", models_dir=Path("/models"))
    assert (elsewhere.archive_location, elsewhere.models_folder) == ("s3://frames", Path("/models"))


def test_the_readme_has_the_settings_as_they_are() -> None:
    _, _, after = README.read_text(encoding="utf-8").partition("<!-- settings -->")
    table, marker, _ = after.partition("<!-- /settings -->")
    assert marker
    assert table.strip() == settings_table(), "run `python -m infra.settings` and put its table into the README"


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_outbox_is_filled_where_an_output_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load_settings().outputs, load_settings().fills_outbox) == ((), False)
    assert load_settings(outbox="on").fills_outbox
    monkeypatch.setenv("DIFFERLINE_WEBHOOK_URL", "")  # as compose.yaml hands on what is not set
    assert load_settings().outputs == ()
    monkeypatch.setenv("DIFFERLINE_WEBHOOK_URL", "https://eva:open-sesame@mes.example/hook")
    monkeypatch.setenv("DIFFERLINE_WEBHOOK_SECRET", SECRET)
    settings = load_settings()
    assert (settings.outputs, settings.fills_outbox) == (("webhook",), True)
    assert load_settings(bus="kafka").outputs == ("kafka", "webhook")
    assert not load_settings(outbox="off").fills_outbox
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "open-sesame" not in shown
        assert SECRET not in shown
