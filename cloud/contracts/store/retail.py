"""SQL: the retail package an account is on, dated. Nothing here commits or decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from cloud.db import Conn
from cloud.errors import Conflict
from cloud.markettime import day_of


class PackageOverlaps(Conflict):
    """The account already has a package, so a retailer, in that period (国能发监管规〔2024〕76号 art. 23)."""


@dataclass(frozen=True, slots=True)
class DatedPackage:
    """The package an account is on in `[start, end)`; end None = until further notice."""

    start: datetime
    end: datetime | None
    package_id: str
    version: int
    retailer_id: int

    @property
    def origin(self) -> str:
        """Name the package's exact text, as derivations do."""
        return f"{self.package_id}@{self.version}"


def packages_between(conn: Conn, account_id: str, start: datetime, end: datetime) -> tuple[DatedPackage, ...]:
    """Load the packages that touch `[start, end)`, earliest first."""
    rows = conn.execute(
        """SELECT lower(effective), upper(effective), package_id, package_version, retailer_id
           FROM account_package WHERE account_id = %s AND effective && tstzrange(%s, %s) ORDER BY lower(effective)""",
        (account_id, start, end),
    )
    return tuple(DatedPackage(*row) for row in rows)


def is_package(conn: Conn, package_id: str, version: int) -> bool:
    """Whether that version of a package is published."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM price_sheet WHERE sheet_id = %s AND version = %s)", (package_id, version)
    ).fetchone()
    return bool(row and row[0])


def assign(conn: Conn, account_id: str, package: DatedPackage, actor: str, now: datetime) -> None:
    """Put an account on a package. Raises PackageOverlaps."""
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO account_package (account_id, effective, package_id, package_version, retailer_id,
                                                assigned_by, assigned_at)
                   VALUES (%s, tstzrange(%s, %s), %s, %s, %s, %s, %s)""",
                (
                    *(account_id, package.start, package.end, package.package_id, package.version),
                    *(package.retailer_id, actor, now),
                ),
            )
    except (psycopg.errors.ExclusionViolation, psycopg.errors.UniqueViolation) as overlap:
        raise PackageOverlaps(
            "package_overlaps", account=account_id, start=day_of(package.start).isoformat()
        ) from overlap


def end_at(conn: Conn, account_id: str, end: datetime) -> bool:
    """End the package that runs over `end` there; tell whether there was one."""
    return (
        conn.execute(
            """UPDATE account_package SET effective = tstzrange(lower(effective), %(end)s)
               WHERE account_id = %(account)s AND effective @> %(end)s::timestamptz
               AND lower(effective) < %(end)s""",
            {"account": account_id, "end": end},
        ).rowcount
        > 0
    )
