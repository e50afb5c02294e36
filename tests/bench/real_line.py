"""Labelled pictures in MVTec AD layout through the whole line: train, stream test/*, and look at what came out.

usage: python -m tests.bench.real_line DIR [--product P] [--trained] [--views N] [--cameras N] [--scorers N]

DIR has train/good and test/*. Everything else comes from the settings (DIFFERLINE_…): on Redis Streams there is one scorer; on
Kafka the topics are made, scorers share the cameras, and a relay publishes. Each class is sent as a job of its own, the cameras
have names of this run's own. Prints ledger and AUROC; exits 1 unless every picture is accounted for and, on Kafka, the verdicts
topic has one verdict of each, in the order of its camera.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from sklearn.metrics import roc_auc_score

from infra.clock import utc_now
from infra.engines import Engines, running_engines
from infra.ledger_report import current_ledger, ledger_table
from infra.settings import Settings, load_settings
from infra.store.connect import open_database
from infra.store.ledger import Ledger
from infra.store.outbox import backlog
from infra.store.tables import verdicts
from ingest.sources.folder import FolderSource

from .published import read_published

PATIENCE_S = 600
LOOK_S = 2.0
STOP_S = 60


def differline(*arguments: str) -> None:
    """Run a command of differline to its end."""
    subprocess.run([sys.executable, "-m", "infra", *arguments], check=True)


@dataclass(frozen=True)
class Service:
    """A command that runs beside the stream, and where it logs."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def last_word(self) -> str:
        """The event it ended with."""
        event = json.loads(self.log.read_text().splitlines()[-1])
        told = " ".join(f"{key}={value}" for key, value in event.items() if isinstance(value, int | float))
        return f"{self.name}: {event['event']} {told}"


