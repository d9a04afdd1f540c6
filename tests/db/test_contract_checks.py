"""What is refused, warned of or kept as it was when a contract is drawn up, confirmed or supplemented; on a real database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import resources

import contract_world as w
import pytest
from contract_world import COOLED, NOW, World, agreed_request
from contract_world import owner as owner
from contract_world import world as world

from cloud.contracts import delivery, keyterms
from cloud.contracts.contract import from_trade
from cloud.contracts.document import Changes
from cloud.contracts.run.desk import deal, draft, sign, turn
from cloud.contracts.run.desk.check import NotAdmitted, WrongSides
from cloud.contracts.store import life, papers, wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn, transaction


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


@pytest.mark.parametrize(
    "whose", ["buyer", "stranger"]
)  # where neither side has an account, the platform's grid
def test_the_price_is_compared_with_the_last_published_table_of_the_buyers_grid(
    world: World, owner: Conn, whose: str
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
        ("1300000000093", getattr(world, whose).party_id),
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
