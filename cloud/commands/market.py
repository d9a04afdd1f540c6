"""shoudian-cloud market: clear a book, check a file of worked cases, enter a market file, list rule forms."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands

if TYPE_CHECKING:
    from cloud.cases.auctionfile import Case, Difference
    from cloud.cases.book import Cleared

RULES = ("mid_last", "marginal", "cross_or_mid", "seller", "buyer")
EXAMPLE = """
例 / example:
  shoudian-cloud market clear book.json                      # 出清并画曲线 / clear, with the curves
  shoudian-cloud market clear book.json --rule marginal --alloc prorata --plot curves.svg
  shoudian-cloud market clear book.json --pairs              # 高低匹配 / each pair at its own price
  shoudian-cloud market clear cases.json --id CA-106 --json  # 文件中的一个算例 / one case of a file
  shoudian-cloud market check cases.json                     # 逐例核对 / expected against got, case by case
  shoudian-cloud market import market.toml                   # 规则、合同、价格 / rule, contracts, prices
  shoudian-cloud market receipt receipt.json --key key.pem   # 回执验签 / verify a receipt
  shoudian-cloud market rules                                # 随程序的规则形式 / rule forms that come along
书 / a book: [{"id": "B1", "side": "B", "p": 40000, "q": 100000, "seq": 1}, …]
  p 0.01 元/MWh 的整数 / whole 0.01 yuan/MWh; q 0.001 MWh 的整数 / whole 0.001 MWh; seq 先后 / order of time
