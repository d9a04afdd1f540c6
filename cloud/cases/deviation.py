"""Cases of deviations 偏差: U1/U2 and K1/K2 forms, tiers, free bands with assessment, passing on to customers. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.cases.deviation_bands import banded, passed_on, profit, recovered, side_price
from cloud.cases.deviation_inputs import (
    ACTUAL,
    DOWN,
    DOWN_ELSE,
    PENALTY,
    UP,
    UP_ELSE,
    band_of,
    contract_charge,
    contract_of,
    has_band,
)
from cloud.cases.work import Work, by_row
from cloud.market.deviation import Assessment, Deviation, PricePick, SideRule, Tier, deviation_amount
from cloud.money import EXACT, total, yuan

RULE = "发改能源规〔2020〕889号 art. 103 · §8"


def rate(work: Work) -> None:
    """Work a case, or each of its rows."""
    if work.is_list("rows"):
        rows = by_row(work, _one)
        for name, also in (
            ("penalty", "total_penalty"),
            ("charge", "total_charge"),
            ("deviation_amount", "total_deviation_amount"),
            ("total", "grand_total"),
        ):
            found = [row.results.named[name].value for row in rows if name in row.results.named]
            amounts = [each for each in found if isinstance(each, Decimal)]
            if len(amounts) == len(rows):
                work.put(f"{name}_sum", total(amounts), "sum of the rows", also=f"{also} sum total")
    else:
        _one(work)


def _one(work: Work) -> None:
    if work.has("bid_mwh declared_mwh"):
        passed_on(work)
    elif work.has("saving savings user_saving") and not work.has(ACTUAL):
        profit(work)
    elif work.has("band_low low_band recovery_low_ratio lower_ratio") and work.has(
        "band_high high_band recovery_high_ratio upper_ratio"
    ):
        recovered(work)
    elif has_band(work) and (
        work.has(PENALTY)
        or side_price(work, "over") is not None
        or side_price(work, "under") is not None
        or not work.has(f"{UP} {DOWN} u1 k1 tiers")
    ):
        banded(work)
    else:
        _regulated(work)


def _is_generator(work: Work) -> bool:
    side = work.choice(
        "",
        {
            "generator": "generator",
            "generation": "generator",
            "seller": "generator",
            "user": "user",
            "buyer": "user",
            "consumer": "user",
            "retailer": "user",
            "wholesale_user": "user",
        },
        "side participant_type market_side role participant",
    )
    return side == "generator" or (
        not side
        and (work.has("k1 k2 k1_factor") or work.has("generation_mwh actual_generation_mwh"))
        and not work.has("u1 u2")
    )


def _regulated(work: Work) -> None:
    """889号: over-use at the up-regulation average x U1, under-use at the down-regulation average x U2; K1, K2 mirrored."""
    work.rule = RULE
    contract, actual = contract_of(work), work.not_negative(ACTUAL)
    generator = _is_generator(work)
    over_tiers, under_tiers = _tiers(work, "over", generator), _tiers(work, "under", generator)
    deviation_mwh = EXACT.subtract(actual, contract)
    work.put("deviation_mwh", deviation_mwh, "actual_mwh - contract_mwh")
    over = deviation_mwh > 0
    prices = _prices(work, over, generator)
    rule = SideRule(over_tiers if over else (), under_tiers if deviation_mwh < 0 else (), _assessments(work))
    found = deviation_amount(rule, contract, actual, prices)
    sign = Decimal(1)
    amount = EXACT.multiply(sign, yuan(found.energy_fen))
    _put_pieces(work, found, over)
    parts = [part for part in found.parts if part.kind != "assessment"]
    price = EXACT.multiply(parts[0].price_yuan_per_mwh, parts[0].price_factor) if len(parts) == 1 else None
    names = ("K1", "K2") if generator else ("U1", "U2")
    basis = "down" if generator == over else "up"
    formula = f"{basis}_regulation_average_price x {names[0] if over else names[1]}"
    if price is not None:
        work.put("deviation_price", work.rounded(price, "price"), formula)
    elif not parts:
        work.put("deviation_price", None, "no deviation")
    elif deviation_mwh:
        average = work.rounded(Fraction(abs(amount)) / Fraction(abs(deviation_mwh)), "price", "0.001")
        work.put("deviation_price", average, "deviation_amount / deviation_mwh")
    work.put("deviation_amount", amount, "deviation_mwh x deviation_price", kind="money")
    assessment = yuan(found.assessment_fen)
    if found.assessment_fen or rule.assessments:
        work.put("penalty", assessment, "assessed_mwh x price x rate", kind="money")
        work.put("assessed_mwh", found.assessed_mwh, "max(0, |deviation| - band x contract)")
    charge = contract_charge(work, contract)
    if charge is not None:
        work.put(
            "total",
            total((charge, amount, assessment if not generator else -assessment)),
            "contract_charge + deviation_amount",
        )
        if actual:
            work.put(
                "average_price",
                work.rounded(Fraction(total((charge, amount))) / Fraction(actual), "price", "0.001"),
                "total / actual_mwh",
            )


def _put_pieces(work: Work, found: Deviation, over: bool) -> None:
    parts = [part for part in found.parts if part.kind != "assessment"]
    rows = []
    for part in parts:
        row = work.part("tier")
        row.put("mwh", part.quantity_mwh, "")
        row.put("price", EXACT.multiply(part.price_yuan_per_mwh, part.price_factor), "price x coefficient")
        row.put("coefficient", part.price_factor, "")
        row.put("amount", yuan(part.amount_fen), "mwh x price", kind="money")
        rows.append(row)
    work.put_rows("tiers", rows)
    work.put("tier_mwh", [part.quantity_mwh for part in parts], "")
    work.put("tier_amount", [yuan(part.amount_fen) for part in parts], "")
    work.put(
        "over_use_mwh" if over else "under_use_mwh",
        abs(found.deviation_mwh),
        "",
        also="over_mwh over_generation_mwh" if over else "under_mwh under_generation_mwh",
    )


def _tiers(work: Work, kind: str, generator: bool) -> tuple[Tier, ...]:
    """The coefficient of one side, or several by distance from the contract."""
    letter, number = ("k" if generator else "u"), ("1" if kind == "over" else "2")
    names = f"{letter}{number} {letter}{number}_coefficient {kind}_use_coefficient {kind}_coefficient {kind}_factor coefficient_{letter}{number}"
    pick = PricePick((kind,), "first")
    listed = f"{kind}_tiers tiers_{kind} {kind}_use_tiers {letter}{number}_tiers tiers coefficient_tiers"
    if not work.is_list(listed):
        if work.is_list(names):
            work.bad(work.here(names.split()[0]), "is a list", "a decimal string")
        return (Tier(Decimal(0), pick, work.number_or(1, names)),)
    rows = work.tables(listed)
    if not any(row.own(f"{names} coefficient factor multiplier") for row in rows):
        return ()
    tiers: list[Tier] = []
    below = Decimal(0)
    for row in rows:
        start = _ratio(
            row,
            "beyond_pct from_pct over_pct from_percent above_pct",
            "beyond_ratio from_ratio beyond from above from_threshold",
        )
        factor = row.decimal(f"{names} coefficient factor multiplier")
        tiers.append(Tier(below if start is None else start, pick, factor))
        end = _ratio(row, "upto_pct to_pct upto_percent", "upto_ratio to_ratio upto to upto_threshold")
        below = below if end is None else end
    return tuple(tiers)


def _ratio(row: Work, percent: str, ratio: str) -> Decimal | None:
    if row.own(percent):
        return EXACT.scaleb(row.decimal(percent), -2) if row.has(percent) else None
    return row.decimal(ratio) if row.own(ratio) and row.has(ratio) else None


def _prices(work: Work, over: bool, generator: bool) -> dict[str, Decimal | None]:
    """The price of the deviation: the regulation average; where none was called, the auction's extreme price."""
    up = generator != over
    first, other = (UP, UP_ELSE) if up else (DOWN, DOWN_ELSE)
    work.note(f"{UP} {DOWN} {UP_ELSE} {DOWN_ELSE} u1 u2 k1 k2")
    called = work.flag(True, ("up" if up else "down") + "_regulation_called regulation_called")
    if called and work.has(first):
        price = work.decimal(first)
    elif work.has(other):
        price = work.decimal(other)
        work.put("price_basis", "monthly auction: no regulation called", "")
    else:
        price = work.decimal(first if called else other)
    return {"over": price, "under": price, "assessment": price}


def _assessments(work: Work) -> tuple[Assessment, ...]:
    if not (has_band(work) and work.has(PENALTY)):
        return ()
    return (
        Assessment(
            band_of(work, "over"),
            band_of(work, "under"),
            PricePick(("assessment",), "first"),
            work.decimal(PENALTY),
        ),
    )
