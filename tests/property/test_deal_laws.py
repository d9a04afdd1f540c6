"""Laws of listings, rolling books, negotiation rooms and contract transfer, and the worked cases of listings line by line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.errors import Refused
from cloud.market import negotiation, transfer
from cloud.market.auction import Side
from cloud.market.listing import Sharing
from cloud.market.negotiation import NEGOTIATION, Deviation, Room, SettlementMethod, Terms
from cloud.market.offering import (
    Asked,
    BadQuantity,
    Code,
    Line,
    Offer,
    Taker,
    answered,
    kwh_from,
    margin_fen,
    shared,
    ticks_from,
)  # fmt: skip
from cloud.market.rollbook import Event, LiveBook, Match, Op, Stays, contracts_of, replayed
from cloud.market.rolling import TradePrice

AT = datetime(2026, 11, 1, 2, tzinfo=UTC)
MONTHS = (date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1))
quantities = st.lists(st.integers(1, 500), min_size=1, max_size=3)


def offer_of(kwh: list[int], **changed: object) -> Offer:
    lines = tuple(Line(month, "month", each, 38_000) for month, each in zip(MONTHS, kwh, strict=False))
    return replace(Offer(1, Side.SELL, lines, AT, AT + timedelta(hours=1)), **changed)  # type: ignore[arg-type]


def asked_of(offer: Offer, kwh: list[int]) -> Asked:
    return Asked(tuple(kwh), tuple(line.price_ticks for line in offer.lines), AT)


@given(
    quantities, st.lists(st.lists(st.integers(0, 300), min_size=3, max_size=3), max_size=12), st.booleans()
)
def test_takes_never_sum_to_more_than_is_listed_and_a_refused_one_gets_nothing(
    listed: list[int], asks: list[list[int]], is_clipped: bool
) -> None:
    offer = offer_of(listed, is_clipped=is_clipped)
    left = list(listed)
    for number, ask in enumerate(asks):
        wanted = ask[: len(listed)]
        outcome = answered(offer, left, True, Taker(2 + number, "user"), asked_of(offer, wanted))
        if outcome.refusal is not None:
            assert outcome.got is None
            continue
        assert outcome.got is not None
        assert all(
            0 <= got <= min(want, rest) for got, want, rest in zip(outcome.got, wanted, left, strict=True)
        )
        assert not is_clipped or outcome.got == tuple(map(min, wanted, left))
        assert is_clipped or list(outcome.got) == wanted
        left = [rest - got for rest, got in zip(left, outcome.got, strict=True)]
    assert min(left) >= 0


@given(st.integers(1, 400), st.lists(st.integers(0, 400), min_size=1, max_size=9))
def test_a_batch_gives_everything_or_what_was_asked_and_nobody_more(whole: int, asks: list[int]) -> None:
    offer = offer_of([whole], sharing=Sharing.PRORATA)

    got = [each for (each,) in shared(offer, [whole], [[ask] for ask in asks])]

    assert sum(got) == min(whole, sum(asks))
    assert all(0 <= one <= ask for one, ask in zip(got, asks, strict=True))
    for one, ask in zip(got, asks, strict=True):  # each within one kWh of its exact share
        assert abs(one * max(1, sum(asks)) - min(whole, sum(asks)) * ask) < max(1, sum(asks))


@given(
    st.integers(1, 400),
    st.lists(st.tuples(st.sampled_from([2, 3]), st.integers(0, 500)), min_size=1, max_size=12),
)
def test_nobody_asks_a_batch_for_more_than_is_listed_however_it_is_cut_up(
    whole: int, asks: list[tuple[int, int]]
) -> None:
    offer = offer_of([whole], sharing=Sharing.PRORATA)
    asked = {2: 0, 3: 0}
    for party_id, kwh in asks:
        outcome = answered(
            offer, [whole], True, Taker(party_id, "user", (asked[party_id],)), asked_of(offer, [kwh])
        )
        fits = kwh > 0 and asked[party_id] + kwh <= whole
        assert (outcome.refusal is None) == fits
        asked[party_id] += kwh if fits else 0
        assert outcome.got is None  # a batch gives nothing before its window closes

    assert max(asked.values()) <= whole


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(Side), st.sampled_from(Sharing))
def test_nobody_takes_the_own_listing(whole: int, kwh: int, side: Side, sharing: Sharing) -> None:
    offer = offer_of([whole], side=side, sharing=sharing)

    outcome = answered(
        offer, [whole], True, Taker(offer.lister_id, "retailer"), asked_of(offer, [min(kwh, whole)])
    )

    assert (outcome.refusal, outcome.got) == (Code.SELF_TRADE, None)


@given(st.sampled_from([1, 2]), st.integers(1, 5))
def test_nobody_accepts_the_own_offer(proposer: int, counters: int) -> None:
    room = Room(1, 2)
    room = negotiation.after(room, negotiation.Event(1, "open", 1, "user:1", AT, {}))
    room = negotiation.after(room, negotiation.Event(2, "join", 2, "user:2", AT, {}))
    for number in range(1, counters + 1):
        offering = proposer if number % 2 else 3 - proposer
        terms = terms_with(1000, 38_000 + number)
        sha256 = negotiation.version_sha256(7, number, room, terms)
        body = {"version": number, "terms": negotiation.terms_json(terms), "sha256": sha256}
        room = negotiation.after(room, negotiation.Event(2 + number, "offer", offering, "user:1", AT, body))
    assert room.standing is not None
    own = {"version": room.standing.version_no, "sha256": room.standing.sha256}
    number = 3 + counters

    with pytest.raises(negotiation.NotYourTurn):
        negotiation.after(
            room, negotiation.Event(number, "accept", room.standing.party_id, "user:1", AT, own)
        )
    other = 3 - room.standing.party_id
    agreed = negotiation.after(room, negotiation.Event(number, "accept", other, "user:2", AT, own)).agreed
    assert agreed is not None


def test_the_codes_come_in_the_order_of_the_reference() -> None:
    offer = offer_of([100], min_take_kwh=10, all_or_none=True, eligible_kinds=("retailer",))
    for is_open, taker, kwh, price, code in (
        (False, Taker(1, "generator"), 5, 0, Code.LISTING_CLOSED),
        (True, Taker(1, "generator"), 5, 0, Code.SELF_TRADE),
        (True, Taker(2, "user"), 5, 0, Code.BELOW_MIN_TAKE),
        (True, Taker(2, "user"), 50, 0, Code.ALL_OR_NONE),
        (True, Taker(2, "user"), 100, 0, Code.NOT_ELIGIBLE),
        (True, Taker(2, "retailer"), 100, 0, Code.PRICE_DIFFERS),
        (True, Taker(2, "retailer"), 100, 38_000, None),
    ):
        assert answered(offer, [100], is_open, taker, Asked((kwh,), (price,), AT)).refusal == code


orders = st.tuples(
    st.sampled_from("BS"),
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from("abc"),
    st.sampled_from(Stays),
)
steps = st.lists(st.one_of(orders, st.tuples(st.just("x"), st.integers(1, 12)),
                           st.tuples(st.just("r"), st.integers(1, 12), st.integers(1, 6), st.integers(1, 9))), max_size=24)  # fmt: skip


def events_of(given_steps: list[tuple[object, ...]]) -> list[Event]:
    found = []
    for seq, each in enumerate(given_steps, start=1):
        if each[0] == "x":
            found.append(Event(seq, Op.CANCEL, order_seq=int(str(each[1]))))
        elif each[0] == "r":
            found.append(
                Event(
                    seq, Op.REPLACE, "", Side.BUY, Stays.DAY, *map(int, map(str, each[2:])), int(str(each[1]))
                )
            )  # type: ignore[arg-type]
        else:
            side, price, quantity, who, stays = each
            found.append(Event(seq, Op.ADD, str(who), Side(str(side)), Stays(str(stays)), int(str(price)), int(str(quantity))))  # fmt: skip
    return found


@given(steps, st.sampled_from(TradePrice), st.integers(0, 24))
def test_a_book_is_its_log_however_it_is_cut_and_every_kwh_is_accounted_for(
    given_steps: list[tuple[object, ...]], rule: TradePrice, cut: int
) -> None:
    log = events_of(given_steps)

    whole, answers = replayed(rule, log)
    tail, _ = replayed(rule, log[:cut])
    later = tuple(tail.apply(event) for event in log[cut:])

    assert tail.state() == whole.state()
    assert answers[cut:] == later
    depth = whole.depth(99)
    assert not depth.bids or not depth.asks or depth.bids[0].price_ticks < depth.asks[0].price_ticks
    for event, answer in zip(log, answers, strict=True):
        if event.op is Op.ADD:  # filled + resting + cancelled = submitted, at the instant it comes
            traded = sum(trade.quantity_kwh for trade in answer.trades)
            assert traded + answer.resting_kwh + answer.cancelled_kwh == event.quantity_kwh
            assert event.stays is Stays.DAY or answer.resting_kwh == 0
            assert event.stays is not Stays.FOK or traded in (0, event.quantity_kwh)
        for trade in answer.trades:
            sides = {log[int(one) - 1].participant for one in (trade.buy_id, trade.sell_id)}
            assert len(sides) == 2
    closing = Event(len(log) + 1, Op.CLOSE)
    assert whole.apply(closing).cancelled_kwh == sum(kwh for _, _, _, kwh in tail.state())
    assert whole.state() == ()
    assert LiveBook(rule).depth() == whole.depth()


pairs = st.tuples(st.sampled_from(["p1", "p2"]), st.sampled_from(["p3", "p4"]), st.sampled_from(MONTHS),
                  st.integers(1, 10**7), st.integers(1, 60_000))  # fmt: skip


@given(st.lists(pairs, min_size=1, max_size=12))
def test_contracts_of_a_day_have_every_kwh_of_its_trades_and_their_money_to_the_fen(
    trades: list[tuple[str, str, date, int, int]],
) -> None:
    matches = [
        Match(seller, buyer, month, "month", kwh, price) for seller, buyer, month, kwh, price in trades
    ]

    made = contracts_of("GD", matches, (date(2026, 11, 1), "test"))

    assert sum(volume.kwh for terms in made for volume in terms.volumes) == sum(each[3] for each in trades)
    money = sum((v.mwh * v.price_yuan_per_mwh for terms in made for v in terms.volumes), Decimal(0))
    exact = sum((Decimal(each[3] * each[4]).scaleb(-5) for each in trades), Decimal(0))
    assert abs(money - exact) <= sum((v.mwh for terms in made for v in terms.volumes), Decimal(0)) * Decimal(
        "5e-7"
    )
    assert len({(terms.seller, terms.buyer) for terms in made}) == len(made)


def terms_with(kwh: int, price: int) -> Terms:
    return Terms((Line(MONTHS[0], "month", kwh, price),), SettlementMethod.PHYSICAL, Deviation.MARKET)


deeds = st.lists(st.tuples(st.sampled_from([*{deed for _, deed in NEGOTIATION.moves}, "say"]), st.sampled_from([1, 2, None]),
                           st.integers(1, 3)), max_size=40)  # fmt: skip


@given(deeds)
def test_whatever_is_tried_what_is_agreed_was_offered_by_the_other_side_and_never_changes(
    tried: list[tuple[str, int | None, int]],
) -> None:
    room, links, before = Room(1, 2), [], negotiation.NOTHING
    agreed: dict[int, str] = {}
    for deed, party, price in tried:
        body: dict[str, object] = {}
        if deed == "offer":
            terms, number = terms_with(1000, 38_000 + price), len(room.versions) + 1
            sha256 = negotiation.version_sha256(7, number, room, terms)
            body = {"version": number, "terms": negotiation.terms_json(terms), "sha256": sha256}
        if deed == "accept" and room.standing is not None:
            body = {"version": room.standing.version_no, "sha256": room.standing.sha256}
        event = negotiation.Event(len(links) + 1, deed, party, "user:1", AT, body)
        try:
            new = negotiation.after(room, event)
        except Refused:
            continue
        if deed == "accept":
            assert room.standing is not None
            assert room.standing.party_id != party
            assert party is not None
            agreed[room.standing.version_no] = room.standing.sha256
        assert new.versions[: len(room.versions)] == room.versions  # nothing that was offered is ever edited
        if new.agreed is not None:
            assert new.standing is None
            assert agreed[new.agreed.version_no] == new.agreed.sha256
        room = new
        link = negotiation.linked(7, event, before)
        links.append(link)
        before = link.sha256
    assert negotiation.folded(Room(1, 2), [link.event for link in links]) == room
    chain = negotiation.evidence(7, "试验", links)["events"]
    assert negotiation.first_broken(chain) is None
    if chain:
        chain[0]["text"] = chain[0]["text"].replace("user:1", "user:2")
        assert negotiation.first_broken(chain) == 1


@given(st.lists(st.tuples(st.integers(0, 9_999), st.integers(0, 9_999)), min_size=1, max_size=3), st.sampled_from(["seller", "buyer"]))  # fmt: skip
def test_a_transfer_conserves_every_kwh_and_every_price(parts: list[tuple[int, int]], side: str) -> None:
    volumes = tuple(
        Volume(month, "month", Decimal(max(part)).scaleb(-3), Decimal("380.00"), Decimal(0))
        for month, part in zip(MONTHS, parts, strict=False)
    )
    old = WholesaleTerms(
        "C1", 3, ContractKind.BILATERAL, "party:1", "party:2", date(2026, 10, 1), "d", Shape.FLAT, (), volumes
    )
    kwh = [min(part) for part in parts]
    assume(any(kwh))
    transfer.check(old, kwh, date(2026, 11, 5))

    left, given_terms = transfer.parted(old, side, kwh, "party:9", ("C2", date(2026, 11, 5), "t"))

    given_by_month = {volume.month: volume.kwh for volume in given_terms.volumes}
    for volume, rest in zip(old.volumes, left.volumes, strict=True):
        assert rest.kwh + given_by_month.get(volume.month, 0) == volume.kwh
        assert rest.price_yuan_per_mwh == volume.price_yuan_per_mwh
    assert sum(given_by_month.values()) == sum(kwh)
    assert (left.version, left.seller, left.buyer) == (4, "party:1", "party:2")
    assert (given_terms.seller, given_terms.buyer) == (
        ("party:9", "party:2") if side == "seller" else ("party:1", "party:9")
    )
    with pytest.raises(transfer.BadTransfer):
        transfer.check(old, [volume.kwh + 1 for volume in old.volumes], date(2026, 11, 5))
    with pytest.raises(transfer.BadTransfer):
        transfer.check(old, kwh, date(2027, 2, 1))  # all those months have begun


@given(st.integers(0, 10**9))
def test_figures_are_read_exactly_or_refused(units: int) -> None:
    assert kwh_from(f"{units // 1000}.{units % 1000:03d}") == units
    assert ticks_from(f"{units // 100}.{units % 100:02d}") == units
    for text in ("", "1.0001", "NaN", "1e400", "１", "1,000", "--1"):
        with pytest.raises(BadQuantity):
            kwh_from(text)


def test_a_margin_is_rounded_up_to_the_fen() -> None:
    assert (
        margin_fen(40_000 * 25_001, Decimal(10)) == 100_004
    )  # IN-107: 10 % of 400.00 x 25.001 MWh = 1000.04 yuan
    assert margin_fen(1, Decimal("0.1")) == 1
    assert margin_fen(0, Decimal(10)) == 0
