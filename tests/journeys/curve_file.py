"""What a simulated meter must have shown, worked out from the curve file itself and nothing of the program's.

A register is the running sum of its curve since 2026-01-01 00:00 in Beijing, times the peak, cut to the digits of the
display. Row 576 of the file, its first Thursday, is that Thursday's first quarter-hour.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from itertools import accumulate, pairwise

FILE = "simbench_2016_quarter_hour.csv.gz"
FIRST_ROW = 576
DAYS_TO_AUGUST = 31 + 28 + 31 + 30 + 31 + 30 + 31
TEN_THOUSANDTHS = 10_000  # the file has four decimals
W_QUARTERS_PER_KWH = 4 * 1000
TICK_WH = 10  # two digits behind the kWh


@dataclass(frozen=True)
class Metered:
    """A meter of the demonstration as its contract and its type plate would describe it; powers on the meter's side."""

    meter_id: str
    supply_point_id: str
    account_id: str
    curve: str
    peak_w: int
    peak_var: int
    multiplier: int
    is_plant: bool = False

    def shown(self, register: str, first_quarter: int, quarters: int) -> list[int]:
        """What the register shows at `quarters` boundaries of August from number `first_quarter` on, in 0.01 kWh or kvarh."""
        column, sign, peak = {
            "ea_imp": ("" if self.is_plant else f"{self.curve}_p", 1, self.peak_w),
            "ea_exp": (self.curve if self.is_plant else "", 1, self.peak_w),
            "er_imp": ("" if self.is_plant else f"{self.curve}_q", 1, self.peak_var),
            "er_exp": ("" if self.is_plant else f"{self.curve}_q", -1, self.peak_var),
        }[register]
        if not column:
            return [0] * quarters
        sums = running_sums(column, sign)
        start = 96 * DAYS_TO_AUGUST + first_quarter
        return [
            sums[quarter] * peak * 100 // (TEN_THOUSANDTHS * W_QUARTERS_PER_KWH)
            for quarter in range(start, start + quarters)
        ]

    def quarters_wh(self, register: str, first_quarter: int, quarters: int) -> list[int]:
        """Energy of each quarter-hour on the customer's side in Wh or varh: differences of what is shown, times the multiplier."""
        shown = self.shown(register, first_quarter, quarters + 1)
        return [(after - before) * self.multiplier * TICK_WH for before, after in pairwise(shown)]


@cache
def running_sums(column: str, sign: int) -> tuple[int, ...]:
    """Sums of the positive (or mirrored negative) values since the registers' start, in ten-thousandths."""
    scaled = [Decimal(value) * sign * TEN_THOUSANDTHS for value in columns()[column][FIRST_ROW:]]
    assert all(value == int(value) for value in scaled)
    return (0, *accumulate(max(0, int(value)) for value in scaled))


@cache
def columns() -> dict[str, tuple[str, ...]]:
    """The file's columns by name, as they are written."""
    packed = (resources.files("demo.curves") / FILE).read_bytes()
    names, *rows = csv.reader(io.StringIO(gzip.decompress(packed).decode()))
    return dict(zip(names, zip(*rows, strict=True), strict=True))


FACTORY = Metered("M-B001", "SP020001", "130200020001", "g4_h", 400, 400, 4000)  # 1600 kW
FOUNDRY = Metered("M-B002", "SP020002", "130200020002", "g3_h", 500, 310, 4000)  # 2000 kW, 62 % reactive
MOULDER = Metered("M-B007", "SP020007", "130200020007", "h0_g", 400, 400, 1000)  # 400 kW
GYM = Metered("M-C005", "SP030005", "130300030005", "g0_a", 45_000, 27_000, 1)  # 45 kW, 60 % reactive
ROOF = Metered("M-C008", "SP030008", "130300030008", "pv3", 400, 0, 1000, is_plant=True)  # 400 kW
