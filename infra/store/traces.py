"""Everything that is on record about a frame: its verdict, the model behind it, its alerts, and who did what about both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.store.alerts import ACKNOWLEDGED_ACTION, RESOLVED_ACTION
from infra.store.audit import ALERT_ACTION, PROMOTION, about, alert_subject, model_subject
from infra.store.connect import transaction
from infra.store.tables import (
    AlertOutcome,
    PromotionKind,
    alert_actions,
    alerts,
    dead_letters,
    models,
    promotions,
    second_verdicts,
    verdicts,
)

_ALERT_ACTIONS = (ACKNOWLEDGED_ACTION, RESOLVED_ACTION, *AlertOutcome)


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did.

    Attributes:
        action: `acknowledge`, `resolve`, what an alert turned out to be (`false_alarm`, `real_defect`), or how a model came
            into force (`promoted`, …).
        who: The person or service.
        reason: Why, in that person's words; may be empty.
        at: When (UTC).
        audit_id: Its row in the audit log; None where that has none, as for what was done before there was one.
        flow_sha256: Of the model that was put in force, as the audit log has it; None where it has none.
        manifest_sha256: The same of its manifest.
    """

    action: str
    who: str
    reason: str
    at: datetime
    audit_id: int | None
    flow_sha256: str | None = None
    manifest_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TracedModel:
    """The model that judged a frame, as the registry has it.

    Attributes:
        false_alarm_rate: The rate asked for, in (0, 1).
        attainable_rate: The rate that its number of calibration frames can promise.
        put_in_force: How it came into force, oldest first; empty where it never was.
    """

    product: str
    version: int
    folder: str
    flow_sha256: str
    manifest_sha256: str
    preset: str
    threshold: float
    false_alarm_rate: float
    attainable_rate: float
    views: int
    training_frames: int
    calibration_frames: int
    registered_by: str
    registered_at: datetime
    put_in_force: tuple[Deed, ...]


@dataclass(frozen=True, slots=True)
class TracedAlert:
    """An alert about a frame, and who acknowledged or resolved it; open while nobody has."""

    id: int
    kind: str
    opened_at: datetime
    acknowledged: tuple[Deed, ...]


@dataclass(frozen=True, slots=True)
class TracedSecond:
    """What a model says of the frame that was not in force; the attributes are columns of `second_verdicts` and `models`."""

    product: str
    version: int
    source: str
    state: str
    score: float
    threshold: float
    p_value: float
    views: int
    scored_at: datetime


@dataclass(frozen=True, slots=True)
class TracedVerdict:
    """A verdict and what it came from; times in UTC. The attributes are columns of `verdicts`, but for the last three.

    Attributes:
        model: That judged the frame.
        seconds: What other models say of it, by version.
        alerts: About it.
    """

    camera: str
    frame_id: str
    received_at: datetime
    topic: str
    partition: int
    bus_offset: int
    result_id: str
    product: str
    part_id: str | None
    job_id: str | None
    run: str | None
    sequence: int | None
    sha256: str
    simulated: str | None
    captured_at: datetime
    scored_at: datetime | None
    committed_at: datetime
    state: str
    reason: str | None
    score: float | None
    p_value: float | None
    threshold: float | None
    views: int | None
    archive_ref: str | None
    model: TracedModel | None
    seconds: tuple[TracedSecond, ...]
    alerts: tuple[TracedAlert, ...]


