"""What the dashboard asks for, done by a trainer: with small models, real children and real signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.children import differline
from infra.live import LiveState
from infra.settings import Settings
from infra.store.audit import newest
from infra.store.connect import transaction
from infra.store.model_requests import LEASE, ModelRequest, NewRequest, TakenRequest, ask, requests_of
from infra.store.models import RegisteredModel, models_in_force
from infra.store.promotions import list_models, promotions_of
from infra.store.second_verdicts import SecondVerdict, add_second
from infra.store.tables import ModelState, PromotionKind, RequestKind, RequestOutcome, SecondSource, VerdictState
from infra.telemetry import get_logger
from trainer.fit import FittedModel
from trainer.life.asked import SERVICE, Asked, taking_requests
from trainer.life.perform import perform
from trainer.life.refit import Workshop
from trainer.register import save

from ..small_model import PRODUCT
from .curated import keep, new_workshop, release
from .rows import NOON, register_candidate

PutInForce = Callable[[], RegisteredModel]
PROMOTE, ROLLBACK, SHADOW, REFIT = RequestKind.PROMOTE, RequestKind.ROLLBACK, RequestKind.SHADOW, RequestKind.REFIT
DONE, REFUSED, FAILED = RequestOutcome.DONE, RequestOutcome.REFUSED, RequestOutcome.FAILED
ROOT = Path(__file__).parents[2]
WAIT_S = 240


@pytest.fixture
def workshop(database: sa.Engine, settings: Settings) -> Workshop:
    return new_workshop(database, settings)


@pytest.fixture
def candidate(
    database: sa.Engine, settings: Settings, fitted: FittedModel, put_in_force: PutInForce
) -> RegisteredModel:
    """A sound candidate that has looked on at a frame, beside a model in force."""
    put_in_force()
    rate = fitted.detector.manifest.false_alarm_rate
    new = register_candidate(
        database, replace(save(Path(settings.models_folder), fitted, "test"), attainable_rate=rate)
    )
    said = SecondVerdict(new.id, NOON, "cam", "f", SecondSource.SHADOW, PRODUCT, VerdictState.GOOD, 1, 0.5, 2, 1, NOON)
    with transaction(database) as connection:
        add_second(connection, [said])
        frame = (
            "INSERT INTO verdicts (received_at, frame_id, result_id, topic, partition, bus_offset, camera, product, sha256, "
            "captured_at, state, reason) "
            "VALUES (:at, 'f', 'r', 'frames', 0, 0, 'cam', :product, '0', :at, 'NO_VERDICT', 'late')"
        )
        connection.execute(sa.text(frame), {"at": NOON, "product": PRODUCT})
    return new


def never(_taken: TakenRequest) -> Sequence[str]:
    raise AssertionError("no refit was asked for")


def small(taken: TakenRequest) -> Sequence[str]:
    return [sys.executable, "-m", "tests.integration.small_refit", str(taken.id), taken.worker, str(taken.attempts)]


def trainer_of(workshop: Workshop, refit: Callable[[TakenRequest], Sequence[str]] = never) -> Asked:
    return Asked(workshop.database, lambda taken: perform(workshop, taken), refit, get_logger("requests"))


def asks(
    database: sa.Engine, what: RequestKind, version: int | None = None, *, force: bool = False, who: str = "a.kern"
) -> int:
    return ask(database, NewRequest(PRODUCT, what, who, "new lamp", version, force), "engineer")


def request(database: sa.Engine, number: int) -> ModelRequest:
    return next(each for each in requests_of(database, PRODUCT) if each.id == number)


def came_of(database: sa.Engine, number: int) -> tuple[RequestOutcome | None, str]:
    found = request(database, number)
    return found.outcome, found.message or ""


def in_force(database: sa.Engine) -> int:
    return models_in_force(database)[PRODUCT].version


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def forget(database: sa.Engine) -> None:
    """As if the lease had passed."""
    with database.begin() as connection:
        past = sa.text("UPDATE model_requests SET beat_at = beat_at - :lease WHERE outcome IS NULL")
        connection.execute(past, {"lease": LEASE + timedelta(seconds=1)})


def test_a_promotion_and_a_rollback_are_in_the_name_of_who_asked(
    database: sa.Engine, workshop: Workshop, candidate: RegisteredModel
) -> None:
    trainer = trainer_of(workshop)
    shadow = asks(database, SHADOW, candidate.version)
    trainer.quick()
    assert came_of(database, shadow) == (DONE, "version 2 scores in shadow")
    assert list_models(database)[0].shadow
    promotion = asks(database, PROMOTE, candidate.version)
    trainer.quick()
    assert came_of(database, promotion) == (DONE, "version 2 is in force")
    back = asks(database, ROLLBACK, candidate.version, who="b.lang")
    trainer.quick()
    assert came_of(database, back) == (DONE, "version 1 is in force again")
    rolled_back, promoted, _ = promotions_of(database, PRODUCT)
    assert (promoted.version, promoted.who, promoted.reason, promoted.kind) == (2, "a.kern", "new lamp", "promoted")
    assert (rolled_back.version, rolled_back.who) == (1, "b.lang")
    log = [(row.who, row.action) for row in newest(database, 6)]
    assert log[:4] == [
        ("b.lang", "rolled_back"),
        ("b.lang", "ask_rollback"),
        ("a.kern", "promoted"),
        ("a.kern", "ask_promote"),
    ]


@pytest.mark.usefixtures("candidate")
def test_two_who_want_the_same_rollback_go_back_once(
    database: sa.Engine, workshop: Workshop, put_in_force: PutInForce
) -> None:
    put_in_force()  # 1, then 3 in its place
    trainer = trainer_of(workshop)
    first = asks(database, ROLLBACK, 3)
    trainer.quick()
    second = asks(database, ROLLBACK, 3)
    trainer.quick()
    assert came_of(database, first)[0] is DONE
    assert came_of(database, second) == (REFUSED, "part version 3 is not in force any more; nothing was rolled back")
    assert in_force(database) == 1


def test_what_speaks_against_a_promotion_refuses_it_unless_it_is_forced(
    database: sa.Engine, workshop: Workshop, candidate: RegisteredModel
) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM second_verdicts"))
    trainer = trainer_of(workshop)
    refused = asks(database, PROMOTE, candidate.version)
    trainer.quick()
    outcome, message = came_of(database, refused)
    assert outcome is REFUSED
    assert "nobody knows which verdicts it would change" in message
    assert in_force(database) == 1
    forced = asks(database, PROMOTE, candidate.version, force=True)
    trainer.quick()
    assert came_of(database, forced)[0] is DONE
    assert promotions_of(database, PRODUCT)[0].kind is PromotionKind.FORCED
    again = asks(database, PROMOTE, candidate.version)
    trainer.quick()
    assert came_of(database, again) == (REFUSED, "part version 2 is in force already")
    assert len(promotions_of(database, PRODUCT)) == 2


def test_a_file_that_is_not_what_was_registered_is_refused_also_by_force(
    database: sa.Engine, workshop: Workshop, candidate: RegisteredModel
) -> None:
    (weights,) = Path(candidate.folder).glob("flow*")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    number = asks(database, PROMOTE, candidate.version, force=True)
    trainer_of(workshop).quick()
    outcome, message = came_of(database, number)
    assert outcome is REFUSED
    assert "the model is refused: " in message
    assert in_force(database) == 1


def test_an_error_that_nobody_expected_is_said_and_the_next_request_is_done(
    database: sa.Engine, workshop: Workshop, candidate: RegisteredModel
) -> None:
    def breaks(taken: TakenRequest) -> None:
        if taken.what is SHADOW:
            raise RuntimeError("a\x1b[31mb")
        perform(workshop, taken)

    bad, good = asks(database, SHADOW, candidate.version), asks(database, PROMOTE, candidate.version)
    Asked(database, breaks, never, get_logger("requests")).quick()
    assert came_of(database, bad) == (FAILED, "RuntimeError: a\\x1b[31mb")
    assert came_of(database, good)[0] is DONE


def test_two_trainers_at_once_promote_once(database: sa.Engine, workshop: Workshop, candidate: RegisteredModel) -> None:
    together = threading.Barrier(2)
    done: list[int] = []

    def slowly(taken: TakenRequest) -> None:
        done.append(taken.id)
        perform(workshop, taken)

    def run() -> None:
        trainer = Asked(database, slowly, never, get_logger("requests"))
        together.wait(30)
        trainer.quick()

    number = asks(database, PROMOTE, candidate.version)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [number]
    assert [each.version for each in promotions_of(database, PRODUCT)] == [2, 1]


def test_a_trainer_that_was_paused_beyond_its_lease_promotes_nothing(
    database: sa.Engine, workshop: Workshop, candidate: RegisteredModel
) -> None:
    """Another one has done it meanwhile, and somebody has rolled it back: it must not come back."""
    quick = trainer_of(workshop)

    def paused(taken: TakenRequest) -> None:
        forget(database)
        quick.quick()
        asks(database, ROLLBACK, candidate.version)
        quick.quick()
        row = sa.text("UPDATE models SET state = 'candidate' WHERE version = 2")  # so that nothing else would refuse it
        with database.begin() as connection:
            connection.execute(row)
        perform(workshop, taken)

    number = asks(database, PROMOTE, candidate.version)
    Asked(database, paused, never, get_logger("requests")).quick()
    assert came_of(database, number)[0] is DONE
    assert in_force(database) == 1
    assert [each.kind for each in promotions_of(database, PRODUCT)] == ["rolled_back", "promoted", "trained"]


def test_a_refit_runs_beside_promotions_and_makes_a_candidate(
    database: sa.Engine,
    settings: Settings,
    workshop: Workshop,
    candidate: RegisteredModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_environment(monkeypatch, settings)
    release(database, [keep(workshop.archive, 100 + seed) for seed in range(16)])
    live = LiveState(settings.redis_url or "")
    number = asks(database, REFIT)
    with taking_requests(trainer_of(workshop, small), live, get_logger("requests")):
        wait_for(lambda: live.alive(SERVICE) == 1)
        wait_for(lambda: request(database, number).progress is not None)
        if request(database, number).open:
            promotion = asks(database, PROMOTE, candidate.version)
            wait_for(lambda: not request(database, promotion).open)
        wait_for(lambda: not request(database, number).open)
    live.close()
    assert came_of(database, number) == (DONE, "version 3 is a candidate")
    learned = list_models(database)[0]
    assert (learned.version, learned.state, learned.registered_by) == (3, ModelState.CANDIDATE, "a.kern")


def test_a_refit_that_cannot_begin_or_is_killed_is_said(
    database: sa.Engine, settings: Settings, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, settings)
    release(database, [keep(workshop.archive, 100 + seed) for seed in range(3)])
    trainer = trainer_of(workshop, small)
    number = asks(database, REFIT)
    ended(trainer, database, number)
    assert came_of(database, number)[0] is REFUSED
    assert "holds 3 usable pictures, at least 16" in came_of(database, number)[1]
    killed = trainer_of(workshop, lambda _: [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    number = asks(database, REFIT)
    ended(killed, database, number)
    assert came_of(database, number) == (FAILED, "the refit ended with signal 9; the trainer's log has more")


def test_a_trainer_that_stops_lets_another_one_begin_the_refit_anew(database: sa.Engine, workshop: Workshop) -> None:
    trainer = trainer_of(workshop, lambda _: [sys.executable, "-c", "import time; time.sleep(600)"])
    number = asks(database, REFIT)
    trainer.refits()
    assert request(database, number).taken_at is not None
    trainer.stop()
    found = request(database, number)
    assert (found.taken_at, found.open) == (None, True)


@pytest.mark.timeout(600)
def test_kill_9_in_the_middle_of_a_refit_leaves_one_candidate_in_the_end(
    database: sa.Engine,
    settings: Settings,
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_environment(monkeypatch, settings)
    release(database, [keep(workshop.archive, 100 + seed) for seed in range(16)])
    number = asks(database, REFIT)
    with schedule(tmp_path) as run:
        wait_for(lambda: request(database, number).stage is not None)
        children = [
            int(text) for text in Path(f"/proc/{run.pid}/task").glob("*/children") for text in text.read_text().split()
        ]
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        wait_for(lambda: not any(lives(child) for child in children))
    assert children
    assert list_models(database) == []
    trainer = trainer_of(workshop, small)
    trainer.refits()
    assert request(database, number).open  # the lease is not over
    forget(database)
    wait_for(lambda: lock_is_free(database))  # PostgreSQL notices within moments that the connection is gone
    ended(trainer, database, number)
    assert came_of(database, number) == (DONE, "version 1 is a candidate")
    assert [(row.version, row.registered_by) for row in list_models(database)] == [(1, "a.kern")]


def in_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("DIFFERLINE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("DIFFERLINE_DATABASE_URL", settings.database_url or "")
    monkeypatch.setenv("DIFFERLINE_REDIS_URL", settings.redis_url or "")
    monkeypatch.setenv("DIFFERLINE_CPU_THREADS", "1")
    monkeypatch.setenv("DIFFERLINE_EXTRACTOR", "random")
    monkeypatch.chdir(ROOT)


def ended(trainer: Asked, database: sa.Engine, number: int) -> None:
    def over() -> bool:
        trainer.refits()
        return not request(database, number).open

    wait_for(over)


@contextmanager
def schedule(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(differline("schedule", "--only-requests"), stderr=log, stdout=log, env={**os.environ})
        try:
            yield run
        finally:
            if run.poll() is None:
                run.kill()
            run.wait(30)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def lock_is_free(database: sa.Engine) -> bool:
    with database.begin() as connection:
        query = "SELECT pg_try_advisory_xact_lock(hashtext('refit'), hashtext(:product))"
        return bool(connection.scalar(sa.text(query), {"product": PRODUCT}))
