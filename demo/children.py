"""The processes of the demonstration: started in order, watched, and gone when we are gone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from demo.guard import Trouble

STOP_WAIT_S = 15.0
LOG_TAIL_BYTES = 2_000
RESTART_PAUSE_S = 3.0
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Child:
    """One process; its output goes to a log file."""

    name: str
    command: Sequence[str]
    log_path: Path
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    died_at: float | None = None


@dataclass(slots=True)
class Family:
    """All processes of one demonstration, in the order of their start."""

    log_folder: Path
    environ: Mapping[str, str]
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, module: str, *arguments: str) -> Child:
        """Start `python -m module arguments…` with its output in `<name>.log`."""
        command = (sys.executable, "-P", "-m", module, *arguments)
        log_path = self.log_folder / f"{name}.log"
        log = log_path.open("ab")
        child = Child(name, command, log_path, self._spawn(command, log), log)
        self.children.append(child)
        return child

    def run(
        self, name: str, module: str, *arguments: str, stdin: str = "", allowed: Sequence[int] = (0,)
    ) -> str:
        """Run a command to its end and give its output. Raises Trouble with its last words when it fails."""
        command = (sys.executable, "-P", "-m", module, *arguments)
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=dict(self.environ), check=False
        )
        (self.log_folder / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode not in allowed:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise Trouble(f"{name}: {words[-1] if words else f'exit code {done.returncode}'}")
        return done.stdout

    def revive(self, tell: Callable[[str], None]) -> None:
        """Start again what has ended by itself, after a pause; call this now and then."""
        for child in self.children:
            if child.process.poll() is None:
                continue
            if child.died_at is None:
                child.died_at = time.monotonic()
                tell(
                    f"{child.name} 意外退出，稍后重启 / ended unexpectedly, will start again: {last_words(child)}"
                )
            elif time.monotonic() - child.died_at > RESTART_PAUSE_S:
                child.process = self._spawn(child.command, child.log)
                child.died_at = None

    def check(self) -> None:
        """Raise Trouble when a process has ended."""
        for child in self.children:
            if child.process.poll() is not None:
                raise Trouble(f"{child.name}: {last_words(child)}（日志 / log: {child.log_path}）")

    def stop(self) -> None:
        """End all, the last started first, and wait for each."""
        for child in reversed(self.children):
            if child.process.poll() is None:
                child.process.terminate()
            try:
                child.process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.log.close()
        self.children.clear()

    def _spawn(self, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(self.environ),
            start_new_session=True,  # Ctrl-C in the terminal is ours to pass on, in order
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def last_words(child: Child) -> str:
    """Give the last line that a process has written."""
    with child.log_path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {child.process.returncode}"


def _die_with_parent() -> None:
    """Ask the kernel to end this process when the demonstration is killed and can no longer do it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
