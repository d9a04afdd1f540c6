"""Shells: a session from draft to close, by hand and by the clock; suspension, cancellation; disputes.

What moves a session locks its row first; the gate's own lock is taken inside the closing (0028_sessions.sql).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final

from cloud import markettime, notices
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.errors import Conflict, Forbidden, Invalid, NotFound
from cloud.lives import step
from cloud.market.certificates import is_expired
from cloud.market.session import SESSION, BadSession, Hours, periods_of, resumption
from cloud.market.sessionfile import ROLLING_PERIODS_MAX, Product, SessionRule, rule_from
from cloud.market.store import clearings, orders, sessions
from cloud.market.store.sessions import Gate, NewSession, SessionRow
from cloud.notices import Notice
from cloud.parties.store import standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

REASON_MAX: Final = 1000
MONTHS_AHEAD_MAX: Final = 120
CLOCK: Final = "job:sessions"
VERDICTS: Final = ("upheld", "rejected")
KINDS: Final = ("declaration", "result", "conduct", "other")


class NoSession(NotFound):
    """There is no such session."""


class NoRule(NotFound):
    """There is no such session rule."""


class SamePerson(Forbidden):
    """Who drew a session up does not announce it as well."""


class ReasonMissing(Invalid):
    """Whoever suspends, cancels or resumes says why."""


class TooEarly(Conflict):
    """The hour named in the announcement has not come: nothing is closed before it without saying why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a person of the staff says of a new session."""

    session_no: str
    title: str
    announcement: str
    rule: str  # id@version
    months: tuple[date, ...]
    day: date  # of trading; hours None: those of the rule
    hours: Hours | None = None


def rule_texts() -> Mapping[str, str]:
    """The rule files of this version of the program, by id@version."""
    return _rule_texts()


def rules() -> Mapping[str, SessionRule]:
    """The rules themselves, by id@version."""
    return {name: rule_from(name, text) for name, text in _rule_texts().items()}


def draft(conn: Conn, actor: Actor, plan: Plan, now: datetime) -> int:
    """Draw a session up. Raises NoRule, BadSession, SessionTaken."""
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trading_session", plan.session_no), now)
    body = rule_texts().get(plan.rule)
    if body is None:
        raise NoRule("no_session_rule", rule=plan.rule)
    rule = rule_from(plan.rule, body)
    if not rule.in_force(plan.day):
        raise BadSession("session_rule_not_in_force", rule=rule.origin, day=plan.day.isoformat())
    _check_months(rule, plan)
    if rule.carries_rests and len(plan.months) * len(rule.labels) > ROLLING_PERIODS_MAX:
        raise BadSession("session_periods", most=ROLLING_PERIODS_MAX)
    new = NewSession(
        *(plan.session_no.strip(), plan.title.strip(), plan.announcement.strip()),
        (rule.rule_id, rule.version, rule.sha256, body),
        *(rule.product.value, rule.is_sealed, rule.shows_curve),
        periods_of(plan.months, rule.labels),
        plan.hours or hours_on(rule, plan.day),
    )
    return sessions.insert(conn, new, actor_name(actor), now)


def _check_months(rule: SessionRule, plan: Plan) -> None:
    """Energy is delivered later; certificates were made in one month, which is over, and whose 24 months are not."""
    month = markettime.month_of(plan.day)
    if rule.product is Product.CERTIFICATE:
        made = plan.months[0] if len(plan.months) == 1 else None
        if made is None or made >= month or is_expired(made, plan.day):
            raise BadSession("session_certificate_month")
    elif not plan.months or not all(
        month <= each <= markettime.month_after(month, MONTHS_AHEAD_MAX) for each in plan.months
    ):
        raise BadSession("session_months")


def hours_on(rule: SessionRule, day: date) -> Hours:
    """The rule's hours on a trading day."""

    def at(hour: int, minute: int) -> datetime:
        return markettime.slot_start(day, 0) + timedelta(hours=hour, minutes=minute)

    hours = rule.hours
    rolls = hours.rolls_until
    return Hours(
        at(hours.opens.hour, hours.opens.minute),
        at(hours.freezes.hour, hours.freezes.minute),
        at(hours.publishes.hour, hours.publishes.minute),
        None if rolls is None else at(rolls.hour, rolls.minute),
    )


