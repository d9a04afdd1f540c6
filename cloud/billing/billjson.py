"""A bill as JSON and back: the file attached to a printed bill, and what the database keeps. Pure.

Schema 'shoudian-bill/2'; bills of 'shoudian-bill/1' (no items, nothing given) are read too. All numbers that are not counts are decimal strings; amounts are integer fen; energies
integer Wh and varh; instants UTC ISO 8601; days are trading days, ranges `[first_day, end_day)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from cloud.billing.bill import Given
from cloud.billing.facts import Account, Bill, FileRef, IntervalEvidence, RatedSegment, Register
from cloud.billing.line import PERIODS, BillLine, Derivation, Input, LineItem, Period, Section
from cloud.billing.segment import DayUse, Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.tariff import Finding
from cloud.errors import Invalid
from cloud.markettime import month_from

SCHEMA = "shoudian-bill/2"
SCHEMAS = ("shoudian-bill/1", SCHEMA)
INTEGER_BELOW = 2**63
DECIMAL_PLACES_MAX = 60

Json = dict[str, Any]
_T = TypeVar("_T")


class NotABill(Invalid):
    """The JSON is not a bill of this schema; `facts` say what is wrong."""


def bill_json(bill: Bill) -> Json:
    """Write a bill completely: facts and lines."""
    return {
        **facts_json(bill),
        "revision": bill.revision,
        "made_at": _instant(bill.made_at),
        "total_fen": bill.total_fen,
        "lines": [line_json(line) for line in bill.lines],
    }


def bill_text(bill: Bill) -> str:
    """Write a bill as canonical JSON text: the same bill is the same bytes."""
    return json.dumps(bill_json(bill), ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def facts_json(bill: Bill) -> Json:
    """Write everything but the lines and what the database has columns for."""
    return {
        "schema": SCHEMA,
        "account": {
            "account_id": bill.account.account_id,
            "name": bill.account.name,
            "address": bill.account.address,
        },
        "month": bill.month.strftime("%Y-%m"),
        "segments": [_segment_json(each) for each in bill.segments],
        "registers": [_register_json(each) for each in bill.registers],
        "intervals": [_interval_json(each) for each in bill.intervals],
        "findings": [{"rule": each.rule, **dict(each.facts)} for each in bill.findings],
        "given": {
            "year_kwh": str(bill.given.year_kwh),
            "service_from": _optional(date.isoformat, bill.given.service_from),
            "settled_lines": len(bill.given.settled),
        },
        "rating_version": bill.rating_version,
        "estimated_slots": bill.estimated_slots,
    }


def line_json(line: BillLine) -> Json:
    """Write one line with its derivation."""
    return {
        "section": line.section,
        "item": line.item,
        "period": line.period,
        "quantity": str(line.quantity),
        "unit": line.unit,
        "price_yuan_per_unit": str(line.price_yuan_per_unit),
        "amount_fen": line.amount_fen,
        "derivation": derivation_json(line.derivation),
        "items": items_json(line),
    }


def items_json(line: BillLine) -> list[Json]:
    """Write the items of a line."""
    return [
        {
            "item": each.item,
            "name": each.name,
            "name_en": each.name_en,
            "price_yuan_per_unit": str(each.price_yuan_per_unit),
            "amount_fen": each.amount_fen,
        }
        for each in line.items
    ]


def derivation_json(derivation: Derivation) -> Json:
    """Write a derivation: evaluate `formula` over `inputs` to get yuan, then round to the fen."""
    return {
        "formula": derivation.formula,
        "inputs": [
            {
                "name": each.name,
                "value": str(each.value),
                "unit": each.unit,
                "origin": each.origin,
                "document": each.document,
            }
            for each in derivation.inputs
        ],
        "first_day": derivation.first_day.isoformat(),
        "end_day": derivation.end_day.isoformat(),
        "notes": dict(derivation.notes),
    }


def bill_from(content: object) -> Bill:
    """Read a bill back. Raises NotABill."""
    try:
        return _bill(content)
    except (KeyError, TypeError, ValueError, InvalidOperation, AttributeError) as error:
        raise NotABill("not_a_bill", schema=SCHEMA, problem=f"{type(error).__name__}: {error}") from error


def bill_from_text(text: str | bytes) -> Bill:
    """Read a bill from JSON text. Raises NotABill."""
    try:
        content = json.loads(text, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise NotABill("not_a_bill", schema=SCHEMA, problem=f"not JSON: {error}") from error
    return bill_from(content)


def line_from(content: Mapping[str, Any]) -> BillLine:
    """Read one line back; raises KeyError, TypeError or ValueError when it is none."""
    return BillLine(
        Section(content["section"]),
        item=_text(content["item"]),
        period=None if content["period"] is None else Period(content["period"]),
        quantity=_decimal(content["quantity"]),
        unit=_text(content["unit"]),
        price_yuan_per_unit=_decimal(content["price_yuan_per_unit"]),
        amount_fen=_integer(content["amount_fen"]),
        derivation=derivation_from(content["derivation"]),
        items=tuple(_item(each) for each in content.get("items", ())),
    )


def derivation_from(content: Mapping[str, Any]) -> Derivation:
    """Read a derivation back; raises like `line_from`."""
    inputs = tuple(
        Input(
            _text(each["name"]),
            _decimal(each["value"]),
            _text(each["unit"]),
            _text(each["origin"]),
            _text(each["document"]),
        )
        for each in content["inputs"]
    )
    notes = tuple((_text(key), _text(value)) for key, value in sorted(content["notes"].items()))
    return Derivation(
        _text(content["formula"]), inputs, _day(content["first_day"]), _day(content["end_day"]), notes
    )


def _item(content: Mapping[str, Any]) -> LineItem:
    return LineItem(
        _text(content["item"]),
        _text(content["name"]),
        _text(content["name_en"]),
        _decimal(content["price_yuan_per_unit"]),
        _integer(content["amount_fen"]),
    )


def _given(content: Mapping[str, Any], lines: Sequence[BillLine]) -> Given:
    """Read what was given; the settled lines are the first of the bill's own."""
    count = _integer(content["settled_lines"])
    if not 0 <= count <= len(lines):
        raise ValueError(f"{count} settled lines of {len(lines)}")
    return Given(
        _decimal(content["year_kwh"]), _optional(_day, content["service_from"]), tuple(lines[:count])
    )


