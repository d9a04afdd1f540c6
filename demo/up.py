"""Bring the whole demonstration up, show what it is doing, keep it running until told to stop.

Everything it makes lies in one folder. Each step may run again on what an earlier start left, so starting again goes on where it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console

from cloud import db
from cloud.markettime import slot_start
from cloud.paper.signer import make_signer
from cloud.parties import store as parties
from cloud.security import run as security
from cloud.security.store import UserRow
from demo.broker import Broker, BrokerPki, running_broker
from demo.children import Family
from demo.files import INSTALLED_ON, LATE_CONTRACT_FILE, agent_text, site_text
from demo.guard import Trouble, is_free
from demo.meters import ADDRESS_FILE
from demo.postgres import embedded_postgres
from demo.trade import environ_of
from demo.world import GATEWAYS, PEOPLE

DATABASE = "shoudian"
READY_WAIT_S = 60.0
PASSWORD_WORDS = 3


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one demonstration and what lies where in it."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    def gateway(self, gateway_id: str) -> Path:
        """Folder of one gateway: keys, agent.toml, store."""
        return self.folder / "gateways" / gateway_id


@dataclass(frozen=True, slots=True)
class Running:
    """A demonstration that is up."""

    home: Home
    family: Family
    dsn: str
    web_url: str
    broker: Broker
    logins: dict[str, str]
    quick: bool


@contextlib.contextmanager
def demonstration(
    home: Home, web_port: int, broker_kind: str, console: Console, *, quick: bool
) -> Iterator[Running]:
    """Start everything, lend it, stop everything. Raises Trouble with one line for a person."""
    with only_one(home), contextlib.ExitStack() as stack:
        if not is_free(web_port):
            raise Trouble(
                f"端口 {web_port} 已被占用，请用 --port 另选 / port {web_port} is in use: choose another with --port"
            )
        with _step(console, "数据库 / database"):
            server = stack.enter_context(
                embedded_postgres(home.folder / "postgres", tell=lambda line: console.print(f"  {line}"))
            )
            _make_database(server.dsn)
        dsn = server.dsn_of(DATABASE)
        family = Family(home.logs, _environ(home, dsn, web_port))
        stack.callback(family.stop)
        with _step(console, "证书机构与消息代理 / certificate authority and broker"):
            family.run(
                "ca",
                "provisioning",
                "ca",
                "init",
                "--if-missing",
                "--ca",
                str(home.ca),
                "--server-name",
                "localhost",
            )
            broker = stack.enter_context(_broker(home, broker_kind))
            family = _with_broker(family, broker)
            stack.callback(family.stop)
        with _step(console, "账单签名与支付模拟器 / bill signer and payment simulator"):
            family = _with_money(home, family, web_port)
            stack.callback(family.stop)
        with _step(console, "表结构、档案与用户 / schema, site and users"):
            family.run("migrate", "cloud", "migrate")
            site = home.folder / "site.toml"
            is_known = (home.folder / LATE_CONTRACT_FILE).exists()
            site.write_text(site_text(is_late_contract_known=is_known), encoding="utf-8")
            family.run("import", "cloud", "import", str(site))
            logins = _users(home, dsn)
        with _step(console, "24 只模拟电能表 / 24 simulated meters"):
            urls = _start_meters(home, family)
        with _step(console, "云端服务 / cloud services"):
            family.start("ingest", "cloud", "ingest", "--id", "ing-0")
            family.start("work", "cloud", "work")
            family.start("serve", "cloud", "serve")
            _wait_for_web(family, f"http://127.0.0.1:{web_port}/healthz")
        with _step(console, "网关入网 / gateways enrolled"):
            _enrol(home, family, broker, urls)
            brief = ("--quick",) if quick else ()
            for gateway in GATEWAYS:
                name = gateway.gateway_id
                family.start(name, "demo", "gateway", name, "--home", str(home.folder), *brief)
        yield Running(home, family, dsn, f"http://127.0.0.1:{web_port}", broker, logins, quick)


@contextlib.contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Own the folder for as long as we run. Raises Trouble."""
    try:
        home.logs.mkdir(parents=True, exist_ok=True)
        lock = (home.folder / "lock").open("w")
    except OSError as problem:
        raise Trouble(
            f"{problem.filename}: {problem.strerror}（用 --home 另选目录 / choose another folder with --home）"
        ) from problem
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise Trouble(
                f"{home.folder} 的演示已在运行 / a demonstration is already running in this folder"
            ) from problem
        yield


