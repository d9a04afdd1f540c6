"""What stands behind a simulated meter: a load (or a plant) that follows a real curve. Pure, integers only.

Registers are closed-form functions of time, so a meter can be asked for any instant, run faster than the clock, or be killed and
started again, and always shows what it would have shown. All values are those on the meter's face, that is on the secondary side
of its transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import accumulate
from math import isqrt

from cloud.markettime import MARKET_ZONE
from demo.curves import SAMPLE_MS, SAMPLES_PER_YEAR, SCALE, Curve

# Registers count from here: Thursday 2026-01-01 00:00 in the market's zone, laid on Thursday 2016-01-07 of the curves.
REGISTERS_START = datetime(2026, 1, 1, tzinfo=MARKET_ZONE)
REGISTERS_START_MS = int(REGISTERS_START.timestamp()) * 1000
FIRST_ROW = 6 * 96

_WS_PER_KWH = 3_600_000
_RIPPLE_MS = 40_000  # a load is never quite still: +-3 % of the gauge, the registers follow the curve itself


@dataclass(frozen=True)
class Load:
    """A three-phase load with `peak_w` at the curve's maximum, or a plant that feeds in when `generates`."""

    active: Curve
    reactive: Curve | None
    peak_w: int
    peak_var: int = (
        0  # reactive power where the reactive curve shows 1: smaller than peak_w behind capacitors
    )
    generates: bool = False
    nominal_cv: int = 22_000  # phase voltage in 0.01 V; 5774 behind a 10 kV / 100 V transformer

    @cached_property
    def _inductive(self) -> Curve | None:
        return self.reactive.part(1) if self.reactive else None

    @cached_property
    def _capacitive(self) -> Curve | None:
        return self.reactive.part(-1) if self.reactive else None

    def energy_ticks(self, code: str, at_ms: int, decimals: int) -> int:
        """Register `code` (ea_imp, ea_exp, er_imp, er_exp) at an instant, in 10^-decimals kWh or kvarh, cut off."""
        curve, peak = {
            "ea_imp": (None if self.generates else self.active, self.peak_w),
            "ea_exp": (self.active if self.generates else None, self.peak_w),
            "er_imp": (self._inductive, self.peak_var),
            "er_exp": (self._capacitive, self.peak_var),
        }[code]
        if curve is None:
            return 0
        return int(peak * _integral(curve, at_ms) * 10**decimals // (SCALE * 1000 * _WS_PER_KWH))

    def active_mw(self, at_ms: int) -> int:
        """Active power now in milliwatts; taken from the grid is positive."""
        sign = -1 if self.generates else 1
        return sign * _gauge(self.active, at_ms) * self.peak_w * 1000 // (SCALE * 1000)

    def reactive_mvar(self, at_ms: int) -> int:
        """Reactive power now in millivar; inductive is positive."""
        return (
            0
            if self.reactive is None
            else _gauge(self.reactive, at_ms) * self.peak_var * 1000 // (SCALE * 1000)
        )

    def voltage_cv(self, phase: int, at_ms: int) -> int:
        """Phase voltage (phase 0..2) in 0.01 V: within 2 % of nominal, sagging a little with the load."""
        sag = self.nominal_cv * self.active.sample(_quarter(at_ms)) // (SCALE * 60)
        return (
            self.nominal_cv
            + self.nominal_cv * (phase - 1) // 250
            - sag
            + _wave(at_ms, 61_000) * self.nominal_cv // 400_000
        )

    def current_ma(self, phase: int, at_ms: int) -> int:
        """Phase current (phase 0..2) in mA, a symmetrical load but for 4 %; without a sign, as most meters show it."""
        active, reactive = self.active_mw(at_ms), self.reactive_mvar(at_ms)
        apparent_mva = isqrt(active * active + reactive * reactive)
        return apparent_mva * 100 * (100 + 4 * (phase - 1)) // (3 * self.voltage_cv(phase, at_ms) * 100)

    def demand_ticks(self, at_ms: int, decimals: int) -> int:
        """Largest quarter-hour average power taken since the month began, in 10^-decimals kW."""
        if self.generates:
            return 0
        at = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(MARKET_ZONE)
        month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        first, last = _quarter(int(month.timestamp()) * 1000), _quarter(at_ms)
        highest = _highest_so_far(self.active, first)[last - first]
        return int(highest * self.peak_w * 10**decimals // (SCALE * 1000))

    def ticks(self, code: str, at_ms: int, decimals: int) -> int:
        """Any channel of the wire catalogue at an instant, in units of 10^-decimals of the catalogue's unit."""
        if code in ("ea_imp", "ea_exp", "er_imp", "er_exp"):
            return self.energy_ticks(code, at_ms, decimals)
        if code == "md_imp":
            return self.demand_ticks(at_ms, decimals)
        if code == "status":
            return 0
        if code == "freq":
            return _scaled(5000 + _wave(at_ms, 47_000) // 500, 2, decimals)
        if code == "p":
            return _scaled(self.active_mw(at_ms), 6, decimals)
        if code == "q":
            return _scaled(self.reactive_mvar(at_ms), 6, decimals)
        if code == "pf":
            return _scaled(self._power_factor(at_ms), 3, decimals)
        kind, _, phase = code.partition("_")
        if kind == "u":
            return _scaled(self.voltage_cv("abc".index(phase), at_ms), 2, decimals)
        return _scaled(self.current_ma("abc".index(phase), at_ms), 3, decimals)

    def _power_factor(self, at_ms: int) -> int:
        active, reactive = self.active_mw(at_ms), self.reactive_mvar(at_ms)
        apparent = isqrt(active * active + reactive * reactive)
        return 1000 if apparent == 0 else active * 1000 // apparent


def raw_energy_wh(curve: Curve, peak_w: int, start: datetime, end: datetime) -> tuple[int, int]:
    """Exact energy of a curve between two instants as a fraction (numerator, denominator) of watt-hours."""
    span = _integral(curve, int(end.timestamp()) * 1000) - _integral(curve, int(start.timestamp()) * 1000)
    return peak_w * span, SCALE * _WS_PER_KWH


def quarter_of(at: datetime) -> int:
    """Number of the quarter-hour since the registers started; add FIRST_ROW for the row of the curves."""
    return (at - REGISTERS_START) // timedelta(milliseconds=SAMPLE_MS)


@cache
def _highest_so_far(curve: Curve, first: int) -> tuple[int, ...]:
    """Highest sample of the first 0, 1, 2 … quarters from `first` on, for the longest month."""
    return (0, *accumulate(map(curve.sample, range(first, first + 31 * 96)), max))


def _quarter(at_ms: int) -> int:
    return FIRST_ROW + (at_ms - REGISTERS_START_MS) // SAMPLE_MS


def _integral(curve: Curve, at_ms: int) -> int:
    offset_ms = FIRST_ROW * SAMPLE_MS
    return curve.integral(at_ms - REGISTERS_START_MS + offset_ms) - curve.integral(offset_ms)


def _gauge(curve: Curve, at_ms: int) -> int:
    """Sample now times 1000, with the ripple."""
    return curve.sample(_quarter(at_ms) % SAMPLES_PER_YEAR) * (1000 + _wave(at_ms, _RIPPLE_MS) * 3 // 100)


def _wave(at_ms: int, period_ms: int) -> int:
    """Triangular wave between -1000 and 1000."""
    position = at_ms % period_ms * 4000 // period_ms
    return position - 1000 if position < 2000 else 3000 - position


def _scaled(value: int, have: int, want: int) -> int:
    """Rescale from 10^-have to 10^-want; cut towards zero when digits are dropped."""
    if want >= have:
        return int(value * 10 ** (want - have))
    quotient = abs(value) // 10 ** (have - want)
    return int(-quotient if value < 0 else quotient)
