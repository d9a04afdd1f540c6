"""What other rooms read of metering: 96-point days of energy, their quality, and findings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum, StrEnum

from cloud.markettime import SLOTS_PER_DAY

Curve = tuple[int | None, ...]


class IntervalQuality(IntEnum):
    """How a slot's energy is known (实际 / 补采 / 拟合 / 人工, tariffs-and-settlement §14.2)."""

    MISSING = 0
    ACTUAL = 1
    RECOLLECTED = 2
    ESTIMATED = 3
    MANUAL = 4


class Severity(StrEnum):
    """Whether a person must look: error holds back, warning asks, info only says."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class IntervalDay:
    """One supply point's market day: slot i is [00:00 + 15 i min, + 15 min) Asia/Shanghai.

    Energies are primary-side (the multiplier is in them); None where a slot is missing or the meter has no such
    register. `quality` speaks for active energy. Revision 0 is a day that has not been saved.
    """

    supply_point_id: str
    day: date
    revision: int
    import_wh: Curve
    export_wh: Curve
    import_varh: Curve
    export_varh: Curve
    quality: tuple[int, ...]

    def __post_init__(self) -> None:
        for curve in (self.import_wh, self.export_wh, self.import_varh, self.export_varh, self.quality):
            if len(curve) != SLOTS_PER_DAY:
                raise ValueError(
                    f"{self.supply_point_id} {self.day}: {len(curve)} slots, {SLOTS_PER_DAY} are a day"
                )

    def same_values(self, other: IntervalDay) -> bool:
        """Tell whether another revision says the same energies of the same quality."""
        return (self.import_wh, self.export_wh, self.import_varh, self.export_varh, self.quality) == (
            *(other.import_wh, other.export_wh, other.import_varh, other.export_varh, other.quality),
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What a named rule noticed about a day; `slot` None speaks of the whole day."""

    slot: int | None
    rule: str
    severity: Severity
    facts: Mapping[str, int | str]
