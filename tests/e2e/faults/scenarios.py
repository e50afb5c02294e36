"""What happens to a line, one function a fault; each ends with the line at rest, for the oracle to judge.

The sabotage tests play some of them on a broken scorer.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM

import psutil

from .breaks import FLAG, POINT, SABOTAGE, SIGNAL, TURN
from .plant import Line, Scorer, wait_until

FRAME_S = 0.5  # the slowest a frame may be on a busy machine, over all
REST_S = 60.0
PROGRESS_S = 120.0
SABOTAGED_REST_S = 10.0  # a broken line never gets there


def patience(frames: int) -> float:
    """How long so many frames may take, in seconds."""
    return 60.0 + frames * FRAME_S


def end(line: Line, frames: int, rest_s: float = REST_S) -> list[int]:
    """Let the line come to rest, and stop it.

    Returns:
        The exit codes of the scorers.
    """
    line.settle(frames, rest_s)
    return line.stop_scorers()


def random_kills(line: Line, frames: int, kills: int, workers: int, *, sabotage: str = "") -> None:
    """kill -9 of scorers at random moments, spread over the run; each is replaced."""
    drawn = random.Random(1)
    line.send(line.plan(frames, seed=1)).wait(patience(frames))
    for _ in range(workers):
        line.start(**{SABOTAGE: sabotage})
    for kill in range(kills):
        line.settle(1 + frames * kill // (kills + 1), REST_S)
        time.sleep(drawn.uniform(0, 1))
        drawn.choice(line.running).signal(SIGKILL)
        line.start(**{SABOTAGE: sabotage})


def kills_at(line: Line, point: str, kills: int) -> int:
    """End scorers at a named point, one after the other, each in its second batch.

    Returns:
        How many died there.
    """
    frames = kills * 2 * line.settings.batch_frames + 16
    line.send(line.plan(frames, seed=kills)).wait(patience(frames))
    died = 0
    for _ in range(kills):
        died += _dies_at(line, point)
    line.start()
    line.settle(frames, REST_S)
    return died


def _dies_at(line: Line, point: str, sabotage: str = "") -> bool:
    scorer = line.start(**{POINT: point, SIGNAL: "SIGKILL", TURN: "2", SABOTAGE: sabotage})
    wait_until(lambda: scorer.exit_code is not None, PROGRESS_S, f"the scorer does not pass {point} twice")
    return scorer.exit_code == -SIGKILL


def one_kill_with(line: Line, sabotage: str, point: str) -> None:
    """Kill a broken scorer while frames come, and let another broken one go on."""
    with ThreadPoolExecutor(1) as pool:
        death = pool.submit(_dies_at, line, point, sabotage)
        line.wait_for_scorer(PROGRESS_S)
        line.send(line.plan(48, seed=5)).wait(60)
        death.result()
    line.start(**{SABOTAGE: sabotage})
    line.wait_for_scorer(PROGRESS_S)
    line.send(line.plan(8, seed=6)).wait(60)
    line.settle(56, SABOTAGED_REST_S)
    line.stop_scorers()


def stops(line: Line, times: int) -> int:
    """Stop a scorer (SIGSTOP) that holds a judged batch, until another has judged it; then let it go on.

    Returns:
        How many stale writes were fenced.
    """
    flags = [line.settings.data_dir / f"stop-{index}" for index in range(2)]
    pair = [line.start(**{POINT: "scored", SIGNAL: "SIGSTOP", FLAG: str(flag)}) for flag in flags]
    frames = 0
    for turn in range(times):
        frames += _stop_with_a_batch(line, pair[turn % 2], flags[turn % 2], done=frames)
    line.send(line.plan(24, seed=times)).wait(60)
    line.settle(frames + 24, REST_S)
    return sum(scorer.events("batch.fenced") for scorer in pair)


def stale_overlap(line: Line, sabotage: str = "") -> int:
    """Wake a stopped scorer that holds a judged batch while another one is in the middle of the same frames.

    Returns:
        How many stale writes were fenced.
    """
    frames = 2 * line.settings.batch_frames
    # They wait before the first scorer comes, so that its batch is a full one: the second one must still be within it.
    line.send(line.scored_plan(frames)).wait(60)
    stale = line.start(**{POINT: "scored", SIGNAL: "SIGSTOP", TURN: "1", SABOTAGE: sabotage})
    wait_until(lambda: _stands_still(stale), PROGRESS_S, "the first scorer does not stop")
    # It goes through the stale batch one frame at a time, since that was begun and not finished.
    other = line.start(**{POINT: "scored", SIGNAL: "SIGSTOP", TURN: "2", SABOTAGE: sabotage})
    wait_until(lambda: _stands_still(other), PROGRESS_S, "the second scorer does not stop")
    stale.signal(SIGCONT)
    written = ("batch.fenced", "batch.stored")  # the second one must not happen
    wait_until(lambda: any(stale.events(name) for name in written), PROGRESS_S, "the first scorer does not write")
    other.signal(SIGCONT)
    line.settle(frames, SABOTAGED_REST_S)
    return stale.events("batch.fenced")


def _stop_with_a_batch(line: Line, scorer: Scorer, flag: Path, done: int) -> int:
    flag.touch()  # before the frames come: a quick scorer has judged them before they are all sent
    sent = 0
    deadline = time.monotonic() + PROGRESS_S
    while not _stands_still(scorer):  # a scorer that has yet to join gets frames later
        assert time.monotonic() < deadline, "the scorer does not stop"
        line.send(line.plan(24, seed=done + sent)).wait(60)
        sent += 24
        _wait_for_the_batch(line, scorer, done + sent)
    stopped = time.monotonic()
    line.settle(done + sent, REST_S)  # by the other one, the stopped one's batch included
    time.sleep(max(0.0, line.settings.kafka_max_poll_interval_s + 1 - (time.monotonic() - stopped)))
    scorer.signal(SIGCONT)
    time.sleep(1)
    return sent


def _wait_for_the_batch(line: Line, scorer: Scorer, frames: int) -> None:
    until = time.monotonic() + REST_S
    while not _stands_still(scorer) and line.accounted() < frames and time.monotonic() < until:
        time.sleep(0.05)


def _stands_still(scorer: Scorer) -> bool:
    return bool(scorer.process.status() == psutil.STATUS_STOPPED)


def changes(line: Line, times: int, per_second: float, seed: int = 2) -> tuple[int, float]:
    """Workers join and leave while frames come.

    Returns:
        Frames that were planned, and the longest time in seconds that a partition with frames waiting stood still.
    """
    drawn = random.Random(seed)
    every_s = 4.0
    frames = int((times + 1) * every_s * per_second)
    line.send(line.plan(frames, seed), per_second)
    line.start()
    idle = IdleWatch(line)
    for _ in range(times):
        running = line.running
        if len(running) == 1 or (len(running) < 4 and drawn.random() < 0.5):
            line.start()
        else:
            drawn.choice(running).signal(drawn.choice([SIGTERM, SIGKILL]))
        idle.look_for(every_s)
    while line.accounted() < frames and idle.longest_s < 2 * REST_S:
        idle.look_for(1)
    return frames, idle.longest_s


class IdleWatch:
    """Measures how long partitions with frames waiting stand still."""

    def __init__(self, line: Line) -> None:
        self.longest_s = 0.0
        self._line = line
        self._since: dict[object, tuple[int, float]] = {}

    def look_for(self, seconds: float) -> None:
        """Look twice a second."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._look()
            time.sleep(0.5)

    def _look(self) -> None:
        now = time.monotonic()
        stored = self._line.positions()
        for partition, end in self._line.ends().items():
            position = stored.get(partition, 0)
            known = self._since.get(partition)
            if position >= end or known is None or known[0] != position:
                self._since[partition] = (position, now)
            else:
                self.longest_s = max(self.longest_s, now - known[1])


