"""shoudian-cloud: the cloud's processes and deeds by command. Topics with many commands: cloud/commands."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cloud import commands, words
from cloud.commands import (
    bills,
    bulk,
    contract,
    exchange,
    green,
    ledger,
    market,
    packages,
    party,
    pay,
    report,
    settle,
    tariff,
)
from cloud.errors import NotFound, Refused, Unavailable

READY_WAIT_S = 60.0
TOPICS = (
    bills,
    bulk,
    tariff,
    packages,
    ledger,
    pay,
    party,
    market,
    contract,
    settle,
    exchange,
    report,
    green,
)
EXAMPLE = """
例 / example (PostgreSQL 与 MQTT 代理在本机 / on this machine):
  export SHOUDIAN_DSN="host=127.0.0.1 dbname=shoudian user=shoudian"
  export SHOUDIAN_COMMAND_KEY_FILE=/etc/shoudian/cloud.key   # Ed25519, PEM; shoudian-provision ca init
  shoudian-cloud migrate
  shoudian-cloud import site.toml              # docs/operations/site-file.md
  shoudian-cloud user add zhang --role staff --name 张营业
  shoudian-cloud ingest --id ing-0 &
  shoudian-cloud work &
  shoudian-cloud serve
  shoudian-cloud bill 3700000000001 2026-08 --pdf bill.pdf
  shoudian-cloud verify-bill bill.pdf          # offline, no database

