"""The process that owns one embedded PostgreSQL: makes it, starts it, restarts it, and never outlives its parent.

Started by `demo.postgres` with one JSON argument. Its standard input is a lifeline: when that closes, however the
parent ended, the server is stopped. Its standard output speaks one JSON object a line: `waiting`, `ready`, `error`.

Layout of the folder (0700): `lock` (held as long as any server process lives), `data/` (the cluster), `port` (the last
one, tried again), `postgres.log`, `home` (only if the data had to live elsewhere, see `demo.unprivileged`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import locale
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.unprivileged import Identity, NobodyToBe, settle

LOCK_WAIT_S = 20.0  # an earlier owner that was killed may still be shutting down
FAST_STOP_S = 120.0
HARD_STOP_S = 10.0
TICK_S = 0.2
PORTS_TRIED_MAX = 5
RESTARTS_MAX = 5
LOG_BYTES_MAX = 10_000_000
SOCKET_PATH_MAX = 100  # sun_path holds 108 bytes on Linux, 104 on macOS

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_min_messages": "warning",
    "max_connections": "120",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_completion_target": "0.9",
}
# For throw-away test databases only: a power cut may destroy the cluster.
FRAGILE_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "10min",
}


class PostgresTrouble(Exception):
    """The server cannot be had; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent asks for. `port` None: a free one, the last one if possible."""

    folder: str
    binaries: str
    password: str
    port: int | None
    durable: bool
    way: str
    lock_wait_s: float = LOCK_WAIT_S


def say(**fact: object) -> None:
    """Tell the parent one fact; a parent that is gone is noticed elsewhere."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(fact), flush=True)


def main() -> int:
    """Guard one server until the lifeline closes; exit code 1 after an `error` line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.umask(0o077)
    try:
        _guard(Order(**json.loads(sys.argv[1])))
    except (PostgresTrouble, NobodyToBe) as trouble:
        say(error=str(trouble))
        return 1
    except OSError as trouble:
        say(error=f"{trouble.filename or 'PostgreSQL'}: {trouble.strerror or trouble}")
        return 1
    return 0


def _guard(order: Order) -> None:
    folder = Path(order.folder)
    with _lock(folder / "lock", order.lock_wait_s) as lock_fd:
        home = _home(folder)
        owner_uid = (home / "data").stat().st_uid if (home / "data").exists() else None
        identity = settle(order.way, (folder, Path(order.binaries, "postgres"), Path(sys.prefix)), owner_uid)
        home = _reachable_home(folder, home, identity)
        binaries = _reachable_binaries(Path(order.binaries), identity)
        _make_cluster(home, binaries, identity, order)
        with _socket_folder(home, identity) as sockets:
            _keep_running(_Cluster(folder, home, binaries, identity, sockets, lock_fd, order))


@contextlib.contextmanager
def _lock(path: Path, wait_s: float) -> Iterator[int]:
    """Own the folder. Every server process inherits the lock: when it is free, no server is left. Raises PostgresTrouble."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline or _orphaned():
                    raise PostgresTrouble(
                        f"{path.parent} 正被另一个进程使用 / is in use by another running instance"
                    ) from None
                time.sleep(0.1)
        yield fd
    finally:
        os.close(fd)


def _home(folder: Path) -> Path:
    """Find where the data are: the folder, or the place an earlier run had to choose."""
    pointer = folder / "home"
    return Path(pointer.read_text().strip()) if pointer.exists() else folder


def _reachable_home(folder: Path, home: Path, identity: Identity) -> Path:
    """Make the home usable for the identity, elsewhere if it must be."""
    if identity.uid is None:
        return home
    identity.own(home)
    if not identity.can(home, os.R_OK | os.W_OK | os.X_OK):
        home = Path("/var/lib/shoudian-demo", hashlib.sha256(str(folder).encode()).hexdigest()[:12])
        home.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        home.parent.chmod(0o711)
        home.mkdir(mode=0o700, exist_ok=True)
        identity.own(home)
        (folder / "home").write_text(f"{home}\n")
    return home


