"""shoudian-cloud tariff: rate a worked case, check a file of cases."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands
from cloud.commands import bench

if TYPE_CHECKING:
    from cloud.cases.rules import Rules

EXAMPLE = """
例 / example:
  shoudian-cloud tariff rate case.json              # 一个算例，逐项写明怎么算 / one case, each result with its derivation
  shoudian-cloud tariff rate cases.json --id TP-103 # 文件中的一个 / one case of a file
  shoudian-cloud tariff check cases.json            # 逐例比对应得与实得 / expected against got, case by case
  shoudian-cloud tariff validate my-prices.toml     # 价格文件能否读懂，印出的价格是否等于各组成之和 / can a price file be used
  shoudian-cloud tariff schema > price-file.schema.json  # 供编辑器补全和检查 / for editors, to complete and check
  shoudian-cloud tariff bench draft.toml --months 2026-08   # 草稿对现行，逐户比较 / a draft against what is in force
格式 / format: docs/operations/tariff-cases.md, cloud/billing/published/README.md
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(add, "tariff", "电价算例：试算与核对 / tariff cases: rate and check", EXAMPLE)
    _add_cases(deed)
    bench.add_bench(deed)
    _add_files(deed)


def _add_cases(deed: commands.Add) -> None:
    text = "试算一个算例，写出每个结果的依据 / rate one case; each result with formula, inputs, rule and rounding"
    command = deed("rate", _rate, text)
    command.add_argument("file", type=Path, metavar="CASE.json")
    command.add_argument("--id", help="文件中的算例编号 / id of the case in a file of several")
    _add_output(command)
    text = "核对一个算例文件；全部一致 0，有差异 1，读不懂 2 / check a file of cases; exit 0 all right, 1 some wrong, 2 unreadable"
    command = deed("check", _check, text)
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--failures", action="store_true", help="只列有问题的 / list only what is not right")
    command.add_argument(
        "--strict",
        action="store_true",
        help="有未用到的输入也算不符 / inputs that no rule looked at are wrong too",
    )
    _add_output(command)


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="给程序读 / for machines")
    command.add_argument("--language", choices=("zh", "en"), default="zh", help="zh | en")


def _rate(arguments: argparse.Namespace) -> int:
    from cloud.cases import text
    from cloud.cases.areas import rated
    from cloud.cases.reading import case_of, cases_from

    file = str(arguments.file)
    case = case_of(cases_from(_octets(arguments.file), file), file, arguments.id)
    verdict = rated(case, _rules())
    _show(_json(text.rated_json(verdict)) if arguments.json else text.rated_text(verdict, arguments.language))
    return 0 if verdict.is_right or not case.expected else 1


def _check(arguments: argparse.Namespace) -> int:
    from cloud.cases import text
    from cloud.cases.areas import tried
    from cloud.cases.reading import cases_from

    file, rules = str(arguments.file), _rules()
    verdicts = [tried(case, rules) for case in cases_from(_octets(arguments.file), file)]
    if arguments.json:
        _show(_json(text.checked_json(verdicts, file)))
    else:
        _show(text.checked_text(verdicts, file, arguments.language, failures_only=arguments.failures))
    is_right = all(verdict.is_right and not (arguments.strict and verdict.unread) for verdict in verdicts)
    return 0 if is_right else 1


def _octets(file: Path) -> bytes:
    """The file; `-` is standard input."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def _show(text: str) -> None:
    """Print; whoever reads may stop early, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _rules() -> Rules:
    """The national rules that come with the program: of the price files only those are read."""
    from cloud.billing.pricefile import price_file_from
    from cloud.billing.store.published import packaged_texts
    from cloud.cases.rules import FILES, rules_from

    return rules_from(
        price_file_from(each.name, each.text) for each in packaged_texts() if each.name.startswith(FILES)
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _add_files(deed: commands.Add) -> None:
    text = "检查价格文件；都能用 0，有不能用的 1 / check price files; exit code 1 when one cannot be used"
    command = deed("validate", _validate, text)
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="my-prices.toml …")
    deed("schema", _schema, "价格文件的 JSON Schema，供编辑器用 / JSON Schema of price files, for editors")


def _validate(arguments: argparse.Namespace) -> int:
    """Say of each file whether it can be used, and what in its printed prices does not add up."""
    from cloud.billing.filetable import BadPriceFile
    from cloud.billing.store.published import checked_file

    is_good = True
    for path in arguments.files:
        try:
            checked = checked_file(str(path), path.read_bytes())
        except BadPriceFile as problem:
            is_good = False
            print(f"不能用 / refused  {problem}")
            continue
        head = checked.file.head
        until = head.effective_to or "…"
        print(f"可用 / good  {path}: {head.kind} {head.origin}, {head.grid} [{head.effective_from}, {until})")
        for source in head.sources:
            if not source.confirmed:
                covers = ", ".join(source.covers) or "(all)"
                print(f"  待确认 / provisional [{source.mark}] {covers}")
        for finding in checked.findings:
            print(f"  {finding.rule}: " + ", ".join(f"{key} {value}" for key, value in finding.facts))
        if checked.incomplete:
            print(f"  未核对 / not recomputed: {checked.incomplete}")
    return 0 if is_good else 1


def _schema(arguments: argparse.Namespace) -> None:
    from cloud.billing.store.published import packaged_schema

    print(packaged_schema(), end="")