def _bill(content: Any) -> Bill:
    if content["schema"] not in SCHEMAS:
        raise ValueError(f"schema {content['schema']!r}")
    account = content["account"]
    lines = tuple(line_from(each) for each in content["lines"])
    first_schema = {"year_kwh": "0", "service_from": None, "settled_lines": 0}
    bill = Bill(
        account=Account(_text(account["account_id"]), _text(account["name"]), _text(account["address"])),
        month=month_from(content["month"]),
        revision=_integer(content["revision"]),
        made_at=_instant_from(content["made_at"]),
        segments=tuple(_segment(each) for each in content["segments"]),
        lines=lines,
        registers=tuple(_register(each) for each in content["registers"]),
        intervals=tuple(_interval(each) for each in content["intervals"]),
        findings=tuple(_finding(each) for each in content["findings"]),
        given=_given(content.get("given", first_schema), lines),
        rating_version=_text(content.get("rating_version", "1")),
        state=_text(content.get("state", "draft")),
    )
    if _integer(content["total_fen"]) != bill.total_fen:
        raise ValueError(f"total_fen {content['total_fen']} is not the sum of the lines {bill.total_fen}")
    if _integer(content["estimated_slots"]) != bill.estimated_slots:
        raise ValueError(
            f"estimated_slots {content['estimated_slots']}, the segments say {bill.estimated_slots}"
        )
    return bill


def _segment_json(each: RatedSegment) -> Json:
    terms, usage = each.segment.terms, each.segment.usage
    return {
        "first_day": each.segment.first_day.isoformat(),
        "end_day": each.segment.end_day.isoformat(),
        "terms": {
            "category": terms.category,
            "purchase": terms.purchase,
            "structure": terms.structure,
            "voltage": terms.voltage,
            "demand_mode": terms.demand_mode,
            "capacity_kva": terms.capacity_kva,
            "contract_demand_kw": terms.contract_demand_kw,
            "power_factor_standard": _optional(str, terms.power_factor_standard),
            "option": terms.option,
        },
        "usage": {
            "import_wh": dict(zip(PERIODS, usage.import_wh, strict=True)),
            "export_wh": usage.export_wh,
            "import_varh": usage.import_varh,
            "export_varh": usage.export_varh,
            "estimated_slots": usage.estimated_slots,
            "demands": [
                {
                    "supply_point_id": demand.supply_point_id,
                    "demand_kw": str(demand.demand_kw),
                    "day": demand.day.isoformat(),
                    "slot": demand.slot,
                }
                for demand in usage.demands
            ],
            "days": [{"day": day.day.isoformat(), "import_wh": list(day.import_wh)} for day in usage.days],
        },
        "kwh": {period: str(kwh) for period, kwh in zip(PERIODS, each.kwh, strict=True)},
        "files": [
            {
                "kind": file.kind,
                "id": file.id,
                "version": file.version,
                "sha256": file.sha256,
                "title": file.title,
                "document": file.document,
                "provisional": list(file.provisional),
            }
            for file in each.files
        ],
    }


