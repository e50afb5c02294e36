"""When people are told and what, without a database or a server."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from infra.errors import SettingsError, TransientError
from infra.notices.hours import QuietHours, quiet_hours
from infra.notices.message import body, subject
from infra.notices.notifier import Rule
from infra.notices.sender import Sender
from infra.notices.targets import targets_of
from infra.notices.watch import NoticeWatch
from infra.settings import Settings, load_settings
from infra.store.notices import WaitingAlert

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(time(22), time(6))
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def local(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN).astimezone(UTC)


def alert(number: int, opened_at: datetime = NOON, **changes: Any) -> WaitingAlert:
    fields = {"kind": "defect", "camera": "cam 1", "product": "tile", "missing": None, "detail": None, "part_id": None}
    return WaitingAlert(id=number, opened_at=opened_at, **(fields | changes))


@pytest.mark.parametrize(
    ("moment", "over"),
    [
        (local(3, 21, 59), local(3, 21, 59)),
        (local(3, 22), local(4, 6)),
        (local(4, 5, 59), local(4, 6)),
        (local(4, 6), local(4, 6)),
        (local(28, 23), local(29, 6)),  # the clocks are put forward in this night
        (local(24, 23, month=10), local(25, 6, month=10)),  # and back in this one
    ],
)
def test_quiet_hours_go_over_midnight_in_the_plants_time(moment: datetime, over: datetime) -> None:
    assert NIGHT.over_at(moment, BERLIN) == over


def test_quiet_hours_within_a_day_and_none_at_all() -> None:
    lunch = quiet_hours("12:00-13:00")
    assert lunch.over_at(local(3, 12, 30), BERLIN) == local(3, 13)
    assert lunch.over_at(local(3, 13, 30), BERLIN) == local(3, 13, 30)
    assert quiet_hours("08:00-08:00").over_at(local(3, 8), BERLIN) == local(3, 8)


@pytest.mark.parametrize("text", ["", "22:00", "22:00-", "22-25", "22:00+01:00-06:00", "night"])
def test_what_are_no_quiet_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quiet hours"):
        quiet_hours(text)
    with pytest.raises(SettingsError):
        load_settings(quiet_hours=text)


def test_the_first_alert_waits_for_others_of_its_window() -> None:
    rule = Rule(timedelta(0), MINUTE, None, UTC)
    alerts = [alert(1, NOON), alert(2, NOON + 50 * timedelta(seconds=1))]
    assert rule.to_be_told(alerts, NOON + 59 * timedelta(seconds=1)) == []
    assert rule.to_be_told(alerts, NOON + MINUTE) == alerts
    assert rule.to_be_told([], NOON) == []


def test_in_quiet_hours_nobody_is_told_and_they_do_not_count() -> None:
    at_once = Rule(timedelta(0), timedelta(0), NIGHT, BERLIN)
    late = Rule(30 * MINUTE, timedelta(0), NIGHT, BERLIN)
    opened = [alert(1, local(3, 21, 45)), alert(2, local(3, 23))]
    assert at_once.to_be_told(opened[:1], local(3, 21, 46)) == opened[:1]
    assert at_once.to_be_told(opened, local(4, 3)) == []
    assert at_once.to_be_told(opened, local(4, 6)) == opened
    assert late.to_be_told(opened, local(4, 5)) == []
    assert late.to_be_told(opened, local(4, 6)) == opened[:1]
    assert late.to_be_told(opened, local(4, 6, 30)) == opened


def test_an_alert_of_a_clock_that_was_ahead_is_told_now() -> None:
    future = alert(1, NOON + timedelta(days=3))
    assert Rule(timedelta(0), timedelta(0), None, UTC).to_be_told([future], NOON) == [future]


def test_a_message_says_who_what_and_when_with_a_link() -> None:
    one = alert(7, part_id="MT-7")
    assert subject([one], escalated=False) == "defect, part MT-7, cam 1, tile"
    text = body([one], BERLIN, "https://line.plant/")
    assert text == "2026-03-03 13:00:00  cam 1, tile: defect, part MT-7\n    https://line.plant/alerts?alert=7"
    assert "http" not in body([one], BERLIN, None)


def test_many_alerts_are_one_message_of_a_bounded_length() -> None:
    many = [alert(number) for number in range(300)]
    many.append(alert(300, kind="camera_health", detail="out_of_focus", product=""))
    told = subject(many, escalated=True)
    assert told == "nobody has acknowledged: 301 alerts: 300 defect, 1 camera trouble, cam 1"
    text = body(many, UTC, "https://line.plant")
    assert text.endswith("and 281 more: https://line.plant/alerts")
    assert len(text.splitlines()) == 41
    assert "camera trouble (out of focus)" in body(many[-1:], UTC, None)
    assert "12 frames missing" in body([alert(1, kind="ledger_gap", missing=12)], UTC, None)


def test_a_name_from_outside_makes_no_line_of_its_own() -> None:
    forged = alert(1, camera="cam\nBcc: all@plant.example")
    assert "\n" not in subject([forged], escalated=False)
    assert len(body([forged], UTC, None).splitlines()) == 1


def test_urls_are_never_shown() -> None:
    url = "mailto://line:tell-nobody-7@127.0.0.1:9/?from=a@b.example&to=c@d.example&cto=0.2"
    settings = load_settings(notify_urls={"mail": url})
    assert "tell-nobody" not in repr(settings) + str(settings)
    ((sender, _),) = targets_of(settings)
    with pytest.raises(TransientError) as caught:
        sender.send("subject", "body")
    assert "tell-nobody" not in str(caught.value) + repr(vars(sender))
    with pytest.raises(SettingsError) as refused:
        Sender("chat", SecretStr("nonsense://tell-nobody-7"))
    assert "tell-nobody" not in str(refused.value)


@pytest.mark.parametrize(
    "written", ["mailto://line:tell-nobody-7@host", '["mailto://line:tell-nobody-7@host"]', '{"a": ']
)
def test_urls_that_are_written_wrongly_are_not_shown_either(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("DIFFERLINE_NOTIFY_URLS", written)
    with pytest.raises(SettingsError, match="notify_urls") as caught:
        load_settings()
    assert "tell-nobody" not in str(caught.value)
    assert "differline.toml" not in str(caught.value)


def test_what_a_server_echoes_of_a_url_is_left_out() -> None:
    sender = Sender("hook", SecretStr("json://line:p%40ss-word@127.0.0.1/hooks/T0K3N-abc?+key=zz-secret-zz"))
    text = sender._without_secrets("refused p@ss-word and p%40ss-word for /hooks/T0K3N-abc\n with zz-secret-zz")
    assert not any(part in text for part in ("p@ss-word", "ss-word", "T0K3N-abc", "zz-secret-zz"))
    assert "refused" in text


def test_targets_are_those_of_the_settings() -> None:
    chosen = load_settings(
        notify_urls={"mail": "json://localhost/a"},
        escalate_urls={"boss": "json://localhost/b"},
        quiet_hours="22:00-06:00",
    )
    (mail, at_once), (boss, later) = targets_of(chosen)
    assert (mail.name, boss.name) == ("mail", "boss")
    assert (at_once.group, at_once.escalates) == (MINUTE, False)
    assert (later.after, later.group, later.escalates) == (30 * MINUTE, timedelta(0), True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"notify_urls": {"a": "json://localhost"}, "escalate_urls": {"a": "json://localhost"}},
        {"notify_urls": {"a": "carrier-pigeon"}},
    ],
)
def test_targets_that_make_no_sense_are_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        targets_of(Settings(**changes))


def test_health_names_the_target_that_does_not_take_what_is_due() -> None:
    now = [0.0]
    watch = NoticeWatch(["mail", "sms"], 60, lambda: now[0])
    now[0] = 50
    watch.nothing_due("sms")
    watch.away("mail", TransientError("mail: refused"))
    assert watch.health() is None
    now[0] = 61
    assert watch.health() == "mail: no result for 61 s: mail: refused"
    watch.told("mail", 3)
    assert watch.health() is None
