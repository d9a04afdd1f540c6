"""Warnings about a declaration before it is sent: mistaken units, far from the own past, declared twice. Pure.

A warning forbids nothing. Mistaken units: 万kWh is 10 MWh and kWh is 0.001 MWh, so a whole declaration that is about
10, 1000 or 0.001 times the own past was most likely written in the other unit (product.md C 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from cloud.market.declaration import Packed

FACTORS: Final = {"wan_kwh_as_mwh": Decimal("0.1"), "mwh_as_wan_kwh": Decimal(10)} | {
    "kwh_as_mwh": Decimal(1000),
    "mwh_as_gwh": Decimal("0.001"),
}
NEAR: Final = Decimal("0.35")  # within so much of a factor
FAR: Final = Decimal("1.5")  # above the largest of the past


class Doubt(StrEnum):
    """What a person should look at again."""

    UNIT = "unit"
    OVER_PAST = "over_past"
    TWICE = "twice"
    AT_LIMIT = "at_limit"


@dataclass(frozen=True, slots=True)
class Said:
    """A warning with the figures behind it."""

    warning: Doubt
    facts: Mapping[str, str]


def warnings(
    packed: Packed, past_kwh: Sequence[int], other_kwh: int, limits: tuple[int, int]
) -> tuple[Said, ...]:
    """Compare with the totals of the own past declarations, with what is declared elsewhere for the same months, and with the band."""
    total = sum(packed.quantity_kwh)
    found: list[Said] = []
    past = [kwh for kwh in past_kwh if kwh > 0]
    if past and total:
        typical = sorted(past)[len(past) // 2]
        mistaken = next(
            (name for name, factor in FACTORS.items() if abs(Decimal(total) / typical / factor - 1) <= NEAR),
            None,
        )
        facts = {"mwh": _mwh(total), "typical_mwh": _mwh(typical)}
        if mistaken is not None:
            found.append(Said(Doubt.UNIT, {"kind": mistaken} | facts))
        elif total > max(past) * FAR:
            found.append(Said(Doubt.OVER_PAST, {"most_mwh": _mwh(max(past))} | facts))
    if other_kwh:
        found.append(Said(Doubt.TWICE, {"mwh": _mwh(total), "other_mwh": _mwh(other_kwh)}))
    if set(packed.price_ticks) & set(limits):
        found.append(Said(Doubt.AT_LIMIT, {}))
    return tuple(found)


def _mwh(kwh: int) -> str:
    return f"{Decimal(kwh).scaleb(-3):,f}"
