"""What binds a guarantee, from the declaration to the contract: margins, seals, and who may come in first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import contract_world as deal
import deal_world
import psycopg
import pytest
import trade_world as world

from cloud import db
from cloud.contracts.document import Changes
from cloud.contracts.run.desk import bond, draft, sign, turn
from cloud.contracts.run.desk import deal as deal_desk
from cloud.contracts.run.desk.deal import retract
from cloud.contracts.store import wholesale
from cloud.db import Conn, ProcessRole, Scope, open_pool, transaction
from cloud.market.run import bound, clear, convene, trade
from cloud.market.store import sessions
from cloud.parties.store import guarantees, standings

WORKER = Scope(ProcessRole.WORKER, actor="test")
AFTER = world.FREEZES + timedelta(seconds=1)
PEAK = 1
COOLED = deal.NOW + timedelta(hours=73)


def test_a_retailers_bid_binds_its_guarantee_and_a_cancelled_session_gives_it_back(database: str) -> None:
    who, session_id = world.opened(database, retailers=1)
    seller = who.retailers[0]
    assert seller.party_id is not None
    now = world.DURING
    world.guaranteed(database, seller.party_id, now)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        # 5 % of 100 MWh at 400 yuan is 2000 yuan: the whole guarantee, equality passes
        one = world.kept(
            *world.take(conn, session_id, [(seller, world.sent(who, seller, [(PEAK, "400", "100")]))])
        )
        assert (one.margin_fen, standings.free_fen(conn, seller.party_id, now)) == (200_000, 0)
        more = world.sent(who, seller, [(PEAK, "400", "100.001")], replaces=one.seq)
        refused = world.take(conn, session_id, [(seller, more)])[0]
        assert isinstance(refused, trade.Declined)
        assert refused.facts["code"] == "MARGIN"
        assert standings.free_fen(conn, seller.party_id, now) == 0
        less = world.sent(who, seller, [(PEAK, "400", "50")], replaces=one.seq)
        world.kept(*world.take(conn, session_id, [(seller, less)]))
        assert standings.free_fen(conn, seller.party_id, now) == 100_000
    with psycopg.connect(database) as conn:
        world.as_person(conn, who.operator)
        convene.cancel(conn, who.operator, session_id, "系统故障", now)
        db.take_scope(conn, WORKER)
        assert standings.free_fen(conn, seller.party_id, now) == 200_000
        assert conn.execute("SELECT margin_fen FROM trading_exposure").fetchall() == [(0,)]


def test_staff_read_of_a_guarantee_nothing_that_a_sealed_bid_binds_until_the_gate(database: str) -> None:
    who, session_id = world.opened(database, retailers=1)
    seller, now = who.retailers[0], world.DURING
    assert seller.party_id is not None
    world.guaranteed(database, seller.party_id, now)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        one = world.kept(
            *world.take(conn, session_id, [(seller, world.sent(who, seller, [(PEAK, "400", "10")]))])
        )
        less = world.sent(who, seller, [(PEAK, "400", "5")], replaces=one.seq)
        world.kept(*world.take(conn, session_id, [(seller, less)]))
        told = [guarantees.told_fen(conn, seller.party_id)]
    seen = []
    for reader in (who.operator, seller):
        with psycopg.connect(database) as conn:
            world.as_person(conn, reader)
            entries = guarantees.entries(conn, seller.party_id)
            reserves = [(each.kind, each.amount_fen) for each in entries if each.kind != "lodge"]
            seen.append((reserves, standings.free_fen(conn, seller.party_id, now)))
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        convene.look(conn, AFTER)
        told.append(guarantees.told_fen(conn, seller.party_id))
    with psycopg.connect(database) as conn:
        world.as_person(conn, who.operator)
        after = guarantees.entries(conn, seller.party_id), standings.free_fen(conn, seller.party_id, now)

    own = [
        ("reserve", 10_000),
        ("release", 20_000),
        ("reserve", 20_000),
    ]  # 5 % of 10 and of 5 MWh at 400 yuan
    assert seen == [([], 200_000), (own, 190_000)]
    assert told == [0, 10_000]
    assert (len(after[0]), after[1]) == (4, 190_000)


def test_in_the_first_minutes_only_better_grades_declare_and_then_time_decides(database: str) -> None:
    with psycopg.connect(database) as conn:
        who = world.people(conn)
        session_id = world.announced(conn, who, rule="jibei-monthly-credit@1")
        sessions.ring(conn, world.OPENS)
        first, other = who.plants
        conn.execute(
            """INSERT INTO credit_score (party_id, model, model_sha256, at, points, grade, factors, rules, made_by)
               VALUES (%s, 'test@1', repeat('0', 64), %s, 95, 'AAA', '[]', '[]', 'test')""",
            (first.party_id, world.OPENS - timedelta(days=1)),
        )
    early, late = world.OPENS + timedelta(minutes=2, seconds=59), world.OPENS + timedelta(minutes=3)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        told = [
            world.take(conn, session_id, [(actor, world.sent(who, actor, [(PEAK, "350", "10")]))], now=at)[0]
            for actor, at in ((other, early), (first, early), (other, late))
        ]

    assert isinstance(told[0], trade.Closed)
    assert (told[0].key, told[0].facts["opens"]) == ("credit_first", "09:03")
    assert [isinstance(each, trade.Closed) for each in told[1:]] == [False, False]


def test_a_published_contract_binds_what_the_rule_says_and_the_rest_of_the_bid_is_free(database: str) -> None:
    who, session_id = world.opened(database, retailers=1)
    seller, now = who.retailers[0], world.DURING
    assert seller.party_id is not None
    world.guaranteed(database, seller.party_id, now)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        for actor, price, mwh in (
            (seller, "400", "100"),
            (who.plants[0], "350", "30"),
            (who.plants[1], "360", "10"),
        ):
            world.kept(*world.take(conn, session_id, [(actor, world.sent(who, actor, [(PEAK, price, mwh)]))]))
        convene.look(conn, AFTER)
        held_fen = [guarantees.balances(conn, seller.party_id, AFTER.date())[1]]
    with psycopg.connect(database) as conn:
        world.as_person(conn, who.operator)
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
        world.as_person(conn, who.second)
        contracts = clear.publish(conn, who.second, session_id, AFTER)
    with psycopg.connect(database) as conn:
        held_fen.append(guarantees.balances(conn, seller.party_id, AFTER.date())[1])
        held = conn.execute(
            """SELECT purpose_key, amount_fen FROM guarantee_entry e WHERE kind = 'reserve' AND NOT EXISTS
               (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key) ORDER BY 2"""
        ).fetchall()

    assert held_fen == [200_000, 32_000]  # 5 % of 100 MWh at 400 yuan; 0.8 分 for each of 40 000 kWh
    assert [fen for _, fen in held] == [8_000, 24_000]
    assert {key for key, _ in held} == {f"contract:{each}" for each in contracts}


def test_a_retailers_contract_is_held_until_its_guarantee_covers_it(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as owner, open_pool(database, size_max=4) as pool:
        made = deal.build(owner, pool, tmp_path / "vault")
        contract_id = deal.drawn(made)
        deal.signed_by_both(made, contract_id)
        buyer = retailing(owner, made)
        held = turn.look(pool, COOLED)
        told = owner.execute(
            "SELECT DISTINCT facts->>'problem' FROM notice WHERE key = 'contract.blocked'"
        ).fetchall()
        assert (held.effective, held.refused, len(told)) == ((), (contract_id,), 1)
        assert wholesale.of_month(owner, date(2026, 9, 1)) == ()

        deal_world.lodge(owner, buyer, 1_760_000)  # 0.8 分 for each of 2 200 000 kWh: equality passes
        assert turn.look(pool, COOLED).effective == (contract_id,)

        entries = owner.execute(
            "SELECT purpose_key, amount_fen FROM guarantee_entry WHERE kind = 'reserve'"
        ).fetchall()
    assert entries == [(f"contract:{contract_id}", 1_760_000)]


def test_a_studio_contract_is_signed_within_guarantee_and_limit_only_and_binds_with_its_last_signature(
    database: str, tmp_path: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as owner, open_pool(database, size_max=4) as pool:
        made = deal.build(owner, pool, tmp_path / "vault")
        buyer = retailing(owner, made)
        first, second = (
            deal.drawn(made),
            deal.drawn(made, wished=deal.wish(volumes="2026-10 month 0.001 400")),
        )
        for contract_id in (first, second):  # the seller is told nothing of the buyer's guarantee and limit
            deal.signed(made, made.seller, contract_id, deal.NOW)
        with pytest.raises(bond.GuaranteeShort):
            deal.confirmed(made, made.buyer, first, deal.NOW)
        deal_world.lodge(owner, buyer, 1_760_000)
        limited(owner, buyer, 2_199_999)
        with pytest.raises(bond.OverLimit):
            deal.confirmed(made, made.buyer, first, deal.NOW)
        limited(owner, buyer, 2_200_000)
        assert deal.signed(made, made.buyer, first, deal.NOW)
        assert reserves(owner) == [(f"agreed:{first}:1", 1_760_000)]

        with pytest.raises(bond.OverLimit):
            deal.confirmed(made, made.buyer, second, deal.NOW)
        limited(owner, buyer, 2_200_001)
        with pytest.raises(bond.GuaranteeShort):
            deal.confirmed(made, made.buyer, second, deal.NOW)
        with transaction(pool, made.scope(made.seller)) as conn:
            retract(conn, made.ask(conn, made.seller, deal.NOW), first, "反悔")
        bound.ring(pool, deal.NOW)
        assert reserves(owner) == []
        assert deal.signed(made, made.buyer, second, deal.NOW)
        turn.look(pool, COOLED)

        assert reserves(owner) == [(f"contract:{second}", 1)]  # 0.8 分


def test_a_supplement_of_a_trade_is_signed_within_the_guarantee_only(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as owner, open_pool(database, size_max=4) as pool:
        made = deal.build(owner, pool, tmp_path / "vault")
        contract_id = deal.drawn(made)
        deal.signed_by_both(made, contract_id)
        turn.look(pool, COOLED)
        buyer = retailing(owner, made)
        owner.execute("SET session_replication_role = replica")  # as if a session had matched it
        owner.execute("UPDATE contract SET kind = 'confirmation' WHERE contract_id = %s", (contract_id,))
        owner.execute("SET session_replication_role = origin")
        deal_world.lodge(owner, buyer, 2_399_999)
        number, at = deal.agreed_request(made, contract_id, "amend"), COOLED + timedelta(hours=2)
        values = {"supplement_text": "加量", "volumes": "2026-09 month 2000 400\n2026-10 month 1000 401.20"}
        wished = draft.Wish("wholesale-supplement", 1, values | {"cooling_hours": "24"}, Changes())
        with transaction(pool, made.scope(made.seller)) as conn:
            paper_no = deal_desk.draw_for(conn, made.ask(conn, made.seller, at), number, wished)
            draft.send(conn, made.ask(conn, made.seller, at), contract_id, paper_no)
        deal.signed(made, made.seller, contract_id, at, paper_no)

        with pytest.raises(bond.GuaranteeShort):  # 0.8 分 for each of 3 000 000 kWh is one fen more
            deal.confirmed(made, made.buyer, contract_id, at, paper_no)
        deal_world.lodge(owner, buyer, 1)
        assert deal.signed(made, made.buyer, contract_id, at, paper_no)
        assert turn.look(pool, at + timedelta(hours=25)).applied == (contract_id,)
        assert reserves(owner) == [(f"contract:{contract_id}:2", 2_400_000)]


def test_two_contracts_signed_at_once_do_not_share_one_guarantee(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as owner, open_pool(database, size_max=6) as pool:
        made = deal.build(owner, pool, tmp_path / "vault")
        deal_world.lodge(owner, retailing(owner, made), 1_760_000)
        numbers = []
        for _ in range(2):
            contract_id = deal.drawn(made)
            deal.signed(made, made.seller, contract_id, deal.NOW)
            numbers.append((contract_id, deal.confirmed(made, made.buyer, contract_id, deal.NOW)))

        def sign_one(each: tuple[str, int]) -> bool:
            try:
                with transaction(pool, made.scope(made.buyer)) as conn:
                    ask = made.ask(conn, made.buyer, deal.NOW + timedelta(seconds=numbers.index(each)))
                    ready.wait()
                    return sign.sign(conn, ask, each[0], 1, each[1])
            except bond.GuaranteeShort:
                return False

        ready = threading.Barrier(2)
        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(sign_one, numbers))

        assert sorted(done) == [False, True]
        (kept,) = reserves(owner)
    assert kept == (f"agreed:{numbers[done.index(True)][0]}:1", 1_760_000)


def test_what_is_held_until_its_month_is_over_never_comes_into_force(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as owner, open_pool(database, size_max=4) as pool:
        made = deal.build(owner, pool, tmp_path / "vault")
        late = datetime(2026, 8, 28, 12, tzinfo=UTC)  # cooled at 20:01 of 31 August, Beijing
        short = deal.drawn(made, late, wished=deal.wish(volumes="2026-08 month 1 400"))
        deal.signed_by_both(made, short, late)
        held = deal.drawn(made, wished=deal.wish(volumes="2026-09 month 1000 400"))
        deal.signed_by_both(made, held)
        # the clock came five hours late, the month is over, and what was due before is done as if it were then
        in_time = turn.look(pool, datetime(2026, 8, 31, 17, tzinfo=UTC))
        assert set(in_time.effective) == {short, held}

        held = deal.drawn(made, late, wished=deal.wish(volumes="2026-09 month 1000 400"))
        deal.signed_by_both(made, held, late)
        buyer = retailing(owner, made)
        assert turn.look(pool, late + timedelta(hours=73)).refused == (held,)
        deal_world.lodge(owner, buyer, 1_000_000)
        assert turn.look(pool, datetime(2026, 10, 1, 16, tzinfo=UTC)).refused == (held,)  # 2 October, Beijing

        problems = owner.execute(
            "SELECT facts->>'problem' FROM notice WHERE key = 'contract.blocked' ORDER BY notice_id DESC LIMIT 1"
        ).fetchone()
        assert problems is not None
        assert problems[0].startswith("delivery_over")
        assert reserves(owner) == []


def test_contracts_from_before_anything_was_bound_are_caught_up_once(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as owner, open_pool(database, size_max=4) as pool:
        made = deal.build(owner, pool, tmp_path / "vault")
        first, second = deal.drawn(made), deal.drawn(made)
        for contract_id in (first, second):
            deal.signed_by_both(made, contract_id)
        turn.look(pool, COOLED)
        buyer, later = retailing(owner, made), COOLED + timedelta(hours=2)
        assert (bound.ring(pool, later), reserves(owner)) == (0, [])  # nothing is lodged yet
        deal_world.lodge(owner, buyer, 2_760_000)
        assert (bound.ring(pool, COOLED), bound.ring(pool, later), bound.ring(pool, later)) == (0, 2, 0)
        # 0.8 分 for each of 2 200 000 kWh, and for the second what is left
        assert reserves(owner) == [(f"contract:{first}", 1_760_000), (f"contract:{second}", 1_000_000)]
        deal_world.lodge(owner, buyer, 2_760_000)
        assert bound.ring(pool, later) == 0


def retailing(owner: Conn, made: deal.World) -> int:
    """Let the buyer be one who must lodge a guarantee; return its party."""
    assert made.buyer.party_id is not None
    owner.execute("SET session_replication_role = replica")
    owner.execute(
        "UPDATE party SET kind = 'retailer', subkind = 'independent' WHERE party_id = %s",
        (made.buyer.party_id,),
    )
    owner.execute("SET session_replication_role = origin")
    return made.buyer.party_id


def limited(owner: Conn, party_id: int, kwh: int) -> None:
    """Let a party's credit grade allow so much."""
    owner.execute(
        """INSERT INTO guarantee_requirement (party_id, rule, rule_sha256, at, grade, volumes, base_fen, required_fen,
                                              limit_kwh, made_by)
           VALUES (%s, 'test', repeat('0', 64), %s, 'A', '{}', 0, 0, %s, 'test')""",
        (party_id, deal.NOW - timedelta(hours=1), kwh),
    )


def reserves(owner: Conn) -> list[tuple[str, int]]:
    """What is bound now, by name."""
    rows = owner.execute(
        """SELECT purpose_key, amount_fen FROM guarantee_entry e WHERE kind = 'reserve' AND NOT EXISTS
           (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key) ORDER BY 1"""
    )
    return [(str(key), int(fen)) for key, fen in rows]
