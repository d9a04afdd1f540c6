"""Laws of declarations, the live curve, pieces, spread return and rolling books (market.md 11: P23, P27-P30, P32-P35)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud.market import auction, kernel, matching, orders
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.curve import Curve, own_levels
from cloud.market.orders import BookState, Code, Held, Limits, Rules, Submission
from cloud.market.rolling import Book, Trade, TradePrice
from cloud.market.spread import ReturnSplit, spread_return
from cloud.market.steps import steps, thinned
from tests.property import auction_oracle as oracle
from tests.property.test_exchange_laws import books, margins

# ---- rolling --------------------------------------------------------------------------------------------------------

ids = st.sampled_from("abcdefgh")
events = st.lists(
    st.tuples(
        st.sampled_from(("add", "add", "add", "cancel", "replace")),
        ids,
        st.sampled_from(Side),
        st.integers(-3, 4),
        st.integers(0, 9),
    ),
    max_size=25,
)


def playable(listed: Sequence[oracle.Event]) -> list[oracle.Event]:
    """Give every new order a name of its own; cancels and replaces name the last of that letter."""
    found: list[oracle.Event] = []
    count: dict[str, int] = {}
    sides: dict[str, Side] = {}
    for op, letter, side, price, quantity in listed:
        if op == "add":
            count[letter] = count.get(letter, 0) + 1
        own = f"{letter}{count.get(letter, 0)}"
        sides.setdefault(own, side)
        found.append((op, own, sides[own], price, quantity))
    return found


def play(book: Book, listed: Sequence[oracle.Event]) -> tuple[list[Trade], dict[str, int]]:
    trades: list[Trade] = []
    cancelled: dict[str, int] = {}
    for number, (op, own, side, price, quantity) in enumerate(listed):
        order = Order(own, side, price, quantity, number)
        if op == "cancel":
            cancelled[own] = book.cancel(own)
        else:
            trades += book.add(order) if op == "add" else book.replace(order)
    return trades, cancelled


def told(trades: Sequence[Trade]) -> list[list[object]]:
    return [[t.buy_id, t.sell_id, t.quantity_kwh, t.price_ticks] for t in trades]


def left(book: Book) -> list[list[object]]:
    return [[order.id, order.side, order.price_ticks, open_kwh] for order, open_kwh in book.resting()]


@settings(max_examples=300)
@given(events, st.sampled_from(TradePrice))
def test_a_book_trades_as_a_searched_list_does(listed: list[oracle.Event], rule: TradePrice) -> None:
    """P26, P27 and the rest: trades, resting orders in order of time, cancelled quantities."""
    listed = playable(listed)
    trades, resting, cancelled = oracle.rolled(listed, rule)

    book = Book(rule)
    made, taken_out = play(book, listed)

    assert told(made) == trades
    assert left(book) == resting
    assert taken_out == cancelled


@given(events, ids)
def test_a_cancel_said_twice_is_a_cancel(listed: list[oracle.Event], letter: str) -> None:
    """P28."""
    book = Book()
    play(book, playable(listed))
    own = f"{letter}1"
    book.cancel(own)
    after = left(book)

    assert book.cancel(own) == 0
    assert left(book) == after


@given(events, st.integers(0, 25), st.sampled_from((TradePrice.RESTING, TradePrice.MID)))
def test_what_rests_and_what_comes_after_is_the_whole(
    listed: list[oracle.Event], at: int, rule: TradePrice
) -> None:
    """P29: a book rebuilt from its resting orders goes on as the one that was never stopped."""
    listed = playable(listed)
    whole, stopped, rebuilt = Book(rule), Book(rule), Book(rule)
    trades, _ = play(whole, listed)
    before, _ = play(stopped, listed[:at])
    for order, open_kwh in stopped.resting():
        assert rebuilt.add(Order(order.id, order.side, order.price_ticks, open_kwh, order.seq)) == ()

    after, _ = play(rebuilt, listed[at:])

    assert before + after == trades
    assert left(rebuilt) == left(whole)


@given(events, events)
def test_two_books_know_nothing_of_each_other(one: list[oracle.Event], other: list[oracle.Event]) -> None:
    """P30."""
    alone = Book(TradePrice.MEDIAN)
    expected, _ = play(alone, playable(one))

    book, beside = Book(TradePrice.MEDIAN), Book(TradePrice.MEDIAN)
    made: list[Trade] = []
    second = playable(other)
    for number, event in enumerate(playable(one)):
        made += play(book, [event])[0]
        play(beside, second[number : number + 1])

    assert made == expected
    assert left(book) == left(alone)


# ---- pieces ---------------------------------------------------------------------------------------------------------


@given(books(20), margins)
def test_pieces_give_everybody_what_the_clearing_gave(listed: list[Order], at_margin: AtMargin) -> None:
    clearing = kernel.cleared(listed, at_margin)
    own = [
        Order(o.id, o.side, o.price_ticks, o.quantity_kwh, o.seq, f"{o.side}{o.participant}") for o in listed
    ]

    found = matching.matched(own, clearing)

    filled = clearing.filled_kwh()
    for side in Side:
        got: dict[str, int] = {}
        for piece in found:
            name = piece.buyer if side is Side.BUY else piece.seller
            got[name] = got.get(name, 0) + piece.quantity_kwh
        due: dict[str, int] = {}
        for order in own:
            if order.side is side and order.id in filled:
                due[order.participant] = due.get(order.participant, 0) + filled[order.id]
        assert got == due
    assert all(piece.quantity_kwh > 0 for piece in found)
    assert len(found) <= max(0, len({p.buyer for p in found}) + len({p.seller for p in found}) - 1)


def test_pieces_of_unequal_sides_are_refused() -> None:
    with pytest.raises(matching.SidesUnequal):
        matching.pieces([matching.Share("b", 10)], [matching.Share("s", 9)])


def test_the_same_two_meeting_again_is_one_piece() -> None:
    share = matching.Share
    found = matching.pieces(
        [share("b", 5), share("b", 5), share("c", 4)], [share("s", 5), share("s", 7), share("t", 2)]
    )

    assert found == (
        matching.Piece("s", "b", 10),
        matching.Piece("s", "c", 2),
        matching.Piece("t", "c", 2),
    )


@given(books(20))
def test_pieces_of_pairs_keep_quantity_and_money(listed: list[Order]) -> None:
    pairs = auction.paired(listed)

    found = matching.matched_pairs(listed, pairs)

    assert sum(p.quantity_kwh for p in found) == sum(p.quantity_kwh for p in pairs)
    assert sum(p.quantity_kwh * p.price_ticks for p in found) == sum(
        p.quantity_kwh * p.price_ticks for p in pairs
    )


# ---- spread return --------------------------------------------------------------------------------------------------

betas = st.fractions(0, 1, max_denominator=12)


@given(books(14, span=60), betas, st.sampled_from(ReturnSplit))
def test_a_surplus_is_shared_to_the_last_fraction(
    listed: list[Order], beta: Fraction, split: ReturnSplit
) -> None:
    """P23: buyers pay what sellers get, exactly and in whole units; nobody is worse off than declared."""
    found = spread_return(listed, beta, split)
    filled, by_id = found.filled_kwh(), {order.id: order for order in listed}
    side = {own: (1 if by_id[own].side is Side.BUY else -1) for own in filled}
    money = found.money()

    assert sum(side[own] * found.settled_ticks[own] * kwh for own, kwh in filled.items()) == 0
    assert sum(side[own] * money[own] for own in filled) == 0
    for own, kwh in filled.items():
        assert side[own] * (by_id[own].price_ticks - found.settled_ticks[own]) >= 0
        assert abs(money[own] - found.settled_ticks[own] * kwh) < 1
    gained = sum(
        kwh * (found.settled_ticks[own] - by_id[own].price_ticks)
        for own, kwh in filled.items()
        if side[own] == -1
    )
    assert gained == beta * sum(p.quantity_kwh * (p.bid_ticks - p.ask_ticks) for p in found.pairs)


@given(books(14, span=60), st.sampled_from(ReturnSplit))
def test_a_coefficient_of_one_or_none_leaves_one_side_at_its_word(
    listed: list[Order], split: ReturnSplit
) -> None:
    """P23: at 1 buyers pay their bids, at 0 sellers get their asks."""
    for beta, side in ((Fraction(1), Side.BUY), (Fraction(0), Side.SELL)):
        settled = spread_return(listed, beta, split).settled_ticks
        assert all(
            settled[order.id] == order.price_ticks
            for order in listed
            if order.side is side and order.id in settled
        )


# ---- intake ---------------------------------------------------------------------------------------------------------

RULES = Rules(
    period_count=2,
    price_min_ticks=29760,
    price_max_ticks=44640,
    segment_count_max=3,
    margin_rate_pct=Decimal("10"),
)
LINE = Decimal("1000.00")
LIMITS = Limits(cap_kwh=60_000, margin_free_yuan=LINE)
prices = st.sampled_from(("297.60", "297.59", "372.005", "380", "4.0e2", "446.40", "446.41", "NaN", "400.00"))
quantities = st.sampled_from(("0", "-1", "0.001", "0.0005", "10", "25.000", "1e1", "5.5"))
submissions = st.lists(
    st.builds(
        Submission,
        st.sampled_from(("A", "B")),
        st.sampled_from(Side),
        st.integers(0, 3),
        st.lists(st.tuples(prices, quantities), min_size=0, max_size=4).map(tuple),
        st.sampled_from((None, "k1", "k2", "k3")),
    ),
    max_size=25,
)


@dataclass(frozen=True)
class Row:
    """A committed row as the curve sees it."""

    seq: int
    side: str | None
    replaces: int | None
    period: list[int]
    price_ticks: list[int]
    quantity_kwh: list[int]


def row_of(held: Held) -> Row:
    count = len(held.segments)
    return Row(
        held.seq,
        held.side,
        None,
        [held.period_no] * count,
        [each.price_ticks for each in held.segments],
        [each.quantity_kwh for each in held.segments],
    )


@settings(max_examples=200)
@given(submissions)
def test_only_what_is_accepted_leaves_a_trace_and_no_line_is_ever_passed(sent: list[Submission]) -> None:
    """P32, P33, P35."""
    held: tuple[Held, ...] = ()
    curve = Curve()
    for each in sent:
        before = held
        checked = orders.check(RULES, LIMITS, BookState(True, held), each)
        if checked.code is Code.ACCEPT:
            new = Held(
                len(held) + 1, each.participant, each.side, each.period_no, checked.segments, each.client_key
            )
            held = (*held, new)
            curve.add([row_of(new)])
            if each.client_key is not None:
                for state in (BookState(True, held), BookState(False, held)):
                    again = orders.check(RULES, LIMITS, state, each)
                    assert (again.code, again.first_seq) == (Code.SAME_ACK_AS_FIRST, new.seq)
        else:
            assert held == before
        for who in ("A", "B"):
            own = [h for h in held if h.participant == who]
            bought = [segment for h in own if h.side is Side.BUY for segment in h.segments]
            value = sum(segment.price_ticks * segment.quantity_kwh for segment in bought)
            assert Fraction(value, 10**5) / 10 <= Fraction(LINE)
            assert sum(s.quantity_kwh for h in own for s in h.segments) <= 60_000
            assert all(len({h.side for h in own if h.period_no == period}) <= 1 for period in (1, 2))
    for period in (1, 2):
        for side in Side:
            total = sum(
                s.quantity_kwh for h in held if (h.side, h.period_no) == (side, period) for s in h.segments
            )
            assert sum(kwh for _, kwh in curve.levels(side, period)) == total
    for h in held:
        assert all(29760 <= s.price_ticks <= 44640 and s.quantity_kwh > 0 for s in h.segments)


def priced(text: str) -> orders.Checked:
    sent = Submission("A", Side.SELL, 1, ((text, "1"),))
    return orders.check(RULES, Limits(), BookState(True), sent)


@given(st.text(max_size=8))
@example("３７２")
@example("372.00\n")
@example("٣٧٢")
@example("Infinity")
@example("-nan")
@example("3_7_2")
def test_a_price_is_a_plain_decimal_or_nothing(text: str) -> None:
    plain = text.isascii() and text.strip() == text and not set(text.lower()) - set("0123456789.-e+")

    if not plain or not any(character.isdigit() for character in text):
        assert priced(text).code is Code.PRICE_INVALID


@given(st.decimals(280, 460, places=6), st.integers(0, 24))
def test_a_price_is_taken_exactly_or_not_at_all(value: Decimal, more: int) -> None:
    """A digit however far behind the point is never rounded away."""
    text = f"{value:f}" + "0" * more
    with localcontext(prec=80):
        ticks = Decimal(text) * 100
        is_whole = ticks == ticks.to_integral_value()

    checked = priced(text)

    if not is_whole:
        assert checked.code is Code.PRICE_TICK
    elif checked.code is Code.ACCEPT:
        assert checked.segments[0].price_ticks == ticks
    assert priced(f"{value.to_integral_value()}." + "0" * 27 + "1").code is Code.PRICE_TICK


# ---- the curve ------------------------------------------------------------------------------------------------------

entries = st.lists(
    st.tuples(st.integers(1, 2), st.integers(0, 6), st.integers(1, 30)), min_size=1, max_size=4
)


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Rows of a book: new declarations, replacements and withdrawals of what stands."""
    found: list[Row] = []
    standing: dict[int, str] = {}
    seq = 0
    for _ in range(draw(st.integers(0, 14))):
        seq += draw(st.integers(1, 3))
        before = draw(st.none() | st.sampled_from(sorted(standing))) if standing else None
        side = draw(st.sampled_from(Side)).value if before is None else standing.pop(before)
        rows = draw(entries if before is None else entries | st.just([]))
        if rows:
            standing[seq] = side
        found.append(Row(seq, side, before, *([row[place] for row in rows] for place in range(3))))
    return found


