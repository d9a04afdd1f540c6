"""Our sessions on a platform that is not ours, over real sockets, with everything going wrong that can: nothing lost, nothing twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from exchange_world import GATE, SESSION, World, world

from cloud.contracts.store import life
from cloud.errors import Unavailable
from cloud.files import FolderVault
from cloud.market.run import clear, host, rectify
from cloud.outside.exchange import errands
from cloud.security.access import Actor
from cloud.signedcall import Away, Untrue

DAY = date(2026, 11, 12)


@pytest.fixture
def place(database: str, tmp_path: Path) -> Iterator[World]:
    with world(database, tmp_path) as found:
        yield found


def book(place: World) -> list[int]:
    """Two sellers and two buyers; the second buyer thinks again, a third seller withdraws."""
    first = place.bid("party:1", "S", [(1, 30_000, 10_000), (2, 30_000, 5_000)])
    second = place.bid("party:2", "S", [(1, 35_000, 10_000)])
    third = place.bid("party:3", "B", [(1, 40_000, 12_000), (2, 25_000, 5_000)])
    fourth = place.bid("party:4", "B", [(1, 36_000, 9_000)])
    changed = place.bid("party:4", "B", [(1, 36_000, 6_000)], replaces=fourth)
    gone = place.bid("party:2", "S", [(2, 20_000, 1_000)])
    withdrawn = place.bid("party:2", "S", [], replaces=gone)
    return [first, second, third, fourth, changed, gone, withdrawn]


def send_all(place: World, rounds: int = 60) -> None:
    """Look again and again, as the timetable does, until nothing waits."""
    for _ in range(rounds):
        errands.look(place.room, place.platform, place.clock.now)
        states = {row[0] for row in place.rows("SELECT state FROM exchange_message")}
        if not states & {"NEW", "SENT"}:
            return
        place.clock.step(20)
    pytest.fail("something was never answered")


def test_declarations_go_out_in_order_and_the_result_becomes_a_run_of_ours(place: World) -> None:
    seqs = book(place)
    send_all(place)
    place.close_gate()
    place.clock.now = GATE
    place.simulator.book.close(SESSION)

    looked = errands.look(place.room, place.platform, place.clock.now)

    assert looked.results == 1
    assert [line.split(":")[-1] for line in place.simulator.book.diary] == [str(seq) for seq in seqs]
    assert place.rows("SELECT DISTINCT state FROM exchange_message") == [("ACKED",)]
    # By hand: period 1 supply 10 MWh at 300 and 10 at 350, demand 12 at 400 and 6 at 360: 18 MWh trade, 2 left at 350.
    assert place.rows(
        "SELECT period, volume_kwh, price_ticks, last_bid_ticks, last_ask_ticks FROM clearing_price ORDER BY period"
    ) == [(1, 18_000, 35_000, 36_000, 35_000), (2, 0, None, None, None)]
    assert place.rows("SELECT seller_id, buyer_id, quantity_kwh FROM clearing_piece ORDER BY piece_no") == [
        (1, 3, 10_000),
        (2, 3, 2_000),
        (2, 4, 6_000),
    ]
    assert place.rows("SELECT state FROM trading_session") == [("cleared",)]


@pytest.mark.parametrize("fault", ["500", "late", "lost", "signature", "stale", "twice", "garbage", "drop"])
def test_no_fault_loses_or_doubles_a_declaration(place: World, fault: str) -> None:
    seqs = book(place)
    place.simulator.book.plan([fault, "", fault, fault, "", fault])

    send_all(place)

    accepted = [each.declaration.key for each in place.simulator.book.accepted()]
    assert accepted == [f"{SESSION}:{seq}" for seq in seqs]
    assert place.rows("SELECT DISTINCT state FROM exchange_message") == [("ACKED",)]
    receipts = place.rows("SELECT receipt_no FROM exchange_message ORDER BY message_id")
    assert receipts == [(f"R{number:08d}",) for number in range(1, len(seqs) + 1)]


def test_two_processes_and_a_death_between_acceptance_and_note_change_nothing(place: World) -> None:
    seqs = book(place)
    errands.look(place.room, place.platform, place.clock.now)
    with place.pool.connection() as conn:  # as if we had died before the answers were noted
        conn.execute("ALTER TABLE exchange_message DISABLE TRIGGER moves")
        conn.execute(
            """UPDATE exchange_message SET state = 'SENT', answered_at = NULL, answer_sha256 = NULL, receipt_no = '',
                   next_at = queued_at"""
        )
        conn.execute("ALTER TABLE exchange_message ENABLE TRIGGER moves")
    other = errands.Room(place.room.pool, place.room.vault, place.room.take, "other")

    place.clock.step(1000)
    errands.look(other, place.platform, place.clock.now)
    errands.look(place.room, place.platform, place.clock.now)

    assert len(place.simulator.book.accepted()) == len(seqs)
    assert place.rows(
        "SELECT count(DISTINCT receipt_no), count(*) FROM exchange_message WHERE state = 'ACKED'"
    ) == [(len(seqs), len(seqs))]


def test_only_one_process_talks_at_a_time(place: World) -> None:
    from cloud import db
    from cloud.market.store import exchangeline as store

    with db.transaction(place.pool, errands.SCOPE) as conn:
        assert store.hold_line(conn, "simulated", "another", place.clock.now + errands.HOLD, place.clock.now)
    place.bid("party:1", "S", [(1, 30_000, 1_000)])

    errands.look(place.room, place.platform, place.clock.now)

    assert place.simulator.book.diary == []


def test_a_platform_that_is_down_is_left_alone_for_longer_and_longer_and_nothing_is_lost(
    place: World,
) -> None:
    place.bid("party:1", "S", [(1, 30_000, 1_000)])
    place.simulator.book.plan(["500"] * 6)
    met = []
    for _ in range(400):
        before = len(place.simulator.book._faults)
        errands.look(place.room, place.platform, place.clock.now)
        if len(place.simulator.book._faults) < before:
            met.append(place.clock.now)
        place.clock.step(1)

    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(met)]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 20
    assert place.rows("SELECT state, last_problem FROM exchange_message") == [("ACKED", "")]


def test_what_came_is_kept_by_its_hash_and_untrue_answers_too(place: World) -> None:
    place.bid("party:1", "S", [(1, 30_000, 1_000)])
    place.simulator.book.plan(["signature"])

    send_all(place)

    kinds = {str(row[0]): str(row[1]) for row in place.rows("SELECT kind, sha256 FROM exchange_document")}
    assert set(kinds) == {"untrue", "answer"}
    vault = place.room.vault
    assert isinstance(vault, FolderVault)
    assert b"accepted" in vault.get(kinds["answer"])


def test_a_forged_and_a_stale_answer_are_not_believed(place: World) -> None:
    for fault in ("signature", "stale"):
        place.simulator.book.plan([fault])
        with pytest.raises(Untrue):
            place.platform.result(SESSION, place.clock.now)
    place.simulator.book.plan(["drop"])
    with pytest.raises(Away):
        place.platform.result(SESSION, place.clock.now)


def test_the_platform_believes_nobody_else_and_no_request_twice(place: World) -> None:
    import http.client

    from cloud.signedcall import request_headers

    headers = request_headers(place.platform.line.keys, "GET /v1/days/2026-11-12", b"", place.clock.now)
    host = place.simulator.base.removeprefix("http://")

    def ask(path: str, sent: dict[str, str]) -> int:
        line = http.client.HTTPConnection(host, timeout=5)
        try:
            line.request("GET", path, headers=sent)
            answer = line.getresponse()
            answer.read()
            return answer.status
        finally:
            line.close()

    assert ask("/v1/days/2026-11-12", headers) == 200
    assert ask("/v1/days/2026-11-12", headers) == 401  # a replay
    assert ask("/v1/days/2026-11-13", headers) == 401  # another question
    assert ask("/v1/days/2026-11-12", {}) == 401


def test_a_late_declaration_is_refused_there_and_ours_says_so(place: World) -> None:
    place.simulator.book.close(SESSION)
    place.bid("party:1", "S", [(1, 30_000, 1_000)])

    send_all(place)

    assert place.rows("SELECT state, answer_code FROM exchange_message") == [("REJECTED", "GATE_CLOSED")]
    assert place.rows("SELECT key, party_id FROM notice") == [("exchange.rejected", None)]


def closed(place: World) -> None:
    book(place)
    send_all(place)
    place.close_gate()
    place.clock.now = GATE
    place.simulator.book.close(SESSION)
    errands.look(place.room, place.platform, place.clock.now)


def test_a_clean_day_reconciles_and_a_second_result_of_the_same_kind_changes_nothing(place: World) -> None:
    closed(place)

    found = errands.reconcile_day(place.room, place.platform, DAY, place.clock.now)
    again = errands.look(place.room, place.platform, place.clock.now)

    assert found == ()
    assert again.results == 0
    assert place.rows("SELECT DISTINCT state FROM exchange_message") == [("RECONCILED",)]
    assert place.rows("SELECT count(*) FROM clearing_run") == [(1,)]


@pytest.mark.parametrize(
    ("edit", "gap"),
    [
        ({"do": "drop"}, "missing_there"),
        ({"do": "double"}, "doubled_there"),
        ({"do": "invent", "key": "nobody:1", "session": SESSION}, "missing_here"),
        ({"do": "entry", "entry": {"period": 1, "price": "300.00", "mwh": "10.001"}}, "content"),
        ({"do": "price", "value": "350.01"}, "price"),
        ({"do": "mwh", "value": "17.999"}, "volume"),
    ],
)
def test_each_difference_is_found_and_named(place: World, edit: dict[str, object], gap: str) -> None:
    closed(place)
    key = f"{SESSION}:{place.rows('SELECT min(seq) FROM bid_event')[0][0]}"
    place.simulator.book.edit(DAY, [{"key": key, **edit}])

    found = errands.reconcile_day(place.room, place.platform, DAY, place.clock.now)

    assert found is not None
    assert [each.gap.value for each in found] == [gap]
    assert place.rows("SELECT gap FROM exchange_difference") == [(gap,)]
    assert place.rows("SELECT count(*) FROM notice WHERE key = 'exchange.differs'") == [(1,)]


def test_a_result_that_cannot_be_true_is_kept_and_not_used(place: World) -> None:
    book(place)
    send_all(place)
    place.close_gate()
    place.clock.now = GATE
    result = place.simulator.book.close(SESSION)
    key = next(key for key, fills in result.fills.items() if any(fills))
    broken = {name: tuple(0 for _ in fills) if name == key else fills for name, fills in result.fills.items()}
    session = place.simulator.book._sessions[SESSION]
    session.results[-1] = type(result)(
        result.session_no, 1, result.price_rule, result.at_margin, result.periods, broken
    )

    errands.look(place.room, place.platform, place.clock.now)

    assert place.rows("SELECT verdict FROM exchange_result") == [("refused",)]
    assert place.rows("SELECT count(*) FROM clearing_run") == [(0,)]
    assert place.rows("SELECT state FROM trading_session") == [("frozen",)]


def test_the_simulator_remembers_across_a_restart(place: World) -> None:
    from cloud.outside.exchangesim.book import Book

    closed(place)

    again = Book(place.simulator.book._file.parent, place.clock.read)

    assert [each.body for each in again.accepted()] == [each.body for each in place.simulator.book.accepted()]
    assert again.result(SESSION) == place.simulator.book.result(SESSION)


def test_a_message_moves_only_along_its_life(place: World) -> None:
    import psycopg

    place.bid("party:1", "S", [(1, 30_000, 1_000)])
    send_all(place)
    for change in ("state = 'NEW'", "body = 'other'", "receipt_no = 'other'", "attempts = 0"):
        with psycopg.connect(place.dsn) as conn, pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(f"UPDATE exchange_message SET {change}")


def test_unavailable_is_what_a_missing_platform_is(place: World) -> None:
    place.simulator.close()

    with pytest.raises(Unavailable):
        place.platform.result(SESSION, place.clock.now)


# ---- from the platform's result to contracts, and to those that a corrected result makes of them -------------------

SHELLS = rectify.Shells(clear.clear, host.take_over, clear.republish)


def published(place: World) -> tuple[Actor, Actor]:
    """The platform's result, checked by one and published by another."""
    closed(place)
    one, other = place.staff("one"), place.staff("other")
    with psycopg.connect(place.dsn) as conn:
        clear.check(conn, one, place.session_id, (), place.clock.now)
    with psycopg.connect(place.dsn) as conn:
        clear.publish(conn, other, place.session_id, place.clock.now)
    return one, other


