"""Verdicts as somebody looks for them: by frame, part, camera, verdict, score and time, newest first.

Every search goes along one index, newest first, and looks through a bounded number of verdicts; what the index does not
tell, as the score, is looked at on the way. Where nothing more is found within that number, the answer says how far back it
went and where the next look begins. So no search is slow, whatever is searched for in however many verdicts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.tables import VerdictState, models, verdicts
from infra.store.verdicts import Verdict, verdict_columns, verdict_from_row

MOST_LOOKED_THROUGH = 20_000
LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for; None: anything.

    Attributes:
        since: Received at this time (UTC) or later.
        until: Received before it.
        least_score: A verdict without a score has none that is high enough.
        most_score: The same, low enough.
    """

    frame_id: str | None = None
    part_id: str | None = None
    camera: str | None = None
    state: VerdictState | None = None
    since: datetime | None = None
    until: datetime | None = None
    least_score: float | None = None
    most_score: float | None = None

    def checked(self) -> "Search":
        """Return this search.

        Raises:
            ValueError: It cannot be answered; the text says why.
        """
        for name, text in (("frame id", self.frame_id), ("part id", self.part_id), ("camera", self.camera)):
            if text is not None:
                _check_text(name, text)
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("the time range ends before it begins")
        least, most = self.least_score, self.most_score
        if any(score is not None and math.isnan(score) for score in (least, most)):
            raise ValueError("a score limit is a number")
        if least is not None and most is not None and least > most:
            raise ValueError("the lowest score is above the highest")
        return self


