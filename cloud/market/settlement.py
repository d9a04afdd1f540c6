"""Market settlement: contracts, energy and prices -> the lines of one unit. Pure.

Every line is rounded once to the fen and carries its derivation. Positive = the unit pays; so a generator's lines are
the mirror of a user's, and a contract's two lines cancel. Shares of named differences: cloud/market/balance.py.
Sources: 发改能源规〔2025〕976号, 1656号; tariffs-and-settlement 10.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cloud.contracts.volumes import spread
from cloud.market import sums
from cloud.market.deviation import NoSuchPrice, Part, deviation_amount
from cloud.market.greenmatch import GreenMatch
from cloud.market.line import Derivation as Derivation
from cloud.market.line import Input as Input
from cloud.market.line import Item as Item
from cloud.market.line import SettlementLine as SettlementLine
from cloud.market.line import Side as Side
from cloud.market.month import (
    ContractFacts,
    MarketMonth,
    Mechanism,
    Stretch,
    UnitFacts,
    added_kwh,
    mwh,
    stretches,
)
from cloud.market.rulefile import Form, LineLoss, MarketRule, Reference, SpotForm
from cloud.market.sums import Sum, side_sign, sum_line
from cloud.markettime import month_after
from cloud.money import EXACT, fen_for, fen_of, product, quotient, total

LOSS_AVERAGE, LOSS_RATE = "loss_purchase_average", "line_loss_rate"
PRICE_QUANTUM = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class RetailerResult:
    """A retailer's month: revenue from customers and cost of the wholesale market, shown separately (976号 art. 34)."""

    revenue_fen: int
    cost_fen: int

    @property
    def net_fen(self) -> int:
        """What the retailer is left with."""
        return self.revenue_fen - self.cost_fen


def amount_of(quantity_mwh: Decimal, price_yuan_per_mwh: Decimal) -> int:
    """Price one settlement line in fen: MWh x yuan/MWh, rounded once."""
    return fen_for(quantity_mwh, price_yuan_per_mwh)


def retailer_result(retail_fen: Iterable[int], wholesale_fen: Iterable[int]) -> RetailerResult:
    """Set the energy part of the customers' bills against the wholesale lines."""
    return RetailerResult(sum(retail_fen), sum(wholesale_fen))


def loss_price(average_yuan_per_mwh: Decimal, rate: Decimal) -> Decimal:
    """Compute the line-loss price P·r/(1−r) of a MWh used, to 0.001 yuan."""
    return quotient(product(average_yuan_per_mwh, rate), EXACT.subtract(Decimal(1), rate), PRICE_QUANTUM)


def unit_lines(
    unit: UnitFacts, market: MarketMonth, contracts: Sequence[ContractFacts], green: Mapping[str, GreenMatch]
) -> tuple[SettlementLine, ...]:
    """Settle one unit: everything but its shares of named differences. Raises NoSuchPrice.

    `contracts` are those the unit has a part in, `green` the matches of all green contracts by number.
    """
    own = [each for each in contracts if unit.unit_id in (each.terms.seller, each.terms.buyer)]
    lines: list[SettlementLine] = []
    if market.rule.form is Form.SPOT:
        lines += _spot_lines(unit, market, own)
    else:
        lines += [line for each in own for line in _contract_lines(unit, market, each)]
        if unit.is_metered:
            lines += _deviation_lines(unit, market, own)
    if unit.mechanism is not None:
        lines += _mechanism_lines(unit, market, unit.mechanism)
    lines += [
        _green_line(unit, market, each, green[each.terms.contract_id])
        for each in own
        if each.terms.contract_id in green
    ]
    if market.rule.line_loss is LineLoss.SETTLED and unit.side in (Side.USER, Side.RETAILER):
        lines.append(_loss_line(unit, market))
    return tuple(lines)


def contract_position(unit: UnitFacts, contracts: Iterable[ContractFacts], size: int) -> tuple[int, ...]:
    """Compute what the unit is promised (or has promised, on the generating side) by period, in kWh."""
    buying = unit.side is not Side.GENERATOR
    signed = [
        tuple(kwh if (each.terms.buyer == unit.unit_id) == buying else -kwh for kwh in each.kwh)
        for each in contracts
        if unit.unit_id in (each.terms.buyer, each.terms.seller)
    ]
    return added_kwh(size, signed)


def contract_days(unit: UnitFacts, contracts: Iterable[ContractFacts]) -> tuple[int, ...]:
    """Compute what the unit is promised (or has promised) by day, in kWh: for the picture beside what was metered."""
    buying = unit.side is not Side.GENERATOR
    signed = [
        tuple(kwh if (each.terms.buyer == unit.unit_id) == buying else -kwh for kwh in promise.day_kwh)
        for each in contracts
        if unit.unit_id in (each.terms.buyer, each.terms.seller)
        for promise in each.promises
    ]
    return tuple(map(sum, zip(*signed, strict=True)))


