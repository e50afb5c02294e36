"""A line of a test's own: sends frames, builds workers, reads what became of them."""

import threading

import sqlalchemy as sa

from infra.bus.connect import open_producer
from infra.clock import utc_now
from infra.engines import Engines
from infra.frames import FrameMessage, new_id, sha256_hex, to_headers
from infra.ledger_report import current_ledger
from infra.pictures import encode_jpeg
from infra.settings import Settings
from infra.store.ledger import Ledger
from scorer.__main__ import build_worker
from scorer.worker import Worker

from ..small_model import part_picture

RUN = "run-1"


class Line:
    def __init__(self, settings: Settings, engines: Engines, database: sa.Engine) -> None:
        self.settings = settings
        self.engines = Engines(str(settings.database_url), engines.redis_url)
        self.database = database
        self.producer = open_producer(settings, self.engines)
        self.sequence = 0
        self.workers: list[Worker] = []

    def frame(self, body: bytes | None = None, camera: str = "cam", product: str = "part") -> FrameMessage:
        body = encode_jpeg(part_picture(100 + self.sequence)) if body is None else body
        self.sequence += 1
        return FrameMessage(
            frame_id=new_id(),
            camera=camera,
            product=product,
            captured_at=utc_now(),
            body=body,
            sha256=sha256_hex(body),
            run=RUN,
            sequence=self.sequence - 1,
        )

    def send(self, *frames: FrameMessage) -> None:
        for frame in frames:
            topic = self.settings.frames_topic
            self.producer.send(topic, frame.camera.encode(), to_headers(frame), frame.body, timeout_s=10)

    def worker(self, **changes: object) -> Worker:
        settings = self.settings.model_copy(update=changes)
        worker = build_worker(settings, self.engines, threading.Event())
        self.workers.append(worker)
        return worker

    def ledger(self) -> Ledger:
        return current_ledger(self.settings, self.engines)

    def rows(self, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
        with self.database.connect() as connection:
            return list(connection.execute(sa.select(table)))

    def close(self) -> None:
        self.producer.close()
        for worker in self.workers:
            worker.close()
