"""From the pieces of a result to trades: who buys how much from whom, as one contract or, at several prices, several. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.market.session import Period
from cloud.market.sessionfile import Product, SessionRule
from cloud.money import fen_of


@dataclass(frozen=True, slots=True)
class PieceRow:
    """A piece with the parties on both sides."""

    piece_no: int
    period: int
    sell_seq: int
    buy_seq: int
    seller_id: int
    buyer_id: int
    seller: str
    buyer: str
    seller_unit: str
    buyer_unit: str
    quantity_kwh: int
    price_ticks: int


@dataclass(frozen=True, slots=True)
class TradedIn:
    """What a contract needs of its session."""

    session_no: str
    rule: SessionRule
    periods: tuple[Period, ...]


def trades(pieces: Iterable[PieceRow]) -> Mapping[tuple[str, str, int], tuple[PieceRow, ...]]:
    """Pieces by seller's unit, buyer's unit and layer."""
    return {
        (*pair, depth): layer
        for pair, own in _by_pair(pieces).items()
        for depth, layer in enumerate(_layers(own))
    }


def _by_pair(pieces: Iterable[PieceRow]) -> Mapping[tuple[str, str], tuple[PieceRow, ...]]:
    found: dict[tuple[str, str], list[PieceRow]] = {}
    for piece in pieces:
        found.setdefault((piece.seller_unit, piece.buyer_unit), []).append(piece)
    return {pair: tuple(found[pair]) for pair in sorted(found)}


def _layers(pieces: Sequence[PieceRow]) -> tuple[tuple[PieceRow, ...], ...]:
    """Put pieces so that each layer has every period once at one price; equal prices of a period are one already or summed."""
    by_period: dict[int, dict[int, PieceRow]] = {}
    for piece in pieces:
        prices = by_period.setdefault(piece.period, {})
        before = prices.get(piece.price_ticks)
        prices[piece.price_ticks] = piece if before is None else _joined(before, piece)
    layers: list[list[PieceRow]] = []
    for period in sorted(by_period):
        for depth, ticks in enumerate(sorted(by_period[period])):
            if depth == len(layers):
                layers.append([])
            layers[depth].append(by_period[period][ticks])
    return tuple(map(tuple, layers))


def _joined(one: PieceRow, other: PieceRow) -> PieceRow:
    return PieceRow(
        *(one.piece_no, one.period, one.sell_seq, one.buy_seq, one.seller_id, one.buyer_id),
        *(one.seller, one.buyer, one.seller_unit, one.buyer_unit),
        *(one.quantity_kwh + other.quantity_kwh, one.price_ticks),
    )


def figures(layer: Sequence[PieceRow]) -> tuple[tuple[int, int, int], ...]:
    """What of a trade a corrected result may change: energy and price of every period."""
    return tuple((each.period, each.quantity_kwh, each.price_ticks) for each in layer)


def sums(layer: Sequence[PieceRow]) -> tuple[int, int]:
    """Energy in kWh and value in fen."""
    amount = sum(each.quantity_kwh * each.price_ticks for each in layer)
    return sum(each.quantity_kwh for each in layer), fen_of(Decimal(amount).scaleb(-5))


def terms_of(of: TradedIn, contract_id: str, layer: Sequence[PieceRow], signed: date) -> WholesaleTerms:
    """What a trade is agreed to be: a volume a period, at its price."""
    rule, seller, buyer = of.rule, layer[0].seller_unit, layer[0].buyer_unit
    is_green = rule.product is Product.GREEN
    volumes = tuple(
        Volume(
            *(of.periods[each.period - 1].month, of.periods[each.period - 1].label),
            Decimal(each.quantity_kwh).scaleb(-3),
            Decimal(each.price_ticks).scaleb(-2),
            Decimal(rule.environment_ticks).scaleb(-2),
        )
        for each in layer
    )
    return WholesaleTerms(
        *(contract_id, 1, ContractKind.GREEN if is_green else ContractKind.AUCTION, seller, buyer),
        *(signed, f"电子交易确认单 {contract_id}（{of.session_no}）", Shape.FLAT, (), volumes),
        (buyer,) if is_green and not buyer.startswith("party:") else (),
    )
