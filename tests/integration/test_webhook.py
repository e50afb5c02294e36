"""The webhook against a real HTTP server on loopback that fails in every way that a server can."""

import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
import structlog
import trustme
from prometheus_client import generate_latest
from pydantic import SecretStr
from structlog.testing import capture_logs

from infra.errors import PeerAwayError, SettingsError
from infra.outputs.announcing import standing_schema
from infra.outputs.connect import open_sinks
from infra.outputs.relay import Relay
from infra.outputs.sink import CameraStanding, NotTried, Refused, Standing
from infra.outputs.webhook import WebhookSink, WebhookTarget
from infra.store.outbox import OutboxKey, OutboxRow, PublishedVerdict, backlog
from infra.store.output_refusals import refusals
from infra.store.positions import claim
from infra.store.results import write_batch
from infra.store.tables import VerdictState
from infra.store.verdicts import Verdict
from infra.verdict_message import verdict_schema

from ..contract.peers import WEBHOOK_SECRET, Request, WebhookPeer
from .rows import FIRST, NOON, batch, unjudged

OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
PASSWORD = "open-sesame"


@pytest.fixture
def peer() -> Iterator[WebhookPeer]:
    made = WebhookPeer()
    made.come_back()
    yield made
    made.close()


NewSink = Callable[..., WebhookSink]


@pytest.fixture
def new_sink(peer: WebhookPeer) -> Iterator[NewSink]:
    opened: list[WebhookSink] = []

    def make(url: str = "", secrets: str = WEBHOOK_SECRET, timeout_s: float = 0.5, **more: Any) -> WebhookSink:
        opened.append(WebhookSink(WebhookTarget(url or peer.url, secrets, timeout_s, **more), every_s=60))
        return opened[-1]

    yield make
    for sink in opened:
        sink.close()


def row(number: int, camera: str = "cam") -> OutboxRow:
    verdict = Verdict(
        model_version=None,
        received_at=NOON,
        frame_id=f"frame {number}",
        camera=camera,
        product="tile",
        part_id=f"P {number}",
        job_id=None,
        sha256="0" * 64,
        simulated=None,
        captured_at=NOON,
        scored_at=None,
        committed_at=NOON,
        state=VerdictState.NO_VERDICT,
        reason="no_model",
        score=None,
        p_value=None,
        threshold=None,
        views=None,
        archive_ref=None,
    )
    return OutboxRow(OutboxKey(1, number), PublishedVerdict(verdict, f"result-{number}", None, None, None, None))


def standing(alive: int, *, in_time: bool) -> Standing:
    camera = CameraStanding("cam", in_time, "NO_VERDICT", None, None, None if in_time else "stopped")
    return Standing(alive, NOON, {"cam": camera}, in_time)


def signed(request: Request, secret: str) -> bool:
    """As the receiver of a Standard Webhook verifies."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return expected in request.headers["webhook-signature"].split(" ")


def test_a_verdict_is_posted_as_a_signed_event_with_its_key(peer: WebhookPeer, new_sink: NewSink) -> None:
    sink = new_sink(secrets=f"{WEBHOOK_SECRET} {OLD_SECRET}")
    assert sink.deliver([row(7, "Kamera Größe/1")], 5) == [None]
    (request,) = peer.taken
    event = request.event
    assert (event["id"], event["type"], event["specversion"]) == ("result-7", "differline.verdict.v1", "1.0")
    assert (event["source"], event["subject"]) == ("/cameras/Kamera%20Gr%C3%B6%C3%9Fe%2F1", "frame 7")
    jsonschema.validate(event["data"], verdict_schema(), jsonschema.Draft202012Validator)
    headers = request.headers
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert (headers["webhook-id"], headers["idempotency-key"]) == ("result-7", "result-7")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert signed(request, WEBHOOK_SECRET)
    assert signed(request, OLD_SECRET)  # both, while keys change
    assert not signed(request, "whsec_" + base64.b64encode(b"x" * 32).decode())


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_is_taken(peer: WebhookPeer, new_sink: NewSink, status: int) -> None:
    peer.answer = lambda *_: status
    assert new_sink().deliver([row(1)], 5) == [None]


@pytest.mark.parametrize("status", [301, 308, 401, 403, 407, 408, 410, 425, 429, 500, 502, 503])
def test_what_is_not_about_the_verdict_is_waited_out(peer: WebhookPeer, new_sink: NewSink, status: int) -> None:
    peer.answer = lambda *_: status
    (answer,) = new_sink().deliver([row(1)], 5)
    assert isinstance(answer, PeerAwayError)
    assert f"answers {status}" in str(answer)
    assert len(peer.asked) == 1  # a redirect is not followed


def test_a_redirect_is_not_followed(peer: WebhookPeer, new_sink: NewSink) -> None:
    def elsewhere(handler: Any, request: Request) -> int | None:
        if request.path != "/hook":
            return 204
        handler.send_response(307)
        handler.send_header("location", "/elsewhere")
        handler.send_header("content-length", "0")
        handler.end_headers()
        return None

    peer.answer = elsewhere
    (answer,) = new_sink().deliver([row(1)], 5)
    assert isinstance(answer, PeerAwayError)
    assert "set the address itself" in str(answer)
    assert [request.path for request in peer.asked] == ["/hook"]


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_what_is_about_the_verdict_is_refused(peer: WebhookPeer, new_sink: NewSink, status: int) -> None:
    peer.answer = lambda *_: status
    (answer,) = new_sink().deliver([row(1)], 5)
    assert isinstance(answer, Refused)
    assert f"answers {status}" in str(answer)


def cut(handler: Any, _request: Request) -> None:
    """The connection ends without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler: Any, _request: Request) -> None:
    handler.close_connection = True
    time.sleep(2.0)


