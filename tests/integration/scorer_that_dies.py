"""A scorer whose decoder is killed by poisoned pictures; test_trials.py runs it as a process of its own."""

import os
import signal
from typing import Any

import scorer.worker
from infra.bus import Record
from scorer.__main__ import app
from scorer.decode import DeadFrame, DecodedFrame, decode_record

POISON = b"poison"


def deadly(record: Record, **options: Any) -> DecodedFrame | DeadFrame:
    if record.value.endswith(POISON):
        os.kill(os.getpid(), signal.SIGKILL)  # as a crash in a decoder's C code ends a process
    return decode_record(record, **options)


if __name__ == "__main__":
    scorer.worker.decode_record = deadly
    app(["--until-idle", "0.5"])