def announce(conn: Conn, actor: Actor, session_id: int, now: datetime) -> None:
    """Publish the announcement, as the second of four eyes. Raises SamePerson, NoSuchMove."""
    row = _lock(conn, actor, session_id, now)
    state = step(SESSION, row.state, "announce")
    if row.drafted_by == actor_name(actor):
        raise SamePerson("session_same_person")
    if now >= row.freezes_at:
        raise BadSession("session_over", session=row.session_no)
    sessions.set_state(conn, session_id, state)
    sessions.note(conn, session_id, "announce", state, (actor_name(actor), now, ""))
    notices.post(conn, _notice(None, "session_announced", row, "announce"), now)


def drop(conn: Conn, actor: Actor, session_id: int, now: datetime) -> None:
    """Drop a draft."""
    _move(conn, _lock(conn, actor, session_id, now), "drop", (actor_name(actor), now, ""))


def open_now(conn: Conn, actor: Actor, session_id: int, reason: str, now: datetime) -> None:
    """Open by hand, at the hour or later. Raises TooEarly."""
    row = _lock(conn, actor, session_id, now)
    if now < row.opens_at:
        raise TooEarly("session_too_early")
    _move(conn, row, "open", (actor_name(actor), now, _said(reason, is_needed=False)))


def freeze(conn: Conn, actor: Actor, session_id: int, reason: str, now: datetime) -> None:
    """Close the book by hand; before its hour with a reason."""
    row = _lock(conn, actor, session_id, now)
    _freeze(conn, row, (actor_name(actor), now, _said(reason, is_needed=now < row.freezes_at)), "freeze")


def suspend(conn: Conn, actor: Actor, session_id: int, reason: str, now: datetime) -> None:
    """Stop a session before its publication; declarations stay as they are."""
    row = _lock(conn, actor, session_id, now)
    orders.hold_gate(conn, session_id)
    _move(conn, row, "suspend", (actor_name(actor), now, _said(reason)))
    _tell_participants(conn, row, "session_suspended", now)


def resume(conn: Conn, actor: Actor, session_id: int, hours: Hours, reason: str, now: datetime) -> None:
    """Resume at new hours, in the state that they say. Raises ReasonMissing, NoSuchMove."""
    row = _lock(conn, actor, session_id, now)
    said = _said(reason)
    deed = resumption(hours, row.gate_at is not None, now)
    state = step(SESSION, row.state, deed)
    if deed == "refreeze" and row.gate_at is None:
        last_seq, book = orders.close(conn, session_id, actor_name(actor), now)
        sessions.set_gate(conn, session_id, Gate(now, last_seq, book))
    else:
        sessions.set_hours(conn, session_id, state, hours)
    sessions.note(conn, session_id, deed, state, (actor_name(actor), now, said))
    _tell_participants(conn, row, "session_resumed", now)


def cancel(conn: Conn, actor: Actor, session_id: int, reason: str, now: datetime) -> None:
    """Cancel a session before its publication and give back every margin."""
    row = _lock(conn, actor, session_id, now)
    said = _said(reason)
    state = step(SESSION, row.state, "cancel")
    orders.hold_gate(conn, session_id)  # who is still on the way binds a margin that is to be given back too
    take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))
    sessions.set_state(conn, session_id, state)
    sessions.note(conn, session_id, "cancel", state, (actor_name(actor), now, said))
    for key, _ in orders.reserved(conn, session_id):
        standings.release(conn, key, now)
    orders.free_exposures(conn, session_id)
    _tell_participants(conn, row, "session_cancelled", now)


def note_exception(conn: Conn, actor: Actor, session_id: int, words: str, now: datetime) -> None:
    """Write into the session's log what was out of the ordinary."""
    row = _lock(conn, actor, session_id, now)
    sessions.note(conn, session_id, "exception", row.state, (actor_name(actor), now, _said(words)))


def close(conn: Conn, actor: Actor, session_id: int, now: datetime) -> None:
    """End a published session."""
    _move(conn, _lock(conn, actor, session_id, now), "close", (actor_name(actor), now, ""))


def look(conn: Conn, now: datetime) -> int:
    """What the clock does: open, close books, begin and end rolling phases. Safe to repeat; speaks as the worker."""
    moved = len(sessions.ring(conn, now))
    for session_id in sessions.due(conn, now):
        row = sessions.lock(conn, session_id)
        if row is None:
            continue
        who = (CLOCK, now, "")
        if row.state == "open" and row.freezes_at <= now:
            _freeze(conn, row, who, "freeze")
        elif row.state == "published" and row.rolls_until is not None:
            _move(conn, row, "roll" if now < row.rolls_until else "close", who)
        elif row.state == "rolling":
            _move(conn, row, "close", who)
        moved += 1
    return moved


