"""What bounds a party over all ways to trade: its limit, its guarantee from order to settlement, and who may look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import deal_world
import psycopg
import pytest
from deal_world import Deals, Desk, next_month

from cloud.db import Pool
from cloud.market.run import bound, handover, roll
from cloud.market.run import list as listing

MONTH = f"{next_month():%Y-%m}"


@pytest.fixture
def deals(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deals]:
    with deal_world.market(postgres_dsn, template_database, tmp_path_factory.mktemp("bounds")) as found:
        yield found


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


def list_(desk: Desk, mwh: str, **changed: object) -> tuple[int, dict[str, object]]:
    form: dict[str, object] = {"side": "S", "month": MONTH, "period": "month", "mwh": mwh, "price": "380.00"}
    answer = desk.post("/listings", form | {"ends": (now() + timedelta(hours=2)).isoformat()} | changed)
    return answer.status_code, answer.json()


def limit(deals: Deals, name: str, kwh: int) -> None:
    with psycopg.connect(deals.dsn) as conn:
        conn.execute(
            """INSERT INTO guarantee_requirement (party_id, rule, rule_sha256, at, grade, volumes, base_fen, required_fen,
                                                  limit_kwh, made_by)
               VALUES (%s, 'test', repeat('0', 64), now() - interval '1 hour', 'A', '{}', 0, 0, %s, 'test')""",
            (deals.parties[name], kwh),
        )


def reserved(deals: Deals, name: str) -> int:
    return int(str(deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties[name])[0][0]))


def session(operator: Desk) -> int:
    form = {
        "title": "月内滚动",
        "month": [MONTH, f"{next_month(2):%Y-%m}"],
        "labels": "month",
        "price_min": "300",
        "price_max": "450",
    }
    hours = {
        "opens": (now() - timedelta(minutes=1)).isoformat(),
        "closes": (now() + timedelta(hours=2)).isoformat(),
    }
    answer = operator.post("/rolling", form | hours)
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rsplit("/", 1)[1])


def lapse(deals: Deals, name: str) -> None:
    """All that a party has lodged is drawn, as after a default; or a letter has run out."""
    with psycopg.connect(deals.dsn) as conn:
        conn.execute(
            """INSERT INTO guarantee_entry (party_id, kind, amount_fen, instrument_id, purpose_key, at, actor)
               SELECT party_id, 'draw', left_fen, instrument_id, 'draw:' || instrument_id, now(), 'user:2'
               FROM guarantee_left WHERE party_id = %s""",
            (deals.parties[name],),
        )


def rung(deals: Deals, at: datetime) -> None:
    with deal_world.worker(deals.dsn) as pool:
        ring(pool, at)


def ring(pool: Pool, at: datetime) -> None:
    listing.ring(pool, at)
    roll.ring(pool, at)
    handover.ring(pool, at)
    while bound.ring(pool, at):
        pass


def test_a_limit_holds_over_all_listings_and_takes_of_a_month(deals: Deals) -> None:
    limit(deals, "trade", 100_000)
    with deals.client("trade") as trade, deals.client("coal") as coal, deals.client("mill") as mill:
        first, view = list_(trade, "60")
        second, refused = list_(trade, "60")
        _, offered = list_(coal, "60")
        over = trade.post(f"/listings/{offered['listing_id']}/takes", {"mwh": "50"})
        within = trade.post(f"/listings/{offered['listing_id']}/takes", {"mwh": "40"})
        mill.post(f"/listings/{view['listing_id']}/takes", {"mwh": "10"})
        trade.post(f"/listings/{view['listing_id']}/withdraw")
        again, _ = list_(trade, "50")
        full, _ = list_(trade, "1")

    assert (first, second, refused["problem"]) == (201, 422, "precheck_over_limit")
    assert (over.status_code, over.json()["problem"]) == (409, "take_qty_cap")
    assert within.status_code == 201, within.text
    assert (again, full) == (
        201,
        422,
    )  # 10 taken of the first listing, 40 taken, 50 listed: exactly the limit


def test_a_limit_holds_over_every_period_and_order_of_a_rolling_session(deals: Deals) -> None:
    limit(deals, "mill", 100_000)
    with deals.client("operator") as operator, deals.client("mill") as mill, deals.client("coal") as coal:
        number = session(operator)
        path = f"/rolling/{number}/orders"
        bid = {"side": "B", "price": "380"}
        answers = [mill.post(path, bid | {"mwh": "60", "period": each}) for each in ("1", "2")]
        order = answers[0].json()["order_seq"]
        coal.post(path, {"side": "S", "price": "380", "mwh": "20", "period": "1"})
        grown = mill.post(f"/rolling/{number}/orders/{order}/replace", {"price": "380", "mwh": "81"})
        fitting = mill.post(f"/rolling/{number}/orders/{order}/replace", {"price": "380", "mwh": "80"})
        cancelled = mill.post(f"/rolling/{number}/orders/{order}/cancel")
        freed = mill.post(path, bid | {"mwh": "80", "period": "2"})
        full = mill.post(path, bid | {"mwh": "1", "period": "1"})

    assert [answer.status_code for answer in answers] == [201, 409]
    assert answers[1].json()["problem"] == "order_qty_cap"
    assert (grown.status_code, fitting.status_code < 400, cancelled.status_code < 400) == (409, True, True)
    assert (freed.status_code, full.status_code) == (201, 409)


def test_a_contract_frees_its_margin_when_it_came_to_nothing_or_is_settled_finally(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("shop") as shop:
        _, view = list_(coal, "200")
        path = f"/listings/{view['listing_id']}/takes"
        kept, void = (shop.post(path, {"mwh": mwh}).json()["contract_id"] for mwh in ("60", "40"))
        both = reserved(deals, "shop")
    with psycopg.connect(deals.dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE contract SET state = 'void' WHERE contract_id = %s", (void,))
        rung(deals, now())
        one = reserved(deals, "shop")
        conn.execute("UPDATE contract SET state = 'completed' WHERE contract_id = %s", (kept,))
        rung(deals, now())
        unsettled = reserved(deals, "shop")
        conn.execute(
            """INSERT INTO statement (run_id, unit_id, side, party_id, name, month, revision, state, quantity_kwh, total_fen,
                                      change_fen, input_sha256, facts, made_at)
               VALUES (1, %s, 'user', %s, 'x', %s, 1, 'final', 0, 0, 0, repeat('0', 64), '{}', now())""",
            (f"party:{deals.parties['shop']}", deals.parties["shop"], next_month()),
        )
        rung(deals, now())

    assert both > one == unsettled > 0
    assert both * 60 == one * 100
    assert reserved(deals, "shop") == 0


def test_a_listing_to_buy_that_is_taken_whole_binds_only_its_contracts(deals: Deals) -> None:
    with deals.client("shop") as shop, deals.client("coal") as coal:
        _, view = list_(shop, "100", side="B")
        whole = reserved(deals, "shop")
        shop.post(f"/listings/{view['listing_id']}/reduce", {"mwh": "40"})
        taken = coal.post(f"/listings/{view['listing_id']}/takes", {"mwh": "60"})
        rung(deals, now())

    assert taken.status_code == 201, taken.text
    assert whole == 190_000  # 5 % of 100 MWh at 380 yuan
    assert reserved(deals, "shop") == 48_000  # 1595号: 0.8 分 for each of 60 000 kWh
    held = deals.rows(
        """SELECT purpose_key FROM guarantee_entry e WHERE kind = 'reserve' AND NOT EXISTS (SELECT FROM guarantee_entry r
           WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)"""
    )
    assert held == [(f"contract:{taken.json()['contract_id']}",)]


def test_a_transfer_moves_the_margin_with_the_energy(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("shop") as shop, deals.client("trade") as trade:
        _, view = list_(coal, "100")
        contract = shop.post(f"/listings/{view['listing_id']}/takes", {"mwh": "100"}).json()["contract_id"]
        before = reserved(deals, "shop")
        for name in ("coal", "shop", "trade"):
            deals.prove(name)
        form = {"contract": contract, "to": deals.parties["trade"], "mwh": ["25"], "reason": "减产"}
        proposed = shop.post("/transfers", form)
        assert proposed.status_code == 201, proposed.text
        path = f"/transfers/{proposed.json()['transfer_id']}"
        figures = {"sha256": shop.get(path).json()["terms_sha256"]}
        limit(deals, "trade", 24_999)
        refused = trade.post(f"{path}/take-over", figures)
        assert (refused.status_code, refused.json()["problem"]) == (409, "transfer_over_limit")
        limit(deals, "trade", 25_000)
        assert trade.post(f"{path}/take-over", figures).status_code == 303
        taken_over = reserved(deals, "trade")
        done = coal.post(f"{path}/consent", figures)
        assert done.status_code == 201, done.text
        rung(deals, now())
        rung(deals, now())
        again = shop.post("/transfers", form | {"mwh": ["1"]})
        path = f"/transfers/{again.json()['transfer_id']}"
        more = trade.post(f"{path}/take-over", {"sha256": shop.get(path).json()["terms_sha256"]})
        assert more.json()["problem"] == "transfer_over_limit"  # what was taken over counts

    assert reserved(deals, "shop") == -(-before * 75 // 100)
    assert reserved(deals, "trade") == taken_over > 0
    assert deals.rows(
        "SELECT purpose_key FROM guarantee_entry WHERE kind = 'reserve' AND party_id = %s ORDER BY entry_id DESC LIMIT 1",
        deals.parties["trade"],
    ) == [(f"contract:{done.json()['contract_id']}",)]


def test_a_bid_binds_only_what_is_open_and_what_it_bought(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("shop") as shop, deals.client("coal") as coal:
        number = session(operator)
        path = f"/rolling/{number}/orders"
        order = shop.post(path, {"side": "B", "price": "380", "mwh": "100", "period": "1"}).json()[
            "order_seq"
        ]
        bound_fen = [reserved(deals, "shop")]
        coal.post(path, {"side": "S", "price": "380", "mwh": "20", "period": "1"})
        bound_fen.append(reserved(deals, "shop"))
        for deed, form in (
            ("replace", {"price": "390", "mwh": "10"}),
            ("replace", {"price": "370", "mwh": "40"}),
        ):
            assert shop.post(f"{path}/{order}/{deed}", form).status_code < 400
            bound_fen.append(reserved(deals, "shop"))
        for _ in range(2):
            assert shop.post(f"{path}/{order}/cancel").status_code < 400
            bound_fen.append(reserved(deals, "shop"))
        coal.post(path, {"side": "S", "price": "381", "mwh": "5", "period": "1"})
        cut = {"side": "B", "price": "381", "mwh": "50", "period": "1", "stays": "fak"}
        assert shop.post(path, cut).json()["cancelled_kwh"] == 45_000
        bound_fen.append(reserved(deals, "shop"))
        rung(deals, now() + timedelta(hours=3))

    # 5 % of what was bought, 20 MWh at 380, and of what is open; cancelled a second time nothing more is free.
    assert bound_fen == [190_000, 190_000, 57_500, 112_000, 38_000, 38_000, 38_000 + 9_525]
    assert reserved(deals, "shop") == 20_000  # the contract: 0.8 分 for each of 25 000 kWh


def test_what_is_negotiated_binds_from_the_agreement_on_within_limit_and_guarantee(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("shop") as shop:
        told = [agreed(deals, coal, shop, "400")]
        bound = [reserved(deals, "shop")]
        limit(deals, "shop", 450_000)
        told.append(agreed(deals, coal, shop, "51"))
        told.append(agreed(deals, coal, shop, "50"))
        bound.append(reserved(deals, "shop"))
        with psycopg.connect(deals.dsn) as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute(
                "UPDATE contract SET state = 'cancelled' WHERE contract_id = %s", (told[0]["contract_id"],)
            )
        rung(deals, now())
        bound.append(reserved(deals, "shop"))
        lapse(deals, "shop")
        told.append(agreed(deals, coal, shop, "1"))

    assert [each.get("problem", "") for each in told] == ["", "agreed_over_limit", "", "guarantee_short"]
    assert bound == [320_000, 360_000, 40_000]  # 0.8 分 a kWh of 400, of 450 and of 50 MWh
    assert deals.rows(
        """SELECT count(*) FROM guarantee_entry e WHERE kind = 'reserve' AND purpose_key = %s AND NOT EXISTS
           (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)""",
        f"agreed:{told[2]['contract_id']}",
    ) == [(1,)]


def agreed(deals: Deals, seller: Desk, buyer: Desk, mwh: str) -> dict[str, object]:
    """What the buyer is told that accepts the seller's offer of a month."""
    form = {"title": "年度双边", "side": "S", "invited": deals.parties["shop"]}
    answer = seller.post("/negotiations", form | {"until": (now() + timedelta(days=3)).isoformat()})
    path = f"/negotiations/{answer.json()['negotiation_id']}"
    assert buyer.post(f"{path}/join").status_code == 303
    line = {"month": [MONTH], "period": ["month"], "mwh": [mwh], "price": ["380"]}
    offered = seller.post(f"{path}/offers", line)
    assert offered.status_code == 201, offered.text
    deals.prove("shop")
    version = buyer.get(path).json()["versions"][0]
    answer = buyer.post(f"{path}/accept", {"version": 1, "sha256": version["sha256"]})
    return dict(answer.json())


