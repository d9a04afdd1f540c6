"""Admission of retailers 售电公司准入: assets decide how much energy a company may sell in a year. Pure.

售电公司管理办法, 发改体改规〔2021〕1595号. Whether a bound belongs to the tier above it is worded differently in 2016 and
2021, so it is a parameter (tariffs-and-settlement 1.3 no. 12: it does, provisional).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class AssetTier:
    """From these assets on, up to so much energy a year; None = unlimited."""

    assets_from_yuan: Decimal
    annual_cap_kwh: Decimal | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a company is admitted, and its energy a year; None = unlimited when admitted."""

    is_admitted: bool
    annual_cap_kwh: Decimal | None
    tier: int | None


def admission(assets_yuan: Decimal, tiers: Sequence[AssetTier], *, bounds_included: bool = True) -> Admission:
    """Find the highest tier whose lower bound is reached; below the lowest the company is not admitted."""
    order = sorted(range(len(tiers)), key=lambda index: tiers[index].assets_from_yuan)
    reached = [
        index
        for index in order
        if assets_yuan > tiers[index].assets_from_yuan
        or (bounds_included and assets_yuan == tiers[index].assets_from_yuan)
    ]
    if not reached:
        return Admission(is_admitted=False, annual_cap_kwh=None, tier=None)
    return Admission(True, tiers[reached[-1]].annual_cap_kwh, reached[-1])
