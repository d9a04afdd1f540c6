"""Cases of residential ladders 居民阶梯电价: tiers of a year or month, time of use, large households, free energy. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from cloud.billing.ladder import tier_kwh
from cloud.cases.work import Work
from cloud.money import EXACT, total

RULE = "§4.4"
TIERS = "tiers ladder steps"
UPTO = "upto_kwh_year upto_kwh_month upto_kwh upto limit_kwh limit threshold_kwh to_kwh upto_kwh_annual upto_kwh_monthly"
PRICE = "price price_per_kwh flat_price"
BEFORE = "cumulative_kwh_before cumulative_before_kwh kwh_before cumulative_kwh year_to_date_kwh_before used_before_kwh"
KWH = "kwh month_kwh energy_kwh kwh_by_period consumption_kwh total_kwh year_kwh annual_kwh"
TOU = "tou_prices tou tier1_tou tier_1_tou tou_tier_1 base_tou_prices tier_1_tou_prices tou_base_prices period_prices tier1_tou_prices first_tier_tou_prices tou_price prices"
INCREMENT = "increment price_increment tier_increment increment_price"
DIFFERENCE = "price_difference price_adjustment voltage_price_difference price_change"
LESS = "price_reduction price_lower_by lower_by"
INCREMENTS = "tier_increments increments increment_prices tier_increment_prices"
COMBINED = "combined_price combined_meter_price shared_meter_price non_ladder_price joint_meter_price flat_rate_price he_biao_price collective_price 合表"
EXTRA_YEAR = "extra_kwh_per_tier_year household_extra_kwh_year extra_kwh_per_year extra_kwh_year"
EXTRA = "extra_kwh_per_tier_month household_extra_kwh_month extra_kwh_per_month large_household_extra_kwh_month extra_kwh_per_tier_per_month extra_kwh_month additional_kwh_per_tier_month"
MONTHS_OF_YEAR = 12


def rate(work: Work) -> None:
    """Work a case: one month, the months of a year one after another, or alternatives in rows."""
    work.rule = RULE
    if work.is_list("monthly_kwh months_kwh kwh_by_month kwh_per_month") or work.is_list("months"):
        _year(work)
    elif work.is_list("rows"):
        rows = work.tables("rows")
        runs = any(row.own("month") for row in rows) and not any(row.own(BEFORE) for row in rows)
        if runs:
            _in_order(work, rows)
        for row in () if runs else rows:
            _month(row)
        work.put_rows("rows", rows)
        _sum(work, rows)
    else:
        _month(work)


def _year(work: Work) -> None:
    names = "monthly_kwh months_kwh kwh_by_month kwh_per_month months"
    raw = work.raw(names)
    if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
        rows = work.tables(names)
    else:
        rows = [
            Work(work.case, {"kwh": f"{each:f}"}, f"{work.here('months')}[{n}]", work)
            for n, each in enumerate(work.decimals(names))
        ]
    _in_order(work, rows)
    work.put_rows("rows", rows)
    totals = [row.results.named["total"].value for row in rows]
    work.put("monthly_total", list(totals), "each month")
    work.put(
        "monthly_tier_kwh",
        [row.results.named["tier_kwh"].value for row in rows if "tier_kwh" in row.results.named],
        "",
    )
    _sum(work, rows)


def _in_order(work: Work, rows: list[Work]) -> None:
    """Each month begins where the one before ended; a monthly ladder begins anew."""
    before = work.number_or(0, BEFORE)
    for row in rows:
        _month(row, None if row.own(BEFORE) else before)
        before = EXACT.add(before, _whole(row))


def _sum(work: Work, rows: list[Work]) -> None:
    amounts = [row.results.named["total"].value for row in rows if "total" in row.results.named]
    if len(amounts) == len(rows):
        work.put("total", total(each for each in amounts if isinstance(each, Decimal)), "sum")
    work.put("total_kwh", total(_whole(row) for row in rows), "sum")


def _periods(work: Work) -> dict[str, Decimal]:
    if work.is_table(KWH):
        found = work.numbers(KWH)
        found.pop("total", None)
        return found
    if work.has("peak_kwh valley_kwh kwh_peak") and not work.own("kwh"):
        names = ("tip", "peak", "flat", "valley", "deep")
        return {
            name: work.decimal(f"{name}_kwh kwh_{name}")
            for name in names
            if work.has(f"{name}_kwh kwh_{name}")
        }
    return {}


def _whole(work: Work) -> Decimal:
    periods = _periods(work)
    found = total(periods.values()) if periods else work.decimal(KWH)
    if found < 0:
        work.bad(work.here("kwh"), f"is {found}", "zero or more")
    return found


def _is_monthly(work: Work, tiers: list[Work]) -> bool:
    spelled = {"month": "month", "monthly": "month", "year": "year", "annual": "year", "yearly": "year"}
    named = any(
        name in ("upto_kwh_month", "upto_kwh_monthly") for tier in tiers for name in tier.names_given()
    )
    return work.choice("month" if named else "year", spelled, "cycle ladder_cycle basis ladder") == "month"


def _limits(work: Work, tiers: list[Work]) -> list[Decimal]:
    """Upper limits of all tiers but the last: larger for large households, shorter for a part of the year."""
    for tier in tiers[:-1]:
        if not tier.has(UPTO):
            tier.bad(tier.here("upto_kwh_year"), "is null", "a limit for every tier but the last")
    limits = [tier.decimal(UPTO) for tier in tiers if tier.own(UPTO) and tier.has(UPTO)]
    if len(limits) == len(tiers):
        tiers[-1].bad(tiers[-1].here("upto_kwh_year"), "ends the last tier", "null: the last tier is open")
    if sorted(set(limits)) != limits:
        work.bad(work.here("tiers"), "do not rise", "limits that rise")
    monthly = _is_monthly(work, tiers)
    extra = _extra(work)
    months = work.number_or(
        1 if monthly else MONTHS_OF_YEAR,
        "months_in_service months_of_year service_months months_in_period months_in_year months_in_use months",
    )
    more = EXACT.multiply(extra, Decimal(1 if monthly else MONTHS_OF_YEAR))
    if work.has(EXTRA_YEAR) and not monthly:
        more = work.decimal(EXTRA_YEAR)
    limits = [EXACT.add(limit, more) for limit in limits]
    if monthly and months != 1:
        limits = [EXACT.multiply(limit, months) for limit in limits]
    elif not monthly and months != MONTHS_OF_YEAR:
        limits = [
            work.rounded(Fraction(limit) * Fraction(months) / MONTHS_OF_YEAR, "energy_kwh", "1")
            for limit in limits
        ]
    if work.has("days_in_service service_days days"):
        base = work.number_or(
            30 if monthly else 365, "days_in_year days_in_month days_in_period day_base days_base year_days"
        )
        limits = [
            work.rounded(
                Fraction(limit)
                * Fraction(work.decimal("days_in_service service_days days"))
                / Fraction(base),
                "energy_kwh",
                "1",
            )
            for limit in limits
        ]
    return limits


def _extra(work: Work) -> Decimal:
    persons = "persons household_persons household_size people residents"
    if not work.has(EXTRA):
        if work.flag(False, "large_household is_large_household multi_person_household"):
            return work.number_or(100, EXTRA)
        is_large = work.has(persons) and work.decimal(persons) >= 5
        return work.number_or(100, EXTRA) if is_large else Decimal(0)
    least = work.number_or(
        5,
        "large_household_from_persons persons_from min_persons persons_threshold large_household_persons large_household_from",
    )
    if work.has(persons) and work.decimal(persons) < least:
        work.note(EXTRA)
        return Decimal(0)
    return (
        work.decimal(EXTRA)
        if work.flag(True, "large_household is_large_household multi_person_household")
        else Decimal(0)
    )


def _month(work: Work, before_given: Decimal | None = None) -> None:
    one_price = COMBINED if work.has(COMBINED) else PRICE
    if work.has(one_price) and not work.has(TIERS):
        work.put_money("total", EXACT.multiply(_whole(work), work.decimal(one_price)), "kwh x price")
        return
    tiers = work.tables(TIERS)
    if not tiers:
        work.bad(work.here("tiers"), "is empty", "at least one tier")
    limits = _limits(work, tiers)
    monthly = _is_monthly(work, tiers)
    before = before_given if before_given is not None else work.number_or(0, BEFORE)
    if monthly:
        before = Decimal(0) if before_given is not None else work.number_or(0, BEFORE)
    kwh = _whole(work)
    free = _free_kwh(work, kwh)
    billed = kwh if _is_refunded(work) else EXACT.subtract(kwh, free)
    split = tier_kwh(limits, before, billed) if limits else (billed,)
    work.put("tier_limits_kwh", list(limits), "upper limits of the tiers")
    work.put("tier_kwh", list(split), "split at the limits, from cumulative_kwh_before on")
    work.put("cumulative_kwh_after", EXACT.add(before, billed), "cumulative_kwh_before + kwh")
    reached = [number for number, part in enumerate(split, 1) if part]
    work.put("tier_reached", Decimal(reached[-1] if reached else _tier_at(limits, before)), "")
    amount = _with_tou(work, tiers, split) if _is_tou(work, tiers) else _plain(work, tiers, split)
    amount = EXACT.subtract(amount, _free(work, tiers, (kwh, free), (before, limits)))
    work.put(
        "total",
        amount,
        "sum of the tiers" + (" - free_amount" if free and billed == kwh else ""),
    )
    if kwh:
        work.put("average_price", work.rounded(Fraction(amount) / Fraction(kwh), "price"), "total / kwh")
    if work.has(COMBINED):
        combined = work.put_money(
            "combined_total", EXACT.multiply(kwh, work.decimal(COMBINED)), "kwh x combined_price"
        )
        work.put("cheaper", "combined" if combined < amount else "ladder", "")


def _tier_at(limits: list[Decimal], before: Decimal) -> int:
    return 1 + sum(1 for limit in limits if before > limit)


def _is_tou(work: Work, tiers: list[Work]) -> bool:
    return bool(_periods(work)) and (
        work.is_table(TOU)
        or work.has("peak_price valley_price")
        or any(tier.own("peak_price peak prices tou_prices") for tier in tiers)
    )


def _plain(work: Work, tiers: list[Work], split: tuple[Decimal, ...]) -> Decimal:
    charges = [
        tier.money(EXACT.multiply(part, _price(tier))) for tier, part in zip(tiers, split, strict=True)
    ]
    for number, charge in enumerate(charges, 1):
        also = f"tier{number}_charge charge_tier_{number}"
        work.put(f"tier_{number}_charge", charge, "tier_kwh x tier price", kind="money", also=also)
    work.put("tier_charge", list(charges), "tier_kwh x tier price", kind="money")
    return total(charges)


def _tier_prices(tier: Work) -> dict[str, Decimal]:
    if tier.own("prices tou_prices") and tier.is_table("prices tou_prices"):
        return tier.numbers("prices tou_prices")
    return {
        name: tier.decimal(f"{name}_price {name}")
        for name in ("peak", "flat", "valley")
        if tier.own(f"{name}_price {name}")
    }


def _with_tou(work: Work, tiers: list[Work], split: tuple[Decimal, ...]) -> Decimal:
    """The first tier's period prices on all energy, and the increments on the energy of the tiers above it."""
    periods = _periods(work)
    by_tier = [_tier_prices(tier) for tier in tiers]
    base = _base_prices(work) or by_tier[0]
    for name in periods:
        if name not in base:
            work.bad(work.here(f"tou_prices.{name}"), "is missing", "a price for every period with energy")
    charges = {name: work.money(EXACT.multiply(kwh, base[name])) for name, kwh in periods.items()}
    increments = _increments(work, tiers, by_tier, base)
    added = [
        work.money(EXACT.multiply(part, increment))
        for part, increment in zip(split[1:], increments, strict=True)
    ]
    work.put("tou_charge_by_period", dict(charges), "kwh x first-tier period price", kind="money")
    work.put("tou_charge", total(charges.values()), "sum of the periods")
    work.put("increment_charge", total(added), "tier_kwh x increment")
    work.put("tier_increment_charge", list(added), "tier_kwh x increment", kind="money")
    work.put("tier_increment_charge_by_tier", [Decimal("0.00"), *added], "0 for the first tier", kind="money")
    work.put("tier_increments", list(increments), "")
    for number, charge in enumerate(added, 2):
        work.put(
            f"tier_{number}_increment_charge",
            charge,
            "tier_kwh x increment",
            kind="money",
            also=f"tier{number}_increment_charge increment_charge_tier_{number} tier_{number}_increment increment_charge_tier{number}",
        )
    return EXACT.add(total(charges.values()), total(added))


