"""What ingest tells the ledger of one camera: of the run that it captures, and of older ones that its spool still sends."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

import sqlalchemy as sa

from infra.frames import FrameMessage
from infra.metrics import INGEST_SKIPPED, Metrics
from infra.store.runs import report_accepted, report_ended, report_skipped
from infra.store.tables import SkipReason
from infra.telemetry import get_logger
from ingest.ledger import AcceptedReporter
from ingest.spool import Spool

_log = get_logger("ingest")


@dataclass(slots=True)
class _Run:
    accepted: int = 0
    captured: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "_Run":
        return _Run(self.accepted, self.captured, Counter(self.skipped))


class CameraBooks:
    """Counts a camera's frames and tells PostgreSQL about once a second. Any thread may count; a context manager."""

    def __init__(
        self, database: sa.Engine, camera: str, run: str, *, metrics: Metrics, spool: Spool | None = None
    ) -> None:
        """Open the books of a run; they begin with what a spool has kept of earlier ones.

        Args:
            database: Where the ledger is.
            camera: The camera.
            run: The run that it captures now.
            metrics: Where skipped frames are counted, too.
            spool: The camera's spool, if it has one.
        """
        self._database = database
        self._camera = camera
        self._run = run
        self._metrics = metrics
        self._spool = spool
        self._lock = threading.Lock()
        self._runs = {run: _Run()}
        self._told: dict[str, _Run] = {}
        self._changes = 0
        for reason in SkipReason:
            metrics.count(INGEST_SKIPPED, 0, camera=camera, reason=reason)
        if spool is not None:
            for earlier, skipped in spool.skipped().items():
                self._runs.setdefault(earlier, _Run()).skipped = skipped
            for earlier, (first, frames) in spool.runs().items():
                of_run = self._runs.setdefault(earlier, _Run())
                of_run.accepted, of_run.captured = first, first + frames
        self._reporter = AcceptedReporter(self._tell)

    def __enter__(self) -> "CameraBooks":
        self._reporter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reporter.__exit__(kind, error, traceback)

    def captured(self, count: int) -> None:
        """Note how many frames of the run are in the spool or on the bus.

        Raises:
            Exception: What an earlier report failed with, unless PostgreSQL was away.
        """
        with self._lock:
            self._runs[self._run].captured = count
        self._changed()

    def accepted(self, count: int) -> None:
        """Note how many frames of the run the bus has; for a camera without spool.

        Raises:
            Exception: What an earlier report failed with, unless PostgreSQL was away.
        """
        with self._lock:
            self._runs[self._run].accepted = count
        self._changed()

    def sent(self, frame: FrameMessage) -> None:
        """Note a frame of the spool that the bus has, of this run or an earlier one.

        Raises:
            Exception: What an earlier report failed with, unless PostgreSQL was away.
        """
        with self._lock:
            of_run = self._runs.setdefault(frame.run or "", _Run())
            of_run.accepted = max(of_run.accepted, (frame.sequence or 0) + 1)
            of_run.captured = max(of_run.captured, of_run.accepted)
        self._changed()

    def skipped(self, count: int, reason: str) -> None:
        """Note frames that the camera could not hand in; reason: `bus_away` or `camera_away`.

        Raises:
            ValueError: The ledger knows no such reason.
        """
        if count <= 0:
            return
        known = SkipReason(reason)
        with self._lock:
            self._runs[self._run].skipped[known] += count
        if self._spool is not None:
            self._spool.skip(self._run, known, count)
        self._metrics.count(INGEST_SKIPPED, count, camera=self._camera, reason=known)
        self._changed()

    def skips(self) -> dict[str, int]:
        """Return what the run has skipped so far, by reason."""
        with self._lock:
            return dict(self._runs[self._run].skipped)

    def _changed(self) -> None:
        with self._lock:
            self._changes += 1
            changes = self._changes
        self._reporter.accepted(changes)

    def _tell(self, _: int) -> None:
        with self._lock:
            now = {run: counts.copy() for run, counts in self._runs.items()}
        for run, counts in now.items():
            if counts == self._told.get(run):
                continue
            report_accepted(self._database, self._camera, run, counts.accepted, counts.captured)
            if counts.skipped:
                report_skipped(self._database, self._camera, run, counts.skipped)
            self._told[run] = counts
            if run != self._run and counts.accepted == counts.captured and self._spool is not None:
                report_ended(
                    self._database, self._camera, run
                )  # its process may have been killed before it could say so
                self._spool.forget_skipped(run)
