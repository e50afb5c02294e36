"""The open frames of a product in the order in which they teach most, a page at a time, and how many there are of what.

A frame stands by its p-value: what was least like the calibration frames and still GOOD lies nearest to the threshold, and its
release moves the threshold most. So the frames that anybody may release come with the lowest p-value first. Those in quarantine
come from its upper end: first GOOD ones whose p-value is too low, then DEFECT ones from the threshold on, last what has no
verdict. Of each stretch of that order the first frame of every camera and production run comes first, then the second of each,
so that neighbours on the belt do not follow each other.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from infra.store.connect import transaction
from infra.store.curation import KeptFrame
from infra.store.tables import FrameDecision, VerdictState, curation

STRETCH = 1000  # frames that are read at once


@dataclass(frozen=True, slots=True)
class CurationFrame:
    """A frame of the line and the newest decision about its picture.

    Attributes:
        frame: The frame; of several with the same bytes the newest.
        threshold: Of the model that scored it; None where none did.
        decision: What counts now.
        decision_id: The number of that decision; None where nobody has decided.
    """

    frame: KeptFrame
    threshold: float | None
    decision: FrameDecision
    decision_id: int | None


@dataclass(frozen=True, slots=True)
class QueueKey:
    """Where a frame stands in the order."""

    standing: float
    sha256: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some frames that follow each other in the order.

    Attributes:
        sha256: Their pictures, spread over cameras and production runs.
        last: Where the last of them stands; None where it is the end of the order.
    """

    sha256: tuple[str, ...]
    last: QueueKey | None


@dataclass(frozen=True, slots=True)
class CurationCounts:
    """How many pictures of a product are what.

    Attributes:
        waiting: Open frames that are not in quarantine.
        quarantined: Open frames that only a person may release.
    """

    waiting: int
    quarantined: int
    released: int
    rejected: int


def open_stretch(
    engine: sa.Engine, product: str, below: float, *, quarantined: bool, after: QueueKey | None = None
) -> Stretch:
    """Return the next open frames of a product, at most STRETCH.

    Args:
        engine: The database.
        product: Of which product.
        below: Frames with a lower p-value are in quarantine, and all that are not GOOD.
        quarantined: Those in quarantine; otherwise those that are not.
        after: The last frame of the stretch before; None: from the beginning.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        rows = connection.execute(stretch_query(product, below, quarantined=quarantined, after=after)).all()
    if not rows:
        return Stretch((), None)
    last = max(rows, key=lambda row: row.place)
    more = QueueKey(last.standing, last.sha256) if len(rows) == STRETCH else None
    return Stretch(tuple(row.sha256 for row in rows), more)


def stretch_query(
    product: str, below: float, *, quarantined: bool, after: QueueKey | None
) -> sa.Select[*tuple[Any, ...]]:
    """A range of the index of the open frames, forwards or backwards, then spread."""
    row = curation.c
    key = sa.tuple_(row.standing, row.sha256)
    # Written out, so that the planner sees that the index of the open ones fits.
    chosen = sa.select(row.standing, row.sha256, row.camera, row.run).where(
        row.product == product,
        sa.text("decision = 'open'"),
        row.standing < below if quarantined else row.standing >= below,
    )
    if after is not None:
        here = (after.standing, after.sha256)
        chosen = chosen.where(key < here if quarantined else key > here)
    order = [row.standing.desc(), row.sha256.desc()] if quarantined else [row.standing, row.sha256]
    placed = chosen.add_columns(sa.func.row_number().over(order_by=order).label("place"))
    read = placed.order_by(*order).limit(STRETCH).subquery("read")
    turn = sa.func.row_number().over(partition_by=[read.c.camera, read.c.run], order_by=read.c.place)
    return sa.select(read.c.standing, read.c.sha256, read.c.place).order_by(turn, read.c.place)


def frames_as_they_stand(engine: sa.Engine, product: str, sha256: Collection[str]) -> list[CurationFrame]:
    """Return frames of the line by their pictures, as they stand now, in the order asked for; what is unknown is left out.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    row = curation.c
    names = [*KeptFrame.__dataclass_fields__, "threshold", "decision", "decision_id"]
    query = sa.select(*(row[name] for name in names)).where(
        row.product == product,
        row.sha256 == sa.any_(sa.literal(list(sha256), sa.ARRAY(sa.Text))),
        row.received_at.is_not(None),
    )
    with transaction(engine) as connection:
        found = {each["sha256"]: _frame_from_row(dict(each)) for each in connection.execute(query).mappings()}
    return [found[each] for each in sha256 if each in found]


def curation_counts(engine: sa.Engine, product: str, below: float) -> CurationCounts:
    """Return how many pictures of a product are what, counted in the indexes.

    Args:
        engine: The database.
        product: Of which product.
        below: Frames with a lower p-value are in quarantine.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        opened = connection.execute(open_counts_query(product, below)).one()
        decided = dict(connection.execute(decided_counts_query(product)).all())
    return CurationCounts(
        waiting=opened.waiting,
        quarantined=opened.quarantined,
        released=decided.get(FrameDecision.RELEASED, 0),
        rejected=decided.get(FrameDecision.REJECTED, 0),
    )


def open_counts_query(product: str, below: float) -> sa.Select[*tuple[Any, ...]]:
    """Through the index of the open frames of a product."""
    row = curation.c
    return sa.select(
        sa.func.count().filter(row.standing >= below).label("waiting"),
        sa.func.count().filter(row.standing < below).label("quarantined"),
    ).where(row.product == product, sa.text("decision = 'open'"))


def decided_counts_query(product: str) -> sa.Select[*tuple[Any, ...]]:
    """Through the index of the decided pictures of a product."""
    row = curation.c
    decided = row.decision.in_([FrameDecision.RELEASED, FrameDecision.REJECTED])
    return sa.select(row.decision, sa.func.count()).where(row.product == product, decided).group_by(row.decision)


def products_to_curate(engine: sa.Engine) -> list[str]:
    """Return the products that have a picture to decide about, or one that was decided about, by name.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    with transaction(engine) as connection:
        return list(connection.scalars(_PRODUCTS))


# One step into the primary key for each product, however many pictures it has.
_PRODUCTS = sa.text(
    "WITH RECURSIVE known AS (SELECT min(product) AS product FROM curation UNION ALL "
    "SELECT (SELECT min(c.product) FROM curation c WHERE c.product > known.product) FROM known "
    "WHERE known.product IS NOT NULL) SELECT product FROM known WHERE product IS NOT NULL ORDER BY product LIMIT 1000"
)


def _frame_from_row(row: dict[str, Any]) -> CurationFrame:
    own = {name: row.pop(name) for name in ("threshold", "decision", "decision_id")}
    frame = KeptFrame(**{**row, "state": VerdictState(row["state"])})
    return CurationFrame(frame, **{**own, "decision": FrameDecision(own["decision"])})
