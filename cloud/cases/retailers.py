"""Cases of retailers 售电公司: the performance guarantee 履约保函, and admission by assets and staff. Pure."""

from __future__ import annotations

from decimal import Decimal

from cloud.cases.work import Work, by_row
from cloud.money import EXACT, total, yuan
from cloud.parties import admission, guarantee
from cloud.parties.admission import AssetTier
from cloud.parties.guarantee import Rates, Step, Volumes

GUARANTEE_RULE = "售电公司管理办法 发改体改规〔2021〕1595号 · §9.3"
ADMISSION_RULE = "售电公司管理办法 发改体改规〔2021〕1595号 · §9.1"
WHOLESALE_12 = "wholesale_12m_kwh wholesale_12_months_kwh wholesale_12_month_kwh forecast_wholesale_12m_kwh annual_wholesale_kwh"
WHOLESALE_2 = "wholesale_2m_kwh wholesale_2_months_kwh wholesale_2_month_kwh forecast_wholesale_2m_kwh"
RETAIL_2 = "retail_2m_kwh retail_2_months_kwh retail_2_month_kwh forecast_retail_2m_kwh"
RATE_12 = "rate_12_months_per_kwh rate_12m_per_kwh rate_12_months rate_12m"
RATE_2 = "rate_2_months_per_kwh rate_2m_per_kwh rate_2_months rate_2m"
ENERGY = "annual_kwh energy_kwh kwh traded_kwh yearly_kwh annual_energy_kwh volume_kwh annual_wholesale_kwh annual_traded_kwh trading_kwh"
RATING = "rating credit_rating grade credit_grade"
ASSETS = "assets total_assets assets_yuan total_assets_yuan"
TIERS = "tiers asset_tiers"


def rate_guarantee(work: Work) -> None:
    """Work a case of the guarantee, or each of its rows."""
    work.rule = GUARANTEE_RULE
    if work.is_list("rows"):
        rows = by_row(work, _guarantee)
        found = [row.results.named["guarantee"].value for row in rows if "guarantee" in row.results.named]
        work.put("total", total(each for each in found if isinstance(each, Decimal)), "sum of the rows")
    else:
        _guarantee(work)


def _guarantee(work: Work) -> None:
    base = _base(work)
    work.put("base_guarantee", work.money(base), "before credit", kind="money")
    amount = work.money(base)
    if _has_unsecured(work):
        ratio = _unsecured(work)
        late = work.flag(
            False,
            "late_payment_12m late_payment late_payment_within_12_months late_payment_last_12_months has_late_payment late_payment_in_12_months paid_late",
        )
        amount = yuan(guarantee.reduced_fen(base, ratio, has_paid_late=late))
        work.put("unsecured_ratio", Decimal(0) if late else ratio, "by credit rating; 0 after a late payment")
        work.put(
            "guarantee",
            amount,
            "base_guarantee / (1 + unsecured_ratio)",
            kind="money",
            rule="广东 2024 · §9.3",
        )
    elif _has_factor(work):
        factor = _factor(work)
        amount = yuan(guarantee.rated_fen(base, factor))
        work.put("rating_factor", factor, "by credit rating")
        work.put(
            "guarantee",
            amount,
            "base_guarantee x (1 + rating_factor)",
            kind="money",
            rule="湖南 2022 · §13.2",
        )
    else:
        work.put(
            "guarantee",
            amount,
            "max(wholesale_12m_kwh x rate_12_months_per_kwh, max(wholesale_2m_kwh, retail_2m_kwh) x rate_2_months_per_kwh)"
            if work.has(WHOLESALE_12)
            else "base_guarantee",
            kind="money",
        )
    lodged = "lodged_amount lodged existing_guarantee current_guarantee posted_amount held_guarantee"
    if work.has(lodged):
        missing = max(Decimal(0), EXACT.subtract(amount, work.decimal(lodged)))
        work.put("shortfall", missing, "max(0, guarantee - lodged)")
        work.put("sufficient", not missing, "lodged >= guarantee")


def _base(work: Work) -> Decimal:
    given = "base_guarantee guarantee_base base_amount base"
    if work.has(given):
        return work.not_negative(given)
    if work.has(f"{WHOLESALE_12} {WHOLESALE_2}"):
        rates = Rates(
            work.decimal(RATE_12) if work.has(RATE_12) else Decimal("0.008"),
            work.decimal(RATE_2) if work.has(RATE_2) else Decimal("0.05"),
        )
        volumes = Volumes(
            work.not_negative(WHOLESALE_12), work.not_negative(WHOLESALE_2), work.not_negative(RETAIL_2)
        )
        bases = guarantee.national_bases(volumes, rates)
        work.put(
            "by_12_months",
            work.money(bases.twelve_months_yuan),
            "wholesale_12m_kwh x rate_12_months_per_kwh",
            kind="money",
        )
        work.put(
            "by_2_months",
            work.money(bases.two_months_yuan),
            "max(wholesale_2m_kwh, retail_2m_kwh) x rate_2_months_per_kwh",
            kind="money",
        )
        work.put(
            "decisive",
            "12_months" if bases.twelve_months_yuan >= bases.two_months_yuan else "2_months",
            "the larger",
        )
        return bases.larger_yuan
    energy = work.not_negative(ENERGY)
    try:
        return guarantee.stepped_yuan(energy, _steps(work))
    except ValueError:
        work.bad(work.here("tiers"), f"have no step for {energy} kWh", "an open last step")


