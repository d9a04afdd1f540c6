"""The demonstration as its user meets it: up, signed in, stopped, up again. Only yesterday and today, to be quick."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.timeout(300)
READY = "Shoudian is running"
READY_S, STOP_S = 180, 60


def _free_port() -> int:
    """Give a port below those that the system hands out by itself: it stays free until the pages are served."""
    for port in range(20_000 + os.getpid() % 1000, 30_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@contextlib.contextmanager
def _up(home: Path, port: int) -> Iterator[str]:
    """Run the demonstration until it says it is ready, give what it has printed, interrupt it as Ctrl-C does."""
    command = [sys.executable, "-m", "demo", "up", "--quick", "--home", str(home), "--port", str(port)]
    with (home.parent / "said").open("w+") as said:
        demo = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | {"COLUMNS": "140"}
        )
        try:
            deadline = time.monotonic() + READY_S
            while READY not in (text := Path(said.name).read_text()):
                assert demo.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.5)
            yield text
        finally:
            demo.send_signal(signal.SIGINT)
            assert demo.wait(STOP_S) == 0
    assert _left(home) == []


def _left(home: Path) -> list[str]:
    """Command lines of processes that still work in this home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(home) in line and "pytest" not in line:
            found.append(line)
    return found


def _database(home: Path) -> psycopg.Connection:
    folder = home / "postgres"
    if (folder / "home").exists():  # as root without user namespaces the data lie elsewhere
        folder = Path((folder / "home").read_text().strip())
    port, password = (
        (home / "postgres" / "port").read_text().strip(),
        (home / "postgres" / "password").read_text(),
    )
    return psycopg.connect(f"postgresql://postgres:{password.strip()}@127.0.0.1:{port}/shoudian")


def _sign_in(port: int, login: str, password: str) -> tuple[urllib.request.OpenerDirector, str]:
    """Sign in with the form and give the page that is shown then."""
    base = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    opener.addheaders = [("Accept", "text/html"), ("Accept-Language", "zh-CN")]
    form = opener.open(f"{base}/").read().decode()
    action = re.search(r'<form[^>]*action="([^"]*login[^"]*)"', form)
    assert action, form
    fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form))
    body = urllib.parse.urlencode(fields | {"login": login, "password": password}).encode()
    request = urllib.request.Request(urllib.parse.urljoin(f"{base}/login", action[1]), body, {"Origin": base})
    return opener, opener.open(request).read().decode()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for left processes in /proc")
def test_up_signed_in_stopped_and_up_again(tmp_path: Path) -> None:
    home, port = tmp_path / "home", _free_port()

    with _up(home, port) as said:
        logins = json.loads((home / "logins.json").read_text())
        assert all(password in said for password in logins.values())
        with _database(home) as conn:
            meters, missing, refused = conn.execute(
                """SELECT (SELECT count(DISTINCT meter_key) FROM reading),
                          (SELECT count(*) FROM interval_day i, unnest(i.quality) q
                           WHERE i.day = (now() AT TIME ZONE 'Asia/Shanghai')::date - 1 AND q <> 1
                             AND i.revision = (SELECT max(revision) FROM interval_day j
                                               WHERE (j.supply_point_id, j.day) = (i.supply_point_id, i.day))),
                          (SELECT count(*) FROM quarantine)"""
            ).fetchone()
            before = conn.execute("SELECT max(batch_id), count(*) FROM sealed_batch").fetchone()
        assert (meters, missing, refused) == (24, 0, 0)
        opener, page = _sign_in(port, "shop", logins["shop"])
        assert "商业街便利店" in page
        with pytest.raises(urllib.error.HTTPError, match="404"):
            opener.open(f"http://127.0.0.1:{port}/accounts/130200020002/live")

    with _up(home, port), _database(home) as conn:
        after = conn.execute("SELECT max(batch_id), count(*) FROM sealed_batch").fetchone()
        doubled = conn.execute("SELECT count(*) FROM reading_conflict").fetchone()
        assert after >= before  # went on where it was: nothing sent before is sent or stored again
        assert doubled == (0,)
        assert json.loads((home / "logins.json").read_text()) == logins


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "demo", "up", "--home", str(tmp_path / "home"), "--port", port]

        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert port in ended.stderr
    assert "--port" in ended.stderr
