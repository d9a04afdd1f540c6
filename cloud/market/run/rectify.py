"""Shells: what changes a result after the gate. One of the staff asks with a reason, another one answers.

A declaration is struck out: it stays in the book and in its hash, and counts in no later run. A platform's corrected
result is taken over: it becomes the run in force. Before publication the result is then to be checked again; after it a
strike needs an objection that was raised within a working day and upheld (1656号 art. 58-63), and the published run and
its contracts are followed by later ones. Nothing that was is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud import markettime, notices
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow
from cloud.market import exchangefile
from cloud.market.deadlines import objection_until
from cloud.market.exchange import Result
from cloud.market.session import AFTER_PUBLICATION
from cloud.market.sessionfile import Product
from cloud.market.store import changes, clearings, exchange, hosting, orders, sessions
from cloud.market.store.changes import ChangeRow
from cloud.market.store.sessions import SessionRow
from cloud.notices import Notice
from cloud.parties.store import standings
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow

REASON_MAX: Final = 1000
BEFORE_PUBLICATION: Final = ("frozen", "cleared", "checked", "suspended")


class NoChange(NotFound):
    """There is no such session, declaration, version or change."""


class SamePerson(Forbidden):
    """Who asked for a change does not answer as well."""


class ReasonMissing(Invalid):
    """Who asks for a change says why."""


class NotStruck(NotNow):
    """Nothing is struck out of this session now."""


class TakenAlready(Conflict):
    """This version of the platform's result, or a later one, is in our books."""


@dataclass(frozen=True, slots=True)
class Shells:
    """What the clearing room does: clear once more, take a platform's result over, put a run in the place of the published one."""

    clear: Callable[[Conn, Actor, int, str, datetime], int]
    take_over: Callable[[Conn, int, Result, tuple[str, datetime, str]], int]
    republish: Callable[[Conn, Actor, int, int | None, str, datetime], tuple[str, ...]]


def ask_strike(conn: Conn, actor: Actor, session_id: int, seq: int, reason: str, now: datetime) -> int:
    """Ask that a declaration of the closed book is struck out. Raises NotStruck, Struck, NoChange."""
    row, said = _lock(conn, actor, session_id, now), _said(reason)
    if hosting.is_hosted(conn, session_id):
        raise NotStruck("session_hosted", session=row.session_no)
    if row.last_seq is None or row.state not in (*BEFORE_PUBLICATION, *AFTER_PUBLICATION):
        raise NotStruck("strike_not_now", session=row.session_no)
    if seq not in {each.seq for each in orders.book(conn, session_id, row.last_seq)}:
        raise NoChange("not_found", kind="declaration")
    if row.state in AFTER_PUBLICATION:
        _check_objection(conn, row, now)
    number = changes.ask(conn, session_id, ("strike", seq, None), (actor_name(actor), now, said))
    _asked(conn, row, (number, "strike_asked", {"seq": seq}), (actor_name(actor), now, said))
    return number


def ask_takeover(conn: Conn, actor: Actor, session_id: int, offer_id: int, reason: str, now: datetime) -> int:
    """Ask that a platform's corrected result is taken over. Raises TakenAlready, NoChange."""
    row, said = _lock(conn, actor, session_id, now), _said(reason)
    found = changes.find_offer(conn, session_id, offer_id)
    if found is None:
        raise NoChange("not_found", kind="offer")
    if found.is_taken:
        raise TakenAlready("result_version_taken", version=found.version)
    if any(
        each.offer_id == offer_id and each.verdict is None for each in changes.of_session(conn, session_id)
    ):
        raise TakenAlready("takeover_asked_already", version=found.version)
    number = changes.ask(conn, session_id, ("takeover", None, offer_id), (actor_name(actor), now, said))
    what = (number, "takeover_asked", {"version": found.version})
    _asked(conn, row, what, (actor_name(actor), now, said))
    return number


def refuse(conn: Conn, actor: Actor, session_id: int, change_id: int, reason: str, now: datetime) -> None:
    """Refuse a change that somebody else has asked for. Raises SamePerson, Answered, NoChange."""
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trading_session", str(session_id)), now)
    row, change = _find(conn, session_id, change_id)
    if change.asked_by == actor_name(actor):
        raise SamePerson("session_same_person")
    who = (actor_name(actor), now, _said(reason))
    changes.answer(conn, change_id, "refused", who)
    sessions.note(
        conn, session_id, "change_refused", row.state, who, {"change": change_id, "seq": change.seq}
    )


def approve(
    conn: Conn, actor: Actor, change: tuple[int, int], reason: str, shells: Shells, now: datetime
) -> None:
    """Approve a change `(session, change)` as the second of four eyes, and let the result follow it.

    All of it is one transaction. Raises SamePerson, Answered, NotStruck, TakenAlready, and what clearing and publishing do.
    """
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trading_session", str(change[0])), now)
    row, asked = _find(conn, *change)
    if asked.asked_by == actor_name(actor):
        raise SamePerson("session_same_person")
    who = (actor_name(actor), now, reason.strip()[:REASON_MAX])
    changes.answer(conn, asked.change_id, "approved", who)
    if asked.kind == "strike":
        _strike(conn, actor, (row, asked), shells, now)
    else:
        _take_over(conn, actor, (row, asked), shells, now)


