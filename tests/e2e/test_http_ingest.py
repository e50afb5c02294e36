"""`differline ingest http` against curl and many clients: nothing lost, nothing doubled, whatever is killed."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from infra.bus.connect import open_consumer
from infra.engines import Engines
from infra.frames import FrameMessage, from_headers, sha256_hex
from infra.settings import Settings
from infra.store.ledger import CameraLedger, read_ledger
from scorer.__main__ import build_worker

from .commands import Differline

TOKEN, OVEN_TOKEN = "open-sesame-7319", "oven-only-2841"
JPEG = {"Content-Type": "image/jpeg"}
WAIT_S = 60.0


class Service:
    """The command in a process of its own, which may be killed and started again on the same port."""

    def __init__(self, settings: Settings, folder: Path, **more: str) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            self.port = int(listener.getsockname()[1])
        self.log = folder / "log"
        self._client = httpx.Client(timeout=30.0, limits=httpx.Limits(max_connections=100))
        self._command = Differline(
            folder,
            {
                "DIFFERLINE_DATABASE_URL": str(settings.database_url),
                "DIFFERLINE_REDIS_URL": str(settings.redis_url),
                "DIFFERLINE_HTTP_PORT": str(self.port),
                "DIFFERLINE_HTTP_TOKEN": TOKEN,
                "DIFFERLINE_HTTP_CAMERA_TOKENS": json.dumps({"oven": OVEN_TOKEN}),
                "DIFFERLINE_BUS_MAX_FRAMES": "100000",
                **more,
            },
        )

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[str]"]:
        before = self.log.read_text().count("http.listening") if self.log.exists() else 0
        with self.log.open("a") as log:
            process = self._command.start("ingest", "http", "--product", "tile", into=log)
        try:
            deadline = time.monotonic() + WAIT_S
            while self.log.read_text().count("http.listening") == before:
                assert time.monotonic() < deadline, self.log.read_text()
                assert process.poll() is None, self.log.read_text()
                time.sleep(0.1)
            yield process
        finally:
            process.kill()
            process.wait(30)

    def url(self, camera: str = "press") -> str:
        return f"http://127.0.0.1:{self.port}/cameras/{camera}/frames"

    def post(
        self, body: bytes = b"a picture", camera: str = "press", token: str = TOKEN, **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.post(
            self.url(camera), content=body, headers={**JPEG, "Authorization": f"Bearer {token}", **named}
        )


@pytest.fixture
def service(settings: Settings, tmp_path: Path) -> Service:
    return Service(settings, tmp_path)


@pytest.fixture
def on_the_bus(settings: Settings, engines: Engines) -> Iterator["OnTheBus"]:
    reader = OnTheBus(settings, engines)
    yield reader
    reader.consumer.close()


class OnTheBus:
    """The frames that have reached the bus."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.consumer = open_consumer(settings, engines)
        for partition in self.consumer.assigned():
            self.consumer.seek_to_beginning(partition)
        self.frames: list[FrameMessage] = []

    def wait_for(self, count: int) -> list[FrameMessage]:
        deadline = time.monotonic() + WAIT_S
        while (found := len({(frame.camera, frame.frame_id) for frame in self.frames})) < count:
            assert time.monotonic() < deadline, f"{found} of {count}"
            self.read()
        self.read()
        return self.frames

    def read(self) -> None:
        for record in self.consumer.poll(1000, 0.3):
            frame = from_headers(
                record.headers, record.value, key=record.key, fallback_id="", received_at=record.received_at
            )
            self.frames.append(frame)


def ledger_of(database: sa.Engine) -> dict[str, CameraLedger]:
    return {camera.camera: camera for camera in read_ledger(database, lambda _: False).cameras}


