"""Watches scores and picture quality for drift, and raises its alerts. No verdict is changed by it.

One kind is the scores of the parts that were judged, compared with the calibration scores of the model that judged them: the
camera's own, where it has a threshold of its own.
Those above the threshold are alerts already and are left out of the comparison on both sides: some defects are no drift,
but more than one part in five is. The other is the quality of every decoded picture: what changes there comes from the lens or
the light. Simulated frames count too.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from structlog.typing import FilteringBoundLogger

from infra.clock import Clock
from infra.store.drift import CameraTurn, DriftRow, SeenVerdict, camera_turn, model_folder
from infra.store.drift_history import DriftMinute, minute_of
from infra.store.tables import DriftCause, DriftKind, VerdictState
from infra.store.verdicts import cameras
from scorer.detector import CalibrationError, DetectorError, Manifest, read_manifest
from scorer.drift_series import DriftSeries

LOOK_EVERY_S = 15.0
_LONGEST_LOOK_S = 0.5  # in one go: frames wait meanwhile
_MOST_VERDICTS = 500  # of a camera in one go
_FIRST_LOOK_BACK = timedelta(days=1)
_MODELS_REMEMBERED = 64

Show = Callable[[DriftRow], None]


class Calibrations:
    """The manifests of models, read once each; a bounded number is remembered."""

    def __init__(self, database: sa.Engine, log: FilteringBoundLogger) -> None:
        self._database = database
        self._log = log
        self._known: dict[int, Manifest] = {}
        self._unreadable: set[int] = set()

    def of(self, model_id: int | None) -> Manifest | None:
        """Return a model's manifest; None where there is none that can be read.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer.
        """
        if model_id is None or model_id in self._known:
            return None if model_id is None else self._known[model_id]
        folder = model_folder(self._database, model_id)
        try:
            manifest = None if folder is None else read_manifest(Path(folder))
        except DetectorError as error:
            self._tell(model_id, error)
            return None
        if manifest is not None:
            if len(self._known) >= _MODELS_REMEMBERED:
                self._known.clear()
            self._known[model_id] = manifest
        return manifest

    def _tell(self, model_id: int, error: DetectorError) -> None:
        """Say it once, not at every look."""
        if model_id not in self._unreadable:
            self._unreadable.add(model_id)
            self._log.warning("drift.no_calibration", model=model_id, error=str(error))


class DriftAlarm:
    """Tests the verdicts of the cameras that it is told of; any number of scorers may.

    It begins with every camera that the ledger knows, since a scorer may have been killed before it looked.
    """

    def __init__(
        self,
        database: sa.Engine,
        log: FilteringBoundLogger,
        show: Show,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing seen.

        Args:
            database: Where verdicts and states are.
            log: Where events go.
            show: Told of every state that has moved on.
            clock: The time: a camera without any state begins with the verdicts of its last day.
            monotonic: The clock of the looks, in seconds.
        """
        self._database = database
        self._log = log
        self._show = show
        self._clock = clock
        self._monotonic = monotonic
        self._calibrations = Calibrations(database, log)
        self._waiting: dict[str, None] | None = None  # cameras with verdicts to look at, longest first; None: ask
        self._next_look = 0.0

    def saw(self, seen: Iterable[str]) -> None:
        """Note cameras that have new verdicts."""
        if self._waiting is not None:
            self._waiting.update(dict.fromkeys(seen))

    def look(self) -> None:
        """Test the new verdicts, at most once in LOOK_EVERY_S and for half a second; what is left has its turn next time.

        Raises:
            DatabaseAwayError: PostgreSQL does not answer; to look again is safe.
        """
        now = self._monotonic()
        if now < self._next_look:
            return
        if self._waiting is None:
            self._waiting = dict.fromkeys(cameras(self._database))
        for camera in list(self._waiting):
            if self._look_at(camera):
                del self._waiting[camera]
            else:
                self._waiting[camera] = self._waiting.pop(camera)  # to the end
            if self._monotonic() - now > _LONGEST_LOOK_S:
                break
        self._next_look = self._monotonic() + LOOK_EVERY_S

    def _look_at(self, camera: str) -> bool:
        """Return whether nothing is left to be tested; False where another scorer has the turn, too."""
        with camera_turn(self._database, camera) as turn:
            if turn is None:
                return False
            book = _Book(camera, turn.rows(), turn, self._calibrations)
            seen = turn.verdicts(self._clock() - _FIRST_LOOK_BACK, _MOST_VERDICTS)
            for verdict in seen:
                book.add(verdict)
            if seen:
                turn.save(book.rows(), seen[-1].cursor)
                turn.keep_history(book.minutes(), self._clock())
        # Told once it is committed: what was rolled back has not happened.
        for row in book.rows():
            self._show(row)
        for row, cause in book.alarms:
            facts = {"camera": camera, "product": row.product, "kind": row.kind, "cause": cause, "alert": row.alert_id}
            self._log.warning("drift.alarm", wealth=round(row.wealth, 2), parts=row.parts, **facts)
        return len(seen) < _MOST_VERDICTS