def is_repeated(place: World) -> bool:
    """Every run of the session comes out with the hash that it was kept with."""
    with psycopg.connect(place.dsn) as conn:
        runs = [number for (number,) in conn.execute("SELECT run_no FROM clearing_run ORDER BY run_no")]
        found = [clear.repeated(conn, place.session_id, number) for number in runs]
    return bool(found) and all(again == run.result_sha256 for run, again in found)


def test_a_platforms_result_is_published_into_contracts_and_comes_out_the_same_again(place: World) -> None:
    published(place)

    assert place.rows(
        """SELECT c.seller, c.buyer, v.period, v.mwh, v.price_yuan_per_mwh FROM wholesale_contract c
           JOIN wholesale_volume v USING (contract_id, version) ORDER BY c.contract_id"""
    ) == [
        ("party:1", "party:3", "h01", Decimal("10.000"), Decimal("350.00")),
        ("party:2", "party:3", "h01", Decimal("2.000"), Decimal("350.00")),
        ("party:2", "party:4", "h01", Decimal("6.000"), Decimal("350.00")),
    ]
    assert place.rows("SELECT DISTINCT state FROM contract") == [("effective",)]
    assert is_repeated(place)
    assert errands.reconcile_day(place.room, place.platform, DAY, place.clock.now) == ()


