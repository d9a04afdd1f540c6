"""A contract template: typed variables, the clauses it is made of, its key terms; read from TOML. Pure.

Whoever draws up a contract fills in the variables and nothing else; what else is agreed is a changed or a special
clause and is shown as such. Volumes and prices are exact: decimals come as text and are never rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from cloud.contracts.clause import PLACE, VERSION_MAX, text_id_of
from cloud.contracts.contract import Kind, Purpose
from cloud.contracts.entries import Entries, entries_from
from cloud.contracts.terms import (
    HOURS,
    KWH_PER_MWH,
    LABEL,
    PRICE_DECIMALS_MAX,
    PRICE_MAX,
    QUARTERS,
    VOLUME_MAX,
    Volume,
    mixed_month,
)
from cloud.errors import Invalid
from cloud.markettime import month_from

TYPES = ("text", "integer", "decimal", "day", "choice", "volumes", "accounts", "package")
TERMS = ("parties", "volume", "price", "period", "deviation")
SIDES = ("seller", "buyer")
TEXT_MAX = 500
ROWS_MAX = 600
ACCOUNTS_MAX = 200
COOLING_HOURS_MAX = 24 * 30
SIGN_DAYS_MAX = 365
YEAR_MAX = 2100
# What every template may name without asking for it: cloud/contracts/document.py computes them.
GIVEN = frozenset(
    {
        "contract_no",
        "seller_name",
        "buyer_name",
        "seller_unit",
        "buyer_unit",
        "term_first_day",
        "term_last_day",
    }
    | {"volume_mwh", "price_yuan_per_mwh", "environment_yuan_per_mwh", "amount_yuan", "rows"}
    | {"main_title", "main_signed_day"}
)


class BadValue(Invalid):
    """A variable was given what it does not allow; `facts`: name, found, allowed."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What is to be filled in: `value_min` and `value_max` bound numbers, `choices` are the words of a choice."""

    name: str
    label: str
    type: str
    help: str
    is_required: bool
    default: str
    unit: str
    value_min: Decimal | None
    value_max: Decimal | None
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A standard contract. `order` is who signs first; `price_band_percent` when a price is out of the ordinary."""

    template_id: str
    version: int
    kind: Kind
    purpose: Purpose
    title: str
    basis: tuple[str, ...]
    order: tuple[str, ...]
    cooling_hours: int
    sign_days: int
    price_band_percent: int
    variables: tuple[Variable, ...]
    clauses: tuple[tuple[str, int], ...]
    card: Mapping[str, str]

    @property
    def origin(self) -> str:
        """Name the template's exact text."""
        return f"{self.template_id}@{self.version}"


def template_from(file: str, text: str) -> Template:
    """Read a template. Raises BadMarketFile."""
    table = entries_from(file, text)
    template = Template(
        text_id_of(table),
        table.integer("version", 1, VERSION_MAX),
        Kind(table.choice("kind", tuple(Kind))),
        Purpose(table.choice("purpose", tuple(Purpose))),
        table.text("title"),
        table.texts("basis"),
        table.texts("order"),
        table.integer("cooling_hours", 0, COOLING_HOURS_MAX),
        table.integer("sign_days", 1, SIGN_DAYS_MAX),
        table.integer("price_band_percent", 1, 100),
        tuple(_variable(each) for each in table.tables("variable")),
        tuple(_clause(each) for each in table.tables("clause")),
        _card(table.table("card")),
    )
    table.done()
    _check(table, template)
    return template


def _variable(table: Entries) -> Variable:
    variable = Variable(
        table.text("name"),
        table.text("label"),
        table.choice("type", TYPES),
        table.text("help", ""),
        table.flag("required", True),
        table.text("default", ""),
        table.text("unit", ""),
        table.decimal("lowest") if table.has("lowest") else None,
        table.decimal("highest") if table.has("highest") else None,
        table.texts("choices"),
    )
    if not PLACE.fullmatch(f"{{{variable.name}}}") or variable.name in GIVEN:
        table.refuse("name", variable.name, "small letters, digits and _, none of the given variables")
    if (variable.type == "choice") != bool(variable.choices):
        table.refuse("choices", variable.choices, "words, for a choice and for nothing else")
    table.done()
    return variable


