"""The demonstration's small market: 3 gateways, 24 meters, their customers and the loads behind them.

The table below is the only place where it is described; site file, agent configurations and simulated meters derive from it.
All names are fictional places and companies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from demo import curves
from demo.load import Load

GENERIC_645 = "cn.generic.dlt645-2007.3p4w"
ACREL = "cn.acrel.adl400"
SDM630 = "uk.eastron.sdm630"


@dataclass(frozen=True)
class Gateway:
    """A concentrator and the name of the place it hangs at."""

    gateway_id: str
    name: str


@dataclass(frozen=True)
class Terms:
    """What the tariff needs to know of an account."""

    category: str
    purchase: str
    structure: str
    voltage: str
    demand_mode: str = "none"
    capacity_kva: int | None = None
    contract_demand_kw: int | None = None
    power_factor_standard: str | None = None
    option: str | None = None  # of catalogue prices: ladder, or ladder_tou


@dataclass(frozen=True)
class Site:
    """One meter with its customer and its load. Peaks are primary values; the meter sees them divided by the multiplier."""

    meter_id: str
    gateway_id: str
    port: str
    profile: str
    address: str
    account_id: str
    party: str
    place: str
    terms: Terms
    curve: str
    peak_kw: int
    multiplier: int = 1
    reactive_percent: int = 100  # of the curve's reactive power: below 100 = capacitors installed
    nominal_cv: int = 22_000
    used_kwh: int | None = None  # a household's energy of the year before the demonstration's month

    @property
    def supply_point_id(self) -> str:
        return f"SP{self.account_id[-6:]}"

    @cached_property
    def load(self) -> Load:
        """The load as the meter's secondary side sees it."""
        if self.peak_kw * 1000 % self.multiplier:
            raise ValueError(
                f"{self.meter_id}: {self.peak_kw} kW behind {self.multiplier} is not a whole number of watts"
            )
        peak_w = self.peak_kw * 1000 // self.multiplier
        known = curves.load()
        if self.curve.startswith("pv"):
            return Load(known[self.curve], None, peak_w, generates=True, nominal_cv=self.nominal_cv)
        return Load(
            known[f"{self.curve}_p"],
            known[f"{self.curve}_q"],
            peak_w,
            peak_var=peak_w * self.reactive_percent // 100,
            nominal_cv=self.nominal_cv,
        )


GATEWAYS = (
    Gateway("GW-A001", "示例小区 2# 集中器"),
    Gateway("GW-B001", "示范园区 1# 配电室"),
    Gateway("GW-C001", "商业街综合箱"),
)

_SHOP = Terms("commercial", "agency", "single_part", "lt1kV")
_SHOP_RETAIL = Terms("commercial", "retail", "single_part", "lt1kV")
_FARM = Terms("agricultural", "catalogue", "single_part", "lt1kV")
_PLANT = Terms("generation", "catalogue", "single_part", "1-10kV")


def _works(
    mode: str,
    capacity_kva: int,
    contract_kw: int | None = None,
    standard: str = "0.90",
    purchase: str = "agency",
) -> Terms:
    return Terms("commercial", purchase, "two_part", "1-10kV", mode, capacity_kva, contract_kw, standard)


def _home(number: int, port: str, curve: str, peak_kw: int) -> Site:
    return Site(
        f"M-A{number:03d}",
        "GW-A001",
        port,
        GENERIC_645,
        f"{110_000 + number:012d}",
        f"13010001{number:04d}",
        f"示例小区 2-{100 + number}",
        f"示例小区 2 号楼 {100 + number} 室",
        Terms(
            "residential",
            "catalogue",
            "single_part",
            "lt1kV",
            option="ladder_tou" if number % 3 == 0 else "ladder",
        ),
        curve,
        peak_kw,
        used_kwh=1_450 + 260 * number,
    )


