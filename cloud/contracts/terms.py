"""Terms of a wholesale contract: who sells what to whom, in which months and periods, at which prices. Pure.

A volume is dated by month and period: the whole 'month', a named period of the market's calendar ('peak'), an hour
'h01'..'h24' or a quarter-hour 'q01'..'q96'. All trades carry volumes and prices by period (1656号 art. 25); a green
contract states the price of the energy and of its environmental value separately (art. 33).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.contracts.entries import Entries

KWH_PER_MWH = 1000
WHOLE_MONTH = "month"
HOURS = tuple(f"h{number:02d}" for number in range(1, 25))
QUARTERS = tuple(f"q{number:02d}" for number in range(1, 97))
CURVE_POINTS = (24, 96)
CURVE_MAX = 10**9
VOLUME_MAX = Decimal(10**9)
PRICE_MAX = Decimal(10**6)
PRICE_DECIMALS_MAX = 6
LABEL = re.compile(r"[a-z][a-z0-9_]{0,19}", re.ASCII)
CONTRACT_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class ContractKind(StrEnum):
    """How the contract came about."""

    BILATERAL = "bilateral"  # 双边协商
    AUCTION = "auction"  # 集中竞价
    LISTING = "listing"  # 挂牌
    ROLLING = "rolling"  # 滚动撮合
    GREEN = "green"  # 绿电


class Shape(StrEnum):
    """How a volume is spread over the quarter-hours of its period."""

    FLAT = "flat"
    CURVE = "curve"  # a typical day given with the contract
    LOAD = "load"  # as the buyer's own metered load


@dataclass(frozen=True, slots=True)
class Volume:
    """What is promised for one period of one month, with its prices."""

    month: date
    period: str
    mwh: Decimal
    price_yuan_per_mwh: Decimal
    environment_yuan_per_mwh: Decimal

    @property
    def kwh(self) -> int:
        """Tell the volume in whole kWh, as it is settled."""
        return int(self.mwh * KWH_PER_MWH)


@dataclass(frozen=True, slots=True)
class WholesaleTerms:
    """One version of a contract. `seller` and `buyer` are units of the market, `green_users` those a green volume is for."""

    contract_id: str
    version: int
    kind: ContractKind
    seller: str
    buyer: str
    signed: date
    document: str
    shape: Shape
    curve: tuple[int, ...]
    volumes: tuple[Volume, ...]
    green_users: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Name this contract and version, as derivations do."""
        return f"contract {self.contract_id}@{self.version}"

    def volumes_of(self, month: date) -> tuple[Volume, ...]:
        """List what is promised for a month, in the contract's order."""
        return tuple(volume for volume in self.volumes if volume.month == month)


def terms_from(table: Entries) -> WholesaleTerms:
    """Read one contract of a market file. Raises BadMarketFile."""
    contract_id = table.text("id")
    if not CONTRACT_ID.fullmatch(contract_id):
        table.refuse("id", contract_id, "1 to 64 letters, digits, _ . -")
    kind = ContractKind(table.choice("kind", tuple(ContractKind)))
    seller, buyer = table.text("seller"), table.text("buyer")
    if seller == buyer:
        table.refuse("buyer", buyer, "another than the seller")
    shape = Shape(table.choice("shape", tuple(Shape)))
    terms = WholesaleTerms(
        contract_id=contract_id,
        version=table.integer("version", 1, 9999),
        kind=kind,
        seller=seller,
        buyer=buyer,
        signed=table.day("signed"),
        document=table.text("document"),
        shape=shape,
        curve=_curve(table, shape),
        volumes=tuple(_volume(each, kind) for each in table.tables("volume")),
        green_users=table.texts("green_users"),
    )
    _check_periods(table, terms.volumes)
    table.done()
    return terms


def _curve(table: Entries, shape: Shape) -> tuple[int, ...]:
    curve = table.integers("curve")
    if shape is not Shape.CURVE:
        if curve:
            table.refuse("curve", curve, f"absent for the shape {shape}")
        return ()
    if len(curve) not in CURVE_POINTS or not all(0 <= each <= CURVE_MAX for each in curve) or not any(curve):
        table.refuse("curve", curve, "24 or 96 whole numbers from 0, not all 0")
    return curve


def _volume(table: Entries, kind: ContractKind) -> Volume:
    period = table.text("period")
    if not LABEL.fullmatch(period):
        table.refuse("period", period, "month, h01..h24, q01..q96 or a period of the market's calendar")
    volume = Volume(
        month=table.month("month"),
        period=period,
        mwh=_volume_mwh(table),
        price_yuan_per_mwh=_price(table, "price"),
        environment_yuan_per_mwh=_price(table, "environment", "0"),
    )
    if (kind is ContractKind.GREEN) != table.has("environment"):
        table.refuse("environment", table.take("environment"), "given for a green contract, and for no other")
    table.done()
    return volume


def _volume_mwh(table: Entries) -> Decimal:
    mwh = table.decimal("mwh")
    if not 0 <= mwh <= VOLUME_MAX or mwh * KWH_PER_MWH != int(mwh * KWH_PER_MWH):
        table.refuse("mwh", mwh, f"0 to {VOLUME_MAX}, at most 3 decimals (whole kWh)")
    return mwh


def _price(table: Entries, key: str, default: str | None = None) -> Decimal:
    price = table.decimal(key, default)
    exponent = price.as_tuple().exponent
    if abs(price) > PRICE_MAX or not isinstance(exponent, int) or -exponent > PRICE_DECIMALS_MAX:
        table.refuse(key, price, f"yuan/MWh, at most {PRICE_DECIMALS_MAX} decimals and {PRICE_MAX}")
    return price


def _check_periods(table: Entries, volumes: tuple[Volume, ...]) -> None:
    if not volumes:
        table.refuse("volume", None, "one or more tables [[contract.volume]]")
    mixed = mixed_month(volumes)
    if mixed is not None:
        table.refuse(f"volume.{mixed[0]}", mixed[1], mixed[2])


def mixed_month(volumes: Sequence[Volume]) -> tuple[str, str, str] | None:
    """Find the first month whose volumes do not go together: in what, as they are, and what is allowed; None: there is none."""
    for month in sorted({volume.month for volume in volumes}):
        labels = [volume.period for volume in volumes if volume.month == month]
        families = {_family(label) for label in labels}
        if len(set(labels)) != len(labels) or len(families) != 1:
            text = f"{month:%Y-%m}: {', '.join(labels)}"
            return "period", text, "each period once, all of one kind, in a month"
        prices = {volume.environment_yuan_per_mwh for volume in volumes if volume.month == month}
        if len(prices) != 1:  # the environmental value is outside the time of use (1656号 art. 33)
            text = f"{month:%Y-%m}: {', '.join(map(str, sorted(prices)))}"
            return "environment", text, "one environmental price in a month"
    return None


def _family(label: str) -> str:
    if label == WHOLE_MONTH:
        return "month"
    if label in HOURS:
        return "hours"
    return "quarters" if label in QUARTERS else "named"
