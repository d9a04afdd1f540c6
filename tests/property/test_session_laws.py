"""Laws of sessions: the quick way through a declaration's checks is the slow one's, receipts, books, cuts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud.market import auction, declaration, exchange
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.declaration import Allowance, Declaration, Entry
from cloud.market.hostedbook import hosted
from cloud.market.receipt import Acknowledged, Signer, key_id, receipt, verified
from cloud.market.rests import rests_of
from cloud.market.rolling import TradePrice
from cloud.market.run.convene import rules
from cloud.market.sessionbook import Bid, Way, cleared, cut, result_sha256
from cloud.market.sessionfile import Method
from tests.property import auction_oracle as oracle

RULE = replace(rules()["jibei-monthly-auction@1"], cap_kwh=40_000, segments_max=3, step_ticks=5, lot_kwh=500)
KEY = UUID(int=1)
PRICES = st.sampled_from(
    ["297.60", "297.59", "446.40", "446.45", "372", "372.05", "372.01", "3e2", "x", "-1", "1e400", "NaN"]
)
MWH = st.sampled_from(["0.5", "1", "1.500", "1.2", "0", "-1", "20", "40", "1e1", "0.0005", ""])
ENTRIES = st.lists(st.builds(Entry, st.integers(0, 4), PRICES, MWH), max_size=7)
GOOD = st.lists(
    st.builds(
        Entry,
        st.integers(1, 3),
        st.integers(5952, 8928).map(lambda n: f"{Decimal(n * 5).scaleb(-2)}"),
        st.sampled_from(["0.5", "1", "2.000"]),
    ),
    max_size=7,
)


@st.composite
def nearly_good(draw: st.DrawFn) -> list[Entry]:
    """One segment a period, all in order but for one thing that may be wrong."""
    found = [Entry(period, "372.00", "1.000") for period in (1, 2, 3)]
    place = draw(st.integers(0, 2))
    spoilt = st.one_of(
        st.builds(Entry, st.just(place + 1), PRICES, st.just("1")),
        st.builds(Entry, st.just(place + 1), st.just("372"), MWH),
        st.builds(Entry, st.integers(-1, 5), st.just("372"), st.just("1")),
    )
    found[place] = draw(spoilt)
    return found


@settings(max_examples=300)
@example([Entry(1, "446.45", "1")], Side.BUY, None, True)
@example([Entry(1, "297.55", "1")], Side.SELL, None, True)
@given(
    st.one_of(nearly_good(), ENTRIES, GOOD),
    st.sampled_from(list(Side)),
    st.sampled_from([None, None, 60_000, 1000]),
    st.sampled_from([True, True, True, False]),
)
def test_what_the_quick_way_accepts_the_single_checks_accept_and_nothing_else(
    entries: list[Entry], side: Side, cap: int | None, is_eligible: bool
) -> None:
    sent = Declaration("party:1", side, tuple(entries), KEY)
    allowance = Allowance(is_eligible, cap, None)

    quick = declaration.checked(RULE, 3, allowance, (), sent)

    if entries:
        assert quick == declaration._one_by_one(RULE, 3, allowance, (), sent)


@st.composite
def books(draw: st.DrawFn) -> tuple[Bid, ...]:
    count = draw(st.integers(0, 7))
    found = []
    for number in range(count):
        size = draw(st.integers(1, 4))
        periods = sorted(draw(st.lists(st.integers(1, 2), min_size=size, max_size=size)))
        prices = draw(st.lists(st.integers(95, 105), min_size=size, max_size=size))
        kwh = draw(st.lists(st.integers(1, 50), min_size=size, max_size=size))
        side = draw(st.sampled_from(list(Side)))
        found.append(Bid(10 + number, number, f"u{number}", side, tuple(periods), tuple(prices), tuple(kwh)))
    return tuple(found)


WAYS = st.one_of(
    st.builds(
        Way, st.just(Method.UNIFORM), st.sampled_from(list(PriceRule)), st.sampled_from(list(AtMargin))
    ),
    st.just(Way(Method.PAIRING, PriceRule.MID_LAST, AtMargin.TIME)),
)


@given(books(), WAYS, st.randoms(use_true_random=False))
def test_a_book_in_any_order_gives_the_same_bytes(book: tuple[Bid, ...], way: Way, chance: object) -> None:
    shuffled = list(book)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own Random

    assert result_sha256(cleared(shuffled, 2, way)) == result_sha256(cleared(book, 2, way))


@given(books(), WAYS)
def test_every_declaration_is_in_the_result_and_pieces_are_its_fills(book: tuple[Bid, ...], way: Way) -> None:
    result = cleared(book, 2, way)

    assert set(result.fills) == {bid.seq for bid in book}
    for bid in book:
        for period in (1, 2):
            filled = sum(f for f, p in zip(result.fills[bid.seq], bid.period, strict=True) if p == period)
            given_up = sum(
                piece.quantity_kwh
                for piece in result.pieces
                if piece.period == period and bid.seq in (piece.sell_seq, piece.buy_seq)
            )
            assert filled == given_up
    for piece in result.pieces:
        buyer = next(bid for bid in book if bid.seq == piece.buy_seq)
        assert piece.price_ticks <= max(buyer.price_ticks)


@given(books(), WAYS, st.data())
def test_a_cut_takes_the_same_from_both_sides_and_never_adds(
    book: tuple[Bid, ...], way: Way, data: st.DataObject
) -> None:
    result = cleared(book, 2, way)
    if not result.pieces:
        return
    piece = data.draw(st.sampled_from(list(result.pieces)))
    to_kwh = data.draw(st.integers(0, piece.quantity_kwh - 1))

    after = cut(book, result, {piece.piece_no: to_kwh})

    lost = piece.quantity_kwh - to_kwh
    for bid in book:
        gone = sum(result.fills[bid.seq]) - sum(after.fills[bid.seq])
        assert gone == (lost if bid.seq in (piece.sell_seq, piece.buy_seq) else 0)
        assert all(
            0 <= new <= old for new, old in zip(after.fills[bid.seq], result.fills[bid.seq], strict=True)
        )
    assert (
        sum(each.quantity_kwh for each in after.pieces) == sum(p.quantity_kwh for p in result.pieces) - lost
    )


@given(st.integers(1, 2**40), st.lists(st.integers(1, 96), min_size=1, max_size=5))
def test_a_receipt_is_the_same_each_time_and_its_signature_covers_every_word(
    seq: int, periods: list[int]
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    signer = Signer(key, key_id(key.public_key()))
    size = len(periods)
    kept = Acknowledged(
        *("JB-01", seq, "SUBMIT", 7, "party:7", "S", None, tuple(periods), (37_200,) * size, (1000,) * size),
        *(0, str(KEY), "ab" * 32, datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=UTC)),
    )
    import json

    first = json.dumps(receipt(kept, signer)).encode()

    assert first == json.dumps(receipt(kept, signer)).encode()
    assert verified(first, key.public_key())["seq"] == seq


def defined(book: tuple[Bid, ...], period: int, at_margin: AtMargin) -> tuple[list[Order], oracle.Outcome]:
    """A period of a book as the definition of market.md clears it."""
    entries = [
        (bid, place)
        for bid in sorted(book, key=lambda each: each.seq)
        for place, each in enumerate(bid.period)
        if each == period
    ]
    orders = [
        Order(
            f"{bid.seq}/{place}",
            bid.side,
            bid.price_ticks[place],
            bid.quantity_kwh[place],
            rank,
            str(bid.seq),
        )
        for rank, (bid, place) in enumerate(entries)
    ]
    return orders, oracle.cleared(orders, at_margin)


@given(books(), st.sampled_from(list(AtMargin)))
def test_rests_enter_the_rolling_book_in_the_order_of_their_numbers_and_never_meet(
    book: tuple[Bid, ...], at_margin: AtMargin
) -> None:
    way = Way(Method.UNIFORM, PriceRule.MID_LAST, at_margin)
    rests = rests_of(book, cleared(book, 2, way).fills)

    for period in (1, 2):
        orders, outcome = defined(book, period, at_margin)
        left = [(each, each.quantity_kwh - outcome.fills.get(each.id, 0)) for each in orders]
        events = [("add", each.id, each.side, each.price_ticks, kwh) for each, kwh in left if kwh]
        trades, resting, _ = oracle.rolled(events, TradePrice.RESTING)
        assert trades == []
        assert resting == [
            [f"{each.seq}/{each.entry_no}", each.side, each.price_ticks, each.quantity_kwh]
            for each in rests
            if each.period == period
        ]


@given(books(), st.sampled_from(list(PriceRule)), st.sampled_from(list(AtMargin)))
def test_a_platform_that_clears_as_we_do_gives_the_bytes_that_we_would(
    book: tuple[Bid, ...], rule: PriceRule, at_margin: AtMargin
) -> None:
    own = cleared(book, 2, Way(Method.UNIFORM, rule, at_margin))
    periods = []
    for each in own.prices:
        _, outcome = defined(book, each.period, at_margin)
        out = auction.cleared(defined(book, each.period, at_margin)[0], at_margin)
        prices = (each.price_ticks, outcome.last_bid, outcome.last_ask, out.bid_out_ticks, out.ask_out_ticks)
        periods.append(exchange.PeriodResult(each.period, outcome.volume, *prices))
    fills = {f"S:{seq}": filled for seq, filled in own.fills.items()}
    theirs = exchange.Result("S", 1, rule, at_margin, tuple(periods), fills)

    assert result_sha256(hosted(theirs, book, 2)) == result_sha256(own)
    assert hosted(theirs, tuple(reversed(book)), 2) == hosted(theirs, book, 2)


@given(books(), WAYS, st.data())
def test_what_is_struck_out_changes_the_rest_as_if_it_had_never_come(
    book: tuple[Bid, ...], way: Way, data: st.DataObject
) -> None:
    struck = data.draw(st.sets(st.sampled_from([bid.seq for bid in book]))) if book else set()
    without = cleared([bid for bid in book if bid.seq not in struck], 2, way)
    result = cleared(book, 2, way, struck)

    assert (result.prices, result.pieces) == (without.prices, without.pieces)
    for bid in book:
        nothing = (0,) * len(bid.period)
        assert result.fills[bid.seq] == (nothing if bid.seq in struck else without.fills[bid.seq])
