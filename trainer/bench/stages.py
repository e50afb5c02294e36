"""P6: where a scorer's time goes: the commands that a user would start, on engines of their own, and the scorer's last word."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.children import differline, ending_with_us
from infra.settings import ENV_PREFIX
from trainer.bench.row import NotMeasuredError, Row
from trainer.bench.setting import FALSE_ALARM_RATE, Setting
from trainer.bench.tables import table

EXTRACTOR_STAGE = "features"
DEFECTIVE_SHARE = 0.05  # a line makes good parts
_PRODUCT = "bench"
_NAMED_EXTRACTORS = ("bundled", "imagenet", "random")
_COMMAND_TIMEOUT_S = 3600.0
_IDLE_S = 3
_PNG = b"\x89PNG"
_LAST_EVENT = "scorer.ended"


class Stages(Row):
    """Seconds by stage; the ratio is the largest share of a stage that is not the extractor.

    Attributes:
        frames: Frames that were scored.
        frames_s: Frames a second while the scorer was busy.
        seconds: Seconds by stage, over all frames.
        share: Share of the stages' sum, by stage.
    """

    frames: int
    frames_s: float
    seconds: dict[str, float]
    share: dict[str, float]

    def figures(self) -> str:
        """Shares, the largest first."""
        order = sorted(self.share.items(), key=lambda each: -each[1])
        return ", ".join(f"{_called(name)} {100 * share:.1f} %" for name, share in order)

    def details(self) -> list[str]:
        """Milliseconds a frame."""
        rows = [(_called(name), f"{1000 * spent / self.frames:.1f}") for name, spent in self.seconds.items()]
        lines = table(("stage", "ms a frame"), rows).splitlines()
        return [f"{self.frames} frames through bus, scorer and PostgreSQL, {self.frames_s:.2f} frames/s.", "", *lines]


class Commands(Protocol):
    """Runs commands of differline to their end."""

    def run(self, *arguments: str) -> str:
        """Run one, and return what it logged."""


@dataclass(frozen=True)
class OwnCommands:
    """Runs them as children, in a data folder of their own.

    Attributes:
        data_dir: The folder.
        settings: What they are told besides.
    """

    data_dir: Path
    settings: Mapping[str, str]

    def run(self, *arguments: str) -> str:
        """Run one, and return what it logged.

        Raises:
            NotMeasuredError: It failed.
        """
        plain = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        done = subprocess.run(  # noqa: S603 - our own command
            ending_with_us(differline(*arguments)),
            env={**plain, **self.settings, f"{ENV_PREFIX}DATA_DIR": str(self.data_dir)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
            raise NotMeasuredError(f"differline {arguments[0]} ended with exit code {done.returncode}: {last}")
        return done.stderr


def measure_stages(setting: Setting) -> Stages:
    """Train, send a folder of pictures and score them, on embedded engines in a temporary folder.

    Raises:
        NotMeasuredError: A command failed.
    """
    with tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Each command starts the engines and stops them: there is nothing here to leave running when this is killed.
        return stages_of(setting, OwnCommands(folder / "data", told(setting)), folder)


def told(setting: Setting) -> dict[str, str]:
    """The settings of the commands: device, arithmetic and extractor of this run.

    An extractor from a file has no name that they know; theirs is then the bundled one, which takes as long.
    """
    name = setting.extractor.name
    return {
        f"{ENV_PREFIX}DEVICE": str(setting.device),
        f"{ENV_PREFIX}ARITHMETIC": str(setting.extractor.arithmetic).removeprefix("torch."),
        f"{ENV_PREFIX}EXTRACTOR": name if name in _NAMED_EXTRACTORS else "bundled",
    }


def stages_of(setting: Setting, commands: Commands, folder: Path) -> Stages:
    """Have the commands do the work, and read what the scorer said at its end.

    Args:
        setting: Pictures and sizes.
        commands: Runs them.
        folder: Where the pictures are put.
    """
    write_pictures(folder / "train", (picture.body for picture in setting.pictures.training))
    write_pictures(folder / "stream", setting.pictures.stream(setting.size.stage_frames, DEFECTIVE_SHARE))
    options = ("--preset", setting.size.stage_preset, "--views", str(setting.size.views))
    rate = ("--false-alarm-rate", str(FALSE_ALARM_RATE))
    commands.run("train", "--product", _PRODUCT, "--images", str(folder / "train"), *options, *rate)
    commands.run("ingest", "folder", str(folder / "stream"), "--camera", "bench-1", "--product", _PRODUCT)
    return read_stages(commands.run("score", "--until-idle", str(_IDLE_S)), setting.device_name)


def read_stages(log: str, device: str = "cpu") -> Stages:
    """Read a scorer's log, a JSON object a line.

    Raises:
        NotMeasuredError: Its last event is not there, or says that nothing was scored.
    """
    ended = next((event for event in map(_event, reversed(log.splitlines())) if event.get("event") == _LAST_EVENT), {})
    spent = {name.removesuffix("_s"): _number(value) for name, value in ended.items() if name.endswith("_s")}
    frames, total = int(_number(ended.get("frames", 0))), sum(spent.values())
    if not frames or not total or EXTRACTOR_STAGE not in spent:
        raise NotMeasuredError(f"the scorer's log has no {_LAST_EVENT} with frames and stages")
    share = {name: each / total for name, each in spent.items()}
    return Stages(
        device=device,
        ratio=max(each for name, each in share.items() if name != EXTRACTOR_STAGE),
        frames=frames,
        frames_s=frames / _number(ended["seconds_busy"]),
        seconds=spent,
        share=share,
    )


def write_pictures(folder: Path, bodies: Iterable[bytes]) -> None:
    """Write pictures into a new folder, in order, each under the suffix of its format."""
    folder.mkdir(parents=True)
    for number, body in enumerate(bodies):
        suffix = "png" if body.startswith(_PNG) else "jpg"
        (folder / f"{number:06}.{suffix}").write_bytes(body)


def _event(line: str) -> dict[str, object]:
    try:
        read = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _called(stage: str) -> str:
    return "extractor" if stage == EXTRACTOR_STAGE else stage
