"""The scorer's loop: take a batch, judge it, write everything in one transaction, tell the bus, show the live state."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger
from tenacity import RetryCallState, RetryError

from infra.bus import Consumer, Partition, Record
from infra.claim_check import fetch_from
from infra.clock import Clock
from infra.errors import DeadLetterLimitError, DeadLetterReason, DifferlineError, StaleEpochError, TransientError
from infra.live import LatestFrame, LiveState, best_effort
from infra.pictures import encode_jpeg, thumbnail
from infra.settings import Settings
from infra.stopping import retrying
from infra.store.connect import transaction
from infra.store.dead_letters import raise_limit_alert
from infra.store.positions import Claim, claim
from infra.store.results import Batch, Written, write_batch
from infra.store.schema import prepare_days
from scorer.batching import collect, portions, slices
from scorer.camera_health import CameraHealth
from scorer.clocks import SetBack
from scorer.decode import DeadFrame, DecodedFrame, Outcome, dead_frame, decode_record, decoding, products_of
from scorer.drift import DriftAlarm
from scorer.gaps import GapAlarm
from scorer.judge import Judge, Scored
from scorer.rollups import Roller
from scorer.trials import MOST_ATTEMPTS, Trials
from scorer.watch import ScorerWatch

HEARTBEAT_S = 2.0
_HEARTBEAT_KEPT_S = 10
_THUMBNAIL_PX = 480
_POLL_S = 0.5
_LONGEST_PAUSE_S = 5.0
_LONGEST_JOIN_S = 30.0  # until a group has noticed that a killed member is gone, and has given its partitions to others

T = TypeVar("T")


class StoppedError(DifferlineError):
    """The worker was told to stop while a server was away; nothing of the batch was written."""


@dataclass
class Totals:
    """What a worker has done since it started."""

    frames: int = 0
    duplicates: int = 0
    batches: int = 0
    seconds_busy: float = 0.0


@dataclass
class Worker:
    """One scorer. Restarted, it goes on exactly behind what is stored.

    Attributes:
        name: Who it is, in positions, logs and heartbeats.
        settings: Batch sizes and limits.
        consumer: The frames bus.
        database: Where results go.
        live: Live state; results never wait for it.
        judge: Models, archive and sampling.
        decoders: Threads that decode.
        trials: Which frames were begun before and never finished.
        clock: The time.
        log: Where events go.
        watch: Told what is done; metrics and health come from it.
        gaps: Looks for frames that are missing in the ledger.
        health: Looks for cameras in trouble.
        drift: Tests whether scores and pictures are still as they were.
        rollups: Adds verdicts up for the pages.
        clocks: Tells when a clock was set back.
        stop: Set it, and the worker finishes its batch and returns.
    """

    name: str
    settings: Settings
    consumer: Consumer
    database: sa.Engine
    live: LiveState
    judge: Judge
    decoders: Executor
    trials: Trials
    clock: Clock
    log: FilteringBoundLogger
    watch: ScorerWatch
    gaps: GapAlarm
    health: CameraHealth
    drift: DriftAlarm
    rollups: Roller
    clocks: SetBack
    stop: threading.Event = field(default_factory=threading.Event)
    totals: Totals = field(default_factory=Totals)
    _claims: dict[Partition, Claim] = field(default_factory=dict)
    _generation: int = -1
    _prepared: date | None = None
    _next_beat: float = 0.0

    def run(self, until_idle_s: float | None = None) -> Totals:
        """Score until stopped, or until no frame has come for `until_idle_s` seconds.

        Raises:
            StaleEpochError: Another scorer took a partition, on a bus for one reader; nothing of the batch was written.
            DeadLetterLimitError: Too many frames cannot be judged; nothing of the batch was written.
        """
        self._persist("prepare the archive", self.judge.archive.prepare)
        last_frame = time.monotonic()
        while not self.stop.is_set():
            try:
                if records := self._persist("prepare", self._next_records):
                    self._score(records)
                    last_frame = time.monotonic()
            except StoppedError:
                break
            except StaleEpochError as error:
                self._give_way(error)
            self._beat()
            if until_idle_s is not None and time.monotonic() - last_frame >= self._patience_s(until_idle_s):
                break
        return self.totals

    def close(self) -> None:
        """Let go of threads and connections."""
        self.decoders.shutdown(wait=False, cancel_futures=True)
        self.consumer.close()
        self.live.close()
        self.rollups.close()
        self.database.dispose()

    def _patience_s(self, until_idle_s: float) -> float:
        return until_idle_s if self._claims else max(until_idle_s, _LONGEST_JOIN_S)

    def _give_way(self, error: StaleEpochError) -> None:
        """Another scorer has a partition of this batch: all of it was rolled back, and what is ours is asked anew."""
        if not self.consumer.rejoin():
            raise error
        self._claims.clear()
        self.watch.fenced()
        self.log.warning("batch.fenced", error=str(error))

    def _next_records(self) -> list[Record]:
        self._claim_new_partitions()
        self._prepare_days()
        self.judge.shelf.refresh()
        self.judge.shadows.refresh()
        if self.watch.look_due():  # before the poll: where the bus is away now, no record is in hand
            self.watch.looked(len(self._claims), self.consumer.waiting(self._claims))
            self.gaps.look()
            self.health.look()
            self.drift.look()
            self.rollups.look()
            self.clocks.look()
        records = collect(self.consumer, self.settings.batch_frames, self.settings.batch_wait_ms / 1000, _POLL_S)
        self.clocks.saw(records)
        return records

    def _score(self, records: list[Record]) -> None:
        """Score a batch, or its frames one at a time where the last owner of a partition did not finish them."""
        for portion in portions(records, self._model_of, self.settings.models_in_memory):
            self.judge.shelf.hold(products_of(portion))
            for group in self.trials.groups(portion):
                self._score_group(group)

    def _model_of(self, record: Record) -> str | None:
        return next((self.judge.shelf.model_of(product) for product in products_of([record])), None)

    def _score_group(self, records: list[Record]) -> None:
        started = time.perf_counter()
        claims = [self._claims[partition] for partition in {record.partition for record in records}]
        scored, dead = self._decode_and_score(claims, records)
        batch = self._persist("judge", lambda: self.judge.judge(scored, dead))
        writing = time.perf_counter()
        try:
            written = self._persist("write", lambda: self._write(claims, batch))
        except DeadLetterLimitError as error:
            self._tell_limit(claims, records, dead[0], error)
            raise
        self.judge.stages.write += time.perf_counter() - writing
        self.watch.stored(batch, written, vars(self.judge.stages))
        self.drift.saw(row.camera for row in batch.verdicts)
        self._persist("trim", lambda: self.consumer.done_until(batch.next_offsets))
        self._persist("watch cameras", lambda: self.health.saw(scored))
        self._show([frame for frame, _ in scored])
        self._count(written, batch, time.perf_counter() - started)

    def _decode_and_score(self, claims: list[Claim], records: list[Record]) -> tuple[list[Scored], list[DeadFrame]]:
        """Decode what is not known to kill the process, and score each slice while the next ones decode.

        From here on until the write this worker may be killed by a frame.
        """
        if len(records) == 1 and self.trials.worn_out(records[0]):
            detail = f"in {MOST_ATTEMPTS} attempts"
            return [], [dead_frame(records[0], DeadLetterReason.KILLED_THE_PROCESS, detail)]
        self._begin(claims, records)
        decode = partial(decode_record, max_pixels=self.settings.max_pixels, fetch=fetch_from(self.judge.archive))
        scored: list[Scored] = []
        dead: list[DeadFrame] = []
        with decoding(self.decoders, decode, records) as running:
            for part in slices(running):
                outcomes = self._decoded(part, decode)
                dead += [outcome for outcome in outcomes if isinstance(outcome, DeadFrame)]
                scored += self.judge.score([outcome for outcome in outcomes if isinstance(outcome, DecodedFrame)])
        return scored, dead

    def _begin(self, claims: list[Claim], records: list[Record]) -> None:
        writing = time.perf_counter()
        self._persist("begin", lambda: self.trials.begin(claims, records))
        self.judge.stages.write += time.perf_counter() - writing

    def _decoded(
        self, part: Sequence[tuple[Record, Future[Outcome]]], decode: Callable[[Record], Outcome]
    ) -> list[Outcome]:
        """Wait until a slice is decoded; what a thread could not fetch is fetched here, where waiting is safe."""
        waiting = time.perf_counter()
        outcomes = []
        for record, running in part:
            while not wait([running], HEARTBEAT_S).done:
                self._stay()
            try:
                outcomes.append(running.result())
            except TransientError:
                outcomes.append(self._persist("fetch", partial(decode, record)))
        self.judge.stages.decode += time.perf_counter() - waiting
        return outcomes

    def _write(self, claims: list[Claim], batch: Batch) -> Written:
        return write_batch(
            self.database,
            claims,
            batch,
            self.settings.dedupe_days,
            dead_letters_per_minute=self.settings.dead_letters_per_minute,
            fill_outbox=self.settings.fills_outbox,
        )

    def _tell_limit(
        self, claims: list[Claim], records: list[Record], frame: DeadFrame, error: DeadLetterLimitError
    ) -> None:
        """Raise the alert, and do not hold this end against the frames of the batch."""
        self.log.error("dead_letters.limit_reached", error=str(error), example=frame.detail, reason=frame.reason)
        at, found = frame.record.received_at, frame.traces
        self._persist("alert", lambda: raise_limit_alert(self.database, found.camera, at, found.frame_id))
        self._persist("withdraw", lambda: self.trials.withdraw(claims, records))

    def _claim_new_partitions(self) -> None:
        generation = self.consumer.generation()  # first: a change behind it is seen the next time
        if generation != self._generation:
            self._claims.clear()  # a partition that is ours again may have been somebody else's in between
            self._generation = generation
        assigned = self.consumer.assigned()
        for partition in sorted(assigned - self._claims.keys()):
            mine = claim(self.database, partition, self.name)
            if mine.next_offset is None:
                self.consumer.seek_to_beginning(partition)
            else:
                self.consumer.seek(partition, mine.next_offset)
            if left := self.trials.claimed(mine):
                log = self.log.bind(partition=partition.number, first=left.first_offset, last=left.last_offset)
                log.warning("batch.unfinished", attempts=left.attempts)
            self._claims[partition] = mine
            self.log.info("partition.claimed", partition=partition.number, epoch=mine.epoch, position=mine.next_offset)

    def _prepare_days(self) -> None:
        today = self.clock().date()
        if self._prepared != today:
            with transaction(self.database) as connection:
                prepare_days(connection, self.clock())
            self._prepared = today

    def _persist(self, what: str, attempt: Callable[[], T]) -> T:
        """Try until it works or the worker is stopped; an absent server loses nothing."""

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self.log.warning("server.away", during=what, attempt=state.attempt_number, error=str(error))
            self.watch.server_away(error)
            self._stay()

        retry = retrying(self.stop, tell, longest_pause_s=_LONGEST_PAUSE_S)
        try:
            result = retry(attempt)
        except RetryError as error:
            raise StoppedError(f"stopped while a server was away, during {what}") from error
        self.watch.server_back()
        return result

    def _stay(self) -> None:
        """Keep the partitions and show that this worker lives, while it waits."""
        with suppress(TransientError):
            self.consumer.stay()
        self._beat()

    def _show(self, frames: Sequence[DecodedFrame]) -> None:
        newest = {frame.message.camera: frame for frame in frames}  # later frames of a camera replace earlier ones
        latest = [
            LatestFrame(
                camera,
                frame.message.frame_id,
                frame.record.received_at.isoformat(),
                encode_jpeg(thumbnail(frame.picture, _THUMBNAIL_PX), quality=85),
            )
            for camera, frame in newest.items()
        ]
        best_effort(self.log, lambda: self.live.show_frames(latest))

    def _beat(self) -> None:
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + HEARTBEAT_S
            best_effort(self.log, lambda: self.live.beat("scorer", self.name, _HEARTBEAT_KEPT_S))

    def _count(self, written: Written, batch: Batch, seconds: float) -> None:
        self.totals.frames += written.frames
        self.totals.duplicates += written.duplicates
        self.totals.batches += 1
        self.totals.seconds_busy += seconds
        states = Counter(str(row.state) for row in batch.verdicts)
        self.log.info(
            "batch.stored",
            **states,
            dead_letters=len(batch.dead_letters),
            duplicates=written.duplicates,
            seconds=round(seconds, 3),
        )