def _steps(work: Work) -> tuple[Step, ...]:
    """The steps of a form like 广东's: fixed, a rate per kWh, fixed; from the case, whichever way it says them."""
    names = "steps tiers guarantee_tiers"
    if work.is_list(names):
        rows = work.tables(names)
        if any(row.own(STEP_FROM) for row in rows) and not any(row.own(STEP_UPTO) for row in rows):
            return _steps_from(rows)
        return tuple(
            Step(_own_decimal(row, STEP_UPTO), _own_decimal(row, STEP_FIXED), _own_decimal(row, STEP_RATE))
            for row in rows
        )
    seen = [name for name in work.names_seen() if work.is_number(name)]
    known = set(ENERGY.split()) | {"lodged_amount", "base_amount"}
    limits = sorted(
        work.decimal(name)
        for name in seen
        if name.endswith("_kwh") and not name.endswith("_per_kwh") and name not in known
    )
    amounts = sorted(work.decimal(name) for name in seen if _is_amount(name) and name not in known)
    if len(limits) != 2 or len(amounts) != 2:
        work.bad(work.here("tiers"), "are missing", "a list of steps, or two limits in kWh and two amounts")
    rate = work.decimal("rate_per_kwh rate middle_rate per_kwh price_per_kwh")
    return (
        Step(limits[0], fixed_yuan=amounts[0]),
        Step(limits[1], yuan_per_kwh=rate),
        Step(None, fixed_yuan=amounts[1]),
    )


def _own_decimal(row: Work, names: str) -> Decimal | None:
    return row.decimal(names) if row.own(names) and row.has(names) else None


def _steps_from(rows: list[Work]) -> tuple[Step, ...]:
    """Steps by the energy from which they count: each ends where the next begins."""
    ordered = sorted(rows, key=lambda row: _own_decimal(row, STEP_FROM) or Decimal(0))
    ends = [*(_own_decimal(row, STEP_FROM) for row in ordered[1:]), None]
    return tuple(
        Step(end, _own_decimal(row, STEP_FIXED), _own_decimal(row, STEP_RATE))
        for row, end in zip(ordered, ends, strict=True)
    )


def _is_amount(name: str) -> bool:
    return not name.endswith("_kwh") and any(
        word in name for word in ("amount", "guarantee", "fixed", "minimum", "maximum")
    )


STEP_FROM = "from_kwh kwh_from energy_from_kwh lower_kwh from above_kwh min_kwh"
STEP_UPTO = "below_kwh upto_kwh to_kwh upto kwh_upto kwh_to energy_upto_kwh energy_to_kwh max_kwh"
STEP_FIXED = "fixed_amount fixed amount guarantee fixed_yuan"
STEP_RATE = "rate_per_kwh rate yuan_per_kwh per_kwh price_per_kwh"
UNSECURED = "unsecured_ratio unsecured_credit_ratio credit_ratio"
UNSECURED_TABLE = "unsecured_ratios unsecured_credit_ratios credit_ratios unsecured_ratio_by_rating ratios_by_rating rating_ratio rating_ratios ratio_by_rating rating_unsecured_ratios"
FACTOR = "rating_factor credit_factor adjustment_factor"
FACTOR_TABLE = "rating_factors factors rating_adjustments factor_by_rating rating_factor_by_grade rating_factor_by_rating adjustments_by_rating"


def _rated_table(work: Work, *words: str) -> str:
    """The name of a table by rating that has one of the words in its name; nothing when there is none."""
    names = [
        name for name in work.names_seen() if work.is_table(name) and any(word in name for word in words)
    ]
    return names[0] if len(names) == 1 else ""


def _has_unsecured(work: Work) -> bool:
    return (
        work.has_ratio(UNSECURED)
        or work.has(UNSECURED_TABLE)
        or bool(_rated_table(work, "unsecured", "credit_ratio"))
    )


def _unsecured(work: Work) -> Decimal:
    tables = f"{UNSECURED_TABLE} {UNSECURED} {_rated_table(work, 'unsecured', 'credit_ratio')}"
    if work.is_table(tables):
        return work.numbers(tables).get(work.text_or("", RATING), Decimal(0))
    return work.ratio(UNSECURED)


def _has_factor(work: Work) -> bool:
    named = work.has(f"{FACTOR} rating_factor_pct {FACTOR_TABLE} rating_factors_pct")
    return named or bool(_rated_table(work, "factor", "adjust"))