def _strike(
    conn: Conn, actor: Actor, of: tuple[SessionRow, ChangeRow], shells: Shells, now: datetime
) -> None:
    row, asked = of
    seq, session_id = asked.seq or 0, row.session_id
    bid = orders.find(conn, seq)
    if bid is None or bid.party_id is None or row.state not in (*BEFORE_PUBLICATION, *AFTER_PUBLICATION):
        raise NotStruck("strike_not_now", session=row.session_no)
    who = (actor_name(actor), now, asked.reason)
    sessions.note(conn, session_id, "strike", row.state, who, {"seq": seq, "asked_by": asked.asked_by})
    facts = {"session": row.session_no, "seq": str(seq), "reason": asked.reason}
    key = f"session:{session_id}:struck:{seq}"
    notices.post(
        conn, Notice(bid.party_id, "declaration_struck", facts, f"/trading/declarations/{seq}", key), now
    )
    why = f"#{seq}: {asked.reason}"[:REASON_MAX]
    if row.state in ("cleared", "checked"):
        shells.clear(conn, actor, session_id, why, now)
    elif row.state in AFTER_PUBLICATION:
        _check_objection(conn, row, asked.asked_at)
        shells.republish(conn, actor, session_id, None, why, now)
    if bid.margin_fen and bid.client_key is not None:
        take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))
        standings.release(conn, f"bid:{bid.party_id}:{bid.client_key}", now)


def _take_over(
    conn: Conn, actor: Actor, of: tuple[SessionRow, ChangeRow], shells: Shells, now: datetime
) -> None:
    row, asked = of
    found = changes.find_offer(conn, row.session_id, asked.offer_id or 0)
    if found is None:
        raise NoChange("not_found", kind="offer")
    if found.is_taken:
        raise TakenAlready("result_version_taken", version=found.version)
    theirs = exchangefile.result_from(exchangefile.canonical(found.body))
    take_scope(conn, Scope(ProcessRole.WORKER, actor=actor_name(actor)))
    who = (actor_name(actor), now, asked.reason)
    run_no = shells.take_over(conn, row.session_id, theirs, who)
    kept = (found.document, found.body)
    exchange.keep_result(conn, row.session_id, found.version, kept, ("taken", "", run_no), now)
    if row.state in AFTER_PUBLICATION:
        shells.republish(conn, actor, row.session_id, run_no, asked.reason, now)


def _check_objection(conn: Conn, row: SessionRow, at: datetime) -> None:
    """After publication a result is confirmed by itself unless an objection came within a working day and was upheld."""
    published = [each.at for each in sessions.events_of(conn, row.session_id) if each.deed == "publish"]
    last = None if not published else objection_until(markettime.day_of(published[0]))
    objections = [
        each
        for each in clearings.disputes(conn, row.session_id)
        if each.verdict == "upheld" and last is not None and markettime.day_of(each.at) <= last
    ]
    if row.product == Product.CERTIFICATE:
        raise NotStruck("strike_certificates", session=row.session_no)
    if row.rolls_until is not None:
        raise NotStruck("strike_rolling", session=row.session_no)
    if not objections:
        raise NotStruck(
            "result_confirmed", session=row.session_no, until="" if last is None else last.isoformat()
        )


def _asked(
    conn: Conn, row: SessionRow, what: tuple[int, str, dict[str, int]], who: tuple[str, datetime, str]
) -> None:
    number, deed, facts = what
    sessions.note(conn, row.session_id, deed, row.state, who, {"change": number, **facts})
    told = {"session": row.session_no, "title": row.title}
    key = f"session:{row.session_id}:change:{number}"
    notices.post(
        conn, Notice(None, "session_change_asked", told, f"/trading/desk/{row.session_id}", key), who[1]
    )


def _find(conn: Conn, session_id: int, change_id: int) -> tuple[SessionRow, ChangeRow]:
    row, change = _row(conn, session_id), changes.find(conn, session_id, change_id)
    if change is None:
        raise NoChange("not_found", kind="change")
    return row, change


def _lock(conn: Conn, actor: Actor, session_id: int, now: datetime) -> SessionRow:
    allow(conn, actor, Deed.DIRECT_TRADING, Subject("trading_session", str(session_id)), now)
    return _row(conn, session_id)


def _row(conn: Conn, session_id: int) -> SessionRow:
    row = sessions.lock(conn, session_id)
    if row is None:
        raise NoChange("not_found", kind="trading_session")
    return row


def _said(reason: str) -> str:
    words = reason.strip()
    if not 2 <= len(words) <= REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    return words
