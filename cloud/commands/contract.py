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
    topic = add(
        "contract", _none, "合同：验签、印章根证书、模板、推进 / contracts: check, seals, templates, turn"
    )
    topic.epilog, topic.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter
    deeds = topic.add_subparsers(metavar="DEED", required=True)

    def deed(name: str, run: commands.Run, text: str) -> argparse.ArgumentParser:
        command = deeds.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    check = deed("verify", _verify, "离线核对一份签署的合同 / check a signed contract, offline")
    check.add_argument("file", type=Path, metavar="FILE", help="PDF")
    check.add_argument(
        "--trust", type=Path, action="append", default=[], metavar="PEM", help="信任的根证书 / trusted roots"
    )
    made = deed("make-authority", _make_authority, "建立电子印章根证书 / make the seal authority")
    made.add_argument("name", metavar="NAME", help="根证书的名称 / its name")
    deed("enter-texts", _enter_texts, "录入随程序的条款和模板 / enter the supplied clauses and templates")
    deed("turn", _turn, "推进一次：过期、生效、提醒 / one turn: expiry, effect, reminders")


def _none(arguments: argparse.Namespace) -> int:
    raise AssertionError("a deed is required")


def _verify(arguments: argparse.Namespace) -> int:
    """Print every signature; 0 when all places are signed, all hold, and nothing else was added."""
    from cloud.markettime import market_local
    from cloud.paper.cosign import signatures_of
    from cloud.paper.sign import trusted_roots

    roots: list[bytes] = [each for path in arguments.trust for each in trusted_roots(path)]
    checked = signatures_of(arguments.file.read_bytes(), roots)
    for place, each in checked.signatures:
        at = "—" if each.signed_at is None else f"{market_local(each.signed_at):%Y-%m-%d %H:%M:%S}"
        holds = each.is_intact and each.covers_all and each.is_valid_at
        verdict = (
            "contract_broken"
            if not holds
            else "contract_untrusted"
            if each.is_trusted is False
            else "contract_holds"
        )
        for language in words.LANGUAGES:
            told = words.say(language, f"cli.{verdict}")
            print(
                words.say(
                    language, "cli.contract_signature", place=place, signer=each.signer, at=at, verdict=told
                )
            )
    if not roots:
        _say("contract_no_roots")
    if checked.empty:
        _say("contract_empty", places=", ".join(checked.empty))
    _say("contract_whole" if checked.is_whole() else "contract_not_whole")
    return 0 if checked.is_whole() else 1


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
