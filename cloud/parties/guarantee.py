"""Performance guarantee of a retailer 履约保函 / 保险: how much it must lodge. Pure.

National form, 售电公司管理办法 发改体改规〔2021〕1595号 (mirrored by 四川 2022): the larger of two rates on energy. 广东 2024:
by steps of annual energy, divided by one plus the unsecured credit ratio. 湖南 2022: a factor by credit rating. All
rates, steps, ratios and factors are parameters (tariffs-and-settlement 9.3, 13.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from cloud.money import EXACT, fen_of, product, quotient

FEN_QUANTUM = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Rates:
    """Yuan per kWh: on twelve months of wholesale energy, and on the larger of two months' wholesale and retail."""

    twelve_months_yuan_per_kwh: Decimal
    two_months_yuan_per_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Volumes:
    """Energy of a retailer; a new entrant gives a forecast."""

    wholesale_12_months_kwh: Decimal
    wholesale_2_months_kwh: Decimal
    retail_2_months_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Step:
    """Energy below `below_kwh` (None: any more) costs a fixed amount, or a rate per kWh."""

    below_kwh: Decimal | None
    fixed_yuan: Decimal | None = None
    yuan_per_kwh: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Bases:
    """The two amounts of the national rule, before the larger is taken and rounded."""

    twelve_months_yuan: Decimal
    two_months_yuan: Decimal

    @property
    def larger_yuan(self) -> Decimal:
        """The amount that counts."""
        return max(self.twelve_months_yuan, self.two_months_yuan)


def contract_purpose(contract_id: str, version: int = 1) -> str:
    """Under which name the guarantee of a contract is bound; a number never has a colon."""
    return f"contract:{contract_id}" if version == 1 else f"contract:{contract_id}:{version}"


def agreed_purpose(contract_id: str, paper_no: int = 0) -> str:
    """Under which name the guarantee is bound of what was agreed in a room, or by a paper, and is not in force yet."""
    return f"agreed:{contract_id}:{paper_no}" if paper_no else f"agreed:{contract_id}"


def national_bases(volumes: Volumes, rates: Rates) -> Bases:
    """Compute both amounts of the national rule, exactly."""
    two_months_kwh = max(volumes.wholesale_2_months_kwh, volumes.retail_2_months_kwh)
    return Bases(
        EXACT.multiply(volumes.wholesale_12_months_kwh, rates.twelve_months_yuan_per_kwh),
        EXACT.multiply(two_months_kwh, rates.two_months_yuan_per_kwh),
    )


def national_fen(volumes: Volumes, rates: Rates) -> int:
    """max(12 months x rate, max(2 months wholesale, 2 months retail) x rate)."""
    return fen_of(national_bases(volumes, rates).larger_yuan)


def stepped_yuan(energy_kwh: Decimal, steps: Sequence[Step]) -> Decimal:
    """Find the step of the energy and take its amount (广东). Raises ValueError when no step reaches that far."""
    for step in steps:
        if step.below_kwh is None or energy_kwh < step.below_kwh:
            if step.fixed_yuan is not None:
                return step.fixed_yuan
            if step.yuan_per_kwh is not None:
                return EXACT.multiply(energy_kwh, step.yuan_per_kwh)
    raise ValueError(f"no step for {energy_kwh} kWh")


def reduced_fen(base_yuan: Decimal, unsecured_ratio: Decimal, *, has_paid_late: bool = False) -> int:
    """Divide by one plus the unsecured credit ratio; who paid late within twelve months has none."""
    ratio = Decimal(0) if has_paid_late else unsecured_ratio
    return fen_of(quotient(base_yuan, EXACT.add(Decimal(1), ratio), FEN_QUANTUM))


def rated_fen(base_yuan: Decimal, rating_factor: Decimal) -> int:
    """Scale by the credit rating: base x (1 + factor), factor from -0.50 (AAA) to +0.50 (C) in 湖南."""
    return fen_of(product(base_yuan, EXACT.add(Decimal(1), rating_factor)))
