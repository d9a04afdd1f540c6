"""A contract from draft to archive on a real database: signed by both, cooled, in the market, changed, ended, disputed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path

import contract_world as w
import psycopg
import pytest
import tsa_world
from contract_world import NOW, World

from cloud.contracts import delivery, document, keyterms
from cloud.contracts.contract import CONTRACT, PAPER, Kind, NewContract, from_trade
from cloud.contracts.document import Changes
from cloud.contracts.run.desk import deal, draft, read, sign, turn, verify
from cloud.contracts.run.desk import print as printing
from cloud.contracts.run.desk.check import NotAdmitted, NotDrafter, WrongSides
from cloud.contracts.store import archive, dealings, life, papers, seals, texts, wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn, open_pool, transaction
from cloud.outside import timestamp
from cloud.paper import cosign
from cloud.paper.attached import page_text
from cloud.paper.cosign import BadPaper, signatures_of
from cloud.paper.glyphs import printable
from cloud.paper.render import Attachment, render
from cloud.paper.seals import make_seal, opened

COOLED = NOW + timedelta(hours=73)


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with open_pool(database, size_max=4) as pool:
        with psycopg.connect(database, autocommit=True) as conn:
            made = w.build(conn, pool, tmp_path / "vault")
        yield made


@pytest.fixture
def owner(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def keys_of(owner: Conn, party_id: int | None) -> set[str]:
    rows = owner.execute(
        "SELECT key FROM notice WHERE party_id IS NOT DISTINCT FROM %s", (party_id,)
    ).fetchall()
    return {row[0] for row in rows}


def name_hours(owner: Conn) -> None:
    """Enter a market whose rule names two periods of the day, from July 2026 on."""
    text = (resources.files("cloud.market") / "rules" / "889-demo.toml").read_text(encoding="utf-8")
    hours = """\n[[hours]]\nmonths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
