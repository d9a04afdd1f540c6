"""Many customers at once, in whole numbers: energy, demand and line amounts of a group with equal prices. Pure.

Gives the same fen as `bill.rate`, for a group of accounts that differ only in their figures (`bulkplan`). A matrix
holds one supply point per row and the month's quarter-hours, day after day, as int32 Wh. Nothing wraps: a bound is
taken before every sum and product, and where 64 bits are not enough, Python's own whole numbers do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import repeat
from math import isqrt, lcm

import numpy as np
import numpy.typing as npt

from cloud.billing.bulkplan import Basic, Days, Plan, PowerFactor
from cloud.billing.line import PERIODS
from cloud.billing.segment import DemandMode
from cloud.errors import Refused
from cloud.markettime import SLOTS_PER_DAY, SLOTS_PER_HOUR

Wh = npt.NDArray[np.int32]
Whole = npt.NDArray[np.int64]

BLOCK_ROWS = 128  # rows summed at a time: their day sums stay in the processor's cache
INT32_BELOW = 2**31
INT64_BELOW = 2**63
FLOAT64_WHOLE_BELOW = 2**53
FEN_PER_YUAN = 100
WH_PER_KWH = 1000


class BeyondWholeNumbers(Refused):
    """A figure is larger than the database keeps; `facts` say which."""


@dataclass(frozen=True, slots=True)
class Energy:
    """Month sums of supply points, or of accounts: Wh by period, highest quarter-hour in Wh."""

    import_wh: Whole  # [rows, periods]
    highest_wh: Whole  # [rows]; of an account the sum over its supply points


@dataclass(frozen=True, slots=True)
class Ladder:
    """Where each account stands in its ladder, in billed units."""

    before: Whole  # [accounts]: billed earlier in the cycle
    limits: Whole  # [accounts, tiers - 1]: upper limits of all tiers but the last


@dataclass(frozen=True, slots=True)
class Usages:
    """What the accounts of a group used, one row each."""

    energy: Energy
    reactive_varh: Whole  # forward and reverse in absolute value
    capacity_kva: Whole  # 0 where the terms have none
    contract_kw: Whole
    ladder: Ladder | None = None


@dataclass(frozen=True, slots=True)
class Rated:
    """Billed energy in units of the price sheet's quantum, and the fen of every line in the plan's order."""

    units: Whole  # [accounts, periods]
    amounts_fen: Whole  # [accounts, lines]
    total_fen: Whole  # [accounts]


def energy_of(import_wh: Wh, days: Days) -> Energy:
    """Sum a matrix [rows, days x 96] of non-negative Wh by period, and find each row's highest quarter-hour."""
    sums, highest = np.empty((len(import_wh), len(PERIODS)), np.int64), np.empty(len(import_wh), np.int64)
    for start in range(0, len(import_wh), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        highest[block] = import_wh[block].view(np.uint32).max(axis=1)  # a negative number shows as a huge one
        top = int(highest[block].max())
        if top >= INT32_BELOW:
            raise ValueError("a quarter-hour's import is negative")
        sums[block] = period_sums(import_wh[block], days, top)
    return Energy(sums, highest)


def period_sums(import_wh: Wh, days: Days, highest_wh: int) -> Whole:
    """Sum rows by period, given a bound of their quarter-hours: days of equal pattern slot by slot, then the slots.

    The first sum is of int32 where the bound shows that it cannot overflow. The second is a product with a mask of
    zeros and ones in float64, where whole numbers below 2^53 stay whole; 2^31 x 96 x 31 is below 2^43.
    """
    by_day = import_wh.reshape(len(import_wh), len(days.kind_of_day), SLOTS_PER_DAY)
    if (
        not 0 <= highest_wh < INT32_BELOW
        or by_day.shape[1] * SLOTS_PER_DAY > FLOAT64_WHOLE_BELOW // INT32_BELOW
    ):
        raise BeyondWholeNumbers("beyond_whole_numbers", what="import_wh")
    masks = [_mask(kind) for kind in days.kinds]
    accumulator = np.int32 if highest_wh * by_day.shape[1] < INT32_BELOW else np.int64
    result = np.empty((len(import_wh), len(PERIODS)), np.int64)
    for start in range(0, len(import_wh), BLOCK_ROWS):
        block = by_day[start : start + BLOCK_ROWS]
        sums = np.zeros((len(block), len(PERIODS)))
        for first, end in days.runs:
            by_slot = np.add.reduce(block[:, first:end], axis=1, dtype=accumulator)
            sums += by_slot.astype(np.float64) @ masks[days.kind_of_day[first]]
        result[start : start + BLOCK_ROWS] = sums
    return result


def of_accounts(points: Energy, first_rows: Whole) -> Energy:
    """Add up the supply points of each account: its rows stand together and begin at `first_rows`."""
    if len(first_rows) == len(points.highest_wh):
        return points
    return Energy(
        np.add.reduceat(points.import_wh, first_rows, axis=0), np.add.reduceat(points.highest_wh, first_rows)
    )


def rate_group(plan: Plan, usages: Usages) -> Rated:
    """Rate all accounts of a group. Raises BeyondWholeNumbers."""
    units = billed_units(usages.energy.import_wh, plan.unit_wh)
    month_units = units.sum(axis=1)
    amounts = np.empty((len(units), len(plan.columns)), np.int64)
    for number, column in enumerate(plan.columns):
        quantity = month_units if column.period_column is None else units[:, column.period_column]
        if column.yuan_per_unit is not None:
            amounts[:, number] = fen_half_up(quantity, Fraction(column.yuan_per_unit))
    if plan.tiers is not None:
        by_tier = tier_units(usages.ladder, month_units)
        for number, tier in plan.tiers.tier_of:
            price = plan.columns[number].yuan_per_unit
            amounts[:, number] = fen_half_up(by_tier[:, tier], Fraction(price or 0))
    if plan.basic is not None:
        amounts[:, plan.basic.column] = _basic_fen(plan.basic, usages, month_units)
    if plan.power_factor is not None:
        amounts[:, plan.power_factor.column] = _power_factor_fen(plan.power_factor, usages, amounts)
    if _largest(amounts) * max(1, amounts.shape[1]) >= INT64_BELOW:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="total_fen")
    return Rated(units, amounts, amounts.sum(axis=1))


