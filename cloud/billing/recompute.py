"""A bill checked from its own JSON, offline: every formula, the energy, and the rating with the same price files. Pure.

Three opinions that must agree: the printed amounts, the formulas evaluated by another evaluator
(`formula.fen_by`), and the rating code run again over the bill's usage and the price files it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from cloud.billing.basic import TwoPartRules
from cloud.billing.bill import RATING_VERSION, priced, rate
from cloud.billing.catalogue import (
    CATALOGUE_PURCHASE,
    DIRECT_PURCHASE,
    NATIONAL,
    RETAIL_PURCHASE,
    AnyPrices,
    Catalogue,
    LadderPrices,
    NoSuchPrice,
    Prices,
)
from cloud.billing.charges import Funds, Transmission
from cloud.billing.facts import Bill, FileRef, RatedSegment, file_ref
from cloud.billing.formula import BadFormula, fen_by
from cloud.billing.ladder import Ladder
from cloud.billing.line import PERIODS, BillLine
from cloud.billing.package import NoReferencePrice, Package, References
from cloud.billing.powerfactor import PowerFactorRules
from cloud.billing.tariff import Calendar, PriceFile, PriceSheet
from cloud.money import yuan

PROBLEMS_MAX = 20  # of formulas; a bill made to be slow is told without going on to its end
FIRST_VERSION = "1"  # its lines had no items

_File = TypeVar("_File", bound=PriceFile)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: the first wrong things in order, and price files that are not known here."""

    problems: tuple[str, ...]
    unknown_files: tuple[str, ...]


class _Unknown(Exception):
    """A price file of the bill that this catalogue does not have."""


def check(bill: Bill, catalogue: Catalogue) -> Checked:
    """Recompute a bill; an empty `problems` means that every line is right.

    Price files that the catalogue lacks are named; their lines are then checked by their formulas only.
    """
    problems = [*_formula_problems(bill), *_energy_problems(bill)]
    if not bill.lines or not bill.segments:
        problems.append("the bill has no lines or no energy: nothing is proven")
    files = {(each.head.id, each.head.version): each for each in catalogue.files}
    refs = dict.fromkeys(ref for each in bill.segments for ref in each.files)
    unknown = tuple(_origin(ref) for ref in refs if (ref.id, ref.version) not in files)
    problems += [
        f"price file {_origin(ref)}: {told}"
        for ref in refs
        if (ref.id, ref.version) in files and (told := _told(ref, files[ref.id, ref.version]))
    ]
    if not unknown and not problems:
        problems += _choice_problems(bill, files)
    if not unknown and not problems:
        problems += _rating_problems(bill, files)
    return Checked(tuple(problems), unknown)


def _formula_problems(bill: Bill) -> list[str]:
    problems: list[str] = []
    for number, line in enumerate(bill.lines, start=1):
        if len(problems) >= PROBLEMS_MAX:
            break
        inputs: Mapping[str, Decimal] = {each.name: each.value for each in line.derivation.inputs}
        try:
            fen = fen_by(line.derivation.formula, inputs)
        except BadFormula as error:
            problems.append(f"{_name(number, line)}: formula cannot be evaluated: {error}")
            continue
        if fen != line.amount_fen:
            problems.append(
                f"{_name(number, line)}: printed {yuan(line.amount_fen)}, formula gives {yuan(fen)}"
            )
    return problems


def _told(ref: FileRef, file: PriceFile) -> str:
    if file.head.sha256 != ref.sha256:
        return f"other bytes than the published file (sha256 {ref.sha256[:16]}…)"
    return (
        "" if file_ref(file.head) == ref else "its title or documents are told otherwise than it tells them"
    )


