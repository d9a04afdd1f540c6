"""A month for everybody by the bulk path: day blocks -> groups of accounts -> drafts, one shard a transaction.

A draft is a row with the fen of every line. It becomes a bill, with derivations, by the single path, and must be equal
to it. What the bulk path does not cover is left to the single path and named. A run that is killed is started again:
shards that are done with the same inputs are passed over, and equal inputs make no new draft.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from cloud.billing import bulkrow, bulkshard, evidence
from cloud.billing.bill import RATING_VERSION
from cloud.billing.bulkplan import PURCHASES, NotInBulk, Plan, Shape, plan_content, plan_for, terms_of
from cloud.billing.bulkshard import Account, Drafts
from cloud.billing.catalogue import AmbiguousPrices, Catalogue, NoSuchPrice, UnpricedMonth
from cloud.billing.facts import Bill
from cloud.billing.store import bulk, published
from cloud.billing.store.bulk import ShardAccounts
from cloud.db import Conn
from cloud.errors import Conflict, NotFound, NotNow
from cloud.markettime import month_after, month_bounds
from cloud.metering.store import blocks

CATALOGUE_PURCHASE = "catalogue"

Opened = Callable[[], AbstractContextManager[Conn]]
Positions = Mapping[
    str, tuple[Decimal, date | None] | None
]  # None: an earlier month of the year is not billed
NO_POSITION = (Decimal(0), None)


class MonthNotOver(NotNow):
    """The month's last slot is not over yet."""


class NoDraft(NotFound):
    """The account has no draft of the month."""


class DraftDiffers(Conflict):
    """The bill is not the draft to the fen; `facts` say which line. Draft again, and look why."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one shard."""

    shard_id: int
    drafts: int
    added: int  # new, or of other inputs than the draft before
    left_over: int
    is_passed_over: bool  # done before with the same inputs


@dataclass(slots=True)
class Run:
    """What the shards of one run share: price files, the plan of every group met so far, accounts that stand apart."""

    month: date
    now: datetime
    catalogue: Catalogue
    scattered: frozenset[str]
    plans: dict[Shape, Plan | str] = field(default_factory=dict)  # or the reason why there is none
    contents: dict[Shape, tuple[dict[str, object], bytes]] = field(
        default_factory=dict
    )  # of the plans, and their hash

    def plan(self, shape: Shape) -> Plan | str:
        """Find the plan of a group, or say why the single path must do."""
        if shape not in self.plans:
            self.plans[shape] = plan = _plan(self, shape)
            if isinstance(plan, Plan):
                content = plan_content(plan)
                self.contents[shape] = (content, _sha256(content))
        return self.plans[shape]


def begin(conn: Conn, month: date, now: datetime) -> Run:
    """Prepare a run over a month that is over. Raises MonthNotOver."""
    _, end = month_bounds(month)
    if now < end:
        raise MonthNotOver("month_not_over", account="*", month=month.strftime("%Y-%m"), ends=end.isoformat())
    published.keep(conn, published.packaged_texts(), now)
    return Run(month, now, published.catalogue(conn), bulk.scattered(conn))


def run_all(opened: Opened, run: Run, told: Callable[[Done], None]) -> tuple[Done, ...]:
    """Draft every shard, each in a transaction that `opened` lends. Several processes may run at once.

    Raises BulkDiffers when the two ways disagree: nothing of that shard is kept then.
    """
    with opened() as conn:
        wanted = blocks.shards(conn)
    done: list[Done] = []
    busy = _pass(opened, run, wanted, (done, told), wait=False)
    _pass(opened, run, busy, (done, told), wait=True)
    return tuple(done)


def run_shard(conn: Conn, run: Run, shard_id: int, *, wait: bool = True) -> Done | None:
    """Draft one shard in the caller's transaction; None when another process does and we do not wait."""
    if not bulk.try_lock(conn, run.month, shard_id, wait=wait):
        return None
    end = month_after(run.month)
    known = bulk.shard_accounts(conn, shard_id, *month_bounds(run.month))
    positions = _positions(conn, run.month, known)
    inputs_sha256 = _sha256(
        [
            RATING_VERSION,
            sorted(each.head.sha256 for each in run.catalogue.files),
            sorted(run.scattered),
            known.sha256,
            str(sorted(positions.items())),
            blocks.state(conn, shard_id, run.month, end),
        ]
    )
    before = bulk.done(conn, run.month, shard_id, inputs_sha256)
    if before is not None:
        return Done(shard_id, before[0], 0, before[1], is_passed_over=True)
    groups, left_over = _sorted_out(run, known, positions)
    outcome = bulkshard.rate_shard(blocks.load(conn, shard_id, run.month, end), groups)
    left_over |= dict(outcome.left_over)
    packed, added = _packed(conn, run, outcome.groups)
    if packed:
        bulk.copy_drafts(conn, packed)
    drafts = sum(len(each.accounts) for each in outcome.groups)
    bulk.add_done(conn, (run.month, shard_id, inputs_sha256), (drafts, added), left_over, run.now)
    return Done(shard_id, drafts, added, len(left_over), is_passed_over=False)


