"""Verdicts as pages and commands read them: by index, and no more rows than are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import VerdictState, camera_runs, heatmaps, ledger_counts, models, verdicts

SERIES_BUCKETS = 240
_BUCKET_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)  # fixed, so that a bucket keeps its frames from one look to the next


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a frame left with; times in UTC.

    Attributes:
        model_version: Version of the model that judged it, within its product; None where none did.
        score: Mean negative log-likelihood over the views; None where there is no score.
        p_value: Share of calibration scores at least as high, in (0, 1].
        archive_ref: The picture in the archive; None where it was not kept.
    """

    received_at: datetime
    frame_id: str
    camera: str
    product: str
    part_id: str | None
    job_id: str | None
    sha256: str
    simulated: str | None
    captured_at: datetime
    scored_at: datetime | None
    committed_at: datetime
    state: VerdictState
    reason: str | None
    model_version: int | None
    score: float | None
    p_value: float | None
    threshold: float | None
    views: int | None
    archive_ref: str | None


@dataclass(frozen=True, slots=True)
class ScoreBucket:
    """Neighbouring frames of one camera, thinned so that no peak is lost.

    Attributes:
        at: When the last of them was received (UTC).
        lowest: Lowest score; None where no frame has one.
        highest: Highest score; None where no frame has one.
        threshold: Threshold in force; the highest where it changed between them.
        frames: How many frames.
        defects: How many of them are DEFECT.
        no_verdicts: How many of them are NO_VERDICT.
    """

    at: datetime
    lowest: float | None
    highest: float | None
    threshold: float | None
    frames: int
    defects: int
    no_verdicts: int


@dataclass(frozen=True, slots=True)
class ScoreSeries:
    """The scores of one camera over a window, oldest first; at most SERIES_BUCKETS + 1 buckets."""

    since: datetime
    until: datetime
    buckets: tuple[ScoreBucket, ...]

    @property
    def frames(self) -> int:
        """Frames in the window."""
        return sum(bucket.frames for bucket in self.buckets)

    @property
    def defects(self) -> int:
        """DEFECT frames in the window."""
        return sum(bucket.defects for bucket in self.buckets)

    @property
    def no_verdicts(self) -> int:
        """NO_VERDICT frames in the window."""
        return sum(bucket.no_verdicts for bucket in self.buckets)


def verdict_columns(source: sa.FromClause = verdicts) -> list[sa.ColumnElement[Any]]:
    """Return the columns that `verdict_from_row` reads, of the verdicts or an alias of them."""
    return [models.c.version.label("model_version"), *(source.c[name] for name in _STORED)]


def verdict_from_row(row: Mapping[Any, Any]) -> Verdict:
    """Return a verdict from a row with `verdict_columns`."""
    values = {name: row[name] for name in ("model_version", *_STORED)}
    return Verdict(**{**values, "state": VerdictState(values["state"])})


_STORED = tuple(name for name in Verdict.__dataclass_fields__ if name != "model_version")


def cameras(engine: sa.Engine) -> list[str]:
    """Return the cameras that ever sent a frame, by name; read from the ledger, not from the verdicts.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    known = sa.union(sa.select(ledger_counts.c.camera), sa.select(camera_runs.c.camera)).subquery()
    query = sa.select(known.c.camera).where(known.c.camera != "").order_by(known.c.camera)
    with transaction(engine) as connection:
        return list(connection.scalars(query))


def latest_verdicts(engine: sa.Engine, of_cameras: Sequence[str]) -> dict[str, Verdict]:
    """Return the newest verdict of each camera; a camera without one is left out.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    if not of_cameras:
        return {}
    with transaction(engine) as connection:
        rows = connection.execute(latest_verdicts_query(of_cameras)).mappings()
        return {row["camera"]: verdict_from_row(row) for row in rows}


def latest_verdicts_query(of_cameras: Sequence[str]) -> sa.Select[*tuple[Any, ...]]:
    """One step into the camera index per camera and day.

    The first entry from (camera, newest) on is asked for and then checked, since only that index has this order. Asked for
    `camera = name` in order of time, the planner may walk the primary key back in time until it meets the camera: for one
    that has long been silent, through everything.
    """
    wanted = sa.values(sa.column("name", sa.Text), name="wanted").data([(name,) for name in of_cameras])
    newest = (
        sa.select(verdicts)
        .where(verdicts.c.camera >= wanted.c.name)
        .order_by(verdicts.c.camera, verdicts.c.received_at.desc())
        .limit(1)
        .lateral("newest")
    )
    joined = wanted.join(newest, newest.c.camera == wanted.c.name).outerjoin(models, models.c.id == newest.c.model_id)
    return sa.select(*verdict_columns(newest)).select_from(joined)


