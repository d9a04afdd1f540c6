"""A platform's result as a result of our own book: the same document over the same book always gives the same bytes. Pure.

Every declaration of our book is in it; what the platform never took got nothing. Sellers and buyers are laid end to end
as after a clearing of our own, at the platform's price: a platform that clears as we do gives the bytes that we would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloud.market.auction import Clearing, Fill, Order, PriceRule, Side, price_ticks
from cloud.market.exchange import BadResult
from cloud.market.exchange import PeriodResult as TheirPeriod
from cloud.market.exchange import Result as TheirResult
from cloud.market.matching import matched
from cloud.market.sessionbook import Bid, PeriodResult, Piece, Result


def seq_of(key: str) -> int:
    """The number in our book of a declaration by its key, 'session:number'."""
    return int(key.rpartition(":")[2])


def hosted(theirs: TheirResult, bids: Sequence[Bid], periods: int) -> Result:
    """Turn a checked result into ours; `bids` are our book and whatever else the platform held. Raises BadResult."""
    found = {each.period: each for each in theirs.periods}
    if unknown := sorted(number for number in found if not 1 <= number <= periods):
        raise BadResult(
            "bad_result", session=theirs.session_no, place=f"period {unknown[0]}", problem="unknown"
        )
    fills = {bid.seq: [0] * len(bid.period) for bid in bids}
    held = {seq_of(key): filled for key, filled in theirs.fills.items()}
    for seq, filled in held.items():
        if seq not in fills or len(filled) != len(fills[seq]):
            raise BadResult("bad_result", session=theirs.session_no, place=f"#{seq}", problem="not ours")
        fills[seq] = list(filled)
    prices: list[PeriodResult] = []
    made: list[Piece] = []
    for number in range(1, periods + 1):
        period = found.get(number)
        prices.append(_price(number, period, [bid for bid in bids if bid.seq in held]))
        for sell, buy, kwh in _pairs(number, bids, fills):
            ticks = 0 if period is None or period.price_ticks is None else period.price_ticks
            made.append(Piece(len(made) + 1, number, sell, buy, kwh, ticks))
    return Result(tuple(prices), {seq: tuple(each) for seq, each in fills.items()}, tuple(made))


def _price(number: int, period: TheirPeriod | None, held: Sequence[Bid]) -> PeriodResult:
    declared = {side: sum(_kwh(bid, number) for bid in held if bid.side is side) for side in Side}
    offered = declared[Side.BUY], declared[Side.SELL]
    if period is None:
        return PeriodResult(number, 0, None, None, None, None, None, *offered, None)
    clearing = Clearing(
        *(period.volume_kwh, period.last_bid_ticks, period.last_ask_ticks),
        *(period.bid_out_ticks, period.ask_out_ticks, ()),
    )
    low, high = clearing.interval_ticks or (None, None)
    return PeriodResult(
        *(number, period.volume_kwh, period.price_ticks, period.last_bid_ticks, period.last_ask_ticks),
        *(low, high, *offered, price_ticks(clearing, PriceRule.MARGINAL)),
    )


def _kwh(bid: Bid, number: int) -> int:
    return sum(kwh for period, kwh in zip(bid.period, bid.quantity_kwh, strict=True) if period == number)


def _pairs(
    number: int, bids: Sequence[Bid], fills: Mapping[int, Sequence[int]]
) -> list[tuple[int, int, int]]:
    entries = [
        (bid, place)
        for bid in sorted(bids, key=lambda each: each.seq)
        for place, period in enumerate(bid.period)
        if period == number
    ]
    orders = [
        Order(str(rank), bid.side, bid.price_ticks[place], bid.quantity_kwh[place], rank, str(bid.seq))
        for rank, (bid, place) in enumerate(entries)
    ]
    filled = tuple(Fill(str(rank), fills[bid.seq][place]) for rank, (bid, place) in enumerate(entries))
    volume_kwh = sum(
        kwh.quantity_kwh for kwh, order in zip(filled, orders, strict=True) if order.side is Side.BUY
    )
    found = matched(orders, Clearing(volume_kwh, None, None, None, None, filled))
    return [(int(each.seller), int(each.buyer), each.quantity_kwh) for each in found]
