"""Recompute lines of bills from their derivations alone. Standard library only; knows nothing of the program.

    python tests/independent/recompute.py BILL.json [BILL.json ...] [--lines 1000] [--seed 0]

Reads what `shoudian-cloud` attaches to a printed bill (schema shoudian-bill/2), draws lines at random by the seed, and
evaluates each line's formula over its inputs with a parser and whole-number fractions of its own. The power factor is
found again from the two energies that its line notes, and the total from the lines. Exit code 1 names what is wrong.

    formula = product (("+" | "-") product)*        product = sign (("*" | "/") sign)*
    sign    = "-" sign | whole number | name of an input | "(" formula ")" | "fen" "(" formula ")"
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import Any

TOKEN = re.compile(r"\s*(?:(\d+)|([^\W\d]\w*)|([-+*/()]))")
SCHEMAS = ("shoudian-bill/1", "shoudian-bill/2")


class Unreadable(Exception):
    """The formula is none, or an input is missing."""


class Reader:
    """One formula, read from left to right."""

    def __init__(self, formula: str, values: dict[str, Fraction]) -> None:
        self.values = values
        self.tokens: list[str] = []
        at = 0
        while formula[at:].strip():
            found = TOKEN.match(formula, at)
            if found is None:
                raise Unreadable(f"what is {formula[at : at + 10]!r}")
            self.tokens.append(found[0].strip())
            at = found.end()
        self.tokens.append("")

    def all(self) -> Fraction:
        result = self.sum()
        if self.tokens != [""]:
            raise Unreadable(f"what is {self.tokens[0]!r}")
        return result

    def sum(self) -> Fraction:
        result = self.product()
        while self.tokens[0] in ("+", "-"):
            result = result + self.product() if self.take() == "+" else result - self.product()
        return result

    def product(self) -> Fraction:
        result = self.sign()
        while self.tokens[0] in ("*", "/"):
            result = result * self.sign() if self.take() == "*" else result / self.sign()
        return result

    def sign(self) -> Fraction:
        token = self.take()
        if token == "-":
            return -self.sign()
        if token == "(":
            return self.inside()
        if token == "fen" and self.tokens[0] == "(":
            self.take()
            return Fraction(fen(self.inside()), 100)
        if token.isdecimal():
            return Fraction(int(token))
        if token in self.values:
            return self.values[token]
        raise Unreadable(f"what is {token!r}")

    def inside(self) -> Fraction:
        result = self.sum()
        if self.take() != ")":
            raise Unreadable("a parenthesis is not closed")
        return result

    def take(self) -> str:
        return self.tokens.pop(0) if len(self.tokens) > 1 else ""


def fen(yuan: Fraction) -> int:
    """Round yuan to whole fen, half away from zero."""
    top, bottom = abs(yuan.numerator) * 100, yuan.denominator
    whole, rest = divmod(top, bottom)
    whole += 2 * rest >= bottom
    return whole if yuan >= 0 else -whole


def line_problem(line: dict[str, Any]) -> str:
    """Say what is wrong with a line; empty: it follows from its derivation."""
    how = line["derivation"]
    values = {each["name"]: Fraction(each["value"]) for each in how["inputs"]}
    if len(values) != len(how["inputs"]):
        return "an input twice"
    try:
        got = fen(Reader(how["formula"], values).all())
    except (Unreadable, ZeroDivisionError) as problem:
        return f"{how['formula']}: {problem}"
    if got != line["amount_fen"]:
        return f"printed {line['amount_fen']} fen, its derivation gives {got}"
    return power_factor_problem(how.get("notes", {}))


def power_factor_problem(notes: dict[str, str]) -> str:
    """Find a power factor again from the energies that a line notes: the whole number k of hundredths with
    (2k - 1)^2 (P^2 + Q^2) <= (200 P)^2 < (2k + 1)^2 (P^2 + Q^2)."""
    if not notes.get("power_factor"):
        return ""
    active, reactive = int(notes["active_wh"]), int(notes["reactive_varh"])
    hundredths = (isqrt((200 * active) ** 2 // (active**2 + reactive**2)) + 1) // 2
    if Fraction(notes["power_factor"]) == Fraction(hundredths, 100):
        return ""
    return f"power factor {notes['power_factor']}, from {active} Wh and {reactive} varh {hundredths}/100"


def drawn(bills: list[dict[str, Any]], count: int, seed: str) -> list[tuple[int, int]]:
    """Draw (bill, line) by the seed; the same seed draws the same."""
    every = [(b, n) for b, bill in enumerate(bills) for n in range(len(bill["lines"]))]
    return sorted(every, key=lambda at: hashlib.sha256(f"{seed} {at}".encode()).digest())[:count]


def problems(bills: list[dict[str, Any]], count: int, seed: str) -> list[str]:
    """Recompute the drawn lines, and the totals of all bills."""
    found = [
        f"bill {n + 1}: {each['schema']!r}" for n, each in enumerate(bills) if each["schema"] not in SCHEMAS
    ]
    for number, bill in enumerate(bills):
        total = sum(each["amount_fen"] for each in bill["lines"])
        if total != bill["total_fen"]:
            found.append(f"bill {number + 1}: total {bill['total_fen']} fen, its lines add up to {total}")
    for number, at in drawn(bills, count, seed):
        line = bills[number]["lines"][at]
        problem = line_problem(line)
        if problem:
            account = bills[number]["account"]["account_id"]
            found.append(
                f"bill {number + 1} ({account}) line {at + 1} {line['section']} {line['item']}: {problem}"
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="BILL.json")
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    bills = [json.loads(path.read_text(encoding="utf-8")) for path in given.files]
    found = problems(bills, given.lines, given.seed)
    checked = len(drawn(bills, given.lines, given.seed))
    print("\n".join([*found, f"{checked} lines of {len(bills)} bills recomputed, {len(found)} wrong"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
