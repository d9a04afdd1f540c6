"""The language spoken with a trading platform: JSON with a schema's name and version in every document. Pure.

Prices are decimal texts in yuan/MWh, quantities decimal texts in MWh, so that no number passes through a float.
What is not exactly of the schema is refused (BadDocument), never guessed. The schemas stand beside the adapter,
cloud/outside/exchange/schema/*.json; docs/operations/exchange.md tells what each field means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

from cloud.errors import Invalid
from cloud.market.auction import AtMargin, PriceRule, Side
from cloud.market.exchange import Answer, DayFile, Declaration, Entry, Held, Kind, PeriodResult, Result
from cloud.market.orders import KWH_PLACES, TICK_PLACES, parsed, units

DECLARATION: Final = "shoudian-exchange-declaration/1"
ANSWER: Final = "shoudian-exchange-answer/1"
RESULT: Final = "shoudian-exchange-result/1"
DAY_FILE: Final = "shoudian-exchange-day/1"
_PRICES: Final = ("price", "last_bid", "last_ask", "bid_out", "ask_out")


class BadDocument(Invalid):
    """A document is not of its schema; `facts` say where and why."""


def declaration_bytes(declaration: Declaration) -> bytes:
    """A declaration as it is sent: the same declaration is always the same bytes."""
    return canonical(
        {
            "schema": DECLARATION,
            "key": declaration.key,
            "kind": declaration.kind.value,
            "session": declaration.session_no,
            "unit": declaration.unit_id,
            "side": declaration.side.value,
            "replaces": declaration.replaces,
            "declared_at": declaration.declared_at.isoformat(),
            "entries": [_entry_json(each) for each in declaration.entries],
        }
    )


def declaration_from(body: bytes) -> Declaration:
    """Read a declaration. Raises BadDocument."""
    read = _Reader(body, DECLARATION)
    kind, side = Kind(read.one_of("kind", tuple(Kind))), Side(read.one_of("side", tuple(Side)))
    try:
        declared_at = datetime.fromisoformat(read.text("declared_at"))
    except ValueError:
        raise BadDocument("bad_document", place="declared_at", problem="no instant") from None
    try:
        return Declaration(
            key=read.text("key"),
            kind=kind,
            session_no=read.text("session"),
            unit_id=read.text("unit"),
            side=side,
            entries=_entries(read.items("entries")),
            replaces=read.text_or_none("replaces"),
            declared_at=declared_at,
        )
    except ValueError as problem:
        raise BadDocument("bad_document", place="declaration", problem=str(problem)) from problem


def answer_from(body: bytes) -> Answer:
    """Read what the platform said to a message. Raises BadDocument."""
    read = _Reader(body, ANSWER)
    status = read.one_of("status", ("accepted", "rejected"))
    return Answer(read.text("key"), status == "accepted", read.text("code"), read.text("receipt_no"))


def result_from(body: bytes) -> Result:
    """Read a session's result. Raises BadDocument."""
    return _result(_Reader(body, RESULT).content)


def day_file_from(body: bytes) -> DayFile:
    """Read the platform's file of a day. Raises BadDocument."""
    read = _Reader(body, DAY_FILE)
    try:
        day = date.fromisoformat(read.text("day"))
    except ValueError:
        raise BadDocument("bad_document", place="day", problem="no day") from None
    results = tuple(_result(each) for each in read.items("results"))
    return DayFile(day, tuple(_held(each) for each in read.items("declarations")), results)


def result_json(result: Result) -> dict[str, Any]:
    """A result as plain values, as it is kept."""
    return {
        "schema": RESULT,
        "session": result.session_no,
        "version": result.version,
        "price_rule": result.price_rule.value,
        "at_margin": result.at_margin.value,
        "periods": [_period_json(each) for each in result.periods],
        "fills": {key: [_mwh(each) for each in result.fills[key]] for key in sorted(result.fills)},
    }


