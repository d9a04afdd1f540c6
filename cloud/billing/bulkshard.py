"""The accounts of one shard of day blocks -> their month, rated by groups; who is left to the single path, and why. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.billing import bulk
from cloud.billing.bill import priced, rate
from cloud.billing.bulkplan import Days, Plan, Shape, shape_of
from cloud.billing.segment import Segment, Terms, usage_from
from cloud.errors import Conflict
from cloud.markettime import SLOTS_PER_DAY, days_of_month, month_after
from cloud.metering.block import MEASURED, MonthRows
from cloud.metering.interval import IntervalDay

# The figures of an account's usage in a draft, in order; the first five are import_wh by period.
USAGE = ("tip_wh", "peak_wh", "flat_wh", "valley_wh", "deep_wh", "export_wh", "import_varh", "export_varh",
         "highest_wh", "estimated_slots")  # fmt: skip


class BulkDiffers(Conflict):
    """The two ways do not give the same fen: the bulk path must not be used; `facts` say where."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the shard: its rows `[preceding_rows, preceding_rows + rows)` and its terms of the whole month."""

    account_id: str
    preceding_rows: int
    rows: int
    grid: str
    terms: Terms

    @property
    def shape(self) -> Shape:
        """Say which group it belongs to."""
        return shape_of(self.grid, self.terms)


@dataclass(frozen=True, slots=True)
class Drafts:
    """What a group of accounts owes, one row each; `usage` in the order of USAGE."""

    plan: Plan
    accounts: tuple[Account, ...]
    usage: bulk.Whole
    rated: bulk.Rated


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every account of the shard is in exactly one of the two."""

    groups: tuple[Drafts, ...]
    left_over: tuple[tuple[str, str], ...]  # account, reason


def rate_shard(month: MonthRows, accounts: Sequence[Account], plans: Mapping[Shape, Plan]) -> Outcome:
    """Rate the accounts whose shape has a plan. Accounts stand in the order of their rows and cover all they own.

    Raises BeyondWholeNumbers, and BulkDiffers when one account, drawn by the single path too, comes out different.
    """
    if not accounts:
        return Outcome((), ())
    figures = _Figures(month, accounts)
    groups: dict[Shape, list[int]] = {}
    left_over: list[tuple[str, str]] = []
    for number, each in enumerate(accounts):
        if not figures.is_complete[number] or (
            each.terms.power_factor_standard is not None and not figures.is_reactive[number]
        ):
            left_over.append((each.account_id, "intervals_not_complete"))
        else:
            groups.setdefault(each.shape, []).append(number)
    drafts = tuple(_drafts(plans[shape], accounts, figures, numbers) for shape, numbers in groups.items())
    if drafts:
        check(drafts[0], month)
    return Outcome(drafts, tuple(left_over))


def check(drafts: Drafts, month: MonthRows, number: int = 0) -> None:
    """Draw one account of a group by the single path, from its quarter-hours on. Raises BulkDiffers."""
    plan, account = drafts.plan, drafts.accounts[number]
    usage = usage_from(_interval_days(month, account, plan), plan.prices.calendar)
    segment = Segment(plan.month, month_after(plan.month), account.terms, usage)
    lines = rate(priced([(segment, plan.prices)]), plan.month)
    single = [line.amount_fen for line in lines]
    many = drafts.rated.amounts_fen[number].tolist()
    if single != many:
        raise BulkDiffers("bulk_differs", account=account.account_id, single=str(single), bulk=str(many))


def input_hashes(drafts: Drafts, plan_sha256: bytes) -> tuple[bytes, ...]:
    """Hash what decides each account's amounts: plan, account, its own terms and usage. Equal hash, equal draft."""
    own_terms = [_own(each.terms.capacity_kva, each.terms.contract_demand_kw) for each in drafts.accounts]
    figures = np.hstack([np.array(own_terms, np.int64), drafts.usage]).astype(">i8")
    return tuple(
        hashlib.sha256(plan_sha256 + account.account_id.encode() + row.tobytes()).digest()
        for account, row in zip(drafts.accounts, figures, strict=True)
    )


class _Figures:
    """Sums of all accounts of a shard, by number; energy by period once for each pattern of days."""

    def __init__(self, month: MonthRows, accounts: Sequence[Account]) -> None:
        self.month = month
        self.first_rows = np.array([each.preceding_rows for each in accounts], np.int64)
        self.ends = self.first_rows + np.array([each.rows for each in accounts], np.int64)
        self.sums = np.stack(
            [
                self._add(each)
                for each in (month.export_wh, month.import_varh, month.export_varh, month.estimated_slots)
            ],
            axis=1,
        )
        self.reactive_varh = np.abs(self.sums[:, 1]) + np.abs(self.sums[:, 2])
        self.is_complete = self._all(month.is_complete)
        self.is_reactive = self._all(month.is_reactive)
        self._energy: dict[Days, bulk.Energy] = {}

    def energy(self, days: Days) -> bulk.Energy:
        """Sum the matrix by period, once."""
        if days not in self._energy:
            points = bulk.energy_of(self.month.import_wh, days)
            self._energy[days] = bulk.Energy(self._add(points.import_wh), self._add(points.highest_wh))
        return self._energy[days]

    def _add(self, values: bulk.Whole) -> bulk.Whole:
        """Add up the rows of each account; rows of nobody stand between some."""
        running = np.zeros((len(values) + 1, *values.shape[1:]), np.int64)
        np.cumsum(values, axis=0, out=running[1:])
        result: bulk.Whole = running[self.ends] - running[self.first_rows]
        return result

    def _all(self, claims: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        result: npt.NDArray[np.bool_] = self._add(claims.astype(np.int64)) == self.ends - self.first_rows
        return result


def _drafts(plan: Plan, accounts: Sequence[Account], figures: _Figures, numbers: list[int]) -> Drafts:
    own = tuple(accounts[number] for number in numbers)
    at = np.array(numbers, np.int64)
    energy = figures.energy(plan.days)
    terms = np.array([_own(each.terms.capacity_kva, each.terms.contract_demand_kw) for each in own], np.int64)
    usages = bulk.Usages(
        bulk.Energy(energy.import_wh[at], energy.highest_wh[at]),
        figures.reactive_varh[at],
        terms[:, 0],
        terms[:, 1],
    )
    sums = figures.sums[at]
    usage = np.hstack([usages.energy.import_wh, sums[:, :3], usages.energy.highest_wh[:, None], sums[:, 3:]])
    return Drafts(plan, own, usage, bulk.rate_group(plan, usages))


def _own(capacity_kva: int | None, contract_demand_kw: int | None) -> tuple[int, int]:
    return capacity_kva or 0, contract_demand_kw or 0


def _interval_days(month: MonthRows, account: Account, plan: Plan) -> list[IntervalDay]:
    """Rebuild the days of an account. Reactive energy is known by its sum: it stands in the first slot of the month."""
    days = []
    for row in range(account.preceding_rows, account.preceding_rows + account.rows):
        curves = month.import_wh[row].reshape(-1, SLOTS_PER_DAY).tolist()
        for number, day in enumerate(days_of_month(plan.month)):
            first = number == 0
            sums = (month.export_wh[row], month.import_varh[row], month.export_varh[row])
            exported, varh_in, varh_out = (
                (int(each) if first else 0, *(0,) * (SLOTS_PER_DAY - 1)) for each in sums
            )
            imported, quality = tuple(curves[number]), (MEASURED[0],) * SLOTS_PER_DAY
            days.append(IntervalDay(f"row {row:05}", day, 1, imported, exported, varh_in, varh_out, quality))
    return days
