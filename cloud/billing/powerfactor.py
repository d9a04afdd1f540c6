"""Power factor adjustment 功率因数调整电费, (83)水电财字第215号. Pure.

Tables, rounding and the composition of the base are dated data in `published/cn-power-factor-*.toml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from cloud.billing.line import BillLine, Derivation, Input, Section
from cloud.billing.tariff import Head
from cloud.money import EXACT, fen_of, quotient, total, yuan


class AmountRounding(StrEnum):
    """Where the power factor amount is rounded."""

    TOTAL = "total"
    PER_LINE = "per_line"


@dataclass(frozen=True, slots=True)
class Step:
    """From the point before until `until`, `percent` for every 0.01 of power factor."""

    until: Decimal
    percent: Decimal


@dataclass(frozen=True, slots=True)
class PowerFactorTable:
    """One standard's table: rewards above it (capped by the last step), surcharges below it."""

    standard: Decimal
    rewards: tuple[Step, ...]
    surcharges: tuple[Step, ...]

    def percent_at(self, power_factor: Decimal) -> Decimal:
        """Read the adjustment in percent; negative = a reduction."""
        up = power_factor >= self.standard
        percent, reached = Decimal(0), self.standard
        for step in self.rewards if up else self.surcharges:
            stop = min(power_factor, step.until) if up else max(power_factor, step.until)
            hundredths = EXACT.scaleb(EXACT.abs(EXACT.subtract(stop, reached)), 2)
            percent = EXACT.add(percent, EXACT.multiply(hundredths, step.percent))
            reached = stop
        return percent


@dataclass(frozen=True, slots=True)
class PowerFactorRules:
    """The tables of all standards and how the amount is taken; `published/cn-power-factor-*.toml`."""

    head: Head
    power_factor_quantum: Decimal
    amount_rounding: AmountRounding
    excluded_sections: tuple[Section, ...]
    tables: tuple[PowerFactorTable, ...]

    def table(self, standard: Decimal) -> PowerFactorTable | None:
        """Find the table of a standard."""
        return next((table for table in self.tables if table.standard == standard), None)


def power_factor_of(active_wh: int, reactive_varh: int, quantum: Decimal) -> Decimal | None:
    """Compute P / sqrt(P² + Q²), rounded half up to `quantum`; None when there is no active energy.

    In whole numbers: the largest k with (2k - 1)² (P² + Q²) <= (2n P)², n = 1 / quantum, so that no root is
    rounded before the power factor is. (83)水电财字第215号.
    """
    if active_wh <= 0:
        return None
    steps = int(quotient(Decimal(1), quantum, Decimal(1)))
    left, right = (2 * steps * active_wh) ** 2, active_wh**2 + reactive_varh**2
    rounded_steps = max(k for k in range(steps + 1) if k == 0 or (2 * k - 1) ** 2 * right <= left)
    return EXACT.multiply(Decimal(rounded_steps), quantum)


@dataclass(frozen=True, slots=True)
class Assessed:
    """A stretch whose power factor is assessed: the measured energies and the standard."""

    standard: Decimal
    active_wh: int
    reactive_varh: int


def power_factor_line(assessed: Assessed, lines: Iterable[BillLine], rules: PowerFactorRules) -> BillLine:
    """Adjust the participating lines by the month's power factor; a zero line when it is undefined.

    Base = all lines but government funds and the environmental value of green power (tariffs 2.3).
    Raises ValueError for a standard without a table, or when no line takes part.
    """
    base = tuple(line for line in lines if line.section not in rules.excluded_sections)
    table = rules.table(assessed.standard)
    if table is None or not base:
        raise ValueError(
            f"no table for standard {assessed.standard}, or nothing to adjust ({len(base)} lines)"
        )
    factor = power_factor_of(assessed.active_wh, assessed.reactive_varh, rules.power_factor_quantum)
    percent = Decimal(0) if factor is None else table.percent_at(factor)
    amount_fen, formula, inputs = _adjustment(base, percent, rules.amount_rounding)
    base_yuan = total(EXACT.scaleb(Decimal(line.amount_fen), -2) for line in base)
    read = Input("percent", percent, "%", rules.head.origin, rules.head.document_for("standard"))
    notes = (
        ("active_wh", str(assessed.active_wh)),
        ("power_factor", "" if factor is None else str(factor)),
        ("power_factor_formula", "active / sqrt(active * active + reactive * reactive), half up to 0.01"),
        ("reactive_varh", str(assessed.reactive_varh)),
        ("standard", str(assessed.standard)),
    )
    return BillLine(
        Section.POWER_FACTOR,
        item="power_factor_adjustment",
        period=None,
        quantity=base_yuan,
        unit="yuan",
        price_yuan_per_unit=EXACT.scaleb(percent, -2),
        amount_fen=amount_fen,
        derivation=Derivation(
            formula,
            (*inputs, read),
            min(line.derivation.first_day for line in base),
            max(line.derivation.end_day for line in base),
            notes,
        ),
    )


def adjustment_fen(base_fen: Sequence[int], percent: Decimal, rounding: AmountRounding) -> int:
    """Take `percent` of charges: of their sum, or of each by itself as the grid company prints it (tariffs 2.3)."""
    parts = (sum(base_fen),) if rounding is AmountRounding.TOTAL else tuple(base_fen)
    return sum(fen_of(EXACT.scaleb(EXACT.multiply(yuan(part), percent), -2)) for part in parts)


def _adjustment(
    base: tuple[BillLine, ...], percent: Decimal, rounding: AmountRounding
) -> tuple[int, str, tuple[Input, ...]]:
    amount_fen = adjustment_fen([line.amount_fen for line in base], percent, rounding)
    if rounding is AmountRounding.TOTAL:
        base_yuan = yuan(sum(line.amount_fen for line in base))
        return amount_fen, "base * percent / 100", (Input("base", base_yuan, "yuan", "lines"),)
    inputs = tuple(
        Input(f"line_{number}", yuan(line.amount_fen), "yuan", "lines")
        for number, line in enumerate(base, start=1)
    )
    return amount_fen, " + ".join(f"fen({each.name} * percent / 100)" for each in inputs), inputs