def dispute(
    conn: Conn, actor: Actor, session_id: int, said: tuple[int | None, str, str], now: datetime
) -> int:
    """Raise a dispute: `said` is the own declaration it is about, a kind and words."""
    party_id = actor.party_id
    allow(conn, actor, Deed.TRADE, Subject("trading_session", str(session_id), party_id), now)
    row, (seq, kind, body) = sessions.find(conn, session_id), said
    about = None if seq is None else orders.find(conn, seq)
    if (
        row is None
        or party_id is None
        or (seq is not None and (about is None or about.session_id != session_id))
    ):
        raise NoSession("not_found", kind="trading_session")
    if kind not in KINDS or not 2 <= len(body.strip()) <= 2000:
        raise ReasonMissing("reason_missing", longest=2000)
    dispute_id = clearings.insert_dispute(
        conn, session_id, party_id, (seq, kind, body.strip()), (actor_name(actor), now)
    )
    notices.post(conn, _notice(None, "session_dispute", row, f"dispute:{dispute_id}"), now)
    return dispute_id


def answer_dispute(conn: Conn, actor: Actor, dispute_id: int, said: tuple[str, str], now: datetime) -> int:
    """Answer a dispute: verdict and words. Returns its session. Raises Answered."""
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trade_dispute", str(dispute_id)), now)
    found = clearings.find_dispute(conn, dispute_id)
    row = None if found is None else sessions.find(conn, found.session_id)
    if found is None or row is None:
        raise NoSession("not_found", kind="trade_dispute")
    if said[0] not in VERDICTS or not 2 <= len(said[1].strip()) <= 2000:
        raise ReasonMissing("reason_missing", longest=2000)
    clearings.insert_answer(conn, dispute_id, (said[0], said[1].strip()), (actor_name(actor), now))
    notice = _notice(found.party_id, "session_dispute_answered", row, f"answer:{dispute_id}")
    notices.post(conn, notice, now)
    return found.session_id


def _lock(conn: Conn, actor: Actor, session_id: int, now: datetime) -> SessionRow:
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trading_session", str(session_id)), now)
    row = sessions.lock(conn, session_id)
    if row is None:
        raise NoSession("not_found", kind="trading_session")
    return row


def _move(conn: Conn, row: SessionRow, deed: str, who: tuple[str, datetime, str]) -> None:
    state = step(SESSION, row.state, deed)
    sessions.set_state(conn, row.session_id, state)
    sessions.note(conn, row.session_id, deed, state, who)


def _freeze(conn: Conn, row: SessionRow, who: tuple[str, datetime, str], deed: str) -> None:
    state = step(SESSION, row.state, deed)
    last_seq, book = orders.close(conn, row.session_id, who[0], who[1])
    sessions.set_gate(conn, row.session_id, Gate(who[1], last_seq, book))
    facts = {"last_seq": last_seq, "book_sha256": book}
    sessions.note(conn, row.session_id, deed, state, who, facts)
    notices.post(conn, _notice(None, "session_frozen", row, "freeze"), who[1])


def _tell_participants(conn: Conn, row: SessionRow, key: str, now: datetime) -> None:
    for party_id in orders.participants(conn, row.session_id):
        notices.post(conn, _notice(party_id, key, row, f"{key}:{party_id}:{now.isoformat()}"), now)


def _notice(party_id: int | None, key: str, row: SessionRow, what: str) -> Notice:
    facts = {"session": row.session_no, "title": row.title}
    path = f"/trading/sessions/{row.session_id}"
    return Notice(party_id, key, facts, path, f"session:{row.session_id}:{what}")


def _said(reason: str, *, is_needed: bool = True) -> str:
    words = reason.strip()
    if (is_needed and not words) or len(words) > REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    return words


@lru_cache(maxsize=1)
def _rule_texts() -> Mapping[str, str]:
    folder = resources.files("cloud.market") / "sessions"
    found: dict[str, str] = {}
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.name.endswith(".toml"):
            text = entry.read_text("utf-8")
            found[rule_from(entry.name, text).origin] = text
    return found
