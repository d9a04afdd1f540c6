"""Draw up and issue bills: load -> compute -> save, inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cloud.billing import evidence, facts
from cloud.billing.bill import PricedSegment, priced, rate
from cloud.billing.catalogue import AnyPrices, Catalogue, Prices
from cloud.billing.facts import Account, Bill
from cloud.billing.store import bills, published
from cloud.billing.tariff import Finding
from cloud.db import Conn
from cloud.errors import Invalid, NotFound, NotNow, Refused
from cloud.markettime import day_of, month_bounds, month_of, slot_of, slot_start
from cloud.metering.interval import IntervalDay
from cloud.metering.store import intervals
from cloud.parties import store as parties

GRID = "jibei"


class NoSuchAccount(NotFound):
    """There is no account of that number."""


class NothingToBill(Refused):
    """The account has no terms, or no supply point, in the month."""


class MonthNotOver(NotNow):
    """The month's last slot is not over yet."""


class TermsWithinADay(Invalid):
    """Terms change inside a trading day; they must change at 00:00 market time."""


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
    month: date
    catalogue: Catalogue
    stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]
    days: tuple[IntervalDay, ...]
    segments: tuple[PricedSegment, ...]
    sha256: bytes


def bill_month(conn: Conn, account_id: str, month: date, now: datetime) -> Drawn:
    """Draw up the month's bill and keep it as a draft, unless equal inputs gave the latest one. Safe to repeat.

    `month` is the first day of the billing month.
    Raises NoSuchAccount, MonthNotOver, NothingToBill, TermsWithinADay, UnpricedMonth, NoSuchPrice,
    IntervalsMissing.
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
    stretches = evidence.priced_stretches(_stretches(conn, account_id, month), catalogue, GRID)
    days = _days(conn, account_id, month, stretches)
    segments = priced(evidence.segments(stretches, days))
    return Inputs(
        account=Account(account_id, account.name, account.address),
        month=month,
        catalogue=catalogue,
        stretches=stretches,
        days=days,
        segments=segments,
        sha256=facts.input_sha256(account_id, month, segments),
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
        lines=rate(known.segments, known.month),
        registers=registers,
        intervals=bills.interval_evidence(conn, points, first, end),
        findings=(
            *_sheet_findings(known.catalogue, known.stretches),
            *evidence.register_findings(registers, known.days),
        ),
    )


def accounts_to_bill(conn: Conn, month: date) -> tuple[str, ...]:
    """List the accounts a bill run of the month is for."""
    return bills.accounts_with_terms(conn, *month_bounds(month))


def _stretches(conn: Conn, account_id: str, month: date) -> tuple[evidence.Stretch, ...]:
    start, end = month_bounds(month)
    found = []
    for dated in bills.terms_between(conn, account_id, start, end):
        edges = (max(dated.start or start, start), min(dated.end or end, end))
        for edge in edges:
            if slot_start(day_of(edge), slot_of(edge)) != edge or slot_of(edge) != 0:
                raise TermsWithinADay("terms_within_a_day", account=account_id, at=edge.isoformat())
        found.append(evidence.Stretch(day_of(edges[0]), day_of(edges[1]), dated.terms))
    if not found:
        raise NothingToBill(
            "nothing_to_bill", account=account_id, month=month.strftime("%Y-%m"), lacks="terms"
        )
    return tuple(found)


def _days(
    conn: Conn, account_id: str, month: date, stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]
) -> tuple[IntervalDay, ...]:
    points = bills.supply_points(conn, account_id)
    if not points:
        lacks = "supply points"
        raise NothingToBill("nothing_to_bill", account=account_id, month=month.strftime("%Y-%m"), lacks=lacks)
    first, end = stretches[0][0].first_day, stretches[-1][0].end_day
    days = {point: intervals.load_days(conn, point, first, end) for point in points}
    missing = evidence.missing_days([stretch for stretch, _ in stretches], days)
    if missing:
        raise evidence.IntervalsMissing(account_id, month, missing)
    return tuple(day for point in points for day in days[point])


def _covered(stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]) -> tuple[datetime, datetime]:
    return slot_start(stretches[0][0].first_day, 0), slot_start(stretches[-1][0].end_day, 0)


def _sheet_findings(
    catalogue: Catalogue, stretches: tuple[tuple[evidence.Stretch, AnyPrices], ...]
) -> tuple[Finding, ...]:
    used = {prices.sheet.head.origin for _, prices in stretches if isinstance(prices, Prices)}
    return tuple(each for each in catalogue.findings() if dict(each.facts)["sheet"] in used)
