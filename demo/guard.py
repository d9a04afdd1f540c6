"""What the guard of a server process needs: a lifeline to the parent, facts told to it, restart, an orderly stop.

A guard is a process between us and a server that is not ours (PostgreSQL, the broker). Its standard input is a
lifeline: when it closes, however the parent ended, the server is stopped. Its standard output speaks one JSON object a
line. `Watch` is the parent's end, the rest is the guard's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

TICK_S = 0.2
# A chaos run kills often; a server that dies at once never becomes ready and ends the guard.
RESTARTS_MAX = 100
STOP_WAIT_S = 150.0
Fact = dict[str, Any]


class Trouble(Exception):
    """The server cannot be had; the text is one line for a person."""


# -- the parent's end --------------------------------------------------------------------------------------------------


class Watch:
    """A guard process as its parent sees it."""

    def __init__(self, module: str, order: Fact) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-P", "-m", module, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is ours, not the server's
        )
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._lifeline, self._facts = self._guard.stdin, self._guard.stdout

    @property
    def pid(self) -> int:
        return self._guard.pid

    def first_fact(self, tell: Callable[[str], None] = lambda line: None) -> Fact:
        """Wait for the first fact that is more than `waiting`. Raises Trouble, after which the guard has ended."""
        try:
            fact = self._next_fact(tell)
        except BaseException:
            self.close()
            raise
        if "error" in fact:
            self.close()
            raise Trouble(str(fact["error"]))
        return fact

    def _next_fact(self, tell: Callable[[str], None]) -> Fact:
        for line in self._facts:
            fact: Fact = json.loads(line)
            if "waiting" not in fact:
                return fact
            tell(str(fact["waiting"]))
        return {"error": "看护进程意外结束 / the guard process ended unexpectedly"}

    def command(self, **command: object) -> Fact:
        """Have the guard do something while the server runs, and wait until it is done."""
        self._lifeline.write(json.dumps(command) + "\n")
        self._lifeline.flush()
        while "done" not in (fact := self.first_fact()):
            pass  # the server was restarted meanwhile
        return fact

    def close(self) -> None:
        """Stop the server and wait for it; safe to call twice."""
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.close()
        try:
            self._guard.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        self._facts.close()


# -- the guard's end ---------------------------------------------------------------------------------------------------


def say(**fact: object) -> None:
    """Tell the parent one fact; a parent that is gone is noticed elsewhere."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(fact), flush=True)


def run_guard(work: Callable[[Fact], None]) -> int:
    """Do `work` with the order in argv; tell expected failures as one `error` fact and return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.umask(0o077)
    os.set_blocking(sys.stdin.fileno(), False)
    try:
        work(json.loads(sys.argv[1]))
    except Trouble as trouble:
        say(error=str(trouble))
        return 1
    except OSError as trouble:
        say(error=f"{trouble.filename or sys.argv[0]}: {trouble.strerror or trouble}")
        return 1
    return 0


_PARENT = os.getppid()
_unread = bytearray()


def orphaned() -> bool:
    """Tell whether the parent is gone: a forked sibling of ours may hold the lifeline open."""
    return os.getppid() != _PARENT


def parent_is_gone(wait_s: float) -> bool:
    """Wait a little for news from the parent; True when it has ended or let go."""
    readable, _, _ = select.select([sys.stdin], [], [], wait_s)
    if readable:
        chunk = os.read(sys.stdin.fileno(), 1 << 20)
        _unread.extend(chunk)
        return not chunk
    return orphaned()


def commands() -> Iterator[Fact]:
    """Give the commands that have arrived whole."""
    while (end := _unread.find(b"\n")) >= 0:
        line = bytes(_unread[:end])
        del _unread[: end + 1]
        yield json.loads(line)


def keep_running(
    start: Callable[[], tuple[subprocess.Popen[bytes], Fact]],
    obey: Callable[[subprocess.Popen[bytes], Fact], None],
    last_words: Callable[[], str],
    stop_steps: Sequence[tuple[signal.Signals, float]],
    pid_file: Path,
) -> None:
    """Start the server, again after a violent death, until the parent lets go. Raises Trouble."""
    for _ in range(RESTARTS_MAX):
        server, fact = start()
        pid_file.write_text(f"{server.pid}\n")
        say(ready=True, pid=server.pid, **fact)
        try:
            while server.poll() is None:
                if parent_is_gone(TICK_S):
                    return
                for command in commands():
                    obey(server, command)
                    say(done=True)
        finally:
            stop(server, stop_steps)
            pid_file.unlink(missing_ok=True)
    raise Trouble(f"服务反复退出 / the server keeps ending: {last_words()}")


def stop(server: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal and wait its seconds, until the server has ended."""
    for step, wait_s in steps:
        if server.poll() is not None:
            return
        server.send_signal(step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(wait_s)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_port(wanted: int | None, last: Path) -> int:
    """Give the wanted port, else the one noted in `last` if still free, else any free one. Raises Trouble."""
    if wanted is not None:
        if not is_free(wanted):
            raise Trouble(f"端口 {wanted} 已被占用 / port {wanted} is already in use")
        return wanted
    with contextlib.suppress(OSError, ValueError):
        if is_free(int(last.read_text())):
            return int(last.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
