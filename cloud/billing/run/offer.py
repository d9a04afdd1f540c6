"""Put an account on a retail package, or end it, with the checks that a contract office would make."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from cloud.billing.package import Package
from cloud.billing.store import published
from cloud.contracts.store import retail
from cloud.contracts.store.retail import DatedPackage
from cloud.db import Conn
from cloud.errors import Invalid, NotFound
from cloud.markettime import slot_start
from cloud.parties import store as parties

RETAIL = "retail"


class NoSuchPackage(NotFound):
    """There is no published package of that id and version."""


class NotARetailer(Invalid):
    """The package's retailer is no party of this database, or no retailer."""


class TermsNotRetail(Invalid):
    """The account does not buy in the retail market when the package begins."""


class PackageNeeds(Invalid):
    """The account does not meet a condition of the package."""


class NoPackageToEnd(NotFound):
    """The account is on no package that runs over the day."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The account's package from a day on, until a day or further notice."""

    account_id: str
    package: Package
    first_day: date
    end_day: date | None


def assign(
    conn: Conn, account_id: str, origin: str, days: tuple[date, date | None], by: tuple[str, datetime]
) -> Assigned:
    """Put an account on package `origin` ('id@version', without version: the newest) for days `[first, end)`.

    Raises NoSuchPackage, NotARetailer, TermsNotRetail, PackageNeeds, PackageOverlaps.
    """
    published.keep(conn, published.packaged_texts(), by[1])
    package = find_package(conn, origin)
    first, end = days
    start = slot_start(first, 0)
    terms = parties.find_terms(conn, account_id, start)
    if terms is None or terms.purchase != RETAIL:
        purchase = "—" if terms is None else terms.purchase
        raise TermsNotRetail(
            "terms_not_retail", account=account_id, start=first.isoformat(), purchase=purchase
        )
    reason = package.ineligible(terms.category, terms.voltage)
    if reason is not None:
        raise PackageNeeds("package_needs", account=account_id, package=package.head.origin, reason=reason)
    retailer_id = parties.find_party(conn, package.retailer)
    if retailer_id is None:
        raise NotARetailer("not_a_retailer", retailer=package.retailer, package=package.head.origin)
    until = None if end is None else slot_start(end, 0)
    dated = DatedPackage(start, until, package.head.id, package.head.version, retailer_id)
    retail.assign(conn, account_id, dated, *by)
    return Assigned(account_id, package, first, end)


def end(conn: Conn, account_id: str, day: date) -> None:
    """End the account's package so that `day` is the first without it. Raises NoPackageToEnd."""
    if not retail.end_at(conn, account_id, slot_start(day, 0)):
        raise NoPackageToEnd("no_package_to_end", account=account_id, end=day.isoformat())


def find_package(conn: Conn, origin: str) -> Package:
    """Find a published package by 'id@version' or, newest version, by id. Raises NoSuchPackage."""
    files = published.catalogue(conn).files
    named = [
        each for each in files if isinstance(each, Package) and origin in (each.head.origin, each.head.id)
    ]
    if not named:
        raise NoSuchPackage("no_such_package", package=origin)
    return max(named, key=lambda each: each.head.version)