def standing_of(log: Sequence[Row]) -> list[Row]:
    gone = {row.replaces for row in log}
    return [row for row in log if row.seq not in gone and row.period]


@settings(max_examples=200)
@given(logs(), st.integers(0, 14))
def test_a_curve_kept_up_to_date_is_the_curve_of_what_stands(log: list[Row], at: int) -> None:
    """P34; events that come again, as after a lost connection, count once."""
    kept = Curve()
    kept.add(log[:at])
    kept.add(log[max(0, at - 2) :])

    for period in (1, 2):
        snapshot = kept.snapshot(period, PriceRule.MARGINAL)
        listed = [
            Order(f"{row.seq}.{place}", Side(str(row.side)), price, kwh, 100 * row.seq + place)
            for row in standing_of(log)
            for place, (own, price, kwh) in enumerate(
                zip(row.period, row.price_ticks, row.quantity_kwh, strict=True)
            )
            if own == period
        ]
        clearing = auction.cleared(listed)
        assert snapshot.demand == steps(listed, Side.BUY)
        assert snapshot.supply == steps(listed, Side.SELL)
        assert snapshot.volume_kwh == clearing.volume_kwh
        assert snapshot.price_ticks == auction.price_ticks(clearing, PriceRule.MARGINAL)
        assert snapshot.interval_ticks == clearing.interval_ticks
        assert kept.levels(Side.BUY, period) == tuple(
            sorted(own_levels(log, Side.BUY, period).items(), reverse=True)
        )


@given(logs())
def test_a_thinned_curve_keeps_all_quantity_and_its_ends(log: list[Row]) -> None:
    kept = Curve()
    kept.add(log)
    whole = kept.snapshot(1, PriceRule.MARGINAL).supply

    few = thinned(whole, 3)

    assert len(few) == min(3, len(whole))
    if whole:
        assert (few[0].start_kwh, few[-1].end_kwh) == (0, whole[-1].end_kwh)
        assert few[-1].price_ticks == whole[-1].price_ticks
        assert all(one.end_kwh == two.start_kwh for one, two in pairwise(few))
