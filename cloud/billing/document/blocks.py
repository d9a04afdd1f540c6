"""The blocks below the charges: basic charge, power factor, VAT, the three checks, basis and remarks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cloud.billing.document import figures
from cloud.billing.document.model import BasisRow, Check, Field, Figure
from cloud.billing.document.overview import kwh_by_period
from cloud.billing.facts import Bill, RatedSegment
from cloud.billing.labels import Language, day_text, number_text, word
from cloud.billing.line import Section, total_fen
from cloud.markettime import slot_label
from cloud.money import EXACT, product, quotient, rounded, total, yuan

MEASURED_SLACK_KWH = Decimal("0.5")  # billed energy is the measured one in whole kWh, rounded once a month
ENERGY_SECTIONS = (
    *(Section.ENERGY, Section.LINE_LOSS, Section.TRANSMISSION, Section.SYSTEM_OPERATION, Section.FUNDS),
    Section.CATALOGUE,
    Section.GREEN,
)


@dataclass(frozen=True, slots=True)
class Vat:
    """增值税: included in all prices of a bill whose month begins on or after `since`."""

    since: date
    vat_pct: int
    document: str


# Rates of the sale of electricity by general taxpayers.
VAT = (
    Vat(date(1994, 1, 1), 17, "中华人民共和国增值税暂行条例"),
    Vat(date(2018, 5, 1), 16, "财税〔2018〕32号"),
    Vat(date(2019, 4, 1), 13, "财政部 税务总局 海关总署公告2019年第39号"),
)


def basic(bill: Bill, language: Language) -> tuple[Field, ...]:
    """Lay out 输配容(需)量电费."""
    terms = bill.segments[-1].segment.terms
    if terms.structure != "two_part":
        return ()
    mode = word(language, f"demand_mode.{terms.demand_mode}")
    pairs = [("demand_mode", Figure(mode, str(terms.demand_mode)))]
    if terms.capacity_kva:
        per_kva = quotient(bill.total_kwh, Decimal(terms.capacity_kva), Decimal("0.01"))
        pairs += [
            ("capacity", figures.with_unit(Decimal(terms.capacity_kva), "kVA", language)),
            ("kwh_per_kva", figures.number(per_kva)),
        ]
    if terms.contract_demand_kw:
        agreed = figures.with_unit(Decimal(terms.contract_demand_kw), "kW", language)
        pairs.append(("contract_demand", agreed))
    demands = [demand for each in bill.segments for demand in each.segment.usage.demands]
    if demands:
        top = max(demands, key=lambda demand: (demand.demand_kw, -demand.day.toordinal(), -demand.slot))
        at = f"{day_text(language, top.day)} {slot_label(top.slot)}–{slot_label(top.slot + 1)}"
        pairs += [
            ("maximum_demand", figures.with_unit(top.demand_kw, "kW", language)),
            ("maximum_demand_at", Figure(at, f"{top.day.isoformat()}#{top.slot}")),
        ]
    for line in bill.lines:
        if line.section is Section.BASIC:
            unit = word(language, f"unit.{line.unit}")
            price = f"{number_text(line.price_yuan_per_unit)} {word(language, 'yuan_unit')}/{unit}"
            pairs.append(("basic_price", Figure(price, str(line.price_yuan_per_unit))))
            pairs.append(("basic_amount", figures.money(line.amount_fen)))
    return figures.fields(language, pairs)


def power_factor(bill: Bill, language: Language) -> tuple[Field, ...]:
    """Lay out 功率因数调整, one set of values for each line of it."""
    lines = [line for line in bill.lines if line.section is Section.POWER_FACTOR]
    if not lines:
        return figures.fields(language, [("power_factor", Figure(word(language, "not_assessed"), ""))])
    pairs: list[tuple[str, Figure]] = []
    for line in lines:
        notes = dict(line.derivation.notes)
        actual, standard = notes.get("power_factor", ""), notes.get("standard", "")
        percent = EXACT.scaleb(line.price_yuan_per_unit, 2)
        pairs += [
            ("actual", Figure(actual or word(language, "undefined"), actual)),
            ("standard", Figure(standard, standard)),
            ("percent", Figure(f"{percent:+.2f}%".replace("-", "−"), str(percent))),
            *(
                (key, figures.with_unit(EXACT.scaleb(Decimal(notes[note]), -3), unit, language))
                for key, note, unit in (
                    ("active", "active_wh", "kWh"),
                    ("reactive", "reactive_varh", "kvarh"),
                )
                if note in notes
            ),
            ("base", Figure(f"{line.quantity:,.2f} {word(language, 'yuan_unit')}", str(line.quantity))),
            ("amount", figures.money(line.amount_fen)),
        ]
    return figures.fields(language, pairs)


def tax(bill: Bill, language: Language) -> tuple[Field, ...]:
    """Tell the VAT that is inside the total: total x rate / (100 + rate), to the fen."""
    vat = max((each for each in VAT if each.since <= bill.month), key=lambda each: each.since)
    included = quotient(
        product(yuan(bill.total_fen), Decimal(vat.vat_pct)), Decimal(100 + vat.vat_pct), Decimal("0.01")
    )
    tax_fen = int(EXACT.scaleb(included, 2))
    pairs = [
        ("vat_rate", Figure(f"{vat.vat_pct}%", vat.vat_pct)),
        ("vat_net", figures.money(bill.total_fen - tax_fen)),
        ("vat_amount", figures.money(tax_fen)),
        ("vat_invoice", figures.money(bill.total_fen)),
        ("vat_document", Figure(vat.document, vat.document)),
    ]
    return figures.fields(language, pairs)


def checks(bill: Bill, language: Language) -> tuple[Check, ...]:
    """Make the three checks of a State Grid bill, and that the billed energy is the measured one."""
    by_period = total(kwh_by_period(bill.segments))
    billed = total(line.quantity for line in bill.lines if line.section is Section.TRANSMISSION)
    measured = EXACT.scaleb(Decimal(bill.import_wh), -3)
    by_section = {
        section: total_fen(tuple(line for line in bill.lines if line.section is section))
        for section in Section
    }
    energy_fen = sum(by_section[section] for section in ENERGY_SECTIONS)
    others = sum(fen for section, fen in by_section.items() if section not in ENERGY_SECTIONS)
    in_whole = rounded(measured, Decimal(1))
    return (
        _check(
            "check_periods",
            figures.number(by_period),
            figures.number(billed or by_period),
            by_period == (billed or by_period),
            language,
        ),
        _check(
            "check_measured",
            figures.number(by_period),
            figures.number(measured),
            abs(by_period - measured) <= MEASURED_SLACK_KWH or by_period == in_whole,
            language,
        ),
        _check(
            "check_energy",
            figures.money(energy_fen),
            figures.money(bill.total_fen - others),
            energy_fen == bill.total_fen - others,
            language,
        ),
        _check(
            "check_total",
            figures.money(sum(by_section.values())),
            figures.money(bill.total_fen),
            sum(by_section.values()) == bill.total_fen,
            language,
        ),
    )


def basis(segments: Iterable[RatedSegment], language: Language) -> tuple[BasisRow, ...]:
    """List the price files."""
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


def remarks(bill: Bill, language: Language) -> tuple[str, ...]:
    """Say what a reader must know."""
    found = [word(language, "remark_money")]
    if any(line.unit == "kW" for line in bill.lines):
        found.append(word(language, "remark_demand"))
    if bill.estimated_slots:
        found.append(word(language, "remark_estimated", n=bill.estimated_slots))
    if any(file.provisional for each in bill.segments for file in each.files):
        found.append(word(language, "remark_provisional"))
    return tuple(found)


def _check(key: str, left: Figure, right: Figure, agrees: bool, language: Language) -> Check:
    return Check(
        key, word(language, key), left, right, agrees, word(language, "passed" if agrees else "failed")
    )
