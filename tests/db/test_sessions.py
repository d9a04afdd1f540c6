"""Trading sessions on a real database: sealed books, the gate, clearing, publication, margins, tampering."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
import trade_world as world

from cloud import db
from cloud.db import Conn, ProcessRole, Scope
from cloud.lives import NoSuchMove
from cloud.market.auction import AtMargin, PriceRule
from cloud.market.closedbook import BookChanged, bids_of
from cloud.market.run import clear, convene, trade
from cloud.market.session import SESSION, STATES, Hours
from cloud.market.sessionbook import Way, book_sha256
from cloud.market.sessionfile import Method
from cloud.market.store import clearings, orders, sessions
from cloud.parties.store import standings

WORKER, AFTER, PEAK, FLAT = world.WORKER, world.AFTER, world.PEAK, world.FLAT


def test_the_life_is_the_same_table_in_code_and_database(database: str) -> None:
    with psycopg.connect(database) as conn:
        there = set(conn.execute("SELECT before, after FROM session_move").fetchall())

    assert there == {(before, after) for (before, _), after in SESSION.moves.items() if before is not None}


def test_four_eyes_announce_and_publish(database: str) -> None:
    who, session_id = world.cleared_book(database)
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
    who, session_id = world.cleared_book(database)
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
    _, session_id = world.cleared_book(database)
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
    who, session_id = world.cleared_book(database)
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
    who, session_id = world.cleared_book(database)
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
    who, session_id = world.cleared_book(database)
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
    who, session_id = world.cleared_book(database)
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
