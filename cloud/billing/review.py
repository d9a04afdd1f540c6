"""How much a bill wants to be looked at before it goes out: a score with named reasons. Pure.

The score is the sum of the weights of the reasons that hold, at most 100. Weights and limits are data, dated like a
tariff (`RULES`), so that a queue of last year is still explained by last year's rules. A score never decides by
itself: low ones may be approved in bulk, high ones need a second person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.billing.facts import Bill
from cloud.markettime import SLOTS_PER_DAY, month_after
from cloud.money import quotient, yuan

SCORE_MAX = 100
_TENTH = Decimal("0.1")


class ReasonKey(StrEnum):
    """Why a bill is looked at."""

    NEGATIVE = "negative"
    FIRST_BILL = "first_bill"
    NEW_TARIFF = "new_tariff"
    JUMP_LAST_MONTH = "jump_last_month"
    JUMP_LAST_YEAR = "jump_last_year"
    ESTIMATED = "estimated"
    REGISTER_DIFFERS = "register_differs"
    REGISTER_NOT_READ = "register_not_read"
    OTHER_FINDING = "other_finding"
    OFF_EXPECTATION = "off_expectation"
    NO_ENERGY = "no_energy"
    CORRECTION = "correction"


class HoldReason(StrEnum):
    """Why a bill is held back: what a person chooses from."""

    READING = "reading"
    TARIFF = "tariff"
    CONTRACT = "contract"
    CUSTOMER = "customer"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Rules:
    """Weights and limits in force from billing month `since`."""

    version: int
    since: date
    weights: tuple[tuple[ReasonKey, int], ...]
    jump_month_pct: int  # against the month before
    jump_year_pct: int  # against the same month a year before
    estimated_permille: int  # share of the quarter-hours that are no measurement
    expectation_pct: int  # against what the customer's package let expect
    jump_from_fen: int  # smaller changes are never a jump
    bulk_score_max: int  # up to this score bills may be approved in bulk
    four_eyes_score_min: int  # from this score on, a second person approves
    four_eyes_from_fen: int  # from this amount on, likewise

    def weight(self, key: ReasonKey) -> int:
        """Give the weight of a reason."""
        return dict(self.weights)[key]


RULES = (
    Rules(
        version=1,
        since=date(2020, 1, 1),
        weights=(
            (ReasonKey.NEGATIVE, 40),
            (ReasonKey.FIRST_BILL, 10),
            (ReasonKey.NEW_TARIFF, 15),
            (ReasonKey.JUMP_LAST_MONTH, 25),
            (ReasonKey.JUMP_LAST_YEAR, 20),
            (ReasonKey.ESTIMATED, 20),
            (ReasonKey.REGISTER_DIFFERS, 45),
            (ReasonKey.REGISTER_NOT_READ, 10),
            (ReasonKey.OTHER_FINDING, 5),
            (ReasonKey.OFF_EXPECTATION, 15),
            (ReasonKey.NO_ENERGY, 15),
            (ReasonKey.CORRECTION, 20),
        ),
        jump_month_pct=50,
        jump_year_pct=50,
        estimated_permille=10,
        expectation_pct=20,
        jump_from_fen=10_000,
        bulk_score_max=19,
        four_eyes_score_min=60,
        four_eyes_from_fen=50_000_000,
    ),
)


@dataclass(frozen=True, slots=True)
class PastBill:
    """An earlier month of the account, as it stands."""

    bill_id: int
    month: date
    total_fen: int
    import_wh: int
    files: tuple[str, ...] = ()  # price files as 'id@version'
    purchase: str = ""
    structure: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """What a bill is compared with. `expected_fen` is what the package let expect, if anybody said so."""

    past: tuple[PastBill, ...] = ()
    expected_fen: int | None = None

    def month(self, month: date) -> PastBill | None:
        """Find a month."""
        return next((each for each in self.past if each.month == month), None)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that makes a bill worth a look, with the figures a sentence about it needs."""

    key: ReasonKey
    weight: int
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Risk:
    """The score and what it is made of, heaviest reason first."""

    score: int
    reasons: tuple[Reason, ...]
    rules_version: int


def rules_for(month: date) -> Rules:
    """Find the rules in force for a billing month."""
    return max((rules for rules in RULES if rules.since <= month), key=lambda rules: rules.since)


def risk(bill: Bill, history: History) -> Risk:
    """Weigh a bill against the account's past. The same bill and past give the same score."""
    rules = rules_for(bill.month)
    found: list[Reason] = []
    for key, look in _LOOKS:
        facts = look(bill, history, rules)
        if facts is not None:
            found.append(Reason(key, rules.weight(key), facts))
    found.sort(key=lambda reason: (-reason.weight, reason.key))
    return Risk(min(SCORE_MAX, sum(reason.weight for reason in found)), tuple(found), rules.version)


def needs_second_person(score: int, total_fen: int, rules: Rules) -> bool:
    """Tell whether whoever drew, held or asked to re-rate the bill may not be the one who approves it."""
    return score >= rules.four_eyes_score_min or abs(total_fen) >= rules.four_eyes_from_fen