环境变量 / environment: SHOUDIAN_DSN, SHOUDIAN_BROKER_HOST, SHOUDIAN_BROKER_PORT, SHOUDIAN_MQTT_VERSION (5 | 3),
SHOUDIAN_BROKER_CA_FILE, SHOUDIAN_BROKER_CERTIFICATE_FILE, SHOUDIAN_BROKER_KEY_FILE, SHOUDIAN_COMMAND_KEY_FILE,
SHOUDIAN_GENERATION, SHOUDIAN_HTTP_HOST, SHOUDIAN_HTTP_PORT, SHOUDIAN_HTTP_SECURE_COOKIES (1 | 0),
SHOUDIAN_HTTP_TRUSTED_PROXIES (地址，逗号分隔 / addresses, comma-separated),
SHOUDIAN_READING_PARTITION_DAYS (7 | 1). 密钥与口令可用 NAME_FILE 给文件 / secrets may come from a file: NAME_FILE.
"""


class NoSuchParty(NotFound):
    """No party of that name was imported."""

    def __str__(self) -> str:
        return f"没有这个主体 / no party is called {self.facts['party']!r}; shoudian-cloud import FILE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure is one line and exit code 2."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for chatty in ("apscheduler", "psycopg.pool", "mqtt"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    command: commands.Run = arguments.run
    try:
        return command(arguments) or 0
    except (Refused, Unavailable) as problem:
        print(_sentence(problem), file=sys.stderr)
    except OSError as problem:
        print(f"错误 / error: {problem.filename or ''}: {problem.strerror or problem}", file=sys.stderr)
    except ModuleNotFoundError as problem:
        print(
            f"缺少 Python 包 / Python package not installed: {problem.name}; pip install 'shoudian[cloud]'",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        return 130
    return 2


def _sentence(problem: Refused | Unavailable) -> str:
    """Both languages where the catalogues have the words, else what the exception says of itself."""
    if words.known(key := f"cli.{problem.key}"):
        return "\n".join(words.say(language, key, **problem.facts) for language in words.LANGUAGES)
    return f"错误 / error: {problem}"


# ---- commands --------------------------------------------------------------------------------------------


def _migrate(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.metering.store import partitions

    config = commands.config()
    db.wait_ready(config.dsn, arguments.wait_s)
    applied = db.migrate(config.dsn)
    with (
        db.open_pool(config.dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn,
    ):
        storage = partitions.prepare_readings(conn, commands.now(), config.reading_partition_days)
    print(f"已应用 / applied: {', '.join(applied) or '无 / nothing new'}")
    print(f"读数表 / readings: {storage}")


def _ingest(arguments: argparse.Namespace) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from cloud import db
    from cloud.config import BadConfig
    from cloud.outside.gateways import Ingest, IngestSettings

    config = commands.config()
    key_file = config.signing_key_file()
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_COMMAND_KEY_FILE",
            problem=f"{key_file} 不是可用的私钥 / is not such a key",
            allowed="an Ed25519 private key in PEM, not encrypted",
        )
    db.wait_ready(config.dsn, arguments.wait_s)
    settings = IngestSettings(
        ingest_id=arguments.id,
        group_messages_max=config.group_messages_max,
        group_wait=timedelta(milliseconds=config.group_wait_ms),
        generation=config.generation,
        partition_days=config.reading_partition_days,
    )

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with db.open_pool(config.dsn, size_max=3, is_checked=False) as pool:
            await Ingest(settings, config.broker, pool, key, commands.now).run(stop)

    asyncio.run(run())


def _work(arguments: argparse.Namespace) -> None:
    from cloud import db, jobs

    config = commands.config()
    db.wait_ready(config.dsn, arguments.wait_s)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    jobs.work(config, stop)


def _serve(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.api.app import serve

    config = commands.config()
    db.wait_ready(config.dsn, arguments.wait_s)
    serve(config)


def _import(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.site import import_site, read_utf8, site_from

    site = site_from(read_utf8(arguments.file), str(arguments.file))
    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn,
    ):
        import_site(conn, site)
    print(
        f"已导入 / imported: {len(site.parties)} parties, {len(site.accounts)} accounts, "
        f"{len(site.supply_points)} supply points, {len(site.gateways)} gateways, {len(site.meters)} meters, "
        f"{len(site.installations)} installations"
    )


def _user_add(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.parties import store as parties
    from cloud.security import run as security
    from cloud.security.store import UserRow

    password = security.read_password(arguments.password_file)
    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn,
    ):
        party_id = None if arguments.party is None else parties.find_party(conn, arguments.party)
        if arguments.party is not None and party_id is None:
            raise NoSuchParty("no_such_party", party=arguments.party)
        user = UserRow(0, arguments.login, "", arguments.name, arguments.role, party_id, arguments.language)
        user_id = security.add_user(conn, user, password)
    print(f"已添加用户 / added user: {arguments.login} (#{user_id}, {arguments.role})")


def _health(arguments: argparse.Namespace) -> int:
    from cloud.health import readiness

    checks = readiness(commands.config(), commands.now(), with_broker=arguments.broker)
    for check in checks:
        print(f"{'✓' if check.passes else '✗'} {check.name}: {check.detail}")
    return 0 if all(check.passes for check in checks) else 1


# ---- arguments -------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shoudian-cloud",
        description="售电云端：入库、校验、计费、页面 / the cloud: ingest, validation, bills, pages",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: commands.Run, text: str) -> argparse.ArgumentParser:
        command = known.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    for name, run, text in (
        ("migrate", _migrate, "建立或更新表结构 / bring the schema up to date; safe to repeat"),
        ("ingest", _ingest, "从 MQTT 收取批次并入库 / take sealed batches from MQTT into the database"),
        ("work", _work, "校验区间电量与定时任务 / validate intervals, keep the timetable"),
        ("serve", _serve, "网页与接口 / pages and API"),
    ):
        command = add(name, run, text)
        command.add_argument(
            "--wait-s",
            type=float,
            default=READY_WAIT_S,
            help="等待数据库的秒数 / how long to wait for the database",
        )
        if name == "ingest":
            command.add_argument(
                "--id", required=True, help="固定名称，如 ing-0 / stable name, e.g. ing-0: its MQTT client id"
            )
    command = add("import", _import, "导入档案文件 / import a site file (docs/operations/site-file.md)")
    command.add_argument("file", type=Path, metavar="FILE")
    for topic in TOPICS:
        topic.add_to(add)
    _add_user_command(add("user", _user_add, "用户 / users"))
    command = add(
        "health", _health, "就绪检查，供容器用 / readiness, for containers; exit code 1 when not ready"
    )
    command.add_argument("--broker", action="store_true", help="也检查代理 / look at the broker too")
    return parser


def _add_user_command(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(metavar="add", required=True)
    text = "添加用户；密码从终端或标准输入读 / add a user; the password is asked for, or read from standard input"
    command = deeds.add_parser("add", help=text, description=text)
    command.add_argument("login", help="3 到 64 个字符 / 3 to 64 characters")
    command.add_argument("--role", required=True, choices=("staff", "technician", "customer", "regulator"))
    command.add_argument("--name", required=True, help="显示名 / display name")
    command.add_argument(
        "--party", help="客户所属主体名称 / a customer's party, by its name in the site file"
    )
    command.add_argument("--language", choices=("zh", "en"), default="zh")
    command.add_argument("--password-file", type=Path, help="从文件读密码 / read the password from this file")


if __name__ == "__main__":
    sys.exit(main())
