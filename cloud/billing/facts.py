"""A bill with everything needed to recompute and to trust it. Pure.

What a printed bill shows, what its JSON holds and what the database keeps are this one structure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from cloud.billing.bill import NOTHING_GIVEN, RATING_VERSION, Given, PricedSegment
from cloud.billing.catalogue import AnyPrices
from cloud.billing.line import BillLine, total_fen
from cloud.billing.segment import Segment, Terms
from cloud.billing.tariff import Finding, Head
from cloud.markettime import day_of
from cloud.metering.register import rules_for
from cloud.money import EXACT, total

TICK_EXPONENT = -4  # canonical ticks are 0.1 Wh: ten thousand make a kWh on the meter's face


@dataclass(frozen=True, slots=True)
class Account:
    """Whose bill it is."""

    account_id: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class FileRef:
    """A price file that was used: exactly which text, which document, and what in it is not confirmed."""

    kind: str
    id: str
    version: int
    sha256: str
    title: str
    document: str
    provisional: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RatedSegment:
    """A segment as it was rated: measured usage, billed kWh in the order of PERIODS, files in force."""

    segment: Segment
    kwh: tuple[Decimal, ...]
    files: tuple[FileRef, ...]


@dataclass(frozen=True, slots=True)
class Register:
    """示数: one register of one meter at the two ends of its part of the month, as on the meter's face.

    `register` is a code of the channel catalogue (ea_imp kWh, er_imp kvarh, …). A value is None when the meter
    was not read at that instant.
    """

    supply_point_id: str
    meter_id: str
    register: str
    unit: str
    multiplier: int
    start_at: datetime
    end_at: datetime
    start: Decimal | None
    end: Decimal | None
    batch_ids: tuple[int, ...]

    @property
    def moved(self) -> Decimal | None:
        """Compute what the register counted, over the top of its range too; None when it was not read at both ends."""
        if self.start is None or self.end is None:
            return None
        moved = EXACT.subtract(self.end, self.start)
        top = EXACT.scaleb(Decimal(rules_for(day_of(self.start_at)).rollover_ticks), TICK_EXPONENT)
        return EXACT.add(moved, top) if moved < 0 else moved

    @property
    def moved_kwh(self) -> Decimal | None:
        """Multiply that by the multiplier."""
        return None if self.moved is None else EXACT.multiply(self.moved, Decimal(self.multiplier))


@dataclass(frozen=True, slots=True)
class IntervalEvidence:
    """Which revision of a day's intervals was billed, and the sealed batches it rests on."""

    supply_point_id: str
    day: date
    revision: int
    first_batch_id: int | None
    last_batch_id: int | None


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill of one account and month; revision 1 is the first, a correction is the next."""

    account: Account
    month: date
    revision: int
    made_at: datetime
    segments: tuple[RatedSegment, ...]
    lines: tuple[BillLine, ...]
    registers: tuple[Register, ...] = ()
    intervals: tuple[IntervalEvidence, ...] = ()
    findings: tuple[Finding, ...] = ()
    given: Given = NOTHING_GIVEN
    rating_version: str = RATING_VERSION
    state: str = field(default="draft", compare=False)

    @property
    def total_fen(self) -> int:
        """Add up the lines."""
        return total_fen(self.lines)

    @property
    def import_wh(self) -> int:
        """Add up the measured import of all segments."""
        return sum(each.segment.usage.total_wh for each in self.segments)

    @property
    def total_kwh(self) -> Decimal:
        """Add up the billed kWh of all segments."""
        return total(kwh for each in self.segments for kwh in each.kwh)

    @property
    def estimated_slots(self) -> int:
        """Count the quarter-hours whose energy is not a measurement."""
        return sum(each.segment.usage.estimated_slots for each in self.segments)


def rated(each: PricedSegment) -> RatedSegment:
    """Keep of a priced segment what a reader needs, the price files by reference."""
    return RatedSegment(each.segment, each.energy.kwh, file_refs(each.prices))


def file_refs(prices: AnyPrices) -> tuple[FileRef, ...]:
    """Refer to the files in force."""
    return tuple(file_ref(head) for head in prices.heads)


def input_sha256(
    account_id: str, month: date, segments: Sequence[PricedSegment], given: Given = NOTHING_GIVEN
) -> bytes:
    """Hash what decides the amounts: account, month, terms, usage, price files, what was given, the code's version.

    Equal hash = equal bill, so a second run makes no new revision.
    """
    parts = [
        [
            each.segment.first_day.isoformat(),
            each.segment.end_day.isoformat(),
            _terms_key(each.segment.terms),
            _usage_key(each.segment),
            [head.sha256 for head in each.prices.heads],
        ]
        for each in segments
    ]
    text = json.dumps(
        [RATING_VERSION, account_id, month.isoformat(), parts, _given_key(given)], separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).digest()


def _given_key(given: Given) -> list[object]:
    settled = [[line.section, line.item, line.amount_fen, repr(line.derivation)] for line in given.settled]
    return [str(given.year_kwh), str(given.service_from), settled]


def file_ref(head: Head) -> FileRef:
    """Refer to a file as a bill prints it."""
    provisional = tuple(
        f"{', '.join(source.covers) or head.id} [{source.mark}]"
        for source in head.sources
        if not source.confirmed
    )
    document = head.sources[0].document
    return FileRef(head.kind, head.id, head.version, head.sha256, head.title, document, provisional)


def _terms_key(terms: Terms) -> list[str]:
    return [
        terms.category,
        terms.purchase,
        terms.structure,
        terms.voltage,
        terms.demand_mode,
        str(terms.capacity_kva),
        str(terms.contract_demand_kw),
        str(terms.power_factor_standard),
        terms.option,
    ]


def _usage_key(segment: Segment) -> list[object]:
    usage = segment.usage
    demands = [[each.supply_point_id, str(each.demand_kw)] for each in usage.demands]
    return [
        list(usage.import_wh),
        usage.export_wh,
        usage.import_varh,
        usage.export_varh,
        demands,
        usage.estimated_slots,
    ]