@dataclass(frozen=True, slots=True)
class TracedDeadLetter:
    """A frame that could not be judged, and why; times in UTC. The attributes are columns of `dead_letters` and `alerts`."""

    camera: str
    frame_id: str
    received_at: datetime
    topic: str
    partition: int
    bus_offset: int
    run: str | None
    sequence: int | None
    committed_at: datetime
    reason: str
    detail: str
    body_ref: str | None
    alerts: tuple[TracedAlert, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """What is on record about the frames of an id.

    Attributes:
        as_of: What came on record later is left out (UTC); None: everything is there.
        verdicts: By camera and time: two cameras may use the same id, and a producer may use one again after some days.
        dead_letters: The same of those that could not be judged.
    """

    frame_id: str
    as_of: datetime | None
    verdicts: tuple[TracedVerdict, ...]
    dead_letters: tuple[TracedDeadLetter, ...]

    @property
    def found(self) -> bool:
        """Whether anything is on record."""
        return bool(self.verdicts or self.dead_letters)


def read_trace(
    engine: sa.Engine,
    frame_id: str,
    camera: str | None = None,
    *,
    received_at: datetime | None = None,
    as_of: datetime | None = None,
) -> Trace:
    """Read what is on record about a frame, as one moment of the database has it.

    Args:
        engine: The database.
        frame_id: The frame's id, unique within its camera.
        camera: Its camera; None: every camera that has such a frame.
        received_at: When the bus took it; None: at any time, of an id that was used again.
        as_of: What came on record later is left out; None: everything is there.

    Raises:
        DatabaseAwayError: PostgreSQL does not answer.
    """
    if not (_is_unicode(frame_id) and _is_unicode(camera or "")):
        return Trace(frame_id, as_of, (), ())  # PostgreSQL holds no such text
    with transaction(engine.execution_options(isolation_level="REPEATABLE READ")) as connection:
        reader = _Reader(connection, received_at, as_of)
        judged = reader.frames(verdicts, frame_id, camera)
        unjudged = reader.frames(dead_letters, frame_id, camera)
        return Trace(
            frame_id,
            as_of,
            tuple(
                TracedVerdict(
                    **_own(TracedVerdict, row),
                    model=reader.model(row["model_id"]),
                    seconds=reader.seconds(row),
                    alerts=reader.alerts(row),
                )
                for row in judged
            ),
            tuple(TracedDeadLetter(**_own(TracedDeadLetter, row), alerts=reader.alerts(row)) for row in unjudged),
        )


class _Reader:
    """Reads parts of a trace, each model once."""

    def __init__(self, connection: sa.Connection, received_at: datetime | None, as_of: datetime | None) -> None:
        self._connection = connection
        self._received_at = received_at
        self._as_of = as_of
        self._models: dict[int, TracedModel] = {}

    def frames(self, table: sa.Table, frame_id: str, camera: str | None) -> Sequence[sa.RowMapping]:
        query = sa.select(table).where(table.c.frame_id == frame_id, self._until(table.c.committed_at))
        if camera is not None:
            query = query.where(table.c.camera == camera)
        if self._received_at is not None:
            query = query.where(table.c.received_at == self._received_at)
        return self._connection.execute(query.order_by(table.c.camera, table.c.received_at)).mappings().all()

    def model(self, model_id: int | None) -> TracedModel | None:
        if model_id is None:
            return None
        if model_id not in self._models:
            row = self._connection.execute(sa.select(models).where(models.c.id == model_id)).mappings().one()
            subject = model_subject(row["product"], row["version"])
            deeds = self._deeds(promotions, "done_at", promotions.c.model_id == model_id)
            put = self._audited(subject, tuple(PromotionKind), PROMOTION, deeds)
            self._models[model_id] = TracedModel(**_own(TracedModel, row), put_in_force=put)
        return self._models[model_id]

    def seconds(self, frame: Mapping[Any, Any]) -> tuple[TracedSecond, ...]:
        """One step by primary key for each model there is: the key begins with the model."""
        names = TracedSecond.__dataclass_fields__
        own = [(models if name in ("product", "version") else second_verdicts).c[name] for name in names]
        key = ("received_at", "camera", "frame_id")
        query = (
            sa.select(*own)
            .join_from(second_verdicts, models, models.c.id == second_verdicts.c.model_id)
            .where(*(second_verdicts.c[name] == frame[name] for name in key), self._until(second_verdicts.c.scored_at))
            .order_by(models.c.product, models.c.version)
        )
        return tuple(TracedSecond(**row) for row in self._connection.execute(query).mappings())

    def alerts(self, frame: Mapping[Any, Any]) -> tuple[TracedAlert, ...]:
        key = ("frame_id", "camera", "received_at")
        query = (
            sa.select(alerts.c.id, alerts.c.kind, alerts.c.opened_at)
            .where(*(alerts.c[name] == frame[name] for name in key), self._until(alerts.c.opened_at))
            .order_by(alerts.c.id)
        )
        return tuple(
            TracedAlert(number, kind, opened_at, self._acknowledged(number))
            for number, kind, opened_at in self._connection.execute(query)
        )

    def _acknowledged(self, alert_id: int) -> tuple[Deed, ...]:
        deeds = self._deeds(alert_actions, "done_at", alert_actions.c.alert_id == alert_id)
        return self._audited(alert_subject(alert_id), _ALERT_ACTIONS, ALERT_ACTION, deeds)

    def _deeds(self, table: sa.Table, time: str, condition: sa.ColumnElement[bool]) -> dict[int, Deed]:
        """What a table of deeds has, by the number of its row."""
        what = table.c.kind if "kind" in table.c else table.c.action
        query = sa.select(table.c.id, what, table.c.who, table.c.reason, table.c[time])
        rows = self._connection.execute(query.where(condition, self._until(table.c[time])))
        return {number: Deed(action, who, reason, at, None) for number, action, who, reason, at in rows}

    def _audited(
        self, subject: str, actions: tuple[str, ...], key: str, unaudited: dict[int, Deed]
    ) -> tuple[Deed, ...]:
        """What the audit log says, which nobody can change unseen; and what only the table of deeds has."""
        found = []
        for row in about(self._connection, subject, self._as_of):
            if row.action in actions:
                hashes = {name: _text(row.detail.get(name)) for name in ("flow_sha256", "manifest_sha256")}
                found.append(Deed(row.action, row.who, row.reason, row.at, row.id, **hashes))
                number = row.detail.get(key)
                if isinstance(number, int):
                    unaudited.pop(number, None)
        return tuple(sorted([*unaudited.values(), *found], key=lambda deed: deed.at))

    def _until(self, time: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return sa.true() if self._as_of is None else time <= self._as_of


def _own(kind: type, row: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes of a kind that are columns of its table."""
    fields: Mapping[str, object] = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: row[name] for name in fields if name in row}


def _is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which stands for a broken byte of a command line."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
