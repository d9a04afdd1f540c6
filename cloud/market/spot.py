"""Settlement with a spot market: two ways to write one amount, per period and for a whole month. Pure.

差量 (quantity difference):        Qc Pc + (Qda - Qc) Pda + (Qact - Qda) Prt
差价 (contract for difference):    Qact Prt + Qda (Pda - Prt) + Qc (Pc - Pda)

With the real-time market as the contracts' reference point, contracts are compared with Prt instead of Pda:
Qc Pc + Qda Pda + (Qact - Qda - Qc) Prt = Qact Prt + Qda (Pda - Prt) + Qc (Pc - Prt).
Sources: 发改能源规〔2025〕1656号 arts 73, 74; tariffs-and-settlement 10.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cloud.money import EXACT, fen_of, product


@dataclass(frozen=True, slots=True)
class SpotPeriod:
    """Quantities and prices of one settlement period."""

    contract_mwh: Decimal
    contract_yuan_per_mwh: Decimal
    day_ahead_mwh: Decimal
    day_ahead_yuan_per_mwh: Decimal
    actual_mwh: Decimal
    real_time_yuan_per_mwh: Decimal
    is_reference_real_time: bool = False


@dataclass(frozen=True, slots=True)
class SpotAmounts:
    """The parts of one form, each rounded to the fen, in the order of its formula."""

    contract_fen: int
    day_ahead_fen: int
    real_time_fen: int

    @property
    def amount_fen(self) -> int:
        """Add up the parts."""
        return self.contract_fen + self.day_ahead_fen + self.real_time_fen


def spot_amount_by_quantity(period: SpotPeriod) -> SpotAmounts:
    """Settle by quantity differences 差量: contract, day-ahead beyond it, real-time beyond that."""
    contract, day_ahead, real_time = quantity_parts(period)
    return SpotAmounts(fen_of(contract), fen_of(day_ahead), fen_of(real_time))


def spot_amount_by_difference(period: SpotPeriod) -> SpotAmounts:
    """Settle by price differences 差价: all use at real time, day-ahead and contracts as differences."""
    contract, day_ahead, real_time = difference_parts(period)
    return SpotAmounts(fen_of(contract), fen_of(day_ahead), fen_of(real_time))


def quantity_parts(period: SpotPeriod) -> tuple[Decimal, Decimal, Decimal]:
    """Compute the exact parts (contract, day-ahead, real-time) in yuan of the 差量 form."""
    bound = Decimal(0) if period.is_reference_real_time else period.contract_mwh
    ahead = EXACT.subtract(period.day_ahead_mwh, bound)
    left = EXACT.subtract(EXACT.subtract(period.actual_mwh, bound), ahead)
    if period.is_reference_real_time:
        left = EXACT.subtract(left, period.contract_mwh)
    return (
        product(period.contract_mwh, period.contract_yuan_per_mwh),
        product(ahead, period.day_ahead_yuan_per_mwh),
        product(left, period.real_time_yuan_per_mwh),
    )


def difference_parts(period: SpotPeriod) -> tuple[Decimal, Decimal, Decimal]:
    """Compute the exact parts (contract, day-ahead, real-time) in yuan of the 差价 form."""
    real_time = period.real_time_yuan_per_mwh
    reference = real_time if period.is_reference_real_time else period.day_ahead_yuan_per_mwh
    return (
        product(period.contract_mwh, EXACT.subtract(period.contract_yuan_per_mwh, reference)),
        product(period.day_ahead_mwh, EXACT.subtract(period.day_ahead_yuan_per_mwh, real_time)),
        product(period.actual_mwh, real_time),
    )
