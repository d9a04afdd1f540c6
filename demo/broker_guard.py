"""The process that owns one broker: mosquitto, or the pip broker amqtt where there is no mosquitto.

Started by `demo.broker` (how they talk: `demo.guard`). The configuration arrives as texts and is written where the
server's user can read it; the command `put` replaces files, `reload` has the server read them (SIGHUP).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo import guard
from demo.guard import Fact, Trouble
from demo.unprivileged import Identity, reachable_home, recorded_home, settle

STOP_STEPS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
READY_WAIT_S = 20.0
LOG_BYTES_MAX = 10_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What the parent asks for: which server, its port, and its files by name."""

    folder: str
    program: str  # 'amqtt', or the path of mosquitto
    port: int
    files: dict[str, str]
    way: str


@dataclass(frozen=True, slots=True)
class _Broker:
    folder: Path
    home: Path
    identity: Identity
    order: Order

    def put(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            part = self.home / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            self.identity.own(part)
            part.replace(self.home / name)

    def command(self) -> list[str]:
        if self.order.program == "amqtt":
            return [sys.executable, "-P", "-m", "demo.amqtt_broker", "amqtt.json"]
        return [self.order.program, "-c", "mosquitto.conf"]

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"


def _guard(facts: Fact) -> None:
    order = Order(**facts)
    folder = Path(order.folder)
    home = recorded_home(folder)
    reach = (folder, Path(sys.prefix)) if order.program == "amqtt" else (folder, Path(order.program))
    identity = settle(order.way, reach, home.stat().st_uid if order.way == "auto" else None)
    home = reachable_home(folder, home, identity)
    broker = _Broker(folder, home, identity, order)
    (home / "data").mkdir(mode=0o700, exist_ok=True)
    identity.own(home / "data")
    broker.put(order.files)
    guard.keep_running(
        lambda: _start(broker),
        lambda server, command: _obey(broker, server, command),
        lambda: _last_words(broker.log),
        STOP_STEPS,
        folder / "pid",
    )


def _start(broker: _Broker) -> tuple[subprocess.Popen[bytes], Fact]:
    """Start and wait until the port answers. Raises Trouble."""
    port = guard.choose_port(broker.order.port, Path(os.devnull))
    if broker.log.exists() and broker.log.stat().st_size > LOG_BYTES_MAX:
        broker.log.replace(broker.log.with_suffix(".log.1"))
    with broker.log.open("ab") as sink:
        server = broker.identity.spawn(
            broker.command(),
            death_signal=signal.SIGKILL,  # should even this guard be killed
            cwd=broker.home,
            stdout=sink,
            stderr=sink,
        )
    deadline = time.monotonic() + READY_WAIT_S
    while server.poll() is None and time.monotonic() < deadline:
        if guard.parent_is_gone(0.02):
            guard.stop(server, STOP_STEPS)
            raise SystemExit(0)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, {"way": broker.identity.way}
    guard.stop(server, STOP_STEPS)
    raise Trouble(f"消息代理无法启动 / the broker did not start: {_last_words(broker.log)} ({broker.log})")


def _obey(broker: _Broker, server: subprocess.Popen[bytes], command: Fact) -> None:
    broker.put(command.get("put", {}))
    if command.get("reload"):
        server.send_signal(signal.SIGHUP)


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "?"
    wrong = [line for line in lines if "rror" in line]
    return (wrong or lines or ["?"])[-1]


def find_mosquitto() -> Path | None:
    """Find mosquitto on the path or where Debian keeps server programs."""
    path = shutil.which(
        "mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    )
    return None if path is None else Path(path)


if __name__ == "__main__":
    sys.exit(guard.run_guard(_guard))