def _choice_problems(bill: Bill, files: Mapping[tuple[str, int], PriceFile]) -> list[str]:
    """Only a direct user's market settles; the files of a segment are of its category, each kind once, of one grid."""
    ways = {each.segment.terms.purchase for each in bill.segments}
    problems = []
    if bill.given.settled and DIRECT_PURCHASE not in ways:
        problems.append("lines of a market settlement on the bill of somebody who does not trade directly")
    for each in bill.segments:
        named = [files[ref.id, ref.version] for ref in each.files]
        kinds = [file.head.kind for file in named]
        grids = {file.head.grid for file in named} - {NATIONAL}
        categories = {file.category for file in named if isinstance(file, PriceSheet | Funds | Ladder)}
        options = {file.option for file in named if isinstance(file, Ladder)}
        strange = (categories - {each.segment.terms.category}) | (options - {each.segment.terms.option})
        if len(set(kinds)) < len(kinds) or len(grids) > 1 or strange:
            problems.append(
                f"price file mix from {each.segment.first_day} ({'; '.join(map(', '.join, (grids, categories, kinds)))}) "
                f"is not that of one {each.segment.terms.category} customer"
            )
    return problems


def _energy_problems(bill: Bill) -> list[str]:
    problems = []
    for each in bill.segments:
        usage = each.segment.usage
        for index, period in enumerate(PERIODS):
            by_day = sum(day.import_wh[index] for day in usage.days)
            if usage.days and by_day != usage.import_wh[index]:
                stretch = f"{each.segment.first_day} to {each.segment.end_day}"
                problems.append(
                    f"energy {period} {stretch}: total {usage.import_wh[index]} Wh, the days add up to {by_day} Wh"
                )
    return problems


def _rating_problems(bill: Bill, files: Mapping[tuple[str, int], PriceFile]) -> list[str]:
    """Rate again; report the first line that differs."""
    try:
        segments = priced([(each.segment, _prices(each, files)) for each in bill.segments])
        lines = rate(segments, bill.month, bill.given)
    except (NoSuchPrice, NoReferencePrice, _Unknown, ValueError, ArithmeticError) as error:
        return [f"cannot be rated again: {error}"]
    for each, again in zip(bill.segments, segments, strict=True):
        if each.kwh != again.energy.kwh:
            return [
                f"billed energy {each.segment.first_day}: printed {each.kwh}, rounds to {again.energy.kwh}"
            ]
    by = "" if bill.rating_version == RATING_VERSION else f" (rated by version {bill.rating_version})"
    for number, (line, right) in enumerate(zip(bill.lines, lines, strict=False), start=1):
        if line.amount_fen != right.amount_fen:
            return [
                f"{_name(number, line)}: printed {yuan(line.amount_fen)}, rating gives {yuan(right.amount_fen)}{by}"
            ]
        if line != (replace(right, items=()) if bill.rating_version == FIRST_VERSION else right):
            return [f"{_name(number, line)}: amount right, but its derivation is not that of the price files"]
    if len(bill.lines) != len(lines):
        return [f"the bill has {len(bill.lines)} lines, rating gives {len(lines)}"]
    return []


def _prices(each: RatedSegment, files: Mapping[tuple[str, int], PriceFile]) -> AnyPrices:
    by_kind = {ref.kind: files[ref.id, ref.version] for ref in each.files}
    power_factor = _of(PowerFactorRules, by_kind, "power-factor")
    purchase = each.segment.terms.purchase
    if purchase == CATALOGUE_PURCHASE:
        return LadderPrices(_of(Ladder, by_kind, "catalogue"), power_factor)
    retail = purchase == RETAIL_PURCHASE
    return Prices(
        sheet=_of(PriceSheet, by_kind, "price-sheet").paid_under(purchase),
        calendar=_of(Calendar, by_kind, "calendar"),
        transmission=_of(Transmission, by_kind, "transmission"),
        funds=_of(Funds, by_kind, "funds"),
        two_part=_of(TwoPartRules, by_kind, "two-part"),
        power_factor=power_factor,
        package=_of(Package, by_kind, "package") if retail else None,
        references=_of(References, by_kind, "market-prices")
        if retail and "market-prices" in by_kind
        else None,
    )


def _of(wanted: type[_File], by_kind: Mapping[str, PriceFile], kind: str) -> _File:
    found = by_kind.get(kind)
    if not isinstance(found, wanted):
        raise _Unknown(f"no price file of kind {kind}")
    return found


def _name(number: int, line: BillLine) -> str:
    period = f" {line.period}" if line.period else ""
    return f"line {number} ({line.section} {line.item}{period})"


def _origin(ref: FileRef) -> str:
    return f"{ref.id}@{ref.version}"
