"""Worked cases from official notices, real bills and exam keys, through the functions that make bills.

Covered here: every case of the areas power_factor, two_part, agency_purchase, real_bill, tou, precision.
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloud import money
from cloud.billing import basic, bill, charges, powerfactor, tariff
from cloud.billing.basic import Overrun, Service, TwoPartRules
from cloud.billing.catalogue import Buyer, Catalogue, Prices
from cloud.billing.line import PERIODS, BillLine, Period, Section, total_fen
from cloud.billing.pricefile import price_file_from
from cloud.billing.segment import Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.markettime import slot_label

FOLDER = Path(__file__).parent
AUGUST = date(2026, 8, 1)
SEPTEMBER = date(2026, 9, 1)
CASES = {case["id"]: case for case in json.loads((FOLDER / "prices_tariff_cases.json").read_text())["cases"]}
AREAS = {"power_factor", "two_part", "agency_purchase", "real_bill", "tou", "precision"}
PRICES = packaged_catalogue().prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))

Json = dict[str, Any]


def compare(expected: object, got: object, tolerance: Json, name: str = "default", limit: Any = None) -> None:
    """Compare as the cases' README says: decimals within the tolerance of the field's name."""
    limit = Decimal(tolerance.get(name, limit if limit is not None else tolerance["default"]))
    if isinstance(expected, dict):
        assert isinstance(got, dict)
        assert set(expected) == set(got), name
        for key in expected:
            compare(expected[key], got[key], tolerance, key, limit)
    elif isinstance(expected, list):
        assert isinstance(got, list)
        assert len(expected) == len(got), name
        for one, other in zip(expected, got, strict=True):
            compare(one, other, tolerance, name, limit)
    elif isinstance(expected, str):
        assert abs(Decimal(str(got)) - Decimal(expected)) <= limit, (name, expected, got)
    else:
        assert expected == got, (name, expected, got)


def yuan(lines: tuple[BillLine, ...]) -> Decimal:
    return money.yuan(total_fen(lines))


def wh(kwh: str) -> int:
    return int(Decimal(kwh) * 1000)


def two_part_rules(**changes: object) -> TwoPartRules:
    rules = PRICES.two_part
    fields = {name: getattr(rules, name) for name in rules.__dataclass_fields__}
    return TwoPartRules(**{**fields, **changes})


def terms(**changes: Any) -> Terms:
    fields: Json = {
        "category": "commercial",
        "purchase": "agency",
        "structure": "two_part",
        "voltage": "1-10kV",
        "demand_mode": DemandMode.ACTUAL,
        "capacity_kva": 1000,
        "contract_demand_kw": None,
        "power_factor_standard": None,
    }
    return Terms(**{**fields, **changes})


def transmission_with(**prices: str) -> charges.Transmission:
    """The Jibei table's 1-10 kV two-part row with a case's own prices."""
    row = PRICES.transmission.row("two_part", "1-10kV")
    assert row is not None
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__}
    fields |= {name: Decimal(price) for name, price in prices.items()}
    return charges.Transmission(
        PRICES.transmission.head, Decimal("0.0287"), (charges.TransmissionRow(**fields),)
    )


def basic_fen(service_terms: Terms, table: charges.Transmission, rules: TwoPartRules, **facts: Any) -> int:
    days = facts.pop("days", None)
    end = SEPTEMBER if days is None else date(2026, 8, 1 + days)
    service = Service(
        service_terms,
        AUGUST,
        end,
        demand_kw=Decimal(facts.get("demand_kw", "0")),
        month_kwh=Decimal(facts.get("month_kwh", "0")),
        whole_month=days is None,
    )
    line = basic.basic_line(service, table, rules)
    assert line is not None
    return line.amount_fen


def percent_of(standard: str, power_factor: Decimal) -> Decimal:
    table = PRICES.power_factor.table(Decimal(standard))
    assert table is not None
    return table.percent_at(power_factor)


def power_factor_of(active: str, reactive: Decimal) -> Decimal:
    found = powerfactor.power_factor_of(wh(active), int(reactive * 1000), Decimal("0.01"))
    assert found is not None
    return found


def pf_101(inputs: Json) -> Json:
    """Back-billing: the base is what was billed without the old adjustment."""
    billed = power_factor_of(inputs["active_kwh"], Decimal(inputs["reactive_kvarh_read"]))
    reactive = Decimal(inputs["reactive_kvarh_read"]) + Decimal(inputs["reactive_kvarh_missed"])
    true = power_factor_of(inputs["active_kwh"], reactive)
    old, new = percent_of(inputs["pf_standard"], billed), percent_of(inputs["pf_standard"], true)
    before = Decimal(inputs["billed_amount_excl_funds"])
    base = money.quotient(before * 100, 100 + old, Decimal("0.01"))
    correct = base + adjustment(base, inputs["pf_standard"], true)
    return {
        "pf_billed": billed,
        "pf_percent_billed": old,
        "base_before_pf": base,
        "pf_true": true,
        "pf_percent_true": new,
        "correct_total": correct,
        "back_bill_amount": correct - before,
    }


def adjustment(base: Decimal, standard: str, power_factor: Decimal) -> Decimal:
    """Adjust one line of `base` yuan by the bill's own function, at a load that has this power factor."""
    active_wh, reactive_varh = load_at(power_factor)
    line = funds_free_line(base)
    assessed = powerfactor.Assessed(Decimal(standard), active_wh, reactive_varh)
    return yuan((powerfactor.power_factor_line(assessed, (line,), PRICES.power_factor),))


