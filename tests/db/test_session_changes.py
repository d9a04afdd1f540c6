"""What changes a result after the gate: strikes by two people; rests that go on rolling; certificates handed over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import psycopg
import pytest
import trade_world as world

from cloud import db
from cloud.contracts.store import life
from cloud.market import certificates as gec
from cloud.market.auction import Side
from cloud.market.rollbook import Stays
from cloud.market.run import carry, certify, clear, convene, host, rectify, roll, trade
from cloud.market.session import BadSession, Hours
from cloud.market.store import certificates, changes, clearings, greenstock, rests, sessions
from cloud.market.store.certificates import NewEntry, PlantRow
from cloud.security.access import Actor

WORKER, AFTER = world.WORKER, world.AFTER
SHELLS = rectify.Shells(clear.clear, host.take_over, clear.republish)


def seq_of(dsn: str, actor: Actor) -> int:
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            "SELECT seq FROM bid_event WHERE party_id = %s ORDER BY seq", (actor.party_id,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def strike(dsn: str, who: world.People, session_id: int, seq: int) -> None:
    """One asks, the other approves."""
    with psycopg.connect(dsn) as conn:
        change = rectify.ask_strike(conn, who.operator, session_id, seq, "错把 kWh 当 MWh", AFTER)
    with psycopg.connect(dsn) as conn:
        rectify.approve(conn, who.second, (session_id, change), "已核实", SHELLS, AFTER)


def test_a_declaration_is_struck_out_by_two_and_the_book_is_cleared_again(database: str) -> None:
    who, session_id = world.cleared_book(database)
    seq = seq_of(database, who.plants[0])
    with psycopg.connect(database) as conn:
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
        change = rectify.ask_strike(conn, who.operator, session_id, seq, "错把 kWh 当 MWh", AFTER)
        with pytest.raises(changes.Struck):
            rectify.ask_strike(conn, who.second, session_id, seq, "再申请一次", AFTER)
        with pytest.raises(rectify.SamePerson):
            rectify.approve(conn, who.operator, (session_id, change), "", SHELLS, AFTER)
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute(
                "INSERT INTO result_change_answer VALUES (%s, 'approved', '', now(), (SELECT asked_by FROM result_change))",
                (change,),
            )
        rectify.approve(conn, who.second, (session_id, change), "已核实", SHELLS, AFTER)
        row = sessions.find(conn, session_id)
        runs = clearings.runs_of(conn, session_id)
        first, second = (clearings.result_of(conn, session_id, run.run_no) for run in runs)

        assert row is not None
        assert row.state == "cleared"
        # By hand: without the 80 MWh at 350 only 60 at 380 are offered, and the bid of 400 takes them: 60 MWh at 390.
        assert [(each.volume_kwh, each.price_ticks) for each in second.prices[:1]] == [(60_000, 39_000)]
        assert first.fills[seq] == (80_000, 0)
        assert second.fills[seq] == (0, 0)
        assert runs[0].input_sha256 != runs[1].input_sha256
        for run in runs:
            assert clear.repeated(conn, session_id, run.run_no)[1] == run.result_sha256
        assert [(each.deed, each.reason) for each in sessions.events_of(conn, session_id)][-2:] == [
            ("strike", "错把 kWh 当 MWh"),
            ("clear", f"#{seq}: 错把 kWh 当 MWh"),
        ]
        assert conn.execute("SELECT party_id FROM notice WHERE key = 'declaration_struck'").fetchall() == [
            (who.plants[0].party_id,)
        ]
        for actor, seen in ((who.plants[0], [seq]), (who.plants[1], []), (who.second, [seq])):
            world.as_person(conn, actor)
            assert list(changes.struck_for(conn, session_id)) == seen
            is_staff = actor is who.second
            assert bool(conn.execute("SELECT FROM result_change").fetchall()) == is_staff
            assert bool(conn.execute("SELECT FROM result_change_answer").fetchall()) == is_staff


def test_nothing_is_struck_out_of_an_open_book_or_a_confirmed_result(database: str) -> None:
    who, session_id = world.cleared_book(database)
    seq = seq_of(database, who.plants[0])
    with psycopg.connect(database) as conn:
        open_id = world.announced(conn, who, number="TEST-02")
        sessions.ring(conn, world.DURING)
        with pytest.raises(rectify.NotStruck):
            rectify.ask_strike(conn, who.operator, open_id, seq, "还没截止", world.DURING)
        with pytest.raises(rectify.NoChange):
            rectify.ask_strike(conn, who.operator, session_id, seq + 1000, "没有这一笔", AFTER)
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
        clear.publish(conn, who.second, session_id, AFTER)
        with pytest.raises(rectify.NotStruck):
            rectify.ask_strike(conn, who.operator, session_id, seq, "没有异议", AFTER)
    late = AFTER + timedelta(days=5)
    with psycopg.connect(database) as conn:
        convene.dispute(conn, who.users[0], session_id, (None, "result", "价格异常"), late)
        convene.answer_dispute(conn, who.operator, 1, ("upheld", "成立，但已逾期"), late)
        with pytest.raises(rectify.NotStruck):
            rectify.ask_strike(conn, who.operator, session_id, seq, "异议逾期", late)


def test_an_upheld_objection_lets_two_people_correct_what_was_published(database: str) -> None:
    who, session_id = world.cleared_book(database)
    seq = seq_of(database, who.plants[0])
    with psycopg.connect(database) as conn:
        clear.clear(conn, who.operator, session_id, "", AFTER)
        piece = next(each for each in clearings.pieces_of(conn, session_id, 1) if each.sell_seq != seq)
        clear.check(conn, who.operator, session_id, (clear.Cut(piece.piece_no, 1_000, "断面限额"),), AFTER)
        clear.publish(conn, who.second, session_id, AFTER)
        first = sessions.find(conn, session_id)
    with psycopg.connect(database) as conn:
        convene.dispute(conn, who.plants[0], session_id, (seq, "declaration", "单位填错"), AFTER)
        convene.answer_dispute(conn, who.operator, 1, ("upheld", "成立"), AFTER)
    strike(database, who, session_id, seq)

    with psycopg.connect(database) as conn:
        row = sessions.find(conn, session_id)
        assert first is not None
        assert row is not None
        assert row.state == "published"
        assert row.final_run == max(run.run_no for run in clearings.runs_of(conn, session_id))
        assert row.final_run != first.final_run
        final = clearings.result_of(conn, session_id, row.final_run)
        for run in clearings.runs_of(conn, session_id):
            assert clear.repeated(conn, session_id, run.run_no)[1] == run.result_sha256
        live = conn.execute(
            "SELECT seller_unit, buyer_unit, version FROM contract WHERE state = 'effective' ORDER BY 1, 2"
        ).fetchall()
        void = conn.execute(
            "SELECT seller_unit, buyer_unit FROM contract WHERE state = 'void' ORDER BY 1, 2"
        ).fetchall()
        kept = [each for each in clearings.contracts_of(conn, session_id) if each.quantity_kwh]
    sellers, buyers = (
        [who.units[each.party_id or 0] for each in several] for several in (who.plants, who.users)
    )
    # By hand: the other plant's 60 MWh all go to the bid of 400, and of that pair the grid had cut all but 1 MWh.
    assert live == [(sellers[1], buyers[0], 2)]
    assert void == [(sellers[0], buyers[0]), (sellers[1], buyers[1])]
    assert [each.quantity_kwh for each in final.pieces] == [1_000]
    assert [(each.quantity_kwh, each.amount_fen) for each in kept] == [(1_000, 39_000)]


def test_a_contract_that_has_ended_meanwhile_stops_a_correction(database: str) -> None:
    who, session_id = world.cleared_book(database)
    seq = seq_of(database, who.plants[0])
    with psycopg.connect(database) as conn:
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
        ended, *_ = clear.publish(conn, who.second, session_id, AFTER)
    with psycopg.connect(database) as conn:
        convene.dispute(conn, who.plants[0], session_id, (seq, "declaration", "单位填错"), AFTER)
        convene.answer_dispute(conn, who.operator, 1, ("upheld", "成立"), AFTER)
        life.move(conn, life.find(conn, ended), life.Event("void", AFTER, "user:1", "不是我签的"))

    with pytest.raises(clear.ContractMoved):
        strike(database, who, session_id, seq)


def rolling_session(dsn: str) -> tuple[world.People, int]:
    """A session of 24 periods that is open, and goes on rolling with its rests."""
    hours = Hours(
        world.OPENS, world.FREEZES, world.FREEZES + timedelta(minutes=10), world.FREEZES + timedelta(hours=2)
    )
    with psycopg.connect(dsn) as conn:
        who = world.people(conn)
        session_id = world.announced(conn, who, "jibei-multiday-24@2", hours)
        sessions.ring(conn, world.DURING)
    return who, session_id


def test_what_an_auction_leaves_goes_on_in_the_rolling_book_in_its_order(database: str) -> None:
    later = world.FREEZES + timedelta(minutes=11)
    who, session_id = rolling_session(database)
    given = [
        (who.users[0], [(7, "400", "100")]),
        (who.plants[0], [(7, "410", "5"), (7, "420", "6")]),
        (who.plants[1], [(7, "380", "60")]),
        (who.users[1], [(7, "350", "8")]),
    ]
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        kept = [
            world.kept(*world.take(conn, session_id, [(actor, world.sent(who, actor, entries))]))
            for actor, entries in given
        ]
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        convene.look(conn, AFTER)
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (clear.Cut(1, 50_000, "断面限额"),), AFTER)
        clear.publish(conn, who.second, session_id, AFTER)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        assert carry.look(conn, later) == 0
        assert convene.look(conn, later) == 1
        assert carry.look(conn, later) == 1
        assert carry.look(conn, later) == 0
        # By hand: 60 MWh met; 40 of the bid of 400, both asks above it and the bid of 350 go on, in order of number.
        assert conn.execute(
            "SELECT period_no, side, price_ticks, quantity_kwh, terms FROM rolling_event ORDER BY seq"
        ).fetchall() == [
            (7, "B", 40_000, 40_000, "day"),
            (7, "S", 41_000, 5_000, "day"),
            (7, "S", 42_000, 6_000, "day"),
            (7, "B", 35_000, 8_000, "day"),
        ]
        assert [(each.place, bool(each.order_seq)) for each in rests.of_declaration(conn, kept[1].seq)] == [
            (0, True),
            (1, True),
        ]
        rolling_id = rests.rolling_after(conn, session_id)
        assert rolling_id is not None
    seller = who.plants[1]
    with psycopg.connect(database) as conn:
        world.as_person(conn, seller)
        unit = who.units[seller.party_id or 0]
        met = roll.submit(
            conn, seller, rolling_id, roll.OrderSent(7, Side.SELL, Stays.DAY, "340", "45", unit), later
        )
        # The higher bid first, then the other: both rests trade at their own prices.
        assert [(each.kwh, each.price_ticks) for each in met.trades] == [(40_000, 40_000), (5_000, 35_000)]
    with psycopg.connect(database) as conn:
        world.as_person(conn, who.users[1])
        order = rests.of_declaration(conn, kept[3].seq)[0].order_seq
        assert order is not None
        assert roll.cancel(conn, who.users[1], rolling_id, order, later).cancelled_kwh == 3_000
        assert rests.of_declaration(conn, kept[0].seq) == ()
    called_off_is_called_off(database, later)


def called_off_is_called_off(dsn: str, later: datetime) -> None:
    """Rests go on once, also where the rolling session is cancelled."""
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE rolling_session SET state = 'cancelled'")
        db.take_scope(conn, WORKER)
        assert carry.look(conn, later) == 0


def test_certificates_are_cleared_whole_and_handed_over_once(database: str) -> None:
    september = world.DECEMBER.replace(month=9)
    with psycopg.connect(database) as conn:
        who = world.people(conn)
        seller, other, buyer = who.plants[0], who.plants[1], who.users[0]
        unit = who.units[seller.party_id or 0]
        plant = PlantRow(unit, seller.party_id or 0, "示范风场", "示范风场", "wind", True, "示范备案")
        batch = gec.moved(
            gec.issued_account(plant.party_id), gec.held_account(plant.party_id), [gec.Serials(1, 11)]
        )
        certificates.put_plant(conn, plant, world.OPENS, "test")
        issued = NewEntry(gec.Kind.ISSUE, "issue:test", batch)
        certificates.post(conn, issued, world.OPENS, "test", (plant, september))
        plan = convene.Plan(
            *("TEST-G", "九月绿证", "", "jibei-gec-auction@1", (september,), world.OPENS.date(), world.HOURS)
        )
        later = replace(plan, months=(world.DECEMBER,))
        with pytest.raises(BadSession):
            convene.draft(conn, who.operator, later, world.OPENS - timedelta(hours=1))
        session_id = convene.draft(conn, who.operator, plan, world.OPENS - timedelta(hours=1))
        convene.announce(conn, who.second, session_id, world.OPENS - timedelta(hours=1))
        sessions.ring(conn, world.DURING)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)

        def sends(actor: Actor, entries: list[tuple[int, str, str]]) -> trade.Outcome:
            return world.take(conn, session_id, [(actor, world.sent(who, actor, entries))])[0]

        codes = [
            str(getattr(sends(actor, entries), "facts", {}).get("code"))
            for actor, entries in (
                (seller, [(1, "8", "11")]),  # it holds 10
                (other, [(1, "8", "1")]),  # it holds none
                (buyer, [(1, "9", "1.5")]),  # certificates are whole
            )
        ]
        assert codes == ["QTY_CAP", "QTY_CAP", "QTY_LOT"]
        world.kept(sends(seller, [(1, "8", "10")]))
        world.kept(sends(buyer, [(1, "9", "4")]))
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        convene.look(conn, AFTER)
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
        assert clear.publish(conn, who.second, session_id, AFTER, certify.hand_over) == ()
    with psycopg.connect(database) as conn:
        owed = conn.execute(
            "SELECT seller_id, buyer_id, mwh, price_ticks, amount_fen FROM green_claim"
        ).fetchall()
        assert owed == [(seller.party_id, buyer.party_id, 4, 850, 3_400)]
        held = conn.execute(
            "SELECT account, sum(upper(serials) - lower(serials)) FROM green_place GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert held == [(f"held/{seller.party_id}", 6), (f"held/{buyer.party_id}", 4)]
        assert conn.execute("SELECT count(*) FROM contract").fetchone() == (0,)
        assert greenstock.tradable_mwh(conn, [seller.party_id or 0, buyer.party_id or 0], september) == {
            seller.party_id: 6
        }