@contextlib.contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    started = time.monotonic()
    with console.status(title):
        yield
    console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - started:.1f} s[/]")


def _make_database(admin_dsn: str) -> None:
    with psycopg.connect(admin_dsn, autocommit=True) as conn:
        if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def _environ(home: Home, dsn: str, web_port: int) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHOUDIAN_")}
    return kept | {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_COMMAND_KEY_FILE": str(home.ca / "cloud.key"),
        "SHOUDIAN_HTTP_PORT": str(web_port),
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",  # plain http on this machine only
        "PYTHONUNBUFFERED": "1",
    }


@contextlib.contextmanager
def _broker(home: Home, kind: str) -> Iterator[Broker]:
    folder = home.folder / "broker"
    port = _kept_port(home.folder / "broker.port")
    with running_broker(folder, port=port, pki=BrokerPki.from_folder(home.ca), kind=kind) as broker:
        yield broker


def _kept_port(note: Path) -> int:
    """Give the port used before if it is free, so that enrolled gateways find the broker again; else a new one."""
    with contextlib.suppress(OSError, ValueError):
        if is_free(port := int(note.read_text())):
            return port
    port = _free_port()
    note.write_text(str(port))
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _with_broker(family: Family, broker: Broker) -> Family:
    ca = Path(family.environ["SHOUDIAN_COMMAND_KEY_FILE"]).parent
    environ = dict(family.environ) | {
        "SHOUDIAN_BROKER_HOST": "localhost",
        "SHOUDIAN_BROKER_PORT": str(broker.port),
        "SHOUDIAN_MQTT_VERSION": str(broker.mqtt_version),
        "SHOUDIAN_BROKER_CA_FILE": str(ca / "ca.crt"),
        "SHOUDIAN_BROKER_CERTIFICATE_FILE": str(ca / "workers" / "ing-0.crt"),
        "SHOUDIAN_BROKER_KEY_FILE": str(ca / "workers" / "ing-0.key"),
    }
    return Family(family.log_folder, environ)


def _with_money(home: Home, family: Family, web_port: int) -> Family:
    """Make a key that signs bills, and start both payment providers; the cloud is told of them."""
    signer = home.folder / "signer"
    if not (signer / "signer.key").exists():
        # In force since the meters hang there, because the bills of the past month are dated back.
        make_signer(signer, "示范电力营销部", slot_start(INSTALLED_ON, 0))
    folder = home.folder / "paysim"
    note = folder / "pay.env"
    note.unlink(missing_ok=True)
    port = _kept_port(home.folder / "paysim.port")
    family.start("paysim", "cloud", "pay", "simulate", "--folder", str(folder), "--port", str(port))
    deadline = time.monotonic() + READY_WAIT_S
    while not note.exists():
        _wait_a_little(family, deadline, "paysim")
    _wait_for_port(family, port)
    told = dict(line.split("=", 1) for line in note.read_text(encoding="utf-8").splitlines())
    environ = dict(family.environ) | told
    environ |= {
        "SHOUDIAN_PUBLIC_URL": f"http://127.0.0.1:{web_port}",
        "SHOUDIAN_BILL_SIGNER_KEY_FILE": str(signer / "signer.key"),
        "SHOUDIAN_BILL_SIGNER_CERTIFICATE_FILE": str(signer / "signer.pem"),
        "SHOUDIAN_BANK_NUMBER": "6200 0000 0000 0000 001",
        "SHOUDIAN_BANK_HOLDER": "示范电力营销部",
        "SHOUDIAN_BANK_NAME": "示范银行园区支行",
    }
    environ |= environ_of(home.folder)
    return Family(family.log_folder, environ, family.children)


