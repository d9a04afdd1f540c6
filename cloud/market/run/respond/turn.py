"""Shell: what the clock moves: start, end, assess, and silence that confirms."""

from __future__ import annotations

from datetime import datetime

from cloud.db import Conn
from cloud.lives import step
from cloud.market.programme import EVENT, Step
from cloud.market.run.respond.measure import NotMeasured, assess
from cloud.market.run.respond.statement import move
from cloud.market.run.respond.telling import CLOCK
from cloud.market.store import response as store
from cloud.market.store import responseresults as results
from cloud.market.store.response import EventRow


def look(conn: Conn, now: datetime) -> int:
    """Do what is due by the clock: start, end, assess, confirm by silence; return how many moves were made."""
    moves = 0
    for due in store.due_events(conn, now):
        store.lock_event(conn, due.event_id)
        event = store.event(conn, due.event_id)
        for state, deed, instant in (
            ("notified", "start", event.starts_at),
            ("active", "end", event.ends_at),
        ):
            if event.state == state and now >= instant:
                after = step(EVENT, state, deed)
                store.move_event(conn, event.event_id, Step(deed, state, after, now, CLOCK, ""))
                event = store.event(conn, event.event_id)
                moves += 1
        moves += _assess_or_silence(conn, event, now)
    return moves


def _assess_or_silence(conn: Conn, event: EventRow, now: datetime) -> int:
    if event.state == "ended":
        try:
            assess(conn, None, event.event_id, now)
        except NotMeasured:
            return 0  # metering may still fill the gap; the desk shows whose
        return 1
    if event.state != "assessed":
        return 0
    silent = [
        row for row in results.results(conn, event.event_id) if row.state == "drawn" and now >= row.object_by
    ]
    for row in silent:
        move(conn, row, "silence", (now, CLOCK), "")
    return len(silent)
