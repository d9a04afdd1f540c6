"""The bill of 2026-08 worked out by hand from the published texts; shares nothing with the program.

Sources: 国网冀北代理购电 2026-08 (components), 发改价格〔2026〕1077号 (T&D, demand, capacity), 冀发改能价〔2025〕1275号
(hours and coefficients), 发改办价格〔2016〕1583号 and 发改价格〔2023〕526号 (basic charge), (83)水电财字第215号 (power
factor), 发改能源规〔2025〕976号 art. 12 (whole kWh, each line to the fen, half up).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

PERIODS = ("tip", "peak", "flat", "valley", "deep")
COEFFICIENT = dict(zip(PERIODS, map(Decimal, ("2.04", "1.7", "1", "0.3", "0.24")), strict=True))
AVERAGE_PRICE, DEVIATION = Decimal("0.398598"), Decimal("-0.012885")
LINE_LOSS, SYSTEM, FUNDS = Decimal("0.011778"), Decimal("0.013088"), Decimal("0.02406875")
TRANSMISSION = {"two-part 10 kV": Decimal("0.1365"), "single-part < 1 kV": Decimal("0.1803")}
DEMAND_PRICE, CAPACITY_PRICE = Decimal("37.8"), Decimal("23.6")  # two-part, 10 kV

# June, July, August: 尖 18-21, 峰 10-12 16-18 21-22, 平 7-10 12-16 22-23, 谷 0-7 23-24, one letter an hour.
SUMMER_HOURS = "vvvvvvvfffppffffpptttpfv"
PERIOD_OF_LETTER = {"t": "tip", "p": "peak", "f": "flat", "v": "valley"}

# Standard 0.90, percent for 1.00, 0.99, … 0.80, as the table prints it; the accounts here stay within.
PERCENT_FROM_100_DOWN = """
-0.75 -0.75 -0.75 -0.75 -0.75 -0.75 -0.60 -0.45 -0.30 -0.15 0.00
0.50 1.00 1.50 2.00 2.50 3.00 3.50 4.00 4.50 5.00
"""


@dataclass(frozen=True)
class Contract:
    """What the account has agreed; `basic` is '' for a single-part tariff."""

    prices: str
    basic: str = ""
    capacity_kva: int = 0
    contract_kw: int = 0
    is_assessed: bool = False


def half_up(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def fen(quantity: Decimal, price: Decimal) -> int:
    return half_up(quantity * price * 100)


def whole_kwh(quarters_wh: Sequence[int]) -> dict[str, int]:
    """Whole kWh by period: the month's total is rounded once, kWh left over go to the largest remainders."""
    wh = dict.fromkeys(PERIODS, 0)
    for quarter, energy_wh in enumerate(quarters_wh):
        wh[PERIOD_OF_LETTER[SUMMER_HOURS[quarter % 96 // 4]]] += energy_wh
    kwh = {period: energy_wh // 1000 for period, energy_wh in wh.items()}
    left = half_up(Decimal(sum(wh.values())) / 1000) - sum(kwh.values())
    for period in sorted(PERIODS, key=lambda each: wh[each] % 1000, reverse=True)[:left]:
        kwh[period] += 1
    return kwh


def basic_fen(contract: Contract, quarters_wh: Sequence[int], month_kwh: int) -> int:
    """Capacity, contracted or actual demand; from 260 kWh a month and kVA on demand costs nine tenths."""
    if contract.basic == "capacity":
        return fen(Decimal(contract.capacity_kva), CAPACITY_PRICE)
    demand_kw = Decimal(max(quarters_wh) * 4) / 1000
    if contract.basic == "contracted":
        agreed = max(Decimal(contract.contract_kw), Decimal("0.4") * contract.capacity_kva)
        over = max(Decimal(0), demand_kw - Decimal("1.05") * agreed)
        demand_kw = Decimal("1.05") * agreed + 2 * over if over else agreed
    discounted = month_kwh >= 260 * contract.capacity_kva
    return fen(demand_kw, DEMAND_PRICE * Decimal("0.9") if discounted else DEMAND_PRICE)


def power_factor_hundredths(active_wh: int, reactive_varh: int) -> int:
    """P / sqrt(P² + Q²) half up to 0.01: the last n with (n - 1/2)/100 not above it, compared as squares."""
    squared = Fraction(active_wh**2, active_wh**2 + reactive_varh**2)
    return max(n for n in range(101) if Fraction(2 * n - 1, 200) ** 2 <= squared)


def lines_fen(
    contract: Contract, quarters_wh: Sequence[int], reactive_varh: int
) -> dict[tuple[str, str | None], int]:
    """Amounts by (section, period) of the whole bill."""
    kwh = whole_kwh(quarters_wh)
    total = Decimal(sum(kwh.values()))
    lines: dict[tuple[str, str | None], int] = {
        ("energy", period): fen(Decimal(kwh[period]), AVERAGE_PRICE * COEFFICIENT[period] + DEVIATION)
        for period in PERIODS
    }
    lines["line_loss", None] = fen(total, LINE_LOSS)
    lines["transmission", None] = fen(total, TRANSMISSION[contract.prices])
    lines["system_operation", None] = fen(total, SYSTEM)
    if contract.basic:
        lines["basic", None] = basic_fen(contract, quarters_wh, int(total))
    if contract.is_assessed:
        factor = power_factor_hundredths(sum(quarters_wh), reactive_varh)
        percent = Decimal(PERCENT_FROM_100_DOWN.split()[100 - factor])
        lines["power_factor", None] = half_up(Decimal(sum(lines.values())) * percent / 100)
    lines["funds", None] = fen(total, FUNDS)
    return lines