def _users(home: Home, dsn: str) -> dict[str, str]:
    """Make the sample users that are not there yet, with passwords drawn once; give login → password."""
    path = home.folder / "logins.json"
    if not path.exists():
        part = home.folder / "logins.json.part"
        part.touch(mode=0o600)
        part.write_text(json.dumps({login: _password() for login, *_ in PEOPLE}, indent=1), encoding="utf-8")
        part.rename(path)
    logins: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    with db.open_pool(dsn, size_max=1) as pool, db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn:
        known = {login for (login,) in conn.execute("SELECT login FROM app_user")}
        for login, role, name, party in PEOPLE:
            if login not in known:
                party_id = None if party is None else parties.find_party(conn, party)
                security.add_user(conn, UserRow(0, login, "", name, role, party_id, "zh"), logins[login])
    return logins


def _password() -> str:
    """Three groups of four letters and digits that cannot be mistaken for each other: 60 bits."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(PASSWORD_WORDS))


def _start_meters(home: Home, family: Family) -> dict[str, dict[str, str]]:
    path = home.folder / ADDRESS_FILE
    path.unlink(missing_ok=True)
    family.start("meters", "demo", "meters", "--home", str(home.folder))
    deadline = time.monotonic() + READY_WAIT_S
    while not path.exists():
        _wait_a_little(family, deadline, "meters")
    urls: dict[str, dict[str, str]] = json.loads(path.read_text())["urls"]
    return urls


def _wait_for_web(family: Family, url: str) -> None:
    deadline = time.monotonic() + READY_WAIT_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        _wait_a_little(family, deadline, "serve")


def _wait_a_little(family: Family, deadline: float, name: str) -> None:
    family.check()
    if time.monotonic() > deadline:
        raise Trouble(
            f"{name} 迟迟没有就绪，见日志 / is not ready in time, see {family.log_folder}/{name}.log"
        )
    time.sleep(0.1)


def _enrol(home: Home, family: Family, broker: Broker, urls: dict[str, dict[str, str]]) -> None:
    """Enrol gateways that have no identity yet by the way a technician goes; tell each agent its lines and meters."""
    new = [g for g in GATEWAYS if not (home.gateway(g.gateway_id) / "agent.toml").exists()]
    if new:
        port = _free_port()
        api = family.start(
            "provisioning",
            "provisioning",
            "api",
            "--ca",
            str(home.ca),
            "--port",
            str(port),
            "--broker-host",
            "localhost",
            "--broker-port",
            str(broker.port),
        )
        _wait_for_port(family, port)
        for gateway in new:
            printed = family.run(
                f"claim-{gateway.gateway_id}",
                "provisioning",
                "claim",
                gateway.gateway_id,
                "--ca",
                str(home.ca),
            )
            label = next(word for word in printed.split() if word.startswith("EGW1:"))
            folder = home.gateway(gateway.gateway_id)
            folder.parent.mkdir(parents=True, exist_ok=True)
            family.run(
                f"enrol-{gateway.gateway_id}",
                "provisioning",
                "enrol",
                "--url",
                f"https://localhost:{port}",
                "--label",
                label,
                "--out",
                str(folder),
            )
        family.children.remove(api)
        api.process.terminate()
        api.process.wait()
        api.log.close()
    for gateway in GATEWAYS:
        path = home.gateway(gateway.gateway_id) / "agent.toml"
        enrolled = path.read_text(encoding="utf-8")
        lines = urls[gateway.gateway_id]
        text = agent_text(enrolled, gateway.gateway_id, lines, broker.port, broker.mqtt_version)
        path.write_text(text, encoding="utf-8")


def _wait_for_port(family: Family, port: int) -> None:
    deadline = time.monotonic() + READY_WAIT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        _wait_a_little(family, deadline, "provisioning")
