"""The listing market over real HTTP and PostgreSQL: many takers at once, every refusal, batch windows, the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import deal_world
import psycopg
import pytest
from deal_world import Deals, Desk, next_month

from cloud.db import transaction
from cloud.market.run import list as desk

MONTH = f"{next_month():%Y-%m}"


@pytest.fixture(scope="module")
def deals(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deals]:
    with deal_world.market(postgres_dsn, template_database, tmp_path_factory.mktemp("deals")) as found:
        yield found


def publish(seller: Desk, **changed: object) -> int:
    ends = datetime.now(UTC) + timedelta(hours=2)  # noqa: TID251
    form: dict[str, object] = {
        "side": "S",
        "month": MONTH,
        "period": "month",
        "mwh": "100.000",
        "price": "380.00",
        "ends": ends.isoformat(),
    }
    answer = seller.post("/listings", form | changed)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["listing_id"])


def test_many_takers_at_once_never_get_more_than_is_listed(deals: Deals) -> None:
    takers, each = ("shop", "trade", "mill"), 12
    outcomes: list[tuple[int, dict[str, object]]] = []
    with ExitStack() as stack:
        listing_id = publish(stack.enter_context(deals.client("coal")))
        desks = [stack.enter_context(deals.client(name)) for name in takers for _ in range(each)]
        start = threading.Barrier(len(desks))

        def go(taker: Desk) -> None:
            start.wait()
            answer = taker.post(f"/listings/{listing_id}/takes", {"mwh": "3.300"})
            outcomes.append((answer.status_code, answer.json()))

        threads = [threading.Thread(target=go, args=(taker,)) for taker in desks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    got = [sum(body["got"]) for status, body in outcomes if status == 201]  # type: ignore[arg-type, call-overload]
    refused = [body["problem"] for status, body in outcomes if status == 409]
    assert len(got) + len(refused) == 36
    assert sum(got) == 100_000
    assert sorted(got) == [1_000, *[3_300] * 30]  # the last is cut to what is left
    assert refused == ["take_listing_closed"] * 5
    kept = deals.rows(
        """SELECT sum(v.mwh), count(DISTINCT c.contract_id) FROM wholesale_contract c JOIN wholesale_volume v
           USING (contract_id, version) WHERE c.kind = 'listing' AND c.contract_id LIKE %s""",
        f"GP-{listing_id:06d}-%",
    )
    assert kept == [(100, 31)]
    assert deals.rows("SELECT state FROM listing WHERE listing_id = %s", listing_id) == [("taken",)]
    lives = deals.rows("SELECT DISTINCT state, kind FROM contract WHERE source = %s", f"listing:{listing_id}")
    assert lives == [("effective", "confirmation")]
    told = deals.rows(
        "SELECT count(*) FROM notice WHERE key = 'listing.taken' AND facts ->> 'listing' = %s",
        str(listing_id),
    )
    assert told == [(62,)]  # both sides of 31 contracts


def test_a_take_is_refused_for_one_reason_in_a_fixed_order(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill, deals.client("wind") as wind:
        listing_id = publish(coal, mwh="50", min_take="5")
        path = f"/listings/{listing_id}/takes"

        assert coal.post(path, {"mwh": "6"}).json()["problem"] == "take_self_trade"
        assert mill.post(path, {"mwh": "4.999"}).json()["problem"] == "take_below_min_take"
        assert mill.post(path, {"mwh": ""}).json()["problem"] == "take_qty_invalid"
        assert mill.post(path, {"mwh": "6.0001"}).status_code == 422
        assert (
            wind.post(path, {"mwh": "6"}).json()["problem"] == "take_not_eligible"
        )  # a generator does not buy
        stale = mill.post(path, {"mwh": "6", "price": "379.99"})
        assert (stale.status_code, stale.json()["problem"]) == (409, "take_price_differs")
        assert mill.post(path, {"mwh": ["6", "6"]}).status_code == 422
        assert mill.post("/listings/999999/takes", {"mwh": "6"}).status_code == 404
        whole = publish(coal, mwh="50", all_or_none="1")
        assert mill.post(f"/listings/{whole}/takes", {"mwh": "49"}).json()["problem"] == "take_all_or_none"
        strict = publish(coal, mwh="50", above="refuse")
        assert mill.post(f"/listings/{strict}/takes", {"mwh": "51"}).json()["problem"] == "take_above_rest"
        assert mill.get(f"/listings/{listing_id}").json()["listing"]["lines"][0]["left_kwh"] == 50_000


def test_a_directed_listing_is_seen_and_taken_by_those_who_are_named_and_by_nobody_else(deals: Deals) -> None:
    with (
        deals.client("coal") as coal,
        deals.client("mill") as mill,
        deals.client("shop") as shop,
        deals.client("operator") as operator,
    ):
        mill_id = deals.parties["mill"]
        found = coal.get(f"/listings/parties?find=轧钢&named={deals.parties['trade']}").json()["parties"]
        listing_id = publish(coal, mwh="30", named=[mill_id, deals.parties["trade"]], note="只给老客户")
        path = f"/listings/{listing_id}"
        unseen = [shop.get(f"{path}{part}").status_code for part in ("", "/now", "/events")]
        taken = shop.post(f"{path}/takes", {"mwh": "5"})
        searched = [
            who.get("/listings?text=只给老客户").json()["listings"] for who in (shop, mill, coal, operator)
        ]
        table = shop.get("/listings/csv?text=只给老客户").text
        with mill.listening(f"{path}/events") as heard:
            got = mill.post(f"{path}/takes", {"mwh": "5"})
            heard.wait("takes")
        views = [who.get(path).json() for who in (mill, coal, operator)]

    assert [(each["name"], each["is_chosen"]) for each in found] == [
        ("示范售电乙", True),
        ("示范轧钢厂", False),
    ]
    assert unseen == [404, 404, 404]
    assert (taken.status_code, got.status_code) == (404, 201)
    assert [len(each) for each in searched] == [0, 1, 1, 1]
    assert "只给老客户" not in table
    assert len(table.splitlines()) == 1
    assert [view["listing"]["is_limited"] for view in views] == [True] * 3
    assert [view["named"] for view in views] == [
        [],
        ["示范售电乙", "示范轧钢厂"],
        ["示范售电乙", "示范轧钢厂"],
    ]
    told = deals.rows("SELECT party_id FROM notice WHERE key = 'listing.directed' ORDER BY 1")
    assert told == [(each,) for each in sorted((mill_id, deals.parties["trade"]))]
    _nor_by_the_database(deals, listing_id)


def _nor_by_the_database(deals: Deals, listing_id: int) -> None:
    """Past all our code: neither a take of who is not named, nor a look."""
    with psycopg.connect(deals.dsn) as conn:
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute(
                """INSERT INTO listing_event (listing_id, kind, party_id, unit_id, kwh, at, actor)
                   VALUES (%s, 'take', %s, 'x', '{1000}', now(), 'user:1')""",
                (listing_id, deals.parties["shop"]),
            )
        conn.execute("SELECT set_config('app.role', 'customer', true)")
        conn.execute("SET LOCAL ROLE shoudian_api")
        for name, seen in (("shop", 0), ("mill", 1), ("coal", 1)):
            conn.execute("SELECT set_config('app.party_id', %s, true)", (str(deals.parties[name]),))
            for table in ("listing", "listing_line"):
                found = conn.execute(f"SELECT FROM {table} WHERE listing_id = %s", (listing_id,)).rowcount
                assert found == seen, (name, table)


@pytest.mark.parametrize(("named", "problem"), [("coal", "self"), ("wind", "cannot"), ("", "cannot")])
def test_a_listing_is_directed_only_to_who_could_take_it(deals: Deals, named: str, problem: str) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # noqa: TID251
    form = {"side": "S", "month": MONTH, "period": "month", "mwh": "1", "price": "380", "ends": ends}
    with deals.client("coal") as coal:
        answer = coal.post("/listings", form | {"named": deals.parties.get(named, 999_999)})

    assert (answer.status_code, answer.json()["problem"]) == (422, f"listing_named_{problem}")


def test_a_retry_gets_its_first_receipt_and_takes_nothing_twice(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill:
        listing_id = publish(coal, mwh="10")
        form = {"mwh": "10", "client_key": str(uuid4())}

        first = mill.post(f"/listings/{listing_id}/takes", dict(form))
        again = mill.post(f"/listings/{listing_id}/takes", dict(form))
        other = mill.post(f"/listings/{listing_id}/takes", form | {"mwh": "9"})

        assert first.status_code == again.status_code == 201
        assert first.json() == again.json()
        assert first.json()["receipt_no"].startswith(f"ZP{listing_id:06d}-")
        assert (other.status_code, other.json()["problem"]) == (409, "client_key_used")


def test_a_listing_that_is_sent_many_times_at_once_is_listed_once(deals: Deals) -> None:
    key = {"client_key": str(uuid4())}
    found: list[int] = []
    with deals.client("coal") as coal:
        ends = (datetime.now(UTC) + timedelta(hours=2)).isoformat()  # noqa: TID251
        threads = [
            threading.Thread(target=lambda: found.append(publish(coal, ends=ends, **key))) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.append(publish(coal, ends=ends, **key))
        other = coal.post("/listings", {"side": "S", "month": MONTH, "mwh": "1", "price": "380", **key})

    assert len(found) == 7
    assert len(set(found)) == 1
    assert other.status_code in (409, 422)


def test_the_lister_gives_up_the_rest_and_never_what_was_taken(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill:
        listing_id = publish(coal, mwh="10")
        mill.post(f"/listings/{listing_id}/takes", {"mwh": "4"})

        too_much = coal.post(f"/listings/{listing_id}/reduce", {"mwh": "6.001"})
        foreign = mill.post(f"/listings/{listing_id}/withdraw")
        fine = coal.post(f"/listings/{listing_id}/reduce", {"mwh": "1"})
        gone = coal.post(f"/listings/{listing_id}/withdraw")
        late = mill.post(f"/listings/{listing_id}/takes", {"mwh": "1"})

        assert (too_much.status_code, foreign.status_code) == (422, 403)
        assert (fine.status_code, gone.status_code) == (303, 303)
        assert late.json()["problem"] == "take_listing_closed"
        assert deals.rows("SELECT sum(kwh[1]) FROM listing_share WHERE listing_id = %s", listing_id) == [
            (4_000,)
        ]
        assert coal.post(f"/listings/{listing_id}/withdraw").status_code == 409


def test_only_admitted_parties_trade_and_a_retailer_only_within_its_guarantee(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("shop") as shop, deals.client("mill") as mill:
        listing_id = publish(coal, mwh="90000000", price="380")
        free = deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"])

        refused = shop.post(f"/listings/{listing_id}/takes", {"mwh": "90000000"})  # 5 % of 34.2 bn yuan
        with psycopg.connect(deals.dsn) as conn:
            conn.execute("ALTER TABLE party DISABLE TRIGGER USER")
            conn.execute("UPDATE party SET state = 'suspended' WHERE name = '示范轧钢厂'")
        suspended = mill.post(f"/listings/{listing_id}/takes", {"mwh": "1"})
        with psycopg.connect(deals.dsn) as conn:
            conn.execute("UPDATE party SET state = 'effective' WHERE name = '示范轧钢厂'")
            conn.execute("ALTER TABLE party ENABLE TRIGGER USER")

        assert (refused.status_code, refused.json()["problem"]) == (409, "over_guarantee")
        assert (suspended.status_code, suspended.json()["problem"]) == (403, "trader_not_admitted")
        assert deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"]) == free
        assert deals.rows("SELECT count(*) FROM listing_event WHERE listing_id = %s", listing_id) == [(1,)]


def test_a_batch_window_shares_in_proportion_when_the_clock_closes_it(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("shop") as shop, deals.client("mill") as mill:
        listing_id = publish(coal, mwh="100", sharing="prorata")
        for taker, mwh in ((shop, "90"), (mill, "60")):
            waiting = taker.post(f"/listings/{listing_id}/takes", {"mwh": mwh})
            assert (waiting.status_code, waiting.json()["got"]) == (201, None)
        greedy = mill.post(f"/listings/{listing_id}/takes", {"mwh": "40.001"})
        assert (
            greedy.json()["problem"] == "take_above_rest"
        )  # asking for more than is listed buys no larger share
        assert coal.post(f"/listings/{listing_id}/withdraw").status_code == 409
        later = datetime.now(UTC) + timedelta(hours=3)  # noqa: TID251
        pool = deal_world.worker(deals.dsn)
        with pool:
            for _ in range(2):  # safe to repeat
                with transaction(pool, desk.CLOCK) as conn:
                    desk.end(conn, listing_id, later)

        one = coal.get(f"/listings/{listing_id}").json()

    assert [take["got"] for take in one["takes"]] == [[60_000], [40_000]]  # 90 : 60
    assert one["listing"]["state"] == "cleared"
    contracts = deals.rows(
        "SELECT count(*) FROM contract WHERE source = %s AND state = 'effective'", f"listing:{listing_id}"
    )
    assert contracts == [(2,)]


def test_a_listing_to_buy_and_a_green_one_with_two_prices(deals: Deals) -> None:
    with deals.client("shop") as shop, deals.client("coal") as coal, deals.client("wind") as wind:
        buying = publish(shop, side="B", mwh="20", price="400")
        sold = coal.post(f"/listings/{buying}/takes", {"mwh": "20"})
        green = publish(wind, mwh=["5", "7"], month=[MONTH, f"{next_month(2):%Y-%m}"], period=["h13", "h13"],
                        price=["360", "361"], environment=["18.5", "19"], green="1")  # fmt: skip
        bought = shop.post(f"/listings/{green}/takes", {"mwh": ["5", "2"]})
        half = publish(wind, mwh="5", price="360")

        rows = deals.rows(
            """SELECT c.kind, c.seller, c.buyer, v.mwh, v.price_yuan_per_mwh, v.environment_yuan_per_mwh
               FROM wholesale_contract c JOIN wholesale_volume v USING (contract_id, version)
               WHERE c.contract_id = ANY(%s) ORDER BY c.kind DESC, v.month""",
            [sold.json()["contract_id"], bought.json()["contract_id"]],
        )
        refused = wind.post(
            "/listings",
            {"side": "S", "month": MONTH, "period": "month", "mwh": "1", "price": "360", "environment": "1"}
            | {"ends": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},  # noqa: TID251
        )

    coal_unit, shop_unit, wind_unit = (f"party:{deals.parties[name]}" for name in ("coal", "shop", "wind"))
    assert [tuple(map(str, row)) for row in rows] == [
        ("listing", coal_unit, shop_unit, "20.000", "400.00", "0.00"),
        ("green", wind_unit, shop_unit, "5.000", "360.00", "18.50"),
        ("green", wind_unit, shop_unit, "2.000", "361.00", "19.00"),
    ]
    assert (refused.status_code, refused.json()["problem"]) == (422, "listing_environment")
    assert half > green


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"price": "0.38"}, "precheck_price_unit"),
        ({"price": "446.41"}, "precheck_price_band"),  # 372 + 20 % = 446.40, inclusive
        ({"month": "2020-01"}, "precheck_supply_month"),
        ({"period": "noon"}, "precheck_period_unknown"),
        ({"mwh": "0"}, "listing_volume"),
        ({"mwh": "1e400"}, "quantity_form"),
        ({"mwh": ""}, "listing_lines"),
        ({"price": "NaN"}, "price_form"),
        ({"ends": "yesterday"}, "instant_form"),
    ],
)
def test_what_cannot_be_listed_is_refused_with_its_reason(
    deals: Deals, changed: dict[str, object], problem: str
) -> None:
    with deals.client("coal") as coal:
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # noqa: TID251
        form = {"side": "S", "month": MONTH, "period": "month", "mwh": "1", "price": "380", "ends": ends}

        answer = coal.post("/listings", form | changed)

    assert (answer.status_code, answer.json()["problem"]) == (422, problem)


def test_filters_find_what_is_wanted_and_who_took_is_told_to_both_only(deals: Deals) -> None:
    with deals.client("wind") as wind, deals.client("mill") as mill, deals.client("trade") as trade:
        listing_id = publish(wind, mwh="9", price="333.33", period="h07", note="低谷 h07")
        mill.post(f"/listings/{listing_id}/takes", {"mwh": "2"})
        found = trade.get("/listings?side=S&period=h07&price_min=333&price_max=334&mwh=7&text=示范风").json()
        none = trade.get("/listings?side=S&period=h07&mwh=7.001&price_max=334").json()
        foreign = trade.get(f"/listings/{listing_id}").json()
        own = mill.get(f"/listings/{listing_id}").json()
        table = trade.get("/listings/csv?period=h07").text

    assert [row["listing_id"] for row in found["listings"]] == [listing_id]
    assert none["listings"] == []
    assert (len(foreign["takes"]), len(own["takes"])) == (0, 1)
    assert f"{listing_id},示范风电场,S,{MONTH},h07,9.000,7.000,333.33,0.00" in table
