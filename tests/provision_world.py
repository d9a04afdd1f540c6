"""The office side of enrolment as real processes: the commands, the enrolment server over TLS."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Site:
    """A site with its office commands and its enrolment server."""

    folder: Path
    environment: dict[str, str]
    url: str
    label: str

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = provision(*arguments, environment=self.environment)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def enrol(
        self, out: Path, *more: str, label: str | None = None, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.run(
            "enrol",
            "--url",
            self.url,
            "--label",
            label or self.label,
            "--out",
            str(out),
            *more,
            expect=expect,
        )


def provision(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioning", *arguments],
        capture_output=True, text=True, env=environment, timeout=60, check=False,
    )  # fmt: skip


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def label_in(output: str) -> str:
    found = re.search(r"EGW1:\S+", output)
    assert found is not None
    return found[0]


@contextlib.contextmanager
def office(
    database: str, folder: Path, port: int, *, serial: str = "GW001", broker_port: int = 8883
) -> Iterator[Site]:
    """Set a site up with one registered gateway and serve enrolment on `port`."""
    secret = folder / "dsn"
    secret.write_text(database)
    environment = {**os.environ, "SHOUDIAN_DSN_FILE": str(secret)}
    ca_folder = folder / "ca"
    provision("ca", "init", "--ca", str(ca_folder), environment=environment).check_returncode()
    claim = provision("claim", serial, "--name", "1号楼", "--ca", str(ca_folder), environment=environment)
    assert claim.returncode == 0, claim.stderr
    command = [sys.executable, "-m", "provisioning", "api", "--ca", str(ca_folder), "--port", str(port)]
    command += ["--broker-host", "localhost", "--broker-port", str(broker_port)]
    with serving(command, environment, port):
        yield Site(ca_folder, environment, f"https://localhost:{port}", label_in(claim.stdout))