def is_low(score: int, total_fen: int, rules: Rules) -> bool:
    """Tell whether a bill may be approved together with others, unseen."""
    return score <= rules.bulk_score_max and not needs_second_person(score, total_fen, rules)


# ---- the looks: facts when the reason holds, else None -----------------------------------------------------

_Facts = tuple[tuple[str, str], ...]
_Look = Callable[[Bill, History, Rules], _Facts | None]


def _negative(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return (("yuan", f"{yuan(bill.total_fen)}"),) if bill.total_fen < 0 else None


def _first(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return None if history.past else ()


def _correction(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return (("revision", str(bill.revision)),) if bill.revision > 1 else None


def _new_tariff(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    """Other terms or other files than the month before; a monthly price sheet of the same kind is no news."""
    before = history.month(month_after(bill.month, -1))
    if before is None:
        return None
    terms = bill.segments[-1].segment.terms if bill.segments else None
    changed = []
    if terms is not None and before.purchase and before.purchase != str(terms.purchase):
        changed.append(f"{before.purchase}→{terms.purchase}")
    if terms is not None and before.structure and before.structure != str(terms.structure):
        changed.append(f"{before.structure}→{terms.structure}")
    if before.files:
        known = set(before.files)
        lasting = {
            f"{file.id}@{file.version}"
            for each in bill.segments
            for file in each.files
            if file.kind not in _MONTHLY_KINDS
        }
        changed += sorted(lasting - known)
    return (("change", ", ".join(changed)),) if changed else None


_MONTHLY_KINDS = frozenset({"price-sheet", "market-prices", "package"})


def _jump_month(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return _jump(bill, history.month(month_after(bill.month, -1)), rules.jump_month_pct, rules)


def _jump_year(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return _jump(bill, history.month(month_after(bill.month, -12)), rules.jump_year_pct, rules)


def _jump(bill: Bill, before: PastBill | None, limit_pct: int, rules: Rules) -> _Facts | None:
    if before is None or abs(bill.total_fen - before.total_fen) < rules.jump_from_fen:
        return None
    return _apart(bill.total_fen, before.total_fen, limit_pct)


def _apart(amount_fen: int, other_fen: int, limit_pct: int) -> _Facts | None:
    """Facts when the amount is more than `limit_pct` per cent away from the other; compared in whole numbers."""
    if abs(amount_fen - other_fen) * 100 <= abs(other_fen) * limit_pct:
        return None
    facts: _Facts = (("before", f"{yuan(other_fen)}"),)
    if other_fen:
        percent = quotient(Decimal((amount_fen - other_fen) * 100), Decimal(abs(other_fen)), _TENTH)
        facts = (*facts, ("percent", f"{percent:+f}"))
    else:
        facts = (*facts, ("percent", "∞"))
    return facts


def _estimated(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    slots = (
        sum((each.segment.end_day - each.segment.first_day).days for each in bill.segments) * SLOTS_PER_DAY
    )
    points = max(1, len({each.supply_point_id for each in bill.intervals}))
    if bill.estimated_slots * 1000 <= slots * points * rules.estimated_permille:
        return None
    share = quotient(Decimal(bill.estimated_slots * 100), Decimal(slots * points), _TENTH)
    return (("slots", str(bill.estimated_slots)), ("percent", f"{share}"))


def _register_differs(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return _findings(bill, lambda rule: rule == "register_differs")


def _register_not_read(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return _findings(bill, lambda rule: rule == "register_not_read")


def _other_finding(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return _findings(bill, lambda rule: rule not in ("register_differs", "register_not_read"))


def _findings(bill: Bill, wanted: Callable[[str], bool]) -> _Facts | None:
    rules = sorted(each.rule for each in bill.findings if wanted(each.rule))
    return (("n", str(len(rules))), ("rules", ", ".join(dict.fromkeys(rules)))) if rules else None


def _off_expectation(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    expected_fen = history.expected_fen
    return None if expected_fen is None else _apart(bill.total_fen, expected_fen, rules.expectation_pct)


def _no_energy(bill: Bill, history: History, rules: Rules) -> _Facts | None:
    return None if bill.import_wh else ()


_LOOKS: tuple[tuple[ReasonKey, _Look], ...] = (
    (ReasonKey.NEGATIVE, _negative),
    (ReasonKey.FIRST_BILL, _first),
    (ReasonKey.NEW_TARIFF, _new_tariff),
    (ReasonKey.JUMP_LAST_MONTH, _jump_month),
    (ReasonKey.JUMP_LAST_YEAR, _jump_year),
    (ReasonKey.ESTIMATED, _estimated),
    (ReasonKey.REGISTER_DIFFERS, _register_differs),
    (ReasonKey.REGISTER_NOT_READ, _register_not_read),
    (ReasonKey.OTHER_FINDING, _other_finding),
    (ReasonKey.OFF_EXPECTATION, _off_expectation),
    (ReasonKey.NO_ENERGY, _no_energy),
    (ReasonKey.CORRECTION, _correction),
)