def test_what_the_platform_refused_is_in_the_result_with_nothing(place: World) -> None:
    first = place.bid("party:1", "S", [(1, 30_000, 1_000)])
    send_all(place)
    place.simulator.book.close(SESSION)
    late = place.bid("party:3", "B", [(1, 40_000, 1_000)])
    send_all(place)
    place.close_gate()
    place.clock.now = GATE

    errands.look(place.room, place.platform, place.clock.now)

    assert place.rows("SELECT seq, quantity_kwh FROM clearing_fill ORDER BY seq") == [
        (first, [0]),
        (late, [0]),
    ]
    assert is_repeated(place)


def test_nobody_clears_what_a_platform_matches(place: World) -> None:
    book(place)
    place.close_gate()

    with psycopg.connect(place.dsn) as conn, pytest.raises(clear.Hosted):
        clear.clear(conn, place.staff("one"), place.session_id, "", place.clock.now)


def corrected(place: World) -> int:
    """The platform clears once more without the second seller's declaration, and we hear of it. Returns the offer."""
    gone = place.rows("SELECT seq FROM bid_event WHERE unit_id = 'party:2' AND kind = 'SUBMIT' ORDER BY seq")[
        0
    ][0]
    place.simulator.book.correct(SESSION, [f"{SESSION}:{gone}"])
    found = errands.reconcile_day(place.room, place.platform, DAY, place.clock.now)
    assert found is not None
    assert {each.gap.value for each in found} == {"result_version", "volume", "price", "fill"}
    ((offer_id, version),) = place.rows("SELECT offer_id, version FROM exchange_offer")
    assert version == 2
    return int(str(offer_id))


