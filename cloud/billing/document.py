"""A bill as print data: every number formatted and raw, in the groups and order of a State Grid bill. Pure.

The page (HTML) and the paper (typst) show the same `BillDocument`; neither computes nor formats anything.
Layout: tariffs-and-settlement 15. 代理购电 detail is listed by component (发改办价格〔2021〕809号).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from cloud.billing.capitals import capitals
from cloud.billing.facts import Bill, RatedSegment, Register
from cloud.billing.labels import (
    WORDS,
    Language,
    day_text,
    money_text,
    number_text,
    percent_text,
    price_text,
    word,
)
from cloud.billing.line import PERIODS, BillLine, Input, Section, total_fen
from cloud.markettime import day_of, slot_label
from cloud.money import EXACT, quotient, rounded, total, yuan

PRICE_QUANTUM = Decimal("0.0001")
REGISTER_QUANTUM = Decimal("0.01")  # what a meter's face shows; `raw` keeps every digit


@dataclass(frozen=True, slots=True)
class Figure:
    """A value as it is shown and as it is. `raw` is a plain decimal, an integer or a text; amounts are fen."""

    text: str
    raw: str | int


@dataclass(frozen=True, slots=True)
class Field:
    """A labelled value."""

    key: str
    label: str
    value: Figure


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """One register of one meter: previous, current, multiplier, measured."""

    meter_id: str
    supply_point_id: str
    register: str
    start: Figure
    end: Figure
    multiplier: Figure
    measured: Figure
    unit: str


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """Billed energy of one period; `code` (tip, peak, …) chooses its colour."""

    code: str
    label: str
    kwh: Figure
    share: Figure


@dataclass(frozen=True, slots=True)
class DayBar:
    """One day's energy by period in Wh, in the order of the periods, for the chart."""

    label: str
    import_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class How:
    """怎么算的: the formula in words and numbers, and where each number comes from."""

    formula: str
    numbers: str
    inputs: tuple[Field, ...]
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChargeRow:
    """One line of the bill."""

    item: str
    label: str
    period: str
    period_label: str
    quantity: Figure
    unit: str
    price: Figure
    amount: Figure
    how: How


@dataclass(frozen=True, slots=True)
class ChargeGroup:
    """The lines of one section with their sum."""

    section: str
    label: str
    rows: tuple[ChargeRow, ...]
    subtotal: Figure


@dataclass(frozen=True, slots=True)
class Check:
    """One of the checks: two sides that must agree."""

    label: str
    left: Figure
    right: Figure
    agrees: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class BasisRow:
    """A price file the bill stands on."""

    kind: str
    title: str
    document: str
    origin: str
    sha256: str
    provisional: bool
    open_rules: str  # what in the file is not confirmed; empty when all is


