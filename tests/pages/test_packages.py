"""Comparing packages and putting accounts on them: the comparison is the bill, to the fen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import psycopg
import pytest
import retail_texts as texts
from pages import tariff_world, world
from pages.site import Site
from pages.tariff_world import AUGUST, NOW, WORKER

from cloud.billing.run import bench, offer
from cloud.billing.run import bill as billing
from cloud.billing.store import bills, published
from cloud.contracts.store import retail
from cloud.db import Conn, open_pool, transaction
from cloud.errors import Invalid
from cloud.markettime import month_bounds


@pytest.fixture(scope="module", autouse=True)
def tariffs(site: Site) -> None:
    tariff_world.add(site.world.dsn)


@pytest.fixture
def worker(site: Site) -> Iterator[Conn]:
    """A worker's transaction that leaves nothing behind."""
    with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, WORKER) as conn:
        yield conn
        conn.rollback()


# ---- comparison ------------------------------------------------------------------------------------------


def test_a_comparison_is_what_the_bill_under_that_package_is(worker: Conn) -> None:
    compared = bench.compare(worker, world.WORKSHOP, NOW)
    assert compared.months == (AUGUST,)
    assert compared.result is not None
    assert len(compared.result.candidates) == 8

    worker.execute("SET LOCAL ROLE NONE")
    worker.execute("UPDATE account_terms SET purchase = 'retail' WHERE account_id = %s", (world.WORKSHOP,))
    for candidate in compared.result.candidates:
        assert candidate.package is not None
        with worker.transaction(force_rollback=True):
            by = ("cli:test", NOW)
            offer.assign(worker, world.WORKSHOP, candidate.package.head.origin, (AUGUST, None), by)
            drawn = billing.bill_month(worker, world.WORKSHOP, AUGUST, NOW)
            bill = bills.load(worker, drawn.bill_id)
            assert drawn.total_fen == candidate.total_fen == sum(line.amount_fen for line in bill.lines)


def test_today_in_a_comparison_is_the_bill_of_today(worker: Conn) -> None:
    compared = bench.compare(worker, world.WORKSHOP, NOW)
    drawn = billing.bill_month(worker, world.WORKSHOP, AUGUST, NOW)

    assert compared.result is not None
    assert compared.result.current.total_fen == drawn.total_fen


def test_differences_by_section_add_up_to_the_difference(worker: Conn) -> None:
    result = bench.compare(worker, world.WORKSHOP, NOW).result

    assert result is not None
    for each in result.candidates:
        parts = each.section_differences(result.current)
        assert sum(fen for _, fen in parts) == each.total_fen - result.current.total_fen


def test_packages_for_others_are_named_with_the_reason(worker: Conn) -> None:
    shop = bench.compare(worker, world.SHOP, NOW).result  # below 1 kV: the green package is not for it
    home = bench.compare(worker, world.HOME, NOW)

    assert shop is not None
    assert [(each.package.head.id, each.reason) for each in shop.left] == [("demo-green", "voltage")]
    assert home.result is None  # no published price for this residential account: said, not guessed
    assert {each.reason for each in home.skipped} <= {
        "unpriced_month",
        "nothing_to_bill",
        "intervals_missing",
    }


def test_a_package_opened_only_now_is_compared_on_the_past(worker: Conn) -> None:
    text = texts.package_text('form = "fixed"\nfixed_price = "0.4120"\n', id="opened-now")
    text = text.replace("effective_from = 2026-01-01", "effective_from = 2026-11-01")
    published.keep(worker, [published.PublishedText("opened-now.toml", text)], NOW)

    result = bench.compare(worker, world.WORKSHOP, NOW).result

    assert result is not None
    totals = {each.package.head.id: each.total_fen for each in result.candidates if each.package}
    assert totals["opened-now"] == totals["demo-fixed"]  # the same price under another name


def test_shifting_energy_keeps_every_watt_hour_and_pays_less_by_period(worker: Conn) -> None:
    plain = bench.compare(worker, world.WORKSHOP, NOW).result
    moved = bench.compare(worker, world.WORKSHOP, NOW, 20).result

    assert plain is not None
    assert moved is not None
    assert moved.current.kwh == plain.current.kwh
    assert moved.current.total_fen < plain.current.total_fen


def test_months_that_cannot_be_rated_are_said_with_the_reason(worker: Conn) -> None:
    compared = bench.compare(worker, world.WORKSHOP, NOW)

    assert len(compared.skipped) == 11
    assert {each.reason for each in compared.skipped} == {"unpriced_month", "nothing_to_bill"}


def test_customers_compare_their_own_account_only(site: Site) -> None:
    with site.client("yunling") as owner, site.client("zhou") as other, site.client("tech") as technician:
        own = owner.get(f"/accounts/{world.WORKSHOP}/packages").json()
        in_reach = AUGUST in bench.months_before(datetime.now(UTC).date().replace(day=1), 12)  # noqa: TID251

        assert (own["months"] == ["2026-08-01"]) == in_reach
        assert other.get(f"/accounts/{world.WORKSHOP}/packages").status_code == 404
        assert technician.get(f"/accounts/{world.WORKSHOP}/packages").status_code == 403
        assert owner.get(f"/accounts/{world.WORKSHOP}/packages?shift=51").status_code == 422


# ---- assignment ------------------------------------------------------------------------------------------


def test_an_account_has_one_package_at_a_time(worker: Conn) -> None:
    worker.execute("SET LOCAL ROLE NONE")
    worker.execute("UPDATE account_terms SET purchase = 'retail'")
    by = ("cli:test", NOW)
    offer.assign(worker, world.SHOP, "demo-tou@1", (AUGUST, date(2026, 9, 1)), by)

    with pytest.raises(retail.PackageOverlaps):
        offer.assign(worker, world.SHOP, "demo-fixed", (date(2026, 8, 15), None), by)
    with pytest.raises(retail.PackageOverlaps):  # the very same once more is refused in words, too
        offer.assign(worker, world.SHOP, "demo-tou@1", (AUGUST, date(2026, 9, 1)), by)
    offer.assign(worker, world.SHOP, "demo-fixed", (date(2026, 9, 1), None), by)
    offer.end(worker, world.SHOP, date(2026, 10, 1))

    found = retail.packages_between(worker, world.SHOP, *month_bounds(date(2026, 9, 1)))
    assert [each.origin for each in found] == ["demo-fixed@1"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege), worker.transaction():
        worker.execute("UPDATE account_package SET package_id = 'demo-tou'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege), worker.transaction():
        worker.execute("DELETE FROM account_package")


@pytest.mark.parametrize(
    ("account", "package", "purchase", "problem"),
    [
        (world.SHOP, "demo-nothing", "retail", "no_such_package"),
        (world.SHOP, "demo-tou", "agency", "terms_not_retail"),
        (world.SHOP, "demo-green", "retail", "package_needs"),
    ],
)
def test_a_package_that_does_not_fit_is_refused(
    worker: Conn, account: str, package: str, purchase: str, problem: str
) -> None:
    worker.execute("SET LOCAL ROLE NONE")
    worker.execute("UPDATE account_terms SET purchase = %s", (purchase,))

    with pytest.raises((Invalid, offer.NoSuchPackage)) as refused:
        offer.assign(worker, account, package, (AUGUST, None), ("cli:test", NOW))

    assert refused.value.key == problem
