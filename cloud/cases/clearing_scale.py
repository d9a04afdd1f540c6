"""Decimals of a clearing case as whole ticks and kWh, and its orders in time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from cloud.cases.work import Work
from cloud.money import EXACT

MWH = "mwh quantity_mwh quantity energy_mwh volume_mwh"

PRICE = "price price_yuan_per_mwh limit_price bid_price ask_price"

PARTICIPANT = "participant id name buyer seller order_id taker order"


class Scale:
    """Turns the decimals of a case into whole ticks and kWh, exactly, and back."""

    def __init__(self, prices: Sequence[Decimal], quantities: Sequence[Decimal]) -> None:
        # One decimal finer than the prices, so that the mean of two is still a whole tick: rounding comes last.
        self._price_places = max((0, *(-int(each.as_tuple().exponent) for each in prices))) + 1
        self._places = max((3, *(-int(each.as_tuple().exponent) for each in quantities)))

    def ticks(self, price: Decimal) -> int:
        return int(EXACT.scaleb(price, self._price_places))

    def kwh(self, quantity: Decimal) -> int:
        return int(EXACT.scaleb(quantity, self._places))

    def price(self, ticks: int) -> Decimal:
        return EXACT.scaleb(Decimal(ticks), -self._price_places)

    def mwh(self, kwh: int) -> Decimal:
        return EXACT.scaleb(Decimal(kwh), -self._places)


def scale_of(work: Work, names: Sequence[str]) -> Scale:
    prices, quantities = [], []
    for name in names:
        for row in (
            work.tables(name) if work.is_list(name) else ([work.table(name)] if work.is_table(name) else [])
        ):
            if row.own(PRICE):
                prices.append(row.decimal(PRICE))
            quantities.append(row.not_negative(MWH))
    return Scale(prices, quantities)


def names_of(rows: Sequence[Work]) -> tuple[str, ...]:
    return tuple(row.text_or(f"#{number}", PARTICIPANT) for number, row in enumerate(rows, 1))


def order_of_time(rows: Sequence[Work]) -> tuple[int, ...]:
    """Positions by sequence number or clock time; the order of the list decides between equals and without either."""
    keys: list[tuple[Decimal, str]] = []
    for row in rows:
        number = (
            row.decimal("sequence seq order_sequence")
            if row.own("sequence seq order_sequence") and row.has("sequence seq order_sequence")
            else Decimal(0)
        )
        clock = row.text("time submitted_at at") if row.own("time submitted_at at") else ""
        keys.append((number, clock.rjust(32) if clock.count(":") == 1 and clock.index(":") == 1 else clock))
    ranked = sorted(range(len(rows)), key=lambda index: (keys[index], index))
    return tuple(ranked.index(index) + 1 for index in range(len(rows)))
