"""Trading sessions on a real database: sealed books, the gate, clearing, publication, margins, tampering."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
import trade_world as world

from cloud import db
from cloud.db import Conn, ProcessRole, Scope
from cloud.lives import NoSuchMove
from cloud.market import certificates as gec
from cloud.market.auction import AtMargin, PriceRule, Side
from cloud.market.closedbook import BookChanged, bids_of
from cloud.market.rollbook import Stays
from cloud.market.run import carry, certify, clear, convene, host, rectify, roll, trade
from cloud.market.session import SESSION, STATES, BadSession, Hours
from cloud.market.sessionbook import Way, book_sha256
from cloud.market.sessionfile import Method
from cloud.market.store import certificates, changes, clearings, greenstock, orders, rests, sessions
from cloud.market.store.certificates import NewEntry, PlantRow
from cloud.parties.store import standings
from cloud.security.access import Actor

WORKER = Scope(ProcessRole.WORKER, actor="test")
AFTER = world.FREEZES + timedelta(seconds=1)
PEAK, FLAT = 1, 2


def cleared_book(dsn: str) -> tuple[world.People, int]:
    """Two plants and two users; CA-106 of the case file has its own test: here a hand-made book.

    Peak: bids 100@400 and 50@390, asks 80@350 and 60@380: the last pair is 390 with 380, 140 MWh trade. Flat: nobody meets.
    """
    who, session_id = world.opened(dsn)
    given = [
        (who.users[0], [(PEAK, "400", "100"), (FLAT, "310", "10")]),
        (who.users[1], [(PEAK, "390", "50")]),
        (who.plants[0], [(PEAK, "350", "80"), (FLAT, "330", "10")]),
        (who.plants[1], [(PEAK, "380", "60")]),
    ]
    with psycopg.connect(dsn) as conn:
        db.take_scope(conn, WORKER)
        for actor, entries in given:
            world.kept(*world.take(conn, session_id, [(actor, world.sent(who, actor, entries))]))
    with psycopg.connect(dsn) as conn:
        db.take_scope(conn, WORKER)
        assert convene.look(conn, AFTER) == 1
    return who, session_id


def test_the_life_is_the_same_table_in_code_and_database(database: str) -> None:
    with psycopg.connect(database) as conn:
        there = set(conn.execute("SELECT before, after FROM session_move").fetchall())

    assert there == {(before, after) for (before, _), after in SESSION.moves.items() if before is not None}


def test_four_eyes_announce_and_publish(database: str) -> None:
    who, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        plan = convene.Plan(
            "TEST-02", "第二场", "", "jibei-monthly-auction@1", (world.DECEMBER,), world.OPENS.date()
        )
        other = convene.draft(conn, who.operator, plan, world.OPENS - timedelta(hours=2))
        with pytest.raises(convene.SamePerson):
            convene.announce(conn, who.operator, other, world.OPENS - timedelta(hours=2))
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
        with pytest.raises(clear.SamePerson):
            clear.publish(conn, who.operator, session_id, AFTER)


def test_nobody_reads_a_sealed_declaration_before_the_gate(database: str) -> None:
    who, session_id = world.opened(database)
    buyer = who.users[0]
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        world.take(conn, session_id, [(buyer, world.sent(who, buyer, [(PEAK, "400", "100")]))])
    seen = {}
    with psycopg.connect(database) as conn:
        for name, actor in (("owner", buyer), ("other", who.users[1]), ("staff", who.operator)):
            world.as_person(conn, actor)
            seen[name] = len(conn.execute("SELECT seq FROM bid_event").fetchall())
            if name == "staff":
                counted = orders.counts(conn, session_id, world.OPENS)
                assert (counted.events, counted.parties) == (1, 1)
                assert conn.execute("SELECT margin_fen FROM trading_exposure").fetchall() == []
    assert seen == {"owner": 1, "other": 0, "staff": 0}

    with psycopg.connect(database) as conn:
        world.as_person(conn, who.operator)
        convene.freeze(conn, who.operator, session_id, "演练", world.DURING)
        assert len(conn.execute("SELECT seq FROM bid_event WHERE kind = 'SUBMIT'").fetchall()) == 1
        world.as_person(conn, who.users[1])
        assert conn.execute("SELECT seq FROM bid_event").fetchall() == []


def test_a_process_of_pages_cannot_write_into_a_book(database: str) -> None:
    _, session_id = world.opened(database)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, Scope(ProcessRole.API, "staff"))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute(
                """INSERT INTO bid_event (session_id, kind, period, price_ticks, quantity_kwh, margin_fen, content_sha256, at, actor)
                   VALUES (%s, 'CLOSE', '{}', '{}', '{}', 0, sha256(''), now(), 'x')""",
                (session_id,),
            )
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            orders.gates(conn, [session_id], world.DURING)
        db.take_scope(conn, Scope(ProcessRole.API, "customer", 1))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            orders.close(conn, session_id, "x", world.DURING)


def test_evidence_is_only_added_to(database: str) -> None:
    who, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        clear.clear(conn, who.operator, session_id, "", AFTER)
        for table in ("bid_event", "clearing_run", "clearing_fill", "clearing_piece", "session_event"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(f"DELETE FROM {table}")
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute("UPDATE trading_session SET book_sha256 = repeat('0', 64)")
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute("UPDATE trading_session SET freezes_at = freezes_at + interval '1 hour'")


def test_a_retry_gets_the_first_answer_also_after_the_gate(database: str) -> None:
    who, session_id = world.opened(database)
    buyer = who.users[0]
    declared = world.sent(who, buyer, [(PEAK, "400.00", "100")])
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        first = world.kept(*world.take(conn, session_id, [(buyer, declared)]))
        again = world.kept(*world.take(conn, session_id, [(buyer, declared)]))
        same = world.sent(who, buyer, [(PEAK, "400", "100.000")], key=declared.client_key)
        otherwise = world.sent(who, buyer, [(PEAK, "401", "100")], key=declared.client_key)
        assert world.kept(*world.take(conn, session_id, [(buyer, same)])) == first == again
        assert isinstance(world.take(conn, session_id, [(buyer, otherwise)])[0], trade.KeyReused)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        convene.look(conn, AFTER)
        late = world.sent(who, buyer, [(PEAK, "400", "100")])
        assert world.kept(*world.take(conn, session_id, [(buyer, declared)], AFTER)) == first
        assert isinstance(world.take(conn, session_id, [(buyer, late)], AFTER)[0], trade.Closed)
        assert conn.execute("SELECT count(*) FROM bid_event WHERE kind = 'SUBMIT'").fetchone() == (1,)


def test_only_what_stands_is_replaced_and_a_withdrawal_ends_the_chain(database: str) -> None:
    who, session_id = world.opened(database)
    buyer = who.users[0]

    def send(conn: Conn, given: list[tuple[int, str, str]] | None, replaces: int | None) -> trade.Outcome:
        return world.take(conn, session_id, [(buyer, world.sent(who, buyer, given, replaces=replaces))])[0]

    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        first = world.kept(send(conn, [(PEAK, "400", "100")], None))
        assert isinstance(send(conn, [(PEAK, "401", "100")], None), trade.DeclaredMeanwhile)
        second = world.kept(send(conn, [(PEAK, "401", "100")], first.seq))
        assert isinstance(send(conn, [(PEAK, "402", "100")], first.seq), trade.DeclaredMeanwhile)
        third = world.kept(send(conn, None, second.seq))
        fourth = world.kept(send(conn, [(PEAK, "402", "90")], None))
        assert [each.kind for each in (first, second, third, fourth)] == [
            "SUBMIT",
            "REPLACE",
            "WITHDRAW",
            "SUBMIT",
        ]
        convene.look(conn, AFTER)
        row = sessions.find(conn, session_id)
        assert row is not None
        assert row.last_seq is not None
        assert [bid.seq for bid in orders.book(conn, session_id, row.last_seq)] == [fourth.seq]


def test_who_is_not_admitted_or_sells_where_it_may_not_is_refused_with_its_code(database: str) -> None:
    who, session_id = world.opened(database)
    plant, buyer = who.plants[0], who.users[0]
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE party SET state = 'suspended' WHERE party_id = %s", (who.users[1].party_id,))
        db.take_scope(conn, WORKER)
        outcomes = world.take(
            conn,
            session_id,
            [
                (
                    plant,
                    trade.Declaration(
                        who.units[plant.party_id or 0],
                        trade.Side.BUY,
                        world.entries((1, "372", "1")),
                        uuid4(),
                    ),
                ),
                (buyer, world.sent(who, buyer, [(PEAK, "446.41", "1")])),
                (who.users[1], world.sent(who, who.users[1], [(PEAK, "372", "1")])),
            ],
        )
        codes = [each.facts["code"] for each in outcomes if isinstance(each, trade.Declined)]
        assert codes == ["NOT_ELIGIBLE", "PRICE_ABOVE_LIMIT", "NOT_ELIGIBLE"]
        assert conn.execute("SELECT count(*) FROM bid_event").fetchone() == (0,)
        assert orders.refusals(conn, session_id) == {"NOT_ELIGIBLE": 2, "PRICE_ABOVE_LIMIT": 1}


def test_the_clock_closes_a_book_once_and_the_hash_is_that_of_the_published_lines(database: str) -> None:
    _, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        assert convene.look(conn, AFTER + timedelta(minutes=1)) == 0
        row = sessions.find(conn, session_id)
        assert row is not None
        assert row.last_seq is not None
        kept = bids_of(row.session_no, orders.book(conn, session_id, row.last_seq))
        lines = "".join(f"{seq} {content}\n" for seq, content in orders.lines(conn, session_id))
        import hashlib

        assert row.book_sha256 == book_sha256(kept) == hashlib.sha256(lines.encode()).hexdigest()


def test_a_session_clears_checks_and_publishes_into_contracts(database: str) -> None:
    who, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        world.as_person(conn, who.operator)
        clear.clear(conn, who.operator, session_id, "", AFTER)
        first = clearings.runs_of(conn, session_id)[0]
        peak, flat, _ = clearings.prices_of(conn, session_id, 1)
        assert (peak.volume_kwh, peak.price_ticks) == (140_000, 38_500)
        assert (flat.volume_kwh, flat.price_ticks) == (0, None)
        pieces = clearings.pieces_of(conn, session_id, 1)
        assert sum(each.quantity_kwh for each in pieces) == 140_000
        # 80 go from the cheaper plant to the first user, 20 + 40 from the other
        by_names = {(each.seller, each.buyer): each.quantity_kwh for each in pieces}
        assert by_names == {
            ("示范generator0", "示范user0"): 80_000,
            ("示范generator1", "示范user0"): 20_000,
            ("示范generator1", "示范user1"): 40_000,
        }
        cut = next(each for each in pieces if each.seller == "示范generator0")
        clear.check(conn, who.operator, session_id, [clear.Cut(cut.piece_no, 50_000, "断面越限")], AFTER)
        world.as_person(conn, who.second)
        contracts = clear.publish(conn, who.second, session_id, AFTER)
        assert len(contracts) == 3
    with psycopg.connect(database) as conn:
        rows = conn.execute(
            """SELECT c.seller, c.buyer, v.period, v.mwh, v.price_yuan_per_mwh FROM wholesale_contract c
               JOIN wholesale_volume v USING (contract_id, version) ORDER BY v.mwh"""
        ).fetchall()
        assert [(str(row[3]), str(row[4]), row[2]) for row in rows] == [
            ("20.000", "385.00", "peak"),
            ("40.000", "385.00", "peak"),
            ("50.000", "385.00", "peak"),
        ]
        states = conn.execute(
            "SELECT state FROM contract WHERE contract_id = ANY(%s)", (list(contracts),)
        ).fetchall()
        assert states == [("effective",)] * 3
        run, again = clear.repeated(conn, session_id, 1)
        assert run.result_sha256 == again == first.result_sha256
        final, again = clear.repeated(conn, session_id, 2)
        assert final.kind == "final"
        assert final.result_sha256 == again != first.result_sha256
        told = conn.execute("SELECT count(*) FROM notice WHERE key = 'session_published'").fetchone()
        assert told == (4,)
        world.as_person(conn, who.users[1])
        assert [each.buyer for each in clearings.pieces_of(conn, session_id, 2)] == ["示范user1"]
        assert clearings.pieces_of(conn, session_id, 1) == ()
        fills = clearings.fills_of(conn, session_id, 2)
        assert list(fills.values()) == [(40_000,)]


def test_a_dispute_names_a_declaration_of_its_own_session(database: str) -> None:
    who, session_id = world.opened(database)
    buyer, other = who.users
    with psycopg.connect(database) as conn:
        elsewhere = world.announced(conn, who, number="TEST-02")
        db.take_scope(conn, WORKER)
        kept = world.kept(
            *world.take(conn, session_id, [(buyer, world.sent(who, buyer, [(PEAK, "400", "1")]))])
        )
    with psycopg.connect(database) as conn:
        world.as_person(conn, buyer)
        for place, seq in ((elsewhere, kept.seq), (session_id, kept.seq + 1)):
            with pytest.raises(convene.NoSession):
                convene.dispute(conn, buyer, place, (seq, "declaration", "申报有误"), world.DURING)
        assert convene.dispute(conn, buyer, session_id, (kept.seq, "declaration", "申报有误"), world.DURING)
        world.as_person(conn, other)
        with pytest.raises(convene.NoSession):
            convene.dispute(conn, other, session_id, (kept.seq, "declaration", "申报有误"), world.DURING)


def test_a_sandbox_run_is_the_same_and_another_rule_another_price_never_published(database: str) -> None:
    who, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        clear.clear(conn, who.operator, session_id, "", AFTER)
        same = clear.sandbox(conn, who.operator, session_id, None, "复核", AFTER)
        other = Way(Method.UNIFORM, PriceRule.SELLER, AtMargin.TIME)
        whatif = clear.sandbox(conn, who.operator, session_id, other, "试算", AFTER)
        first = clearings.runs_of(conn, session_id)[0]
        assert (same.input_sha256, same.result_sha256) == (first.input_sha256, first.result_sha256)
        assert whatif.result_sha256 != first.result_sha256
        assert clearings.prices_of(conn, session_id, whatif.run_no)[0].price_ticks == 38_000
        clear.check(conn, who.operator, session_id, (), AFTER)
        clear.publish(conn, who.second, session_id, AFTER)
        row = sessions.find(conn, session_id)
        assert row is not None
        assert row.final_run is not None
        assert clearings.prices_of(conn, session_id, row.final_run)[0].price_ticks == 38_500


def test_a_crash_between_clearing_and_publishing_leaves_nothing_half_done(database: str) -> None:
    who, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        clear.clear(conn, who.operator, session_id, "", AFTER)
        clear.check(conn, who.operator, session_id, (), AFTER)
    dying = psycopg.connect(database)
    clear.publish(dying, who.second, session_id, AFTER)  # the process dies before the commit
    pid = dying.info.backend_pid
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    dying.close()
    with psycopg.connect(database) as conn:
        row = sessions.find(conn, session_id)
        assert row is not None
        assert row.state == "checked"
        assert conn.execute("SELECT count(*) FROM wholesale_contract").fetchone() == (0,)
        contracts = clear.publish(conn, who.second, session_id, AFTER)
        with pytest.raises(NoSuchMove):
            clear.publish(conn, who.second, session_id, AFTER)
        assert conn.execute("SELECT count(*) FROM wholesale_contract").fetchone() == (len(contracts),)


def test_a_book_that_somebody_changed_is_not_cleared(database: str) -> None:
    who, session_id = cleared_book(database)
    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE bid_event DISABLE TRIGGER kept")
        conn.execute(
            "UPDATE bid_event SET price_ticks[1] = price_ticks[1] + 1 WHERE side = 'B' AND kind = 'SUBMIT'"
        )
        with pytest.raises(BookChanged):
            clear.clear(conn, who.operator, session_id, "", AFTER)


@pytest.mark.parametrize("deed", [convene.cancel, convene.suspend])
def test_who_stops_a_session_waits_for_the_declarations_on_their_way(
    database: str, deed: Callable[..., None]
) -> None:
    who, session_id = world.opened(database, retailers=1)
    buyer, now = who.retailers[0], world.DURING
    assert buyer.party_id is not None
    world.guaranteed(database, buyer.party_id, now)
    stopped = threading.Event()

    def stop() -> None:
        with psycopg.connect(database) as conn:
            world.as_person(conn, who.operator)
            deed(conn, who.operator, session_id, "系统故障", now)
        stopped.set()

    stopping = threading.Thread(target=stop)
    with psycopg.connect(database) as conn:
        db.take_scope(conn, WORKER)
        declared = world.sent(who, buyer, [(PEAK, "400", "100")])
        world.kept(*world.take(conn, session_id, [(buyer, declared)]))
        stopping.start()
        assert not stopped.wait(0.5)
    stopping.join(20)

    bound = {convene.cancel: 0, convene.suspend: 200_000}[deed]
    with psycopg.connect(database) as conn:
        assert standings.free_fen(conn, buyer.party_id, now) == 200_000 - bound
        assert conn.execute("SELECT margin_fen FROM trading_exposure").fetchall() == [(bound,)]


def test_a_suspended_session_takes_nothing_and_resumes_where_its_hours_say(database: str) -> None:
    who, session_id = world.opened(database)
    buyer = who.users[0]
    later = world.DURING + timedelta(hours=2)
    hours = Hours(later, later + timedelta(minutes=20), later + timedelta(minutes=30), None)
    with psycopg.connect(database) as conn:
        with pytest.raises(convene.ReasonMissing):
            convene.suspend(conn, who.operator, session_id, " ", world.DURING)
        convene.suspend(conn, who.operator, session_id, "通信中断", world.DURING)
        db.take_scope(conn, WORKER)
        declared = world.sent(who, buyer, [(PEAK, "400", "1")])
        assert isinstance(world.take(conn, session_id, [(buyer, declared)])[0], trade.Closed)
        db.take_scope(conn, Scope(ProcessRole.OWNER))
        convene.resume(conn, who.operator, session_id, hours, "恢复", world.DURING)
        row = sessions.find(conn, session_id)
        assert row is not None
        assert (row.state, row.opens_at) == ("announced", later)
        db.take_scope(conn, WORKER)
        with pytest.raises(trade.NotRung):
            world.take(conn, session_id, [(buyer, declared)], later)
        assert sessions.ring(conn, later) == (session_id,)
        world.kept(*world.take(conn, session_id, [(buyer, declared)], later))


def test_every_state_can_be_left_or_is_an_end() -> None:
    left = {before for (before, _), after in SESSION.moves.items() if after != before}
    assert set(STATES) - left == {"dropped", "closed", "cancelled"}


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
    who, session_id = cleared_book(database)
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
    who, session_id = cleared_book(database)
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
    who, session_id = cleared_book(database)
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


def test_what_an_auction_leaves_goes_on_in_the_rolling_book_in_its_order(database: str) -> None:
    hours = Hours(
        world.OPENS, world.FREEZES, world.FREEZES + timedelta(minutes=10), world.FREEZES + timedelta(hours=2)
    )
    later = world.FREEZES + timedelta(minutes=11)
    with psycopg.connect(database) as conn:
        who = world.people(conn)
        session_id = world.announced(conn, who, "jibei-multiday-24@2", hours)
        sessions.ring(conn, world.DURING)
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
