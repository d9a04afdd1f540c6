"""Run a server as somebody who is not root, when we are root.

PostgreSQL refuses to run as root, and a checkout may lie under a folder that only root may enter. In order:

1. a *user namespace* in which root's files belong to an ordinary user: nothing is copied, nothing changes owner;
2. the system user `nobody`: the caller then puts the data where that user can reach it;
3. one clear refusal.

Linux for 1; any POSIX system for 2. The functions that change the identity belong in a process of their own.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from demo.guard import Trouble

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
STATE = Path("/var/lib/shoudian-demo")  # where a system user can reach its data


class NobodyToBe(Trouble):
    """We are root and can become nobody else."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the server runs as: `uid` None means as this process is."""

    way: str  # 'self' | 'namespace' | 'user'
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Give `path` to the identity; does nothing when that is us."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can(self, path: Path, mode: int) -> bool:
        """Tell whether the identity may use `path` so (os.R_OK, W_OK, X_OK), parent folders included."""

        def look() -> bool:
            return self.become() and os.access(path, mode)

        return in_child(look)

    def become(self) -> bool:
        """Turn this process into the identity, for good; True when it is not root afterwards. Raises OSError."""
        if self.uid is not None and self.gid is not None:
            os.setgroups([])
            os.setgid(self.gid)
            os.setuid(self.uid)
        return os.geteuid() != 0

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        death_signal: signal.Signals,
        keep_open: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command` as the identity; on Linux the kernel sends `death_signal` when our main thread ends."""
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd,
            pass_fds=tuple(keep_open),
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            preexec_fn=lambda: die_with_parent(death_signal),
        )


def die_with_parent(death_signal: signal.Signals) -> None:
    """Ask the kernel for `death_signal` when the parent thread ends (prctl(2)); elsewhere than on Linux: nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))


def settle(way: str, must_reach: Sequence[Path], owner_uid: int | None) -> Identity:
    """Decide and, for a namespace, enter it. `way` is 'auto', 'namespace' or 'user'; `owner_uid` owns older data.

    Call it in a process that has one thread and serves nothing else. Raises NobodyToBe.
    """
    if os.geteuid() != 0:
        if owner_uid not in (None, os.geteuid()):
            raise NobodyToBe(
                f"数据属于用户 {owner_uid}，请以该用户运行 / the data belong to uid {owner_uid}: run as that user"
            )
        return Identity("self") if _has_name(os.geteuid()) else _nameless(must_reach)
    if owner_uid not in (None, 0):
        return _user(owner_uid)
    person = _somebody()
    if way in ("auto", "namespace") and person is not None and _can_enter(person.pw_uid, must_reach):
        _enter_namespace(person.pw_uid)
        return Identity("namespace")
    if way in ("auto", "user") and person is not None:
        identity = _user(person.pw_uid)
        if in_child(identity.become):
            return identity
    raise NobodyToBe(
        "服务不能以 root 运行，而这里既不能建立用户命名空间也不能切换用户；请以普通用户运行 / the server must not "
        "run as root, and here we can neither make a user namespace nor change user: run as an ordinary user"
    )


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return False


def _nameless(must_reach: Sequence[Path]) -> Identity:
    """In a container our user may have no name, and initdb wants one: borrow it in a namespace. Raises NobodyToBe."""
    person = _somebody()
    if person is None or not _can_enter(person.pw_uid, must_reach):
        raise NobodyToBe(
            f"用户 {os.geteuid()} 没有名字（/etc/passwd），PostgreSQL 不接受 / "
            f"uid {os.geteuid()} has no name in /etc/passwd, which PostgreSQL does not accept"
        )
    _enter_namespace(person.pw_uid)
    return Identity("namespace")


def _can_enter(uid: int, must_reach: Sequence[Path]) -> bool:
    """Try in a child whether a namespace can be made, and whether everything can be reached from within."""

    def reaches_all() -> bool:
        _enter_namespace(uid)
        return all(os.access(path, os.R_OK | os.X_OK) for path in must_reach)

    return in_child(reaches_all)


def in_child(question: Callable[[], bool]) -> bool:
    """Answer `question` in a forked child, so that what it changes is forgotten; an OSError answers False."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if question() else 1)
        except OSError:
            os._exit(2)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _somebody() -> pwd.struct_passwd | None:
    """Find the ordinary user to be: initdb wants one that has a name."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return next((person for person in pwd.getpwall() if person.pw_uid != 0), None)


def _user(uid: int) -> Identity:
    try:
        return Identity("user", uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        raise NobodyToBe(f"数据属于未知用户 {uid} / the data belong to an unknown user, uid {uid}") from None


def _enter_namespace(uid: int) -> None:
    """See root's files as those of `uid` (user_namespaces(7)). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if not hasattr(libc, "unshare") or libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {outer_gid} 1")
    if os.geteuid() != uid:
        raise OSError("the namespace has another uid than asked for")


def recorded_home(folder: Path) -> Path:
    """Find where the server's files are: the folder, or the place an earlier run had to choose."""
    pointer = folder / "home"
    return Path(pointer.read_text().strip()) if pointer.exists() else folder


def reachable_home(folder: Path, home: Path, identity: Identity) -> Path:
    """Make the home usable for the identity, elsewhere if it must be; the folder then notes where."""
    if identity.uid is None:
        return home
    identity.own(home)
    if not identity.can(home, os.R_OK | os.W_OK | os.X_OK):
        home = Path(tempfile.mkdtemp(dir=open_state(), prefix=f"{folder.name}-"))
        identity.own(home)
        (folder / "home").write_text(f"{home}\n")
    return home


def open_state() -> Path:
    """Make the state folder, which everybody may pass through and only root may list or change."""
    STATE.mkdir(mode=0o711, parents=True, exist_ok=True)
    STATE.chmod(0o711)
    return STATE