格式 / format: docs/operations/market-cases.md
"""


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    deed = commands.topic(
        add, "market", "市场：出清、核对算例、录入 / the market: clear, check cases, enter", EXAMPLE
    )
    _add_clearing(deed)
    command = deed(
        "import", _import, "录入市场文件：规则、合同、价格 / enter a market file: rule, contracts, prices"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="市场文件 / market file (TOML)")
    text = "验证申报回执的签名 / verify the signature of a declaration's receipt; exit 2 when it is not ours"
    command = deed("receipt", _receipt, text)
    command.add_argument("file", type=Path, metavar="RECEIPT.json")
    command.add_argument(
        "--key", type=Path, required=True, metavar="KEY.pem", help="交易平台公钥 / public key"
    )
    deed("rules", _rules, "随程序的规则形式 / rule forms that come along")


def _add_clearing(deed: commands.Add) -> None:
    text = "出清一本申报：价格、电量、每份申报的成交，画出供需曲线 / clear a book: price, volume, every fill, the curves"
    command = deed("clear", _clear, text)
    command.epilog, command.formatter_class = EXAMPLE, argparse.RawDescriptionHelpFormatter
    command.add_argument("file", type=Path, metavar="BOOK.json")
    command.add_argument("--id", help="文件中的算例编号 / id of the case in a file of several")
    command.add_argument(
        "--rule", choices=RULES, default="mid_last", help="价格形成，默认 mid_last / how the price is taken"
    )
    command.add_argument(
        "--alloc", choices=("time", "prorata"), default="time", help="边际上的分配 / who is cut at the margin"
    )
    command.add_argument(
        "--pairs", action="store_true", help="高低匹配，按对成交 / match best with best, a price a pair"
    )
    command.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="把曲线写成 .svg 或 .png / write the curves as a picture",
    )
    command.add_argument("--json", action="store_true", help="给程序读 / for machines")
    text = "核对一个算例文件；全部一致 0，有差异 1，读不懂 2 / check a file of cases; exit 0 all right, 1 some wrong, 2 unreadable"
    command = deed("check", _check, text)
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--failures", action="store_true", help="只列不一致的 / list only what is not right")
    command.add_argument("--json", action="store_true", help="给程序读 / for machines")


def _clear(arguments: argparse.Namespace) -> int:
    from cloud.cases import book
    from cloud.market.auction import AtMargin, PriceRule

    books = book.books_from(_text(arguments.file), arguments.file.name, arguments.id)
    margin = AtMargin(arguments.alloc)
    found = book.clear(books, PriceRule(arguments.rule), margin, is_paired=arguments.pairs)
    documents = [each.document() for each in found]
    digest = book.result_sha256(documents)
    if arguments.json:
        print(json.dumps({"periods": documents, "result_sha256": digest}, ensure_ascii=False, indent=1))
    else:
        for each in found:
            _show(each, is_plotted=len(found) == 1)
        print(f"结果 / result   sha256 {digest}")
    if arguments.plot:
        _plot(found, arguments.plot)
    return 0


def _show(cleared: Cleared, *, is_plotted: bool) -> None:
    from cloud.cases.curves import mwh, text_plot, yuan
    from cloud.market.auction import PriceRule, price_ticks

    clearing = cleared.clearing
    if is_plotted:
        print("\n".join(text_plot(cleared)))
    print(f"时段 / period {cleared.period}   申报 / orders {len(cleared.orders)}")
    if not clearing.volume_kwh:
        print("  无成交：最高买价低于最低卖价，或只有一方 / no trade: the sides do not meet")
    elif clearing.last_bid_ticks is not None and clearing.last_ask_ticks is not None:
        prices = {rule: price_ticks(clearing, rule) for rule in PriceRule}
        low, high = clearing.interval_ticks or (0, 0)
        print(f"  成交 / volume   {mwh(clearing.volume_kwh)} MWh")
        if cleared.price_ticks is not None:
            print(f"  价格 / price    {yuan(cleared.price_ticks)} 元/MWh   ({cleared.rule.value})")
        print(
            f"  末对 / last pair  买 bid {yuan(clearing.last_bid_ticks)}  卖 ask {yuan(clearing.last_ask_ticks)}"
        )
        print(f"  支撑区间 / supporting interval  [{yuan(low)}, {yuan(high)}]")
        others = "  ".join(
            f"{rule.value} {yuan(price)}" for rule, price in prices.items() if price is not None
        )
        print(f"  各规则 / under each rule  {others}")
        print(f"  福利 / welfare  {_money(cleared.welfare)} 元")
        _show_fills(cleared)
    print(f"  申报集 / book   sha256 {cleared.input_sha256}")


def _show_fills(cleared: Cleared) -> None:
    from cloud.cases.curves import mwh, yuan

    rows = 40
    for pair in (cleared.pairs or ())[:rows]:
        print(
            f"    {pair.buy_id:>12} ← {pair.sell_id:<12} {mwh(pair.quantity_kwh):>14} MWh  {yuan(pair.price_ticks):>9}"
        )
    if cleared.pairs is None:
        filled = cleared.clearing.filled_kwh()
        traded = sorted(
            (order for order in cleared.orders if order.id in filled), key=lambda order: order.seq
        )
        for order in traded[:rows]:
            part = "" if filled[order.id] == order.quantity_kwh else "  部分 / part"
            print(
                f"    {order.side.value} {order.id:>12} {mwh(filled[order.id]):>14} MWh  @ {yuan(order.price_ticks)}{part}"
            )
        hidden = len(traded) - rows
    else:
        hidden = len(cleared.pairs) - rows
    if hidden > 0:
        print(f"    … 另有 / and {hidden} more: --json")


def _money(units: int) -> str:
    """1e-5 yuan as yuan, exact."""
    from decimal import Decimal

    return f"{Decimal(units).scaleb(-5).normalize():f}"


def _plot(found: Sequence[Cleared], path: Path) -> None:
    from cloud.cases.curves import svg_plot
    from cloud.paper.picture import png

    for each in found:
        own = path if len(found) == 1 else path.with_stem(f"{path.stem}-{each.period}")
        drawing = svg_plot(each, f"时段 / period {each.period}")
        own.write_bytes(png(drawing) if own.suffix == ".png" else drawing.encode())
        print(f"曲线 / curves: {own}", file=sys.stderr)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".svg", ".png"):
        raise argparse.ArgumentTypeError(
            f"只写 .svg 或 .png / only .svg or .png can be written, not {text!r}"
        )
    return path


def _check(arguments: argparse.Namespace) -> int:
    from cloud.cases import auctionfile, auctions

    cases = auctionfile.cases_from(_text(arguments.file), arguments.file.name)
    verdicts: list[tuple[Case, tuple[Difference, ...], str]] = []
    unknown: dict[str, int] = {}
    for number, case in enumerate(cases, 1):
        if sys.stderr.isatty():
            print(f"\r{number}/{len(cases)} {case.id}\033[K", end="", file=sys.stderr)
        try:
            got = auctions.work(case)
            verdicts.append((case, auctionfile.differences(case, got), ""))
            for key in auctionfile.uncompared(case, got):
                unknown[key] = unknown.get(key, 0) + 1
        except auctionfile.Bad as bad:
            verdicts.append((case, (), str(bad)))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    wrong = sum(1 for _, found, problem in verdicts if found or problem)
    if arguments.json:
        print(json.dumps([_verdict(*each) for each in verdicts], ensure_ascii=False, indent=1))
    else:
        for case, found, problem in verdicts:
            _tell(case, found, problem, only_failures=arguments.failures)
        for kind in auctionfile.KINDS:
            own = [not (found or problem) for case, found, problem in verdicts if case.kind == kind]
            if own:
                print(f"{kind:14} {sum(own)} / {len(own)}")
        print(f"一致 / right {len(cases) - wrong}, 不一致 / wrong {wrong}")
    for key, count in unknown.items():
        print(f"未核对 / not compared, unknown to this version: expected.{key} ({count})", file=sys.stderr)
    return 1 if wrong else 0


def _tell(case: Case, found: Sequence[Difference], problem: str, *, only_failures: bool) -> None:
    if not found and not problem:
        if not only_failures:
            print(f"✓ {case.id}  {case.title}")
        return
    print(f"✗ {case.id}  {case.title}")
    if problem:
        print(f"    不能算 / cannot be worked: {problem}")
    for each in found:
        expected, got = (
            json.dumps(each.expected, ensure_ascii=False),
            json.dumps(each.got, ensure_ascii=False),
        )
        print(f"    {each.at}: 应为 / expected {expected[:200]}, 算得 / got {got[:200]}")


def _verdict(case: Case, found: Sequence[Difference], problem: str) -> dict[str, object]:
    differences = [{"at": each.at, "expected": each.expected, "got": each.got} for each in found]
    return {
        "id": case.id,
        "kind": case.kind,
        "passed": not found and not problem,
        "problem": problem or None,
        "differences": differences,
    }


def _text(path: Path) -> str:
    from cloud.cases.auctionfile import Bad

    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise Bad(path.name, "-", str(problem)[:60], "UTF-8") from problem


def _import(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.market.run import enter

    file = enter.read_market(arguments.file)
    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn,
    ):
        counted = enter.enter(conn, file, "cli:market", commands.now())
    print(
        f"新录入 / newly entered: {counted.rules} rules, {counted.contracts} contracts, {counted.prices} prices, "
        f"{counted.days} days, {counted.quantities} quantities"
    )


def _receipt(arguments: argparse.Namespace) -> None:
    from decimal import Decimal

    from cloud import words
    from cloud.market.receipt import public_from, verified

    found = verified(arguments.file.read_bytes(), public_from(arguments.key.read_bytes()))
    mwh = f"{Decimal(sum(found['quantity_kwh'])).scaleb(-3):,f}"
    facts = {"session": found["session"], "seq": found["seq"], "kind": found["kind"], "mwh": mwh}
    for language in words.LANGUAGES:
        print(words.say(language, "cli.receipt_right", at=found["at"], **facts))


def _rules(arguments: argparse.Namespace) -> None:
    from cloud.market.run import enter

    for rule in enter.packaged_rules():
        print(f"package:{rule.id}  version {rule.version}  {rule.form}  {rule.title}")