def load_at(power_factor: Decimal) -> tuple[int, int]:
    """Energies with exactly this power factor when it is rounded: P = pf, Q = sqrt(1 - pf²)."""
    return int(power_factor * 10**9), int(((1 - power_factor**2).sqrt()) * 10**9)


def funds_free_line(amount_yuan: Decimal) -> BillLine:
    energy = tariff.Energy((Decimal(0), Decimal(0), amount_yuan, Decimal(0), Decimal(0)), AUGUST, SEPTEMBER)
    line = charges.transmission_line(energy, *row_at(Decimal(1)))
    assert money.yuan(line.amount_fen) == amount_yuan
    return line


def row_at(price: Decimal) -> tuple[charges.Transmission, charges.TransmissionRow]:
    table = transmission_with(energy_yuan_per_kwh=str(price))
    return table, table.rows[0]


def pf_102(inputs: Json) -> Json:
    factor, base = Decimal(inputs["pf"]), Decimal(inputs["participating_amount"])
    amount = adjustment(base, inputs["pf_standard"], factor)
    return {
        "coefficient": percent_of(inputs["pf_standard"], factor) / 100,
        "pf_amount_on_total_base": amount,
        "pf_amount_printed_on_bill": amount,
    }


def pf_103(inputs: Json) -> Json:
    usage = Usage(
        (wh(inputs["active_kwh"]), 0, 0, 0, 0),
        0,
        wh(inputs["reactive_forward_kvarh"]),
        wh(inputs["reactive_reverse_kvarh"]),
        (),
        0,
    )
    both = powerfactor.power_factor_of(usage.total_wh, usage.reactive_varh, Decimal("0.01"))
    forward = power_factor_of(inputs["active_kwh"], Decimal(inputs["reactive_forward_kvarh"]))
    assert both is not None
    return {
        "pf": both,
        "pf_percent": percent_of(inputs["pf_standard"], both),
        "pf_if_reverse_ignored": forward,
        "pf_percent_if_reverse_ignored": percent_of(inputs["pf_standard"], forward),
    }


def tp_101(inputs: Json) -> Json:
    table = transmission_with(capacity_yuan_per_kva_month=inputs["capacity_price_per_kva_month"])
    own = terms(demand_mode=DemandMode.CAPACITY, capacity_kva=int(inputs["transformer_kva"]))
    return {"capacity_charge": money.yuan(basic_fen(own, table, PRICES.two_part))}


def tp_102(inputs: Json) -> Json:
    table = transmission_with(demand_yuan_per_kw_month=inputs["demand_price_per_kw_month"])
    capacity = 50_000
    month_kwh = Decimal(inputs["kwh_per_contract_kva"]) * capacity
    rules = two_part_rules(
        load_discount_from_kwh_per_kva=Decimal(inputs["load_factor_threshold_kwh_per_kva"])
    )
    amount = basic_fen(
        terms(capacity_kva=capacity), table, rules, demand_kw=inputs["max_demand_kw"], month_kwh=month_kwh
    )
    return {
        "demand_charge": money.yuan(amount),
        "load_factor_discount_applied": basic.has_load_discount(month_kwh, capacity, rules),
    }