def curl(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_a_frame_that_curl_posts_is_on_the_bus_as_it_was_and_a_post_again_is_known(
    service: Service, on_the_bus: OnTheBus, tmp_path: Path, database: sa.Engine
) -> None:
    picture = tmp_path / "part.png"
    picture.write_bytes(os.urandom(2_000_000))  # large enough for curl to ask before it sends
    said = ["-H", f"Authorization: Bearer {OVEN_TOKEN}", "-H", "Content-Type: image/png", "-H", "X-Part-Id: SN%2F7"]
    said += ["-H", "ce-time: 2026-03-03T10:00:00Z", "-H", "ce-jobid: J", "-H", "ce-product: brick", "-H", "ce-id: 4711"]
    with service.running():
        first = curl(*said, "--data-binary", f"@{picture}", service.url("oven"))
        again = curl(*said, "--data-binary", f"@{picture}", service.url("oven"))
        other = curl(*said, "--data-binary", "another picture", service.url("oven"))
        (frame,) = on_the_bus.wait_for(1)
        deadline = time.monotonic() + WAIT_S
        while "oven" not in ledger_of(database) or not ledger_of(database)["oven"].received:
            assert time.monotonic() < deadline  # the ledger is told once a second
            time.sleep(0.2)
    assert (first[0], again[0], other[0]) == (202, 202, 409)
    told, told_again = json.loads(first[1]), json.loads(again[1])
    assert told_again == {**told, "repeated": True}
    assert (told["frame_id"], told["camera"], told["sequence"]) == ("4711", "oven", 0)
    assert (frame.frame_id, frame.camera, frame.product, frame.run) == ("4711", "oven", "brick", told["run"])
    assert (frame.part_id, frame.job_id, frame.content_type) == ("SN/7", "J", "image/png")
    assert frame.captured_at.isoformat() == "2026-03-03T10:00:00+00:00"
    assert frame.body == picture.read_bytes()
    assert frame.sha256 == sha256_hex(frame.body)
    assert (ledger_of(database)["oven"].received, ledger_of(database)["oven"].missing) == (1, 0)


def test_what_is_wrong_is_refused_in_one_line_and_takes_no_number(service: Service, on_the_bus: OnTheBus) -> None:
    big = bytes(9 * 2**20)
    with service.running():
        answers = {
            401: [
                service.post(token="wrong"),
                service.post(camera="oven"),  # the token of the others
                httpx.post(service.url(), content=b"x", headers=JPEG),
            ],
            400: [
                service.post(b""),
                service.post(ce_time="noon"),
                service.post(ce_sha256="0" * 64),
                service.post(ce_source="another"),
            ],
            413: [service.post(big), service.post(iter([big]))],  # type: ignore[arg-type]
            415: [service.post(Content_Type="image/gif")],
            404: [httpx.get(f"http://127.0.0.1:{service.port}/"), service.post(camera="a/b")],
            405: [httpx.get(service.url())],
        }
        for status, found in answers.items():
            for answer in found:
                assert answer.status_code == status, (status, answer.text)
                assert list(answer.json()) == ["error"]
                assert "\n" not in answer.text
        accepted = service.post()
        assert (accepted.status_code, accepted.json()["sequence"]) == (202, 0)
        on_the_bus.wait_for(1)
    assert len(on_the_bus.frames) == 1
    log = service.log.read_text()
    assert "post_refused" in log
    assert TOKEN not in log
    assert OVEN_TOKEN not in log


def test_fifty_clients_at_once_while_the_service_is_killed_lose_and_double_nothing(
    service: Service, on_the_bus: OnTheBus, settings: Settings, engines: Engines, database: sa.Engine
) -> None:
    clients, each = 50, 8
    done = threading.Semaphore(0)

    def send(client: int) -> list[str]:
        camera, ids = f"cell-{client % 5}", []
        for number in range(each):
            frame_id = f"{client}-{number}"
            body = frame_id.encode() * 2000
            for _ in range(600):
                try:
                    answer = service.post(body, camera, ce_id=frame_id)
                except httpx.TransportError:  # it was killed
                    time.sleep(0.1)
                    continue
                if answer.status_code == 202:
                    break
                assert answer.status_code == 429, answer.text
                time.sleep(int(answer.headers["Retry-After"]))
            else:
                pytest.fail(f"{frame_id} was never accepted")
            ids.append(frame_id)
            done.release()
        return ids

    with ThreadPoolExecutor(clients) as pool:
        sending = [pool.submit(send, client) for client in range(clients)]
        with service.running() as process:
            for _ in range(clients * each // 4):
                assert done.acquire(timeout=WAIT_S)
            process.kill()
            process.wait(20)
        with service.running() as process:
            posted = {frame_id for client in sending for frame_id in client.result(timeout=WAIT_S)}
            on_the_bus.wait_for(clients * each)
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
    frames = on_the_bus.frames
    once = {frame.frame_id: frame for frame in frames}
    assert set(once) == posted
    assert len(posted) == clients * each
    assert all(frame.body == frame.frame_id.encode() * 2000 for frame in frames)
    numbers = {(frame.camera, frame.run, frame.sequence) for frame in frames}
    assert len(numbers) == len(once)  # what came twice has the number that it had
    by_run: dict[tuple[str, str | None], set[int | None]] = {}
    for camera, run, sequence in numbers:
        by_run.setdefault((camera, run), set()).add(sequence)
    assert all(sequences == set(range(len(sequences))) for sequences in by_run.values())
    on_these = Engines(str(settings.database_url), engines.redis_url)
    scorer = build_worker(settings.model_copy(update={"dead_letters_per_minute": 10**6}), on_these, threading.Event())
    scorer.run(until_idle_s=1.0)
    scorer.close()
    ledger = ledger_of(database)
    assert sum(camera.received for camera in ledger.values()) == clients * each
    assert all(camera.balanced for camera in ledger.values())
    assert sum(camera.duplicates for camera in ledger.values()) == len(frames) - len(once)


def test_frames_wait_on_disk_while_the_bus_is_away_and_go_out_after_a_restart_without_another_post(
    settings: Settings, tmp_path: Path, on_the_bus: OnTheBus
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nobody = int(listener.getsockname()[1])
    away = Service(
        settings, tmp_path, DIFFERLINE_REDIS_URL=f"redis://127.0.0.1:{nobody}", DIFFERLINE_SPOOL_MAX_BYTES="1048576"
    )
    with away.running() as process:
        told = [away.post(bytes([number]) * 300_000).status_code for number in range(5)]
        held_up = away.post(bytes(300_000))
        process.kill()
    assert told == [202, 202, 202, 429, 429]
    assert (held_up.status_code, int(held_up.headers["Retry-After"]) > 0) == (429, True)
    here = Service(settings, tmp_path)
    with here.running():
        frames = on_the_bus.wait_for(3)
    assert [(frame.sequence, frame.body[0]) for frame in frames] == [(0, 0), (1, 1), (2, 2)]


def test_a_slow_client_holds_nothing_up(settings: Settings, tmp_path: Path) -> None:
    service = Service(settings, tmp_path, DIFFERLINE_HTTP_READ_TIMEOUT_S="1")
    start = f"POST /cameras/press/frames HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nAuthorization: Bearer {TOKEN}\r\n"
    with service.running():
        with closing(socket.create_connection(("127.0.0.1", service.port))) as slow:
            slow.settimeout(20)
            slow.sendall((start + "Content-Length: 100\r\n\r\nhalf").encode())
            assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]
        with closing(socket.create_connection(("127.0.0.1", service.port))) as silent:
            silent.settimeout(20)
            silent.sendall(b"POST /cam")
            assert service.post().status_code == 202
            with suppress(ConnectionResetError):
                assert silent.recv(100) == b""  # it is cut off
    assert not re.search("Traceback", service.log.read_text())


def test_others_are_not_served_without_a_token_and_a_taken_port_is_named(tmp_path: Path, settings: Settings) -> None:
    plain = {"DIFFERLINE_DATABASE_URL": str(settings.database_url), "DIFFERLINE_REDIS_URL": str(settings.redis_url)}
    command = Differline(tmp_path, plain)
    refused = command.run("ingest", "http", expect=2, DIFFERLINE_HTTP_HOST="0.0.0.0")
    assert "DIFFERLINE_HTTP_TOKEN is not set" in refused.stderr
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = str(listener.getsockname()[1])
        taken = command.run("ingest", "http", expect=2, DIFFERLINE_HTTP_PORT=port)
    assert f"cannot listen on 127.0.0.1:{port}" in taken.stderr
