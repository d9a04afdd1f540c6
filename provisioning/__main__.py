"""shoudian-provision: identities for gateways. Composition root: reads the clock, the environment and the command line."""

from __future__ import annotations

import argparse
import datetime as dt
import getpass
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.errors import Refused, Unavailable
from provisioning.identity import Label, checked_serial, label_from, label_text, normal_code, spaced_code
from provisioning.words import sentence

if TYPE_CHECKING:  # an edge device has no database library
    from cloud.db import Pool

BROKER_READS_S = 6.0  # run-broker.sh looks every 5 s whether the list has changed
CA_FOLDER = Path("/var/lib/shoudian-ca")
DATABASE = "数据库由 SHOUDIAN_DSN 或 SHOUDIAN_DSN_FILE 指定 / the database is named by SHOUDIAN_DSN or SHOUDIAN_DSN_FILE"
EXAMPLE = """
从零到一台入网的网关 / from nothing to one enrolled gateway:
  办公室 / office   shoudian-provision ca init --server-name cloud.example
                    shoudian-provision broker-config /srv/broker
                    sh provisioning/run-broker.sh /srv/broker &
                    shoudian-provision api --broker-host cloud.example --crl-copy /srv/broker/crl.pem &
                    shoudian-provision claim GW001 --name "1号楼配电间"
  网关   / gateway  shoudian-provision enrol --url https://cloud.example:8443 --label "EGW1:GW001:…" --out /etc/shoudian-agent
                    shoudian-agent run --config /etc/shoudian-agent/agent.toml
"""