def left_over(conn: Conn, month: date) -> tuple[tuple[str, str], ...]:
    """List all accounts that the single path must bill, with the reason; together with the drafts: everybody."""
    elsewhere = bulk.accounts_elsewhere(conn, *month_bounds(month))
    return (*bulk.left_over(conn, month), *((account_id, "no_block") for account_id in elsewhere))


def expand(conn: Conn, bill_id: int, bill: Bill) -> None:
    """Note that an account's draft has become this bill of the single path. Raises NoDraft, DraftDiffers."""
    account_id = bill.account.account_id
    known = bulk.draft(conn, bill.month, account_id)
    if known is None:
        raise NoDraft("no_draft", account=account_id, month=bill.month.strftime("%Y-%m"))
    amounts = tuple(line.amount_fen for line in bill.lines)
    if amounts != known.amounts_fen:
        pairs = zip(amounts, known.amounts_fen, strict=False)
        line = next((number for number, (a, b) in enumerate(pairs, start=1) if a != b), "count")
        raise DraftDiffers(
            "draft_differs", account=account_id, line=line, bill_fen=sum(amounts), draft_fen=known.total_fen
        )
    if known.bill_id is None:
        bulk.add_expanded(conn, bill.month, known, bill_id)


def _pass(
    opened: Opened,
    run: Run,
    wanted: Iterable[int],
    into: tuple[list[Done], Callable[[Done], None]],
    *,
    wait: bool,
) -> tuple[int, ...]:
    """Go through shards; return those that somebody else is at."""
    done, told = into
    busy = []
    for shard_id in wanted:
        with opened() as conn:
            outcome = run_shard(conn, run, shard_id, wait=wait)
        if outcome is None:
            busy.append(shard_id)
            continue
        done.append(outcome)
        told(outcome)
    return tuple(busy)


def _positions(conn: Conn, month: date, known: ShardAccounts) -> Positions:
    """Load where the accounts on catalogue prices stand in the year."""
    ids = [
        each.account_id for shape, own in known.groups if shape.purchase == CATALOGUE_PURCHASE for each in own
    ]
    return bulk.ladder_positions(conn, month, ids) if ids else {}


def _sorted_out(
    run: Run, known: ShardAccounts, positions: Positions
) -> tuple[list[tuple[Plan, list[Account]]], dict[str, str]]:
    """Split the accounts into the groups that the bulk path covers and the others with the reason."""
    left = dict.fromkeys(known.changing, "terms_change")
    groups = []
    for shape, accounts in known.groups:
        plan = run.plan(shape)
        here = []
        for each in accounts:
            position = positions.get(each.account_id, NO_POSITION)
            if each.account_id in run.scattered:
                left[each.account_id] = "supply_points_elsewhere"
            elif isinstance(plan, str):
                left[each.account_id] = plan
            elif position is None:
                left[each.account_id] = "year_incomplete"
            else:
                here.append(
                    each
                    if position is NO_POSITION
                    else replace(each, year_kwh=position[0], service_from=position[1])
                )
        if here and isinstance(plan, Plan):
            groups.append((plan, here))
    return groups, left


def _plan(run: Run, shape: Shape) -> Plan | str:
    if shape.purchase not in PURCHASES:
        return "purchase"
    whole = evidence.Stretch(run.month, month_after(run.month), terms_of(shape, None, None))
    try:
        stretches = evidence.priced_stretches([whole], run.catalogue, shape.grid)
        if len(stretches) != 1:
            return "prices_change"
        return plan_for(shape, stretches[0][1], run.month)
    except NotInBulk as refused:
        return str(refused.facts["reason"])
    except (UnpricedMonth, AmbiguousPrices, NoSuchPrice) as problem:
        return problem.key


def _packed(conn: Conn, run: Run, groups: Sequence[Drafts]) -> tuple[list[bytes], int]:
    """Pack the drafts whose inputs are not those of the account's latest one."""
    packed, added = [], 0
    before = bulk.latest(conn, run.month, [each.account_id for group in groups for each in group.accounts])
    for group in groups:
        content, plan_sha256 = run.contents[group.plan.shape]
        inputs = bulkshard.input_hashes(group, plan_sha256)
        wanted = []
        for number, each in enumerate(group.accounts):
            revision, sha256 = before.get(each.account_id, (0, b""))
            if sha256 != inputs[number]:
                wanted.append((number, revision + 1))
        if wanted:
            plan_id = bulk.keep_plan(conn, plan_sha256, run.month, content, run.now)
            packed.append(bulkrow.rows(group, plan_id, wanted, inputs))
            added += len(wanted)
    return packed, added


def _sha256(content: object) -> bytes:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()