def canonical(content: Mapping[str, Any]) -> bytes:
    """JSON of which there is one for one content: sorted keys, no spaces."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "period": entry.period,
        "price": _yuan(entry.price_ticks),
        "mwh": _mwh(entry.quantity_kwh),
    }


def _period_json(each: PeriodResult) -> dict[str, Any]:
    prices = (
        each.price_ticks,
        each.last_bid_ticks,
        each.last_ask_ticks,
        each.bid_out_ticks,
        each.ask_out_ticks,
    )
    named = {
        name: None if price is None else _yuan(price) for name, price in zip(_PRICES, prices, strict=True)
    }
    return {"period": each.period, "mwh": _mwh(each.volume_kwh), **named}


def _yuan(ticks: int) -> str:
    return f"{Decimal(ticks).scaleb(-TICK_PLACES):f}"


def _mwh(kwh: int) -> str:
    return f"{Decimal(kwh).scaleb(-KWH_PLACES):f}"


class _Reader:
    """Reads one document of a schema, field by field, and says by name what is wrong."""

    def __init__(self, body: bytes, schema: str) -> None:
        try:
            self.content = json.loads(body.decode("utf-8"), parse_float=_no_float, parse_constant=_no_float)
        except (UnicodeDecodeError, ValueError, RecursionError):
            raise BadDocument("bad_document", place="document", problem="no JSON of ours") from None
        if not isinstance(self.content, dict):
            raise BadDocument("bad_document", place="document", problem="no object")
        if self.content.get("schema") != schema:
            found = str(self.content.get("schema"))[:60]
            raise BadDocument("bad_document", place="schema", problem=f"{found}, not {schema}")

    def text(self, name: str) -> str:
        return _text(self.content, name)

    def text_or_none(self, name: str) -> str | None:
        return None if self.content.get(name) is None else self.text(name)

    def one_of(self, name: str, allowed: Sequence[str]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise BadDocument("bad_document", place=name, problem=value[:60])
        return value

    def items(self, name: str) -> list[Any]:
        return _list(self.content, name)


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text}: numbers are whole, or decimal texts")


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or len(value) > 200:
        raise BadDocument("bad_document", place=name, problem="no text")
    return value


def _whole(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**53:
        raise BadDocument("bad_document", place=name, problem="no whole number")
    return value


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    value = content.get(name)
    if not isinstance(value, list):
        raise BadDocument("bad_document", place=name, problem="no list")
    return value


def _units(value: object, places: int, name: str) -> int:
    exact = units(value, places) if isinstance(value, str) and parsed(value) is not None else None
    if not isinstance(exact, int):
        raise BadDocument(
            "bad_document", place=name, problem=f"{str(value)[:40]}: no number of {places} decimals"
        )
    return exact


def _entries(items: Sequence[Any]) -> tuple[Entry, ...]:
    found = []
    for each in items:
        table = _table(each, "entries")
        price, quantity = (
            _units(table.get("price"), TICK_PLACES, "price"),
            _units(table.get("mwh"), KWH_PLACES, "mwh"),
        )
        found.append(Entry(_whole(table, "period"), price, quantity))
    return tuple(found)


def _table(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadDocument("bad_document", place=name, problem="no object")
    return value


def _result(value: object) -> Result:
    content = _table(value, "result")
    if content.get("schema") != RESULT:
        raise BadDocument("bad_document", place="schema", problem=str(content.get("schema"))[:60])
    fills = {
        str(key): tuple(_units(each, KWH_PLACES, "fills") for each in _as_list(values))
        for key, values in _table(content.get("fills"), "fills").items()
    }
    periods = tuple(_period(_table(each, "periods")) for each in _list(content, "periods"))
    rule, margin = _text(content, "price_rule"), _text(content, "at_margin")
    version = _whole(content, "version")
    if rule not in tuple(PriceRule) or margin not in tuple(AtMargin) or version < 1:
        raise BadDocument("bad_document", place="result", problem=f"{rule} {margin} {version}"[:60])
    rules = PriceRule(rule), AtMargin(margin)
    return Result(_text(content, "session"), version, *rules, periods, fills)


def _as_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BadDocument("bad_document", place="fills", problem="no list")
    return value


def _period(table: Mapping[str, Any]) -> PeriodResult:
    prices = (None if table.get(name) is None else _units(table[name], TICK_PLACES, name) for name in _PRICES)
    return PeriodResult(_whole(table, "period"), _units(table.get("mwh"), KWH_PLACES, "mwh"), *prices)


def _held(value: object) -> Held:
    table = _table(value, "declarations")
    kind, side, status = _text(table, "kind"), _text(table, "side"), _text(table, "status")
    if kind not in tuple(Kind) or side not in tuple(Side) or status not in ("accepted", "rejected"):
        raise BadDocument("bad_document", place="declarations", problem=f"{kind} {side} {status}"[:60])
    return Held(
        _text(table, "key"),
        _text(table, "session"),
        Kind(kind),
        Side(side),
        _text(table, "unit"),
        _entries(_list(table, "entries")),
        status == "accepted",
    )
