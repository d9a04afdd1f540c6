"""The same tariffs by NREL's PySAM (utilityrate5) and by our rating, over a real year: amounts and bills/s in one run.

The common subset: energy prices by season and time of use, tiers by the month's kWh (alone and beside time of use), and
a demand charge on the month's highest quarter-hour. Not in it: day types (SAM's year begins on a Monday and knows no
holidays), demand by period (we have none), everything of a Chinese bill beyond energy and demand.

How the two are made to speak of the same thing:
- 365 days: the year's curve without its 366th day, laid on 2026; SAM takes 35,040 quarter-hours of kW (Wh x 4 / 1000).
- SAM bills the load alone (`gen` = 0, the case "without system"), net billing (option 2), so that each step's energy
  meets the tier that the month has reached; no fixed or minimum charge, no escalation, inflation or degradation.
- Hours are whole, as SAM's 12 x 24 schedules want; weekdays and weekends have the same one.
- We bill in whole Wh (`energy_quantum_kwh` 0.001), so that no kWh is rounded before it is priced.

Rates are by this process's own processor time, so that a busy machine does not favour the later of the two.

    python -m benchmarks.pysam_rates [--repetitions 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import PySAM.Utilityrate5 as utilityrate5

from cloud.billing import bill, bulk
from cloud.billing.bulkplan import Shape, plan_for
from cloud.billing.catalogue import AnyPrices, Catalogue
from cloud.billing.evidence import Stretch, priced_stretches
from cloud.billing.line import PERIODS, BillLine
from cloud.billing.pricefile import price_file_from
from cloud.billing.segment import DemandMode, Segment, Terms, usage_from
from cloud.billing.store.published import packaged_texts
from cloud.markettime import SLOTS_PER_DAY, days_of_month, month_after
from cloud.metering.interval import IntervalDay, IntervalQuality
from demo import curves

GRID = "example"
YEAR = 2026
MONTHS = tuple(date(YEAR, month, 1) for month in range(1, 13))
DAYS = 365
PEAK_WH = 125_000  # 500 kW
MEASURED, NOTHING = (int(IntervalQuality.ACTUAL),) * SLOTS_PER_DAY, (0,) * SLOTS_PER_DAY
NO_LIMIT = 1e38

HOURS = """
[[season]]
months = [6, 7, 8, 9]
tip = ["18:00-21:00"]
peak = ["10:00-12:00", "16:00-18:00"]
flat = ["07:00-10:00", "12:00-16:00", "21:00-23:00"]
valley = ["00:00-07:00", "23:00-24:00"]

[[season]]
months = [1, 2, 3, 4, 5, 10, 11, 12]
peak = ["16:00-22:00"]
flat = ["00:00-01:00", "06:00-12:00", "15:00-16:00", "22:00-24:00"]
valley = ["01:00-06:00"]
deep = ["12:00-15:00"]
"""


def head(kind: str, more: str) -> str:
    """A price file of the example grid."""
    return f"""
kind = "{kind}"
id = "example-{kind}"
version = 1
title = "Example"
grid = "{GRID}"
effective_from = {YEAR}-01-01
{more}
[[source]]
document = "Example"
mark = "PROJ"
status = "provisional"
"""


COEFFICIENTS = {"tip": "1.92", "peak": "1.6", "flat": "1", "valley": "0.4", "deep": "0.32"}
BASE = Decimal("0.456789")
DEMAND = Decimal("37.8")
TIER_LIMITS = ("20000", "60000")
TIERS = ("0.5283", "0.5783", "0.8283")
INCREMENTS = ("0", "0.05", "0.30")
PERIOD_PRICES = {"tip": "0.88", "peak": "0.75", "flat": "0.55", "valley": "0.30", "deep": "0.22"}

FILES = {
    "calendar.toml": head("calendar", "")
    + "[coefficients]\n"
    + "\n".join(f'{name} = "{value}"' for name, value in COEFFICIENTS.items())
    + HOURS,
    "sheet.toml": head(
        "price-sheet", 'purchase = "agency"\ncategory = "commercial"\nenergy_quantum_kwh = "0.001"'
    )
    + f"""
[[component]]
section = "energy"
item = "energy"
name = "电能"
name_en = "Energy"
price_yuan_per_kwh = "{BASE}"
floats = true
""",
    "transmission.toml": head("transmission", "")
    + f"""
[[row]]
structure = "two_part"
voltage = "1-10kV"
energy_yuan_per_kwh = "0"
demand_yuan_per_kw_month = "{DEMAND}"
capacity_yuan_per_kva_month = "0"
""",
    "funds.toml": head("funds", 'category = "commercial"')
    + """
