"""Random small markets for the laws of settlement: units, contracts, prices and energy of one month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st

import cloud.market
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.market.greenmatch import green_matches
from cloud.market.line import SettlementLine, Side
from cloud.market.month import ContractFacts, MarketMonth, Mechanism, UnitFacts, contract_facts, stretches
from cloud.market.rulefile import GreenOrder, MarketRule, rule_from
from cloud.market.settlement import unit_lines

MONTH = date(2026, 2, 1)
RULES = Path(cloud.market.__file__).parent / "rules"
KEYS = (
    "up_regulation_average", "down_regulation_average", "auction_highest", "auction_lowest", "auction_uniform",
    "incremental_cap", "contract_price_with_transmission", "loss_purchase_average",
)  # fmt: skip
NAMED_HOURS = """
[[hours]]
months = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
valley = ["00:00-08:15"]
flat = ["08:15-17:00", "22:00-24:00"]
peak = ["17:00-22:00"]
"""


@dataclass(frozen=True)
class World:
    """One month of a market, before and after its units were settled."""

    market: MarketMonth
    units: tuple[UnitFacts, ...]
    contracts: tuple[ContractFacts, ...]

    def own_lines(self) -> tuple[SettlementLine, ...]:
        by_id = {unit.unit_id: unit for unit in self.units}
        matches = green_matches(self.contracts, by_id, self.market.rule.green_order, {})
        green = {match.contract_id: match for match in matches}
        return tuple(
            line for unit in self.units for line in unit_lines(unit, self.market, self.contracts, green)
        )


def rule_text(name: str) -> str:
    return (RULES / f"{name}.toml").read_text(encoding="utf-8")


def rule(name: str, **changes: str) -> MarketRule:
    text = rule_text(name)
    for key, value in changes.items():
        line = next(each for each in text.splitlines() if each.startswith(f"{key} ="))
        text = text.replace(line, f'{key} = "{value}"')
    if changes.get("period") == "named":
        text = f"{text}\n{NAMED_HOURS}"
    if changes.get("line_loss") == "settled":
        text = f'{text}\n[[difference]]\nname = "line_loss"\namong = ["generator"]\n'
    return rule_from(f"{name}.toml", text)


prices = st.integers(0, 900_000).map(lambda milli: Decimal(milli).scaleb(-3))
kwhs = st.one_of(st.integers(0, 50), st.integers(0, 9_999_999))


@st.composite
def worlds(draw: st.DrawFn, spot: bool) -> World:
    market_rule = draw(st.sampled_from(_spot_rules() if spot else _plain_rules()))
    size = stretches(market_rule, MONTH)[-1].end
    values: dict[str, Decimal | None] = {key: draw(prices) for key in KEYS}
    values["line_loss_rate"] = Decimal("0.0287")
    for key in (
        "up_regulation_average",
        "down_regulation_average",
    ):  # none called: the auction's price stands in
        values[key] = draw(st.one_of(st.none(), prices))
    sides = draw(
        st.lists(st.sampled_from([Side.USER, Side.RETAILER, Side.GENERATOR]), min_size=0, max_size=4)
    )
    units = tuple(
        _unit(draw, number, side, size, spot)
        for number, side in enumerate([Side.USER, Side.RETAILER, Side.GENERATOR, *sides])
    )
    contracts = tuple(
        contract_facts(_terms(draw, number, units), market_rule, MONTH)
        for number in range(draw(st.integers(0, 4)))
    )
    return World(
        MarketMonth(
            MONTH,
            market_rule,
            values,
            _series(draw, size) if spot else (),
            _series(draw, size) if spot else (),
        ),
        units,
        contracts,
    )


def _plain_rules() -> list[MarketRule]:
    return [
        rule("889-demo"),
        rule("889-demo", period="named"),
        rule("889-demo", line_loss="settled"),
        rule("fujian-band", green_order="listed"),
        rule("ningxia-band", period="named"),
        rule("sichuan-band"),
    ]


def _spot_rules() -> list[MarketRule]:
    return [
        rule("two-settlement"),
        rule("two-settlement-cfd"),
        rule("two-settlement", reference="real-time"),
        rule("two-settlement-cfd", reference="real-time"),
    ]


def _unit(draw: st.DrawFn, number: int, side: Side, size: int, spot: bool) -> UnitFacts:
    actual = _quantities(draw, size)
    if number < 3:  # of every side somebody has energy, so that every difference finds somebody to share it
        actual = (actual[0] + 1, *actual[1:])
    is_metered = draw(st.booleans()) or number < 3
    mechanism = None
    if side is Side.GENERATOR and draw(st.booleans()):
        mechanism = Mechanism(draw(st.integers(0, max(1, sum(actual)))), draw(prices), draw(prices), "doc")
    return UnitFacts(
        f"37000000000{number:02d}",
        number,
        side,
        actual if is_metered else (),
        (_quantities(draw, size) if spot else ()) if is_metered else (),
        mechanism if is_metered else None,
        is_metered,
        None if is_metered else draw(st.integers(0, 10_000)),
    )


def _quantities(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    few = draw(st.lists(kwhs, min_size=1, max_size=7))
    return tuple(few[number % len(few)] for number in range(size))


def _series(draw: st.DrawFn, size: int) -> tuple[Decimal, ...]:
    few = draw(st.lists(prices, min_size=1, max_size=5))
    return tuple(few[number % len(few)] for number in range(size))


def _terms(draw: st.DrawFn, number: int, units: tuple[UnitFacts, ...]) -> WholesaleTerms:
    seller, buyer = draw(
        st.lists(st.sampled_from(units), min_size=2, max_size=2, unique_by=lambda u: u.unit_id)
    )
    is_green = seller.side is Side.GENERATOR and buyer.side is not Side.GENERATOR and draw(st.booleans())
    environment = draw(prices) if is_green else Decimal(0)
    labels = draw(st.sampled_from([("month",), ("h01", "h24"), ("q05", "q96", "q50")]))
    return WholesaleTerms(
        f"C{number}",
        1,
        ContractKind.GREEN if is_green else ContractKind.BILATERAL,
        seller.unit_id,
        buyer.unit_id,
        date(2026, 1, 20),
        "doc",
        Shape.FLAT,
        (),
        tuple(
            Volume(MONTH, label, Decimal(draw(kwhs)).scaleb(-3), draw(prices), environment)
            for label in labels
        ),
    )


__all__ = ["MONTH", "GreenOrder", "World", "rule", "worlds"]