def billed_units(import_wh: Whole, unit_wh: int) -> Whole:
    """Round the Wh of each account's periods to whole units, as `money.whole_parts` does for one account."""
    if import_wh.size and int(import_wh.min()) < 0:
        raise ValueError("energy is negative")
    if _largest(import_wh) * 2 * len(PERIODS) + unit_wh >= INT64_BELOW:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="import_wh")
    whole, rest = np.divmod(import_wh, unit_wh)
    units = (2 * import_wh.sum(axis=1) + unit_wh) // (2 * unit_wh)
    left = units - whole.sum(axis=1)
    order = np.argsort(-rest, axis=1, kind="stable")  # largest remainder first; of equal ones the first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
    result: Whole = whole + (rank < left[:, None])
    return result


def tier_units(position: Ladder | None, month_units: Whole) -> Whole:
    """Split the month's units between the tiers [accounts, tiers]; `ladder.tier_kwh` for many."""
    if position is None:
        raise ValueError("a ladder without the accounts' positions")
    if max(map(_largest, (position.before, position.limits, month_units))) * 2 >= INT64_BELOW:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="ladder")
    end = position.before + month_units
    lower = np.hstack([np.zeros((len(end), 1), np.int64), position.limits])
    upper = np.hstack([position.limits, np.full((len(end), 1), INT64_BELOW - 1, np.int64)])
    parts = np.minimum(end[:, None], upper) - np.maximum(position.before[:, None], lower)
    result: Whole = np.maximum(parts, 0)
    return result


def fen_half_up(quantity: Whole, yuan_per_unit: Fraction) -> Whole:
    """Price whole quantities and round each once to the fen, half away from zero. Raises BeyondWholeNumbers."""
    factor = yuan_per_unit * FEN_PER_YUAN
    return _rounded_products(quantity, factor.numerator, factor.denominator)


def _rounded_products(values: Whole, numerator: int | Whole, denominator: int) -> Whole:
    largest = abs(numerator) if isinstance(numerator, int) else _largest(numerator)
    if 2 * _largest(values) * largest + 2 * denominator < INT64_BELOW:
        product = values * numerator
        result: Whole = np.sign(product) * ((2 * np.abs(product) + denominator) // (2 * denominator))
        return result
    factors = repeat(numerator) if isinstance(numerator, int) else numerator.tolist()
    return _kept([_half_up(a * b, denominator) for a, b in zip(values.tolist(), factors, strict=False)])


def _half_up(numerator: int, denominator: int) -> int:
    whole = (2 * abs(numerator) + denominator) // (2 * denominator)
    return whole if numerator >= 0 else -whole


def _kept(values: Sequence[int]) -> Whole:
    try:
        return np.array(values, np.int64)
    except OverflowError as problem:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="amount_fen") from problem


def _largest(values: Whole) -> int:
    return max(abs(int(values.max())), abs(int(values.min()))) if values.size else 0


def _mask(kind: Sequence[int]) -> npt.NDArray[np.float64]:
    mask = np.zeros((SLOTS_PER_DAY, len(PERIODS)))
    mask[np.arange(SLOTS_PER_DAY), list(kind)] = 1
    return mask