def _clause(table: Entries) -> tuple[str, int]:
    found = (text_id_of(table), table.integer("version", 1, VERSION_MAX))
    table.done()
    return found


def _card(table: Entries) -> dict[str, str]:
    card = {term: table.text(term) for term in TERMS}
    table.done()
    return card


def _check(table: Entries, template: Template) -> None:
    if sorted(template.order) != sorted(SIDES):
        table.refuse("order", template.order, "seller and buyer, in the order in which they sign")
    names = [variable.name for variable in template.variables]
    if len(set(names)) != len(names):
        table.refuse("variable", names, "each variable once")
    ids = [clause_id for clause_id, _ in template.clauses]
    if not ids or len(set(ids)) != len(ids):
        table.refuse("clause", ids, "one or more clauses, each once")
    unknown = {name for text in template.card.values() for name in PLACE.findall(text)} - set(names) - GIVEN
    if unknown:
        table.refuse("card", sorted(unknown)[0], "variables of the template, or given ones")


def values_of(template: Template, raw: Mapping[str, str]) -> dict[str, str]:
    """Check what was filled in, variable by variable, and write it in the one form in which it is kept.

    Raises BadValue for the first that does not fit, and for what the template does not ask for.
    """
    names = {variable.name for variable in template.variables}
    if unknown := sorted(set(raw) - names):
        raise BadValue("bad_value", name=unknown[0], found=raw[unknown[0]], allowed=", ".join(sorted(names)))
    return {
        variable.name: _value(variable, raw.get(variable.name, variable.default).strip())
        for variable in template.variables
    }


def _value(variable: Variable, text: str) -> str:
    if not text:
        if variable.is_required:
            _refuse(variable, text, "必填 / something: it is required")
        return ""
    if variable.type in ("volumes", "accounts"):
        return (
            volumes_text(volumes_from(variable.name, text))
            if variable.type == "volumes"
            else _accounts(variable, text)
        )
    if len(text) > TEXT_MAX or not text.isprintable():
        _refuse(
            variable,
            text,
            f"一行，最多 {TEXT_MAX} 个字 / at most {TEXT_MAX} printable characters in one line",
        )
    if variable.type in ("integer", "decimal"):
        return _number(variable, text)
    if variable.type == "day":
        try:
            day = date.fromisoformat(text)
        except ValueError:
            _refuse(variable, text, "日期 / a day: 2026-09-01")
        if day.year > YEAR_MAX:
            _refuse(variable, text, f"{YEAR_MAX} 年以前 / days up to the end of {YEAR_MAX}")
        return day.isoformat()
    if variable.type == "choice" and text not in variable.choices:
        _refuse(variable, text, " | ".join(variable.choices))
    return text


def _number(variable: Variable, text: str) -> str:
    number = _decimal(variable.name, text)
    if variable.type == "integer" and number != int(number):
        _refuse(variable, text, "整数 / a whole number")
    if (variable.value_min is not None and number < variable.value_min) or (
        variable.value_max is not None and number > variable.value_max
    ):
        _refuse(variable, text, f"{variable.value_min}..{variable.value_max}")
    return format(number, "f")


def _accounts(variable: Variable, text: str) -> str:
    numbers = text.replace(",", " ").replace("，", " ").split()
    if len(numbers) > ACCOUNTS_MAX or len(set(numbers)) != len(numbers):
        _refuse(
            variable,
            text,
            f"户号，不重复，最多 {ACCOUNTS_MAX} 个 / account numbers, each once, at most {ACCOUNTS_MAX}",
        )
    for number in numbers:
        if not (number.isascii() and number.isdecimal() and 10 <= len(number) <= 13):
            _refuse(variable, number, "10 到 13 位数字的户号 / account numbers of 10 to 13 digits")
    return " ".join(numbers)