[[item]]
item = "none"
name = "无"
name_en = "None"
price_yuan_per_kwh = "0"
""",
}


def ladder_text(option: str, rows: str, hours: str) -> str:
    """A catalogue price with tiers of the month."""
    limits = ", ".join(f'"{limit}"' for limit in TIER_LIMITS)
    keys = (
        f'category = "residential"\noption = "{option}"\nenergy_quantum_kwh = "0.001"\ncycle = "month"\n'
        f'pro_rata = "none"\nlimits_kwh = [{limits}]'
    )
    text = head("catalogue", keys).replace('id = "example-catalogue"', f'id = "example-{option}"')
    return text + f'[[row]]\nvoltages = ["1-10kV"]\n{rows}\n{hours}'


def quoted(values: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


FILES["ladder.toml"] = ladder_text("ladder", f"tiers = {quoted(TIERS)}", "")
FILES["ladder_tou.toml"] = ladder_text(
    "ladder_tou",
    f"tiers = {quoted(INCREMENTS)}\n[row.periods]\n"
    + "\n".join(f'{name} = "{price}"' for name, price in PERIOD_PRICES.items()),
    HOURS,
)


@dataclass(frozen=True, slots=True)
class Tariff:
    """One tariff in both languages."""

    name: str
    terms: Terms
    tou_mat: list[list[float]]  # period, tier, limit in kWh, 0 = kWh, price, sell rate
    by_period: bool
    demand_price: float | None


def terms(purchase: str, option: str, mode: DemandMode) -> Terms:
    """Terms of the one customer; a capacity so large that no load discount is reached."""
    category, structure = (
        ("commercial", "two_part") if purchase == "agency" else ("residential", "single_part")
    )
    return Terms(category, purchase, structure, "1-10kV", mode, 10**7, None, None, option)


def tariffs() -> tuple[Tariff, ...]:
    """The tariffs of the common subset."""
    tou = [
        [number, 1, NO_LIMIT, 0, float(BASE * Decimal(COEFFICIENTS[period])), 0]
        for number, period in enumerate(PERIODS, start=1)
    ]
    limits = [*map(float, TIER_LIMITS), NO_LIMIT]
    tiers = [[1, n, limits[n - 1], 0, float(price), 0] for n, price in enumerate(TIERS, start=1)]
    both = [
        [number, n, limits[n - 1], 0, float(Decimal(PERIOD_PRICES[period]) + Decimal(more)), 0]
        for number, period in enumerate(PERIODS, start=1)
        for n, more in enumerate(INCREMENTS, start=1)
    ]
    capacity, actual, none = DemandMode.CAPACITY, DemandMode.ACTUAL, DemandMode.NONE
    return (
        Tariff("time of use by season", terms("agency", "", capacity), tou, True, None),
        Tariff("time of use and demand", terms("agency", "", actual), tou, True, float(DEMAND)),
        Tariff("monthly tiers", terms("catalogue", "ladder", none), tiers, False, None),
        Tariff("tiers beside time of use", terms("catalogue", "ladder_tou", none), both, True, None),
    )


# ---- our side ----------------------------------------------------------------------------------------------------


def catalogue() -> Catalogue:
    """The example files, with the national rules that every bill needs."""
    national = [each for each in packaged_texts() if each.name.startswith(("cn-two-part", "cn-power-factor"))]
    texts = {**FILES, **{each.name: each.text for each in national}}
    return Catalogue(tuple(price_file_from(name, text) for name, text in texts.items()))


def load_wh(name: str) -> npt.NDArray[np.int32]:
    """A real year's curve in Wh per quarter-hour, 365 days."""
    samples = np.array(curves.load()[name].samples[: DAYS * SLOTS_PER_DAY], np.int64)
    return (np.abs(samples) * PEAK_WH // curves.SCALE).astype(np.int32)


def prices_of(own: Terms, known: Catalogue, month: date) -> AnyPrices:
    """The price files of a month."""
    ((_, prices),) = priced_stretches([Stretch(month, month_after(month), own)], known, GRID)
    return prices


def our_bills(own: Terms, known: Catalogue, wh: npt.NDArray[np.int32]) -> list[tuple[BillLine, ...]]:
    """Twelve bills by the single path, with derivations, from quarter-hours."""
    result = []
    by_day = wh.reshape(DAYS, SLOTS_PER_DAY).tolist()
    for month in MONTHS:
        first = (month - date(YEAR, 1, 1)).days
        days = [
            IntervalDay("SP1", day, 1, tuple(by_day[first + number]), NOTHING, NOTHING, NOTHING, MEASURED)
            for number, day in enumerate(days_of_month(month))
        ]
        prices = prices_of(own, known, month)
        segment = Segment(month, month_after(month), own, usage_from(days, prices.calendar))
        result.append(bill.rate(bill.priced([(segment, prices)]), month))
    return result


def unrounded_yuan(lines: Sequence[BillLine]) -> Fraction:
    """A bill before any amount is rounded to the fen."""
    return sum((Fraction(line.quantity) * Fraction(line.price_yuan_per_unit) for line in lines), Fraction(0))


def bulk_bills(own: Terms, known: Catalogue, matrix: npt.NDArray[np.int32]) -> list[bulk.Rated]:
    """Twelve months of many customers by the bulk path."""
    shape = Shape(
        GRID, own.category, own.purchase, own.structure, own.voltage, own.demand_mode, None, own.option
    )
    zeros = np.zeros(len(matrix), np.int64)
    result = []
    for month in MONTHS:
        first = (month - date(YEAR, 1, 1)).days * SLOTS_PER_DAY
        end = (month_after(month) - timedelta(days=1) - date(YEAR, 1, 1)).days * SLOTS_PER_DAY + SLOTS_PER_DAY
        plan = plan_for(shape, prices_of(own, known, month), month)
        energy = bulk.energy_of(np.ascontiguousarray(matrix[:, first:end]), plan.days)
        result.append(bulk.rate_group(plan, bulk.Usages(energy, zeros, zeros + 10**7, zeros)))
    return result


# ---- SAM's side --------------------------------------------------------------------------------------------------


def sam(tariff: Tariff, known: Catalogue, wh: npt.NDArray[np.int32]) -> Any:
    """SAM's model of the tariff and the year's load, ready to execute."""
    model = utilityrate5.new()
    rates = model.ElectricityRates
    months = prices_of(tariff.terms, known, MONTHS[0]).calendar.months
    schedule = [
        [PERIODS.index(day[4 * hour]) + 1 if tariff.by_period else 1 for hour in range(24)] for day in months
    ]
    rates.en_electricity_rates = 1
    rates.ur_metering_option = 2
    rates.ur_ec_sched_weekday = rates.ur_ec_sched_weekend = schedule
    rates.ur_ec_tou_mat = tariff.tou_mat
    rates.ur_dc_enable = int(tariff.demand_price is not None)
    rates.ur_dc_sched_weekday = rates.ur_dc_sched_weekend = [[1] * 24] * 12
    rates.ur_dc_tou_mat = [[1, 1, NO_LIMIT, 0.0]]
    rates.ur_dc_flat_mat = [[month, 1, NO_LIMIT, tariff.demand_price or 0.0] for month in range(12)]
    rates.ur_monthly_fixed_charge = rates.ur_monthly_min_charge = rates.ur_annual_min_charge = 0
    rates.ur_nm_yearend_sell_rate = rates.ur_sell_eq_buy = rates.ur_nm_credit_month = (
        rates.ur_nm_credit_rollover
    ) = 0
    rates.ur_nb_apply_credit_current_month = rates.ur_nb_credit_expire = 0
    rates.ur_en_ts_buy_rate = rates.ur_en_ts_sell_rate = 0
    rates.ur_enable_billing_demand = rates.TOU_demand_single_peak = 0
    rates.rate_escalation = [0]
    model.Lifetime.analysis_period = 1
    model.Lifetime.inflation_rate = model.Lifetime.system_use_lifetime_output = 0
    model.SystemOutput.degradation = [0]
    model.SystemOutput.gen = [0.0] * len(wh)
    model.Load.load = (wh.astype(np.float64) * 4 / 1000).tolist()
    model.Load.load_escalation = [0]
    return model


def sam_yuan(model: Any) -> list[float]:
    """SAM's twelve amounts of the case without a generator."""
    model.execute(0)
    return [float(each) for each in model.Outputs.year1_monthly_utility_bill_wo_sys]


# ---- side by side ------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    known = catalogue()
    names = sorted(name for name in curves.load() if name.endswith("_p"))
    loads = [load_wh(name) for name in names]
    print(f"{len(names)} real curves x 12 months, best (median) of {given.repetitions}; bills/s")
    print(
        f"{'tariff':28} {'SAM':>18} {'ours, derivations':>22} {'ours, bulk':>24} {'largest relative difference':>30}"
    )
    for tariff in tariffs():
        models = [sam(tariff, known, wh) for wh in loads]
        worst = 0.0
        for wh, model in zip(loads, models, strict=True):
            ours = our_bills(tariff.terms, known, wh)
            for lines, theirs in zip(ours, sam_yuan(model), strict=True):
                worst = max(worst, abs(float(unrounded_yuan(lines)) - theirs) / theirs)
        matrix = np.repeat(np.stack(loads), 50, axis=0)
        ways: list[tuple[Callable[[], object], int]] = [
            (partial(all_by_sam, models), len(loads)),
            (partial(all_by_us, tariff.terms, known, loads), len(loads)),
        ]
        if tariff.terms.purchase == "agency":
            ways.append((partial(bulk_bills, tariff.terms, known, matrix), len(matrix)))
        rates = [rate(way, customers * 12, given.repetitions) for way, customers in ways]
        shown = [f"{best:,.0f} ({median:,.0f})" for best, median in rates]
        print(
            f"{tariff.name:28} {shown[0]:>18} {shown[1]:>22} {shown[2] if len(shown) > 2 else '':>24} {worst:>30.1e}"
        )


def all_by_sam(models: Sequence[Any]) -> object:
    return [sam_yuan(model) for model in models]


def all_by_us(own: Terms, known: Catalogue, loads: Sequence[npt.NDArray[np.int32]]) -> object:
    return [our_bills(own, known, wh) for wh in loads]


def rate(way: Callable[[], object], bills: int, repetitions: int) -> tuple[float, float]:
    seconds = []
    for _ in range(repetitions):
        start = time.process_time()
        way()
        seconds.append(time.process_time() - start)
    return bills / min(seconds), bills / statistics.median(seconds)


if __name__ == "__main__":
    main()
