"""Answers of the app, and what it lets into memory, over a fake camera."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Never

import httpx
import pytest

from infra.errors import SettingsError, SpoolFullError
from ingest.camera_line import CameraLine
from ingest.gateway import Camera, Gateway, WhenFull
from ingest.http.app import FramePosts, Tokens
from ingest.http.cameras import PostingCameras
from ingest.http.post import PostRefusedError
from ingest.spool import Spool

JPEG = {"content-type": "image/jpeg", "x-product": "tile"}
URL = "http://differline/cameras/oven/frames"
Opener = Callable[[str], AbstractContextManager[CameraLine]]


@pytest.fixture
def open_line(tmp_path: Path) -> Opener:
    """Opens lines with a spool of 10 kB that nobody empties."""

    @contextmanager
    def opened(name: str) -> Any:
        camera = Camera(name, "", "frames", max_frame_bytes=5000, send_timeout_s=1.0)
        with Spool(tmp_path / f"{name}.sqlite3", name, max_bytes=10_000) as spool:
            gateway = Gateway(spool, camera, stop=threading.Event(), when_full=WhenFull.STOP)
            yield CameraLine(
                gateway, lambda _count, _reason: None, spool, lambda: f"{name} is ill" if name == "ill" else None
            )

    return opened


def post(
    posts: FramePosts, *bodies: Any, headers: dict[str, str] | None = None, url: str = URL
) -> list[httpx.Response]:
    """Post bodies at the same time."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(posts.app())
        async with httpx.AsyncClient(transport=transport) as client:
            sending = (client.post(url, content=body, headers={**JPEG, **(headers or {})}) for body in bodies)
            return list(await asyncio.gather(*sending))

    return asyncio.run(all_of_them())


def posts_of(cameras: PostingCameras, **more: Any) -> FramePosts:
    return FramePosts(cameras, Tokens(None, {}), largest=5000, read_timeout_s=more.pop("read_timeout_s", 5.0), **more)


def test_a_post_is_counted_under_the_next_number_and_each_answer_is_told(open_line: Opener) -> None:
    told: list[int] = []
    with PostingCameras(open_line, most=2, largest=5000) as cameras:
        posts = posts_of(cameras, on_answer=told.append)
        answers = [post(posts, body)[0] for body in (b"a", b"b", b"", bytes(5001))]
    assert [answer.status_code for answer in answers] == [202, 202, 400, 413]
    assert [answer.json()["sequence"] for answer in answers[:2]] == [0, 1]
    assert told == [202, 202, 400, 413]


def test_a_full_spool_is_429_and_uses_up_no_number_and_no_id(open_line: Opener) -> None:
    with PostingCameras(open_line, most=2, largest=5000) as cameras:
        posts = posts_of(cameras)
        answers = [post(posts, bytes(4000), headers={"ce-id": str(number)})[0] for number in range(3)]
        small = post(posts, b"small", headers={"ce-id": "2"})[0]
    assert [answer.status_code for answer in answers] == [202, 429, 429]
    assert int(answers[2].headers["retry-after"]) > 0
    assert (small.status_code, small.json()["sequence"], small.json()["repeated"]) == (202, 1, False)


def test_bodies_in_memory_are_bounded(open_line: Opener) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.3)
        yield b"b"

    with PostingCameras(open_line, most=2, largest=5000) as cameras:
        posts = posts_of(cameras, most_in_flight=12_000)
        answers = post(posts, slowly(), slowly(), slowly())  # of unknown length: each may become 5,000 bytes
        assert sorted(answer.status_code for answer in answers) == [202, 202, 429]
        assert post(posts, b"later")[0].status_code == 202


def test_a_body_that_does_not_come_is_408_and_leaves_room(open_line: Opener) -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(30)
        yield b"b"

    with PostingCameras(open_line, most=2, largest=5000) as cameras:
        posts = posts_of(cameras, read_timeout_s=0.1, most_in_flight=6_000)
        assert post(posts, stalls())[0].status_code == 408
        assert post(posts, bytes(4000))[0].status_code == 202


def test_cameras_are_bounded_and_one_that_cannot_be_opened_is_503(open_line: Opener) -> None:
    @contextmanager
    def taken(name: str) -> Any:
        if name == "taken":
            raise SettingsError("another process sends the frames of camera 'taken'")
        with open_line(name) as line:
            yield line

    with PostingCameras(taken, most=2, largest=5000) as cameras:
        posts = posts_of(cameras)
        found = [
            post(posts, b"a", url=f"http://differline/cameras/{name}/frames")[0].status_code
            for name in ("one", "taken", "ill", "three", "one")
        ]
        assert found == [202, 503, 202, 503, 202]
        assert cameras.health() == "ill is ill"
        with pytest.raises(PostRefusedError, match="2 cameras post already"):
            cameras.open("three")


def test_a_bug_is_not_hidden_as_an_answer_and_ends_the_service(
    open_line: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Never:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Gateway, "send", fails)
    ended: list[bool] = []
    with PostingCameras(open_line, most=2, largest=5000) as cameras:
        posts = posts_of(cameras, on_failure=lambda: ended.append(True))
        with pytest.raises(RuntimeError, match="a bug"):
            post(posts, b"a")
    assert ended == [True]
    assert isinstance(posts.failure, RuntimeError)


def test_a_spool_that_cannot_be_read_takes_nothing(open_line: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Never:
        raise SpoolFullError("the disk does not answer")

    monkeypatch.setattr(Spool, "known", fails)
    with PostingCameras(open_line, most=2, largest=5000) as cameras:
        assert post(posts_of(cameras), b"a", headers={"ce-id": "1"})[0].status_code == 429
