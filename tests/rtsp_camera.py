"""A real RTSP server as a camera for tests: started, killed, started again on the same port; and pictures with a number."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from .servers import free_port

PROGRAM = Path(__file__).parent / "rtsp_program.py"
SYSTEM_PYTHON = "/usr/bin/python3"
WIDTH, HEIGHT = 320, 240
NUMBERS = 256
_START_S = 30


@dataclass
class RtspServer:
    """A camera that can be pulled out and plugged in.

    Attributes:
        folder: Its pictures.
        options: Options of the program, such as `--codec jpeg`.
        port: Its port, the same after each start.
    """

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _process: "subprocess.Popen[str] | None" = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def start(self) -> "RtspServer":
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(PROGRAM), str(self.folder), "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        if self._process.stdout.readline().strip() != str(self.port):
            self.kill()
            pytest.fail(f"no RTSP server: `make tools` installs it\n{self._process.stderr.read()}", pytrace=False)
        return self

    def kill(self) -> None:
        """End it as a power failure would."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(_START_S)

    def hang(self) -> None:
        """Let it stand still: connections stay, and nothing comes."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def close(self) -> None:
        """End it and its pipes."""
        self.kill()
        if self._process is not None:
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()


@contextlib.contextmanager
def rtsp_server(folder: Path, *options: str) -> Iterator[RtspServer]:
    """Run a server for a while."""
    server = RtspServer(folder, options)
    try:
        yield server.start()
    finally:
        server.close()


def numbered(number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """A picture with its number as eight fields of black or white, which survive every codec."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for bit in range(8):
        picture[:40, bit * 40 : (bit + 1) * 40] = 255 if number >> bit & 1 else 0
    cv2.putText(picture, str(number), (100, 160), cv2.FONT_HERSHEY_SIMPLEX, 3, (255, 255, 255), 5)
    return picture


def number_on(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> int:
    """Read the number of a picture again."""
    return sum(int(picture[20, bit * 40 + 20].mean() > 128) << bit for bit in range(8))


def draw(folder: Path, count: int = NUMBERS) -> Path:
    """Fill a folder with numbered pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), numbered(number))
    return folder


def write_video(path: Path, count: int, codec: str = "MJPG") -> Path:
    """Write a video of numbered pictures."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(count):
        writer.write(numbered(number))
    writer.release()
    return path


def with_qr(*texts: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """A grey picture with a QR code for each text."""
    picture = np.full((300, 300 * max(1, len(texts)), 3), 200, np.uint8)
    for place, text in enumerate(texts):
        code = cv2.QRCodeEncoder.create().encode(text)
        code = cv2.resize(code, (180, 180), interpolation=cv2.INTER_NEAREST)
        picture[60:240, 300 * place + 60 : 300 * place + 240] = code[..., None]
    return picture


@pytest.fixture(scope="session")
def numbered_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of numbered pictures."""
    return draw(tmp_path_factory.mktemp("numbered"))
