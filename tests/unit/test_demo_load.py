"""The loads behind the simulated meters follow the published curve, recomputed here from the file itself."""

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from importlib import resources

import pytest

from demo.load import REGISTERS_START, Load
from demo.world import SITES, Site

QUARTER = timedelta(minutes=15)


def _rows() -> list[dict[str, str]]:
    packed = (resources.files("demo.curves") / "simbench_2016_quarter_hour.csv.gz").read_bytes()
    return list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode())))


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def _raw_kwh(site: Site, column: str, peak_w: int, quarters: int) -> Fraction:
    """Sum the file's own decimals from the registers' start: row 576 is the first Thursday, as 2026-01-01 is."""
    rows = _rows()
    values = (rows[(576 + quarter) % len(rows)][column] for quarter in range(quarters))
    return sum((max(Fraction(value), Fraction(0)) for value in values), Fraction(0)) * peak_w / 4000


@pytest.mark.parametrize("site", [SITES[0], SITES[9], SITES[20]], ids=lambda site: site.meter_id)
def test_a_register_is_the_curve_summed_and_cut_to_the_display(site: Site) -> None:
    quarters = 212 * 96 + 37

    shown = site.load.energy_ticks("ea_imp", _ms(REGISTERS_START + quarters * QUARTER), 2)

    exact = _raw_kwh(site, f"{site.curve}_p", site.load.peak_w, quarters) * 100
    assert shown == exact.numerator // exact.denominator


def test_a_plant_counts_only_what_it_feeds_in() -> None:
    plant = next(site for site in SITES if site.curve == "pv3")
    noon = _ms(datetime(2026, 8, 5, 4, tzinfo=UTC))

    assert plant.load.energy_ticks("ea_imp", noon, 2) == 0
    assert plant.load.energy_ticks("ea_exp", noon, 2) > 0
    assert plant.load.active_mw(noon) < 0


def test_registers_never_go_back() -> None:
    load: Load = SITES[11].load
    start = _ms(datetime(2026, 8, 31, 15, 59, tzinfo=UTC))

    shown = [load.energy_ticks("er_imp", start + second * 1000, 2) for second in range(0, 7200, 7)]

    assert shown == sorted(shown)
    assert shown[-1] > shown[0]


def test_demand_begins_anew_with_the_market_month() -> None:
    load: Load = SITES[8].load
    last_moment = _ms(datetime(2026, 8, 31, 15, 59, 59, tzinfo=UTC))  # 23:59:59 in Beijing

    assert load.demand_ticks(last_moment, 4) > 0
    assert load.demand_ticks(last_moment + 1000, 4) == 0


def test_every_site_is_its_own_customer_on_one_of_three_gateways() -> None:
    assert (
        len(SITES) == len({site.account_id for site in SITES}) == len({site.meter_id for site in SITES}) == 24
    )
    assert len({site.gateway_id for site in SITES}) == 3
