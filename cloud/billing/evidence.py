"""Terms and price files over a month -> segments; registers against intervals; what is missing. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType

from cloud.billing.catalogue import AnyPrices, Buyer, Catalogue
from cloud.billing.facts import Register
from cloud.billing.line import PERIODS
from cloud.billing.segment import DayUse, Segment, Terms, missing_slots, usage_from
from cloud.billing.tariff import Finding
from cloud.errors import Refused
from cloud.markettime import SLOTS_PER_DAY, days_between, slot_label, slot_start
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.money import EXACT

MISSING_SHOWN_MAX = 10
NO_ENERGY = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days `[first_day, end_day)` under one set of terms; of a retail customer, on one package 'id@version'."""

    first_day: date
    end_day: date
    terms: Terms
    package: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """When a supply point had a meter: from its first installation to its last removal; None = open.

    A gap between two meters counts as service: power flowed, and its energy must be known or estimated.
    """

    start: datetime
    end: datetime | None

    def holds(self, start: datetime, end: datetime) -> bool:
        """Say whether `[start, end)` lies wholly in the time of service."""
        return self.start <= start and (self.end is None or end <= self.end)


@dataclass(frozen=True, slots=True)
class MissingDay:
    """Slots of a supply point's day that have no energy."""

    supply_point_id: str
    day: date
    slots: tuple[int, ...]

    def __str__(self) -> str:
        """Tell the gaps on the clock face: 'SP1 2026-08-03 00:15-01:30'."""
        gaps = ", ".join(f"{slot_label(start)}-{slot_label(end)}" for start, end in _spans(self.slots))
        return f"{self.supply_point_id} {self.day.isoformat()} {gaps}"


class IntervalsMissing(Refused):
    """The month cannot be billed yet; `missing` lists every day and slot, `facts` the first few in words."""

    def __init__(self, account_id: str, month: date, missing: Sequence[MissingDay]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            "intervals_missing",
            account=account_id,
            month=month.strftime("%Y-%m"),
            days=len(self.missing),
            slots=sum(len(each.slots) for each in self.missing),
            missing="; ".join(map(str, self.missing[:MISSING_SHOWN_MAX]))
            + (" …" if len(self.missing) > MISSING_SHOWN_MAX else ""),
        )


def priced_stretches(
    stretches: Sequence[Stretch], catalogue: Catalogue, grid: str
) -> tuple[tuple[Stretch, AnyPrices], ...]:
    """Cut stretches where price files change, and join what is the same again. Raises UnpricedMonth."""
    result: list[tuple[Stretch, AnyPrices]] = []
    for stretch in stretches:
        terms = stretch.terms
        buyer = Buyer(grid, terms.purchase, terms.category, terms.option, stretch.package)
        edges = (
            stretch.first_day,
            *catalogue.changes_within(stretch.first_day, stretch.end_day),
            stretch.end_day,
        )
        for first, end in pairwise(edges):
            prices = catalogue.any_prices_on(first, buyer)
            last = result[-1] if result else None
            if last and last[0].end_day == first and last[0].terms == stretch.terms and last[1] == prices:
                result[-1] = (replace(last[0], end_day=end), prices)
            else:
                result.append((replace(stretch, first_day=first, end_day=end), prices))
    return tuple(result)


def missing_days(
    stretches: Iterable[Stretch],
    days: Mapping[str, Sequence[IntervalDay]],
    services: Mapping[str, Service] = MappingProxyType({}),
) -> tuple[MissingDay, ...]:
    """List every slot of the stretches in which a supply point was in service and has no energy.

    `days` holds each supply point's known days; one that `services` does not tell about is in service throughout.
    """
    missing = []
    wanted = list(stretches)
    for supply_point_id, known in sorted(days.items()):
        by_day = {each.day: each for each in known}
        service = services.get(supply_point_id)
        for stretch in wanted:
            reactive = stretch.terms.power_factor_standard is not None
            for day in days_between(stretch.first_day, stretch.end_day):
                needed = _served(service, day)
                found = by_day.get(day)
                lacking = needed if found is None else missing_slots(found, reactive=reactive)
                slots = tuple(slot for slot in lacking if slot in needed)
                if slots:
                    missing.append(MissingDay(supply_point_id, day, slots))
    return tuple(missing)


