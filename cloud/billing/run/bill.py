"""Draw up and issue bills: load -> compute -> save, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from cloud.billing import evidence, facts, settled
from cloud.billing.bill import Given, PricedSegment, priced, rate
from cloud.billing.catalogue import (
    CATALOGUE_PURCHASE,
    DIRECT_PURCHASE,
    RETAIL_PURCHASE,
    AnyPrices,
    Catalogue,
    Prices,
)
from cloud.billing.facts import Account, Bill
from cloud.billing.line import BillLine
from cloud.billing.segment import Terms
from cloud.billing.store import bills, published
from cloud.billing.tariff import Finding
from cloud.contracts.store import retail as packages
from cloud.db import Conn
from cloud.errors import Invalid, NotFound, NotNow, Refused
from cloud.market.store import settlements
from cloud.markettime import day_of, month_bounds, month_of, slot_start
from cloud.metering.interval import IntervalDay
from cloud.metering.store import intervals
from cloud.money import total
from cloud.parties import store as parties


class NoSuchAccount(NotFound):
    """There is no account of that number."""


class NothingToBill(Refused):
    """The account has no terms, or no supply point, in the month."""


class MonthNotOver(NotNow):
    """The month's last slot is not over yet."""


class TermsWithinADay(Invalid):
    """Terms or a package change inside a trading day; they must change at 00:00 market time."""


class NoPackage(Refused):
    """A retail customer has no package on some day of the month."""


class NotSettled(NotNow):
    """A direct user's market settlement of the month is not final."""


class YearIncomplete(Refused):
    """Earlier months of the year are not billed, so nobody knows in which tier of the ladder this one begins."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The bill that now stands; `is_new` is False when equal inputs had given it before."""

    bill_id: int
    revision: int
    total_fen: int
    is_new: bool
    change_fen: int  # against the revision before; the whole amount for a first bill


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a month's bill is drawn up from, as known now; `sha256` is of everything that decides its amounts."""

    account: Account
    grid: str
    month: date
    catalogue: Catalogue
    stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]
    days: tuple[IntervalDay, ...]
    segments: tuple[PricedSegment, ...]
    given: Given
    sha256: bytes


def bill_month(conn: Conn, account_id: str, month: date, now: datetime) -> Drawn:
    """Draw up the month's bill and keep it as a draft, unless equal inputs gave the latest one. Safe to repeat.

    `month` is the first day of the billing month.
    Raises NoSuchAccount, MonthNotOver, NothingToBill, TermsWithinADay, NoPackage, YearIncomplete, NotSettled,
    UnpricedMonth, NoSuchPrice, NoReferencePrice, IntervalsMissing.
    """
    bills.lock_month(conn, account_id, month)
    published.keep(conn, published.packaged_texts(), now)
    known = inputs(conn, account_id, month, now)
    before = bills.latest(conn, account_id, month)
    if before is not None and before.state != "void" and before.input_sha256 == known.sha256:
        return Drawn(before.bill_id, before.revision, before.total_fen, is_new=False, change_fen=0)
    bill = draw(conn, known, 1 if before is None else before.revision + 1, now)
    change_fen = bill.total_fen - (0 if before is None else before.total_fen)
    return Drawn(bills.save(conn, bill, known.sha256), bill.revision, bill.total_fen, True, change_fen)


def inputs(conn: Conn, account_id: str, month: date, now: datetime) -> Inputs:
    """Load what decides the month's bill, and hash it. Raises as `bill_month` does, but for NoSuchPrice."""
    account = parties.find_account(conn, account_id)
    if account is None:
        raise NoSuchAccount("no_such_account", account=account_id)
    _, end = month_bounds(month_of(month))
    if now < end:
        raise MonthNotOver(
            "month_not_over", account=account_id, month=month.strftime("%Y-%m"), ends=end.isoformat()
        )
    catalogue = published.catalogue(conn)
    stretches = evidence.priced_stretches(_stretches(conn, account_id, month), catalogue, account.grid)
    days = _days(conn, account_id, month, stretches)
    segments = priced(evidence.segments(stretches, days))
    given = _given(conn, account_id, month, [stretch for stretch, _ in stretches])
    return Inputs(
        account=Account(account_id, account.name, account.address),
        grid=account.grid,
        month=month,
        catalogue=catalogue,
        stretches=stretches,
        days=days,
        segments=segments,
        given=given,
        sha256=facts.input_sha256(account_id, month, segments, given),
    )


def draw(conn: Conn, known: Inputs, revision: int, now: datetime) -> Bill:
    """Draw up a bill without keeping it, with the register readings that belong to it. Raises NoSuchPrice."""
    points = bills.supply_points(conn, known.account.account_id)
    registers = bills.registers(conn, points, *_covered(known.stretches))
    first, end = known.stretches[0][0].first_day, known.stretches[-1][0].end_day
    return Bill(
        account=known.account,
        month=known.month,
        revision=revision,
        made_at=now,
        segments=tuple(map(facts.rated, known.segments)),
        lines=rate(known.segments, known.month, known.given),
        registers=registers,
        intervals=bills.interval_evidence(conn, points, first, end),
        findings=(
            *_sheet_findings(known.catalogue, known.stretches),
            *evidence.register_findings(registers, known.days),
        ),
        given=known.given,
    )


def accounts_to_bill(conn: Conn, month: date) -> tuple[str, ...]:
    """List the accounts a bill run of the month is for."""
    return bills.accounts_with_terms(conn, *month_bounds(month))


