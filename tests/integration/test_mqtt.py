"""The MQTT sink on a real broker, which is absent, stops, hangs and refuses; a foreign client listens."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
import trustme
from pydantic import SecretStr

from infra.errors import TransientError
from infra.outputs.mqtt import MqttSink
from infra.outputs.mqtt_broker import Broker
from infra.outputs.sink import NotTried, Refused
from infra.verdict_message import verdict_schema

from ..mosquitto import Listener, Mosquitto, listener, mosquitto
from ..verdicts_out import in_time, standing, stopped, verdict_row

__all__ = ["listener", "mosquitto"]  # fixtures
PASSWORD = "tell-nobody-7"

Opening = Callable[..., MqttSink]


@pytest.fixture
def opening(mosquitto: Mosquitto) -> Iterator[Opening]:
    sinks: list[MqttSink] = []

    def opened(**changes: object) -> MqttSink:
        where = {"host": "127.0.0.1", "port": mosquitto.port, "client_id": "differline"} | changes
        sinks.append(MqttSink(Broker(**where), "differline"))  # type: ignore[arg-type]
        return sinks[-1]

    yield opened
    for sink in sinks:
        began = time.monotonic()
        sink.close()
        assert time.monotonic() - began < 5, "closing it hangs"


def deliver_until_taken(sink: MqttSink, row: object, patience_s: float = 20.0) -> int:
    """As the relay does; returns how often it was sent."""
    deadline = time.monotonic() + patience_s
    sent = 1
    while (answer := sink.deliver([row], 1.0)) != [None]:  # type: ignore[list-item]
        assert isinstance(answer[0], TransientError)
        assert time.monotonic() < deadline, answer
        sent += 1
        time.sleep(0.1)
    return sent


def results_up_to(listening: Listener, number: int) -> list[str]:
    """Ids of what came, once that one has."""
    deadline = time.monotonic() + 20
    while True:
        found = [message["body"]["resultId"] for message in listening.messages("differline/verdicts/cam")]
        if f"cam/result {number}" in found:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_a_verdict_arrives_as_the_schema_says_with_its_key(opening: Opening, listener: Listener) -> None:
    sink = opening()
    rows = [
        verdict_row(1, "cam 1"),
        verdict_row(2, "hall/+#%", "NO_VERDICT", "late"),
        verdict_row(3, "Straße", "DEFECT"),
    ]
    assert sink.deliver(rows, 10.0) == [None, None, None]
    found = {message["topic"]: message for message in listener.wait_for("differline/verdicts/", 3)}
    assert set(found) == {f"differline/verdicts/{name}" for name in ("cam 1", "hall%2F%2B%23%25", "Straße")}
    first = found["differline/verdicts/cam 1"]
    jsonschema.Draft202012Validator(verdict_schema()).validate(first["body"])
    assert first["qos"] == 1
    properties = first["properties"]
    assert properties["content-type"] == "application/json"
    assert properties["correlation-data"] == "cam 1/result 1"
    named = properties["user-properties"]
    assert "cam 1/result 1" in str(named)
    assert "differline.verdict.v1" in str(named)
    assert listener.messages("differline/status")[0]["body"] == {"state": "ONLINE"}


def test_beats_say_that_verdicts_stopped_and_the_will_that_we_did(
    opening: Opening, listener: Listener, mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.outputs.mqtt._STATE_EXPIRES_S", 2)
    sink = opening()
    sink.deliver([verdict_row(1)], 10.0)
    sink.beat(standing(1, in_time("cam"), in_time("b")))
    sink.beat(standing(2, stopped("cam"), in_time("b", "DEFECT")))
    beats = [message["body"] for message in listener.wait_for("differline/heartbeat", 2)]
    assert [(beat["alive"], beat["inTime"]) for beat in beats] == [(1, True), (2, False)]
    states = [message["body"]["state"] for message in listener.wait_for("differline/state/cam", 2)]
    assert states == ["GOOD", "NO_VERDICT"]
    late = Listener(mosquitto, tmp_path / "plc")  # a PLC that comes later finds how things stand
    assert late.wait_for("differline/state/b")[0]["body"]["state"] == "DEFECT"
    late.close()
    time.sleep(3.2)
    later = Listener(mosquitto, tmp_path / "plc later")  # the broker forgets what nobody renews
    assert later.wait_for("differline/status")[0]["body"] == {"state": "ONLINE"}
    assert later.messages("differline/state") == []
    sink.close()
    assert later.wait_for("differline/status", 2)[1]["body"] == {"state": "OFFLINE"}
    later.close()


def test_a_broker_that_is_away_at_the_start_and_stops_is_waited_for(
    opening: Opening, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    sink = opening()
    began = time.monotonic()
    sink.beat(standing(1, in_time("cam")))
    assert time.monotonic() - began < 1
    (answer,) = sink.deliver([verdict_row(1)], 0.5)
    assert isinstance(answer, TransientError)
    assert "refused" in str(answer)
    mosquitto.start()
    listening = Listener(mosquitto, tmp_path / "mes")
    deliver_until_taken(sink, verdict_row(1))
    listening.wait_for("differline/status")
    mosquitto.stop()
    (answer,) = sink.deliver([verdict_row(2)], 0.5)
    assert isinstance(answer, TransientError)
    mosquitto.start()
    deliver_until_taken(sink, verdict_row(2))
    deliver_until_taken(sink, verdict_row(3))
    assert list(dict.fromkeys(results_up_to(listening, 3)))[-2:] == ["cam/result 2", "cam/result 3"]
    listening.close()


def test_a_broker_that_hangs_gets_its_time_and_no_old_copy_later(
    opening: Opening, listener: Listener, mosquitto: Mosquitto
) -> None:
    sink = opening()
    assert sink.deliver([verdict_row(1)], 10.0) == [None]
    mosquitto.send(signal.SIGSTOP)
    began = time.monotonic()
    (answer,) = sink.deliver([verdict_row(2)], 0.5)
    assert isinstance(answer, TransientError)
    sink.beat(standing(1, in_time("cam")))
    assert time.monotonic() - began < 2
    mosquitto.stop(signal.SIGKILL)  # what it had not read is gone with it
    mosquitto.start()
    deliver_until_taken(sink, verdict_row(3))
    deliver_until_taken(sink, verdict_row(4))
    assert "cam/result 2" not in results_up_to(listener, 4), "the relay alone says what is sent again"


def test_a_broker_that_hangs_for_a_while_gets_everything_in_order(
    opening: Opening, listener: Listener, mosquitto: Mosquitto
) -> None:
    sink = opening()
    assert sink.deliver([verdict_row(1)], 10.0) == [None]
    mosquitto.send(signal.SIGSTOP)
    for _ in range(3):
        (answer,) = sink.deliver([verdict_row(2)], 0.3)
        assert isinstance(answer, TransientError)
    mosquitto.send(signal.SIGCONT)
    deliver_until_taken(sink, verdict_row(2))
    deliver_until_taken(sink, verdict_row(3))
    found = results_up_to(listener, 3)
    assert list(dict.fromkeys(found)) == [f"cam/result {number}" for number in (1, 2, 3)]
    assert found[-1] == "cam/result 3"


def test_what_there_was_no_time_for_goes_with_the_next_ones(opening: Opening, mosquitto: Mosquitto) -> None:
    mosquitto.start()
    sink = opening()
    assert sink.deliver([verdict_row(0)], 10.0) == [None]
    many = [verdict_row(number, f"cam {number}") for number in range(2000)]
    answers = sink.deliver(many, 0.1)
    assert answers[0] is None
    assert isinstance(answers[-1], NotTried), "the broker takes twenty at a time"
    left = [row for row, answer in zip(many, answers, strict=True) if answer is not None]
    assert set(sink.deliver(left, 30.0)) == {None}


def test_a_wrong_password_is_waited_out_and_never_shown(
    opening: Opening, mosquitto: Mosquitto, capfd: pytest.CaptureFixture[str]
) -> None:
    passwords = mosquitto.folder / "passwords"

    def known_as(password: str) -> None:
        command = ["mosquitto_passwd", "-b", "-c", str(passwords), "line", password]
        subprocess.run(command, check=True, timeout=10, capture_output=True)

    known_as("another")
    mosquitto.more = f"allow_anonymous false\npassword_file {passwords}\n"
    mosquitto.start()
    sink = opening(username="line", password=SecretStr(PASSWORD))
    deadline = time.monotonic() + 10
    while "uthorized" not in str((answer := sink.deliver([verdict_row(1)], 0.5))[0]):
        assert isinstance(answer[0], TransientError)
        assert time.monotonic() < deadline, answer
    known_as(PASSWORD)
    mosquitto.send(signal.SIGHUP)
    deliver_until_taken(sink, verdict_row(1))
    output = capfd.readouterr()
    assert "mqtt.away" in output.out + output.err
    assert PASSWORD not in output.out + output.err + str(answer) + repr(vars(sink)) + repr(sink._link._broker)


def test_a_topic_that_is_not_ours_is_waited_out_and_a_packet_too_large_is_refused(
    opening: Opening, mosquitto: Mosquitto
) -> None:
    rights = mosquitto.folder / "rights"
    rights.write_text("topic read #\ntopic write differline/status\n")
    mosquitto.more = f"acl_file {rights}\nmax_packet_size 1500\n"
    mosquitto.start()
    sink = opening()
    long, short = verdict_row(1, "long" * 200), verdict_row(1, "short")
    refused, waiting = sink.deliver([long, short], 10.0)
    assert isinstance(refused, Refused)
    assert isinstance(waiting, TransientError)
    assert "Not authorized" in str(waiting)


def test_tls_checks_the_broker_and_our_certificate(opening: Opening, mosquitto: Mosquitto, tmp_path: Path) -> None:
    ours, foreign = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    foreign.cert_pem.write_to_path(tmp_path / "foreign.pem")
    server, client = ours.issue_cert("127.0.0.1"), ours.issue_cert("differline")
    for name, certificate in (("server", server), ("client", client)):
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    mosquitto.more = (
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
        "require_certificate true\n"
    )
    mosquitto.start()
    own = {"certfile": tmp_path / "client.pem", "keyfile": tmp_path / "client.key", "tls": True}
    assert opening(cafile=tmp_path / "ca.pem", **own).deliver([verdict_row(1)], 10.0) == [None]
    (answer,) = opening(cafile=tmp_path / "foreign.pem", client_id="other", **own).deliver([verdict_row(1)], 1.0)
    assert isinstance(answer, TransientError)
    assert "certificate verify failed" in str(answer)