def in_service(days: Iterable[IntervalDay], service: Service | None) -> tuple[IntervalDay, ...]:
    """Fill slots without a value in which the supply point had no meter: nothing flowed there."""
    return tuple(_filled(each, _served(service, each.day)) for each in days)


def _filled(day: IntervalDay, served: Sequence[int]) -> IntervalDay:
    if len(served) == SLOTS_PER_DAY:
        return day
    outside = set(range(SLOTS_PER_DAY)) - set(served)
    filled = {slot for slot in outside if day.import_wh[slot] is None}
    return replace(
        day,
        import_wh=tuple(NO_ENERGY if slot in filled else wh for slot, wh in enumerate(day.import_wh)),
        quality=tuple(
            int(IntervalQuality.ACTUAL) if slot in filled else quality
            for slot, quality in enumerate(day.quality)
        ),
    )


def _served(service: Service | None, day: date) -> Sequence[int]:
    every = range(SLOTS_PER_DAY)
    if service is None or service.holds(slot_start(day, 0), slot_start(day, SLOTS_PER_DAY)):
        return every
    return tuple(slot for slot in every if service.holds(slot_start(day, slot), slot_start(day, slot + 1)))


def segments(
    stretches: Iterable[tuple[Stretch, AnyPrices]], days: Iterable[IntervalDay]
) -> tuple[tuple[Segment, AnyPrices], ...]:
    """Sum the interval days of each stretch into its usage; every day is there, one without a meter with zeros."""
    known = tuple(days)
    result = []
    for stretch, prices in stretches:
        own = [each for each in known if stretch.first_day <= each.day < stretch.end_day]
        usage = usage_from(own, prices.calendar)
        used = {each.day: each for each in usage.days}
        nothing = (NO_ENERGY,) * len(PERIODS)
        every = tuple(
            used.get(day, DayUse(day, nothing)) for day in days_between(stretch.first_day, stretch.end_day)
        )
        usage = replace(usage, days=every)
        result.append((Segment(stretch.first_day, stretch.end_day, stretch.terms, usage), prices))
    return tuple(result)


def register_findings(registers: Iterable[Register], days: Iterable[IntervalDay]) -> tuple[Finding, ...]:
    """Report supply points whose intervals do not add up to their registers x multiplier, to the Wh.

    Only meters that were read at both ends can be compared; the others are reported as not read.
    """
    by_registers: dict[str, Decimal] = defaultdict(Decimal)
    unread: set[str] = set()
    for each in registers:
        if each.register != "ea_imp":
            continue
        if each.moved_kwh is None:
            unread.add(each.supply_point_id)
            continue
        by_registers[each.supply_point_id] = EXACT.add(by_registers[each.supply_point_id], each.moved_kwh)
    by_intervals: dict[str, int] = defaultdict(int)
    for day in days:
        by_intervals[day.supply_point_id] += sum(wh or 0 for wh in day.import_wh)
    findings = [Finding("register_not_read", (("supply_point_id", point),)) for point in sorted(unread)]
    for point, kwh in sorted(by_registers.items()):
        wh = EXACT.scaleb(kwh, 3)
        if point not in unread and abs(EXACT.subtract(wh, Decimal(by_intervals[point]))) >= 1:
            facts = (("intervals_wh", str(by_intervals[point])), ("registers_wh", f"{wh.normalize():f}"))
            findings.append(Finding("register_differs", (*facts, ("supply_point_id", point))))
    return tuple(findings)


def _spans(slots: Sequence[int]) -> tuple[tuple[int, int], ...]:
    spans: list[tuple[int, int]] = []
    for slot in slots:
        if spans and spans[-1][1] == slot:
            spans[-1] = (spans[-1][0], slot + 1)
        else:
            spans.append((slot, slot + 1))
    return tuple(spans)