def _contract_lines(unit: UnitFacts, market: MarketMonth, contract: ContractFacts) -> list[SettlementLine]:
    terms = contract.terms
    sign = 1 if unit.unit_id == terms.buyer else -1
    lines = []
    for promise in contract.promises:
        volume = promise.volume
        inputs = (
            Input("mwh", volume.mwh, "MWh", terms.origin, terms.document),
            Input("price", volume.price_yuan_per_mwh, "yuan/MWh", terms.origin, terms.document),
        )
        lines.append(
            SettlementLine(
                unit.unit_id,
                unit.party_id,
                unit.side,
                Item.CONTRACT,
                terms.contract_id,
                volume.period,
                volume.mwh,
                volume.price_yuan_per_mwh,
                sign * fen_for(volume.mwh, volume.price_yuan_per_mwh),
                _derived(sign, "mwh * price", inputs, market),
                market.rule.origin,
            )
        )
    return lines


def _deviation_lines(
    unit: UnitFacts, market: MarketMonth, contracts: Sequence[ContractFacts]
) -> list[SettlementLine]:
    rule = market.rule.generator if unit.side is Side.GENERATOR else market.rule.user
    if rule is None:
        raise TypeError("a rule without spot has deviation rules for both sides")
    pieces = stretches(market.rule, market.month)
    promised = contract_position(unit, contracts, len(pieces))
    mechanism = _mechanism_kwh(unit)
    lines = []
    for piece, promised_kwh, actual_kwh, mechanism_kwh in zip(
        pieces, promised, unit.actual_kwh, mechanism, strict=True
    ):
        # A position sold beyond what was bought is energy to be bought back: the deviation starts at it.
        contract, actual = mwh(promised_kwh), mwh(actual_kwh - mechanism_kwh)
        base = max(contract, Decimal(0))
        notes = (("actual_mwh", str(actual)), ("contract_mwh", str(contract)))
        found = deviation_amount(rule, base, EXACT.add(actual, EXACT.subtract(base, contract)), market.prices)
        lines += [_part_line(unit, market, piece, part, notes) for part in found.parts]
    return lines


def _part_line(
    unit: UnitFacts, market: MarketMonth, piece: Stretch, part: Part, notes: tuple[tuple[str, str], ...]
) -> SettlementLine:
    is_assessment = part.kind == "assessment"
    sign = -1 if unit.side is Side.GENERATOR and not is_assessment else 1
    under = -1 if part.kind == "under" else 1
    items = {
        "over": Item.DEVIATION_OVER,
        "under": Item.DEVIATION_UNDER,
        "assessment": Item.ASSESSMENT,
    }
    inputs = (
        Input("mwh", part.quantity_mwh, "MWh", "intervals"),
        Input("price", part.price_yuan_per_mwh, "yuan/MWh", f"prices {part.price_key}"),
        Input("factor", part.price_factor, "1", market.rule.origin, market.rule.document),
    )
    return SettlementLine(
        unit.unit_id,
        unit.party_id,
        unit.side,
        items[part.kind],
        None,
        piece.label,
        part.quantity_mwh,
        product(part.price_yuan_per_mwh, part.price_factor),
        sign * part.amount_fen,
        _derived(sign * under, "mwh * price * factor", inputs, market, notes),
        market.rule.origin,
    )


def _spot_lines(
    unit: UnitFacts, market: MarketMonth, contracts: Sequence[ContractFacts]
) -> list[SettlementLine]:
    pieces = stretches(market.rule, market.month)
    position = contract_position(unit, contracts, pieces[-1].end)
    actual = unit.actual_kwh if unit.is_metered else position
    ahead = unit.day_ahead_kwh if unit.is_metered else position
    lines: list[SettlementLine] = []
    for contract in contracts:
        if market.rule.spot_form is SpotForm.DIFFERENCE:
            lines += [_contract_difference(unit, market, contract, piece) for piece in pieces]
        else:
            lines += _contract_lines(unit, market, contract)
    for item, term in _spot_forms(market.rule):
        wanted = Sum(item, term, {"a": ahead, "c": position, "m": actual}, side_sign(unit))
        lines += [sum_line(unit, market, wanted, piece) for piece in pieces]
    return lines


def _spot_forms(rule: MarketRule) -> tuple[tuple[Item, sums.Term], ...]:
    if rule.spot_form is SpotForm.DIFFERENCE:
        return ((Item.DAY_AHEAD, sums.DAY_AHEAD_DIFFERENCE), (Item.REAL_TIME, sums.REAL_TIME_ALL))
    if rule.reference is Reference.REAL_TIME:
        return ((Item.DAY_AHEAD, sums.DAY_AHEAD_ALL), (Item.REAL_TIME, sums.REAL_TIME_REST))
    return ((Item.DAY_AHEAD, sums.DAY_AHEAD_BEYOND), (Item.REAL_TIME, sums.REAL_TIME_BEYOND))