peak = ["08:00-22:00"]\nvalley = ["00:00-08:00", "22:00-24:00"]\n"""
    owner.execute("INSERT INTO market VALUES ('jibei', '冀北', %s, 'test')", (NOW,))
    owner.execute(
        """INSERT INTO market_rule (market_id, from_month, rule_id, version, sha256, document, body, entered_at, entered_by)
           VALUES ('jibei', '2026-07-01', '889-demo', 1, %s, 'x', %s, %s, 'test')""",
        ("0" * 64, text + hours, NOW),
    )


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


def test_the_signed_file_proves_both_signatures_offline_and_names_rare_characters(
    world: World, owner: Conn
) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        pdf = read.file_for(conn, world.ask(conn, world.buyer, NOW), contract_id, 1)

    checked = signatures_of(pdf, [each.encode() for each in seals.roots(owner)])

    assert checked.is_whole()
    assert [each.signer for _, each in checked.signatures] == [w.SELLER, w.BUYER]
    assert [each.signed_at for _, each in checked.signatures] == [NOW, NOW + timedelta(minutes=1)]
    assert w.SELLER in page_text(pdf)
    assert w.BUYER in page_text(pdf)
    roots = [each.encode() for each in seals.roots(owner)]
    told = {each.key: each for each in verify.findings(pdf, roots)}
    assert [each.key for each in told.values() if each.is_well is False] == []
    assert {"signature_holds", "level_b", "chain_whole", "hash_on_page", "page_same"} <= set(told)
    afters = [each.after_sha256 for each in papers.signers_of(owner, contract_id, 1)]
    said = [each.facts["sha256"] for each in verify.findings(pdf, roots) if each.key == "file_after"]
    assert said == afters
    for key, damaged in damages(pdf).items():
        assert key in wrong_of(damaged, roots), key
    _forged_terms(owner, contract_id, roots)


def wrong_of(pdf: bytes, roots: list[bytes]) -> set[str]:
    try:
        return {each.key for each in verify.findings(pdf, roots) if each.is_well is False}
    except BadPaper:
        return {"unreadable"}


def damages(pdf: bytes) -> dict[str, bytes]:
    """Damaged files by what is to be found wrong with each."""
    last = pdf.rindex(b"startxref")
    first = pdf.index(b"stream\n", len(pdf) // 4) + 20  # within the first revision: what both have signed
    return {
        "signature_broken": pdf[:first] + bytes([pdf[first] ^ 1]) + pdf[first + 1 :],
        "unreadable": pdf[: len(pdf) // 10],
        "chain_broken": pdf + b"\n% added\n" + pdf[last:],
    }


def _forged_terms(owner: Conn, contract_id: str, roots: list[bytes]) -> None:
    """Both seals on a file whose pages show another price than its embedded terms."""
    paper = papers.find(owner, contract_id, 1)
    shown = json.loads(json.dumps(paper.content).replace("398.50", "389.50"))
    data, _ = printable(printing._page(shown, paper.content_sha256, tuple(paper.content["order"])))
    attached = Attachment("contract.json", document.canonical(paper.content), "content of the contract")
    pdf = cosign.prepared(render("contract", data, attached, NOW), 2)
    for place, name in enumerate((w.SELLER, w.BUYER), start=1):
        seal = make_seal(w.authority(), name, "", NOW)
        drawn = printing.stamp(name, seal.sha256, "经办", NOW)
        signer = opened(seal, w.authority().certificate)
        pdf = cosign.cosign(pdf, signer, place, drawn, cosign.When(NOW))
    assert wrong_of(pdf, roots) == {"page_lacks"}


def test_the_time_stamp_of_a_signature_is_kept_with_it_and_without_an_answer_nothing_is(
    world: World, owner: Conn, tmp_path: Path
) -> None:
    contract_id = w.drawn(world)
    number = w.confirmed(world, world.seller, contract_id, NOW)
    with tsa_world.authority(tmp_path) as tsa:
        url = tsa.url
        with transaction(world.pool, world.scope(world.seller)) as conn:
            ask = replace(world.ask(conn, world.seller, NOW), timestamps=timestamp.authority(url))
            sign.sign(conn, ask, contract_id, 1, number)
    number = w.confirmed(world, world.buyer, contract_id, NOW)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        ask = replace(world.ask(conn, world.buyer, NOW), timestamps=timestamp.authority(url))
        with pytest.raises(timestamp.NoTimeStamp):
            sign.sign(conn, ask, contract_id, 1, number)

    seller, buyer = papers.signers_of(owner, contract_id, 1)
    assert (seller.stamp_authority, buyer.stamp_authority) == (tsa_world.NAME, "")
    assert seller.stamped_at is not None
    assert buyer.signed_at is None


def test_one_file_signed_by_one_side_only_is_not_whole(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed(world, world.seller, contract_id, NOW)
    with transaction(world.pool, world.scope(world.seller)) as conn:
        pdf = read.file_for(conn, world.ask(conn, world.seller, NOW), contract_id, 1)

    checked = signatures_of(pdf, [each.encode() for each in seals.roots(owner)])

    assert checked.empty == ("Party2",)
    assert not checked.is_whole()


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


def agreed_request(world: World, contract_id: str, kind: str) -> int:
    at = COOLED + timedelta(hours=1)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        number = deal.request(conn, world.ask(conn, world.buyer, at), contract_id, kind, "产量下降")
    with transaction(world.pool, world.scope(world.lawyer)) as conn:
        deal.answer(conn, world.ask(conn, world.lawyer, at), number, "organise", "请双方协商")
    with transaction(world.pool, world.scope(world.buyer)) as conn, pytest.raises(deal.NotForYou):
        deal.answer(conn, world.ask(conn, world.buyer, at), number, "agree", "自己同意自己")
    with transaction(world.pool, world.scope(world.seller)) as conn:
        assert deal.answer(conn, world.ask(conn, world.seller, at), number, "agree", "同意") == "agreed"
    return number


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


def test_no_month_that_is_over_before_it_has_cooled_is_promised(world: World, owner: Conn) -> None:
    with pytest.raises(delivery.DeliveryOver) as refused:
        w.drawn(world, wished=w.wish(volumes="2026-07 month 1200 398.50\n2026-10 month 1000 401.20"))
    assert (refused.value.facts["month"], refused.value.facts["day"]) == ("2026-07", "2026-08-23")
    # 30 August: cools until 2 September, so August is over; half a day less and its last hour is left
    late = datetime(2026, 8, 29, 2, tzinfo=UTC)
    w.drawn(world, late - timedelta(hours=11), wished=w.wish(volumes="2026-08 month 1 398.50"))
    with pytest.raises(delivery.DeliveryOver):
        w.drawn(world, late, wished=w.wish(volumes="2026-08 month 1 398.50", cooling_hours="72"))
    assert owner.execute("SELECT count(*) FROM contract").fetchone() == (1,)


def test_what_waited_until_its_month_was_over_is_neither_confirmed_nor_signed(
    world: World, owner: Conn
) -> None:
    contract_id = w.drawn(
        world, datetime(2026, 9, 20, 2, tzinfo=UTC), wished=w.wish(volumes="2026-09 month 9 398")
    )
    before = datetime(2026, 9, 27, 15, 58, tzinfo=UTC)
    number = w.confirmed(world, world.seller, contract_id, before)
    late = before + timedelta(minutes=3)  # 00:01 on the 28th, Beijing: three days of cooling end in October

    with pytest.raises(delivery.DeliveryOver):
        w.confirmed(world, world.seller, contract_id, late)
    with transaction(world.pool, world.scope(world.seller)) as conn, pytest.raises(delivery.DeliveryOver):
        sign.sign(conn, world.ask(conn, world.seller, late), contract_id, 1, number)


def test_a_period_that_the_market_does_not_name_is_refused(world: World, owner: Conn) -> None:
    with pytest.raises(delivery.UnknownPeriod):
        w.drawn(world, wished=w.wish(volumes="2026-09 peak 1200 398.50"))
    name_hours(owner)
    w.drawn(world, wished=w.wish(volumes="2026-09 peak 1200 398.50\n2026-09 valley 1 300"))
    w.drawn(world, wished=w.wish(volumes="2026-09 h01 1200 398.50\n2026-10 q96 1 300"))
    with pytest.raises(delivery.UnknownPeriod) as refused:
        w.drawn(world, wished=w.wish(volumes="2026-09 tip 1200 398.50"))
    assert refused.value.facts["allowed"] == "month valley peak h01..h24 q01..q96"


def test_the_price_is_compared_with_the_last_published_table_of_the_buyers_grid(
    world: World, owner: Conn
) -> None:
    for name, first, past in (
        ("jibei-agency-2026-08", "2026-08-01", "2026-09-01"),
        ("hubei-agency-2026-01", "2026-01-01", "2026-02-01"),
    ):
        text = (resources.files("cloud.billing") / "published" / f"{name}.toml").read_text(encoding="utf-8")
        owner.execute(
            """INSERT INTO price_sheet (sheet_id, version, kind, grid, sha256, effective, document, body, loaded_at)
               VALUES (%s, 1, 'price-sheet', %s, %s, tstzrange(%s, %s), 'x', %s, %s)""",
            (name, name.split("-")[0], bytes(32), f"{first} 00:00+08", f"{past} 00:00+08", text, NOW),
        )
    owner.execute(
        "INSERT INTO account (account_id, party_id, name, address, grid) VALUES (%s, %s, '厂', '示范', 'jibei')",
        ("1300000000093", world.buyer.party_id),
    )
    october = datetime(2026, 10, 20, 2, tzinfo=UTC)  # the table of August is the last one that was entered
    contract_id = w.drawn(world, october, wished=w.wish(volumes="2026-12 month 10 500"))
    paper = papers.find(owner, contract_id, 1)

    (said,) = paper.content["prices"]
    assert (said["name"], said["reference"]) == ("agency_average", "398.598")
    assert (said["off"], said["percent"], said["beyond"]) == ("101.402", "+25.4", "20")
    assert "冀北" in said["source"]
    assert paper.card["prices"] == [said]
    told = sign.Told(paper.card_sha256, w.TERMS)
    with transaction(world.pool, world.scope(world.seller)) as conn, pytest.raises(keyterms.NotAcknowledged):
        sign.confirm(conn, world.ask(conn, world.seller, october), contract_id, 1, told)


def test_sides_that_were_swapped_are_told_from_parties_that_make_no_such_contract(world: World) -> None:
    seller, buyer = world.units()
    other = f"party:{world.stranger.party_id}"
    with transaction(world.pool, world.scope(world.writer)) as conn:
        ask = world.ask(conn, world.writer, NOW)
        for units, problem in (((buyer, seller), "sides_swapped"), ((seller, seller), "wrong_sides")):
            for act in (draft.start, draft.preview):
                with pytest.raises(WrongSides) as refused:
                    act(conn, ask, w.wish(), units)
                assert refused.value.key == problem
        draft.preview(conn, ask, w.wish(), (other, buyer))  # who stands between buys and sells
        draft.preview(conn, ask, w.wish(), (seller, other))


def test_a_supplement_leaves_delivered_months_as_they_were(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    turn.look(world.pool, COOLED)
    number = agreed_request(world, contract_id, "amend")
    at = datetime(2026, 10, 9, 2, tzinfo=UTC)  # September is over

    def drawn_up(volumes: str) -> int:
        values = {"supplement_text": "改十月", "volumes": volumes, "cooling_hours": "24"}
        with transaction(world.pool, world.scope(world.seller)) as conn:
            wished = draft.Wish("wholesale-supplement", 1, values, Changes())
            return deal.draw_for(conn, world.ask(conn, world.seller, at), number, wished)

    with pytest.raises(delivery.DeliveryOver):
        drawn_up("2026-09 month 1100 398.50\n2026-10 month 800 401.20")
    paper_no = drawn_up("2026-10 month 800 401.20")
    with transaction(world.pool, world.scope(world.seller)) as conn:
        draft.send(conn, world.ask(conn, world.seller, at), contract_id, paper_no)
    w.signed_by_both(world, contract_id, at, paper_no)
    turn.look(world.pool, at + timedelta(hours=25))
    (terms,) = wholesale.of_month(owner, date(2026, 9, 1))
    assert terms.version == 2
    assert [each.mwh for each in terms.volumes] == [Decimal(1200), Decimal(800)]


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


def test_what_a_negotiation_agreed_stays_as_agreed(world: World, owner: Conn) -> None:
    seller, buyer = world.units()
    volume = Volume(date(2026, 9, 1), "peak", Decimal("10"), Decimal("400"), Decimal(0))
    terms = WholesaleTerms(
        *(
            "BN-4",
            1,
            ContractKind.BILATERAL,
            seller,
            buyer,
            date(2026, 8, 20),
            "协商 4",
            Shape.LOAD,
            (),
            (volume,),
        )
    )
    life.insert(owner, from_trade(terms, "negotiation:4"), NOW, "user:1")
    name_hours(owner)
    with transaction(world.pool, world.scope(world.seller)) as conn:
        ask = world.ask(conn, world.seller, NOW)
        paper_no = draft.redraw(conn, ask, "BN-4", w.wish(volumes="2026-09 month 99999 1.00"))
        draft.send(conn, ask, "BN-4", paper_no)
    w.signed_by_both(world, "BN-4", NOW, paper_no)
    turn.look(world.pool, COOLED)

    (kept,) = wholesale.of_month(owner, date(2026, 9, 1))
    assert (kept.volumes, kept.shape) == ((volume,), Shape.LOAD)


def test_a_party_out_of_force_makes_no_contract(world: World, owner: Conn) -> None:
    owner.execute("UPDATE party SET state = 'suspended' WHERE party_id = %s", (world.buyer.party_id,))

    with pytest.raises(NotAdmitted):
        w.drawn(world)


def test_a_meters_number_tells_nobody_whose_it_is(world: World, owner: Conn) -> None:
    row = owner.execute(
        "INSERT INTO party (kind, name) VALUES ('user', '某住户') RETURNING party_id"
    ).fetchone()
    assert row is not None
    owner.execute(
        "INSERT INTO account (account_id, party_id, name, address) VALUES ('1300000000092', %s, '某住户', '某小区')",
        row,
    )
    for unit in ("1300000000092", f"party:{row[0]}"):
        units = (f"party:{world.seller.party_id}", unit)
        with transaction(world.pool, world.scope(world.seller)) as conn, pytest.raises(life.NoSuchUnit):
            draft.preview(conn, world.ask(conn, world.seller, NOW), w.wish(), units)
        with transaction(world.pool, world.scope(world.seller)) as conn, pytest.raises(life.NoSuchUnit):
            draft.start(conn, world.ask(conn, world.seller, NOW), w.wish(), units)
    with transaction(world.pool, world.scope(world.writer)) as conn:
        draft.preview(conn, world.ask(conn, world.writer, NOW), w.wish(), units)


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
