"""What a scorer serves about itself, on real engines and over HTTP."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from infra.bus.connect import open_producer
from infra.clock import utc_now
from infra.engines import Engines
from infra.frames import FrameMessage, new_id, sha256_hex, to_headers
from infra.monitoring import MonitoringServer
from infra.pictures import encode_jpeg
from infra.settings import Settings
from infra.store.models import RegisteredModel
from scorer.__main__ import build_worker
from scorer.worker import Worker

from ..small_model import part_picture

pytestmark = pytest.mark.usefixtures("database")
Send = Callable[..., None]


@pytest.fixture
def on_these(settings: Settings, engines: Engines) -> Engines:
    return Engines(str(settings.database_url), engines.redis_url)


@pytest.fixture
def send(settings: Settings, on_these: Engines) -> Iterator[Send]:
    producer = open_producer(settings, on_these)

    def send_one(body: bytes, frame_id: str | None = None) -> None:
        frame = FrameMessage(
            frame_id=frame_id or new_id(),
            camera="cam",
            product="part",
            captured_at=utc_now(),
            body=body,
            sha256=sha256_hex(body),
        )
        producer.send(settings.frames_topic, b"cam", to_headers(frame), body, timeout_s=10)

    yield send_one
    producer.close()


@contextmanager
def served(settings: Settings, engines: Engines) -> Iterator[tuple[Worker, Callable[[str], str]]]:
    """A worker, and what its `/metrics` and `/healthz` answer."""
    worker = build_worker(settings, engines, threading.Event())
    with MonitoringServer("127.0.0.1", 0, worker.watch.metrics, worker.watch.health) as server:

        def ask(path: str) -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
                    return f"{answer.status} {answer.read().decode()}"
            except urllib.error.HTTPError as error:
                return f"{error.code} {error.read().decode()}"

        yield worker, ask
    worker.consumer.close()
    worker.live.close()
    worker.database.dispose()


def test_a_scorer_tells_what_became_of_the_frames(
    settings: Settings, on_these: Engines, send: Send, put_in_force: Callable[[], RegisteredModel]
) -> None:
    put_in_force()
    for seed in range(3):
        send(encode_jpeg(part_picture(seed)), f"frame-{seed}")
    send(encode_jpeg(part_picture(0)), "frame-0")
    send(b"no picture")
    with served(settings, on_these) as (worker, ask):
        worker.run(until_idle_s=0.1)
        text = ask("/metrics")
        assert ask("/healthz") == "200 fresh\n"
    frames = [line for line in text.splitlines() if line.startswith("differline_scorer_frames_total")]
    assert sum(float(line.split()[-1]) for line in frames) == 4  # the duplicate is among the verdicts of the batch
    assert "differline_scorer_duplicate_frames_total 1.0" in text
    assert 'differline_scorer_dead_letters_total{reason="not_an_image"} 1.0' in text
    assert "differline_scorer_batch_frames_sum 5.0" in text
    assert "differline_scorer_latency_seconds_count 4.0" in text
    assert f"differline_scorer_partitions {float(settings.partitions)}" in text
    assert "differline_scorer_healthy 1.0" in text
    flow = next(line for line in text.splitlines() if 'stage="flow"' in line)
    assert float(flow.split()[-1]) > 0


def test_a_scorer_whose_database_is_away_says_so_and_is_ill(settings: Settings, on_these: Engines, send: Send) -> None:
    send(encode_jpeg(part_picture(0)))
    impatient = settings.model_copy(update={"health_stale_s": 0.3})
    with served(impatient, on_these) as (worker, ask):
        there = worker.database
        worker.database = sa.create_engine(
            "postgresql+psycopg://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1}
        )
        running = threading.Thread(target=worker.run, kwargs={"until_idle_s": 1.0})
        running.start()
        running.join(1.5)
        health, text = ask("/healthz"), ask("/metrics")
        worker.database = there
        running.join(60)
        assert not running.is_alive()
        assert health.startswith("503 no result for ")
        assert "the database does not answer" in health
        assert health.count("\n") == 1
        assert 'differline_scorer_server_away{server="database"} 1.0' in text
        assert "differline_scorer_healthy 0.0" in text
        worker.watch.looked(partitions=4, waiting=0)
        assert 'differline_scorer_server_away{server="database"} 0.0' in ask("/metrics")
        assert ask("/healthz") == "200 fresh\n"