@dataclass(frozen=True, slots=True)
class BillDocument:
    """Everything a bill shows, in one language."""

    language: str
    title: str
    subtitle: str
    status: str  # a mark such as 'draft', already in words; empty for an issued bill
    words: dict[str, str]  # headings and column names
    account_id: str
    month: str  # YYYY-MM
    revision: int
    total: Figure
    total_label: str
    total_capitals: str
    overview: tuple[Field, ...]
    registers: tuple[RegisterRow, ...]
    periods: tuple[PeriodRow, ...]
    total_kwh: Figure
    days: tuple[DayBar, ...]
    groups: tuple[ChargeGroup, ...]
    basic: tuple[Field, ...]
    power_factor: tuple[Field, ...]
    checks: tuple[Check, ...]
    basis: tuple[BasisRow, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Turn into plain values, for a template."""
        return asdict(self)


def bill_document(bill: Bill, language: Language) -> BillDocument:
    """Lay a bill out for print in one language."""
    refund = bill.total_fen < 0
    return BillDocument(
        language=language,
        title=word(language, "title"),
        subtitle=word(language, "subtitle"),
        status=_status(bill, language),
        words={key: word(language, key) for key in WORDS if "." not in key},
        account_id=bill.account.account_id,
        month=bill.month.strftime("%Y-%m"),
        revision=bill.revision,
        total=_money(bill.total_fen),
        total_label=word(language, "amount_to_refund" if refund else "amount_due"),
        total_capitals=capitals(bill.total_fen),
        overview=_overview(bill, language),
        registers=tuple(_register_row(each, language) for each in bill.registers),
        periods=_periods(bill, language),
        total_kwh=_number(bill.total_kwh),
        days=_days(bill.segments),
        groups=_groups(bill.lines, language),
        basic=_basic(bill, language),
        power_factor=_power_factor(bill, language),
        checks=_checks(bill, language),
        basis=_basis(bill.segments, language),
        remarks=_remarks(bill, language),
    )


def how(line: BillLine, language: Language) -> How:
    """Explain one line: its formula in words, the same in numbers, and the sources."""
    names = {each.name: word(language, f"input.{each.name}") for each in line.derivation.inputs}
    values = {each.name: _plain(each.value) for each in line.derivation.inputs}
    amount = money_text(line.amount_fen)
    numbers = _spelled(line.derivation.formula, values)
    sources = [each.document or each.origin for each in line.derivation.inputs if "@" in each.origin]
    return How(
        formula=_spelled(line.derivation.formula, names),
        numbers=f"{numbers.replace('+ −', '− ')} = {amount} {word(language, 'yuan_unit')}",
        inputs=tuple(
            Field(each.name, names[each.name], _input_figure(each, language))
            for each in line.derivation.inputs
        ),
        origins=tuple(dict.fromkeys(sources)),
    )


def _input_figure(each: Input, language: Language) -> Figure:
    unit = "" if each.unit == "1" else f" {word(language, f'unit.{each.unit}')}"
    return Figure(f"{_plain(each.value)}{unit}", str(each.value))


def _status(bill: Bill, language: Language) -> str:
    marks = [] if bill.state == "issued" else [word(language, "void" if bill.state == "void" else "draft")]
    if bill.revision > 1:
        marks.append(word(language, "revision", n=bill.revision))
    return " · ".join(marks)


def _overview(bill: Bill, language: Language) -> tuple[Field, ...]:
    last = bill.segments[-1]
    terms = last.segment.terms
    kwh = _kwh_by_period(bill.segments)
    first, end = bill.segments[0].segment.first_day, last.segment.end_day
    fields = [
        ("account_id", Figure(bill.account.account_id, bill.account.account_id)),
        ("name", Figure(bill.account.name, bill.account.name)),
        ("address", Figure(bill.account.address, bill.account.address)),
        ("month", Figure(_span_text(bill, language), f"{first.isoformat()}/{end.isoformat()}")),
        *(
            (key, Figure(word(language, f"{key}.{code}"), code))
            for key, code in (
                ("category", terms.category),
                ("purchase", terms.purchase),
                ("structure", terms.structure),
                ("voltage", terms.voltage),
                ("demand_mode", str(terms.demand_mode)),
            )
        ),
        (
            "energy",
            Figure(f"{number_text(bill.total_kwh)} {word(language, 'unit.kWh')}", str(bill.total_kwh)),
        ),
        ("average_price", _average_price(bill, language)),
        ("peak_share", _share(kwh[0] + kwh[1], bill.total_kwh)),
        ("valley_share", _share(kwh[3] + kwh[4], bill.total_kwh)),
        ("printed_on", Figure(day_text(language, day_of(bill.made_at)), bill.made_at.isoformat())),
    ]
    return tuple(Field(key, word(language, key), value) for key, value in fields)


def _span_text(bill: Bill, language: Language) -> str:
    days = [day.day for each in bill.segments for day in each.segment.usage.days]
    first = bill.segments[0].segment.first_day
    last = max(days, default=first)
    join = "至" if language is Language.ZH else " to "
    return f"{day_text(language, first)}{join}{day_text(language, last)}"


def _average_price(bill: Bill, language: Language) -> Figure:
    if not bill.total_kwh:
        return Figure("—", "")
    price = quotient(yuan(bill.total_fen), bill.total_kwh, PRICE_QUANTUM)
    per = f"{word(language, 'yuan_unit')}/{word(language, 'unit.kWh')}"
    return Figure(f"{price:f} {per}".replace("-", "−"), str(price))


def _kwh_by_period(segments: Sequence[RatedSegment]) -> tuple[Decimal, ...]:
    return tuple(total(each.kwh[index] for each in segments) for index in range(len(PERIODS)))


def _share(part: Decimal, whole: Decimal) -> Figure:
    if not whole:
        return Figure("—", "")
    ratio = quotient(part, whole, PRICE_QUANTUM)
    return Figure(percent_text(ratio), str(ratio))


def _register_row(each: Register, language: Language) -> RegisterRow:
    start, end = (_register_figure(value, language) for value in (each.start, each.end))
    if each.start is None or each.end is None:
        measured = Figure("—", "")
    else:
        measured = _number(EXACT.multiply(EXACT.subtract(each.end, each.start), Decimal(each.multiplier)))
    return RegisterRow(
        each.meter_id,
        each.supply_point_id,
        word(language, f"register.{each.register}"),
        start,
        end,
        Figure(str(each.multiplier), each.multiplier),
        measured,
        word(language, f"unit.{each.unit}"),
    )


def _register_figure(value: Decimal | None, language: Language) -> Figure:
    if value is None:
        return Figure(word(language, "no_value"), "")
    return Figure(f"{rounded(value, REGISTER_QUANTUM):,f}", str(value))


def _periods(bill: Bill, language: Language) -> tuple[PeriodRow, ...]:
    return tuple(
        PeriodRow(period, word(language, f"period.{period}"), _number(kwh), _share(kwh, bill.total_kwh))
        for period, kwh in zip(PERIODS, _kwh_by_period(bill.segments), strict=True)
    )


def _days(segments: Iterable[RatedSegment]) -> tuple[DayBar, ...]:
    return tuple(
        DayBar(str(day.day.day), day.import_wh) for each in segments for day in each.segment.usage.days
    )


def _groups(lines: Sequence[BillLine], language: Language) -> tuple[ChargeGroup, ...]:
    groups = []
    for section in Section:
        own = tuple(line for line in lines if line.section is section)
        if own:
            rows = tuple(_charge_row(line, language) for line in own)
            groups.append(
                ChargeGroup(section, word(language, f"section.{section}"), rows, _money(total_fen(own)))
            )
    return tuple(groups)


def _charge_row(line: BillLine, language: Language) -> ChargeRow:
    quantity = Figure(f"{line.quantity:,.2f}".replace("-", "−"), str(line.quantity))
    return ChargeRow(
        item=line.item,
        label=word(language, f"item.{line.item}"),
        period=line.period or "",
        period_label=word(language, f"period.{line.period}") if line.period else "",
        quantity=quantity if line.unit == "yuan" else _number(line.quantity),
        unit=word(language, f"unit.{line.unit}"),
        price=Figure(price_text(line.price_yuan_per_unit), str(line.price_yuan_per_unit)),
        amount=_money(line.amount_fen),
        how=how(line, language),
    )


def _basic(bill: Bill, language: Language) -> tuple[Field, ...]:
    terms = bill.segments[-1].segment.terms
    if terms.structure != "two_part":
        return ()
    fields = [
        ("demand_mode", Figure(word(language, f"demand_mode.{terms.demand_mode}"), str(terms.demand_mode)))
    ]
    if terms.capacity_kva:
        fields.append(
            ("capacity", Figure(f"{terms.capacity_kva} {word(language, 'unit.kVA')}", terms.capacity_kva))
        )
        per_kva = quotient(bill.total_kwh, Decimal(terms.capacity_kva), Decimal("0.01"))
        fields.append(("kwh_per_kva", _number(per_kva)))
    if terms.contract_demand_kw:
        agreed = Figure(f"{terms.contract_demand_kw} {word(language, 'unit.kW')}", terms.contract_demand_kw)
        fields.append(("contract_demand", agreed))
    demands = [demand for each in bill.segments for demand in each.segment.usage.demands]
    if demands:
        top = max(demands, key=lambda demand: (demand.demand_kw, -demand.day.toordinal(), -demand.slot))
        at = f"{day_text(language, top.day)} {slot_label(top.slot)}–{slot_label(top.slot + 1)}"
        kw = Figure(f"{number_text(top.demand_kw)} {word(language, 'unit.kW')}", str(top.demand_kw))
        fields += [
            ("maximum_demand", kw),
            ("maximum_demand_at", Figure(at, f"{top.day.isoformat()}#{top.slot}")),
        ]
    return tuple(Field(key, word(language, key), value) for key, value in fields)


def _power_factor(bill: Bill, language: Language) -> tuple[Field, ...]:
    lines = [line for line in bill.lines if line.section is Section.POWER_FACTOR]
    if not lines:
        text = word(language, "not_assessed")
        return (Field("power_factor", word(language, "power_factor"), Figure(text, "")),)
    fields: list[tuple[str, Figure]] = []
    for line in lines:
        notes = dict(line.derivation.notes)
        actual = notes["power_factor"]
        percent = EXACT.scaleb(line.price_yuan_per_unit, 2)
        active, reactive = (EXACT.scaleb(Decimal(notes[key]), -3) for key in ("active_wh", "reactive_varh"))
        fields += [
            ("actual", Figure(actual or word(language, "undefined"), actual)),
            ("standard", Figure(notes["standard"], notes["standard"])),
            ("percent", Figure(f"{percent:+.2f}%".replace("-", "−"), str(percent))),
            ("active", Figure(f"{number_text(active)} {word(language, 'unit.kWh')}", str(active))),
            ("reactive", Figure(f"{number_text(reactive)} {word(language, 'unit.kvarh')}", str(reactive))),
            ("base", Figure(f"{line.quantity:,.2f} {word(language, 'yuan_unit')}", str(line.quantity))),
            ("amount", _money(line.amount_fen)),
        ]
    return tuple(Field(key, word(language, key), value) for key, value in fields)


def _checks(bill: Bill, language: Language) -> tuple[Check, ...]:
    by_period = total(_kwh_by_period(bill.segments))
    billed = total(line.quantity for line in bill.lines if line.section is Section.TRANSMISSION)
    measured = EXACT.scaleb(Decimal(bill.import_wh), -3)
    sections = sum(total_fen(tuple(line for line in bill.lines if line.section is each)) for each in Section)
    return (
        _check("check_periods", _number(by_period), _number(billed), by_period == billed, language),
        _check(
            "check_measured",
            _number(billed),
            _number(measured),
            abs(billed - measured) <= Decimal("0.5"),
            language,
        ),
        _check("check_total", _money(sections), _money(bill.total_fen), sections == bill.total_fen, language),
    )


def _check(key: str, left: Figure, right: Figure, agrees: bool, language: Language) -> Check:
    return Check(word(language, key), left, right, agrees, word(language, "passed" if agrees else "failed"))


def _basis(segments: Iterable[RatedSegment], language: Language) -> tuple[BasisRow, ...]:
    files = dict.fromkeys(file for each in segments for file in each.files)
    return tuple(
        BasisRow(
            kind=word(language, f"kind.{file.kind}"),
            title=file.title,
            document=file.document,
            origin=f"{file.id}@{file.version}",
            sha256=file.sha256,
            provisional=bool(file.provisional),
            open_rules="; ".join(file.provisional),
        )
        for file in files
    )


def _remarks(bill: Bill, language: Language) -> tuple[str, ...]:
    remarks = [word(language, "remark_money")]
    if any(line.unit == "kW" for line in bill.lines):
        remarks.append(word(language, "remark_demand"))
    if bill.estimated_slots:
        remarks.append(word(language, "remark_estimated", n=bill.estimated_slots))
    if any(file.provisional for each in bill.segments for file in each.files):
        remarks.append(word(language, "remark_provisional"))
    return tuple(remarks)


def _spelled(formula: str, names: dict[str, str]) -> str:
    """Replace the names of a formula by words or numbers, and its signs by × and ÷."""
    spelled, word_so_far = "", ""
    for character in formula + " ":
        if character.isalnum() or character == "_":
            word_so_far += character
            continue
        spelled += names.get(word_so_far, word_so_far) + {"*": "×", "/": "÷"}.get(character, character)
        word_so_far = ""
    return spelled.strip()


def _plain(value: Decimal) -> str:
    return price_text(value) if value else "0"


def _number(value: Decimal) -> Figure:
    return Figure(number_text(value), str(value))


def _money(amount_fen: int) -> Figure:
    return Figure(money_text(amount_fen), amount_fen)