SITES: tuple[Site, ...] = (
    *(
        _home(n, "tcp", c, kw)
        for n, c, kw in ((1, "h0_a", 9), (2, "h0_b", 8), (3, "h0_c", 11), (4, "h0_g", 7))
    ),
    *(
        _home(n, "serial", c, kw)
        for n, c, kw in ((5, "h0_a", 6), (6, "h0_b", 10), (7, "h0_c", 8), (8, "h0_g", 12))
    ),
    # 10 kV customers: PT 10000/100 = 100 times CT; the meter sees 57.7 V and a few amperes.
    Site(
        "M-B001",
        "GW-B001",
        "645",
        GENERIC_645,
        "000000220001",
        "130200020001",
        "示范精密制造",
        "园区一路 1 号",
        _works("actual", 2000, purchase="direct"),
        "g4_h",
        1600,
        4000,
        nominal_cv=5774,
    ),
    Site(
        "M-B002",
        "GW-B001",
        "645",
        GENERIC_645,
        "000000220002",
        "130200020002",
        "示范铸造",
        "园区一路 3 号",
        _works("contracted", 2500, 1800),
        "g3_h",
        2000,
        4000,
        62,
        5774,
    ),
    Site(
        "M-B003",
        "GW-B001",
        "645",
        GENERIC_645,
        "000000220003",
        "130200020003",
        "示范食品加工",
        "园区二路 2 号",
        _works("capacity", 800, purchase="retail"),
        "bl_h",
        600,
        1500,
        45,
        5774,
    ),
    Site(
        "M-B004",
        "GW-B001",
        "645",
        GENERIC_645,
        "000000220004",
        "130200020004",
        "示范供水站",
        "园区北侧",
        _works("capacity", 400, standard="0.85"),
        "wb_h",
        300,
        1000,
        40,
        5774,
    ),
    Site(
        "M-B005",
        "GW-B001",
        "645",
        GENERIC_645,
        "000000220005",
        "130200020005",
        "示范物流仓储",
        "园区三路 8 号",
        Terms("commercial", "agency", "single_part", "1-10kV", power_factor_standard="0.85"),
        "g0_a",
        160,
        800,
        40,
        5774,
    ),
    Site(
        "M-B006",
        "GW-B001",
        "645",
        GENERIC_645,
        "000000220006",
        "130200020006",
        "园区办公楼",
        "园区一路 6 号",
        _SHOP,
        "g1_a",
        90,
        30,
        100,
    ),
    Site(
        "M-B007",
        "GW-B001",
        "modbus",
        ACREL,
        "11",
        "130200020007",
        "示范注塑",
        "园区二路 5 号",
        _works("actual", 500),
        "g3_a",
        400,
        1000,
        50,
        5774,
    ),
    Site(
        "M-B008",
        "GW-B001",
        "modbus",
        ACREL,
        "12",
        "130200020008",
        "示范数据机房",
        "园区二路 7 号",
        _works("capacity", 630, purchase="retail"),
        "g4_a",
        480,
        1200,
        60,
        5774,
    ),
    Site(
        "M-C001",
        "GW-C001",
        "645",
        GENERIC_645,
        "000000330001",
        "130300030001",
        "商业街便利店",
        "商业街 12 号",
        _SHOP,
        "g5_a",
        24,
        1,
        40,
    ),
    Site(
        "M-C002",
        "GW-C001",
        "645",
        GENERIC_645,
        "000000330002",
        "130300030002",
        "商业街面馆",
        "商业街 15 号",
        _SHOP,
        "g4_a",
        30,
        1,
    ),
    Site(
        "M-C003",
        "GW-C001",
        "645",
        GENERIC_645,
        "000000330003",
        "130300030003",
        "东郊灌溉站",
        "东郊 2 号井",
        _FARM,
        "l0_a",
        22,
        1,
        50,
    ),
    Site(
        "M-C004",
        "GW-C001",
        "modbus",
        SDM630,
        "1",
        "130300030004",
        "商业街书店",
        "商业街 20 号",
        _SHOP_RETAIL,
        "g1_a",
        18,
        1,
    ),
    Site(
        "M-C005",
        "GW-C001",
        "modbus",
        SDM630,
        "2",
        "130300030005",
        "商业街健身房",
        "商业街 22 号",
        _SHOP,
        "g0_a",
        45,
        1,
        60,
    ),
    Site(
        "M-C006",
        "GW-C001",
        "modbus",
        SDM630,
        "3",
        "130300030006",
        "商业街烘焙坊",
        "商业街 26 号",
        _SHOP,
        "g5_a",
        36,
        1,
        40,
    ),
    Site(
        "M-C007",
        "GW-C001",
        "modbus",
        ACREL,
        "21",
        "130300030007",
        "商业街影院",
        "商业街 30 号",
        Terms("commercial", "agency", "single_part", "lt1kV", power_factor_standard="0.85"),
        "g3_a",
        120,
        40,
        55,
    ),
    Site(
        "M-C008",
        "GW-C001",
        "modbus",
        ACREL,
        "22",
        "130300030008",
        "园区屋顶光伏",
        "园区三路 8 号屋顶",
        _PLANT,
        "pv3",
        400,
        1000,
        nominal_cv=5774,
    ),
)

RETAILER = "示范售电有限公司"
PLANT, WIND_FARM = "示范热电厂", "示范风电场"
# Who of the accounts above is on which of the retailer's packages (cloud/billing/published/packages).
PACKAGES = (
    ("130200020003", "demo-linked"),
    ("130200020008", "demo-green"),
    ("130300030004", "demo-tou"),
)
# The bakery signed for a package from 16 August on, and it was entered only after its bill had gone out.
LATE_CONTRACT = ("130300030006", "demo-spread", "2026-08-16")

# Who may sign in: (login, role, shown name, party whose rows a customer sees).
PEOPLE = (
    ("staff", "staff", "营业厅", None),
    ("finance", "staff", "财务科", None),
    ("tech", "technician", "运维班", None),
    ("factory", "customer", "示范铸造", "示范铸造"),
    ("direct", "customer", "示范精密制造", "示范精密制造"),
    ("server", "customer", "示范数据机房", "示范数据机房"),
    ("shop", "customer", "商业街便利店", "商业街便利店"),
    ("home", "customer", "示例小区 2-101", "示例小区 2-101"),
    ("retail", "customer", "示范售电", RETAILER),
    ("plant", "customer", "示范热电厂", PLANT),
    ("wind", "customer", "示范风电场", WIND_FARM),
    ("regulator", "regulator", "市场监管处", None),
)