def score_series(engine: sa.Engine, camera: str, since: datetime, until: datetime) -> ScoreSeries:
    """Return the scores of one camera in (since, until], thinned in the database.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(score_series_query(camera, since, until)).mappings()
        return ScoreSeries(since, until, tuple(ScoreBucket(**row) for row in rows))


def score_series_query(camera: str, since: datetime, until: datetime) -> sa.Select[*tuple[Any, ...]]:
    """A range of the camera's index, grouped into buckets of equal time."""
    width = max((until - since) / SERIES_BUCKETS, timedelta(milliseconds=1))
    at = verdicts.c.received_at
    scored = verdicts.c.state != VerdictState.NO_VERDICT  # what has no verdict may have a score that is not one
    return (
        sa.select(
            sa.func.max(at).label("at"),
            sa.func.min(verdicts.c.score).filter(scored).label("lowest"),
            sa.func.max(verdicts.c.score).filter(scored).label("highest"),
            sa.func.max(verdicts.c.threshold).filter(scored).label("threshold"),
            sa.func.count().label("frames"),
            sa.func.count().filter(verdicts.c.state == VerdictState.DEFECT).label("defects"),
            sa.func.count().filter(verdicts.c.state == VerdictState.NO_VERDICT).label("no_verdicts"),
        )
        .where(verdicts.c.camera == camera, at > since, at <= until)
        .group_by(sa.func.date_bin(width, at, _BUCKET_ORIGIN))
        .order_by(sa.literal_column("1"))
    )


def verdict(engine: sa.Engine, camera: str, frame_id: str, received_at: datetime | None = None) -> Verdict | None:
    """Return the verdict of a frame; None where there is none.

    Args:
        engine: The database.
        camera: The frame's camera.
        frame_id: The frame's id, unique within its camera.
        received_at: When the bus took it, where known: then only that day is looked into. Without it the newest one
            counts, since a foreign producer may use an id again.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        row = connection.execute(verdict_query(camera, frame_id, received_at)).mappings().first()
        return verdict_from_row(row) if row else None


def verdict_query(camera: str, frame_id: str, received_at: datetime | None) -> sa.Select[*tuple[Any, ...]]:
    """By primary key where the time is known, else by the frame's index."""
    joined = verdicts.outerjoin(models, models.c.id == verdicts.c.model_id)
    this = sa.and_(verdicts.c.camera == camera, verdicts.c.frame_id == frame_id)
    query = sa.select(*verdict_columns()).select_from(joined).where(this)
    if received_at is not None:
        return query.where(verdicts.c.received_at == received_at)
    return query.order_by(verdicts.c.received_at.desc()).limit(1)


def heatmap(engine: sa.Engine, camera: str, frame_id: str, received_at: datetime) -> bytes | None:
    """Return the heatmap of a frame as stored (see infra.heatmaps); None where none was kept.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        return connection.scalar(heatmap_query(camera, frame_id, received_at))


def heatmap_query(camera: str, frame_id: str, received_at: datetime) -> sa.Select[bytes]:
    """By primary key, also with the empty camera that a scorer of before revision 0004 leaves."""
    of_its_camera = heatmaps.c.camera.in_([camera, ""])
    return (
        sa.select(heatmaps.c.png)
        .where(heatmaps.c.received_at == received_at, of_its_camera, heatmaps.c.frame_id == frame_id)
        .order_by(heatmaps.c.camera.desc())
        .limit(1)
    )


def neighbours(engine: sa.Engine, camera: str, frame_id: str, received_at: datetime, each_side: int) -> list[Verdict]:
    """Return a camera's verdicts right before and after a frame, oldest first, the frame itself left out.

    Args:
        engine: The database.
        camera: The frame's camera.
        frame_id: The frame's id; of frames that were received at the same time those with a lower id count as before.
        received_at: When the bus took it (UTC).
        each_side: Most verdicts on each side.

    Raises:
        DatabaseAwayError: The database does not answer.
    """
    with transaction(engine) as connection:
        sides = [
            connection.execute(neighbours_query(camera, frame_id, received_at, each_side, later=later)).mappings().all()
            for later in (False, True)
        ]
        before, after = ([verdict_from_row(row) for row in side] for side in sides)
        return [*reversed(before), *after]


def neighbours_query(
    camera: str, frame_id: str, received_at: datetime, limit: int, *, later: bool
) -> sa.Select[*tuple[Any, ...]]:
    """A few steps along the camera index; the camera stands in the order for the reason of `latest_verdicts_query`."""
    row = verdicts.c
    place = sa.tuple_(row.received_at, row.frame_id)
    if later:
        beyond = [row.received_at >= received_at, place > (received_at, frame_id)]
        order = [row.camera.desc(), row.received_at, row.frame_id]
    else:
        beyond = [row.received_at <= received_at, place < (received_at, frame_id)]
        order = [row.camera, row.received_at.desc(), row.frame_id.desc()]
    near = sa.select(verdicts).where(row.camera >= camera, row.camera <= camera, *beyond).order_by(*order).limit(limit)
    found = near.subquery("near")
    joined = found.outerjoin(models, models.c.id == found.c.model_id)
    in_order = (found.c.received_at, found.c.frame_id)
    return (
        sa.select(*verdict_columns(found))
        .select_from(joined)
        .order_by(*(in_order if later else [column.desc() for column in in_order]))
    )