def _stretches(conn: Conn, account_id: str, month: date) -> tuple[evidence.Stretch, ...]:
    start, end = month_bounds(month)
    found: list[evidence.Stretch] = []
    for dated in bills.terms_between(conn, account_id, start, end):
        first, last = max(dated.start or start, start), min(dated.end or end, end)
        if dated.terms.purchase == RETAIL_PURCHASE:
            found += _on_packages(conn, account_id, (first, last), dated.terms)
        else:
            days = _whole_days(account_id, first, last)
            found.append(evidence.Stretch(*days, dated.terms))
    if not found:
        raise NothingToBill(
            "nothing_to_bill", account=account_id, month=month.strftime("%Y-%m"), lacks="terms"
        )
    return tuple(found)


def _on_packages(
    conn: Conn, account_id: str, span: tuple[datetime, datetime], terms: Terms
) -> tuple[evidence.Stretch, ...]:
    """Cut the time of retail terms where the package changes; every day needs one."""
    found = []
    reached = span[0]
    for dated in packages.packages_between(conn, account_id, *span):
        start, end = max(dated.start, span[0]), min(dated.end or span[1], span[1])
        if start > reached:
            break
        days = _whole_days(account_id, start, end)
        found.append(evidence.Stretch(*days, terms, dated.origin))
        reached = end
    if reached < span[1]:
        raise NoPackage("no_package", account=account_id, day=day_of(reached).isoformat())
    return tuple(found)


def _whole_days(account_id: str, start: datetime, end: datetime) -> tuple[date, date]:
    for edge in (start, end):
        if slot_start(day_of(edge), 0) != edge:
            raise TermsWithinADay("terms_within_a_day", account=account_id, at=edge.isoformat())
    return day_of(start), day_of(end)


def _given(conn: Conn, account_id: str, month: date, stretches: Sequence[evidence.Stretch]) -> Given:
    """Load what the bill takes from elsewhere, where a stretch needs it."""
    given = Given()
    purchases = {stretch.terms.purchase for stretch in stretches}
    if CATALOGUE_PURCHASE in purchases:
        given = _ladder_position(conn, account_id, month)
    if DIRECT_PURCHASE in purchases:
        given = replace(given, settled=_settled_lines(conn, account_id, month))
    return given


def _settled_lines(conn: Conn, account_id: str, month: date) -> tuple[BillLine, ...]:
    """Load the final market settlement of a direct user's month."""
    lines = settlements.final_lines(conn, account_id, month)
    if not lines:
        state = settlements.state_of(conn, account_id, month) or "none"
        raise NotSettled("not_settled", account=account_id, month=month.strftime("%Y-%m"), state=state)
    return settled.bill_lines(lines)


def _ladder_position(conn: Conn, account_id: str, month: date) -> Given:
    """Find where in the year's ladder the month begins: the catalogue kWh of the bills before it."""
    year_start, _ = month_bounds(month.replace(month=1))
    on_catalogue = [
        dated
        for dated in bills.terms_between(conn, account_id, year_start, month_bounds(month)[1])
        if dated.terms.purchase == CATALOGUE_PURCHASE
    ]
    known = bills.year_kwh(conn, account_id, month)
    missing = [
        each
        for each in (month.replace(month=number) for number in range(1, month.month))
        if each not in known.by_month
        and not (known.opening_month and each < known.opening_month)
        and any(_touches(dated, *month_bounds(each)) for dated in on_catalogue)
    ]
    if missing:
        names = ", ".join(each.strftime("%Y-%m") for each in missing)
        raise YearIncomplete(
            "year_incomplete", account=account_id, month=month.strftime("%Y-%m"), missing=names
        )
    counted = [kwh for each, kwh in known.by_month.items() if each >= (known.opening_month or date.min)]
    first = on_catalogue[0].start
    return Given(
        year_kwh=total((*counted, known.opening_kwh)),
        service_from=None if first is None or first <= year_start else day_of(first),
    )


def _touches(dated: bills.DatedTerms, start: datetime, end: datetime) -> bool:
    return (dated.start or start) < end and start < (dated.end or end)


def _days(
    conn: Conn, account_id: str, month: date, stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]
) -> tuple[IntervalDay, ...]:
    points = bills.supply_points(conn, account_id)
    if not points:
        lacks = "supply points"
        raise NothingToBill("nothing_to_bill", account=account_id, month=month.strftime("%Y-%m"), lacks=lacks)
    first, end = stretches[0][0].first_day, stretches[-1][0].end_day
    days = {point: intervals.load_days(conn, point, first, end) for point in points}
    services = {point: evidence.Service(*span) for point, span in bills.services(conn, points).items()}
    missing = evidence.missing_days([stretch for stretch, _ in stretches], days, services)
    if missing:
        raise evidence.IntervalsMissing(account_id, month, missing)
    return tuple(day for point in points for day in evidence.in_service(days[point], services.get(point)))


def _covered(stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]) -> tuple[datetime, datetime]:
    return slot_start(stretches[0][0].first_day, 0), slot_start(stretches[-1][0].end_day, 0)


def _sheet_findings(
    catalogue: Catalogue, stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]
) -> tuple[Finding, ...]:
    """Report what is wrong in the printed rows that were billed."""
    found: dict[Finding, None] = {}
    for stretch, prices in stretches:
        if isinstance(prices, Prices):
            own = {"structure": stretch.terms.structure, "voltage": stretch.terms.voltage}
            for finding in catalogue.sheet_findings(prices.sheet):
                told = dict(finding.facts)
                if all(told.get(key, value) == value for key, value in own.items()):
                    found[finding] = None
    return tuple(found)
