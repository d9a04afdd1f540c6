"""The `work` process: validates what the ingest marked stale, and looks at the timetable.

Work lists are tables; a notification or a tick only says when to look, so a lost one costs a delay and nothing else.
The ingest notifies `stale` in the transaction that marked; the timetable finds whatever such a wake-up left behind.
Every tick is unique in the database by (entry, instant), so any number of workers may run.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

from cloud import markettime
from cloud.billing.run import bench, collect, conduct, correct, greenmoney, issue, review, reward
from cloud.billing.run import bill as billing
from cloud.billing.store import marketside
from cloud.billing.store import review as review_store
from cloud.config import CloudConfig
from cloud.contracts.run.desk import turn as contracts
from cloud.db import Conn, Pool, ProcessRole, Scope, open_pool, transaction
from cloud.errors import Refused, Unavailable
from cloud.market.run import (
    bound,
    carry,
    convene,
    deviate,
    green,
    handover,
    negotiate,
    respond,
    risk,
    roll,
    settle,
)
from cloud.market.run import list as listing
from cloud.market.store import greenfacts
from cloud.metering.run import blocks
from cloud.metering.run.validate import note_silent, validate_stale
from cloud.metering.store import intervals, partitions, readings, timetable
from cloud.outside.exchange import turns as exchange
from cloud.outside.payments import errands, offered
from cloud.outside.regulator import turns as regulator
from cloud.parties.run import pledge, rate, watch

log = logging.getLogger(__name__)

TIMETABLE = Scope(ProcessRole.WORKER, actor="job:timetable")
REVIEW = Scope(ProcessRole.WORKER, actor="job:review")
CREDIT = Scope(ProcessRole.WORKER, actor="job:credit")
BENCH = Scope(ProcessRole.WORKER, actor="job:bench")
ENTITIES = Scope(ProcessRole.WORKER, actor="job:entities")
GREEN = Scope(ProcessRole.WORKER, actor="job:green")
SESSIONS = Scope(ProcessRole.WORKER, actor=convene.CLOCK)
RESPONSE = Scope(ProcessRole.WORKER, actor="job:response")
CORRECTIONS = Scope(ProcessRole.WORKER, actor="job:corrections")
BENCH_UNITS_MAX = 10_000  # accounts per look; the next look goes on
GATHER_S = 0.3  # after a notification: more marks are likely on their way
RETRY_S = 2.0
LOOK_AGAIN = timedelta(
    minutes=5
)  # so that a daily entry keeps its hour, and a look that failed is soon repeated
TICKS_KEPT = timedelta(days=30)
LOOK_MAX = timedelta(minutes=30)  # who has not finished by then has died
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """How often to look, counted from midnight UTC plus `offset`; what is due is decided by the data."""

    name: str
    every: timedelta
    offset: timedelta
    look: Callable[[Pool, CloudConfig, datetime], None]


def work(config: CloudConfig, stop: threading.Event) -> None:
    """Run until `stop`."""
    taken_by = f"{socket.gethostname()}:{os.getpid()}"
    owed: set[timetable.Tick] = set()
    with open_pool(config.dsn, size_max=config.pool_size_max) as pool:
        scheduler = BackgroundScheduler(timezone=UTC)
        for entry in ENTRIES:
            scheduler.add_job(
                tick,
                "interval",
                args=(pool, config, entry, taken_by, owed),
                seconds=between(entry).total_seconds(),
                next_run_time=_now(),  # a worker that was away looks at once
                id=entry.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        scheduler.start()
        log.info("work.started entries=%d", len(ENTRIES))
        try:
            _validate_as_told(pool, config, stop)
        finally:
            scheduler.shutdown(wait=True)


def tick(pool: Pool, config: CloudConfig, entry: Entry, taken_by: str, owed: set[timetable.Tick]) -> bool:
    """Look at one entry if nobody has at this instant; tell whether this process did.

    `owed` holds the ticks that this process has taken and whose look has not succeeded yet: it looks again.
    A look may be taken twice, when it lasts longer than LOOK_MAX or its process was killed: looks are safe to repeat.
    """
    now = _now()
    due = timetable.Tick(entry.name, latest_instant(entry, now))
    try:
        with transaction(pool, TIMETABLE) as conn:
            if timetable.claim_tick(conn, due, taken_by, now, now - LOOK_MAX):
                owed.add(due)
        if due not in owed:
            return False
        entry.look(pool, config, now)
        with transaction(pool, TIMETABLE) as conn:
            timetable.finish_tick(conn, due, _now())
    except Unavailable as problem:
        log.warning("work.database.away entry=%s problem=%s", entry.name, problem)
        return False
    owed.discard(due)
    return True


def between(entry: Entry) -> timedelta:
    """How often a worker asks whether the entry is due: an instant is looked at once, however often it is asked for."""
    return min(entry.every, LOOK_AGAIN)


def latest_instant(entry: Entry, now: datetime) -> datetime:
    """The last instant at which the entry was due: the same for every worker."""
    start = EPOCH + entry.offset
    return start + (now - start) // entry.every * entry.every


def _validate_as_told(pool: Pool, config: CloudConfig, stop: threading.Event) -> None:
    """Listen for marks and validate until the list is empty, through every loss of the database."""
    while not stop.is_set():
        try:
            for _ in timetable.wakeups(config.dsn, stop.is_set):
                stop.wait(GATHER_S)
                drain(pool, stop)
        except Unavailable as problem:
            log.warning("work.database.away problem=%s", problem)
            stop.wait(RETRY_S)


def drain(pool: Pool, stop: threading.Event) -> int:
    """Validate until no stale day is left; return how many marks were taken."""
    taken = 0
    while not stop.is_set():
        turn = validate_stale(pool, _now())
        if not turn:
            break
        taken += turn
    return taken


# ---- what is looked at -----------------------------------------------------------------------------------


def _stale_days(pool: Pool, config: CloudConfig, now: datetime) -> None:
    drain(pool, threading.Event())


def _ended_days(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Look at yesterday of every installed meter once more, so that what is missing is named; then forerunners may go."""
    today = markettime.day_of(now)
    ended = today - timedelta(days=1)
    with transaction(pool, TIMETABLE) as conn:
        marked = readings.mark_installed_stale(conn, ended, now)
    drain(pool, threading.Event())
    silent = note_silent(pool, ended, now)
    with transaction(pool, TIMETABLE) as conn:
        pruned = intervals.prune_running(conn, markettime.slot_start(today, 0))
    log.info("work.day.closed meters=%d silent=%d pruned=%d", marked, silent, pruned)


