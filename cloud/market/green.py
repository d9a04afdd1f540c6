"""Green power 绿电 and green certificates 绿证: which quantity counts, its environmental value, whole certificates. Pure.

发改能源规〔2025〕1656号 arts 33, 78 and 发改能源〔2023〕1044号: quantity = min(contract, generation - mechanism energy,
consumption); one certificate is 1 MWh and only whole ones are issued. Carrying the part below one to the next month is
unconfirmed (国能发新能规〔2024〕67号, from memory).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from cloud.money import EXACT, fen_for

CERTIFICATE_MWH = Decimal(1)


@dataclass(frozen=True, slots=True)
class GreenMonth:
    """What decides the green quantity of one contract in one settlement period."""

    contract_mwh: Decimal
    generation_mwh: Decimal
    mechanism_mwh: Decimal
    consumption_mwh: Decimal


@dataclass(frozen=True, slots=True)
class Certificates:
    """Certificates issued for a month, and the energy carried to the next."""

    issued_count: int
    carry_mwh: Decimal


def green_mwh(month: GreenMonth) -> Decimal:
    """The quantity whose environmental value is settled (三者取小), never below zero."""
    market_mwh = EXACT.subtract(month.generation_mwh, month.mechanism_mwh)
    return max(Decimal(0), min(month.contract_mwh, market_mwh, month.consumption_mwh))


def environmental_value_fen(quantity_mwh: Decimal, price_yuan_per_mwh: Decimal) -> int:
    """The environmental value 绿电环境价值: outside time of use and outside the power factor base (art. 33)."""
    return fen_for(quantity_mwh, price_yuan_per_mwh)


def certificates(
    balance_mwh: Decimal, month_mwh: Decimal, certificate_mwh: Decimal = CERTIFICATE_MWH
) -> Certificates:
    """Issue the whole certificates of carried and new energy. Raises ValueError for a negative balance."""
    energy_mwh = EXACT.add(balance_mwh, month_mwh)
    if energy_mwh < 0 or certificate_mwh <= 0:
        raise ValueError(f"{energy_mwh} MWh make no certificates of {certificate_mwh} MWh")
    issued_count = int(EXACT.divide_int(energy_mwh, certificate_mwh))
    used_mwh = EXACT.multiply(Decimal(issued_count), certificate_mwh)
    return Certificates(issued_count, EXACT.subtract(energy_mwh, used_mwh))


def issued(
    carry_mwh: Decimal, months_mwh: Iterable[Decimal], certificate_mwh: Decimal = CERTIFICATE_MWH
) -> tuple[Certificates, ...]:
    """Issue month after month, each beginning with what the one before carried over."""
    months: list[Certificates] = []
    for month_mwh in months_mwh:
        months.append(certificates(carry_mwh, month_mwh, certificate_mwh))
        carry_mwh = months[-1].carry_mwh
    return tuple(months)
