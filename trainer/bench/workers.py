"""P7: processes that share the cores: what one, two and four of them score together."""

import multiprocessing
import queue
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from scorer.detector import load_artifact, load_extractor, save_extractor
from trainer.bench.machine import cores
from trainer.bench.row import NotMeasuredError, Row
from trainer.bench.scoring import score_bodies
from trainer.bench.setting import Setting
from trainer.bench.tables import table

_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 30.0
_EXTRACTOR = "extractor.safetensors"
_MODEL = "model"


class Workers(Row):
    """Rates by the number of processes; the ratio is the least efficiency of several.

    Attributes:
        cores: Cores that all share.
        frames_s: Frames a second of all together, by their number.
        threads: Threads of each, by their number.
        efficiency: The rate over that of one process with all cores, by their number.
        views: Views of a picture.
    """

    cores: int
    frames_s: dict[int, float]
    threads: dict[int, int]
    efficiency: dict[int, float]
    views: int

    def figures(self) -> str:
        """Efficiency by the number of processes."""
        several = (f"{each:.2f} with {count}" for count, each in self.efficiency.items() if count > 1)
        return "efficiency " + ", ".join(several)

    def details(self) -> list[str]:
        """Rates."""
        rows = [
            (str(count), str(self.threads[count]), f"{rate:.2f}", f"{self.efficiency[count]:.2f}")
            for count, rate in self.frames_s.items()
        ]
        header = ("processes", "threads each", f"frames/s at {self.views} views", "efficiency")
        return table(header, rows).splitlines()


@dataclass(frozen=True)
class Share:
    """What one process is told.

    Attributes:
        folder: Where model and extractor lie.
        bodies: What it scores.
        views: Views of each picture.
        threads: Its share of the cores.
        arithmetic: What its extractor computes in.
    """

    folder: Path
    bodies: tuple[bytes, ...]
    views: int
    threads: int
    arithmetic: torch.dtype


def measure_workers(setting: Setting) -> Workers:
    """Let processes score the same pictures side by side, each with its share of the cores.

    Raises:
        NotMeasuredError: The device is a GPU, whose streams are not measured here.
    """
    if setting.device.type != "cpu":
        raise NotMeasuredError("processes share cores, not a GPU")
    size = setting.size
    taken: dict[int, list[float]] = {count: [] for count in size.workers}
    threads = {count: max(1, cores() // count) for count in size.workers}
    bodies = tuple(setting.pictures.stream(size.worker_frames))
    with tempfile.TemporaryDirectory(prefix="differline-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        setting.speed.save(folder / _MODEL)
        save_extractor(setting.extractor, folder / _EXTRACTOR)
        for number in range(size.worker_rounds):
            for count in size.workers if number % 2 == 0 else reversed(size.workers):
                share = Share(folder, bodies, size.worker_views, threads[count], setting.extractor.arithmetic)
                taken[count].append(side_by_side(share, count))
    frames_s = {count: count * len(bodies) / statistics.median(taken[count]) for count in size.workers}
    efficiency = {count: rate / frames_s[1] for count, rate in frames_s.items()}
    return Workers(
        device=setting.device_name,
        ratio=min(each for count, each in efficiency.items() if count > 1),
        cores=cores(),
        frames_s=frames_s,
        threads=threads,
        efficiency=efficiency,
        views=size.worker_views,
    )


def side_by_side(share: Share, count: int) -> float:
    """Seconds from the common start of so many processes to the end of the last.

    Raises:
        NotMeasuredError: One of them did not end in order.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    ready, ends = context.Barrier(count + 1), context.Queue()
    processes = [context.Process(target=_score_share, args=(share, ready, ends), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        ready.wait(_START_TIMEOUT_S)
        started = time.monotonic()
        ended: list[float] = [ends.get(timeout=_START_TIMEOUT_S) for _ in processes]
        return max(ended) - started
    except (queue.Empty, OSError, RuntimeError) as error:
        raise NotMeasuredError(f"a process of {count} did not end in order") from error
    finally:
        for process in processes:
            process.join(_STOP_TIMEOUT_S)
            if process.is_alive():
                process.kill()


def _score_share(share: Share, ready: Barrier, ends: "Queue[float]") -> None:
    try:
        torch.set_num_threads(share.threads)
        extractor = load_extractor(str(share.folder / _EXTRACTOR)).computing_in(share.arithmetic)
        detector = load_artifact(share.folder / _MODEL, extractor=extractor)
        plan = detector.manifest.views.model_copy(update={"count": share.views})
        score = partial(score_bodies, detector, plan=plan, early_exit=False)
        score(share.bodies[:1])  # what the first call costs is no rate
    except BaseException:
        ready.abort()  # nobody waits for one that does not come
        raise
    ready.wait(_START_TIMEOUT_S)
    score(share.bodies)
    ends.put(time.monotonic())  # CLOCK_MONOTONIC is the same in all processes of a machine