def _base_prices(work: Work) -> dict[str, Decimal]:
    """The first tier's prices by period: an object, or one input per period."""
    if work.is_table(TOU):
        return {name.removesuffix("_price"): price for name, price in work.numbers(TOU).items()}
    names = ("tip", "peak", "flat", "valley", "deep")
    return {name: work.decimal(f"{name}_price") for name in names if work.has(f"{name}_price")}


def _increments(
    work: Work, tiers: list[Work], by_tier: list[dict[str, Decimal]], base: dict[str, Decimal]
) -> list[Decimal]:
    count = len(tiers) - 1
    if work.is_list(INCREMENTS):
        found = work.decimals(INCREMENTS)
        if len(found) == count + 1 and found[0] == 0:
            found = found[1:]
        if len(found) != count:
            work.bad(
                work.here("tier_increments"),
                f"has {len(found)} values",
                f"{count} values, one per tier above the first",
            )
        return found
    if work.is_table(INCREMENTS):
        return [value for value in work.numbers(INCREMENTS).values() if value][:count]
    if all(tier.own(INCREMENT) for tier in tiers[1:]):
        if tiers[0].own(INCREMENT) and tiers[0].number_or(0, INCREMENT):
            tiers[0].bad(tiers[0].here("increment"), "is on the first tier", "0: its prices are the base")
        return [tier.decimal(INCREMENT) for tier in tiers[1:]]
    if all(prices for prices in by_tier[1:]) and base:
        name = next(iter(base))
        return [EXACT.subtract(prices[name], base[name]) for prices in by_tier[1:]]
    first = tiers[0].decimal(PRICE)
    return [EXACT.subtract(tier.decimal(PRICE), first) for tier in tiers[1:]]