def drip(handler: Any, _request: Request) -> None:
    """An answer that never ends, and begins any time-out of a read anew."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(30):
        handler.wfile.write(f"x-{number}: drip\r\n".encode())
        time.sleep(0.1)


def nonsense(handler: Any, _request: Request) -> None:
    handler.close_connection = True
    handler.wfile.write(b"\x00\xffSMTP ready\r\n\r\n")


def endless(handler: Any, _request: Request) -> None:
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 500 Oops\r\n\r\n" + b"x" * 1_000_000)


@pytest.mark.parametrize("fault", [cut, hang, drip, nonsense, endless])
def test_a_peer_that_breaks_off_hangs_or_talks_nonsense_costs_its_timeout_and_no_more(
    peer: WebhookPeer, new_sink: NewSink, fault: Callable[[Any, Request], int | None]
) -> None:
    sink = new_sink(timeout_s=1.2)  # enough for a willing peer on a busy machine, and less than the fault lasts
    peer.answer = fault
    began = time.monotonic()
    (answer,) = sink.deliver([row(1)], 5)
    assert time.monotonic() - began < 2.0
    assert isinstance(answer, PeerAwayError)
    peer.answer = lambda *_: 204
    assert sink.deliver([row(1)], 5) == [None]
    assert len({request.headers["webhook-id"] for request in peer.asked}) == 1


def test_a_peer_that_drips_on_every_connection_is_talked_to_on_new_ones(peer: WebhookPeer, new_sink: NewSink) -> None:
    sink = new_sink()
    peer.answer = drip
    answers = sink.deliver([row(number, f"cam{number}") for number in range(8)], 5)
    assert all(isinstance(answer, PeerAwayError) for answer in answers)
    peer.answer = lambda *_: 204
    assert sink.deliver([row(number, f"cam{number}") for number in range(8)], 5) == [None] * 8


def test_one_camera_whose_answer_hangs_holds_up_no_other_one(peer: WebhookPeer, new_sink: NewSink) -> None:
    peer.answer = lambda handler, request: hang(handler, request) if b"result-3" in request.body else 204
    answers = new_sink().deliver([row(number, f"cam{number}") for number in range(20)], 5)
    assert [answer is None for answer in answers] == [number != 3 for number in range(20)]


def test_what_there_is_no_time_for_is_not_tried(peer: WebhookPeer, new_sink: NewSink) -> None:
    def slow(*_: object) -> int:
        time.sleep(0.3)
        return 204

    peer.answer = slow
    answers = new_sink().deliver([row(number, f"cam{number}") for number in range(40)], 5)
    assert any(answer is None for answer in answers)
    assert any(isinstance(answer, NotTried) for answer in answers)
    assert len(peer.asked) < 40


def test_an_absent_peer_is_told_and_raises_nothing(new_sink: NewSink, peer: WebhookPeer) -> None:
    peer.go_away()
    sink = new_sink()
    (answer,) = sink.deliver([row(1)], 5)
    assert isinstance(answer, PeerAwayError)
    sink.beat(standing(0, in_time=True))
    for url in ("http://no-such-host.invalid/", "http://127.0.0.1:1/"):
        (answer,) = new_sink(url).deliver([row(1)], 5)
        assert isinstance(answer, PeerAwayError)


@pytest.mark.parametrize("retry_after", ["30", "Thu, 01 Jan 2099 00:00:00 GMT"])
def test_a_peer_that_asks_to_be_left_alone_is(peer: WebhookPeer, new_sink: NewSink, retry_after: str) -> None:
    def busy(handler: Any, _request: Request) -> None:
        handler.send_response(429)
        handler.send_header("retry-after", retry_after)
        handler.send_header("content-length", "0")
        handler.end_headers()

    peer.answer = busy
    sink = new_sink()
    for _ in range(3):
        (answer,) = sink.deliver([row(1)], 5)
        assert isinstance(answer, PeerAwayError)
    assert len(peer.asked) == 1


def test_a_retry_after_that_says_nothing_is_passed_over(peer: WebhookPeer, new_sink: NewSink) -> None:
    def busy(handler: Any, _request: Request) -> None:
        handler.send_response(503)
        handler.send_header("retry-after", "soon, perhaps")
        handler.send_header("content-length", "0")
        handler.end_headers()

    peer.answer = busy
    sink = new_sink()
    for _ in range(2):
        sink.deliver([row(1)], 5)
    assert len(peer.asked) == 2


def test_only_a_peer_with_a_certificate_that_we_trust_gets_anything(
    peer: WebhookPeer, new_sink: NewSink, tmp_path: Path
) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    assert peer._server is not None
    peer._server.socket = context.wrap_socket(peer._server.socket, server_side=True)
    url = peer.url.replace("http:", "https:")
    for ca, name in ((ours, "ours.pem"), (theirs, "theirs.pem")):
        ca.cert_pem.write_to_path(str(tmp_path / name))
    (answer,) = new_sink(url).deliver([row(1)], 5)
    assert isinstance(answer, PeerAwayError)
    assert "certificate" in str(answer)
    (answer,) = new_sink(url, cafile=tmp_path / "theirs.pem").deliver([row(1)], 5)
    assert isinstance(answer, PeerAwayError)
    assert peer.asked == []
    assert new_sink(url, timeout_s=5.0, cafile=tmp_path / "ours.pem").deliver([row(1)], 5) == [None]


def test_the_standing_is_posted_when_it_changes_and_as_a_heartbeat(peer: WebhookPeer) -> None:
    with closing(WebhookSink(WebhookTarget(peer.url, WEBHOOK_SECRET, 1.0), every_s=0.2)) as sink:
        sink.beat(standing(0, in_time=True))
        sink.beat(standing(1, in_time=True))
        sink.beat(standing(2, in_time=False))
        sink.beat(standing(3, in_time=False))
        time.sleep(0.3)
        sink.beat(standing(4, in_time=False))
    found = peer.requests("differline.standing.v1")
    bodies: list[Any] = [request.event["data"] for request in found]
    assert [body["alive"] for body in bodies] == [0, 2, 4]
    for body in bodies:
        jsonschema.validate(body, standing_schema(), jsonschema.Draft202012Validator)
    assert bodies[0]["notInTime"] == []
    assert [(each["camera"], each["state"], each["reason"]) for each in bodies[1]["notInTime"]] == [
        ("cam", "NO_VERDICT", "stopped")
    ]
    assert all(signed(request, WEBHOOK_SECRET) for request in found)
    assert len({request.headers["webhook-id"] for request in found}) == 3


def test_a_standing_that_was_not_heard_is_told_again(peer: WebhookPeer, new_sink: NewSink) -> None:
    sink = new_sink()
    peer.answer = lambda *_: 500
    sink.beat(standing(0, in_time=False))
    peer.answer = lambda *_: 204
    sink.beat(standing(1, in_time=False))
    sink.beat(standing(2, in_time=False))
    (request,) = peer.requests("differline.standing.v1")
    data: Any = request.event["data"]
    assert data["alive"] == 1


@pytest.mark.parametrize(
    "target",
    [
        WebhookTarget(f"ftp://eva:{PASSWORD}@host/", WEBHOOK_SECRET, 1),
        WebhookTarget(f"eva:{PASSWORD}@host", WEBHOOK_SECRET, 1),
        WebhookTarget(f"http://eva:{PASSWORD}@ho st:port/", WEBHOOK_SECRET, 1),
        WebhookTarget(f"https:///{PASSWORD}", WEBHOOK_SECRET, 1),
        WebhookTarget("https://host/", PASSWORD, 1),
        WebhookTarget("https://host/", f"whsec_{PASSWORD}", 1),
        WebhookTarget("https://host/", WEBHOOK_SECRET + " whsec_" + base64.b64encode(b"short").decode(), 1),
        WebhookTarget("https://host/", "", 1),
        WebhookTarget("https://host/", WEBHOOK_SECRET, 1, Path("/no/such/file")),
    ],
)
def test_an_address_or_secret_that_is_none_is_refused_and_not_shown(target: WebhookTarget) -> None:
    with pytest.raises(SettingsError) as refused:
        WebhookSink(target, every_s=1)
    assert PASSWORD not in str(refused.value)
    assert "MfKQ" not in str(refused.value)


def test_credentials_are_in_no_log_metric_or_error(
    peer: WebhookPeer, settings: Any, database: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer even says them back."""
    url = peer.url.replace("http://", f"http://eva:{PASSWORD}@").replace("/hook", "/hook/token-4711?key=sesame-2")
    said = f"who is eva:{PASSWORD}? {url} token-4711 key=sesame-2 {WEBHOOK_SECRET}".encode()
    answers = iter([500, 401, 302, 422])

    def tell(handler: Any, request: Request) -> int | None:
        of_a_verdict = request.headers["webhook-id"].startswith("result")  # and not of a camera's standing
        status = next(answers, 204) if of_a_verdict else 204
        if status == 204:
            return 204
        handler.send_response(status)
        handler.send_header("content-length", str(len(said)))
        handler.send_header("location", url)
        handler.end_headers()
        handler.wfile.write(said)
        return None

    peer.answer = tell
    chosen = peer.settings(settings).model_copy(update={"webhook_url": SecretStr(url), "webhook_timeout_s": 10.0})
    assert PASSWORD not in repr(chosen)
    write_batch(
        database, [claim(database, FIRST, "test")], batch(*(unjudged(str(n), n) for n in range(3))), 7, fill_outbox=True
    )
    (sink,) = open_sinks(chosen)
    caplog.set_level("DEBUG")
    with closing(sink), capture_logs() as logs:
        relay = Relay(database, [sink], structlog.get_logger())
        assert relay.run(0.5) == 2
    expected = "Basic " + base64.b64encode(f"eva:{PASSWORD}".encode()).decode()
    assert {request.headers["authorization"] for request in peer.asked} == {expected}
    assert {request.path for request in peer.asked} == {"/hook/token-4711?key=sesame-2"}
    (one,) = refusals(database)
    told = json.dumps([logs, caplog.text, one.reason, relay.watch.health()], default=str)
    told += generate_latest(relay.watch.metrics.registry).decode()
    assert "422" in one.reason
    for secret in (PASSWORD, "token-4711", "sesame-2", WEBHOOK_SECRET, WEBHOOK_SECRET[6:], expected):
        assert secret not in told, secret