def _partitions(pool: Pool, config: CloudConfig, now: datetime) -> None:
    with transaction(pool, TIMETABLE) as conn:
        made = partitions.ensure_ahead(conn, now, config.reading_partition_days)
    log.info("work.partitions.ahead made=%d", made)


def _backlog(pool: Pool, config: CloudConfig, now: datetime) -> None:
    with transaction(pool, TIMETABLE) as conn:
        backlog = timetable.load_backlog(conn, markettime.day_of(now))
    late = backlog.stale_since is not None and now - backlog.stale_since > timedelta(minutes=15)
    log.log(
        logging.WARNING if late or backlog.refused_today else logging.INFO,
        "work.backlog stale_days=%d refused_today=%d unresolved=%d",
        *(backlog.stale_days, backlog.refused_today, backlog.unresolved),
    )


def settlement_rooms(now: datetime) -> settle.Rooms:
    """What the billing room does with a month's final settlement lines."""

    def draw_bill(conn: Conn, account_id: str, month: date) -> int:
        return billing.bill_month(conn, account_id, month, now).bill_id

    def retail_fen(conn: Conn, account_ids: Sequence[str], month: date) -> settle.Revenue:
        found = marketside.energy_revenue(conn, account_ids, month)
        return settle.Revenue(found.amount_fen, found.bills)

    return settle.Rooms(draw_bill, retail_fen)


def _settlement(pool: Pool, config: CloudConfig, now: datetime) -> None:
    try:
        looked_at = settle.look(settle.Desk(pool, "job:settlement", now, settlement_rooms(now)))
    except Refused as refused:  # a year without a holiday arrangement: the console says so too
        log.warning("work.settlement.refused %s", refused)
        return
    if looked_at:
        log.info("work.settlement runs=%d", looked_at)


