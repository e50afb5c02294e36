"""People are told of alerts by a real SMTP server that is away, refuses and hangs, and by a notifier that is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from infra.clock import utc_now
from infra.errors import DatabaseAwayError, TransientError
from infra.notices.notifier import Notifier, Rule
from infra.notices.sender import Sender
from infra.notices.watch import NoticeWatch
from infra.store import alerts as alert_store
from infra.store.connect import open_database
from infra.store.notices import waiting_count
from infra.store.tables import alert_notices, alerts, notice_cursors
from infra.telemetry import get_logger

from ..smtp_server import MailServer
from .test_alerts import add_verdict, open_alert

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
PASSWORD = "tell-nobody-7"
AT_ONCE = Rule(timedelta(0), timedelta(0), None, UTC)
Making = Callable[..., Notifier]


@pytest.fixture(autouse=True)
def _without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise lets seconds pass between two mails to a server."""
    monkeypatch.setattr("apprise.plugins.base.NotifyBase.request_rate_per_sec", 0)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A server that is not started yet."""
    server = MailServer(user="line", password=PASSWORD)
    yield server
    server.stop()


def url_of(mail: MailServer, to: str = "crew@plant.example") -> str:
    return f"mailto://line:{PASSWORD}@127.0.0.1:{mail.port}/?from=line@plant.example&to={to}&mode=insecure&cto=1&rto=1"


@pytest.fixture
def making(database: sa.Engine, mail: MailServer) -> Making:
    def made(name: str = "mail", rule: Rule = AT_ONCE, engine: sa.Engine = database, **changes: object) -> Notifier:
        sender = Sender(name, SecretStr(url_of(mail)))
        watch = NoticeWatch([name], 60)
        return Notifier(engine, sender, rule, get_logger("notifier"), watch, "https://line.plant", **changes)  # type: ignore[arg-type]

    return made


def until(happens: Callable[[], object], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_mail_says_what_happened_once(database: sa.Engine, mail: MailServer, making: Making) -> None:
    mail.start()
    add_verdict(database, NOON, "frame", part="MT-7")
    number = open_alert(database)
    notifier = making()
    assert notifier.look() == 1
    (told,) = mail.mails
    assert told.to == "crew@plant.example"
    assert "defect, part MT-7, cam, tile" in told.subject
    assert "2026-03-03 12:00:00  cam, tile: defect, part MT-7" in told.text
    assert f"https://line.plant/alerts?alert={number}" in told.text
    assert notifier.look() == 0
    assert making("chat").look() == 1, "another target is told on its own"


def test_many_alerts_are_one_mail_and_who_acknowledges_is_not_bothered(
    database: sa.Engine, mail: MailServer, making: Making
) -> None:
    mail.start()
    numbers = [open_alert(database, 0, f"frame {n}") for n in range(30)]
    alert_store.acknowledge_many(database, numbers[:10], "somebody", "seen")
    assert making().look() == 20
    assert len(mail.mails) == 1
    assert "20 alerts: 20 defect" in mail.mails[0].subject
    assert waiting_count(database, "mail") == 0


def test_what_nobody_acknowledges_goes_to_those_it_escalates_to(
    database: sa.Engine, mail: MailServer, making: Making
) -> None:
    mail.start()
    now = [NOON]
    half_an_hour = Rule(timedelta(minutes=30), timedelta(0), None, UTC, escalates=True)
    boss = making("boss", half_an_hour, clock=lambda: now[0])
    seen, unseen = open_alert(database, 0), open_alert(database, 0, "other")
    now[0] += timedelta(minutes=29)
    assert boss.look() == 0
    alert_store.acknowledge(database, seen, "somebody", "seen")
    now[0] += timedelta(minutes=1)
    assert boss.look() == 1
    assert "nobody has acknowledged" in mail.mails[0].subject
    assert f"alert={unseen}" in mail.mails[0].text
    assert boss.look() == 0


def test_a_server_that_is_away_refuses_or_hangs_delays_and_loses_nothing(
    database: sa.Engine, mail: MailServer, making: Making, capfd: pytest.CaptureFixture[str]
) -> None:
    notifier = making()
    first = open_alert(database)
    errors = []

    def fails(why: str) -> None:
        began = time.monotonic()
        with pytest.raises(TransientError) as caught:
            notifier.look()
        assert time.monotonic() - began < 10
        errors.append(str(caught.value))
        assert why in errors[-1]
        assert waiting_count(database, "mail") > 0

    fails("Connection refused")
    mail.start()
    mail.refuses = True
    fails("550")
    mail.refuses, mail.hangs_s = False, 3.0
    second = open_alert(database, 1, "second")
    fails("timed out")
    mail.hangs_s = 0.0
    mail.password = "another"
    fails("Exception")
    mail.password = PASSWORD
    mail.mails.clear()  # a server that hangs may have taken it
    assert notifier.look() == 2
    assert all(f"alert={number}\n" in mail.mails[0].text + "\n" for number in (first, second))
    output = capfd.readouterr()
    assert PASSWORD not in output.out + output.err + "".join(errors)


def test_two_notifiers_tell_once_and_a_lost_commit_tells_again(
    database: sa.Engine, mail: MailServer, making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail.start()
    for number in range(5):
        open_alert(database, 0, f"frame {number}")
    both = [making(), making()]
    together = threading.Barrier(2)

    def look(notifier: Notifier) -> None:
        together.wait(10)
        notifier.look()

    threads = [threading.Thread(target=look, args=(notifier,)) for notifier in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(mail.mails) == 1
    open_alert(database, 0, "one more")
    send = both[0].sender.send

    def send_and_lose_the_database(subject: str, body: str) -> None:
        send(subject, body)
        with database.connect() as admin:  # as if PostgreSQL were restarted in between
            others = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
            )
            admin.execute(sa.text(others + "pg_backend_pid()"))

    monkeypatch.setattr(both[0].sender, "send", send_and_lose_the_database)
    with pytest.raises(DatabaseAwayError):
        both[0].look()
    monkeypatch.undo()
    assert both[0].look() == 1
    assert len(mail.mails) == 3


def test_the_cursor_passes_what_is_old_and_done_and_nothing_else(
    database: sa.Engine, mail: MailServer, making: Making
) -> None:
    mail.start()
    now = [NOON + timedelta(minutes=5)]
    notifier = making(clock=lambda: now[0])
    old = [open_alert(database, 0, f"frame {n}") for n in range(3)]

    def reached() -> int:
        with database.connect() as connection:
            return connection.scalar(sa.select(notice_cursors.c.after_id)) or 0

    with open_late(database) as late:  # a transaction that took its number before, and commits after
        assert notifier.look() == 3
        assert notifier.look() == 0
        assert reached() == 0
        late.commit()
    assert notifier.look() == 1
    now[0] += timedelta(hours=2)
    assert notifier.look() == 0
    assert reached() == max(old) + 1
    future = open_alert(database, 60 * 24, "of a wrong clock")
    assert notifier.look() == 1
    assert notifier.look() == 0
    assert reached() < future


def open_late(database: sa.Engine) -> sa.Connection:
    connection = database.connect()
    row = {
        "kind": "defect",
        "camera": "late",
        "product": "tile",
        "received_at": NOON,
        "frame_id": "late",
        "opened_at": NOON,
    }
    connection.execute(sa.insert(alerts).values(row))
    return connection


def test_a_killed_notifier_delays_and_loses_no_alert(
    database: sa.Engine, database_url: str, redis_url: str, mail: MailServer
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DIFFERLINE_")},
        "DIFFERLINE_DATABASE_URL": database_url,
        "DIFFERLINE_REDIS_URL": redis_url,
        "DIFFERLINE_NOTIFY_URLS": json.dumps({"mail": url_of(mail)}),
        "DIFFERLINE_NOTIFY_GROUP_S": "0.5",
    }

    def started() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "infra.notify"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def told() -> set[int]:
        with database.connect() as connection:
            return set(connection.scalars(sa.select(alert_notices.c.alert_id)))

    mail.start()
    first = started()
    numbers = {open_alert(database, 0, "first")}
    until(lambda: told() == numbers)
    mail.hangs_s = 1.0
    mail.connections = 0
    numbers |= {open_alert(database, 0, f"second {n}") for n in range(20)}
    until(lambda: mail.connections)
    first.send_signal(signal.SIGKILL)  # while it sends
    first.wait(10)
    numbers |= {open_alert(database, 0, f"third {n}") for n in range(20)}
    mail.hangs_s = 0.0
    second = started()
    until(lambda: told() == numbers)
    second.send_signal(signal.SIGTERM)
    _, log = second.communicate(timeout=20)
    assert second.returncode == 0, log
    text = "\n".join(f"{one.subject}\n{one.text}" for one in mail.mails)
    assert sum("alerts:" in one.subject for one in mail.mails) <= 4, "they come in groups"
    assert "40 alerts" in text or "20 alerts" in text
    assert PASSWORD not in log + (first.stderr.read() if first.stderr else "")


def test_a_test_message_can_be_sent_and_says_what_is_wrong(database_url: str, mail: MailServer) -> None:
    environment = {**os.environ, "DIFFERLINE_NOTIFY_URLS": json.dumps({"mail": url_of(mail)})}
    environment["DIFFERLINE_DATABASE_URL"] = database_url

    def tried() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "infra.notify", "--try"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    away = tried()
    assert away.returncode == 1
    assert "notice.away" in away.stderr
    assert PASSWORD not in away.stderr
    mail.start()
    assert tried().returncode == 0
    assert "test message" in mail.mails[0].subject


def test_the_relays_role_may_tell_people(
    database: sa.Engine, making: Making, mail: MailServer, relay_user: sa.Engine
) -> None:
    mail.start()
    add_verdict(database, NOON, "frame")
    open_alert(database)
    notifier = making(engine=relay_user, clock=lambda: utc_now() + timedelta(hours=2))
    assert notifier.look() == 1
    assert notifier.look() == 0
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(notice_cursors)) == 1
    for statement in ("DELETE FROM alert_notices", "UPDATE alerts SET state = 'acknowledged'", "DELETE FROM alerts"):
        with pytest.raises(sa.exc.ProgrammingError), relay_user.begin() as connection:
            connection.execute(sa.text(statement))


@pytest.fixture
def relay_user(database: sa.Engine, database_url: str) -> Iterator[sa.Engine]:
    """A login user of the relay's role, as the README makes one."""
    name = f"notifier_{os.getpid()}"
    with database.begin() as connection:
        connection.execute(sa.text(f"CREATE USER {name} PASSWORD '{PASSWORD}'"))
        connection.execute(sa.text(f"GRANT differline_relay TO {name}"))
    url = sa.make_url(database_url).set(username=name, password=PASSWORD)
    engine = open_database(url.render_as_string(hide_password=False), pool_size=2)
    yield engine
    engine.dispose()
    with database.begin() as connection:
        connection.execute(sa.text(f"DROP ROLE {name}"))
