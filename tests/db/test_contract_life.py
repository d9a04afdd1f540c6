"""A contract from draft to archive on a real database: signed by both, cooled, in the market, changed, ended, disputed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import contract_world as w
import psycopg
import pytest
from contract_world import COOLED, NOW, World, agreed_request
from contract_world import owner as owner
from contract_world import world as world

from cloud.contracts.contract import CONTRACT, PAPER, Kind, NewContract, from_trade
from cloud.contracts.document import Changes
from cloud.contracts.run.desk import deal, draft, read, sign, turn
from cloud.contracts.run.desk.check import NotDrafter
from cloud.contracts.store import archive, dealings, life, papers, texts, wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn, transaction
from cloud.paper.attached import page_text


def keys_of(owner: Conn, party_id: int | None) -> set[str]:
    rows = owner.execute(
        "SELECT key FROM notice WHERE party_id IS NOT DISTINCT FROM %s", (party_id,)
    ).fetchall()
    return {row[0] for row in rows}


def test_both_lives_are_the_same_in_code_and_database(owner: Conn) -> None:
    for table, kept in (("contract_move", CONTRACT), ("paper_move", PAPER)):
        rows = owner.execute(f"SELECT before, deed, after FROM {table}").fetchall()

        assert {(before or "", deed, after) for (before, deed), after in kept.moves.items()} == set(rows)


def test_a_contract_signed_by_both_cools_and_then_stands_in_the_market(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)

    assert life.find(owner, contract_id).state == "cooling"
    assert turn.look(world.pool, NOW + timedelta(hours=71)).effective == ()
    assert wholesale.of_month(owner, date(2026, 9, 1)) == ()
    assert turn.look(world.pool, COOLED).effective == (contract_id,)
    assert turn.look(world.pool, COOLED).effective == ()
    (terms,) = wholesale.of_month(owner, date(2026, 9, 1))
    assert [(v.month, v.mwh, v.price_yuan_per_mwh) for v in terms.volumes] == [
        (date(2026, 9, 1), Decimal("1200.000"), Decimal("398.50")),
        (date(2026, 10, 1), Decimal("1000.000"), Decimal("401.20")),
    ]
    for party in (world.seller, world.buyer):
        told = {
            "contract.sent",
            "contract.confirmed",
            "contract.signed",
            "contract.completed",
            "contract.effective",
        }
        assert told <= keys_of(owner, party.party_id)


def test_not_signed_by_us_freezes_at_once_and_nothing_becomes_effective(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    with transaction(world.pool, world.scope(world.buyer_clerk)) as conn:
        ask = world.ask(conn, world.buyer_clerk, NOW + timedelta(hours=1), proven=False)
        number = deal.dispute(conn, ask, contract_id, "本单位没有签过")

    assert turn.look(world.pool, COOLED).effective == ()
    assert life.find(owner, contract_id).is_frozen
    assert wholesale.of_month(owner, date(2026, 9, 1)) == ()
    assert "contract.disputed" in keys_of(owner, None)
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute(
            "UPDATE contract SET state = 'effective', effective_at = %s WHERE contract_id = %s",
            (COOLED, contract_id),
        )
    with transaction(world.pool, world.scope(world.lawyer)) as conn:
        deal.decide(conn, world.ask(conn, world.lawyer, COOLED), number, deal.Verdict(True, "印章被冒用"))
    assert life.find(owner, contract_id).state == "void"
    turn.look(world.pool, COOLED + timedelta(days=1))
    assert wholesale.of_month(owner, date(2026, 9, 1)) == ()


def test_a_rejected_dispute_lets_the_contract_go_on(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        number = deal.dispute(conn, world.ask(conn, world.buyer, NOW), contract_id, "误点")
    with transaction(world.pool, world.scope(world.lawyer)) as conn:
        deal.decide(conn, world.ask(conn, world.lawyer, NOW), number, deal.Verdict(False, "核对签署记录"))

    assert turn.look(world.pool, COOLED).effective == (contract_id,)
    assert life.find(owner, contract_id).state == "effective"


def test_a_dispute_upheld_after_effect_takes_the_energy_back(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    turn.look(world.pool, COOLED)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        number = deal.dispute(conn, world.ask(conn, world.buyer, COOLED), contract_id, "不是我签的")
    with transaction(world.pool, world.scope(world.lawyer)) as conn:
        deal.decide(conn, world.ask(conn, world.lawyer, COOLED), number, deal.Verdict(True, "成立"))

    assert life.find(owner, contract_id).state == "void"
    assert wholesale.of_month(owner, date(2026, 9, 1)) == ()


def test_a_paper_expires_and_its_expiry_can_be_cleared(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed(world, world.seller, contract_id, NOW)
    late = NOW + timedelta(days=16)

    assert turn.look(world.pool, late).expired == (contract_id,)
    with pytest.raises(sign.NotOpen):
        w.confirmed(world, world.buyer, contract_id, late)
    with transaction(world.pool, world.scope(world.seller)) as conn:
        sign.extend(conn, world.ask(conn, world.seller, late), contract_id, 1, None)
    assert papers.find(owner, contract_id, 1).expires_at is None
    assert w.signed(world, world.buyer, contract_id, late)  # the seller's signature has stayed


def test_who_waited_until_an_offer_expired_does_not_revive_it(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed(world, world.seller, contract_id, NOW)
    late = NOW + timedelta(days=16)
    with transaction(world.pool, world.scope(world.buyer)) as conn, pytest.raises(NotDrafter):
        sign.extend(conn, world.ask(conn, world.buyer, NOW), contract_id, 1, None)

    with transaction(world.pool, world.scope(world.buyer)) as conn, pytest.raises(NotDrafter):
        sign.extend(
            conn, world.ask(conn, world.buyer, late), contract_id, 1, 30
        )  # past, and not looked at yet
    assert turn.look(world.pool, late).expired == (contract_id,)
    for person, problem in ((world.buyer, NotDrafter), (world.lawyer, sign.Lapsed)):
        with transaction(world.pool, world.scope(person)) as conn, pytest.raises(problem):
            sign.extend(conn, world.ask(conn, person, late), contract_id, 1, 30)
    assert papers.find(owner, contract_id, 1).state == "expired"


def test_a_declined_paper_says_why_and_can_be_drawn_up_anew(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed(world, world.seller, contract_id, NOW)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        sign.decline(conn, world.ask(conn, world.buyer, NOW), contract_id, 1, "价格偏高")

    assert life.find(owner, contract_id).state == "declined"
    with transaction(world.pool, world.scope(world.seller)) as conn:
        ask = world.ask(conn, world.seller, NOW)
        number = draft.redraw(conn, ask, contract_id, w.wish(volumes="2026-09 month 1200 390.00"))
        draft.send(conn, ask, contract_id, number)
    w.signed_by_both(world, contract_id, NOW, number)
    assert turn.look(world.pool, COOLED).effective == (contract_id,)
    (terms,) = wholesale.of_month(owner, date(2026, 9, 1))
    assert terms.volumes[0].price_yuan_per_mwh == Decimal("390.00")
    assert [each.reason for each in life.events_of(owner, contract_id) if each.deed == "decline"] == [
        "价格偏高"
    ]


def test_while_it_cools_either_side_takes_its_signature_back(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        deal.retract(conn, world.ask(conn, world.buyer, NOW + timedelta(hours=2)), contract_id, "再考虑")

    assert turn.look(world.pool, COOLED).effective == ()
    assert life.find(owner, contract_id).state == "cancelled"


def test_an_agreed_end_takes_the_later_months_out_of_the_market(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    turn.look(world.pool, COOLED)
    number = agreed_request(world, contract_id, "terminate")
    at = COOLED + timedelta(hours=2)
    values = {"first_day": "2026-10-01", "termination_reason": "产量下降", "termination_fee_yuan": "0.00"}
    ending = draft.Wish("termination-agreement", 1, values | {"cooling_hours": "0"}, Changes())
    with transaction(world.pool, world.scope(world.seller)) as conn:
        paper_no = deal.draw_for(conn, world.ask(conn, world.seller, at), number, ending)
        draft.send(conn, world.ask(conn, world.seller, at), contract_id, paper_no)
    w.signed_by_both(world, contract_id, at, paper_no)

    turn.look(world.pool, at + timedelta(minutes=5))
    assert life.find(owner, contract_id).state == "terminated"
    assert len(wholesale.of_month(owner, date(2026, 9, 1))) == 1
    assert wholesale.of_month(owner, date(2026, 10, 1)) == ()
    assert dealings.find_request(owner, number).state == "done"
    late = datetime(2027, 1, 1, tzinfo=UTC)
    turn.look(world.pool, late)
    assert life.find(owner, contract_id).state == "archived"


def test_an_agreed_supplement_is_the_next_version_of_the_terms(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    turn.look(world.pool, COOLED)
    number = agreed_request(world, contract_id, "amend")
    at = COOLED + timedelta(hours=2)
    values = {
        "supplement_text": "十月电量改为八百兆瓦时",
        "volumes": "2026-09 month 1200 398.50\n2026-10 month 800 401.20",
        "cooling_hours": "24",
    }
    with transaction(world.pool, world.scope(world.seller)) as conn:
        wished = draft.Wish("wholesale-supplement", 1, values, Changes())
        paper_no = deal.draw_for(conn, world.ask(conn, world.seller, at), number, wished)
        draft.send(conn, world.ask(conn, world.seller, at), contract_id, paper_no)
    w.signed_by_both(world, contract_id, at, paper_no)

    turn.look(world.pool, at + timedelta(hours=1))
    assert wholesale.of_month(owner, date(2026, 10, 1))[0].volumes[1].mwh == 1000
    turn.look(world.pool, at + timedelta(hours=25))
    (terms,) = wholesale.of_month(owner, date(2026, 10, 1))
    assert (terms.version, terms.volumes[1].mwh) == (2, 800)
    turn.look(world.pool, at + timedelta(hours=26))
    assert wholesale.of_month(owner, date(2026, 10, 1))[0].version == 2


def test_it_begins_ends_and_is_archived_by_the_calendar(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    seen = []
    for day in (date(2026, 8, 24), date(2026, 9, 1), date(2026, 11, 1), date(2026, 12, 31)):
        turn.look(world.pool, datetime(day.year, day.month, day.day, 3, tzinfo=UTC))
        seen.append(life.find(owner, contract_id).state)

    assert seen == ["effective", "executing", "completed", "archived"]
    reasons = [each.deed for each in life.events_of(owner, contract_id)]
    assert reasons[-4:] == ["mature", "begin", "complete", "archive"]


def test_reminders_come_once_each(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    for hours in (73, 74, 75):
        turn.remind(world.pool, NOW + timedelta(hours=hours))
    for day in range(25, 32):
        turn.remind(world.pool, datetime(2026, 8, day, 3, tzinfo=UTC))

    count = owner.execute(
        "SELECT count(*) FROM notice WHERE key = 'contract.remind_delivery_begins' AND party_id = %s",
        (world.seller.party_id,),
    ).fetchone()
    assert count == (2,)  # seven days and one day before 1 September


def test_a_trade_is_in_force_at_once_and_is_found(world: World, owner: Conn) -> None:
    seller, buyer = world.units()
    volume = Volume(date(2026, 9, 1), "month", Decimal("10"), Decimal("400"), Decimal(0))
    terms = WholesaleTerms(
        *(
            "AU-1",
            1,
            ContractKind.AUCTION,
            seller,
            buyer,
            date(2026, 8, 20),
            "场次 17",
            Shape.FLAT,
            (),
            (volume,),
        )
    )
    new = from_trade(terms, "session:17")

    assert life.insert(owner, new, NOW, "job:sessions") == "AU-1"
    assert life.insert(owner, new, NOW, "job:sessions") == "AU-1"
    with pytest.raises(life.ContractKept):
        life.insert(owner, from_trade(terms, "session:18"), NOW, "job:sessions")
    row = life.find(owner, "AU-1")
    assert (row.kind, row.state) == ("confirmation", "effective")
    assert len(life.events_of(owner, "AU-1")) == 1
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        pdf = read.file_for(conn, world.ask(conn, world.buyer, NOW), "AU-1", 1)
    assert "电子交易确认单" in page_text(pdf)
    found, _ = archive.find(owner, archive.Wanted(text="AU-1"))
    assert [each.contract_id for each in found] == ["AU-1"]


def test_one_retailer_a_user_and_period(world: World, owner: Conn) -> None:
    account = "1300000000091"
    owner.execute(
        "INSERT INTO account (account_id, party_id, name, address, grid) VALUES (%s, %s, '车间', '示范园区', 'jibei')",
        (account, world.buyer.party_id),
    )
    for first, past in (("2026-09-01", "2027-09-01"), ("2027-09-01", "2028-09-01")):
        dealings_id = f"R-{first}"
        life.insert(owner, _retail(world, dealings_id, first, past), NOW, "test")
        dealings.hold_accounts(
            owner, dealings_id, (account,), (date.fromisoformat(first), date.fromisoformat(past))
        )
    life.insert(owner, _retail(world, "R-3", "2027-01-01", "2027-12-01"), NOW, "test")

    with pytest.raises(dealings.SuppliedAlready):
        dealings.hold_accounts(owner, "R-3", (account,), (date(2027, 1, 1), date(2027, 12, 1)))


def _retail(world: World, contract_id: str, first: str, past: str) -> NewContract:
    days = (date.fromisoformat(first), date.fromisoformat(past))
    return NewContract(contract_id, Kind.RETAIL, "studio", *world.units(), *days)


def test_who_wrote_a_text_does_not_approve_it(world: World, owner: Conn) -> None:
    (row, *_) = texts.all_of(owner, "clause")
    own = texts.Decision("approve", NOW.date(), "自己批", row.written_by, NOW)

    with pytest.raises(texts.OwnText):
        texts.decide(owner, row, own)


def test_search_finds_one_character_and_keeps_each_to_its_own(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    for text in ("䶮", "铸造", "曲线", contract_id[:6], "１２００", "不 可抗力"):
        with transaction(world.pool, world.scope(world.buyer)) as conn:
            found, _ = archive.find(conn, archive.Wanted(text=text))
        assert [each.contract_id for each in found] == [contract_id], text
        with transaction(world.pool, world.scope(world.stranger)) as conn:
            assert archive.find(conn, archive.Wanted(text=text)) == ((), False)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        assert archive.find(conn, archive.Wanted(text="没有这个词")) == ((), False)


def test_a_draft_is_not_the_other_sides_to_see_before_it_is_sent(world: World, owner: Conn) -> None:
    with transaction(world.pool, world.scope(world.seller)) as conn:
        contract_id = draft.start(conn, world.ask(conn, world.seller, NOW), w.wish(), world.units())

    with transaction(world.pool, world.scope(world.buyer)) as conn, pytest.raises(life.NoContract):
        life.find(conn, contract_id)