# ---- the basic charge --------------------------------------------------------------------------------------------


def _basic_fen(basic: Basic, usages: Usages, month_units: Whole) -> Whole:
    if basic.mode is DemandMode.CAPACITY:
        return fen_half_up(_needed(usages.capacity_kva, "capacity_kva"), Fraction(basic.yuan_per_unit))
    steps, steps_per_kw = _chargeable(basic, usages)
    price = Fraction(basic.yuan_per_unit) / steps_per_kw
    full = fen_half_up(steps, price)
    if basic.discount_from_units_per_kva is None:
        return full
    limit = basic.discount_from_units_per_kva
    capacity = usages.capacity_kva
    if max(_largest(month_units) * limit.denominator, _largest(capacity) * limit.numerator) >= INT64_BELOW:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="kwh_per_kva")
    reached = (capacity > 0) & (month_units * limit.denominator >= capacity * limit.numerator)
    return np.where(reached, fen_half_up(steps, price * Fraction(basic.discount_factor)), full)


def _chargeable(basic: Basic, usages: Usages) -> tuple[Whole, int]:
    """Compute what is charged in whole steps, and how many steps make a kW; `basic.chargeable_kw` for many."""
    demand_w = usages.energy.highest_wh * SLOTS_PER_HOUR
    if basic.mode is DemandMode.ACTUAL:
        return demand_w, WH_PER_KWH
    floor, limit, multiplier = map(Fraction, (basic.floor_ratio, basic.limit_ratio, basic.overrun_multiplier))
    below = floor.denominator * limit.denominator * multiplier.denominator
    steps_per_kw = WH_PER_KWH * below
    capacity = _needed(usages.capacity_kva, "capacity_kva")
    agreed = _needed(usages.contract_kw, "contract_kw")
    largest = max(_largest(capacity), _largest(agreed), _largest(demand_w) // WH_PER_KWH + 1)
    if largest * steps_per_kw * (floor + 1) * (limit + 1) * (multiplier + 1) >= INT64_BELOW:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="demand_kw")
    contract = np.maximum(agreed * steps_per_kw, _times(capacity * steps_per_kw, floor))
    allowed = _times(contract, limit)
    over = demand_w * below - allowed
    base = allowed if basic.overrun_from_limit else contract
    return np.where(over <= 0, contract, base + _times(over, multiplier)), steps_per_kw


def _times(steps: Whole, ratio: Fraction) -> Whole:
    return steps // ratio.denominator * ratio.numerator  # steps hold the denominators of all ratios


def _needed(values: Whole, name: str) -> Whole:
    if values.size and int(values.min()) <= 0:
        raise ValueError(f"{name} is needed and not there")
    return values


# ---- the power factor --------------------------------------------------------------------------------------------


def _power_factor_fen(rule: PowerFactor, usages: Usages, amounts: Whole) -> Whole:
    active = usages.energy.import_wh.sum(axis=1).tolist()
    reactive = usages.reactive_varh.tolist()
    steps = [_power_factor_steps(p, q, rule.steps_per_unit) for p, q in zip(active, reactive, strict=True)]
    table, below = _percent_table(rule.percent_at)
    percent = table[np.array(steps, np.int64)]
    adjust: Callable[[Whole], Whole] = lambda base: _rounded_products(base, percent, 100 * below)  # noqa: E731
    taking_part = [amounts[:, number] for number in rule.base_columns]
    if rule.per_line:
        return _sum([adjust(each) for each in taking_part])
    return adjust(_sum(taking_part))


def _power_factor_steps(active_wh: int, reactive_varh: int, steps_per_one: int) -> int:
    """Compute P / sqrt(P² + Q²) in steps, half up, in whole numbers; -1 when there is no active energy.

    The largest k with (2k - 1)² (P² + Q²) <= (2n P)²: `powerfactor.power_factor_of` by one integer root.
    """
    if active_wh <= 0:
        return -1
    square = (2 * steps_per_one * active_wh) ** 2 // (active_wh * active_wh + reactive_varh * reactive_varh)
    return (isqrt(square) + 1) // 2


def _sum(columns: Sequence[Whole]) -> Whole:
    if sum(map(_largest, columns)) >= INT64_BELOW:
        raise BeyondWholeNumbers("beyond_whole_numbers", what="power_factor_base")
    result: Whole = np.sum(columns, axis=0)
    return result


@lru_cache(maxsize=16)
def _percent_table(percent_at: tuple[Decimal, ...]) -> tuple[Whole, int]:
    """Percent for every step as whole numbers of 1 / `below`; the last, at -1, is for an undefined power factor."""
    percents = [*map(Fraction, percent_at), Fraction(0)]
    below = lcm(*(each.denominator for each in percents))
    return np.array([int(each * below) for each in percents], np.int64), below
