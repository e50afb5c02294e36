import json
from pathlib import Path

import pytest

from trainer.bench.row import NotMeasuredError
from trainer.bench.setting import Setting
from trainer.bench.stages import OwnCommands, read_stages, stages_of, told, write_pictures

ENDED = {
    "event": "scorer.ended",
    "frames": 10,
    "duplicates": 0,
    "batches": 2,
    "seconds_busy": 5.0,
    "decode_s": 0.5,
    "features_s": 4.0,
    "heatmap_s": 0.25,
    "write_s": 0.25,
}
LOG = "\n".join(
    ["a warning of a library", json.dumps({"event": "batch.stored", "features_s": 9}), json.dumps(ENDED), ""]
)


class Recorded:
    """Takes note of the commands, and answers as the scorer does."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []

    def run(self, *arguments: str) -> str:
        self.commands.append(arguments)
        return LOG if arguments[0] == "score" else ""


def test_the_scorers_last_word_is_read() -> None:
    row = read_stages(LOG)
    assert row.share == {"decode": 0.1, "features": 0.8, "heatmap": 0.05, "write": 0.05}
    assert row.ratio == 0.1
    assert (row.frames, row.frames_s) == (10, 2.0)
    assert row.figures().startswith("extractor 80.0 %, decode 10.0 %")
    assert "| decode | 50.0 |" in row.details()


@pytest.mark.parametrize("log", ["", "no JSON\n[1]", LOG.replace('"frames": 10', '"frames": 0')])
def test_a_log_without_it_is_not_measured(log: str) -> None:
    with pytest.raises(NotMeasuredError, match=r"no scorer\.ended"):
        read_stages(log)


def test_the_commands_are_a_users(setting: Setting, tmp_path: Path) -> None:
    commands = Recorded()
    assert stages_of(setting, commands, tmp_path).frames == 10
    assert [arguments[0] for arguments in commands.commands] == ["train", "ingest", "score"]
    images = Path(commands.commands[0][commands.commands[0].index("--images") + 1])
    assert len(list(images.iterdir())) == len(setting.pictures.training)
    assert len(list((tmp_path / "stream").glob("*.jpg"))) == setting.size.stage_frames


def test_the_commands_are_told_what_is_measured(setting: Setting) -> None:
    assert told(setting) == {
        "DIFFERLINE_DEVICE": "cpu",
        "DIFFERLINE_ARITHMETIC": "float32",
        "DIFFERLINE_EXTRACTOR": "random",
    }


def test_pictures_are_written_under_their_format(tmp_path: Path) -> None:
    write_pictures(tmp_path / "some", [b"\x89PNG..", b"\xff\xd8.."])
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["000000.png", "000001.jpg"]


def test_a_command_that_fails_is_said_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(NotMeasuredError, match=r"differline positons ended with exit code 2: .*no command"):
        OwnCommands(tmp_path, {}).run("positons")