def _refuse(variable: Variable, found: str, allowed: str) -> NoReturn:
    raise BadValue("bad_value", name=variable.label, found=found[:100], allowed=allowed)


def volumes_from(name: str, text: str) -> tuple[Volume, ...]:
    """Read lines 'month period MWh price [environment]', for example '2026-09 month 1200.000 398.50'. Raises BadValue."""
    lines = [line.replace(",", " ").replace("，", " ").split() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= ROWS_MAX:
        raise BadValue(
            "bad_value", name=name, found=f"{len(lines)} lines", allowed=f"1..{ROWS_MAX} 行 / lines"
        )
    volumes = tuple(_volume(name, line) for line in lines)
    mixed = mixed_month(volumes)
    if mixed is not None:
        raise BadValue("bad_value", name=name, found=mixed[1][:100], allowed=mixed[2])
    return tuple(sorted(volumes, key=lambda volume: (volume.month, volume.period)))


def _volume(name: str, line: list[str]) -> Volume:
    found = " ".join(line)[:100]
    allowed = "月份 时段 兆瓦时 电价 [环境价值] / month period MWh price [environment]: 2026-09 month 1200.000 398.50"
    if not 4 <= len(line) <= 5 or not LABEL.fullmatch(line[1]) or not _is_period(line[1]):
        raise BadValue("bad_value", name=name, found=found, allowed=allowed)
    try:
        month = month_from(line[0])
    except ValueError:
        raise BadValue("bad_value", name=name, found=found, allowed=allowed) from None
    if month.year > YEAR_MAX:
        raise BadValue(
            "bad_value",
            name=name,
            found=line[0],
            allowed=f"{YEAR_MAX} 年以前的月份 / months up to {YEAR_MAX}-12",
        )
    mwh, price, environment = (_decimal(name, part) for part in (*line[2:], "0")[:3])
    if not 0 < mwh <= VOLUME_MAX or mwh * KWH_PER_MWH != int(mwh * KWH_PER_MWH):
        raise BadValue(
            "bad_value",
            name=name,
            found=line[2],
            allowed="大于 0，最多三位小数（整千瓦时） / MWh above 0, at most 3 decimals",
        )
    for each in (price, environment):
        exponent = each.as_tuple().exponent
        if not 0 <= each <= PRICE_MAX or not isinstance(exponent, int) or -exponent > PRICE_DECIMALS_MAX:
            raise BadValue(
                "bad_value",
                name=name,
                found=str(each),
                allowed=f"元/兆瓦时，0 到 {PRICE_MAX} / yuan/MWh from 0, at most {PRICE_MAX}",
            )
    return Volume(month, line[1], mwh, price, environment)


def _is_period(label: str) -> bool:
    """Whether a month can have it: an hour or quarter-hour of the day, or a name that its calendar gives."""
    return not (label[0] in "hq" and label[1:].isdecimal()) or label in HOURS or label in QUARTERS


def volumes_text(volumes: tuple[Volume, ...]) -> str:
    """Write volumes as `volumes_from` reads them."""
    return "\n".join(
        f"{volume.month:%Y-%m} {volume.period} {volume.mwh:f} {volume.price_yuan_per_mwh:f}"
        + (f" {volume.environment_yuan_per_mwh:f}" if volume.environment_yuan_per_mwh else "")
        for volume in volumes
    )


def _decimal(name: str, text: str) -> Decimal:
    allowed = "数字 / plain digits: 398.50"
    if len(text) > 30 or not text.isascii() or not set(text) <= set("-.0123456789"):
        raise BadValue("bad_value", name=name, found=text[:100], allowed=allowed)
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadValue("bad_value", name=name, found=text[:100], allowed=allowed) from None