def _segment(content: Mapping[str, Any]) -> RatedSegment:
    terms, usage = content["terms"], content["usage"]
    segment = Segment(
        _day(content["first_day"]),
        _day(content["end_day"]),
        Terms(
            category=_text(terms["category"]),
            purchase=_text(terms["purchase"]),
            structure=_text(terms["structure"]),
            voltage=_text(terms["voltage"]),
            demand_mode=DemandMode(terms["demand_mode"]),
            capacity_kva=_optional(_integer, terms["capacity_kva"]),
            contract_demand_kw=_optional(_integer, terms["contract_demand_kw"]),
            power_factor_standard=_optional(_decimal, terms["power_factor_standard"]),
            option=_text(terms.get("option", "")),
        ),
        Usage(
            import_wh=tuple(_integer(usage["import_wh"][period]) for period in PERIODS),
            export_wh=_integer(usage["export_wh"]),
            import_varh=_integer(usage["import_varh"]),
            export_varh=_integer(usage["export_varh"]),
            demands=tuple(_demand(each) for each in usage["demands"]),
            estimated_slots=_integer(usage["estimated_slots"]),
            days=tuple(DayUse(_day(each["day"]), _by_period(each["import_wh"])) for each in usage["days"]),
        ),
    )
    if segment.end_day <= segment.first_day:
        raise ValueError(f"a segment from {segment.first_day} to {segment.end_day} has no day")
    files = tuple(_file(each) for each in content["files"])
    return RatedSegment(segment, tuple(_decimal(content["kwh"][period]) for period in PERIODS), files)


def _by_period(content: Sequence[object]) -> tuple[int, ...]:
    if len(content) != len(PERIODS):
        raise ValueError(f"{len(content)} energies for {len(PERIODS)} periods")
    return tuple(_integer(wh) for wh in content)


def _file(content: Mapping[str, Any]) -> FileRef:
    return FileRef(
        kind=_text(content["kind"]),
        id=_text(content["id"]),
        version=_integer(content["version"]),
        sha256=_text(content["sha256"]),
        title=_text(content["title"]),
        document=_text(content["document"]),
        provisional=tuple(_text(each) for each in content["provisional"]),
    )


def _demand(content: Mapping[str, Any]) -> Demand:
    return Demand(
        _text(content["supply_point_id"]),
        _decimal(content["demand_kw"]),
        _day(content["day"]),
        _integer(content["slot"]),
    )


def _register_json(each: Register) -> Json:
    return {
        "supply_point_id": each.supply_point_id,
        "meter_id": each.meter_id,
        "register": each.register,
        "unit": each.unit,
        "multiplier": each.multiplier,
        "start_at": _instant(each.start_at),
        "end_at": _instant(each.end_at),
        "start": _optional(str, each.start),
        "end": _optional(str, each.end),
        "batch_ids": list(each.batch_ids),
    }


def _register(content: Mapping[str, Any]) -> Register:
    return Register(
        supply_point_id=_text(content["supply_point_id"]),
        meter_id=_text(content["meter_id"]),
        register=_text(content["register"]),
        unit=_text(content["unit"]),
        multiplier=_integer(content["multiplier"]),
        start_at=_instant_from(content["start_at"]),
        end_at=_instant_from(content["end_at"]),
        start=_optional(_decimal, content["start"]),
        end=_optional(_decimal, content["end"]),
        batch_ids=tuple(_integer(each) for each in content["batch_ids"]),
    )


def _interval_json(each: IntervalEvidence) -> Json:
    return {
        "supply_point_id": each.supply_point_id,
        "day": each.day.isoformat(),
        "revision": each.revision,
        "first_batch_id": each.first_batch_id,
        "last_batch_id": each.last_batch_id,
    }


def _interval(content: Mapping[str, Any]) -> IntervalEvidence:
    return IntervalEvidence(
        _text(content["supply_point_id"]),
        _day(content["day"]),
        _integer(content["revision"]),
        _optional(_integer, content["first_batch_id"]),
        _optional(_integer, content["last_batch_id"]),
    )


def _finding(content: Mapping[str, Any]) -> Finding:
    facts = tuple((key, _text(value)) for key, value in sorted(content.items()) if key != "rule")
    return Finding(_text(content["rule"]), facts)


def _each_key_once(pairs: list[tuple[str, Any]]) -> Json:
    """Refuse an object with a key twice: one reader takes the first value, another the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    if abs(value) >= INTEGER_BELOW:
        raise ValueError("a whole number beyond what the database keeps")
    return value


def _decimal(value: object) -> Decimal:
    number = Decimal(_text(value))
    if not number.is_finite() or len(str(value)) > 60 or abs(number.adjusted()) > DECIMAL_PLACES_MAX:
        raise ValueError(f"{value!r} is not a plain number")
    return number


def _day(value: object) -> date:
    return date.fromisoformat(_text(value))


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()


def _instant_from(value: object) -> datetime:
    instant = datetime.fromisoformat(_text(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} has no zone")
    return instant


def _optional(read: Callable[[Any], _T], value: object) -> _T | None:
    return None if value is None else read(value)
