"""Errands between our sessions and the platform: queue, send, fetch results, reconcile. Each may run twice or die anywhere.

A message is noted as sent before it goes (one transaction), goes outside any transaction, and is noted as answered in
another. Whatever came is in the vault and on record by its hash before anybody reads it. One process talks at a time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from cloud import db, notices
from cloud.db import Conn, Pool, ProcessRole, Scope
from cloud.errors import Refused, Unavailable
from cloud.files import Vault
from cloud.lives import step
from cloud.market import exchange, exchangefile
from cloud.market.auction import Side
from cloud.market.exchange import (
    MESSAGE,
    BadResult,
    Declaration,
    Difference,
    Entry,
    Held,
    Kind,
    Ours,
    Result,
)
from cloud.market.store import exchange as store
from cloud.market.store import exchangeline as lines
from cloud.markettime import day_of, slot_start
from cloud.notices import Notice
from cloud.outside.exchange.port import Exchange
from cloud.signedcall import Untrue

log = logging.getLogger(__name__)

SCOPE: Final = Scope(ProcessRole.WORKER, actor="job:exchange")
HOLD: Final = timedelta(minutes=5)
SEND_MAX: Final = 2000  # messages of one look
QUIET_AFTER: Final = 3  # failures in a row
RECONCILE_DAYS: Final = 7
EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY_OUT_SLOT: Final = 4  # 01:00: the platform's file of a day is there by then


@dataclass(frozen=True, slots=True)
class Room:
    """What the errands need of the rest: where to keep bytes, and what to do with a result.

    `take` gets (connection, session_id, result, now) and gives the number of the clearing run it became.
    """

    pool: Pool
    vault: Vault
    take: Callable[[Conn, int, Result, datetime], int]
    holder: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look did."""

    queued: int = 0
    answered: int = 0
    results: int = 0
    is_away: bool = False


def look(room: Room, platform: Exchange, now: datetime, *, hosts_all: bool = False) -> Looked:
    """One round: take new sessions, queue declarations, send what is due, fetch results that are out."""
    with db.transaction(room.pool, SCOPE) as conn:
        if hosts_all:
            for session_id in store.hostable(conn):
                store.host(conn, session_id, platform.platform, now, SCOPE.actor)
        queued = queue(conn, platform.platform, now)
    with db.transaction(room.pool, SCOPE) as conn:
        if not lines.hold_line(conn, platform.platform, room.holder, now + HOLD, now):
            return Looked(queued)
    answered = results = 0
    try:
        answered = send_due(room, platform, now)
        results = fetch_results(room, platform, now)
        fetch_corrections(room, platform, None, now)
    except Unavailable as problem:
        _failed(room, platform, problem, now)
        return Looked(queued, answered, results, is_away=True)
    finally:
        with db.transaction(room.pool, SCOPE) as conn:
            lines.drop_line(conn, platform.platform, room.holder, now)
    return Looked(queued, answered, results)


def queue(conn: Conn, platform: str, now: datetime) -> int:
    """Put every declaration of hosted sessions into the outbox that is not there."""
    rows = store.unqueued(conn, platform)
    for row in rows:
        body = exchangefile.declaration_bytes(_declaration(row))
        store.queue(
            conn,
            store.NewMessage(
                platform=platform,
                key=key_of(row.session_no, row.seq),
                session_id=row.session_id,
                seq=row.seq,
                kind=row.kind,
                schema=exchangefile.DECLARATION,
                body=body.decode(),
                sha256=hashlib.sha256(body).hexdigest(),
            ),
            now,
        )
    return len(rows)


def key_of(session_no: str, seq: int) -> str:
    """The idempotency key of a declaration: its number in our book."""
    return f"{session_no}:{seq}"