def test_a_peer_that_fails_hangs_and_answers_500_in_turn_gets_every_verdict_once_by_its_key(
    peer: WebhookPeer, settings: Any, database: sa.Engine
) -> None:
    turns = [lambda *_: 500, cut, lambda *_: 204, nonsense, lambda *_: 503, lambda *_: 204, lambda *_: 204]
    faults = [(place, turn) for place in range(8) for turn in turns]
    faults.insert(20, (20, hang))
    peer.go_away()  # at the start
    count = iter(range(10_000))
    lock = threading.Lock()

    def next_fault(handler: Any, request: Request) -> int | None:
        with lock:
            number = next(count)
        return faults[number][1](handler, request) if number < len(faults) else 204

    peer.answer = next_fault
    write_batch(
        database,
        [claim(database, FIRST, "test")],
        batch(*(unjudged(str(n), n, camera=f"cam{n % 4}", result_id=str(n)) for n in range(60))),
        7,
        fill_outbox=True,
    )
    (sink,) = open_sinks(peer.settings(settings).model_copy(update={"webhook_timeout_s": 0.5}))
    with closing(sink):
        relay = Relay(database, [sink], structlog.get_logger())
        working = threading.Thread(target=relay.run, args=(1.0,))
        working.start()
        time.sleep(1.0)
        peer.come_back()
        working.join(60)
        assert not working.is_alive()
    got = peer.got()
    for camera in range(4):
        first = list(dict.fromkeys(each.result_id for each in got if each.camera == f"cam{camera}"))
        assert first == [str(n) for n in range(camera, 60, 4)]
    assert backlog(database).rows == 0
    print(f"\nwebhook: {len(peer.asked)} requests, {len(got)} taken, 60 verdicts, each camera in order")


def test_the_signed_time_is_the_injected_clocks(peer: WebhookPeer) -> None:
    at = datetime(2026, 3, 3, 12, tzinfo=UTC)
    with closing(WebhookSink(WebhookTarget(peer.url, WEBHOOK_SECRET, 1.0), 60, lambda: at)) as sink:
        sink.deliver([row(1)], 5)
    assert peer.taken[0].headers["webhook-timestamp"] == str(int(at.timestamp()))
