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
    """Whether a company is admitted, by which tier, and its energy a year; None = unlimited when admitted."""

    tier: AssetTier | None

    @property
    def is_admitted(self) -> bool:
        """Whether any tier is reached."""
        return self.tier is not None

    @property
    def annual_cap_kwh(self) -> Decimal | None:
        """The energy a year that the tier allows."""
        return None if self.tier is None else self.tier.annual_cap_kwh


def admission(assets_yuan: Decimal, tiers: Sequence[AssetTier], *, bounds_included: bool = True) -> Admission:
    """Find the highest tier whose lower bound is reached; below the lowest the company is not admitted."""
    reached = [
        tier
        for tier in tiers
        if assets_yuan > tier.assets_from_yuan or (bounds_included and assets_yuan == tier.assets_from_yuan)
    ]
    return Admission(max(reached, key=lambda tier: tier.assets_from_yuan, default=None))