def _factor(work: Work) -> Decimal:
    """The factor of a rating; unrated counts as A."""
    tables = f"{FACTOR_TABLE} rating_factors_pct {FACTOR} {_rated_table(work, 'factor', 'adjust')}"
    if work.is_table(tables):
        table = work.numbers(tables)
        rating = work.text_or(work.text_or("A", "unrated_as"), RATING)
        if rating.lower() in ("unrated", "none", "未评级"):
            rating = work.text_or("A", "unrated_as")
        if rating not in table:
            work.bad(work.here("rating"), f"is {rating!r}", ", ".join(table))
        found = table[rating]
        return EXACT.scaleb(found, -2) if abs(found) > 1 else found
    return (
        EXACT.scaleb(work.decimal("rating_factor_pct"), -2)
        if work.has("rating_factor_pct")
        else work.decimal(FACTOR)
    )


def rate_admission(work: Work) -> None:
    """Work a case of admission, or each of its rows."""
    work.rule = ADMISSION_RULE
    if work.is_list("rows"):
        by_row(work, _admission)
    else:
        _admission(work)


def _admission(work: Work) -> None:
    admitted = True
    cap: Decimal | None = None
    if work.has(TIERS):
        tiers = [
            AssetTier(
                row.decimal("assets_from from_assets assets_min min_assets lower_bound from"),
                row.decimal("annual_cap_kwh cap_kwh annual_kwh_cap")
                if row.has("annual_cap_kwh cap_kwh annual_kwh_cap")
                and row.own("annual_cap_kwh cap_kwh annual_kwh_cap")
                else None,
            )
            for row in work.tables(TIERS)
        ]
        included = work.flag(
            True,
            "bounds_included lower_bound_inclusive inclusive bounds_inclusive inclusive_lower_bound lower_bounds_inclusive",
        )
        found = admission.admission(work.decimal(ASSETS), tiers, bounds_included=included)
        admitted, cap = found.is_admitted, found.annual_cap_kwh
        work.put("tier", None if found.tier is None else Decimal(tiers.index(found.tier) + 1), "")
    work.note("with_distribution_network has_distribution_network")  # says whom the ratio of capital is for
    reasons = _lacking(work)
    if not admitted:
        reasons.insert(0, "assets")
    work.put("admitted", admitted and not _lacking(work), "assets >= lower bound of the lowest tier")
    work.put(
        "annual_cap_kwh",
        cap if admitted else None,
        "cap of the highest tier reached; null = unlimited when admitted",
    )
    work.put("unlimited", admitted and cap is None, "")
    work.put("reasons", [str(each) for each in reasons], "")
    planned = "planned_kwh annual_kwh wholesale_12m_kwh requested_kwh planned_annual_kwh annual_energy_kwh energy_kwh"
    if work.has(planned):
        energy = work.decimal(planned)
        work.put("within_cap", admitted and (cap is None or energy <= cap), "planned_kwh <= annual_cap_kwh")
        work.put(
            "excess_kwh", max(Decimal(0), EXACT.subtract(energy, cap)) if cap is not None else Decimal(0), ""
        )
        work.put(
            "remaining_kwh",
            None if cap is None else max(Decimal(0), EXACT.subtract(cap, energy)),
            "annual_cap_kwh - planned_kwh",
        )


def _lacking(work: Work) -> list[str]:
    """Requirements of staff and capital that a case states with their minimum and is short of."""
    pairs = (
        (
            "staff",
            "staff staff_count full_time_staff employees",
            "staff_min min_staff required_staff staff_required",
        ),
        (
            "senior_titles",
            "senior_titles senior_staff senior high_titles",
            "senior_titles_min min_senior_titles required_senior min_senior senior_min senior_required",
        ),
        (
            "middle_titles",
            "middle_titles intermediate_titles middle_staff intermediate_staff mid_titles",
            "middle_titles_min min_middle_titles intermediate_titles_min min_intermediate_titles required_middle min_middle middle_min min_intermediate mid_titles_min",
        ),
        (
            "experience_years",
            "experience_years years_experience",
            "experience_years_min min_experience_years",
        ),
    )
    found = [
        name
        for name, has, needs in pairs
        if work.has(has) and work.has(needs) and work.decimal(has) < work.decimal(needs)
    ]
    if (
        work.has("registered_capital")
        and work.has(ASSETS)
        and work.has(
            "registered_capital_min_ratio min_registered_capital_ratio registered_capital_ratio_min capital_ratio_min"
        )
    ):
        least = EXACT.multiply(
            work.decimal(ASSETS),
            work.decimal(
                "registered_capital_min_ratio min_registered_capital_ratio registered_capital_ratio_min capital_ratio_min"
            ),
        )
        work.put("registered_capital_min", least, "ratio x assets")
        if work.decimal("registered_capital") < least:
            found.append("registered_capital")
    return found