def main() -> int:
    """Run one command; an expected failure is one line in each language and exit code 2."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    command: Callable[[argparse.Namespace], None] = arguments.run
    try:
        command(arguments)
    except (Refused, Unavailable) as problem:
        told = problem.facts
        zh, en = (told["zh"], told["en"]) if "zh" in told else sentence(problem.key, told)
    except OSError as problem:
        zh, en = sentence(
            "file_trouble", {"path": problem.filename or "?", "problem": problem.strerror or str(problem)}
        )
    except ModuleNotFoundError as problem:
        zh = f"缺少 Python 包 {problem.name}：请安装 shoudian[provisioning]"
        en = f"the Python package {problem.name} is not installed: install shoudian[provisioning]"
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    print(f"{zh}\n{en}", file=sys.stderr)
    return 2


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251  # a composition root


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shoudian-provision",
        description="给网关发放身份：一次性认领码、证书、吊销 / gives gateways their identities: one-time claim codes, "
        "certificates, revocation",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    ca_folder = argparse.ArgumentParser(add_help=False)
    ca_folder.add_argument(
        "--ca", type=Path, default=CA_FOLDER, metavar="DIR",
        help=f"CA 目录 / folder of the CA (default {CA_FOLDER})",
    )  # fmt: skip
    _add_ca(commands, ca_folder)
    _add_office(commands, ca_folder)
    _add_broker(commands, ca_folder)
    _add_gateway(commands)
    return parser


def _add_ca(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], ca_folder: argparse.ArgumentParser
) -> None:
    ca = commands.add_parser("ca", help="建立签发机构 / make the issuing CA")
    steps = ca.add_subparsers(required=True, metavar="STEP")
    init = steps.add_parser(
        "init",
        parents=[ca_folder],
        help="新建 CA、服务器证书、云端密钥和空的吊销列表 / new CA and all that goes with it",
    )
    init.add_argument(
        "--server-name", action="append", default=[], metavar="NAME",
        help="网关所见的服务器域名或 IP，可重复 / a host name or address under which gateways reach the broker and the "
        "enrolment server; may be repeated (localhost is always in)",
    )  # fmt: skip
    init.add_argument(
        "--if-missing", action="store_true", help="已有则不动 / do nothing when the folder already holds a CA"
    )
    init.set_defaults(run=_ca_init)
    show = steps.add_parser("show", parents=[ca_folder], help="显示指纹与期限 / show fingerprint and dates")
    show.set_defaults(run=_ca_show)


def _add_office(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], ca_folder: argparse.ArgumentParser
) -> None:
    claim = commands.add_parser(
        "claim",
        parents=[ca_folder],
        epilog=DATABASE,
        help="登记网关并发认领码 / register a gateway, print its claim code",
    )
    claim.add_argument("serial", metavar="SERIAL", help="网关序列号 / serial of the gateway, e.g. GW001")
    claim.add_argument("--name", default="", help="显示名 / name to show, e.g. 1号楼配电间")
    claim.set_defaults(run=_claim)
    api = commands.add_parser(
        "api", parents=[ca_folder], epilog=DATABASE, help="运行入网服务器 / run the enrolment server"
    )
    api.add_argument(
        "--host", default="127.0.0.1", help="监听地址 / address to listen on (default 127.0.0.1)"
    )
    api.add_argument("--port", type=_port, default=8443, help="监听端口 / port (default 8443)")
    api.add_argument(
        "--broker-host", required=True, help="网关应连接的代理 / broker the gateways shall connect to"
    )
    api.add_argument("--broker-port", type=_port, default=8883, help="代理端口 / its port (default 8883)")
    _add_crl_copy(api)
    api.set_defaults(run=_api)


def _add_broker(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], ca_folder: argparse.ArgumentParser
) -> None:
    broker = commands.add_parser(
        "broker-config",
        parents=[ca_folder],
        help="写出 mosquitto 所需的一切 / write all that mosquitto needs",
    )
    broker.add_argument("out", type=Path, metavar="DIR", help="写到此目录 / folder to write to")
    broker.add_argument("--port", type=_port, default=8883, help="监听端口 / port (default 8883)")
    broker.set_defaults(run=_broker_config)
    worker = commands.add_parser(
        "worker-config",
        parents=[ca_folder],
        help="写出云端进程所需的证书 / write what the cloud processes need",
    )
    worker.add_argument("out", type=Path, metavar="DIR", help="写到此目录 / folder to write to")
    worker.set_defaults(run=_worker_config)
    revoke = commands.add_parser(
        "revoke",
        parents=[ca_folder],
        epilog=DATABASE,
        help="吊销网关并断开 / shut a gateway out and end its connection",
    )
    revoke.add_argument("serial", metavar="SERIAL")
    revoke.add_argument(
        "--reason", default="keyCompromise", choices=["keyCompromise", "superseded", "cessationOfOperation"]
    )
    revoke.add_argument("--broker-host", default="127.0.0.1", help="代理地址 / where the broker is")
    revoke.add_argument("--broker-port", type=_port, default=8883)
    revoke.add_argument(
        "--broker-pid-file", type=Path, metavar="FILE",
        help="代理的 pid 文件，用于让它重读吊销列表；不给则由代理自己的监视脚本负责 / its pid file, to have it read the list; "
        "without, the broker's own watcher does (provisioning/run-broker.sh)",
    )  # fmt: skip
    revoke.set_defaults(run=_revoke)
    _add_crl_copy(revoke)
    crl = commands.add_parser(
        "crl", parents=[ca_folder], epilog=DATABASE, help="重写吊销列表 / write the revocation list anew"
    )
    crl.add_argument(
        "--check",
        action="store_true",
        help="只检查：剩余不足 48 小时则退出码 1 / only look: exit code 1 below 48 hours",
    )
    _add_crl_copy(crl)
    crl.set_defaults(run=_crl)


def _add_crl_copy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--crl-copy", type=Path, metavar="FILE",
        help="吊销列表的副本，即代理目录中的 crl.pem / a copy of the list: crl.pem in the broker's folder",
    )  # fmt: skip


def _add_gateway(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    enrol = commands.add_parser(
        "enrol",
        help="在网关上运行：本机生成密钥并入网 / on the gateway: make keys here and get an identity",
        description="私钥在本机生成，从不离开 / the private keys are made here and never leave",
    )
    enrol.add_argument("--url", required=True, help="入网服务器 / enrolment server, https://HOST:8443")
    enrol.add_argument("--label", help="标签二维码全文 / the whole text of the label's QR code, EGW1:…")
    enrol.add_argument("--serial", help="或分开输入：序列号 / or typed apart: the serial")
    enrol.add_argument("--claim", help="认领码 / the claim code")
    enrol.add_argument(
        "--ca-fingerprint", help="标签上的 CA 指纹（16 位十六进制）/ the CA's fingerprint on the label"
    )
    enrol.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="写入此目录 / folder for keys and agent.toml"
    )
    enrol.set_defaults(run=_enrol)


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: 1…65535")
    return int(text)


def _ca_init(arguments: argparse.Namespace) -> None:
    from provisioning import ca

    if arguments.if_missing and (arguments.ca / "ca.key").exists():
        return
    authority = ca.init_authority(
        arguments.ca, server_names=arguments.server_name or ["localhost"], now=_now()
    )
    print(f"CA: {arguments.ca}\n指纹 / fingerprint: {authority.fingerprint}")
    print("请备份该目录并妥善保管 ca.key / back this folder up and keep ca.key safe")


def _ca_show(arguments: argparse.Namespace) -> None:
    from provisioning import ca

    authority = ca.open_authority(arguments.ca)
    print(f"指纹 / fingerprint: {authority.fingerprint}")
    print(f"有效至 / valid until: {authority.certificate.not_valid_after_utc:%Y-%m-%d}")
    print(f"吊销列表剩余 / revocation list runs out in: {ca.crl_time_left(arguments.ca, _now())}")


def _claim(arguments: argparse.Namespace) -> None:
    import segno

    from provisioning import ca, enroll

    checked_serial(arguments.serial)
    authority = ca.open_authority(arguments.ca)
    with _pool() as pool:
        code = enroll.issue_claim(
            pool, authority, arguments.serial, arguments.name, actor=_actor(), now=_now()
        )
    text = label_text(Label(arguments.serial, code, authority.fingerprint))
    segno.make(text, error="q", micro=False).terminal(compact=True)
    print(f"网关 / gateway       {arguments.serial}")
    print(f"认领码 / claim code  {spaced_code(code)}   （30 天内一次有效 / once, within 30 days）")
    print(f"标签 / label         {text}")


def _api(arguments: argparse.Namespace) -> None:
    from provisioning import api, ca

    authority = ca.open_authority(arguments.ca)
    site = api.Site(
        arguments.broker_host, arguments.broker_port, (arguments.ca / "cloud.pub").read_text(encoding="ascii")
    )
    with _pool() as pool:
        print(f"https://{arguments.host}:{arguments.port}/prov/v1/  CA {authority.fingerprint}", flush=True)
        api.serve(pool, authority, site, (arguments.host, arguments.port), arguments.crl_copy, _now)


def _broker_config(arguments: argparse.Namespace) -> None:
    from provisioning import ca, handout

    handout.hand_out_broker(ca.open_authority(arguments.ca), arguments.out, port=arguments.port)
    print(f"{arguments.out}: sh provisioning/run-broker.sh {arguments.out}")


def _worker_config(arguments: argparse.Namespace) -> None:
    from provisioning import ca, handout

    handout.hand_out_workers(ca.open_authority(arguments.ca), arguments.out)
    print(f"{arguments.out}: SHOUDIAN_BROKER_CA_FILE={arguments.out}/ca.crt …")


def _revoke(arguments: argparse.Namespace) -> None:
    from provisioning import ca, enroll, handout
    from provisioning.kick import kick

    authority = ca.open_authority(arguments.ca)
    with _pool() as pool:

        def publish() -> None:
            handout.publish_crl(authority, enroll.revoked_now(pool, _now()), arguments.crl_copy, _now())
            if arguments.broker_pid_file is not None:
                os.kill(int(arguments.broker_pid_file.read_text()), signal.SIGHUP)
            time.sleep(BROKER_READS_S)

        enroll.revoke(
            pool, authority, arguments.serial, arguments.reason, actor=_actor(), now=_now(), publish=publish,
            kick=lambda serial: kick(authority, serial, arguments.broker_host, arguments.broker_port, now=_now()),
        )  # fmt: skip
    print(f"{arguments.serial} 已吊销 / is revoked")


def _crl(arguments: argparse.Namespace) -> None:
    from provisioning import ca, enroll, handout

    authority = ca.open_authority(arguments.ca)
    if not arguments.check:
        with _pool() as pool:
            revoked = enroll.revoked_now(pool, _now())
        handout.publish_crl(authority, revoked, arguments.crl_copy, _now())
        print(f"吊销 / revoked: {len(revoked)}")
    left = ca.crl_time_left(arguments.ca, _now())
    print(f"剩余 / runs out in: {left}")
    if left < ca.CRL_ALARM:
        print(
            "吊销列表即将到期，到期后所有网关都无法连接！/ an expired list locks out EVERY gateway",
            file=sys.stderr,
        )
        raise SystemExit(1)


def _enrol(arguments: argparse.Namespace) -> None:
    from provisioning.gateway import enrol_here

    if arguments.label:
        label = label_from(arguments.label)
    elif arguments.serial and arguments.claim and arguments.ca_fingerprint:
        fingerprint = arguments.ca_fingerprint.replace(":", "").strip()
        serial, code = checked_serial(arguments.serial), normal_code(arguments.claim)
        label = label_from(f"EGW1:{serial}:{code}:{fingerprint}")
    else:
        print(
            "请给出 --label，或 --serial、--claim 和 --ca-fingerprint / give --label, or --serial, --claim and "
            "--ca-fingerprint: all are on the label",
            file=sys.stderr,
        )
        raise SystemExit(2)
    done = enrol_here(arguments.url, label, arguments.out, _now)
    print(f"{done.gateway_id} 已入网 / is enrolled (epoch {done.epoch})")
    print(f"密钥词 / key words   {done.key_words}   （请与办公室核对 / compare with the office）")
    print(f"证书至 / valid until {done.certificate_until:%Y-%m-%d}")
    print(
        f"下一步 / next        {done.folder}/agent.toml: [[port]], [[meter]]; shoudian-agent check --config …"
    )


def _pool() -> Pool:
    from cloud.config import load_config
    from cloud.db import open_pool

    return open_pool(load_config(os.environ).dsn, size_max=4)


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return f"cli:uid{os.getuid()}"


if __name__ == "__main__":
    sys.exit(main())
