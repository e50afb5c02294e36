"""A candidate on a running line: it looks on in shadow, is promoted and rolled back, and no frame is lost or doubled."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.settings import Settings
from infra.store.models import RegisteredModel
from infra.store.promotions import promote, rollback, set_shadow
from infra.store.second_verdicts import seen_by
from infra.store.tables import second_verdicts, verdicts
from scorer.worker import Worker
from trainer.fit import FittedModel
from trainer.register import save

from ..small_model import PRODUCT
from .line import Line
from .rows import register_candidate

MOST_WAITING = 32  # four batches
PutInForce = Callable[[], RegisteredModel]


@pytest.fixture
def candidate(
    database: sa.Engine, settings: Settings, fitted: FittedModel, put_in_force: PutInForce
) -> RegisteredModel:
    put_in_force()
    new = replace(
        save(Path(settings.models_folder), fitted, "test"), attainable_rate=fitted.detector.manifest.false_alarm_rate
    )
    return register_candidate(database, new)


@contextmanager
def running(worker: Worker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop.set()
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def frames_flow(line: Line, database: sa.Engine) -> Iterator[None]:
    """Send a frame every few milliseconds, until it is over; not many wait, however slow the machine is."""
    over = threading.Event()
    judged = sa.select(sa.func.count()).select_from(verdicts)

    def send() -> None:
        while not over.wait(0.02):
            with database.connect() as connection:
                waiting = line.sequence - connection.execute(judged).scalar_one()
            if waiting < MOST_WAITING:
                line.send(line.frame())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it took too long"
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_candidate_shadows_is_promoted_and_rolled_back_while_frames_flow(
    line: Line, database: sa.Engine, candidate: RegisteredModel
) -> None:
    def judged_by(model_id: int, since: int) -> Callable[[], bool]:
        query = sa.select(sa.func.count()).where(verdicts.c.model_id == model_id, verdicts.c.sequence >= since)

        def judged() -> bool:
            with database.connect() as connection:
                return bool(connection.scalar(query))

        return judged

    first = candidate.id - 1
    worker = line.worker(batch_frames=8)
    with running(worker), frames_flow(line, database):
        wait_for(judged_by(first, 0), 60)
        set_shadow(database, PRODUCT, candidate.version, "m.weber")
        wait_for(lambda: seen_by(database, candidate.id).frames >= 5, 30)
        promote(database, PRODUCT, candidate.version, who="m.weber", reason="better")
        taken_s = wait_for(judged_by(candidate.id, 0), 30)
        at = line.sequence
        rollback(database, PRODUCT, who="m.weber", reason="worse")
        back_s = wait_for(judged_by(first, at), 30)
    worker = line.worker(batch_frames=8)
    worker.run(until_idle_s=1)
    print(f"taken after {taken_s:.1f} s, back after {back_s:.1f} s; must be within 5 s")
    rows = line.rows(verdicts)
    assert sorted(row.sequence for row in rows) == list(range(line.sequence))
    ledger = line.ledger()
    assert ledger.balanced
    by_model = [row.model_id for row in sorted(rows, key=lambda row: row.sequence)]
    changes = [model for place, model in enumerate(by_model) if place == 0 or model != by_model[place - 1]]
    assert changes == [first, candidate.id, first]  # one model after the other: between two batches
    scored_twice = {row.frame_id: row for row in line.rows(second_verdicts)}
    own = {row.frame_id: row for row in rows if row.model_id == first}
    assert set(scored_twice) <= set(own)
    assert all(abs(row.score - own[frame].score) < 1e-4 * abs(row.score) for frame, row in scored_twice.items())
    assert {row.model_id for row in scored_twice.values()} == {candidate.id}
