"""What is sent to the intake: a program's JSON, or a page's form, read as a declaration; what it says is checked elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from cloud.errors import Invalid
from cloud.market.auction import Side
from cloud.market.declaration import Declaration, Entry

_PERIOD_END: Final = 10**6
_DIGITS_MAX: Final = 40
_BIGINT_MAX: Final = 2**63 - 1


class BadForm(Invalid):
    """A declaration was not sent in the shape that is asked for."""


def declaration_from(content: Mapping[str, Any]) -> Declaration:
    """Read a declaration's shape; what it says is checked by the session's rules. Raises BadForm."""
    entries, replaces = content.get("entries"), content.get("replaces")
    unit, side, key = content.get("unit"), content.get("side"), content.get("client_key")
    if (
        not isinstance(unit, str)
        or not 1 <= len(unit) <= 64
        or not unit.isprintable()
        or side not in ("B", "S")
    ):
        raise BadForm("declaration_form", field="unit, side")
    if not isinstance(key, str) or (
        replaces is not None and (type(replaces) is not int or not 0 < replaces <= _BIGINT_MAX)
    ):
        raise BadForm("declaration_form", field="client_key, replaces")
    if entries is not None and not isinstance(entries, list):
        raise BadForm("declaration_form", field="entries")
    try:
        read = None if entries is None else tuple(_entries(entries))
        return Declaration(unit, Side(side), read, UUID(key), replaces)
    except ValueError as problem:
        raise BadForm("declaration_form", field="client_key, entries") from problem


def _entries(sent: list[object]) -> Iterator[Entry]:
    for each in sent:
        if type(each) is not list or len(each) != 3:
            raise ValueError("an entry is [period, price, MWh]")
        period, price, mwh = each
        if (
            type(period) is not int
            or type(price) is not str
            or type(mwh) is not str
            or abs(period) >= _PERIOD_END
            or len(price) > _DIGITS_MAX
            or len(mwh) > _DIGITS_MAX
        ):
            raise ValueError("an entry is [period, price, MWh]")
        yield Entry(period, price, mwh)


def json_of(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise BadForm("declaration_form", field="JSON") from problem
    if not isinstance(content, dict):
        raise BadForm("declaration_form", field="JSON")
    return content


def fields_of(fields: Mapping[str, str]) -> Mapping[str, Any]:
    """Read a page's form: p{period}_{segment} is a price, q… a quantity; or `body`, the same JSON as programs send."""
    if fields.get("body"):
        return json_of(fields["body"].encode())
    entries: list[list[object]] = []
    for name, price in fields.items():
        period, _, segment = name.removeprefix("p").partition("_")
        if not name.startswith("p") or not (period.isascii() and period.isdecimal() and segment.isdecimal()):
            continue
        mwh = fields.get(f"q{period}_{segment}", "").strip()
        if price.strip() or mwh:
            entries.append([int(period[:7]), price.strip(), mwh])
    replaces = fields.get("replaces", "")
    return {
        "unit": fields.get("unit"),
        "side": fields.get("side"),
        "client_key": fields.get("client_key"),
        "replaces": int(replaces[:19]) if replaces.isascii() and replaces.isdecimal() else None,
        "entries": None if fields.get("withdraw") else entries,
    }
