"""Late fees by hand, dunning steps by the calendar, bank files as banks write them, differences by name."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from cloud.billing import arrears, bankfile, payment
from cloud.billing.arrears import Claim, Debt, Move, late_fee, next_step, rules_on
from cloud.billing.bankfile import BadBankFile, bank_lines, csv_text
from cloud.billing.payment import (
    BadAmount,
    FoundBy,
    Notified,
    Order,
    Provider,
    Purpose,
    Verdict,
    fen_from,
    verdict,
)
from cloud.billing.reconcile import (
    Candidate,
    Difference,
    Kind,
    Ours,
    Reason,
    Statement,
    StatementLine,
    What,
    certain,
    differences,
    guesses,
)
from cloud.billing.store.published import packaged_catalogue

RULES = rules_on(packaged_catalogue().files, date(2026, 9, 1))
MILL, SHOP = "1300000000001", "1300000000002"
NOW = datetime(2026, 9, 12, 3, tzinfo=UTC)


def test_a_fee_over_the_year_end_has_a_line_for_each_rate() -> None:
    """1,000.00 yuan due 2026-12-29, paid 2027-01-03: 2 days x 0.2 % + 3 days x 0.3 % = 4.00 + 9.00."""
    moves = [Move(date(2026, 12, 14), 100_000), Move(date(2027, 1, 3), -100_000)]
    claim = Claim(date(2026, 12, 14), date(2026, 12, 29), 100_000)

    lines = late_fee([claim], moves, date(2027, 2, 1), RULES.rates_for("commercial"), RULES)

    assert [(line.days, str(line.rate), line.amount_fen) for line in lines] == [
        (2, "0.002", 400),
        (3, "0.003", 900),
    ]
    assert lines[0].derivation.first_day == date(2026, 12, 30)


def test_a_part_payment_lowers_the_principal_from_the_next_day() -> None:
    """100.00 yuan, first late day 17 Sep; 60.00 paid on 18 Sep: 2 days x 100 + 2 days x 40, 0.1 % a day."""
    moves = [Move(date(2026, 9, 1), 10_000), Move(date(2026, 9, 18), -6_000)]
    claim = Claim(date(2026, 9, 1), date(2026, 9, 16), 10_000)

    lines = late_fee([claim], moves, date(2026, 9, 20), RULES.rates_for("residential"), RULES)

    assert [(line.principal_fen, line.days, line.amount_fen) for line in lines] == [
        (10_000, 2, 20),
        (4_000, 2, 8),
    ]


def test_what_a_correction_adds_is_late_only_after_its_own_due_date() -> None:
    """Issued 100.00 due 16 Sep; corrected to 150.00 on 20 Sep, due 5 Oct: the added 50.00 is late from 6 Oct."""
    claims = [
        Claim(date(2026, 9, 1), date(2026, 9, 16), 10_000),
        Claim(date(2026, 9, 20), date(2026, 10, 5), 15_000),
    ]
    moves = [Move(date(2026, 9, 1), 10_000), Move(date(2026, 9, 20), 5_000)]

    lines = late_fee(claims, moves, date(2026, 10, 7), RULES.rates_for("commercial"), RULES)

    assert [(line.principal_fen, line.days) for line in lines] == [(10_000, 19), (15_000, 2)]


def test_a_bill_replaced_before_it_was_due_takes_its_due_date_with_it() -> None:
    claims = [
        Claim(date(2026, 9, 1), date(2026, 9, 16), 10_000),
        Claim(date(2026, 9, 10), date(2026, 9, 25), 10_000),
    ]

    lines = late_fee(
        claims, [Move(date(2026, 9, 1), 10_000)], date(2026, 9, 25), RULES.rates_for("commercial"), RULES
    )

    assert lines == ()


@pytest.mark.parametrize(
    ("today", "taken", "step"),
    [
        # Due Fri 25 Sep, a day off. Three working days before is Tue 22; the first after is Mon 28, and the
        # tenth Thu 15 Oct: National Day 1–7 Oct is left out, Sat 10 Oct is a make-up working day.
        (date(2026, 9, 21), (), None),
        (date(2026, 9, 22), (), "reminder"),
        (date(2026, 9, 27), ("reminder",), None),
        (date(2026, 9, 28), (), "overdue"),
        (date(2026, 9, 28), ("overdue",), None),
        (date(2026, 10, 14), ("overdue",), None),
        (date(2026, 10, 15), ("reminder", "overdue"), "demand"),
        (date(2026, 10, 15), ("demand",), None),
        (date(2026, 11, 20), (), "supply"),  # missed steps are not made up for
        (date(2026, 11, 20), ("supply",), None),
    ],
)
def test_each_step_is_taken_once_on_its_working_day(
    today: date, taken: tuple[str, ...], step: str | None
) -> None:
    found = next_step(Debt("x", date(2026, 9, 25), 100), taken, today, RULES)

    assert (found.name if found else None) == step


def test_nobody_is_dunned_for_nothing_and_the_last_step_is_only_a_proposal() -> None:
    assert next_step(Debt("x", date(2026, 9, 25), 0), (), date(2026, 11, 20), RULES) is None
    assert [step.deed for step in RULES.steps if step.name == "supply"] == [arrears.StepDeed.PROPOSAL]
    assert {step.deed for step in RULES.steps if step.name != "supply"} == {arrears.StepDeed.NOTICE}


# ---- orders ----------------------------------------------------------------------------------------------


def _order(**facts: object) -> Order:
    base: dict[str, object] = {
        "order_no": "P1",
        "account_id": MILL,
        "provider": Provider.WECHAT,
        "purpose": Purpose.BALANCE,
        "month": None,
        "amount_fen": 100,
        "is_phone": False,
        "state": "pending",
        "pay_url": "",
        "problem": "",
        "transaction_id": None,
        "created_at": NOW,
        "expires_at": NOW,
        "asked_at": None,
    }
    return Order(**(base | facts))  # type: ignore[arg-type]  # a test's shorthand


def _told(**facts: object) -> Notified:
    base: dict[str, object] = {
        "provider": Provider.WECHAT,
        "transaction_id": "T1",
        "order_no": "P1",
        "amount_fen": 100,
        "paid_at": NOW,
        "payer": "",
        "found_by": FoundBy.CALLBACK,
    }
    return Notified(**(base | facts))  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize(
    ("order", "told", "expected"),
    [
        (_order(), _told(), Verdict.ACCEPTED),
        (_order(state="closed"), _told(), Verdict.ACCEPTED),
        (_order(state="paid", transaction_id="T1"), _told(), Verdict.REPEAT),
        (_order(state="paid", transaction_id="T0"), _told(), Verdict.MISMATCH),
        (_order(), _told(amount_fen=101), Verdict.MISMATCH),
        (_order(provider=Provider.ALIPAY), _told(), Verdict.UNKNOWN_ORDER),
        (None, _told(), Verdict.UNKNOWN_ORDER),
    ],
)
def test_verdicts(order: Order | None, told: Notified, expected: Verdict) -> None:
    assert verdict(order, told) is expected


@pytest.mark.parametrize(
    ("text", "fen"), [("1", 100), ("1.5", 150), ("1,234.56", 123456), ("0.01", 1), (" 10 ", 1000)]
)
def test_amounts_as_people_type_them(text: str, fen: int) -> None:
    assert fen_from(text) == fen


@pytest.mark.parametrize("text", ["", "-1", "1.234", "一百", "1e5", "١", "=1+1", "99999999999"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(BadAmount):
        fen_from(text)


# ---- bank files ------------------------------------------------------------------------------------------

FILE = """示范银行 对公账户交易明细
交易日期,流水号,对方户名,对方账号,收入金额,支出金额,摘要,附言
2026-09-12,A1,云岭精密制造（示范）有限公司,6222,"1,234.56",,转账,电费 SD130000000000171
2026/9/13,A2,周家（示范）,,100.00,0.00,,
20260914,A3,某供应商,,,88.00,货款,
2026-09-15,,邻家饭店（示范）,,50.00,,,电费
2026-09-15,,邻家饭店（示范）,,50.00,,,电费
,,合计,,"1,434.56",88.00,,
"""


def test_a_bank_file_is_the_same_in_both_encodings() -> None:
    lines = bank_lines(FILE.encode("utf-8-sig"))

    assert lines == bank_lines(FILE.encode("gb18030"))
    assert [line.amount_fen for line in lines] == [123456, 10000, -8800, 5000, 5000]
    assert lines[0].booked_on == date(2026, 9, 12)
    assert lines[0].memo == "电费 SD130000000000171 转账"


def test_equal_lines_of_a_file_are_different_money_and_the_file_again_is_the_same() -> None:
    hashes = [line.line_sha256 for line in bank_lines(FILE.encode())]

    assert len(set(hashes)) == 5
    assert [line.line_sha256 for line in bank_lines(("\n" + FILE).encode())] == hashes


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (b"a,b\n1,2\n", "(header)"),
        ("交易日期,收入金额\n2026-13-01,1.00\n".encode(), "date"),
        ("交易日期,收入金额\n2026-09-01,1.005\n".encode(), "credit"),
        ("交易日期,收入金额\n2026-09-01,-1.00\n".encode(), "credit"),
        ("交易日期,收入金额\n2026-09-01,0.00\n".encode(), "credit"),
        ("交易日期,收入金额\n2026-09-01,=1+1\n".encode(), "credit"),
        ("交易日期,收入金额\n2026-09-01,1\0\n".encode(), "(file)"),
        (b"\xff\xff\xff", "(file)"),
    ],
)
def test_a_bad_bank_file_is_refused_whole_with_its_place(content: bytes, column: str) -> None:
    with pytest.raises(BadBankFile) as refused:
        bank_lines(content)

    assert refused.value.facts["column"] == column


@pytest.mark.parametrize("evil", ["=HYPERLINK(1)", "+1", "-1+1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_of_an_export_is_a_formula(evil: str) -> None:
    text = csv_text(("name",), [(evil,)])

    cell = text.splitlines()[1] if evil[0] != "\r" else text.split("\n", 1)[1]
    assert cell.strip('"').startswith("'")


def test_a_negative_number_of_ours_stays_a_number() -> None:
    from decimal import Decimal

    assert csv_text(("a",), [(Decimal("-1.50"),)]).splitlines()[1] == "-1.50"


# ---- matching --------------------------------------------------------------------------------------------

PEOPLE = (
    Candidate(MILL, ("云岭精密（示范）一厂", "云岭精密制造(示范)有限公司"), (123456, 10000)),
    Candidate(SHOP, ("门市部", "云岭精密制造（示范）有限公司"), (5000,)),
)


@pytest.mark.parametrize(
    ("payer", "memo", "fen", "account", "percent", "reasons"),
    [
        ("张某", f"电费 {payment.payment_code(MILL)}", 1, MILL, 100, (Reason.CODE,)),
        ("张某", f"户号{SHOP}", 5000, SHOP, 95, (Reason.NUMBER, Reason.AMOUNT)),
        ("张某", f"户号{SHOP}", 1, SHOP, 90, (Reason.NUMBER,)),
        ("云岭精密制造（示范）有限公司", "", 5000, SHOP, 80, (Reason.NAME, Reason.AMOUNT)),
        ("张某", "", 10000, MILL, 30, (Reason.AMOUNT,)),
    ],
)
def test_confidence_of_a_match(
    payer: str, memo: str, fen: int, account: str, percent: int, reasons: tuple[Reason, ...]
) -> None:
    line = bankfile.BankLine(1, b"", date(2026, 9, 12), fen, payer, "", memo, "")

    best = guesses(line, PEOPLE)[0]

    assert (best.account_id, best.confidence_percent, best.reasons) == (account, percent, reasons)


def test_only_one_certain_customer_is_booked_without_asking() -> None:
    both = bankfile.BankLine(1, b"", date(2026, 9, 12), 1, "", "", f"{MILL} {SHOP}", "")
    named = bankfile.BankLine(1, b"", date(2026, 9, 12), 5000, "云岭精密制造（示范）有限公司", "", "", "")
    wide = bankfile.BankLine(1, b"", date(2026, 9, 12), 1, "", "", "户号１３００００００００００１", "")

    assert certain(guesses(both, PEOPLE)) is None
    assert certain(guesses(named, PEOPLE)) is None
    found = certain(guesses(wide, PEOPLE))
    assert found is not None
    assert found.account_id == MILL


def test_every_kind_of_difference_is_named() -> None:
    def line(what: What, reference: str, fen: int) -> StatementLine:
        return StatementLine(what, reference, "P", fen, 0, NOW)

    statement = Statement(
        Provider.WECHAT,
        date(2026, 9, 12),
        b"",
        (
            line(What.PAYMENT, "same", 1),
            line(What.PAYMENT, "theirs", 2),
            line(What.PAYMENT, "other", 3),
            line(What.PAYMENT, "twice", 4),
            line(What.PAYMENT, "twice", 4),
            line(What.REFUND, "same", 9),
        ),
    )
    ours = [
        Ours(What.PAYMENT, "same", "P", 1),
        Ours(What.PAYMENT, "other", "P", 30),
        Ours(What.PAYMENT, "twice", "P", 4),
        Ours(What.PAYMENT, "ours", "P", 5),
    ]

    found = differences(statement, ours)

    assert set(found) == {
        Difference(Kind.MISSING_HERE, What.PAYMENT, "theirs", "P", None, 2),
        Difference(Kind.MISSING_THERE, What.PAYMENT, "ours", "P", 5, None),
        Difference(Kind.AMOUNT_DIFFERS, What.PAYMENT, "other", "P", 30, 3),
        Difference(Kind.TWICE_THERE, What.PAYMENT, "twice", "P", 4, 4),
        Difference(Kind.MISSING_HERE, What.REFUND, "same", "P", None, 9),
    }