@dataclass
class Outages:
    """What happened while servers went away and came back.

    Attributes:
        memory_mb: The most memory that a scorer had during each outage and behind it, in MB.
    """

    memory_mb: list[float] = field(default_factory=list)

    @property
    def grown_mb(self) -> float:
        """What the later outages took in addition to the first, which also saw the scorers warm up."""
        return max(self.memory_mb) - self.memory_mb[0]


def outages(line: Line, faults: list[Callable[[], None]], frames: int, per_second: float, workers: int = 2) -> Outages:
    """Let servers go away and come back while frames come and are judged."""
    found = Outages()
    sender = line.send(line.plan(frames, seed=3), per_second)
    for _ in range(workers):
        line.start()
    line.wait_for(workers * 8, PROGRESS_S)
    for fault in faults:
        memory_mb = 0.0
        with ThreadPoolExecutor(1) as pool:
            away = pool.submit(fault)
            while not away.done():
                memory_mb = max(memory_mb, _memory_mb(line))
                time.sleep(0.5)
            away.result()
        progress = line.accounted()
        line.settle(min(frames, progress + 4), REST_S)  # it goes on
        found.memory_mb.append(max(memory_mb, _memory_mb(line)))
    sender.wait(patience(frames))
    line.settle(frames, REST_S)
    return found


def _memory_mb(line: Line) -> float:
    return max((_anonymous_mb(scorer.pid) for scorer in line.running), default=0.0)


def _anonymous_mb(pid: int) -> float:
    """What a process holds beside its programs; pages that a fork shares with its parent count from the beginning."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # it has just ended
        return 0.0
    return next((int(row.split()[1]) / 2**10 for row in status.splitlines() if row.startswith("RssAnon:")), 0.0)


def replay(line: Line, frames: int) -> int:
    """Kill a producer half way and send everything again.

    Returns:
        How many frames the first one had sent.
    """
    plan = line.plan(frames, seed=4)
    line.start()
    first = line.send(plan)
    wait_until(lambda: line.book.exists() and line.book.read_text().count("\n") >= frames // 2, 60, "nothing is sent")
    first.kill()
    first.wait(10)
    sent = line.book.read_text().count("\n")
    line.send(plan).wait(patience(frames))
    line.settle(frames, REST_S)
    line.wait_for_lag(0, REST_S)
    return sent
