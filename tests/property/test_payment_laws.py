"""Laws of money that arrives: nothing of it vanishes, the oldest is settled first, a late fee is what days and rates say."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cloud.billing import payment
from cloud.billing.arrears import Claim, Debt, Move, ageing, fee_fen, late_fee, rules_on
from cloud.billing.formula import fen_by
from cloud.billing.payment import Open, Part
from cloud.billing.store.published import packaged_catalogue
from cloud.markettime import month_after

RULES = rules_on(packaged_catalogue().files, date(2026, 9, 1))
ACCOUNT = "1300000000001"
FIRST = date(2024, 1, 1)

_open = st.builds(
    lambda month, late, fen: Open(
        f"{ACCOUNT}/{month_after(FIRST, month):%Y-%m}{'/late' if late else ''}",
        month_after(FIRST, month),
        fen,
    ),
    st.integers(0, 40),
    st.booleans(),
    st.integers(-10_000, 1_000_000),
)
opened = st.lists(_open, max_size=12, unique_by=lambda each: each.item)


@given(st.integers(1, 5_000_000), opened)
def test_a_sum_is_spread_whole_and_no_item_gets_more_than_is_open(amount_fen: int, items: list[Open]) -> None:
    spread = payment.allocate(amount_fen, items)

    open_fen = {each.item: each.open_fen for each in items}
    assert sum(part.amount_fen for part in spread.parts) + spread.prepaid_fen == amount_fen
    assert all(0 < part.amount_fen <= open_fen[part.item] for part in spread.parts)
    assert spread.prepaid_fen >= 0


@given(st.integers(1, 5_000_000), opened)
def test_nothing_younger_is_touched_while_something_older_is_open(amount_fen: int, items: list[Open]) -> None:
    spread = payment.allocate(amount_fen, items)

    paid = dict(spread.parts)
    short = [each for each in items if each.open_fen > 0 and paid.get(each.item, 0) < each.open_fen]
    for each in short:
        assert all(other.month <= each.month for other in items if other.item in paid)
    assert spread.prepaid_fen == 0 or not short


@given(st.integers(1, 5_000_000), opened, st.integers(0, 40))
def test_the_chosen_month_comes_first(amount_fen: int, items: list[Open], chosen: int) -> None:
    month = month_after(FIRST, chosen)
    wanted_fen = sum(each.open_fen for each in items if each.month == month and each.open_fen > 0)

    spread = payment.allocate(amount_fen, items, month)

    given_fen = sum(fen for item, fen in spread.parts if item.startswith(f"{ACCOUNT}/{month:%Y-%m}"))
    assert given_fen == min(amount_fen, wanted_fen)


@given(opened, st.integers(-5_000, 2_000_000))
def test_moving_prepaid_settles_and_never_overdraws(items: list[Open], prepaid_fen: int) -> None:
    journal = payment.moved("k", ACCOUNT, items, prepaid_fen, FIRST)

    after = {each.item: each.open_fen for each in items}
    left_fen = prepaid_fen
    for posting in () if journal is None else journal.postings:
        if posting.account.startswith("prepaid/"):
            left_fen -= posting.amount_fen
        else:
            after[posting.item] += posting.amount_fen
    assert left_fen >= min(prepaid_fen, 0)
    assert all(fen >= 0 for fen in after.values())
    assert left_fen <= 0 or not any(fen > 0 for fen in after.values())


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.lists(st.integers(1, 3_000), max_size=5))
def test_a_refund_comes_from_prepaid_then_from_the_newest(
    refund_fen: int, prepaid_fen: int, settled: list[int]
) -> None:
    parts = [Part(f"{ACCOUNT}/{month_after(FIRST, n):%Y-%m}", fen) for n, fen in enumerate(settled)]
    if refund_fen > prepaid_fen + sum(settled):
        return

    from_prepaid_fen, reduced = payment.refund_source(refund_fen, prepaid_fen, parts, parts)

    assert from_prepaid_fen == min(refund_fen, prepaid_fen)
    assert from_prepaid_fen + sum(fen for _, fen in reduced) == refund_fen
    whole = dict(parts)
    assert all(fen <= whole[item] for item, fen in reduced)
    assert [item for item, _ in reduced] == sorted((item for item, _ in reduced), reverse=True)


days = st.integers(0, 700)


@given(st.integers(1, 10_000_000), st.lists(st.tuples(days, st.integers(1, 3_000_000)), max_size=5), days)
def test_a_late_fee_is_the_sum_over_late_days_of_what_was_open(
    bill_fen: int, payments: list[tuple[int, int]], until: int
) -> None:
    issued, due = date(2025, 11, 1), date(2025, 11, 16)
    moves = [Move(issued, bill_fen)] + [Move(issued + timedelta(days=n), -fen) for n, fen in payments]
    through = issued + timedelta(days=until)
    rates = RULES.rates_for("commercial")

    lines = late_fee([Claim(issued, due, bill_fen)], moves, through, rates, RULES)

    exact = Fraction(0)
    day = due + timedelta(days=1)
    while day <= through:
        rate = Fraction(2, 1000) if day.year == due.year else Fraction(3, 1000)
        exact += rate * max(0, sum(move.amount_fen for move in moves if move.day < day))
        day += timedelta(days=1)
    assert abs(fee_fen(lines) - exact) <= Fraction(len(lines), 2)
    for line in lines:
        inputs = {each.name: each.value for each in line.derivation.inputs}
        assert fen_by(line.derivation.formula, inputs) == line.amount_fen


@given(st.integers(1, 10_000_000), st.integers(0, 15))
def test_what_is_paid_by_the_due_date_bears_no_fee(bill_fen: int, paid_after: int) -> None:
    issued = date(2026, 9, 1)
    moves = [Move(issued, bill_fen), Move(issued + timedelta(days=paid_after), -bill_fen)]

    lines = late_fee(
        [Claim(issued, issued + timedelta(days=15), bill_fen)],
        moves,
        date(2027, 3, 1),
        RULES.rates_for("residential"),
        RULES,
    )

    assert lines == ()


@given(st.lists(st.tuples(days, st.integers(0, 1_000_000)), max_size=20), days)
def test_every_debt_stands_in_one_age(debts: list[tuple[int, int]], today: int) -> None:
    rows = [Debt(str(n), FIRST + timedelta(days=due), fen) for n, (due, fen) in enumerate(debts)]

    buckets = ageing(rows, FIRST + timedelta(days=today), RULES)

    assert sum(buckets) == sum(fen for _, fen in debts)
    assert buckets[0] == sum(fen for due, fen in debts if due >= today)
    assert len(buckets) == len(RULES.ageing_days) + 2


@given(st.from_regex(r"[0-9]{10,13}", fullmatch=True), st.integers(0, 12), st.integers(1, 9))
def test_a_payment_code_with_one_wrong_digit_finds_nobody(account_id: str, place: int, shift: int) -> None:
    code = payment.payment_code(account_id)
    at = 2 + place % (len(code) - 2)
    wrong = code[:at] + str((int(code[at]) + shift) % 10) + code[at + 1 :]

    assert payment.codes_in(f"电费 {code} 谢谢") == (account_id,)
    assert payment.codes_in(f"电费 {wrong} 谢谢") == ()


def test_rates_of_the_rule() -> None:
    """Residents 0.1 % a day; others 0.2 %, after the year's end 0.3 % (供电营业规则, from memory)."""
    assert RULES.rates_for("residential").current_year_rate == Decimal("0.001")
    assert RULES.rates_for("residential").later_years_rate == Decimal("0.001")
    assert RULES.rates_for("commercial").current_year_rate == Decimal("0.002")
    assert RULES.rates_for("commercial").later_years_rate == Decimal("0.003")
