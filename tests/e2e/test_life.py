"""A model's life as a plant lives it, on the embedded engines and with the commands: each step is killed once and done again.

Train, stream, the light changes, an alarm rises, frames released, refit, shadow, promote while frames flow, the alarm falls,
roll back: at the end no frame is lost or doubled, one model is in force, and the audit chain is whole.
"""

import csv
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.engines import running_engines
from infra.pictures import decode, encode_jpeg
from infra.settings import Settings
from infra.store.connect import open_database
from infra.store.models import models_in_shadow
from infra.store.promotions import list_models, promotions_of
from infra.store.tables import AlertKind, DriftCause, ModelState, alerts, decisions, second_verdicts, verdicts
from scorer.drift_report import drift_report

from .commands import QUICK_FIT, Differline

PRODUCT = "flange"
OF = ("--product", PRODUCT)
DARK = "after the lamp went"
WAIT_S = 240.0
ONE_THREAD = {
    "DIFFERLINE_CPU_THREADS": "1"
}  # two that wait for each other are slower, where others work on this machine


class Plant:
    """The commands, and what is on record."""

    def __init__(self, folder: Path, database: sa.Engine) -> None:
        self.folder = folder
        self.line = Differline(folder, ONE_THREAD)
        self.fitting = Differline(folder, ONE_THREAD, QUICK_FIT)
        self.database = database
        self.scorer: subprocess.Popen[str] | None = None

    def kill(self, run: "subprocess.Popen[str]", once: Callable[[], bool]) -> None:
        """Kill a command as soon as something is so, or when it is over before."""
        self.wait(lambda: once() or run.poll() is not None)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)

    def killed(self, *arguments: str, once: Callable[[], bool], line: Differline | None = None) -> None:
        """Start a command and kill it as soon as something is so."""
        with (self.folder / "killed.err").open("w") as errors:
            self.kill((line or self.line).start(*arguments, into=errors), once)

    def killed_then_done(self, *arguments: str, once: Callable[[], bool], line: Differline | None = None) -> None:
        """Start a command, kill it as soon as something is so, and run it to its end."""
        self.killed(*arguments, once=once, line=line)
        (line or self.line).run(*arguments)

    def killed_and_asked_again(self, *arguments: str, once: Callable[[], bool]) -> None:
        """Start what is done all or not at all, kill it, and ask for it again: it is done now, or refused as done before."""
        self.killed(*arguments, once=once)
        assert self.line.exit_code(*arguments) in (0, 2)

    def scorer_killed(self, once: Callable[[], bool]) -> None:
        """Kill the scorer as soon as something is so; the next one goes on."""
        assert self.scorer is not None
        self.wait(once)
        assert self.scorer.poll() is None
        self.kill(self.scorer, lambda: True)
        self.scorer = self.line.start("score")

    def alarm(self) -> bool:
        """Whether the drift table shows an alarm; what `differline drift` says by its exit code."""
        return any(line.alarm for line in drift_report(self.database, PRODUCT))

    def told(self, words: str) -> Callable[[], bool]:
        """Whether the command that will be killed has said something."""
        return lambda: words in (self.folder / "killed.err").read_text()

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.05)

    def count(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        with self.database.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0)

    def states(self) -> dict[int, ModelState]:
        return {row.version: row.state for row in list_models(self.database, PRODUCT)}

    def judged_by(self, version: int) -> int:
        (model,) = [row.id for row in list_models(self.database, PRODUCT) if row.version == version]
        return self.count(verdicts, verdicts.c.model_id == model)

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """A scorer, and a camera that sends a few frames a second, until it is over."""
        simulate = ("ingest", "simulate", *OF, "--camera", "oven-1", "--fps", "3", "--defect-rate", "0.1")
        self.scorer, camera = self.line.start("score"), self.line.start(*simulate)
        try:
            yield
        finally:
            for process in (camera, self.scorer):
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=120)
            assert [camera.returncode, self.scorer.returncode] == [0, 0]


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    with tempfile.TemporaryDirectory(prefix="differline-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with running_engines(Settings(data_dir=folder)) as engines:
            database = open_database(engines.database_url)
            yield Plant(folder, database)
            database.dispose()


@pytest.mark.timeout(1200)
def test_the_life_of_a_model(plant: Plant) -> None:
    line = plant.line
    line.run("ingest", "simulate", *OF, "--frames", "48", "--defect-rate", "0", "--to-folder", "good")
    line.run("ingest", "simulate", *OF, "--frames", "6", "--defect-rate", "1", "--seed", "7", "--to-folder", "bad")

    # Train: killed while it fits, nothing is registered.
    train = ("train", *OF, "--images", "good/train/good", "--views", "1", "--false-alarm-rate", "0.04")
    plant.killed_then_done(*train, once=plant.told("fitting the flow"), line=plant.fitting)
    assert plant.states() == {1: ModelState.IN_FORCE}
    assert plant.count(decisions) == 48  # its pictures, released once
    line.run("curate", "import", "bad", *OF)

    # Stream: the scorer is killed once it has judged something.
    line.run("ingest", "simulate", *OF, "--camera", "oven-1", "--frames", "40", "--defect-rate", "0.2", "--seed", "3")
    plant.killed_then_done("score", "--until-idle", "2", once=lambda: plant.count(verdicts) > 0)
    assert plant.count(verdicts) == 40

    # The light changes: the scorer is killed among the first frames after it.
    line.run("ingest", "simulate", *OF, "--frames", "30", "--defect-rate", "0", "--seed", "9", "--to-folder", "dark")
    darken(plant.folder / "dark" / "train" / "good")
    line.run("ingest", "folder", "dark/train/good", *OF, "--camera", "oven-1", "--job", DARK)
    plant.killed("score", once=lambda: plant.count(verdicts, verdicts.c.job_id == DARK) > 0)
    # An alarm rises, and no verdict waits for it: the scorer is killed at once, and the next one raises no second alarm.
    plant.killed("score", once=lambda: plant.count(alerts, alerts.c.kind == AlertKind.DRIFT) > 0)
    line.run("score", "--until-idle", "2")
    assert plant.count(verdicts, verdicts.c.job_id == DARK) == 30
    assert plant.count(alerts, alerts.c.kind == AlertKind.DRIFT) == 1
    assert plant.count(alerts, alerts.c.kind == AlertKind.DRIFT, alerts.c.detail == DriftCause.LENS_OR_LIGHT) == 1
    line.run("drift", expect=1)

    # Curate: what is good by the truth that the simulator tells is released, as a person would by a CSV.
    line.run("curate", "export", "open.csv", *OF)
    decided = release_good(plant, plant.folder / "open.csv")
    assert decided >= 20
    before = plant.count(decisions)
    plant.killed_then_done("curate", "import", "open.csv", *OF, once=lambda: plant.count(decisions) > before)
    assert plant.count(decisions) == before + decided

    # Refit: killed while it fits, there is no candidate; then there is one, and the model in force stays.
    refit = ("refit", *OF, "--if-due")
    plant.killed_then_done(*refit, once=plant.told("fitting the flow"), line=plant.fitting)
    assert plant.states() == {2: ModelState.CANDIDATE, 1: ModelState.IN_FORCE}
    (candidate, _) = list_models(plant.database, PRODUCT)
    assert candidate.challenge_parts == 6
    assert "Why now: 1 drift alarms since version 1" in (candidate.report or "")
    assert "not due" in line.run("refit", *OF, "--if-due").stdout

    refused = line.run("models", "promote", *OF, "--version", "2", "--why", "new frames", expect=2)
    assert "nobody knows which verdicts it would change" in refused.stderr

    with plant.scoring():
        # Shadow: live frames, silently. The command is killed, and a scorer that has begun to look through the candidate.
        shadow = ("models", "shadow", *OF, "--version", "2")
        plant.killed_then_done(*shadow, once=lambda: PRODUCT in models_in_shadow(plant.database))
        plant.scorer_killed(once=lambda: plant.count(second_verdicts) > 0)
        seen = plant.count(second_verdicts)
        plant.wait(lambda: plant.count(second_verdicts) >= seen + 5)
        assert plant.judged_by(2) == 0
        # Promote while frames flow; forced, as so few frames may well speak against it. Killed: all of it or nothing.
        promote = ("models", "promote", *OF, "--version", "2", "--why", "a trial", "--force")
        plant.killed_and_asked_again(*promote, once=plant.told("frames of the line"))
        assert plant.states() == {2: ModelState.IN_FORCE, 1: ModelState.RETIRED}
        assert len(promotions_of(plant.database, PRODUCT)) == 2
        # A new model begins a new test, and the alarm falls: the scorer is killed as soon as it judges by that model.
        plant.scorer_killed(once=lambda: plant.judged_by(2) > 0)
        judged = plant.judged_by(2)
        plant.wait(lambda: plant.judged_by(2) >= judged + 3)
        plant.wait(lambda: not plant.alarm())
        # And back: killed as soon as the one before is in force, with a scorer that judges by it.
        back = plant.judged_by(1)
        rollback = ("models", "rollback", *OF, "--why", "the trial is over")
        plant.killed_and_asked_again(*rollback, once=lambda: plant.states()[1] is ModelState.IN_FORCE)
        assert len(promotions_of(plant.database, PRODUCT)) == 3
        plant.scorer_killed(once=lambda: plant.judged_by(1) > back)
        back = plant.judged_by(1)
        plant.wait(lambda: plant.judged_by(1) >= back + 3)

    line.run("score", "--until-idle", "2")  # what the camera had sent last
    assert plant.states() == {2: ModelState.RETIRED, 1: ModelState.IN_FORCE}
    book = json.loads(line.run("ledger", "--json").stdout)
    assert book["balanced"]
    with plant.database.connect() as connection:
        frames = connection.execute(sa.select(verdicts.c.run, verdicts.c.sequence)).all()
        newest = connection.scalar(sa.select(verdicts.c.frame_id).order_by(verdicts.c.received_at.desc()).limit(1))
    assert len(set(frames)) == len(frames) == sum(camera["received"] for camera in book["cameras"])
    assert "the audit chain is whole" in line.run("audit", "verify").stdout
    traced = line.run("trace", str(newest)).stdout
    assert "the trial is over" in traced


def darken(folder: Path) -> None:
    """Half the light, for all pictures of a folder."""
    for path in folder.iterdir():
        path.write_bytes(encode_jpeg(decode(path.read_bytes(), 10**7) // 2))


def release_good(plant: Plant, file: Path) -> int:
    """Decide in an exported CSV about the open frames that are good; returns how many."""
    query = sa.select(verdicts.c.sha256, verdicts.c.simulated, verdicts.c.job_id)
    with plant.database.connect() as connection:
        good = {sha256 for sha256, truth, job in connection.execute(query) if truth == "good" or job == DARK}
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["decision"] == "open" and row["sha256"] in good]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "decision": "released", "reason": "looked at"} for row in rows)
    return len(rows)