def test_a_corrected_result_is_taken_over_by_two_and_the_first_run_and_contracts_stay_on_record(
    place: World,
) -> None:
    one, other = published(place)
    before = place.rows("SELECT final_run FROM trading_session")
    offer_id = corrected(place)
    now = place.clock.now
    with psycopg.connect(place.dsn) as conn:
        change = rectify.ask_takeover(conn, one, place.session_id, offer_id, "平台更正第2版", now)
    with psycopg.connect(place.dsn) as conn, pytest.raises(rectify.SamePerson):
        rectify.approve(conn, one, (place.session_id, change), "", SHELLS, now)
    with psycopg.connect(place.dsn) as conn:
        rectify.approve(conn, other, (place.session_id, change), "已核对", SHELLS, now)

    # By hand: supply is 10 MWh at 300 only, demand 12 at 400 and 6 at 360: 10 MWh trade, the bid of 400 is cut.
    assert place.rows(
        """SELECT p.volume_kwh, p.price_ticks FROM clearing_price p JOIN trading_session s
           ON (s.session_id, s.final_run) = (p.session_id, p.run_no) WHERE p.period = 1"""
    ) == [(10_000, 40_000)]
    assert place.rows("SELECT final_run FROM trading_session") != before
    assert place.rows("SELECT kind, count(*) FROM clearing_run GROUP BY 1 ORDER BY 1") == [
        ("final", 2),
        ("pre", 2),
    ]
    assert place.rows("SELECT contract_id, state, version FROM contract ORDER BY 1") == [
        (f"{SESSION}-00001", "effective", 2),
        (f"{SESSION}-00002", "void", 2),
        (f"{SESSION}-00003", "void", 2),
    ]
    assert place.rows(
        "SELECT contract_id, version, mwh, price_yuan_per_mwh FROM wholesale_volume ORDER BY 1, 2"
    ) == [
        (f"{SESSION}-00001", 1, Decimal("10.000"), Decimal("350.00")),
        (f"{SESSION}-00001", 2, Decimal("10.000"), Decimal("400.00")),
        (f"{SESSION}-00002", 1, Decimal("2.000"), Decimal("350.00")),
        (f"{SESSION}-00003", 1, Decimal("6.000"), Decimal("350.00")),
    ]
    assert place.rows("SELECT count(DISTINCT party_id) FROM notice WHERE key = 'session_corrected'") == [(4,)]
    assert is_repeated(place)
    assert errands.reconcile_day(place.room, place.platform, DAY, now) == ()
    with psycopg.connect(place.dsn) as conn, pytest.raises(rectify.TakenAlready):
        rectify.ask_takeover(conn, one, place.session_id, offer_id, "再来一次", now)