def send_due(room: Room, platform: Exchange, now: datetime) -> int:
    """Send what is due, each session's messages in their order. Raises Unavailable at the first that has no answer."""
    for count in range(SEND_MAX):
        with db.transaction(room.pool, SCOPE) as conn:
            row = store.next_due(conn, platform.platform, now)
            if row is None:
                return count
            step(MESSAGE, row.state, "send")
            store.sending(conn, row.message_id, now + exchange.wait_after(row.attempts + 1))
        try:
            reply = platform.declare(row.body.encode(), now)
            document = _keep(room, platform.platform, "answer", reply.body, now)
            answer = exchangefile.answer_from(reply.body)
            if answer.key != row.idem_key:
                raise Untrue(f"about {answer.key[:60]}", reply.body)
        except (Unavailable, exchangefile.BadDocument) as problem:
            if isinstance(problem, Untrue):
                _keep(room, platform.platform, "untrue", problem.body or b" ", now)
            with db.transaction(room.pool, SCOPE) as conn:
                store.failed(conn, row.message_id, str(problem))
            if isinstance(problem, Unavailable):
                raise
            raise Unavailable("line_away", problem=str(problem)) from problem
        deed = "ack" if answer.is_accepted else "reject"
        with db.transaction(room.pool, SCOPE) as conn:
            state = step(MESSAGE, "SENT", deed)
            store.answered(conn, row.message_id, state, (document, answer.code, answer.receipt_no), now)
            lines.line_ok(conn, platform.platform, now)
            if not answer.is_accepted:
                _tell(
                    conn,
                    "exchange.rejected",
                    row.session_id,
                    f"rejected:{row.idem_key}",
                    now,
                    key=row.idem_key,
                    code=answer.code,
                )
    return SEND_MAX


def fetch_results(room: Room, platform: Exchange, now: datetime) -> int:
    """Fetch and take the results of sessions whose book is closed and fully answered. Raises Unavailable."""
    with db.transaction(room.pool, SCOPE) as conn:
        waiting = store.awaiting_result(conn, platform.platform)
    taken = 0
    for session_id, session_no in waiting:
        try:
            reply = platform.result(session_no, now)
        except Untrue as untrue:
            _keep(room, platform.platform, "untrue", untrue.body or b" ", now)
            raise
        with db.transaction(room.pool, SCOPE) as conn:
            lines.line_ok(conn, platform.platform, now)
        if reply is not None:
            document = _keep(room, platform.platform, "result", reply.body, now)
            taken += take_result(room, (session_id, session_no), document, reply.body, now)
    return taken


def take_result(room: Room, session: tuple[int, str], document: str, body: bytes, now: datetime) -> bool:
    """Take a result once: check it, turn it into a clearing run, keep it. What cannot be true is kept as refused."""
    session_id, session_no = session
    try:
        result = exchangefile.result_from(body)
        if result.session_no != session_no:
            raise BadResult("bad_result", session=session_no, place="session", problem=result.session_no[:60])
        with db.transaction(room.pool, SCOPE) as conn:
            declared = standing(conn, session_id)
            exchange.checked(result, declared)
            kept = exchangefile.result_json(result)
            run_no = room.take(conn, session_id, result, now)
            is_new = store.keep_result(
                conn, session_id, result.version, (document, kept), ("taken", "", run_no), now
            )
            if not is_new:
                raise _Again
            _tell(
                conn,
                "exchange.result",
                session_id,
                f"result:{session_no}:{result.version}",
                now,
                session=session_no,
            )
    except _Again:
        return False
    except (Refused, ValueError) as problem:
        log.error("exchange.result.refused session=%s problem=%s", session_no, problem)
        with db.transaction(room.pool, SCOPE) as conn:
            verdict = ("refused", str(problem), None)
            store.keep_result(conn, session_id, 1, (document, {}), verdict, now)
            _tell(
                conn,
                "exchange.bad_result",
                session_id,
                f"bad:{session_no}:{document}",
                now,
                session=session_no,
            )
        return False
    return True