@contextmanager
def service(name: str, command: str, folder: Path) -> Iterator[Service]:
    """Run a service; its events go to a file of the data folder."""
    log = folder / f"{name}.log"
    with (
        log.open("wb") as events,
        subprocess.Popen([sys.executable, "-m", "infra", command], stderr=events) as process,
    ):
        try:
            yield Service(name, process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def jobs(folder: Path, cameras: Sequence[str]) -> list[tuple[str, str]]:
    """Which camera sends which class, in turns."""
    names = sorted(entry.name for entry in (folder / "test").iterdir() if entry.is_dir())
    return [(cameras[place % len(cameras)], name) for place, name in enumerate(names)]


@dataclass(frozen=True)
class Line:
    """The line and this run's cameras."""

    settings: Settings
    engines: Engines
    database: sa.Engine
    cameras: Sequence[str]

    def ledger(self) -> Ledger:
        """The accounts of this run's cameras."""
        book = current_ledger(self.settings, self.engines)
        return Ledger([account for account in book.cameras if account.camera in self.cameras])

    def wait_for(self, pictures: int, services: Sequence[Service]) -> None:
        """Wait until every picture is accounted for and published; give up when nothing moves any more."""
        best, since = -1, time.monotonic()
        while (accounted := self.ledger().accounted) < pictures or backlog(self.database).rows:
            moved = accounted - backlog(self.database).rows
            if moved > best:
                best, since = moved, time.monotonic()
            for each in services:
                if each.process.poll() is not None:
                    raise SystemExit(f"{each.name} ended with exit code {each.process.returncode}, see {each.log}")
            if time.monotonic() - since > PATIENCE_S:
                raise SystemExit(f"nothing has moved for {PATIENCE_S} s: {accounted} of {pictures} accounted for")
            time.sleep(LOOK_S)


def stream(line: Line, folder: Path, product: str, scorers: int) -> bool:
    """Send every class while the services run; say whether all came out as it should."""
    sent = jobs(folder, line.cameras)
    pictures = sum(
        len(FolderSource(folder / "test" / name, max_bytes=line.settings.max_frame_bytes).files()) for _, name in sent
    )
    with ExitStack() as running:
        names = [(f"scorer-{number + 1}", "score") for number in range(scorers)]
        if line.settings.bus == "kafka":
            names.append(("relay", "relay"))
        services = [running.enter_context(service(*each, line.settings.data_dir)) for each in names]
        for camera, name in sent:
            choice = ("--camera", camera, "--product", product, "--job", name)
            differline("ingest", "folder", str(folder / "test" / name), *choice)
        line.wait_for(pictures, services)
    for each in services:
        print(each.last_word())
    ledger = line.ledger()
    print(ledger_table(ledger))
    print(f"{ledger.accounted} of {pictures} pictures accounted for")
    whole = ledger.balanced and ledger.accounted == ledger.received == pictures
    return all([whole, line.settings.bus != "kafka" or all_published(line, pictures)])


def all_published(line: Line, pictures: int) -> bool:
    """Read the topics; say whether every picture's fate lies on them once, in the order of its camera."""
    found = read_published(line.settings, line.cameras)
    faults = found.faults()
    for fault in faults:
        print(f"FAULT: {fault}")
    print(
        f"{len(found.frames)} frames on {line.settings.frames_topic}, by partition {found.partitions}; "
        f"{found.results} verdicts on {line.settings.verdicts_topic} in {len(found.verdicts)} messages, "
        f"{len(found.dead_letters)} dead letters; {'faults above' if faults else 'each camera in its order'}"
    )
    return not faults and found.results + len(found.dead_letters) == pictures


def figures(line: Line) -> list[str]:
    """AUROC of all defects and of each class against good, and the share of each class that was flagged."""
    columns = (verdicts.c.job_id, verdicts.c.score, verdicts.c.state, verdicts.c.views)
    chosen_rows = sa.select(*columns, verdicts.c.received_at, verdicts.c.scored_at).where(
        verdicts.c.camera.in_(line.cameras), verdicts.c.score.is_not(None)
    )
    with line.database.connect() as connection:
        rows = list(connection.execute(chosen_rows))
    classes = np.array([row.job_id for row in rows])
    scores = np.array([row.score for row in rows])
    flagged = np.array([row.state == "DEFECT" for row in rows])
    lines = ["| class | pictures | AUROC | flagged |", "| --- | --- | --- | --- |"]
    defects = [name for name in np.unique(classes) if name != "good"]
    for name, chosen in [("all defects", classes != "good"), *((name, classes == name) for name in defects)]:
        compared = chosen | (classes == "good")
        auroc = roc_auc_score(chosen[compared], scores[compared])
        lines.append(f"| {name} | {chosen.sum()} | {auroc:.3f} | {flagged[chosen].mean():.1%} |")
    good = classes == "good"
    lines.append(f"| good | {good.sum()} | | {flagged[good].mean():.1%} |")
    took_s = (max(row.scored_at for row in rows) - min(row.received_at for row in rows)).total_seconds()
    lines.append(f"\n{len(rows)} scored in {took_s:.0f} s, {rows[0].views} views each")
    return lines


def main() -> None:
    """Print the ledger and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--product", default="tile")
    parser.add_argument("--trained", action="store_true", help="use the model in force")
    parser.add_argument("--views", type=int, help="views behind a score; without it, the preset's")
    parser.add_argument("--cameras", type=int, default=2, help="how many cameras send the classes in turns")
    parser.add_argument("--scorers", type=int, default=1, help="how many scorers share the cameras, on Kafka")
    arguments = parser.parse_args()
    settings = load_settings()
    if arguments.scorers > 1 and settings.bus != "kafka":
        parser.error("several scorers need DIFFERLINE_BUS=kafka")
    started = f"{utc_now():%Y%m%d-%H%M%S}"
    cameras = [f"line-{number + 1}-{started}" for number in range(arguments.cameras)]
    with running_engines(settings) as engines:
        differline("migrate")
        if settings.bus == "kafka":
            differline("topics")
        if not arguments.trained:
            images = ("--images", str(arguments.folder / "train" / "good"))
            views = ("--views", str(arguments.views)) if arguments.views else ()
            differline("train", "--product", arguments.product, *images, "--false-alarm-rate", "0.05", *views)
        database = open_database(engines.database_url)
        line = Line(settings, engines, database, cameras)
        whole = stream(line, arguments.folder, arguments.product, arguments.scorers)
        print("\n".join(figures(line)))
        database.dispose()
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
