"""A client that nobody here wrote: kcat feeds the line and reads its verdicts, with the commands that the README shows."""

import json
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from infra.bus.topics import DEAD_LETTERS_SUFFIX
from infra.frames import sha256_hex
from infra.settings import Settings
from infra.verdict_message import verdict_schema

from ..kafka_server import KafkaServer
from .commands import QUICK_FIT, Differline

README = Path(__file__).parents[2] / "README.md"
CAMERA, PRODUCT, FRAME_ID, PICTURE = "oven-1", "tile", "oven-1-000001", "part.jpg"
NO_PRODUCT = " -H ce_product=tile"
COMMAND_TIMEOUT_S = 60
PATIENCE_S = 120.0
STOP_S = 60


def readme_commands() -> list[str]:
    """The commands between the README's markers; a line that ends with a backslash goes on."""
    _, _, after = README.read_text(encoding="utf-8").partition("<!-- kcat -->")
    block, marker, _ = after.partition("<!-- /kcat -->")
    assert marker
    lines = [line.strip() for line in block.replace("\\\n", "").splitlines() if line.startswith("    ")]
    return [re.sub(r" {2,}(?=-)", " ", line) for line in lines]


@dataclass(frozen=True)
class Plant:
    """A line of the test's own, and a shell in a folder with a picture."""

    differline: Differline
    settings: dict[str, str]
    topics: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.differline.data_dir

    def enter(self, command: str) -> str:
        """Run a command of the README with this test's topics, as a shell does; returns what it printed."""
        named = re.sub(r"-t (\S+)", lambda found: "-t " + self.topics[found[1]], command)
        done = subprocess.run(
            ["bash", "-c", named],
            env={"PATH": "/usr/bin:/bin", "DIFFERLINE_KAFKA_SERVERS": self.settings["DIFFERLINE_KAFKA_SERVERS"]},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), named
        return done.stdout

    def run(self, *arguments: str) -> None:
        self.differline.run(*arguments, **self.settings)


@pytest.fixture
def plant(settings: Settings, kafka: KafkaServer, tmp_path: Path) -> Iterator[Plant]:
    """Topics, a quick model of simulated parts in force, a scorer and a relay, each a process."""
    if shutil.which("kcat") is None:
        pytest.fail("these tests need kcat: `make tools` installs it", pytrace=False)
    ours = uuid.uuid4().hex
    topics = {name: f"{name.partition('.')[0]}-{ours}" for name in ("frames", "verdicts")}
    chosen = {
        "DIFFERLINE_DATABASE_URL": settings.database_url or "",
        "DIFFERLINE_REDIS_URL": settings.redis_url or "",
        "DIFFERLINE_BUS": "kafka",
        "DIFFERLINE_KAFKA_SERVERS": kafka.address,
        "DIFFERLINE_KAFKA_GROUP": "scorers-" + ours,
        "DIFFERLINE_FRAMES_TOPIC": topics["frames"],
        "DIFFERLINE_VERDICTS_TOPIC": topics["verdicts"],
    }
    dead_letters = {"frames" + DEAD_LETTERS_SUFFIX: topics["frames"] + DEAD_LETTERS_SUFFIX}
    running = Plant(Differline(tmp_path), chosen, topics | dead_letters)
    running.run("topics")
    parts = tmp_path / "parts"
    simulate = ("ingest", "simulate", "--product", PRODUCT, "--frames", "16", "--defect-rate", "0")
    running.run(*simulate, "--to-folder", str(parts))
    images = ("--images", str(parts / "train" / "good"))
    fitting = replace(running, differline=replace(running.differline, program=QUICK_FIT))
    fitting.run("train", "--product", PRODUCT, *images, "--views", "1", "--false-alarm-rate", "0.2")
    with ExitStack() as services:
        for command in ("score", "relay"):
            process = services.enter_context(running.differline.start(command, **chosen))
            services.callback(process.communicate, timeout=STOP_S)
            services.callback(process.send_signal, signal.SIGTERM)
        yield running


@dataclass(frozen=True)
class Message:
    """What kcat printed of a message."""

    key: str
    headers: dict[str, str]
    body: str


def messages(printed: str, *, bodies: bool) -> list[Message]:
    """Read `KEY  NAME=VALUE,NAME=VALUE` and, on the next line, the body."""
    lines = printed.splitlines()
    found = []
    for place in range(0, len(lines), 2 if bodies else 1):
        key, _, headers = lines[place].partition("  ")
        pairs = dict(pair.split("=", 1) for pair in headers.split(","))
        found.append(Message(key, pairs, lines[place + 1] if bodies else ""))
    return found


def until(look: Callable[[], list[Message]], number: int) -> list[Message]:
    deadline = time.monotonic() + PATIENCE_S
    while len(found := look()) < number:
        assert time.monotonic() < deadline, f"{len(found)} of {number} messages"
        time.sleep(0.5)
    return found


def write_large_picture(path: Path) -> bytes:
    """A JPEG of more than the 1,000,000 bytes that kcat sends by default."""
    cv2.imwrite(str(path), np.random.default_rng(0).integers(40, 200, (1100, 1100, 3), np.uint8))
    body = path.read_bytes()
    assert 10**6 < len(body) < 8 * 2**20
    return body


@pytest.mark.timeout(400)
def test_the_readmes_kcat_commands_feed_the_line_and_read_it(plant: Plant) -> None:
    produce, read_verdicts, read_dead_letters = readme_commands()
    body = write_large_picture(plant.folder / PICTURE)
    validator = jsonschema.Draft202012Validator(verdict_schema())

    def verdicts() -> list[Message]:
        return messages(plant.enter(read_verdicts), bodies=True)

    plant.enter(produce)
    (message,) = until(verdicts, 1)
    verdict = json.loads(message.body)
    validator.validate(verdict)
    assert (verdict["frameId"], verdict["camera"], verdict["productId"]) == (FRAME_ID, CAMERA, PRODUCT)
    assert (verdict["state"] in {"GOOD", "DEFECT"}, verdict["modelVersion"]) == (True, 1)
    assert verdict["frameSha256"] == sha256_hex(body)
    assert message.key == CAMERA
    assert message.headers == {
        "ce_specversion": "1.0",
        "ce_type": "differline.verdict.v1",
        "ce_id": verdict["resultId"],
        "ce_source": f"/cameras/{CAMERA}",
        "ce_subject": FRAME_ID,
        "ce_time": verdict["creationTime"],
        "ce_dataschema": "urn:differline:schema:verdict.v1",
        "content-type": "application/json",
    }

    plant.enter(produce)  # the same id again gets no second verdict; behind it a frame from a producer of ours
    pictures = plant.folder / "pictures"
    pictures.mkdir()
    shutil.copy(plant.folder / PICTURE, pictures)
    plant.run("ingest", "folder", str(pictures), "--camera", CAMERA, "--product", PRODUCT)
    first, second = until(verdicts, 2)
    assert (first, second.key) == (message, CAMERA)
    where = plant.enter("kcat -C -b $DIFFERLINE_KAFKA_SERVERS -t frames -o beginning -e -q -f '%p %k\\n'").split("\n")
    assert where == [where[0]] * 3 + [""], "a camera lies in several partitions"

    assert NO_PRODUCT in produce
    plant.enter(produce.replace(NO_PRODUCT, "").replace(FRAME_ID, "without-product"))
    (letter,) = until(lambda: messages(plant.enter(read_dead_letters), bodies=False), 1)
    assert letter.key == CAMERA
    assert (letter.headers["ce_id"], letter.headers["dl_reason"]) == ("without-product", "missing_product")
    assert len(verdicts()) == 2
