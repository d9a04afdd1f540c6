"""Settlement by hand: the worked cases, the rule files, deadlines, and files that are refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import cloud.market
from cloud.contracts.entries import BadMarketFile
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.lives import NoSuchMove, step
from cloud.market.allocation import NobodyToShare, allocate
from cloud.market.deadlines import (
    answer_until,
    ask_until,
    check_until,
    correctable_until,
    deadlines,
    objection_until,
)
from cloud.market.deviation import NoSuchPrice, PassOnTerms, deviation_amount, pass_on
from cloud.market.greenmatch import GenerationUnknown, green_kwh, green_matches
from cloud.market.line import Item, Side
from cloud.market.marketfile import market_from
from cloud.market.month import ContractFacts, Promise, UnitFacts
from cloud.market.progress import Event, Outcome, Stage, progress_of
from cloud.market.rulefile import GreenOrder, MarketRule, rule_from
from cloud.market.settlement import amount_of, loss_price, retailer_result
from cloud.market.spot import SpotPeriod, spot_amount_by_difference, spot_amount_by_quantity
from cloud.market.statement import STATEMENT, line_from, line_json

RULES = Path(cloud.market.__file__).parent / "rules"
CASES = {
    case["id"]: case
    for case in json.loads(
        (Path(__file__).parents[1] / "golden" / "prices_tariff_cases.json").read_text(encoding="utf-8")
    )["cases"]
}
NOW = datetime(2026, 9, 1, tzinfo=UTC)


def packaged(name: str) -> MarketRule:
    return rule_from(name, (RULES / f"{name}.toml").read_text(encoding="utf-8"))


def numbers(case: str) -> dict[str, Decimal]:
    return {k: Decimal(v) for k, v in CASES[case]["inputs"].items() if isinstance(v, str) and v[:1].isdigit()}


def expected(case: str) -> dict[str, Decimal]:
    return {key: Decimal(value) for key, value in CASES[case]["expected"].items()}


def yuan(fen: int) -> Decimal:
    return Decimal(fen).scaleb(-2)


def test_dv_101_over_use_at_the_up_average_by_u1() -> None:
    given, wanted = numbers("DV-101"), expected("DV-101")
    rule = packaged("889-demo").user
    assert rule is not None
    prices: dict[str, Decimal | None] = {
        key: given[f"{key}_price"] for key in ("up_regulation_average", "down_regulation_average")
    }

    found = deviation_amount(rule, given["contract_mwh"], given["actual_mwh"], prices)

    assert found.deviation_mwh == wanted["deviation_mwh"]
    assert yuan(found.amount_fen) == wanted["deviation_amount"]
    contract = amount_of(given["contract_mwh"], given["contract_price"])
    assert yuan(contract + found.amount_fen) == wanted["total"]


def test_dv_102_the_excess_of_a_band_is_assessed() -> None:
    given, wanted = numbers("DV-102"), expected("DV-102")
    rule = packaged("fujian-band").generator
    assert rule is not None

    found = deviation_amount(
        rule, given["contract_mwh"], given["actual_mwh"], {"auction_uniform": given["reference_price"]}
    )

    assert (found.assessed_mwh, yuan(found.assessment_fen)) == (wanted["assessed_mwh"], wanted["penalty"])


def test_dv_103_a_retailer_passes_a_deviation_on() -> None:
    given = numbers("DV-103")
    terms = PassOnTerms(
        *(given[f"{side}_threshold_pct"] for side in ("upper", "lower")),
        *(given["price_up"], given["price_low"], given["share_pct"]),
    )

    for row, wanted in zip(
        CASES["DV-103"]["inputs"]["rows"], CASES["DV-103"]["expected"]["rows"], strict=True
    ):
        found = pass_on(terms, given["bid_mwh"], Decimal(row["actual_mwh"]))

        assert found.deviation_mwh == Decimal(wanted["deviation_mwh"])
        assert found.assessed_mwh == Decimal(wanted["assessed_mwh"])
        assert yuan(found.amount_fen) == Decimal(wanted["charge"])


def test_st_101_both_spot_forms_give_the_printed_amount() -> None:
    given, wanted = numbers("ST-101"), expected("ST-101")
    period = SpotPeriod(
        *(given["contract_mwh"], given["contract_price"], given["day_ahead_mwh"], given["day_ahead_price"]),
        *(given["actual_mwh"], given["real_time_price"]),
    )

    assert yuan(spot_amount_by_quantity(period).amount_fen) == wanted["quantity_difference_amount"]
    assert yuan(spot_amount_by_difference(period).amount_fen) == wanted["contract_for_difference_amount"]


def test_st_102_a_retailers_revenue_and_cost_stand_side_by_side() -> None:
    inputs, wanted = CASES["ST-102"]["inputs"], expected("ST-102")
    retail = [amount_of(Decimal(row["mwh"]), Decimal(row["price"])) for row in inputs["retail_lines"]]
    bought = [
        amount_of(Decimal(inputs[name]["mwh"]), Decimal(inputs[name]["price"]))
        for name in ("wholesale_contract", "wholesale_deviation")
    ]

    result = retailer_result(retail, bought)

    assert yuan(result.revenue_fen) == wanted["retail_revenue"]
    assert yuan(result.cost_fen) == wanted["wholesale_cost"]
    assert yuan(result.net_fen) == wanted["net_to_retailer"]


def test_gr_101_green_energy_is_the_least_of_three() -> None:
    for row, wanted in zip(
        CASES["GR-101"]["inputs"]["rows"], CASES["GR-101"]["expected"]["rows"], strict=True
    ):
        given = {key: int(value) * 1000 for key, value in row.items() if key.endswith("_mwh")}
        kwh = green_kwh(
            *(
                given["contract_mwh"],
                given["generation_mwh"],
                given["mechanism_mwh"],
                given["consumption_mwh"],
            )
        )

        assert kwh == int(wanted["green_mwh"]) * 1000
        assert yuan(amount_of(Decimal(kwh).scaleb(-3), Decimal(row["env_price"]))) == Decimal(
            wanted["env_value"]
        )


def test_beyond_a_band_of_eight_percent_the_higher_of_two_prices_counts() -> None:
    """四川 2018: 1000 MWh contract, 1100 used: 80 in the band at 300, 20 beyond at max(350, 420); under 4 % assessed."""
    rule = packaged("sichuan-band").user
    assert rule is not None
    prices: dict[str, Decimal | None] = {
        "auction_uniform": Decimal(300),
        "up_regulation_average": Decimal(350),
        "incremental_cap": Decimal(420),
        "contract_price_with_transmission": Decimal(500),
    }

    over = deviation_amount(rule, Decimal(1000), Decimal(1100), prices)
    under = deviation_amount(rule, Decimal(1000), Decimal(930), prices)

    assert yuan(over.amount_fen) == 80 * 300 + 20 * 420
    # 70 MWh returned at 300; 30 beyond the 4 % band assessed at 10 % of 500.
    assert (yuan(under.energy_fen), yuan(under.assessment_fen)) == (-21_000, 1_500)


def test_none_called_is_a_fact_and_a_price_nobody_entered_is_missing() -> None:
    rule = packaged("889-demo").user
    assert rule is not None
    none_called: dict[str, Decimal | None] = {"up_regulation_average": None, "auction_highest": Decimal(450)}

    # 月度集中竞价最高价 x U1: 10 x 450 x 1.10
    assert deviation_amount(rule, Decimal(0), Decimal(10), none_called).amount_fen == 495_000
    with pytest.raises(NoSuchPrice) as missing:
        deviation_amount(rule, Decimal(0), Decimal(10), {"auction_highest": Decimal(450)})
    assert missing.value.facts == {"price": "up_regulation_average"}
    assert deviation_amount(rule, Decimal(10), Decimal(10), {}).parts == ()


def test_a_loss_price_is_the_average_times_r_over_one_minus_r() -> None:
    # 0.3986 yuan/kWh at 2.87 %: 398.6 x 0.0287 / 0.9713 = 11.77797… yuan/MWh
    assert loss_price(Decimal("398.6"), Decimal("0.0287")) == Decimal("11.778")


def test_nothing_is_claimed_twice_as_green() -> None:
    units = {
        "wind": UnitFacts("wind", 1, Side.GENERATOR, (1000,)),
        "a": UnitFacts("a", 2, Side.USER, (700,)),
        "b": UnitFacts("b", 3, Side.USER, (900,)),
    }
    contracts = [_green("C1", "a", 800, "10"), _green("C2", "b", 800, "20"), _green("C3", "b", 500, "15")]

    by_price = green_matches(contracts, units, GreenOrder.PRICE, {})
    listed = green_matches(contracts, units, GreenOrder.LISTED, {})

    assert [(m.contract_id, m.kwh) for m in by_price] == [("C2", 800), ("C3", 100), ("C1", 100)]
    assert [(m.contract_id, m.kwh) for m in listed] == [("C1", 700), ("C2", 300), ("C3", 0)]
    units["wind"] = replace(units["wind"], actual_kwh=(), is_metered=False)
    with pytest.raises(GenerationUnknown):
        green_matches(contracts, units, GreenOrder.PRICE, {})


def _green(contract_id: str, buyer: str, kwh: int, price: str) -> ContractFacts:
    volume = Volume(date(2026, 8, 1), "month", Decimal(kwh).scaleb(-3), Decimal(400), Decimal(price))
    terms = WholesaleTerms(
        contract_id, 1, ContractKind.GREEN, "wind", buyer, date(2026, 7, 1), "doc", Shape.FLAT, (), (volume,)
    )
    return ContractFacts(terms, (Promise(volume, (kwh,)),))


def test_nobody_to_share_is_refused_not_swallowed() -> None:
    with pytest.raises(NobodyToShare):
        allocate("user_deviation", 100, [("a", 0), ("b", 0)])


def test_deadlines_of_august_2026_counted_by_hand() -> None:
    found = deadlines(date(2026, 8, 1))

    assert (found.readings, found.draft) == (date(2026, 9, 1), date(2026, 9, 7))
    assert (found.final, found.bills) == (date(2026, 9, 10), date(2026, 9, 14))
    assert found.correctable_until == correctable_until(date(2026, 8, 1)) == date(2027, 9, 1)


def test_the_days_after_a_draft_step_over_the_national_day() -> None:
    assert objection_until(date(2026, 9, 30)) == date(2026, 10, 8)
    assert check_until(date(2026, 10, 9)) == date(2026, 10, 10)  # a Saturday that is worked
    # 11; 14-18; Sunday 20 is worked; 21-24; 28-30; 8 October: fifteen.
    assert ask_until(date(2026, 9, 10)) == date(2026, 10, 8)
    assert answer_until(date(2026, 9, 29)) == date(2026, 10, 12)


@pytest.mark.parametrize(
    ("state", "deed"),
    [("final", "confirm"), ("drawn", "confirm"), ("superseded", "publish"), ("draft", "finalise")],
)
def test_a_statement_makes_no_other_moves(state: str, deed: str) -> None:
    with pytest.raises(NoSuchMove):
        step(STATEMENT, state, deed)


def test_a_restart_undoes_a_unit_and_the_books_but_no_other_units_lines() -> None:
    log = [
        _event(Stage.SETTLE, "a"),
        _event(Stage.SETTLE, "b"),
        _event(Stage.BALANCE, None),
        _event(Stage.DRAW, "b"),
        _event(Stage.COLLECT, "a", Outcome.RESTART),
    ]

    progress = progress_of(log)

    assert progress.done[Stage.SETTLE] == {"b"}
    assert progress.done[Stage.BALANCE] == progress.done[Stage.DRAW] == frozenset()


def _event(stage: Stage, unit: str | None, outcome: Outcome = Outcome.DONE) -> Event:
    return Event(0, stage, unit, outcome, NOW, "test", {})


@pytest.mark.parametrize("name", [path.stem for path in sorted(RULES.glob("*.toml"))])
def test_every_packaged_rule_reads_and_names_its_document(name: str) -> None:
    rule = packaged(name)

    assert rule.id == name
    assert rule.sources[0].document


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('factor = "1.10"', "factor = 1.10"), "deviation.user.over[1].factor"),
        (('beyond_ratio = "0"', 'beyond_ratio = "0.1"'), "deviation.user.over"),
        (('form = "contract-deviation"', 'form = "as usual"'), "settlement.form"),
        (('name = "user_assessment"', 'name = "user_deviation"'), "difference"),
        (("[settlement]", "surprise = 1\n[settlement]"), "source[2].surprise"),
        (("among = []", 'among = ["grid"]'), "difference.among"),
        (('period = "month"', 'period = "named"'), "hours.months"),
    ],
)
def test_a_rule_that_does_not_say_everything_is_refused_by_key(change: tuple[str, str], key: str) -> None:
    text = (RULES / "889-demo.toml").read_text(encoding="utf-8")

    with pytest.raises(BadMarketFile) as refused:
        rule_from("rule.toml", text.replace(*change, 1))

    assert refused.value.facts["name"] == key
    assert str(refused.value).startswith("rule.toml: ")


MARKET = """
market = "demo"
name = "示范市场"
[[contract]]
id = "C1"
version = 1
kind = "green"
seller = "3700000000001"
buyer = "3700000000002"
signed = 2026-07-01
document = "合同"
shape = "flat"
[[contract.volume]]
month = "2026-08"
period = "peak"
mwh = "10.000"
price = "400"
environment = "20"
[[spot]]
kind = "day_ahead"
file = "spot.csv"
source = "公告"
"""
SPOT = "day," + ",".join(map(str, range(1, 25))) + "\n2026-08-01," + ",".join(["350.5"] * 24) + "\n"


def test_a_market_file_is_read_with_the_files_beside_it() -> None:
    found = market_from("market.toml", MARKET, {"spot.csv": SPOT}.__getitem__, str)

    assert found.contracts[0].volumes[0].kwh == 10_000
    assert found.spot[0].yuan_per_mwh == (Decimal("350.5"),) * 24


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('mwh = "10.000"', 'mwh = "10.0001"'), "contract[1].volume[1].mwh"),
        (('mwh = "10.000"', "mwh = 10"), "contract[1].volume[1].mwh"),
        (('kind = "green"', 'kind = "bilateral"'), "contract[1].volume[1].environment"),
        (('shape = "flat"', 'shape = "curve"\ncurve = [0, 0]'), "contract[1].curve"),
        (('buyer = "3700000000002"', 'buyer = "3700000000001"'), "contract[1].buyer"),
        (('month = "2026-08"', 'month = "2026-8"'), "contract[1].volume[1].month"),
        (('price = "400"', 'price = "4e2"'), "contract[1].volume[1].price"),
        (('source = "公告"', 'source = ""'), "spot[1].source"),
    ],
)
def test_a_market_file_that_is_wrong_is_refused_by_key(change: tuple[str, str], key: str) -> None:
    with pytest.raises(BadMarketFile) as refused:
        market_from("market.toml", MARKET.replace(*change, 1), {"spot.csv": SPOT}.__getitem__, str)

    assert refused.value.facts["name"] == key


@pytest.mark.parametrize(
    "rows", ["", "2026-08-01,1,2\n", "2026-08-01," + ",".join(["x"] * 24) + "\n", SPOT + SPOT.splitlines()[1]]
)
def test_a_table_of_days_that_is_wrong_is_refused(rows: str) -> None:
    with pytest.raises(BadMarketFile, match="spot"):
        market_from("market.toml", MARKET, {"spot.csv": rows}.__getitem__, str)


def test_a_line_survives_being_written_and_read() -> None:
    from cloud.market.line import Derivation, Input, SettlementLine

    line = SettlementLine(
        "party:7", 7, Side.RETAILER, Item.SHARE, None, "month", Decimal("1.500"), Decimal("-3.250"), -488,
        Derivation("-(surplus - others)", (Input("surplus", Decimal("12.50"), "yuan", "lines"),), date(2026, 8, 1), date(2026, 9, 1), (("k", "v"),)),
        "889-demo@1", "user_deviation",
    )  # fmt: skip

    assert line_from(json.loads(json.dumps(line_json(line)))) == line
