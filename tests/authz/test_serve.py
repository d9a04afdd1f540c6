"""The process as it is started by hand: one clear line when it cannot serve, gone at once when told to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from pages import world

COMMAND = (sys.executable, "-m", "cloud", "serve")


def environment(database: str, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "SHOUDIAN_DSN": database,
        "SHOUDIAN_HTTP_PORT": str(port),
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
    }


def test_a_taken_port_is_one_clear_line(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = subprocess.run(
            COMMAND, env=environment(database, port), capture_output=True, text=True, timeout=50, check=False
        )

    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "SHOUDIAN_HTTP_PORT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_though_a_live_stream_is_open(
    database: str, free_port: Callable[[], int], number: signal.Signals
) -> None:
    world.fill(database, datetime.now(UTC))  # noqa: TID251  # pages show ages against the real clock
    port = free_port()
    process = subprocess.Popen(COMMAND, env=environment(database, port), stderr=subprocess.PIPE, text=True)
    try:
        _until_it_answers(port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            client.post("/login", data={"login": "yunling", "password": world.PASSWORD}).raise_for_status()
            with client.stream("GET", f"/accounts/{world.WORKSHOP}/live/events") as stream:
                lines = stream.iter_lines()
                assert next(lines) == "event: now"

                process.send_signal(number)
                started = time.monotonic()
                rest = list(lines)  # the stream is closed in order, not torn

        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert any(line.startswith("data:") for line in rest)
    assert time.monotonic() - started < 4  # under the grace that uvicorn gives before it tears connections
    assert "Traceback" not in said


@pytest.mark.parametrize(("proxies", "believed"), [("", "127.0.0.1"), ("127.0.0.1", "203.0.113.9")])
def test_only_a_proxy_of_ours_may_say_whom_it_speaks_for(
    database: str, free_port: Callable[[], int], proxies: str, believed: str
) -> None:
    """Or the limit of wrong passwords from one address could be evaded with a header."""
    port = free_port()
    trust = {"SHOUDIAN_HTTP_TRUSTED_PROXIES": proxies}
    with subprocess.Popen(
        COMMAND, env=environment(database, port) | trust, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _until_it_answers(port)
            httpx.post(
                f"http://127.0.0.1:{port}/login",
                data={"login": "nobody", "password": "wrong-password"},
                headers={"X-Forwarded-For": "203.0.113.9"},
                trust_env=False,
            )
        finally:
            process.terminate()

    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT address FROM sign_in_attempt").fetchall() == [(believed,)]


def _until_it_answers(port: int) -> None:
    for _ in range(200):
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("it does not answer")