def fetch_corrections(room: Room, platform: Exchange, since: datetime | None, now: datetime) -> int:
    """Ask once more for results that we have taken: not published yet, or of books closed since. Raises Unavailable."""
    with db.transaction(room.pool, SCOPE) as conn:
        watched = store.watched(conn, platform.platform, since)
    offered = 0
    for session_id, session_no in watched:
        try:
            reply = platform.result(session_no, now)
        except Untrue as untrue:
            _keep(room, platform.platform, "untrue", untrue.body or b" ", now)
            raise
        if reply is None:
            continue
        try:
            result = exchangefile.result_from(reply.body)
        except exchangefile.BadDocument as problem:
            log.error("exchange.result.refused session=%s problem=%s", session_no, problem)
            continue
        if result.session_no == session_no:
            document = _keep(room, platform.platform, "result", reply.body, now)
            offered += offer(room, session_id, document, result, now)
    return offered


def offer(room: Room, session_id: int, document: str, result: Result, now: datetime) -> bool:
    """Keep a later version of a result for people to take over, and tell them; False when there is nothing new in it."""
    body = exchangefile.result_json(result)
    named = (document, body, hashlib.sha256(exchangefile.canonical(body)).hexdigest())
    with db.transaction(room.pool, SCOPE) as conn:
        if not 0 < store.taken_version(conn, session_id) < result.version:
            return False
        try:
            exchange.checked(result, standing(conn, session_id))
        except BadResult as problem:
            log.error("exchange.correction.refused session=%s problem=%s", result.session_no, problem)
            key = f"bad:{result.session_no}:{named[2]}"
            _tell(conn, "exchange.bad_result", session_id, key, now, session=result.session_no)
            return False
        if not store.keep_offer(conn, session_id, result.version, named, now):
            return False
        facts = {"session": result.session_no, "n": str(result.version)}
        key = f"corrected:{result.session_no}:{result.version}:{named[2]}"
        notices.post(
            conn,
            Notice(None, "exchange.corrected", facts, f"/trading/desk/{session_id}", f"exchange:{key}"[:200]),
            now,
        )
    return True


class _Again(Exception):
    """This very result was taken before: what this transaction did is undone."""


def standing(conn: Conn, session_id: int) -> dict[str, Declaration]:
    """What the platform holds of us when the book closes: the last acknowledged declaration of every chain."""
    held: dict[str, Declaration] = {}
    for row in store.messages_of(conn, (session_id,)):
        if row.state not in ("ACKED", "RECONCILED"):
            continue
        declaration = exchangefile.declaration_from(row.body.encode())
        if declaration.replaces is not None:
            held.pop(declaration.replaces, None)
        if declaration.kind is not Kind.WITHDRAW:
            held[declaration.key] = declaration
    return held


def reconcile_day(room: Room, platform: Exchange, day: date, now: datetime) -> tuple[Difference, ...] | None:
    """Hold our books of a day against the platform's file; None while there is no file. Raises Unavailable, BadDocument."""
    reply = platform.day_file(day, now)
    if reply is None:
        return None
    document = _keep(room, platform.platform, "day", reply.body, now)
    theirs = exchangefile.day_file_from(reply.body)
    with db.transaction(room.pool, SCOPE) as conn:
        known = {number: session_id for session_id, number in store.watched(conn, platform.platform, EVER)}
    for each in theirs.results:
        if each.session_no in known:
            offer(room, known[each.session_no], document, each, now)
    start, end = slot_start(day, 0), slot_start(day + timedelta(days=1), 0)
    with db.transaction(room.pool, SCOPE) as conn:
        sessions = store.sessions_of_day(conn, platform.platform, start, end)
        rows = store.messages_of(conn, tuple(sessions))
        messages = {row.idem_key: (_held(row), row.state) for row in rows}
        results = {
            sessions[session_id]: exchangefile.result_from(exchangefile.canonical(body))
            for session_id, body in store.taken_results(conn, tuple(sessions)).items()
        }
        found = exchange.differences(Ours(messages, results), theirs)
        counts = (document, len(theirs.declarations), len(theirs.results))
        store.keep_reconciliation(conn, platform.platform, day, counts, found, (SCOPE.actor, now))
        unequal = {each.key for each in found}
        store.reconcile_messages(
            conn, [key for key, (_, state) in messages.items() if state == "ACKED" and key not in unequal]
        )
        if found:
            _tell(
                conn,
                "exchange.differs",
                0,
                f"differs:{platform.platform}:{document}",
                now,
                day=day.isoformat(),
                n=str(len(found)),
            )
    return found