FREE = "free_kwh_per_month free_kwh free_kwh_month free_quota_kwh"


def _free_kwh(work: Work, kwh: Decimal) -> Decimal:
    if not work.has(FREE):
        return Decimal(0)
    return min(kwh, EXACT.multiply(work.decimal(FREE), work.number_or(1, "free_months")))


def _is_refunded(work: Work) -> bool:
    """Free energy is not billed; a refund at the first tier's price only where the rule says so, or by time of use."""
    says = any(
        word in work.case.rule.lower()
        for word in ("refund", "first tier", "first-tier", "tier 1", "返还", "第一档")
    )
    return says or bool(_periods(work))


def _free(
    work: Work, tiers: list[Work], energy: tuple[Decimal, Decimal], ladder: tuple[Decimal, list[Decimal]]
) -> Decimal:
    """What free energy of low-income households saves; what is still to be taken off the charge for it."""
    if not work.has(FREE):
        return Decimal(0)
    (kwh, free), (before, limits) = energy, ladder
    work.put("free_kwh", free, "min(kwh, free_kwh_per_month)")
    work.put("billed_kwh", EXACT.subtract(kwh, free), "kwh - free_kwh")
    if _is_refunded(work):
        prices = _tier_prices(tiers[0])
        price = _price(tiers[0]) if tiers[0].own(PRICE) else next(iter(prices.values()))
        return work.put_money("free_amount", EXACT.multiply(free, price), "free_kwh x first tier's price")
    parts = (
        tier_kwh(limits, before, each) if limits else (each,) for each in (kwh, EXACT.subtract(kwh, free))
    )
    whole, billed = (
        total(work.money(EXACT.multiply(part, _price(tier))) for tier, part in zip(tiers, split, strict=True))
        for split in parts
    )
    work.put(
        "free_amount", EXACT.subtract(whole, billed), "charge of all kWh - charge of billed_kwh", kind="money"
    )
    return Decimal(0)


def _price(tier: Work) -> Decimal:
    """The price of a tier, with what a voltage level adds to every tier's price."""
    more = EXACT.subtract(tier.number_or(0, DIFFERENCE), tier.number_or(0, LESS))
    return EXACT.add(tier.decimal(PRICE), more)
