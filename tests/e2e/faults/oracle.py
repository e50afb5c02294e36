"""The oracle: what the producer wrote down against what PostgreSQL holds.

It knows nothing of how the line works: frame ids and SHA-256 that were acknowledged, the scores of an undisturbed run, and the
tables. All is well when ids = scored + NO_VERDICT + dead-lettered, no overlap, none twice, and scores are equal.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from infra.store.tables import AlertKind, alerts, dead_letters, heatmaps, ledger_counts, outbox, positions, verdicts

SCORE_TOLERANCE = 1e-5  # relative: what else is in a batch changes the rounding of float32 products


@dataclass(frozen=True, slots=True)
class Sent:
    """One frame that the bus acknowledged; `fate` is what an undisturbed line makes of it."""

    frame_id: str
    camera: str
    sha256: str
    fate: str

    @property
    def key(self) -> tuple[str, str]:
        """What identifies a frame."""
        return self.camera, self.frame_id


@dataclass(frozen=True)
class Judgement:
    """What the oracle found.

    Attributes:
        frames: Distinct frames that were acknowledged.
        fates: How many were scored, had no verdict, were dead-lettered.
        lost: Acknowledged and nowhere.
        twice: Found in more than one row, whatever the tables.
        wrong: What else does not fit, in words.
        duplicates: Records whose frame had been accounted for before, as the ledger counts them.
        worst_score: The largest relative difference of a score from the undisturbed run.
    """

    frames: int
    fates: Counter[str]
    lost: list[str]
    twice: list[str]
    wrong: list[str] = field(default_factory=list)
    duplicates: int = 0
    worst_score: float = 0.0

    @property
    def violations(self) -> list[str]:
        """Everything that breaks a promise, in words; empty when all is well."""
        found = [f"{len(self.lost)} lost: {self.lost[:3]}"] if self.lost else []
        found += [f"{len(self.twice)} twice: {self.twice[:3]}"] if self.twice else []
        return found + self.wrong


def sent(book: Path) -> list[Sent]:
    """Read what the producer wrote down; a line that it was killed at does not count."""
    frames = []
    for line in book.read_text().splitlines():
        try:
            written = json.loads(line)
        except json.JSONDecodeError:
            continue
        frames.append(Sent(written["frame_id"], written["camera"], written["sha256"], written["fate"]))
    return frames


def judge(
    engine: sa.Engine, acknowledged: list[Sent], scores: Mapping[str, float] | None, *, resent: bool = False
) -> Judgement:
    """Compare.

    Args:
        engine: The line's database.
        acknowledged: What the producer wrote down.
        scores: The undisturbed run's score of each picture, by its SHA-256; None: there was no such run.
        resent: Whether the producer sent frames again, so that duplicates are expected.
    """
    with engine.connect() as connection:
        judged = list(connection.execute(sa.select(verdicts)))
        dead = list(connection.execute(sa.select(dead_letters)))
        counted = {(r.camera, r.state, r.reason): r.frames for r in connection.execute(sa.select(ledger_counts))}
        rows = {table.name: _keys(connection, table) for table in (heatmaps, outbox)}
        of_defects = sa.select(alerts.c.frame_id).where(alerts.c.kind == AlertKind.DEFECT)
        rows["alerts"] = list(connection.scalars(of_defects))
        accounted_until = sum(connection.scalars(sa.select(sa.func.coalesce(positions.c.next_offset, 0))))
    expected = {frame.key: frame for frame in acknowledged}
    found = Counter([*((r.camera, r.frame_id) for r in judged), *((r.camera, r.frame_id) for r in dead)])
    duplicates = sum(frames for (_, state, _), frames in counted.items() if state == "DUPLICATE")
    wrong = _wrong_fates(expected, judged, dead)
    scored = [row for row in judged if row.score is not None and scores is not None]
    worst = max((abs(row.score / (scores or {})[row.sha256] - 1) for row in scored), default=0.0)
    if not worst <= SCORE_TOLERANCE:
        wrong.append(f"a score differs by {worst:.2e} from the undisturbed run")
    if strangers := [key for key in found if key not in expected]:
        wrong.append(f"{len(strangers)} frames that nobody sent: {strangers[:3]}")
    if duplicates and not resent:
        wrong.append(f"{duplicates} frames were written again and only their ids told")
    if accounted_until != found.total() + duplicates:
        wrong.append(
            f"the positions stand at {accounted_until}, with {found.total() + duplicates} records accounted for"
        )
    counts = sum(frames for (_, state, _), frames in counted.items() if state != "DUPLICATE")
    if counts != found.total():
        wrong.append(f"the ledger counts {counts} frames, the tables hold {found.total()}")
    defects = sorted(row.frame_id for row in judged if row.state == "DEFECT")
    if sorted(rows["alerts"]) != defects:
        wrong.append(f"{len(defects)} defects and {len(rows['alerts'])} alerts")
    if missing := set(defects) - set(rows["heatmaps"]):
        wrong.append(f"{len(missing)} defects without a heatmap")
    if sorted(rows["outbox"]) != sorted(frame_id for _, frame_id in found.elements()):
        wrong.append(f"{len(rows['outbox'])} messages are put aside for {found.total()} results")
    return Judgement(
        frames=len(expected),
        fates=Counter(_fate(row) for row in [*judged, *dead]),
        lost=[frame_id for camera, frame_id in expected if (camera, frame_id) not in found],
        twice=[frame_id for (_, frame_id), times in found.items() if times > 1],
        wrong=wrong,
        duplicates=duplicates,
        worst_score=worst,
    )


def _keys(connection: sa.Connection, table: sa.Table) -> list[str]:
    return list(connection.scalars(sa.select(table.c.frame_id)))


def _fate(row: sa.Row[tuple[object, ...]]) -> str:
    if not hasattr(row, "state"):
        return "dead"
    return "no_verdict" if row.state == "NO_VERDICT" else "scored"


def _wrong_fates(
    expected: Mapping[tuple[str, str], Sent],
    judged: list[sa.Row[tuple[object, ...]]],
    dead: list[sa.Row[tuple[object, ...]]],
) -> list[str]:
    wrong = []
    for row in [*judged, *dead]:
        frame = expected.get((row.camera, row.frame_id))
        if frame is None:
            continue
        if frame.fate not in ("any", _fate(row)):
            wrong.append(f"{frame.frame_id} should be {frame.fate} and is {_fate(row)}: {row.reason}")
        if hasattr(row, "sha256") and row.sha256 != frame.sha256:
            wrong.append(f"{frame.frame_id} was judged on another picture")
    return wrong
