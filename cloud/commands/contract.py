"""shoudian-cloud contract: check a signed contract offline, make the seal authority, enter templates, take a turn."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cloud import commands, words

EXAMPLE = """
例 / example:
  shoudian-cloud contract verify GS20260820-00001-1.pdf --trust seal-roots.pem   # 离线验签 / check offline
  shoudian-cloud contract make-authority "冀北电力交易平台"                        # 一次 / once
  shoudian-cloud contract enter-texts                                            # 条款与模板 / clauses and templates
  shoudian-cloud contract turn                                                   # 平时由 work 进程做 / `work` does this
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(
        add,
        "contract",
        "合同：验签、印章根证书、模板、推进 / contracts: check, seals, templates, turn",
        EXAMPLE,
    )
    check = deed("verify", _verify, "离线核对一份签署的合同 / check a signed contract, offline")
    check.add_argument("file", type=Path, metavar="FILE", help="PDF")
    check.add_argument(
        "--trust", type=Path, action="append", default=[], metavar="PEM", help="信任的根证书 / trusted roots"
    )
    made = deed("make-authority", _make_authority, "建立电子印章根证书 / make the seal authority")
    made.add_argument("name", metavar="NAME", help="根证书的名称 / its name")
    deed("enter-texts", _enter_texts, "录入随程序的条款和模板 / enter the supplied clauses and templates")
    deed("turn", _turn, "推进一次：过期、生效、提醒 / one turn: expiry, effect, reminders")


def _verify(arguments: argparse.Namespace) -> int:
    """Print what was found, in both languages; 0 when everything that can be proven is, 1 when anything is wrong."""
    from cloud.contracts.run.desk.verify import findings
    from cloud.paper.sign import trusted_roots

    roots: list[bytes] = [each for path in arguments.trust for each in trusted_roots(path)]
    found = findings(_bytes_of(arguments.file), roots)
    is_well = all(each.is_well is not False for each in found)
    for language in words.LANGUAGES:
        print(words.say(language, "cli.contract_checked", file=arguments.file.name))
        for each in found:
            sign = {True: "✓", False: "✗", None: "·"}[each.is_well]
            print(f"  {sign} {words.say(language, f'cli.contract_{each.key}', **each.facts)}")
        print(words.say(language, "cli.contract_whole" if is_well else "cli.contract_not_whole"))
    return 0 if is_well else 1


def _bytes_of(file: Path) -> bytes:
    """Read the file. Raises BadPaper."""
    from cloud.paper.cosign import BadPaper

    try:
        return file.read_bytes()
    except OSError as error:
        raise BadPaper("bad_contract_paper", problem=f"{file}: {error.strerror}") from error


def _make_authority(arguments: argparse.Namespace) -> int:
    from secrets import token_bytes

    from cloud.contracts.run.desk.sign import authority_place
    from cloud.contracts.store import seals
    from cloud.db import connected
    from cloud.paper.seals import make_authority
    from cloud.security import sealing

    config, now = commands.config(), commands.now()
    with connected(config.dsn) as conn:
        kept = seals.authority(conn)
        if kept is not None:
            _say("contract_authority_kept", sha256=kept.certificate_sha256)
            return 0
        made = make_authority(arguments.name, now)
        sealed = sealing.seal(
            config.sealing_key, made.key, authority_place(made.sha256), token_bytes(sealing.NONCE_BYTES)
        )
        seals.insert_authority(conn, made.certificate, made.sha256, sealed, (now, "cli:contract"))
    _say("contract_authority_made", sha256=made.sha256)
    return 0


def _enter_texts(arguments: argparse.Namespace) -> int:
    from cloud.contracts.run import texts
    from cloud.db import connected

    with connected(commands.config().dsn) as conn:
        _say("contract_texts_entered", n=texts.enter_supplied(conn, "cli:contract", commands.now()))
    return 0


def _turn(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from cloud.contracts.run.desk import turn
    from cloud.db import open_pool

    now = commands.now()
    with open_pool(commands.config().dsn) as pool:
        done = asdict(turn.look(pool, now))
        counts = {name: len(numbers) for name, numbers in done.items()}
        _say("contract_turned", reminded=turn.remind(pool, now), **counts)
    return 0


def _say(key: str, **facts: object) -> None:
    """Print a line in both languages, as commands do."""
    lines: Sequence[str] = [words.say(language, f"cli.{key}", **facts) for language in words.LANGUAGES]
    print(" / ".join(lines))
