"""The accounts of one shard of day blocks -> their month, rated by groups; who is left to the single path, and why. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from cloud.billing import bulk
from cloud.billing.bill import Given, priced, rate
from cloud.billing.bulkplan import Days, Plan, terms_of, whole_units
from cloud.billing.ladder import Cycle
from cloud.billing.segment import Segment, usage_from
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
    """An account of a group: its rows `[preceding_rows, preceding_rows + rows)` in the shard, and its own terms."""

    account_id: str
    preceding_rows: int
    rows: int
    capacity_kva: int | None
    contract_demand_kw: int | None
    year_kwh: Decimal = Decimal(0)  # on a ladder: billed earlier in the year, and since when
    service_from: date | None = None


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


def rate_shard(month: MonthRows, groups: Sequence[tuple[Plan, Sequence[Account]]]) -> Outcome:
    """Rate the groups of a shard; an account stands with all its supply points, one after the other.

    Raises BeyondWholeNumbers, and BulkDiffers when one account, drawn by the single path too, comes out different.
    """
    energies: dict[Days, bulk.Energy] = {}
    drafts: list[Drafts] = []
    left_over: list[tuple[str, str]] = []
    for plan, accounts in groups:
        if plan.days not in energies:
            energies[plan.days] = bulk.energy_of(month.import_wh, plan.days)
        known = _known(month, accounts, is_reactive=plan.shape.power_factor_standard is not None)
        left_over += [
            (accounts[number].account_id, "intervals_not_complete")
            for number in np.flatnonzero(~known).tolist()
        ]
        own = [accounts[number] for number in np.flatnonzero(known).tolist()]
        if own:
            drafts.append(_drafts(plan, own, month, energies[plan.days]))
    if drafts:
        check(drafts[0], month)
    return Outcome(tuple(drafts), tuple(left_over))


def check(drafts: Drafts, month: MonthRows, number: int = 0) -> None:
    """Draw one account of a group by the single path, from its quarter-hours on. Raises BulkDiffers."""
    plan, account = drafts.plan, drafts.accounts[number]
    usage = usage_from(_interval_days(month, account, plan), plan.prices.calendar)
    terms = terms_of(plan.shape, account.capacity_kva, account.contract_demand_kw)
    segment = Segment(plan.month, month_after(plan.month), terms, usage)
    given = Given(account.year_kwh, account.service_from)
    lines = rate(priced([(segment, plan.prices)]), plan.month, given)
    single = [line.amount_fen for line in lines]
    many = drafts.rated.amounts_fen[number].tolist()
    if single != many:
        raise BulkDiffers("bulk_differs", account=account.account_id, single=str(single), bulk=str(many))


def input_hashes(drafts: Drafts, plan_sha256: bytes) -> tuple[bytes, ...]:
    """Hash what decides each account's amounts: plan, account, its own terms and usage. Equal hash, equal draft."""
    position = _position(drafts.plan, drafts.accounts)
    of_ladder = () if position is None else (position.before[:, None], position.limits)
    figures = np.hstack([_own_terms(drafts.accounts), drafts.usage, *of_ladder]).astype(">i8")
    return tuple(
        hashlib.sha256(plan_sha256 + account.account_id.encode() + row.tobytes()).digest()
        for account, row in zip(drafts.accounts, figures, strict=True)
    )


def _known(month: MonthRows, accounts: Sequence[Account], *, is_reactive: bool) -> npt.NDArray[np.bool_]:
    """Say of which accounts every quarter-hour of the month is known, reactive energy too where it is billed."""
    claims = month.is_complete & month.is_reactive if is_reactive else month.is_complete
    result: npt.NDArray[np.bool_] = _added(claims.astype(np.int64), accounts) == _rows(accounts)[1]
    return result


def _drafts(plan: Plan, accounts: Sequence[Account], month: MonthRows, points: bulk.Energy) -> Drafts:
    energy = bulk.Energy(_added(points.import_wh, accounts), _added(points.highest_wh, accounts))
    exported, varh_in, varh_out, estimated = (
        _added(each, accounts)
        for each in (month.export_wh, month.import_varh, month.export_varh, month.estimated_slots)
    )
    terms = _own_terms(accounts)
    usages = bulk.Usages(
        energy, np.abs(varh_in) + np.abs(varh_out), terms[:, 0], terms[:, 1], _position(plan, accounts)
    )
    others = np.stack([exported, varh_in, varh_out, energy.highest_wh, estimated], axis=1)
    usage = np.hstack([energy.import_wh, others])
    return Drafts(plan, tuple(accounts), usage, bulk.rate_group(plan, usages))


def _added(values: bulk.Whole, accounts: Sequence[Account]) -> bulk.Whole:
    """Add up the rows of each account."""
    first, counts = _rows(accounts)
    if int(counts.max(initial=1)) == 1:
        return values[first]
    running = np.zeros((len(values) + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=running[1:])
    result: bulk.Whole = running[first + counts] - running[first]
    return result


def _rows(accounts: Sequence[Account]) -> tuple[bulk.Whole, bulk.Whole]:
    places = np.array([(each.preceding_rows, each.rows) for each in accounts], np.int64)
    return places[:, 0], places[:, 1]


def _position(plan: Plan, accounts: Sequence[Account]) -> bulk.Ladder | None:
    """Say where the accounts stand in the ladder of their plan. Raises NotInBulk."""
    if plan.tiers is None:
        return None
    quantum = plan.prices.energy_quantum_kwh
    limits = {
        since: plan.tiers.limits_units(plan.month, since)
        for since in {each.service_from for each in accounts}
    }
    is_of_year = plan.tiers.ladder.cycle is Cycle.YEAR
    before = [whole_units(each.year_kwh, quantum) if is_of_year else 0 for each in accounts]
    return bulk.Ladder(
        np.array(before, np.int64), np.array([limits[each.service_from] for each in accounts], np.int64)
    )


def _own_terms(accounts: Sequence[Account]) -> bulk.Whole:
    return np.array([(each.capacity_kva or 0, each.contract_demand_kw or 0) for each in accounts], np.int64)


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