@dataclass(slots=True)
class _Page:
    """A state, and the tests that it is of."""

    row: DriftRow
    series: DriftSeries
    begins: bool = False  # the next part is the first of a new test


class _Book:
    """A camera's states while its verdicts are added to them."""

    def __init__(
        self, camera: str, rows: dict[tuple[str, DriftKind], DriftRow], turn: CameraTurn, calibrations: Calibrations
    ) -> None:
        self.alarms: list[tuple[DriftRow, DriftCause]] = []
        self._camera = camera
        self._stored = rows
        self._turn = turn
        self._calibrations = calibrations
        self._pages: dict[tuple[str, DriftKind], _Page] = {}
        self._minutes: dict[tuple[str, DriftKind, datetime], DriftMinute] = {}

    def rows(self) -> list[DriftRow]:
        """Return the states that have moved on."""
        for page in self._pages.values():
            page.row.state = page.series.to_json()
            page.row.parts, page.row.wealth = page.series.parts, page.series.log10_wealth
        return [page.row for page in self._pages.values()]

    def minutes(self) -> list[DriftMinute]:
        """Return how the tests went by the minute of the bus's clock."""
        return list(self._minutes.values())

    def add(self, verdict: SeenVerdict) -> None:
        """Test what one verdict shows."""
        self._add(verdict, DriftKind.QUALITY, _quality(verdict))
        if (score := _score(verdict)) is not None:
            self._add(verdict, DriftKind.SCORE, score)

    def _add(self, verdict: SeenVerdict, kind: DriftKind, values: Sequence[float] | None) -> None:
        """Without values there is a page all the same: it keeps how far the camera is."""
        page = self._page(verdict, kind)
        if page is None or values is None:
            return
        page.series.add(verdict.part_id, values)
        alarms = page.row.alarmed_at is None and page.series.alarmed
        self._note(page, verdict, alarms)
        if alarms:
            self._alarm(page, verdict)

    def _note(self, page: _Page, verdict: SeenVerdict, alarms: bool) -> None:
        """Go on with the minute that the part was received in."""
        row, wealth = page.row, page.series.log10_wealth
        key = row.product, row.kind, minute_of(verdict.received_at)
        now = DriftMinute(
            self._camera,
            row.product,
            row.kind,
            row.model_id,
            key[-1],
            page.series.parts,
            wealth,
            wealth,
            page.begins,
            alarms,
        )
        if (before := self._minutes.get(key)) is not None:
            now.highest = max(before.highest, wealth)
            now.began, now.alarmed = before.began or now.began, before.alarmed or alarms
        self._minutes[key] = now
        page.begins = False

    def _page(self, verdict: SeenVerdict, kind: DriftKind) -> _Page | None:
        """Return what is open for this product, or go on with what is stored; a frame of another model begins anew."""
        key = verdict.product, kind
        page, stored = self._pages.get(key), self._stored.get(key)
        if page is None and stored is not None and verdict.model_id in (None, stored.model_id):
            page = self._go_on(stored)
        elif page is None or verdict.model_id not in (None, page.row.model_id):
            row = DriftRow(self._camera, verdict.product, kind, verdict.model_id, {}, 0, 0.0, None, None)
            page = self._begin(row)
        if page is not None:
            self._pages[key] = page
        return page

    def _begin(self, row: DriftRow) -> _Page | None:
        """Begin with nothing seen; None for scores whose calibration cannot be read: they are not tested."""
        manifest = self._calibrations.of(row.model_id)
        if row.kind is DriftKind.SCORE and manifest is None:
            return None
        return _Page(row, DriftSeries(row.kind, self._seed(row), *_comparison(row, manifest)), begins=True)

    def _go_on(self, row: DriftRow) -> _Page | None:
        """Go on with a stored state; None where its calibration cannot be read: it waits, and these frames are not tested."""
        manifest = self._calibrations.of(row.model_id)
        if manifest is None and (row.kind is DriftKind.SCORE or row.state["own"] is None):
            return None
        reference, limit = _comparison(row, manifest)
        blank = DriftRow(row.camera, row.product, row.kind, row.model_id, {}, 0, 0.0, None, None)
        if row.told:  # somebody knows: from here on, what is now is the usual
            return _Page(blank, DriftSeries(row.kind, self._seed(row), (), limit), begins=True)
        try:
            return _Page(row, DriftSeries(row.kind, self._seed(row), reference, limit, row.state))
        except CalibrationError:  # the manifest is another one than it was
            return _Page(blank, DriftSeries(row.kind, self._seed(row), reference, limit), begins=True)

    def _seed(self, row: DriftRow) -> str:
        return f"{row.camera}/{row.product}/{row.kind}/{row.model_id}"

    def _alarm(self, page: _Page, verdict: SeenVerdict) -> None:
        """Open an alert, unless the other kind has one that nobody has acknowledged: then that one says both."""
        cause = DriftCause.LENS_OR_LIGHT if page.row.kind is DriftKind.QUALITY else DriftCause.PRODUCT
        page.row.alarmed_at = verdict.received_at
        open_one = self._open_alert(page.row)
        if open_one is None:
            page.row.alert_id = self._turn.open_alert(verdict, cause)
        else:
            page.row.alert_id = open_one
            if cause is DriftCause.LENS_OR_LIGHT:
                self._turn.say_cause(open_one, cause)
        page.row.wealth, page.row.parts = page.series.log10_wealth, page.series.parts
        self.alarms.append((page.row, cause))

    def _open_alert(self, of: DriftRow) -> int | None:
        """The open alert of the same product and model, if there is one."""
        for kind in DriftKind:
            page = self._pages.get((of.product, kind))
            row = page.row if page else self._stored.get((of.product, kind))
            if row and row.model_id == of.model_id and row.alert_id is not None and not row.told:
                return row.alert_id
        return None


def _comparison(row: DriftRow, manifest: Manifest | None) -> tuple[Sequence[Sequence[float]], float | None]:
    """Calibration values, the camera's own where its threshold is, and the limit above which parts are flagged."""
    if manifest is None:
        return (), None
    places = manifest.compared_with(row.camera)
    if row.kind is DriftKind.QUALITY:
        quality = manifest.calibration_quality
        return [quality[place] for place in places] if quality else (), None
    limit = manifest.camera_thresholds.get(row.camera, manifest.threshold)
    return [(manifest.calibration_scores[place],) for place in places], limit


def _quality(verdict: SeenVerdict) -> Sequence[float] | None:
    """Focus, brightness and contrast; None from a scorer that did not measure them yet."""
    if verdict.focus is None or verdict.brightness is None or verdict.contrast is None:
        return None
    return verdict.focus, verdict.brightness, verdict.contrast


def _score(verdict: SeenVerdict) -> Sequence[float] | None:
    return None if verdict.score is None or verdict.state == VerdictState.NO_VERDICT else (verdict.score,)