def test_a_correction_before_publication_is_checked_again(place: World) -> None:
    closed(place)
    one, other = place.staff("one"), place.staff("other")
    now = place.clock.now
    with psycopg.connect(place.dsn) as conn:
        clear.check(conn, one, place.session_id, (), now)
    offer_id = corrected(place)
    with psycopg.connect(place.dsn) as conn:
        change = rectify.ask_takeover(conn, one, place.session_id, offer_id, "平台更正第2版", now)
        rectify.approve(conn, other, (place.session_id, change), "", SHELLS, now)

    assert place.rows("SELECT state FROM trading_session") == [("cleared",)]
    with psycopg.connect(place.dsn) as conn:
        clear.check(conn, one, place.session_id, (), now)
        clear.publish(conn, other, place.session_id, now)
    assert place.rows("SELECT contract_id, version, state FROM contract") == [
        (f"{SESSION}-00001", 1, "effective")
    ]
    assert is_repeated(place)


def test_a_contract_that_went_its_own_way_stops_a_correction(place: World) -> None:
    one, other = published(place)
    offer_id, now = corrected(place), place.clock.now
    with psycopg.connect(place.dsn) as conn:
        row = life.find(conn, f"{SESSION}-00002")
        life.move(conn, row, life.Event("terminate", now, "test", "双方解除"))
    with psycopg.connect(place.dsn) as conn:
        change = rectify.ask_takeover(conn, one, place.session_id, offer_id, "平台更正第2版", now)
    with pytest.raises(clear.ContractMoved), psycopg.connect(place.dsn) as conn:
        rectify.approve(conn, other, (place.session_id, change), "", SHELLS, now)

    assert place.rows("SELECT count(*) FROM clearing_run") == [(2,)]
    assert place.rows("SELECT count(*) FROM result_change_answer") == [(0,)]
