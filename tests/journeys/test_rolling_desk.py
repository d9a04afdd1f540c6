"""Rolling matching over real HTTP: against an oracle, many at once, closed by its clock; and killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import deal_world
import httpx
import psycopg
import pytest
from deal_world import Deals, Desk, next_month

from cloud.db import transaction
from cloud.market.run import roll

MONTH = f"{next_month():%Y-%m}"


@pytest.fixture(scope="module")
def deals(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deals]:
    with deal_world.market(postgres_dsn, template_database, tmp_path_factory.mktemp("rolling")) as found:
        yield found


def announce(operator: Desk, **changed: object) -> int:
    now = datetime.now(UTC)  # noqa: TID251
    form: dict[str, object] = {
        "title": "月内滚动",
        "month": [MONTH],
        "labels": "month",
        "price_min": "300",
        "price_max": "450",
        "opens": (now - timedelta(minutes=1)).isoformat(),
        "closes": (now + timedelta(hours=2)).isoformat(),
    }
    answer = operator.post("/rolling", form | changed)
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rsplit("/", 1)[1])


def order(desk: Desk, session: int, side: str, price: str, mwh: str, **more: object) -> httpx.Response:
    return desk.post(f"/rolling/{session}/orders", {"side": side, "price": price, "mwh": mwh, **more})


def test_a_trade_appears_at_the_other_party_and_none_is_missed(deals: Deals) -> None:
    with (
        deals.client("operator") as operator,
        deals.client("coal") as coal,
        deals.client("mill") as mill,
        deals.client("wind") as wind,
    ):
        session = announce(operator, month=[MONTH, f"{next_month(2):%Y-%m}"])
        path = f"/rolling/{session}/events"
        assert mill.get(f"{path}?period=3").status_code == 404
        assert mill.get("/rolling/999999/events").status_code == 404
        with (
            coal.listening(path) as heard,
            wind.listening(path) as other,
            wind.listening(f"{path}?period=2") as book,
        ):
            order(coal, session, "S", "380", "10")
            assert "380.00" in other.wait("book")
            order(mill, session, "B", "380", "4")
            trade = json.loads(heard.wait("trade"))
            other.wait("trade")
            heard.wait("own")
        number = heard.last_id
        order(mill, session, "B", "380", "1")
        order(mill, session, "B", "381", "2")
        with coal.listening(path, number) as again:
            again.wait("seen")

    assert (trade["kwh"], trade["price_ticks"]) == (4_000, 38_000)
    assert {"party", "buyer_id", "seller_id", "buyer", "seller"}.isdisjoint(trade)
    assert [json.loads(each)["kwh"] for each in again.named("trade")] == [1_000, 2_000]
    assert "own" in [each[0] for each in heard.messages]
    assert all("coal" not in each[1] and "示范" not in each[1] for each in other.messages)
    assert book.named("trade") == []  # another book is not woken
    assert "own" not in {each[0] for each in other.messages if "4.000" in each[1]}


def oracle(events: list[tuple[object, ...]]) -> tuple[list[tuple[int, int, int, int]], dict[int, int]]:
    """The list-based definition of the reference (market.md 5) with self-match prevention, on events as the database has them.

    Events: (seq, op, order_seq, party, side, price, quantity). Gives trades (buy, sell, kWh, price) and what rests.
    """
    book: list[list[object]] = []
    trades: list[tuple[int, int, int, int]] = []
    for seq, op, of, party, side, price, quantity in events:
        if op == "cancel":
            book = [each for each in book if each[0] != of]
            continue
        if op == "close":
            book = []
            continue
        number, left = seq, quantity
        if op == "replace":
            hit = [each for each in book if each[0] == of]
            if not hit:
                continue
            if price == hit[0][2] and quantity <= hit[0][3]:  # type: ignore[operator]
                hit[0][3] = quantity
                continue
            number, side = of, hit[0][1]
            book.remove(hit[0])
        while left:
            met = [
                each
                for each in book
                if each[1] != side and (each[2] <= price if side == "B" else each[2] >= price)  # type: ignore[operator]
            ]
            if not met:
                break
            best = min(met, key=lambda each: each[2] if side == "B" else -each[2])  # type: ignore[operator, arg-type]
            if best[4] == party:
                left = 0
                break
            kwh = min(left, best[3])  # type: ignore[type-var]
            pair = (number, best[0]) if side == "B" else (best[0], number)
            trades.append((*pair, kwh, best[2]))  # type: ignore[arg-type]
            left -= kwh  # type: ignore[operator]
            best[3] -= kwh  # type: ignore[operator]
            book = [each for each in book if each[3]]
        if left:
            book.append([number, side, price, left, party])
    return trades, {each[0]: each[3] for each in book}  # type: ignore[misc]


LOG = """SELECT seq, op, order_seq, party_id, side, price_ticks, quantity_kwh FROM rolling_event
         WHERE rolling_id = %s AND period_no = 1 ORDER BY seq"""
TRADES = """SELECT buy_seq, sell_seq, kwh, price_ticks FROM rolling_trade WHERE rolling_id = %s AND period_no = 1
            ORDER BY trade_id"""


def test_many_at_once_trade_exactly_as_the_definition_says_on_the_log_that_is_left(deals: Deals) -> None:
    names = ("coal", "wind", "shop", "trade", "mill")
    with ExitStack() as stack:
        session = announce(stack.enter_context(deals.client("operator")))
        desks = [(name, stack.enter_context(deals.client(name))) for name in names for _ in range(3)]
        answers: list[int] = []

        def go(number: int, name: str, desk: Desk) -> None:
            for step in range(8):
                side = "S" if name in ("coal", "wind") or (name == "trade" and step % 2) else "B"
                price = f"{370 + (number * 7 + step * 5) % 21}"
                answer = order(desk, session, side, price, f"{1 + (number * 3 + step * 11) % 9}")
                answers.append(answer.status_code)
                if step % 3 == 2:
                    path = f"/rolling/{session}/orders/{answer.json()['order_seq']}"
                    answers.append(desk.post(f"{path}/cancel").status_code)
                elif step % 4 == 3:
                    path = f"/rolling/{session}/orders/{answer.json()['order_seq']}"
                    desk.post(f"{path}/replace", {"price": price, "mwh": "0.5"})

        threads = [threading.Thread(target=go, args=(n, *who)) for n, who in enumerate(desks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        book = desks[0][1].get(f"/rolling/{session}").json()["book"]

    assert set(answers) == {201}
    trades, resting = oracle(deals.rows(LOG, session))
    assert deals.rows(TRADES, session) == trades
    assert len(trades) > 20
    shown = sum(level["orders"] for level in (*book["bids"], *book["asks"]))
    assert 0 < shown <= len(resting)
    assert (
        not book["bids"]
        or not book["asks"]
        or book["bids"][0]["price_ticks"] < book["asks"][0]["price_ticks"]
    )


def test_an_order_is_refused_by_one_code_and_a_retry_gets_its_first_receipt(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("coal") as coal, deals.client("mill") as mill:
        session, elsewhere = announce(operator), announce(operator)
        codes = [
            order(coal, session, "S", price, mwh, **more).json()["problem"]
            for price, mwh, more in (
                ("NaN", "1", {}),
                ("380", "x", {}),
                ("450.01", "1", {}),
                ("299.99", "1", {}),
                ("380.005", "1", {}),
                ("380", "0", {}),
                ("380", "0.0005", {}),
                ("380", "1", {"period": 2}),
            )
        ]
        form = {"client_key": str(uuid4())}
        first = order(coal, session, "S", "380", "5", **form)
        again = order(coal, session, "S", "380", "5", **form)
        fresh, answers = {"client_key": str(uuid4())}, []
        threads = [
            threading.Thread(
                target=lambda book: answers.append(order(coal, book, "S", "381", "5", **fresh).status_code),
                args=(book,),
            )
            for book in (session, elsewhere) * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        foreign = mill.post(f"/rolling/{session}/orders/{first.json()['order_seq']}/cancel")
        wrong_side = order(coal, session, "B", "380", "1")

        assert codes == [
            *(
                "order_price_invalid",
                "order_qty_invalid",
                "order_price_above_limit",
                "order_price_below_limit",
            ),
            *("order_price_tick", "order_qty_nonpositive", "order_qty_lot", "order_period_unknown"),
        ]
        assert first.json() == again.json()
        assert sorted(answers) == [201] * 4 + [409] * 4
        sent = "SELECT count(*) FROM rolling_event WHERE rolling_id = ANY(%s)"
        assert deals.rows(sent, [session, elsewhere]) == [(2,)]
        assert (foreign.status_code, wrong_side.json()["problem"]) == (404, "order_not_eligible")


def test_a_bid_below_zero_binds_no_guarantee(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("shop") as shop, deals.client("coal") as coal:
        session = announce(operator, price_min="", price_max="")
        bid = order(shop, session, "B", "-5", "10")
        met = order(coal, session, "S", "-5", "10")

        assert (bid.status_code, met.status_code) == (201, 201)
        assert deals.rows("SELECT kwh, price_ticks FROM rolling_trade WHERE rolling_id = %s", session) == [
            (10_000, -500)
        ]
        purpose = f"rolling:bid:{bid.json()['order_seq']}"
        assert deals.rows("SELECT FROM guarantee_entry WHERE purpose_key = %s", purpose) == []


def test_fill_and_kill_fill_or_kill_and_no_trade_with_oneself(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("trade") as trade, deals.client("coal") as coal:
        session = announce(operator)
        order(coal, session, "S", "380", "5")
        whole = order(trade, session, "B", "380", "6", stays="fok").json()
        part = order(trade, session, "B", "380", "2", stays="fok").json()
        rest = order(trade, session, "B", "380", "9", stays="fak").json()
        order(trade, session, "S", "385", "4")
        own = order(trade, session, "B", "385", "4").json()
        gone = trade.post(f"/rolling/{session}/orders/{own['order_seq']}/cancel").json()

    assert (whole["traded_kwh"], whole["cancelled_kwh"]) == (0, 6_000)
    assert (part["traded_kwh"], part["resting_kwh"]) == (2_000, 0)
    assert (rest["traded_kwh"], rest["cancelled_kwh"], rest["resting_kwh"]) == (3_000, 6_000, 0)
    assert (own["is_self_match"], own["traded_kwh"], own["cancelled_kwh"]) == (True, 0, 4_000)
    assert gone["cancelled_kwh"] == 0  # cancelling what is not there is no error


def test_at_the_close_rests_expire_and_every_pair_has_one_contract(deals: Deals) -> None:
    with deals.client("operator") as operator, deals.client("shop") as shop, deals.client("coal") as coal:
        session = announce(operator)
        free = deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"])[0][0]
        order(coal, session, "S", "380", "5")
        order(coal, session, "S", "381", "10")
        order(shop, session, "B", "381", "15")
        order(shop, session, "B", "350", "100")
        with deal_world.worker(deals.dsn) as pool:
            later = datetime.now(UTC) + timedelta(hours=3)  # noqa: TID251
            with transaction(pool, roll.CLOCK) as conn:
                made = roll.close(conn, session, later)
            with transaction(pool, roll.CLOCK) as conn:
                assert roll.close(conn, session, later) == made  # safe to repeat
        late = order(shop, session, "B", "381", "1")

        rows = deals.rows(
            """SELECT v.mwh::text, v.price_yuan_per_mwh::text, c.kind FROM wholesale_contract c
               JOIN wholesale_volume v USING (contract_id, version) WHERE c.contract_id = ANY(%s)""",
            list(made),
        )
        assert rows == [("15.000", "380.666667", "rolling")]  # (5 x 380 + 10 x 381) / 15
        assert late.json()["problem"] == "order_gate_closed"
        assert deals.rows(LOG, session)[-1][1] == "close"
        reserved = deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"])[0][0]
        assert (
            int(str(reserved)) - int(str(free)) == 12_000
        )  # 0.8 分 for each of 15 000 kWh: the unfilled bid is free again
        assert coal.get(f"/rolling/{session}").json()["contracts"] == list(made)


@contextmanager
def killed_later(dsn: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = os.environ | {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
        "SHOUDIAN_FILES_FOLDER": str(folder),
        "SHOUDIAN_HTTP_HOST": "127.0.0.1",
        "SHOUDIAN_HTTP_PORT": str(port),
    }
    command = [sys.executable, "-m", "cloud", "serve"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{base}/healthz", trust_env=False, timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield base, process
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(240)  # starts a process of its own
def test_a_killed_server_leaves_the_log_and_the_next_one_the_same_book(deals: Deals, tmp_path: Path) -> None:
    with deals.client("operator") as operator:
        session = announce(operator)
    acked: list[int] = []
    with killed_later(deals.dsn, tmp_path) as (base, process):
        away = Deals(deals.dsn, base, deals.app, deals.parties, deals.users, deals.factors)
        with ExitStack() as stack:
            desks = [stack.enter_context(away.client(name)) for name in ("coal", "mill")]

            def go(number: int, desk: Desk) -> None:
                side = "B" if number % 2 else "S"
                for step in range(400):
                    try:
                        answer = order(desk, session, side, f"{375 + (number + step) % 9}", "1.5")
                    except httpx.TransportError:
                        return
                    if answer.status_code == 201:
                        acked.append(answer.json()["order_seq"])
                    if len(acked) == 20:
                        process.send_signal(signal.SIGKILL)

            threads = [threading.Thread(target=go, args=each) for each in enumerate(desks)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.3)  # the dead server's open transactions are rolled back
    kept = deals.rows(LOG, session)
    trades, resting = oracle(kept)

    with deals.client("mill") as mill:  # another process, which has never seen this book
        after = order(mill, session, "B", "300", "1").json()
        book = mill.get(f"/rolling/{session}").json()["book"]

    assert set(acked) <= {row[0] for row in kept}
    assert deals.rows(TRADES, session) == trades
    assert after["resting_kwh"] == 1_000
    best = {}
    with psycopg.connect(deals.dsn) as conn:
        for seq, kwh in resting.items():
            row = conn.execute(
                "SELECT side, price_ticks FROM rolling_event WHERE seq = %s", (seq,)
            ).fetchone()
            assert row is not None
            best[tuple(row)] = best.get(tuple(row), 0) + kwh
    shown = {("S", level["price_ticks"]): level["kwh"] for level in book["asks"]}
    shown |= {("B", level["price_ticks"]): level["kwh"] for level in book["bids"]}
    assert {key: kwh for key, kwh in shown.items() if key != ("B", 30_000)} == {
        key: kwh for key, kwh in best.items() if key in shown
    }
    assert len(acked) >= 20
