"""The command around the pages: a port that is taken, a signal."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.settings import Settings

from ...servers import free_port
from .conftest import STOP_TIMEOUT_S, start


def test_a_port_that_is_taken_is_one_line(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [str(Path(sys.executable).with_name("differline")), "dashboard", "--port", str(port)]
        environment = {**os.environ, "DIFFERLINE_DATA_DIR": str(settings.data_dir)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"differline: the dashboard cannot listen on 127\.0\.0\.1 port {port}: .*\n", done.stderr)
    assert not settings.data_dir.exists()  # nothing was started for it


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_too(settings: Settings, how: signal.Signals) -> None:
    port = free_port()
    with start(settings, port) as command:
        assert command.stdout is not None
        command.stdout.readline()
        command.send_signal(how)
        assert command.wait(STOP_TIMEOUT_S) == 0
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