def _reachable_binaries(binaries: Path, identity: Identity) -> Path:
    """Give back a folder of server programs that the identity may run, a copy if it must be."""
    if identity.uid is None or identity.can(binaries / "postgres", os.R_OK | os.X_OK):
        return binaries
    stamp = (binaries / "postgres").stat()
    copy = Path(f"/var/lib/shoudian-demo/programs-{stamp.st_size}-{stamp.st_mtime_ns}")
    if not copy.exists():
        copy.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=copy.parent, prefix="part-"))
        for name in ("bin", "lib", "share"):
            shutil.copytree(binaries.parent / name, part / name, symlinks=True)
        for path in (part, *part.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        part.rename(copy)
    if not identity.can(copy / "bin" / "postgres", os.R_OK | os.X_OK):
        raise PostgresTrouble(f"{copy}: 无权执行 / that user may not run programs there")
    return copy / "bin"


def _make_cluster(home: Path, binaries: Path, identity: Identity, order: Order) -> None:
    """Run initdb once; a cluster appears whole or not at all. Raises PostgresTrouble."""
    data, part, word = home / "data", home / "data.part", home / "password.part"
    if data.exists():
        _check_version(data, binaries)
        return
    shutil.rmtree(part, ignore_errors=True)
    word.write_text(order.password)
    identity.own(word)
    arguments = [
        "-U",
        "postgres",
        f"--pwfile={word}",
        "--auth=scram-sha-256",
        "--data-checksums",
        "--encoding=UTF8",
    ]
    arguments += [
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        f"--lc-ctype={_ctype()}",
    ]
    try:
        done = subprocess.run(
            [binaries / "initdb", "-D", part, *arguments, *([] if order.durable else ["--no-sync"])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=home,
            user=identity.uid,
            group=identity.gid,
            extra_groups=None if identity.uid is None else [],
            check=False,
        )
    finally:
        word.unlink(missing_ok=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["initdb"])[-1]
        raise PostgresTrouble(f"数据库初始化失败 / initdb failed in {home}: {last}")
    part.rename(data)


def _check_version(data: Path, binaries: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    ours = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    major = ours.stdout.split()[-1].split(".")[0]
    if made_by != major:
        raise PostgresTrouble(
            f"{data} 由 PostgreSQL {made_by} 创建，当前为 {major} / was made by version {made_by}, this is {major}: "
            "dump it with the old version, or move the folder away"
        )


def _ctype() -> str:
    """C.UTF-8 where the system has it (the text search parser asks the system, not the built-in provider)."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        return "C.UTF-8"
    except locale.Error:
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


@contextlib.contextmanager
def _socket_folder(home: Path, identity: Identity) -> Iterator[Path]:
    """Lend a private folder with a short path for the Unix socket."""
    inside = home / "socket"
    if len(str(inside / ".s.PGSQL.65535")) <= SOCKET_PATH_MAX:
        inside.mkdir(mode=0o700, exist_ok=True)
        identity.own(inside)
        yield inside
        return
    short = Path("/tmp") if os.access("/tmp", os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="shoudian-pg-", dir=short, ignore_cleanup_errors=True) as name:
        identity.own(Path(name))
        yield Path(name)


@dataclass(frozen=True, slots=True)
class _Cluster:
    folder: Path
    home: Path
    binaries: Path
    identity: Identity
    sockets: Path
    lock_fd: int
    order: Order

    @property
    def data(self) -> Path:
        return self.home / "data"

    def spawn(self, port: int) -> subprocess.Popen[bytes]:
        settings = SETTINGS | ({} if self.order.durable else FRAGILE_SETTINGS)
        settings |= {"port": str(port), "unix_socket_directories": str(self.sockets)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = self.folder / "postgres.log"
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as sink:
            return self.identity.spawn(
                [self.binaries / "postgres", "-D", self.data, *options],
                death_signal=signal.SIGINT,  # should even this guard be killed: a fast shutdown
                keep_open=[self.lock_fd],
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                cwd=self.home,
                stdout=sink,
                stderr=sink,
            )


def _keep_running(cluster: _Cluster) -> None:
    """Start the server, again after a violent death, until the lifeline closes. Raises PostgresTrouble."""
    restarts = 0
    while True:
        server, port = _start(cluster)
        say(ready=True, port=port, pid=server.pid, sockets=str(cluster.sockets), way=cluster.identity.way)
        try:
            while server.poll() is None:
                if _parent_is_gone(TICK_S):
                    return
        finally:
            _stop(server)
        restarts += 1
        if restarts > RESTARTS_MAX:
            raise PostgresTrouble(f"PostgreSQL 反复退出 / keeps ending: {_last_words(cluster)}")


def _start(cluster: _Cluster) -> tuple[subprocess.Popen[bytes], int]:
    """Start and wait as long as recovery takes; a busy automatic port is exchanged for a free one."""
    for _ in range(PORTS_TRIED_MAX):
        _clear_stale_pid(cluster.data)
        port = _choose_port(cluster)
        words_before = len(_log_lines(cluster))
        server = cluster.spawn(port)
        try:
            if _becomes_ready(server, cluster.data):
                (cluster.folder / "port").write_text(f"{port}\n")
                return server, port
        except BaseException:
            _stop(server)
            raise
        words = "\n".join(_log_lines(cluster)[words_before:])
        if "Address already in use" not in words or cluster.order.port is not None:
            break
    raise PostgresTrouble(f"PostgreSQL 无法启动 / did not start: {_last_words(cluster)}")


def _choose_port(cluster: _Cluster) -> int:
    if cluster.order.port is not None:
        if not _is_free(cluster.order.port):
            raise PostgresTrouble(
                f"端口 {cluster.order.port} 已被占用 / port {cluster.order.port} is already in use"
            )
        return cluster.order.port
    last = cluster.folder / "port"
    with contextlib.suppress(OSError, ValueError):
        if _is_free(int(last.read_text())):
            return int(last.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _becomes_ready(server: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait until line 8 of postmaster.pid says so (as pg_ctl does); False when the server ended first."""
    began = told = time.monotonic()
    while server.poll() is None:
        if _parent_is_gone(0.02):
            raise SystemExit(0)
        with contextlib.suppress(OSError):
            lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
            if len(lines) >= 8 and lines[0] == str(server.pid) and lines[7].strip() == "ready":
                return True
        if time.monotonic() - told > 3:
            told = time.monotonic()
            say(waiting=f"PostgreSQL 正在恢复 / is recovering: {told - began:.0f} s")
    return False


def _clear_stale_pid(data: Path) -> None:
    """Remove a leftover postmaster.pid, whole, truncated or empty. Raises PostgresTrouble when a server lives there.

    We hold the folder's lock, so only a server started by hand can still be there: it works in the data folder.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + LOCK_WAIT_S
    while living := _working_in(data):
        if time.monotonic() > deadline:
            raise PostgresTrouble(f"进程 {living} 正在使用 {data} / process {living} is using it")
        time.sleep(0.1)
    pid_file.unlink(missing_ok=True)


def _working_in(data: Path) -> int | None:
    real = os.path.realpath(data)
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == real:
                return int(entry.parent.name)
    return None


_PARENT = os.getppid()


def _orphaned() -> bool:
    return os.getppid() != _PARENT


def _parent_is_gone(wait_s: float) -> bool:
    """Wait a little for the lifeline to close. The parent's id is looked at too: a forked sibling may hold the pipe."""
    readable, _, _ = select.select([sys.stdin], [], [], wait_s)
    return (bool(readable) and os.read(sys.stdin.fileno(), 64) == b"") or _orphaned()


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown (SIGINT), then immediate (SIGQUIT), then SIGKILL."""
    for step, wait_s in (
        (signal.SIGINT, FAST_STOP_S),
        (signal.SIGQUIT, HARD_STOP_S),
        (signal.SIGKILL, HARD_STOP_S),
    ):
        if server.poll() is not None:
            return
        server.send_signal(step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(wait_s)


def _log_lines(cluster: _Cluster) -> list[str]:
    try:
        return (cluster.folder / "postgres.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _last_words(cluster: _Cluster) -> str:
    lines = _log_lines(cluster)
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line or "ERROR" in line]
    return f"{(fatal or lines or ['?'])[-1]} ({cluster.folder / 'postgres.log'})"


if __name__ == "__main__":
    sys.exit(main())