def reconcile_lately(room: Room, platform: Exchange, now: datetime) -> None:
    """Compare the days of the last week that were not compared without a difference yet."""
    try:
        fetch_corrections(room, platform, now - timedelta(days=RECONCILE_DAYS), now)
    except Unavailable as problem:
        log.warning("exchange.away platform=%s problem=%s", platform.platform, problem)
    today = day_of(now)
    last = 1 if now >= slot_start(today, DAY_OUT_SLOT) else 2
    days = [today - timedelta(days=back) for back in range(RECONCILE_DAYS, last - 1, -1)]
    with db.transaction(room.pool, SCOPE) as conn:
        compared = store.compared_days(conn, platform.platform, days[0])
    for day in days:
        if day in compared:
            continue
        try:
            found = reconcile_day(room, platform, day, now)
        except (Unavailable, exchangefile.BadDocument) as problem:
            log.warning("exchange.day.missing platform=%s day=%s problem=%s", platform.platform, day, problem)
            continue
        if found:
            log.error("exchange.day.differs platform=%s day=%s count=%d", platform.platform, day, len(found))


def _declaration(row: store.BidRow) -> Declaration:
    named = zip(row.period, row.price_ticks, row.quantity_kwh, strict=True)
    return Declaration(
        key=key_of(row.session_no, row.seq),
        kind=Kind(row.kind),
        session_no=row.session_no,
        unit_id=row.unit_id,
        side=Side(row.side),
        entries=tuple(Entry(*each) for each in named) if row.kind != Kind.WITHDRAW else (),
        replaces=None if row.replaces is None else key_of(row.session_no, row.replaces),
        declared_at=row.at,
    )


def _held(row: store.SaidRow) -> Held:
    own = exchangefile.declaration_from(row.body.encode())
    is_accepted = row.state in ("ACKED", "RECONCILED")
    return Held(own.key, own.session_no, own.kind, own.side, own.unit_id, own.entries, is_accepted)


def _keep(room: Room, platform: str, kind: str, body: bytes, now: datetime) -> str:
    """Put a document into the vault and on record before it is read."""
    sha256 = room.vault.put(body)
    with db.transaction(room.pool, SCOPE) as conn:
        store.keep_document(conn, platform, kind, (sha256, len(body)), now)
    return sha256


def _failed(room: Room, platform: Exchange, problem: Unavailable, now: datetime) -> None:
    log.warning("exchange.away platform=%s problem=%s", platform.platform, problem)
    with db.transaction(room.pool, SCOPE) as conn:
        failures = lines.line_failed(conn, platform.platform, str(problem), now)
        if failures >= QUIET_AFTER:
            lines.leave_alone(conn, platform.platform, now + exchange.wait_after(failures - QUIET_AFTER + 1))
        if isinstance(problem, Untrue):
            _tell(
                conn,
                "exchange.untrue",
                0,
                f"untrue:{platform.platform}:{day_of(now)}",
                now,
                platform=platform.platform,
            )


def _tell(conn: Conn, topic: str, session_id: int, idem_key: str, now: datetime, **facts: str) -> None:
    path = f"/exchange/sessions/{session_id}" if session_id else "/exchange"
    notices.post(conn, Notice(None, topic, facts, path, f"exchange:{idem_key}"[:200]), now)
