"""Paying over real sockets: browser's API -> cloud -> simulated provider -> signed call -> ledger, and every way to cheat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pay_world as world
import psycopg
import pypdfium2
import pytest
from pay_world import HOME, MILL, SEPTEMBER, Served, balance, clock, rows, until
from psycopg.conninfo import make_conninfo

from cloud import db
from cloud.db import Pool
from cloud.outside.payments import errands
from cloud.outside.paysim.server import Simulator

OWED_FEN = 1_234_56
PROVIDERS = ("wechat", "alipay")


@dataclass
class Place:
    """What the tests of this module share; each uses an account of its own or counts what it changed."""

    dsn: str
    served: Served
    simulator: Simulator
    pool: Pool

    def order(
        self, provider: str, fen: int, account_id: str = MILL, login: str = "yunling", **form: str
    ) -> str:
        """Open an order as the customer and wait until the provider knows it."""
        with self.served.client(login) as client:
            asked = {
                "provider": provider,
                "purpose": "top_up",
                "amount_yuan": f"{fen // 100}.{fen % 100:02d}",
            }
            answer = client.post(f"/accounts/{account_id}/payments", data=asked | form)
            assert answer.status_code == 200, answer.text
            number = str(answer.json()["order_no"])
        until(lambda: self.simulator.book.find(provider, number), "the provider knows the order")
        until(lambda: self.state(number) == "pending", "the order waits for its payer")
        return number

    def state(self, order_no: str) -> str:
        """How the order stands with us."""
        return str(rows(self.dsn, "SELECT state FROM payment_order WHERE order_no = %s", order_no)[0][0])

    def calls(self, verdict: str) -> int:
        """How many calls came to that verdict."""
        found = rows(
            self.dsn, "SELECT coalesce(sum(calls), 0) FROM provider_call_count WHERE verdict = %s", verdict
        )
        return int(str(found[0][0]))

    def journals(self, order_no: str) -> int:
        """How many journals an order has."""
        found = rows(self.dsn, "SELECT count(*) FROM journal WHERE facts ->> 'order' = %s", order_no)
        return int(str(found[0][0]))


@pytest.fixture(scope="module")
def place(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    name = f"shoudian_pay_{os.getpid()}"
    folder = tmp_path_factory.mktemp("paysim")
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        dsn = make_conninfo(postgres_dsn, dbname=name)
        try:
            world.fill(dsn, clock())
            with (
                world.simulator(folder) as made,
                world.serving_here(dsn, _port(), folder, made) as served,
                db.open_pool(dsn, size_max=4) as pool,
            ):
                yield Place(dsn, served, made, pool)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_bill_is_paid_by_a_scanned_code_and_gets_its_receipt(place: Place, provider: str) -> None:
    account, login = (HOME, "zhou") if provider == "wechat" else (world.SHOP, "yunling")
    world.owe(place.dsn, account, SEPTEMBER, OWED_FEN, issued=world.long_ago(3), due=world.long_ago(-12))
    with place.served.client(login) as client:
        shown = client.get(f"/accounts/{account}/payments").json()
        assert (shown["owed_fen"], shown["overdue_fen"], shown["providers"]) == (
            OWED_FEN,
            0,
            ["wechat", "alipay"],
        )
        order = client.post(
            f"/accounts/{account}/payments", data={"provider": provider, "month": "2026-09"}
        ).json()
        path = f"/payments/{order['order_no']}"
        until(lambda: client.get(path).json()["state"] == "pending", "the order waits for its payer")
        page = client.get(path, headers={"accept": "text/html"}).text
        assert '<svg viewBox="0 0' in page
        assert "hx-get" in page

        assert place.simulator.pay(provider, order["order_no"]) is not None
        until(lambda: client.get(path).json()["state"] == "paid", "the order is paid")

        receipt = client.get(path).json()["receipt"]
        facts = client.get(receipt).json()
        assert "amount_fen" in facts, facts
        assert (facts["amount_fen"], facts["lines"]) == (
            OWED_FEN,
            [{"kind": "bill", "month": "2026-09", "amount_fen": OWED_FEN}],
        )
        pdf = client.get(f"{receipt}/pdf").content
        text = pypdfium2.PdfDocument(pdf)[0].get_textpage().get_text_range()
        assert facts["number"] in text
        assert "壹仟贰佰叁拾肆元伍角陆分" in text
        assert client.get(f"/accounts/{account}/payments").json()["owed_fen"] == 0
    assert balance(place.dsn, f"receivable/{account}") == 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_fifty_parallel_repeats_of_a_call_make_one_posting(place: Place, provider: str) -> None:
    before = balance(place.dsn, f"cash/{provider}")
    number = place.order(provider, 50_00)
    place.simulator.book.plan(provider, number, ("parallel:50",))

    place.simulator.pay(provider, number)

    until(
        lambda: len([e for e in world.diary(place.simulator, "called") if e["order_no"] == number]) >= 50,
        "all called",
    )
    answers = {e["status"] for e in world.diary(place.simulator, "called") if e["order_no"] == number}
    assert answers == {200}
    assert place.journals(number) == 1
    assert balance(place.dsn, f"cash/{provider}") - before == 50_00


def _noted(place: Place, number: str) -> object:
    """The status that the simulator was answered with."""
    called = (each for each in world.diary(place.simulator, "called") if each["order_no"] == number)
    return next((each["status"] for each in called), None)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        ("tampered", "forged"),
        ("forged", "forged"),
        ("stale", "stale"),
        ("other_app", "foreign"),
        ("other_seller", "foreign"),
        ("other_serial", "foreign"),
    ],
)
def test_an_untrue_call_is_refused_and_counted_and_the_true_one_taken(
    place: Place, provider: str, step: str, verdict: str
) -> None:
    verdict = "forged" if (provider, step) == ("alipay", "other_serial") else verdict
    number, counted = place.order(provider, 1_00), place.calls(verdict)
    place.simulator.book.plan(provider, number, (step,))

    place.simulator.pay(provider, number)

    until(lambda: place.calls(verdict) == counted + 1, "counted")
    noted = until(lambda: _noted(place, number), "the answer is noted")  # after it was counted
    assert (noted, place.state(number), place.journals(number)) == (401, "pending", 0)
    place.simulator.caller._begin(_trade(place, provider, number), ("good",))
    until(lambda: place.state(number) == "paid", "the true call is taken")


def test_a_nonce_used_again_with_another_message_is_refused(place: Place) -> None:
    first, second = place.order("wechat", 2_00), place.order("wechat", 3_00)
    place.simulator.pay("wechat", first)
    until(lambda: place.state(first) == "paid", "the first is paid")
    counted = place.calls("replayed")
    place.simulator.book.plan("wechat", second, ("same_nonce",))

    place.simulator.pay("wechat", second)

    until(lambda: place.calls("replayed") == counted + 1, "counted")
    assert place.state(second) == "pending"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_very_same_message_again_is_answered_and_books_nothing(place: Place, provider: str) -> None:
    number = place.order(provider, 4_00)
    place.simulator.book.plan(provider, number, ("good", "replay", "replay"))

    place.simulator.pay(provider, number)

    until(
        lambda: len([e for e in world.diary(place.simulator, "called") if e["order_no"] == number]) == 3,
        "three calls",
    )
    assert {e["status"] for e in world.diary(place.simulator, "called") if e["order_no"] == number} == {200}
    assert place.journals(number) == 1
    times = rows(place.dsn, "SELECT times, verdict FROM provider_call WHERE order_no = %s", number)
    assert times == [(3, "accepted")]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_money_of_another_amount_goes_to_suspense_and_not_to_the_customer(
    place: Place, provider: str
) -> None:
    number, suspense = place.order(provider, 5_00), balance(place.dsn, "suspense/payments")
    place.simulator.book.plan(provider, number, ("other_amount",))

    place.simulator.pay(provider, number)

    until(lambda: place.state(number) == "suspended", "suspended")
    assert balance(place.dsn, "suspense/payments") - suspense == -5_01
    with place.served.client("staff") as client:
        pool = client.get("/receivables/unplaced").json()["receipts"]
        assert [
            each["why"] for each in pool if each["amount_fen"] == 5_01 and each["channel"] == provider
        ] == ["mismatch"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_a_call_the_worker_asks_and_finds_it(place: Place, provider: str) -> None:
    number = place.order(provider, 6_00)
    place.simulator.book.plan(provider, number, ())
    place.simulator.pay(provider, number)
    offered = world.adapters(place.served)

    errands.look(place.pool, offered, place.served.base, clock() + timedelta(minutes=1))

    assert place.state(number) == "paid"
    assert rows(place.dsn, "SELECT found_by FROM receipt WHERE order_no = %s", number) == [("query",)]


def test_calls_in_another_order_are_each_taken(place: Place) -> None:
    first, second = place.order("alipay", 7_00), place.order("alipay", 8_00)
    place.simulator.book.plan("alipay", first, ("hold",))

    place.simulator.pay("alipay", first)
    place.simulator.pay("alipay", second)

    until(lambda: (place.state(first), place.state(second)) == ("paid", "paid"), "both are paid")


def test_an_order_nobody_pays_is_closed_there_and_here(place: Place) -> None:
    number = place.order("wechat", 9_00)

    errands.look(place.pool, world.adapters(place.served), place.served.base, clock() + timedelta(hours=1))

    assert place.state(number) == "closed"
    assert place.simulator.pay("wechat", number) is None


def test_pressing_twice_is_one_order(place: Place) -> None:
    assert place.order("wechat", 10_00) == place.order("wechat", 10_00)


def test_a_foreign_account_and_its_payments_do_not_exist_for_others(place: Place) -> None:
    number = place.order("wechat", 11_00)
    place.simulator.pay("wechat", number)
    until(lambda: place.state(number) == "paid", "paid")
    with place.served.client("yunling") as owner:
        receipt = owner.get(f"/payments/{number}").json()["receipt"]

    with place.served.client("zhou") as other:
        for path in (f"/payments/{number}", receipt, f"{receipt}/pdf", f"/accounts/{MILL}/payments"):
            assert other.get(path).status_code == 404, path
        tried = other.post(
            f"/accounts/{MILL}/payments", data={"provider": "wechat", "purpose": "top_up", "amount_yuan": "1"}
        )
        assert tried.status_code == 404
        assert other.get("/receivables").status_code == 403
        assert other.post("/receivables/requests/1/approve").status_code == 403


def test_forged_calls_cannot_fill_the_table(place: Place) -> None:
    with httpx.Client(base_url=place.served.base, trust_env=False) as anybody:
        assert anybody.post("/hooks/wechat", content=b"x" * 20_000).status_code == 413
        assert anybody.post("/hooks/nobody", content=b"{}").status_code == 404
        assert anybody.post("/hooks/alipay", content=b"a=1&a=2&sign=x").status_code == 401
        assert (
            anybody.post("/hooks/wechat", content=b"\xff\x00{", headers={"wechatpay-serial": "x"}).status_code
            == 401
        )
    with psycopg.connect(place.dsn) as conn:
        conn.execute(
            """INSERT INTO provider_call (provider, sha256, headers, body, received_at, last_at, verdict)
               SELECT 'alipay', sha256(n::text::bytea), '{}', '', now(), now(), 'forged' FROM generate_series(1, 600) n"""
        )
    before = rows(place.dsn, "SELECT count(*) FROM provider_call")
    counted = place.calls("forged")
    with httpx.Client(base_url=place.served.base, trust_env=False) as anybody:
        for number in range(5):
            assert anybody.post("/hooks/alipay", content=f"n={number}".encode()).status_code == 401
    assert rows(place.dsn, "SELECT count(*) FROM provider_call") == before
    assert place.calls("forged") == counted + 5
    place.simulator.book.plan("alipay", "", ("good",))
    number_after = place.order("alipay", 12_00)
    place.simulator.pay("alipay", number_after)
    until(lambda: place.state(number_after) == "paid", "a true call is taken all the same")
    kept = rows(place.dsn, "SELECT verdict FROM provider_call WHERE order_no = %s", number_after)
    assert kept == [("accepted",)]  # and kept as it came


def _trade(place: Place, provider: str, number: str):  # type: ignore[no-untyped-def]  # a simulator's own type
    found = place.simulator.book.find(provider, number)
    assert found is not None
    return found


def test_self_test_says_what_is_right_and_wrong(place: Place, tmp_path: Path) -> None:
    from cloud.config import load_config
    from cloud.outside.payments.selftest import findings

    found = list(findings(load_config(place.served.environ), world.adapters(place.served), clock()))

    assert [each.passes for each in found] == [False, True, True, True, True], world.dumped(
        [e.text for e in found]
    )