def test_a_session_called_off_gives_back_every_bid(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("shop") as shop:
        number = session(operator)
        shop.post(f"/rolling/{number}/orders", {"side": "B", "price": "380", "mwh": "10", "period": "1"})
        before = reserved(deals, "shop")
        assert operator.post(f"/rolling/{number}/call-off").status_code < 400

    assert (before, reserved(deals, "shop")) == (19_000, 0)


def test_a_guarantee_that_lapses_stops_no_session_and_no_window(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("shop") as shop, deals.client("coal") as coal:
        number = session(operator)
        shop.post(f"/rolling/{number}/orders", {"side": "B", "price": "380", "mwh": "10", "period": "1"})
        coal.post(f"/rolling/{number}/orders", {"side": "S", "price": "380", "mwh": "10", "period": "1"})
        _, view = list_(coal, "30", sharing="prorata")
        shop.post(f"/listings/{view['listing_id']}/takes", {"mwh": "20"})
        order = shop.post(
            f"/rolling/{number}/orders", {"side": "B", "price": "370", "mwh": "10", "period": "2"}
        ).json()["order_seq"]
        before = reserved(deals, "shop")
        lapse(deals, "shop")
        smaller = [
            shop.post(f"/rolling/{number}/orders/{order}/replace", {"price": "370", "mwh": mwh}).status_code
            < 400
            for mwh in ("5", "6")
        ]
        refused = shop.post(
            f"/rolling/{number}/orders", {"side": "B", "price": "380", "mwh": "1", "period": "1"}
        )
        rung(deals, now() + timedelta(hours=3))

    assert before == 19_000 + 38_000 + 18_500  # 5 % of 10 and of 20 MWh at 380 yuan, and of 10 at 370
    assert smaller == [True, False]  # who asks for less is not refused what it has bound already
    assert (refused.status_code, refused.json()["problem"]) == (409, "over_guarantee")
    assert deals.rows("SELECT state FROM rolling_session WHERE rolling_id = %s", number) == [("closed",)]
    assert deals.rows("SELECT state FROM listing WHERE listing_id = %s", view["listing_id"]) == [("cleared",)]
    assert reserved(deals, "shop") == 24_000  # what was bound goes on as far as contracts of 30 MWh bind it


def test_an_overseer_counts_rooms_and_reads_none(deals: Deals) -> None:
    with deals.client("coal") as coal:
        form = {"title": "年度双边", "side": "S", "invited": deals.parties["mill"]}
        opened = coal.post("/negotiations", form | {"until": (now() + timedelta(days=3)).isoformat()})
        assert opened.status_code == 201, opened.text
    with psycopg.connect(deals.dsn) as conn:
        conn.execute("SET ROLE shoudian_api")
        conn.execute(
            "SELECT set_config('app.role', 'regulator', false), set_config('app.actor', 'user:0', false)"
        )
        seen = [
            conn.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in ("negotiation", "negotiation_event", "contract_transfer", "contract_transfer_event")
        ]
        counted = conn.execute("SELECT state, rooms FROM negotiation_counts()").fetchall()
        conn.execute("SELECT set_config('app.role', 'customer', false)")
        uncounted = conn.execute("SELECT state, rooms FROM negotiation_counts()").fetchall()

    assert seen == [(0,)] * 4
    assert counted == [("invited", 1)]
    assert uncounted == []