def _contracts(pool: Pool, config: CloudConfig, now: datetime) -> None:
    done = contracts.look(pool, now)
    if done.expired or done.effective or done.applied or done.moved or done.refused:
        log.info("work.contracts %s", done)


def _contract_reminders(pool: Pool, config: CloudConfig, now: datetime) -> None:
    log.info("work.contracts.reminded contracts=%d", contracts.remind(pool, now))


def _deviations(pool: Pool, config: CloudConfig, now: datetime) -> None:
    noted = deviate.look(pool, now)
    if noted:
        log.info("work.deviations noted=%d", noted)


def _deals(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """End listings, rolling sessions, rooms and transfers whose time is over; free what no contract needs any more."""
    ended = (
        listing.ring(pool, now),
        roll.ring(pool, now),
        negotiate.ring(pool, now),
        handover.ring(pool, now),
        bound.ring(pool, now),
    )
    if any(ended):
        log.info("work.deals listings=%d rolling=%d rooms=%d transfers=%d reserves=%d", *ended)


def _sessions(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Open sessions, close their books at the hour, begin and end rolling phases, those with the auction's rests."""
    with transaction(pool, SESSIONS) as conn:
        moved = convene.look(conn, now)
    with transaction(pool, SESSIONS) as conn:  # by itself: a book that cannot go on keeps no gate open
        moved += carry.look(conn, now)
    if moved:
        log.info("work.sessions moved=%d", moved)


def _entities(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Publicity that ended, documents that end, deregistrations that are due."""
    with transaction(pool, ENTITIES) as conn:
        seen = watch.watch(conn, now)
    log.info(
        "work.entities suspended=%d restored=%d reminded=%d", seen.suspended, seen.restored, seen.reminded
    )


def _expiry(pool: Pool, config: CloudConfig, now: datetime) -> None:
    with transaction(pool, TIMETABLE) as conn:
        sessions = timetable.forget_sessions(conn, now)
        ticks = timetable.forget_ticks(conn, now - TICKS_KEPT)
    log.info("work.expired sessions=%d ticks=%d", sessions, ticks)


def _bench(pool: Pool, config: CloudConfig, now: datetime) -> None:
    done = bench.work_off(pool, BENCH, now, BENCH_UNITS_MAX)
    if done:
        log.info("work.bench accounts=%d", done)


def _blocks(pool: Pool, config: CloudConfig, now: datetime) -> None:
    written = blocks.keep_recent(pool, now, lambda day, rows: None)
    log.info("work.blocks written=%d", written)


def _corrections(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Look for issued bills that something has changed under, and propose what is due; people decide."""
    shells = correct.Shells(billing.inputs, billing.draw, issue.issue)
    correct.propose_due(pool, CORRECTIONS, shells, now)


def _review(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Score new drafts, and draw up again what reviewers asked for; a bill that cannot be drawn says why."""
    with transaction(pool, REVIEW) as conn:
        assessed = review.assess_drafts(conn, REVIEW.actor, now)
        asked = review_store.due_rerates(conn, review.RERATES_PER_TURN)
    for bill_id, account_id, month in asked:
        with transaction(pool, REVIEW) as conn:
            try:
                with conn.transaction():
                    new_bill_id, note = billing.bill_month(conn, account_id, month, now).bill_id, ""
            except Refused as problem:
                new_bill_id, note = bill_id, problem.key
            review.rerated(conn, bill_id, new_bill_id, REVIEW.actor, now, note)
    if assessed or asked:
        log.info("work.review assessed=%d rerated=%d", assessed, len(asked))


def _payments(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Offer orders, ask about those that nobody called about, send refunds; prepaid balances meet new bills."""
    errands.look(pool, offered(config), config.public_url, now)
    collect.use_prepaid(pool, now)


def _collection(pool: Pool, config: CloudConfig, now: datetime) -> None:
    collect.collect(pool, now)


def _credit(pool: Pool, config: CloudConfig, now: datetime) -> None:
    with transaction(pool, CREDIT) as conn:
        seen, traded = conduct.gather(conn, now), conduct.traded(conn, now)
        noted, graded = rate.look(conn, seen, traded, (CREDIT.actor, now))
        told = pledge.remind(conn, now)
    log.info("credit.assessed facts=%d graded=%d reminders=%d", noted, graded, told)


def _risk(pool: Pool, config: CloudConfig, now: datetime) -> None:
    log.info("risk.measured parties=%d", risk.look(pool, now))


def _green(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Issue last month's certificates, hand over those of settled contracts, end sales, let old ones go, book money."""
    last = markettime.month_after(markettime.month_of(markettime.day_of(now)), -1)
    with transaction(pool, GREEN) as conn:
        issued = green.issue_month(conn, last, None, now)
        for month in reversed(greenfacts.settled_months(conn)):
            green.allot_month(conn, month, None, now)
        lapsed, expired = green.lapse(conn, now), green.expire(conn, now)
    with transaction(pool, GREEN) as conn:
        booked = greenmoney.book_sales(conn, now)
    log.info("green.looked issued=%d lapsed=%d expired=%d booked=%d", len(issued), lapsed, expired, booked)


def _response(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Start, end and assess events; book what settled participants are owed, once each."""
    with transaction(pool, RESPONSE) as conn:
        moves = respond.look(conn, now)
    with transaction(pool, RESPONSE) as conn:
        booked = reward.book_settled(conn, now)
    if moves or booked:
        log.info("response.looked moves=%d booked=%d", moves, booked)


def _capacity(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Draw up the capacity payments of the last year's months: an event may be settled long after its month."""
    month = markettime.month_of(markettime.day_of(now))
    for back in range(1, 13):
        with transaction(pool, RESPONSE) as conn:
            respond.pay_capacity(conn, markettime.month_after(month, -back), now)


def _statements(pool: Pool, config: CloudConfig, now: datetime) -> None:
    errands.reconcile_lately(pool, offered(config), now)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - jobs is where the worker's clock is read


ENTRIES = (
    Entry("stale_days", timedelta(minutes=5), timedelta(0), _stale_days),
    Entry("ended_days", timedelta(days=1), timedelta(hours=16, minutes=20), _ended_days),  # 00:20 market time
    Entry("partitions", timedelta(days=1), timedelta(hours=15), _partitions),
    Entry("backlog", timedelta(minutes=10), timedelta(0), _backlog),
    Entry("review", timedelta(seconds=30), timedelta(0), _review),
    Entry("corrections", timedelta(hours=1), timedelta(minutes=37), _corrections),
    Entry("bench", timedelta(seconds=20), timedelta(0), _bench),
    Entry("blocks", timedelta(days=1), timedelta(hours=19), _blocks),  # 03:00 market time
    Entry("payments", timedelta(seconds=30), timedelta(0), _payments),
    Entry("credit", timedelta(days=1), timedelta(hours=18), _credit),  # 02:00 market time
    Entry("risk", timedelta(hours=6), timedelta(minutes=47), _risk),
    Entry("collection", timedelta(days=1), timedelta(hours=17), _collection),  # 01:00 market time
    Entry("statements", timedelta(hours=1), timedelta(minutes=12), _statements),
    Entry("settlement", timedelta(minutes=1), timedelta(0), _settlement),
    Entry("sessions", timedelta(seconds=5), timedelta(0), _sessions),
    Entry("deals", timedelta(seconds=5), timedelta(0), _deals),
    Entry("contracts", timedelta(minutes=1), timedelta(0), _contracts),
    Entry(
        "contract_reminders", timedelta(days=1), timedelta(minutes=30), _contract_reminders
    ),  # 08:30 market time
    Entry("deviations", timedelta(days=1), timedelta(hours=20), _deviations),  # 04:00 market time
    Entry("exchange", timedelta(seconds=10), timedelta(0), exchange.look),
    Entry("exchange_days", timedelta(hours=1), timedelta(minutes=22), exchange.reconcile),
    Entry("regulator", timedelta(minutes=5), timedelta(minutes=3), regulator.look),
    Entry("entities", timedelta(hours=1), timedelta(minutes=2), _entities),
    Entry("green", timedelta(minutes=5), timedelta(minutes=2), _green),
    Entry("response", timedelta(minutes=1), timedelta(0), _response),
    Entry("capacity", timedelta(hours=1), timedelta(minutes=23), _capacity),
    Entry("expiry", timedelta(hours=1), timedelta(minutes=7), _expiry),
)