def tp_103(inputs: Json) -> Json:
    table = transmission_with(demand_yuan_per_kw_month=inputs["demand_price_per_kw_month"])

    def charge(row: Json, variant: Overrun) -> Decimal:
        rules = two_part_rules(
            overrun_variant=variant,
            contract_limit_ratio=Decimal(inputs["limit_ratio"]),
            overrun_multiplier=Decimal(inputs["overrun_multiplier"]),
        )
        own = terms(demand_mode=DemandMode.CONTRACTED, contract_demand_kw=int(row["contract_demand_kw"]))
        return money.yuan(basic_fen(own, table, rules, demand_kw=row["max_demand_kw"]))

    return {
        "rows": [
            {
                "demand_charge_variant_a": charge(row, Overrun.A),
                "demand_charge_variant_b": charge(row, Overrun.B),
            }
            for row in inputs["rows"]
        ]
    }


def tp_104(inputs: Json) -> Json:
    table = transmission_with(capacity_yuan_per_kva_month=inputs["capacity_price_per_kva_month"])
    rules = two_part_rules(days_of_month_charge=int(inputs["day_base"]))
    amounts = [
        basic_fen(
            terms(demand_mode=DemandMode.CAPACITY, capacity_kva=int(segment["transformer_kva"])),
            table,
            rules,
            days=int(segment["days"]),
        )
        for segment in inputs["segments"]
    ]
    return {"segment_charges": [money.yuan(each) for each in amounts], "total": money.yuan(sum(amounts))}


