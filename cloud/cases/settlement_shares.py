"""Cases of allocation, conservation and the settlement calendar. Pure."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from cloud import daytypes
from cloud.cases.work import Work
from cloud.market.allocation import NobodyToShare, allocate
from cloud.money import EXACT, total, yuan

SURPLUS = "surplus surplus_amount amount_to_allocate allocation_amount shared_amount total_surplus amount_to_share difference_to_allocate named_surplus"

AMOUNT = "amount total_amount"
WEIGHTS = "weights participants users shares_by weight allocation_weights consumption_mwh_list allocation_keys weights_mwh weights_kwh shares_mwh shares_kwh used_mwh used_kwh"

MONTH = "month settlement_month statement_month"
MONTH_DAYS_MAX = 31
HOLIDAYS = "holidays public_holidays holiday_dates non_working_days days_off"
MAKE_UP = "make_up_days make_up_working_days makeup_workdays makeup_working_days extra_workdays make_up_workdays extra_working_days working_weekends working_saturdays adjusted_working_days"


def is_allocation(work: Work) -> bool:
    """Say whether a named surplus is to be shared, or an amount over weights."""
    shared = work.is_list(WEIGHTS) or work.is_table(WEIGHTS)
    return work.has(SURPLUS) or (work.has(AMOUNT) and shared)


def allocated(work: Work) -> None:
    """A named surplus by weights, rounded to the fen; the last in the listed order takes the remainder."""
    work.rule = "889号 art. 110 · §10.4"
    names, weights = _weights(work)
    by_name = not work.is_list(WEIGHTS)
    scale = max((0, *(-int(each.as_tuple().exponent) for each in weights)))
    whole = [int(EXACT.scaleb(each, scale)) for each in weights]
    surplus = work.decimal(SURPLUS if work.has(SURPLUS) else AMOUNT)
    fen = EXACT.scaleb(surplus, 2)
    if fen != int(fen):
        work.bad(work.here(SURPLUS.split()[0]), f"is {surplus}", "a whole number of fen")
    if any(each < 0 for each in whole):
        work.bad(work.here("weights"), "has a negative weight", "zero or more")
    order = list(range(len(whole)))
    first = work.choice(
        "last",
        {
            "last": "last",
            "first": "first",
            "last_participant": "last",
            "first_participant": "first",
            "largest": "largest",
        },
        "remainder_to remainder remainder_participant",
    )
    if first == "first":
        order.reverse()
    elif first == "largest":
        order.sort(key=lambda index: whole[index])
    try:
        shared = allocate("surplus", int(fen), [(str(index), whole[index]) for index in order])
    except NobodyToShare:
        work.bad(work.here("weights"), "add up to zero", "at least one weight above zero")
    by_index = {int(each.name): yuan(each.amount_fen) for each in shared}
    amounts = [by_index[index] for index in range(len(whole))]
    work.put(
        "shares",
        dict(zip(names, amounts, strict=True)) if by_name else list(amounts),
        "round(surplus x weight / sum of weights); the last takes the remainder",
        kind="money",
    )
    work.put("share_list", list(amounts), "in the order of the case", kind="money")
    work.put("share_by_participant", dict(zip(names, amounts, strict=True)), "")
    rows = []
    for name, amount in zip(names, amounts, strict=True):
        row = work.part("share")
        row.put("share", amount, "")
        row.put("participant", name, "")
        rows.append(row)
    work.put_rows("rows", rows)
    plain = [work.money(Fraction(surplus) * each / sum(whole)) for each in whole]
    work.put("sum_of_shares", total(amounts), "sum")
    work.put("remainder", EXACT.subtract(surplus, total(plain)), "surplus - sum of the rounded shares")
    work.put("balanced", total(amounts) == surplus, "sum of shares = surplus")


def _weights(work: Work) -> tuple[list[str], list[Decimal]]:
    if not work.has(WEIGHTS):
        several = [name for name in work.names_given() if work.is_table(name) or work.is_list(name)]
        if len(several) == 1:
            return _read_weights(work, several[0])
    return _read_weights(work, WEIGHTS)


def _read_weights(work: Work, names: str) -> tuple[list[str], list[Decimal]]:
    if work.is_table(names):
        numbers = work.numbers(names)
        return list(numbers), list(numbers.values())
    raw = work.raw(names)
    if isinstance(raw, list) and all(isinstance(each, dict) for each in raw):
        rows = work.tables(names)
        return [row.text_or(str(n), "participant name id user") for n, row in enumerate(rows, 1)], [
            row.decimal(
                "weight mwh kwh energy_mwh consumption_mwh quantity_mwh energy_kwh consumption_kwh used_mwh weight_mwh weight_kwh"
            )
            for row in rows
        ]
    weights = work.decimals(names)
    return [str(number) for number in range(1, len(weights) + 1)], weights


def calendar(work: Work) -> None:
    """The settlement calendar: working day n of the month after (976号 · §10.1)."""
    work.rule = "发改能源规〔2025〕976号 · §10.1"
    counted = "from_month counting_month"
    text = work.text(counted if work.has(counted) else MONTH)
    try:
        month = date.fromisoformat(f"{text}-01")
    except ValueError:
        work.bad(work.here("month"), f"is {text!r}"[:40], "a month YYYY-MM")
    after = month if work.has(counted) else (month + timedelta(days=MONTH_DAYS_MAX)).replace(day=1)
    names = {
        1: "meter_readings user_meter_readings",
        2: "deregistered_users",
        3: "ancillary_services",
        5: "draft_statement draft_deadline draft draft_statement_date draft_date",
        6: "confirmation_deadline confirmation confirmation_date",
        8: "final_statement final_deadline final final_statement_date final_date",
        10: "bill_deadline bills bill bill_date bills_date",
    }
    for number in range(1, 11):
        found = _working_day(work, after, number)
        work.put(
            f"wd{number}",
            found.isoformat(),
            f"working day {number} of the month after",
            also=f"WD{number} {names.get(number, '')}",
        )
    listed = "working_day_numbers working_days wds numbers"
    if work.is_list(listed):
        days = [_working_day(work, after, int(each)).isoformat() for each in work.decimals(listed)]
        work.put("dates", [str(each) for each in days], "working days of the month")
    wanted = "working_day wd n working_day_number"
    if work.has(wanted):
        work.put("date", _working_day(work, after, work.integer(wanted)).isoformat(), "")


def _working_day(work: Work, month: date, number: int) -> date:
    if not 1 <= number <= 60:
        work.bad(work.here("working_day"), f"is {number}", "1 to 60")
    if not work.given(f"{HOLIDAYS} {MAKE_UP}"):
        try:
            return daytypes.working_day(month, number)
        except daytypes.NoCalendar:
            work.bad(work.here("holidays"), "is missing", "the holidays of the year")
    off, extra = _days(work, HOLIDAYS), _days(work, MAKE_UP)
    day = month
    left = number
    while True:
        is_work = day in extra or (day not in off and day.weekday() < 5)
        left -= is_work
        if not left:
            return day
        day += timedelta(days=1)


def _days(work: Work, names: str) -> set[date]:
    if not work.has(names):
        return set()
    raw = work.raw(names)
    try:
        return {date.fromisoformat(str(each)) for each in raw} if isinstance(raw, list) else set()
    except ValueError:
        work.bad(work.here(names.split()[0]), "holds no date", "a list of dates YYYY-MM-DD")