@dataclass(frozen=True, slots=True)
class SearchKey:
    """Where a verdict stands among all, newest first."""

    received_at: datetime
    camera: str
    frame_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found.

    Attributes:
        verdicts: Newest first.
        more: Where the next page begins: after this one; None where there is nothing left to look through.
        gave_up: The page ends because MOST_LOOKED_THROUGH verdicts were looked through; there may be more.
    """

    verdicts: tuple[Verdict, ...]
    more: SearchKey | None
    gave_up: bool = False


def search_verdicts(
    engine: sa.Engine,
    search: Search,
    *,
    after: SearchKey | None = None,
    limit: int = 50,
    most_looked_through: int = MOST_LOOKED_THROUGH,
) -> Found:
    """Return one page of the verdicts that fit, newest first.

    Args:
        engine: The database.
        search: What is searched for.
        after: The end of the page before; None: from the newest.
        limit: Most verdicts that are returned.
        most_looked_through: Of these it may look at so many.

    Raises:
        ValueError: The search cannot be answered.
        DatabaseAwayError: The database does not answer.
    """
    query = search_query(search.checked(), after, limit, most_looked_through)
    with transaction(engine) as connection:
        rows = connection.execute(query).mappings().all()
    fitting = [row for row in rows if row["fits"]]
    found = tuple(verdict_from_row(row) for row in fitting[:limit] if row["frame_id"] is not None)
    if len(fitting) > limit:
        return Found(found, _key(fitting[limit - 1]))
    if rows and rows[-1]["number"] == most_looked_through:
        return Found(found, _key(rows[-1]), gave_up=True)
    return Found(found, None)


def walk(
    engine: sa.Engine,
    search: Search,
    limit: int,
    *,
    most_looks: int,
    most_looked_through: int = MOST_LOOKED_THROUGH,
) -> Iterator[Found]:
    """Yield page after page, newest first, until nothing is left or `most_looks` pages were looked for.

    Each page is read in a transaction of its own: verdicts that come in meanwhile are newer than all of them.

    Raises:
        ValueError: The search cannot be answered.
        DatabaseAwayError: The database does not answer.
    """
    after: SearchKey | None = None
    for _ in range(most_looks):
        found = search_verdicts(engine, search, after=after, limit=limit, most_looked_through=most_looked_through)
        yield found
        if (after := found.more) is None:
            return


def search_query(
    search: Search, after: SearchKey | None, limit: int, most_looked_through: int
) -> sa.Select[*tuple[Any, ...]]:
    """The rows that fit, one more than the limit, and the last that was looked through; then each by primary key."""
    row = verdicts.c
    path = _path(search)
    # Equal to itself by two inequalities, so that its column stays in the order: only the wanted index has that order, and
    # the planner does not walk the primary key back in time until it meets a camera that has long been silent.
    along = [] if path is None else [path >= getattr(search, path.name), path <= getattr(search, path.name)]
    order = _newest_first(verdicts, path)
    looked = sa.select(
        row.received_at,
        row.camera,
        row.frame_id,
        row.part_id,
        sa.and_(sa.true(), *_fits(search)).label("fits"),
        sa.func.row_number().over(order_by=order).label("number"),
    ).where(*along, *_within(search, after))
    if path is None and search.state in (VerdictState.DEFECT, VerdictState.NO_VERDICT):
        # Written out, so that the planner sees that the index of those that are not good fits.
        looked = looked.where(sa.literal_column("state <> 'GOOD'"))
    walked = looked.order_by(*order).limit(most_looked_through).subquery("walked")
    chosen = (
        sa.select(walked)
        .where(sa.or_(walked.c.fits, walked.c.number == most_looked_through))
        .order_by(*_newest_first(walked, path))  # not by the number, of which the planner does not know that it ascends
        .limit(limit + 1)
        .subquery("chosen")
    )
    same = sa.and_(*(row[name] == chosen.c[name] for name in ("received_at", "camera", "frame_id")))
    joined = chosen.join(verdicts, same).outerjoin(models, models.c.id == row.model_id)
    return sa.select(chosen.c.fits, chosen.c.number, *verdict_columns()).select_from(joined).order_by(chosen.c.number)


def _path(search: Search) -> sa.Column[Any] | None:
    """The column whose index the search goes along; None: an index of the time."""
    if search.frame_id is not None:
        return verdicts.c.frame_id
    if search.part_id is not None:
        return verdicts.c.part_id
    if search.camera is not None and search.state in (None, VerdictState.GOOD):
        return verdicts.c.camera
    return None


def _newest_first(source: sa.FromClause, path: sa.Column[Any] | None) -> list[sa.ColumnElement[Any]]:
    column = source.c
    first: list[sa.ColumnElement[Any]] = [] if path is None else [column[path.name]]
    return [*first, column.received_at.desc(), column.camera.desc(), column.frame_id.desc()]


def _within(search: Search, after: SearchKey | None) -> list[sa.ColumnElement[bool]]:
    row = verdicts.c
    limits = []
    if search.since is not None:
        limits.append(row.received_at >= search.since)
    if search.until is not None:
        limits.append(row.received_at < search.until)
    if after is not None:
        limits.append(
            row.received_at <= after.received_at
        )  # said again for the indexes that have no camera in this place
        key = (after.received_at, after.camera, after.frame_id)
        limits.append(sa.tuple_(row.received_at, row.camera, row.frame_id) < key)
    return limits


def _fits(search: Search) -> list[sa.ColumnElement[bool]]:
    """What is looked at on the way; a verdict without a score, or with one that is none, fits no limit of the score."""
    row = verdicts.c
    asked = [
        row[name] == value for name in ("part_id", "camera", "state") if (value := getattr(search, name)) is not None
    ]
    scored = sa.and_(row.score.is_not(None), row.state != VerdictState.NO_VERDICT)
    if search.least_score is not None:
        asked += [scored, row.score >= search.least_score]
    if search.most_score is not None:
        asked += [scored, row.score <= search.most_score]
    return [sa.func.coalesce(each, sa.false()) for each in asked]


def _key(row: sa.RowMapping) -> SearchKey:
    return SearchKey(row["received_at"], row["camera"], row["frame_id"])


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise ValueError(f"a {name} has no NUL character")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError(f"this {name} is no Unicode text")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a {name} of more than {LONGEST_TEXT} characters is not searched for")
