"""A bank statement as CSV -> bank lines, and back without letting a spreadsheet run anything. Pure.

UTF-8 (with or without byte order mark) or GBK. The first line that names a date column is the header; lines before
it (the bank's title) are skipped, blank lines too. Columns by name, in any order:

    交易日期 | 记账日期 | date                  2026-09-12, 2026/9/12 or 20260912
    收入金额 | 贷方发生额 | 收入 | credit        1,234.56; empty or 0.00: nothing came in
    支出金额 | 借方发生额 | 支出 | debit         optional
    对方户名 | 付款人 | payer                   对方账号 | payer_account, 摘要 | 附言 | 用途 | memo, 流水号 | 交易流水号 | ref: optional

The same line again is the same money: a line is known by the hash of its content and, where a file holds equal lines,
by which of them it is.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation

from cloud.billing.reconcile import BankLine
from cloud.errors import Invalid
from cloud.money import fen_of

BYTES_MAX = 8_000_000
LINES_MAX = 20_000
TEXT_LENGTH_MAX = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "date": ("交易日期", "记账日期", "日期", "date"),
    "credit": ("收入金额", "贷方发生额", "收入", "贷方金额", "credit"),
    "debit": ("支出金额", "借方发生额", "支出", "借方金额", "debit"),
    "payer_name": ("对方户名", "付款人", "付款人名称", "对方名称", "payer"),
    "payer_account": ("对方账号", "付款账号", "payer_account"),
    "memo": ("附言", "摘要", "用途", "备注", "memo"),
    "ref": ("流水号", "交易流水号", "银行流水号", "ref"),
}


class BadBankFile(Invalid):
    """A bank file breaks its format; `facts` name line, column, what was found and what is allowed."""

    def __init__(self, line: int, column: str, found: str, allowed: str) -> None:
        super().__init__("bad_bank_file", line=line, column=column, found=found[:60], allowed=allowed)


def bank_lines(content: bytes) -> tuple[BankLine, ...]:
    """Read a bank statement whole, or refuse it whole. Raises BadBankFile."""
    if len(content) > BYTES_MAX:
        raise BadBankFile(0, "(file)", f"{len(content)} bytes", f"at most {BYTES_MAX}")
    rows = csv.reader(io.StringIO(_text(content), newline=""))
    columns: dict[str, list[int]] = {}
    lines: list[BankLine] = []
    seen: Counter[tuple[object, ...]] = Counter()
    try:
        for number, row in enumerate(rows, start=1):
            cells = [cell.strip().strip("\t'\ufeff") for cell in row]
            if not columns:
                columns = _header(cells)
            elif any(cells):
                line = _line(number, cells, columns, seen)
                lines += [] if line is None else [line]
            if len(lines) > LINES_MAX:
                raise BadBankFile(
                    number, "(file)", f"more than {LINES_MAX} lines", "fewer lines: split the file"
                )
    except csv.Error as problem:
        raise BadBankFile(rows.line_num, "(line)", str(problem), "CSV with commas") from problem
    if not columns:
        raise BadBankFile(
            1, "(header)", "", " | ".join(_COLUMNS["date"]) + " + " + " | ".join(_COLUMNS["credit"])
        )
    return tuple(lines)


def _text(content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise BadBankFile(0, "(file)", "NUL", "text")
        return text
    raise BadBankFile(0, "(file)", "neither UTF-8 nor GBK", "UTF-8 | GBK")


def _header(cells: list[str]) -> dict[str, list[int]]:
    found = {
        name: [index for alias in aliases for index, cell in enumerate(cells) if cell.casefold() == alias]
        for name, aliases in _COLUMNS.items()
    }
    if not (found["date"] and (found["credit"] or found["debit"])):
        return {}
    if not found["credit"]:
        raise BadBankFile(0, "credit", "", " | ".join(_COLUMNS["credit"]))
    return found


def _line(
    number: int, cells: list[str], columns: dict[str, list[int]], seen: Counter[tuple[object, ...]]
) -> BankLine | None:
    def cell(name: str) -> str:
        texts = [cells[index] for index in columns[name] if index < len(cells) and cells[index]]
        return (" ".join(texts) if name == "memo" else (texts or [""])[0])[:TEXT_LENGTH_MAX]

    if not cell("date"):
        return None  # a total or a remark under the table
    booked_on = _day(number, cell("date"))
    amount_fen = _fen(number, "credit", cell("credit")) - _fen(number, "debit", cell("debit"))
    if amount_fen == 0:
        raise BadBankFile(number, "credit", cell("credit"), "an amount that is not 0.00")
    content = (
        booked_on.isoformat(),
        amount_fen,
        cell("payer_name"),
        cell("payer_account"),
        cell("memo"),
        cell("ref"),
    )
    seen[content] += 1
    named = "\x1f".join(map(str, (*content, seen[content])))
    return BankLine(
        line_no=number,
        line_sha256=hashlib.sha256(named.encode()).digest(),
        booked_on=booked_on,
        amount_fen=amount_fen,
        payer_name=cell("payer_name"),
        payer_account=cell("payer_account"),
        memo=cell("memo"),
        bank_ref=cell("ref"),
    )


def _day(number: int, text: str) -> date:
    digits = text.split(" ")[0].replace("/", "-").split("-")
    if len(digits) == 1 and len(digits[0]) == 8:
        digits = [digits[0][:4], digits[0][4:6], digits[0][6:]]
    try:
        year, month, day = (int(each) for each in digits)
        if not 2000 <= year <= 2199:
            raise ValueError(year)
        return date(year, month, day)
    except ValueError as problem:
        raise BadBankFile(number, "date", text, "2026-09-12 | 2026/9/12 | 20260912") from problem


def _fen(number: int, column: str, text: str) -> int:
    plain = text.replace(",", "").replace("¥", "").replace("￥", "").strip()
    if plain in ("", "-"):
        return 0
    try:
        amount_yuan = Decimal(plain)
    except InvalidOperation:
        amount_yuan = Decimal(-1)
    if not 0 <= amount_yuan < 10**11 or amount_yuan != amount_yuan.quantize(Decimal("0.01")):
        raise BadBankFile(number, column, text, "1,234.56, not negative, two decimals")
    return fen_of(amount_yuan)


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table for a spreadsheet: no cell can become a formula (a leading = + - @ gets an apostrophe)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([_tame(each) for each in header])
    writer.writerows([_tame(each) for each in row] for row in rows)
    return "\ufeff" + out.getvalue()


def _tame(cell: object) -> str:
    text = str(cell)
    is_number = not isinstance(cell, str) and text.lstrip("-").replace(".", "", 1).isdigit()
    return f"'{text}" if text.startswith(_FORMULA) and not is_number else text
