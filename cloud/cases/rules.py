"""National rules that a case does not print in its inputs: the power factor tables and the two-part rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloud.billing.basic import TwoPartRules
from cloud.billing.powerfactor import PowerFactorRules

FILES: Final = ("cn-power-factor", "cn-two-part")  # how the names of their files begin


class NoRules(ValueError):
    """The published files do not hold the rules that the cases need."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The published national rules in their newest version."""

    power_factor: PowerFactorRules
    two_part: TwoPartRules


def rules_from(files: Iterable[object]) -> Rules:
    """Take the newest version of each rule file. Raises NoRules."""
    found = list(files)
    tables = [each for each in found if isinstance(each, PowerFactorRules)]
    two_part = [each for each in found if isinstance(each, TwoPartRules)]
    if not tables or not two_part:
        raise NoRules("no power factor tables, or no two-part rules")
    return Rules(
        max(tables, key=lambda each: (each.head.effective_from, each.head.version)),
        max(two_part, key=lambda each: (each.head.effective_from, each.head.version)),
    )
