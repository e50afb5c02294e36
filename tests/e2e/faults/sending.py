"""A producer as a process of its own: sends planned frames in order and writes down each one that the bus acknowledged.

usage: sending.py PLAN ACKNOWLEDGED [FRAMES_PER_SECOND]    the settings come from the environment

PLAN and ACKNOWLEDGED hold one JSON object a line. A frame is tried until it is acknowledged, under the same id.
"""

import json
import sys
import time
from pathlib import Path

from infra.bus import Producer
from infra.bus.kafka import KafkaBusProducer
from infra.clock import utc_now
from infra.errors import TransientError
from infra.frames import FrameMessage, sha256_hex, to_headers
from infra.settings import load_settings

_ATTEMPT_S = 10.0


def send(producer: Producer, topic: str, frame: FrameMessage) -> None:
    """Send one frame, for as long as it takes."""
    while True:
        try:
            producer.send(topic, frame.camera.encode(), to_headers(frame), frame.body, timeout_s=_ATTEMPT_S)
        except TransientError:
            continue
        return


def main() -> None:
    """Send a plan."""
    plan, acknowledged = Path(sys.argv[1]), Path(sys.argv[2])
    pause_s = 1 / float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    settings = load_settings()
    producer = KafkaBusProducer(settings)
    due = time.monotonic()
    with acknowledged.open("a", encoding="utf-8", buffering=1) as book:
        for line in plan.read_text().splitlines():
            planned = json.loads(line)
            body = Path(planned["picture"]).read_bytes()
            digest = sha256_hex(body)
            send(
                producer,
                settings.frames_topic,
                FrameMessage(
                    frame_id=planned["frame_id"],
                    camera=planned["camera"],
                    product=planned["product"],
                    captured_at=utc_now(),
                    body=body,
                    sha256=digest,
                    run=planned["run"],
                    sequence=planned["sequence"],
                ),
            )
            book.write(json.dumps({**planned, "sha256": digest}) + "\n")
            due += pause_s
            time.sleep(max(0.0, due - time.monotonic()))
    producer.close()


if __name__ == "__main__":
    main()
