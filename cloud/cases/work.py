"""A case being worked: reads its inputs, notes what was used and how each result came about. Pure.

Names of inputs are given as one text, several separated by spaces: the first is the one to use, the others are what
other documents say for it. A name is looked up exactly first, then by the words it is made of; a row or part of a case
sees what its case says about all rows. Rounding is what the case names, else what the policy documents say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from typing import Final, NoReturn

from cloud.cases.names import ALSO
from cloud.cases.reading import DECIMAL, BadCase, Case, Json, MissingInput, decimal_of
from cloud.cases.result import Result, Results, Step, Value, text_of, words_of
from cloud.cases.unused import unused_in, weighty_in
from cloud.money import EXACT, quotient

EXACT_QUANTUM: Final = Decimal("1e-24")
NUMBERS_SHOWN_MAX: Final = 14
NEUTRAL: Final = (Decimal(0), Decimal(1))  # Defaults that change nothing: no addend, no factor.
# Decimals of a kind of quantity where a case names none: 发改能源规〔2025〕976号 art. 12, and §10.5 of our reference.
DEFAULTS: Final = {
    "money": "0.01",
    "pf": "0.01",
    "price": "0.000001",
    "price_mwh": "0.001",
    "energy_kwh": "1",
    "energy_mwh": "0.001",
    "power_kw": "0.000001",
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class Work:
    """The inputs of a case, of one of its rows or of one of its parts, and the results found so far."""

    def __init__(
        self, case: Case, table: Mapping[str, Json], path: str = "inputs", outer: Work | None = None
    ) -> None:
        self.case = case
        self.path = path
        self.rule: str = outer.rule if outer else case.rule
        self.results = Results({}, {})
        self._outer = outer
        # What it was entered by is not seen from within: a row has no rows of its own case.
        self._came_by = path.removeprefix(f"{outer.path}.").partition("[")[0] if outer else ""
        self._table = table
        self._used: set[str] = outer._used if outer else set()
        self._assumed: dict[str, Decimal] = outer._assumed if outer else {}
        self.lacking: list[BadCase] = outer.lacking if outer else []
        self._by_words: dict[tuple[str, ...], list[str]] = {}
        for name in table:
            self._by_words.setdefault(words_of(name), []).append(name)

    # ---- inputs ----

    def has(self, *names: str) -> bool:
        """Say whether one of the names is given and not null."""
        return self._find(names) is not None

    def given(self, *names: str) -> bool:
        """Say whether one of the names is given, be it null."""
        return self.own(*names) or (self._outer is not None and self._outer.given(*names))

    def own(self, *names: str) -> bool:
        """Say whether this table itself gives one of the names, not the case around it."""
        return any(self._name_here(name) is not None for name in words_in(names))

    def decimal(self, *names: str) -> Decimal:
        """Read a number. Raises BadCase when it is missing or none."""
        at, value = self._needed(names)
        return decimal_of(value, at, self.case.file, self.case.id)

    def decimal_or(self, default: Decimal | None, *names: str) -> Decimal | None:
        """Read a number that may be missing or null."""
        return self.decimal(*names) if self.has(*names) else default

    def number_or(self, default: Decimal | int | str, *names: str) -> Decimal:
        """Read a number that has a default."""
        if self.has(*names):
            return self.decimal(*names)
        if Decimal(default) not in NEUTRAL and not self.given(*names):
            self.assume(words_in(names)[0], Decimal(default))
        return Decimal(default)

    def assume(self, name: str, value: Decimal) -> None:
        """Note a number of the program's own that stands in for one that the case does not give."""
        self._assumed[name] = value

    def ratio(self, *names: str) -> Decimal:
        """Read a ratio, or a percentage under a name that ends in _pct or _percent."""
        percents = percents_of(names)
        if self.has(percents) and (self.own(percents) or not self.has(*names)):
            return EXACT.scaleb(self.decimal(percents), -2)
        return self.decimal(*names)

    def ratio_or(self, default: Decimal | int | str, *names: str) -> Decimal:
        """Read a ratio or percentage that has a default."""
        return self.ratio(*names) if self.has_ratio(*names) else self.number_or(default, *names)

    def has_ratio(self, *names: str) -> bool:
        """Say whether a ratio is given, be it as a percentage."""
        return self.has(*names, percents_of(names))

    def is_null(self, *names: str) -> bool:
        """Say whether a name is given as null: no limit, or not applicable."""
        return self.given(*names) and not self.has(*names)

    def integer(self, *names: str) -> int:
        """Read a whole number."""
        at, value = self._needed(names)
        found = decimal_of(value, at, self.case.file, self.case.id)
        if found != int(found):
            self.bad(at, f"is {found}", "a whole number")
        return int(found)

    def positive(self, *names: str) -> Decimal:
        """Read a number above zero."""
        at, value = self._needed(names)
        found = decimal_of(value, at, self.case.file, self.case.id)
        if found <= 0:
            self.bad(at, f"is {found}", "a number above zero")
        return found

    def not_negative(self, *names: str) -> Decimal:
        """Read a number that is zero or more."""
        at, value = self._needed(names)
        found = decimal_of(value, at, self.case.file, self.case.id)
        if found < 0:
            self.bad(at, f"is {found}", "zero or more")
        return found

    def text(self, *names: str) -> str:
        """Read a text."""
        at, value = self._needed(names)
        return value if isinstance(value, str) else self.bad(at, "is no text", "a text")

    def text_or(self, default: str, *names: str) -> str:
        """Read a text that has a default."""
        return self.text(*names) if self.has(*names) else default

    def choice(self, default: str, options: Mapping[str, str], *names: str) -> str:
        """Read one of some words; `options` maps each allowed spelling to what it means."""
        if not self.has(*names):
            return default
        at, value = self._needed(names)
        if isinstance(value, str) and value.lower() in options:
            return options[value.lower()]
        return self.bad(at, f"is {value!r}"[:80], ", ".join(sorted(options)))

    def flag(self, default: bool, *names: str) -> bool:
        """Read a boolean that has a default."""
        if not self.has(*names):
            return default
        at, value = self._needed(names)
        return value if isinstance(value, bool) else self.bad(at, "is no boolean", "true or false")

    def is_list(self, *names: str) -> bool:
        """Say whether the value is a list."""
        found = self._find(names)
        return found is not None and isinstance(found[1], list)

    def is_table(self, *names: str) -> bool:
        """Say whether the value is an object."""
        found = self._find(names)
        return found is not None and isinstance(found[1], dict)

    def is_flag(self, *names: str) -> bool:
        """Say whether the value is a boolean."""
        found = self._find(names)
        return found is not None and isinstance(found[1], bool)

    def beside(self, names: str) -> tuple[str, ...]:
        """What the other tables of the list that this one is in say for a name, as texts."""
        if self._outer is None or not self._came_by:
            return ()
        listed = self._outer._table.get(self._came_by)
        others = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return tuple(
            str(each[name])
            for each in others
            if each is not self._table
            for name in names.split()
            if name in each
        )

    def is_number(self, *names: str) -> bool:
        """Say whether the value is a decimal string."""
        found = self._find(names)
        return found is not None and isinstance(found[1], str) and DECIMAL.fullmatch(found[1]) is not None

    def decimals(self, *names: str) -> list[Decimal]:
        """Read a list of numbers."""
        at, value = self._needed(names)
        if not isinstance(value, list):
            self.bad(at, "is no list", "a list of decimal strings")
        return [decimal_of(each, f"{at}[{n}]", self.case.file, self.case.id) for n, each in enumerate(value)]

    def known_decimals(self, *names: str) -> list[tuple[int, Decimal]]:
        """Read a list of numbers with nulls among them: each number with its position."""
        at, value = self._needed(names)
        if not isinstance(value, list):
            self.bad(at, "is no list", "a list of decimal strings")
        return [
            (n, decimal_of(each, f"{at}[{n}]", self.case.file, self.case.id))
            for n, each in enumerate(value)
            if each is not None
        ]

    def matrix(self, *names: str) -> list[list[Decimal]]:
        """Read a list of lists of numbers, all of one length."""
        at, value = self._needed(names)
        if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
            self.bad(at, "is no list of lists", "a list of lists of decimal strings")
        rows = [
            [decimal_of(each, f"{at}[{m}][{n}]", self.case.file, self.case.id) for n, each in enumerate(row)]
            for m, row in enumerate(value)
            if isinstance(row, list)
        ]
        if len({len(row) for row in rows}) > 1:
            self.bad(at, "has rows of different length", "rows of one length")
        return rows

    def numbers(self, *names: str) -> dict[str, Decimal]:
        """Read an object of numbers, for example one per period."""
        at, value = self._needed(names)
        if not isinstance(value, dict):
            self.bad(at, "is no object", "an object of decimal strings")
        return {
            key: decimal_of(each, f"{at}.{key}", self.case.file, self.case.id)
            for key, each in value.items()
            if each is not None
        }

    def raw(self, *names: str) -> Json:
        """Read a value as it is."""
        return self._needed(names)[1]

    def table(self, *names: str) -> Work:
        """Enter an object."""
        at, value = self._needed(names)
        if not isinstance(value, dict):
            self.bad(at, "is no object", "an object")
        return Work(self.case, value, at, self)

    def tables(self, *names: str) -> list[Work]:
        """Enter each object of a list."""
        at, value = self._needed(names)
        if not isinstance(value, list):
            self.bad(at, "is no list", "a list of objects")
        return [
            Work(self.case, each, f"{at}[{n}]", self)
            if isinstance(each, dict)
            else self.bad(f"{at}[{n}]", "is no object", "an object")
            for n, each in enumerate(value)
        ]

    def names_given(self) -> tuple[str, ...]:
        """The names this table gives, in order."""
        return tuple(self._table)

    def names_seen(self) -> tuple[str, ...]:
        """The names this table and the case around it give."""
        return (*self._table, *(self._outer.names_seen() if self._outer else ()))

    def note(self, *names: str) -> None:
        """Mark inputs as known that say something about the case and change no result."""
        for name in words_in(names):
            self._find((name,))

    def bad(self, at: str, problem: str, allowed: str) -> NoReturn:
        """Refuse the case for one of its inputs."""
        raise self.case.bad(at, problem, allowed)

    def here(self, name: str) -> str:
        """The path of an input of this table."""
        return f"{self.path}.{name}"

    def unused(self) -> tuple[str, ...]:
        """Paths of the inputs that no rule looked at; texts that are labels are left out."""
        return tuple(unused_in(dict(self._table), self.path, self._used))

    def weighty(self) -> dict[str, Json]:
        """Those of the unused inputs that a rule may well depend on: numbers but zero, booleans, dates."""
        return dict(weighty_in(dict(self._table), self.path, self._used))

    def assumed(self) -> Mapping[str, Decimal]:
        """The program's own numbers that stood in for inputs that the case does not give."""
        return self._assumed

    def attempt(self, rate: Callable[[], object]) -> None:
        """Work a part of the rule; what an input is missing for stays open and is kept in `lacking`."""
        try:
            rate()
        except MissingInput as problem:
            self.lacking.append(problem)

    def _needed(self, names: tuple[str, ...]) -> tuple[str, Json]:
        found = self._find(names)
        if found is None:
            wanted = words_in(names)
            raise MissingInput(
                self.case.file,
                self.case.id,
                f"{self.path}.{wanted[0]}",
                "is missing",
                " or ".join(wanted[:4]),
            )
        return found

    def _find(self, names: tuple[str, ...], hidden: str = "") -> tuple[str, Json] | None:
        is_null = False
        for name in words_in(names):
            own = self._name_here(name)
            if own is not None and own != hidden:
                at = f"{self.path}.{own}"
                self._used.add(at)
                if self._table[own] is not None:
                    return at, self._table[own]
                is_null = True
        if is_null:
            return None
        return self._outer._find(names, self._came_by) if self._outer else None

    def _name_here(self, name: str) -> str | None:
        if name in self._table:
            return name
        wanted = words_of(name)
        same = self._by_words.get(wanted, [])
        if not same and (bare := _without_total(wanted)):
            same = [
                each
                for words, names in self._by_words.items()
                if _without_total(words) == bare
                for each in names
            ]
        return same[0] if len(same) == 1 else None

    # ---- results ----

    def put(
        self, name: str, value: Value, formula: str = "", *, kind: str = "", rule: str = "", also: str = ""
    ) -> None:
        """Note a result: what it is, by which formula, and the kind of rounding that it had."""
        step = Step(formula, self._numbers_in(formula, name), rule or self.rule, self.rounding_text(kind))
        self._keep(name, Result(value, step), also)

    def put_rows(self, name: str, rows: Sequence[Work], also: str = "") -> None:
        """Note the results of a list of rows under one name."""
        self._keep(
            name, Result(None, Step("", (), self.rule, ""), rows=tuple(row.results for row in rows)), also
        )

    def put_parts(self, name: str, parts: Work, also: str = "") -> None:
        """Note the results of an object under one name."""
        self._keep(name, Result(None, Step("", (), self.rule, ""), parts=parts.results), also)

    def put_money(
        self, name: str, amount: Decimal | Fraction, formula: str = "", *, rule: str = "", also: str = ""
    ) -> Decimal:
        """Note an amount in yuan, rounded as the case says; the rounded amount."""
        rounded_yuan = self.money(amount)
        self.put(name, rounded_yuan, formula, kind="money", rule=rule, also=also)
        return rounded_yuan

    def inherit(self, part: Work) -> None:
        """Take over the results of a part as results of this case."""
        for name, result in part.results.named.items():
            self.results.named.setdefault(name, result)
        for name, owns in part.results.also.items():
            known = self.results.also.setdefault(name, [])
            known += [own for own in owns if own not in known]

    def part(self, name: str) -> Work:
        """A part without a table of its own, to gather results in."""
        return Work(self.case, {}, f"{self.path}.{name}", self)

    def decimal_result(self, name: str) -> Decimal:
        """A number among the results; zero when it is none."""
        value = self.results.named[name].value
        return value if isinstance(value, Decimal) else Decimal(0)

    def _keep(self, name: str, result: Result, also: str) -> None:
        self.results.named[name] = result
        for other in f"{ALSO[self.case.area].get(name, '')} {also}".split():
            known = self.results.also.setdefault(other, [])
            if name not in known:
                known.append(name)

    def _numbers_in(self, formula: str, name: str) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for word in _NAME.findall(formula):
            if word not in found and word != name and len(found) < NUMBERS_SHOWN_MAX:
                shown = self._shown(word)
                if shown is not None:
                    found[word] = shown
        return tuple(found.items())

    def _shown(self, word: str) -> str | None:
        result = self.results.named.get(word)
        if result is not None and isinstance(result.value, Decimal):
            return f"{result.value:f}"
        shown = self._shown_here(word)
        if shown is None and self._outer:
            return self._outer._shown(word)
        return shown

    def _shown_here(self, word: str) -> str | None:
        """A number of this table, of an object in it, or an object of numbers by this name or its plural."""
        nested = [each for each in self._table.values() if isinstance(each, dict)]
        for table in (self._table, *nested):
            value = table.get(word)
            if isinstance(value, str) and DECIMAL.fullmatch(value):
                return value
        for name, each in self._table.items():
            if (
                isinstance(each, dict)
                and (name == word or name.endswith(f"{word}s"))
                and len(each) <= NUMBERS_SHOWN_MAX
            ):
                return text_of(each)
        return None

    # ---- rounding ----

    def rounded(self, value: Decimal | Fraction, kind: str, default: str | None = None) -> Decimal:
        """Round to the case's quantum of a kind, else to the default; exact when there is neither."""
        quantum = self._quantum(kind, default)
        if quantum is None:
            return value if isinstance(value, Decimal) else self.exact(value)
        if self.case.mode == "down" and kind in self.case.quanta:
            steps = Fraction(value) / Fraction(quantum)
            return Decimal(int(steps)) * quantum
        return _divided(Fraction(value), quantum)

    def money(self, amount: Decimal | Fraction) -> Decimal:
        """Round an amount in yuan: as the case says, else to the fen."""
        return self.rounded(amount, "money", "0.01")

    def exact(self, value: Fraction) -> Decimal:
        """Write a fraction as a decimal number; one that does not end is cut far beyond any tolerance."""
        return _divided(value, EXACT_QUANTUM).normalize() + Decimal(0)

    def rounding_text(self, kind: str) -> str:
        """Say how a kind is rounded."""
        quantum = self._quantum(kind, DEFAULTS.get(kind)) if kind else None
        if quantum is None:
            return ""
        mode = "down" if self.case.mode == "down" and kind in self.case.quanta else "half_up"
        return f"{mode} {quantum}"

    def _quantum(self, kind: str, default: str | None) -> Decimal | None:
        if kind in self.case.quanta:
            return self.case.quanta[kind]
        return None if default is None or self.case.mode == "none" else Decimal(default)


@cache
def words_in(names: tuple[str, ...]) -> tuple[str, ...]:
    """Split texts of names at their spaces."""
    return tuple(name for text in names for name in text.split())


@cache
def percents_of(names: tuple[str, ...]) -> str:
    """The names that ratios have when they are written as percentages."""
    found: list[str] = []
    for name in words_in(names):
        stems = (name, *(name.removesuffix(end) for end in ("_ratio", "_factor") if name.endswith(end)))
        found += [f"{stem}_{unit}" for stem in stems for unit in ("pct", "percent")]
    return " ".join(found)


@cache
def _without_total(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in words if word != "total")


def by_row(work: Work, rate: Callable[[Work], None]) -> list[Work]:
    """Rate each row of `rows` with what the case says about all of them; note them as `rows`."""
    rows = work.tables("rows")
    for row in rows:
        row.attempt(partial(rate, row))
    work.put_rows("rows", rows)
    return rows


def _divided(value: Fraction, quantum: Decimal) -> Decimal:
    return quotient(Decimal(value.numerator), Decimal(value.denominator), quantum)