def agency(inputs: Json) -> Json:
    """A whole month on the shipped Jibei files; the case's own prices are first checked to be those."""
    assert inputs["components"]["month_average_purchase_price"] == price_of(PRICES, "average_purchase")
    own = terms(
        structure=inputs["tariff"]["structure"],
        voltage=inputs["tariff"]["voltage"],
        demand_mode=DemandMode.CAPACITY if "basic_charge" in inputs else DemandMode.NONE,
        capacity_kva=int(inputs["basic_charge"]["transformer_kva"]) if "basic_charge" in inputs else None,
        power_factor_standard=Decimal(inputs["pf"]["standard"]) if inputs["pf"]["assessed"] else None,
    )
    import_wh = tuple(wh(inputs["kwh"].get(period, "0")) for period in PERIODS)
    active, reactive = load_at(Decimal(inputs["pf"].get("value", "1")))
    usage = Usage(import_wh, 0, reactive * sum(import_wh) // active, 0, (), 0)
    segments = bill.priced([(Segment(AUGUST, SEPTEMBER, own, usage), PRICES)])
    lines = bill.rate(segments, AUGUST)
    by = {section: tuple(line for line in lines if line.section is section) for section in Section}
    row = PRICES.transmission.row(own.structure, own.voltage)
    assert row is not None
    all_in = tariff.all_in_prices(
        PRICES.sheet, PRICES.calendar, (row.energy_yuan_per_kwh, PRICES.funds.total_yuan_per_kwh)
    )
    used = set(inputs["kwh"])
    return {
        "all_in_price_by_period": dict(zip(PERIODS, all_in, strict=True)),
        "energy_charge_by_period": {
            line.period: money.yuan(line.amount_fen) for line in by[Section.ENERGY] if line.period in used
        },
        "energy_charge": yuan(by[Section.ENERGY]),
        "line_loss_charge": yuan(by[Section.LINE_LOSS]),
        "td_energy_charge": yuan(by[Section.TRANSMISSION]),
        "system_operation_charge": yuan(by[Section.SYSTEM_OPERATION]),
        "government_funds_charge": yuan(by[Section.FUNDS]),
        "basic_charge": yuan(by[Section.BASIC]),
        "pf_base": yuan(
            tuple(line for line in lines if line.section not in (Section.FUNDS, Section.POWER_FACTOR))
        ),
        "pf_amount": yuan(by[Section.POWER_FACTOR]),
        "total": yuan(lines),
    }


def price_of(prices: Prices, item: str) -> str:
    return str(next(part.price_yuan_per_kwh for part in prices.sheet.components if part.item == item))


def rb_101(inputs: Json) -> Json:
    """Recompute what a real bill of another grid prints, with its prices, by the functions of a bill."""
    kwh = {name: Decimal(value) for name, value in inputs["kwh"].items()}
    printed = {name: Decimal(value) for name, value in inputs["printed_lines"].items()}
    funds = charges.Funds(
        PRICES.funds.head,
        "commercial",
        (charges.FundItem("total", "合计", "total", Decimal(inputs["government_funds_price"])),),
    )
    by_period = tuple(kwh.get(period, Decimal(0)) for period in PERIODS)
    everything = tariff.Energy(by_period, AUGUST, SEPTEMBER)
    assert everything.total_kwh == kwh["total"]
    main = td_line(kwh["main_meter"], inputs["td_energy_price_main_110kV_two_part"])
    sub = td_line(kwh["sub_meter_fixed_ratio_3pct"], inputs["td_energy_price_sub_35kV_single_part"])
    demand = basic_fen(
        terms(),
        transmission_with(demand_yuan_per_kw_month=inputs["demand_price_per_kw_month"]),
        two_part_rules(load_discount_in_force=False),
        demand_kw=inputs["max_demand_kw"],
    )
    pooled = printed["market_purchase"] + printed["line_loss"] + printed["system_operation"]
    base = (
        pooled
        + yuan((main,))
        + money.yuan(demand)
        - pooled * kwh["sub_meter_fixed_ratio_3pct"] / kwh["total"]
    )
    pf = adjustment(Decimal(inputs["pf_base_printed"]), inputs["pf_standard"], Decimal(inputs["pf"]))
    return {
        "government_funds_charge": yuan((charges.funds_line(everything, funds),)),
        "td_energy_charge_main": yuan((main,)),
        "td_energy_charge_sub": yuan((sub,)),
        "td_energy_charge": yuan((main, sub)),
        "demand_charge": money.yuan(demand),
        "pf_base_reconstructed": base,
        "pf_base_printed": inputs["pf_base_printed"],
        "pf_amount_on_printed_base": pf,
        "pf_amount_printed": pf,
        "total": sum(printed.values()),
    }


def td_line(kwh: Decimal, price: str) -> BillLine:
    energy = tariff.Energy((Decimal(0), Decimal(0), kwh, Decimal(0), Decimal(0)), AUGUST, SEPTEMBER)
    return charges.transmission_line(energy, *row_at(Decimal(price)))


def tu_101(inputs: Json) -> Json:
    """The shipped calendar must say, slot by slot, what the notice's hours say."""
    calendar = PRICES.calendar
    hours = []
    for season in inputs["calendar"]:
        for month in season["months"]:
            day = date(2026, int(month), 28)
            for period, ranges in season["periods"].items():
                for start, end in ranges:
                    slots = [slot for slot in range(96) if start <= slot_label(slot) < end]
                    assert {calendar.period_of(day, slot) for slot in slots} == {Period(period)}
        counted = [calendar.period_of(date(2026, int(season["months"][0]), 1), slot) for slot in range(96)]
        spent = {period: Decimal(counted.count(period)) / 4 for period in PERIODS if period in counted}
        hours.append({"months": season["months"], "hours": spent})
    coefficients = {str(period): calendar.coefficient_of(period) for period in PERIODS}
    compare(inputs["period_coefficients"], coefficients, {"default": "0"})
    totals = {sum(season["hours"].values()) for season in hours}
    assert len(totals) == 1
    return {"hours_per_period": hours, "hours_total_per_season": totals.pop()}


def pr_101(inputs: Json) -> Json:
    values = {name: Decimal(value) for name, value in inputs["values"].items()}
    quanta = {"energy_mwh": "0.001", "energy_kwh": "1", "price_mwh": "0.001", "price_kwh": "0.000001"}
    result = {name: money.rounded(values[name], Decimal(quantum)) for name, quantum in quanta.items()}
    return {"rounded": {**result, "money": money.yuan(money.fen_of(values["money"]))}}


COMPUTE = {
    "PF-101": pf_101,
    "PF-102": pf_102,
    "PF-103": pf_103,
    "TP-101": tp_101,
    "TP-102": tp_102,
    "TP-103": tp_103,
    "TP-104": tp_104,
    "AG-101": agency,
    "AG-102": agency,
    "RB-101": rb_101,
    "TU-101": tu_101,
    "PR-101": pr_101,
}


def test_every_case_that_concerns_a_bill_is_computed() -> None:
    assert {each for each, case in CASES.items() if case["area"] in AREAS} == set(COMPUTE)


@pytest.mark.parametrize("case_id", sorted(COMPUTE))
def test_worked_case(case_id: str) -> None:
    case = CASES[case_id]

    got = COMPUTE[case_id](case["inputs"])

    compare(case["expected"], got, case["tolerance"])


@pytest.mark.parametrize("case_id", ["AG-101", "AG-102"])
def test_agency_bill_is_exact_to_the_fen(case_id: str) -> None:
    """The case allows for other rounding orders; ours is the one it states, so nothing may differ."""
    case = CASES[case_id]

    compare(case["expected"], agency(case["inputs"]), {"default": "0"})


def test_demand_of_several_supply_points_is_added_up() -> None:
    demands = tuple(Demand(point, Decimal(kw), AUGUST, 40) for point, kw in (("A", "100.5"), ("B", "49.5")))

    assert Usage((0,) * 5, 0, 0, 0, demands, 0).demand_kw == Decimal("150")


def test_every_printed_price_of_the_jibei_table_is_the_sum_of_its_components() -> None:
    sheet = PRICES.sheet

    assert len([price for row in sheet.printed for price in row.prices_yuan_per_kwh]) == 50
    assert packaged_catalogue().sheet_findings(sheet) == ()


def test_line_loss_price_follows_from_the_loss_rate() -> None:
    """上网环节线损费用折价 = average purchase price x r / (1 - r), 6 decimals (tariffs-and-settlement 5.1)."""
    rate = PRICES.transmission.line_loss_rate
    assert rate is not None
    purchase = Decimal(price_of(PRICES, "average_purchase"))

    assert money.quotient(purchase * rate, 1 - rate, Decimal("0.000001")) == Decimal(
        price_of(PRICES, "line_loss")
    )


def test_a_misprinted_price_is_found_and_billed_as_printed() -> None:
    from cloud.billing.store.published import packaged_texts

    texts = {each.name: each.text for each in packaged_texts()}
    right, wrong = '"0.98568967"', '"0.98578967"'
    texts["jibei-agency-2026-08.toml"] = texts["jibei-agency-2026-08.toml"].replace(right, wrong)
    catalogue = Catalogue(tuple(price_file_from(name, text) for name, text in texts.items()))
    prices = catalogue.prices_on(AUGUST, Buyer("jibei", "agency", "commercial"))
    usage = Usage((1_000_000, 0, 0, 0, 0), 0, 0, 0, (), 0)

    (finding,) = catalogue.sheet_findings(prices.sheet)
    segments = bill.priced([(Segment(AUGUST, SEPTEMBER, terms(), usage), prices)])
    tip = bill.rate(segments, AUGUST)[0]

    assert dict(finding.facts)["printed"] == "0.98578967"
    assert dict(finding.facts)["recomputed"] == "0.98568967"
    assert tip.price_yuan_per_unit == Decimal("0.398598") * Decimal("2.04") - Decimal("0.012885") + Decimal(
        "0.0001"
    )
    assert "printed_difference" in tip.derivation.formula


def test_power_factor_tables_match_the_printed_ones() -> None:
    rows = [
        line.split()
        for line in (FOLDER / "prices_power_factor_table.txt").read_text().splitlines()
        if not line.startswith("#")
    ]

    assert len(rows) == 61
    for factor, *percents in rows:
        for standard, percent in zip(("0.90", "0.85", "0.80"), percents, strict=True):
            assert percent_of(standard, Decimal(factor)) == Decimal(percent), (standard, factor)
    assert percent_of("0.90", Decimal("0.39")) == Decimal("67")