def _contract_difference(
    unit: UnitFacts, market: MarketMonth, contract: ContractFacts, piece: Stretch
) -> SettlementLine:
    at_real_time = market.rule.reference is Reference.REAL_TIME
    terms = contract.terms
    value = total(
        product(mwh(sum(promise.kwh[piece.start : piece.end])), promise.volume.price_yuan_per_mwh)
        for promise in contract.promises
    )
    wanted = Sum(
        Item.CONTRACT_DIFFERENCE,
        sums.CONTRACT_AT_REAL_TIME if at_real_time else sums.CONTRACT_AT_DAY_AHEAD,
        {"c": contract.kwh},
        sign_factor=1 if unit.unit_id == terms.buyer else -1,
        minuend=Input("value", value, "yuan", terms.origin, terms.document),
        contract_id=terms.contract_id,
    )
    return sum_line(unit, market, wanted, piece)


def _mechanism_kwh(unit: UnitFacts) -> tuple[int, ...]:
    whole = sum(unit.actual_kwh)
    if unit.mechanism is None or not unit.mechanism.kwh or not whole:
        return (0,) * len(unit.actual_kwh)
    return spread(unit.mechanism.kwh, unit.actual_kwh)


def _mechanism_lines(unit: UnitFacts, market: MarketMonth, mechanism: Mechanism) -> list[SettlementLine]:
    quantity = mwh(mechanism.kwh)
    inputs = (
        Input("mwh", quantity, "MWh", "declared", mechanism.document),
        Input("price", mechanism.price_yuan_per_mwh, "yuan/MWh", "declared", mechanism.document),
        Input("reference", mechanism.reference_yuan_per_mwh, "yuan/MWh", "prices"),
    )
    difference = EXACT.subtract(mechanism.price_yuan_per_mwh, mechanism.reference_yuan_per_mwh)
    kinds: list[tuple[Item, Decimal, str, tuple[Input, ...]]] = [
        (Item.MECHANISM, difference, "mwh * (price - reference)", inputs)
    ]
    if market.rule.form is not Form.SPOT:  # there the energy itself is sold in the spot market
        energy = (inputs[0], inputs[2])
        kinds.insert(0, (Item.MECHANISM_ENERGY, mechanism.reference_yuan_per_mwh, "mwh * reference", energy))
    return [
        SettlementLine(
            unit.unit_id,
            unit.party_id,
            unit.side,
            item,
            None,
            "month",
            quantity,
            price,
            -fen_for(quantity, price),
            _derived(-1, formula, used, market),
            market.rule.origin,
        )
        for item, price, formula, used in kinds
    ]


def _green_line(
    unit: UnitFacts, market: MarketMonth, contract: ContractFacts, match: GreenMatch
) -> SettlementLine:
    terms = contract.terms
    sign = 1 if unit.unit_id == terms.buyer else -1
    quantity = mwh(match.kwh)
    inputs = (
        Input("mwh", quantity, "MWh", "lines"),
        Input("price", match.price_yuan_per_mwh, "yuan/MWh", terms.origin, terms.document),
    )
    notes = (
        ("contract_mwh", str(mwh(match.contract_kwh))),
        ("generation_mwh", str(mwh(match.generation_kwh))),
        ("use_mwh", str(mwh(match.use_kwh))),
    )
    return SettlementLine(
        unit.unit_id,
        unit.party_id,
        unit.side,
        Item.GREEN,
        terms.contract_id,
        "month",
        quantity,
        match.price_yuan_per_mwh,
        sign * fen_for(quantity, match.price_yuan_per_mwh),
        _derived(sign, "mwh * price", inputs, market, notes),
        market.rule.origin,
    )


def _loss_line(unit: UnitFacts, market: MarketMonth) -> SettlementLine:
    average, rate = (_entered(market, key) for key in (LOSS_AVERAGE, LOSS_RATE))
    quantity = mwh(sum(unit.actual_kwh))
    price = loss_price(average, rate)
    inputs = (
        Input("mwh", quantity, "MWh", "intervals"),
        Input("price", price, "yuan/MWh", "prices"),
    )
    notes = ((LOSS_RATE, str(rate)), (LOSS_AVERAGE, str(average)))
    return SettlementLine(
        unit.unit_id,
        unit.party_id,
        unit.side,
        Item.LINE_LOSS,
        None,
        "month",
        quantity,
        price,
        fen_of(product(quantity, price)),
        _derived(1, "mwh * price", inputs, market, notes),
        market.rule.origin,
    )


def _entered(market: MarketMonth, key: str) -> Decimal:
    price = market.prices.get(key)
    if price is None:
        raise NoSuchPrice("no_such_price", price=key)
    return price


def _derived(
    sign: int,
    formula: str,
    inputs: tuple[Input, ...],
    market: MarketMonth,
    notes: tuple[tuple[str, str], ...] = (),
) -> Derivation:
    signed = formula if sign > 0 else f"-({formula})"
    return Derivation(signed, inputs, market.month, month_after(market.month), notes)
