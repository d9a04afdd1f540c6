"""A platform's result becomes a PRE run of our own session: checked for the grid, published and contracted like any.

The run is a function of the platform's document and our closed book: computed again from both it has the same hash.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from cloud.db import Conn
from cloud.errors import NotNow
from cloud.lives import step
from cloud.market import exchangefile
from cloud.market.closedbook import bids_of, check_whole
from cloud.market.exchange import Result
from cloud.market.hostedbook import hosted, seq_of
from cloud.market.session import AFTER_PUBLICATION, SESSION
from cloud.market.sessionbook import Bid, Way, input_sha256, result_sha256
from cloud.market.sessionfile import Method
from cloud.market.store import clearings, orders, sessions
from cloud.market.store.clearings import RunRow
from cloud.market.store.sessions import SessionRow

ACTOR: Final = "job:exchange"


class NotWaiting(NotNow):
    """The session does not wait for a result: its book is open, or it was cleared."""


def take(conn: Conn, session_id: int, theirs: Result, now: datetime) -> int:
    """Keep a checked result as a clearing run and move the session to 'cleared'; return the run's number.

    Raises NotWaiting, BadResult, BookChanged.
    """
    row = sessions.lock(conn, session_id)
    if row is None or row.state != "frozen":
        raise NotWaiting("not_waiting", session=theirs.session_no)
    return _keep(conn, row, theirs, (ACTOR, now, ""))


def take_over(conn: Conn, session_id: int, theirs: Result, who: tuple[str, datetime, str]) -> int:
    """Keep a corrected result as a further run; what is not published yet is to be checked again. `who`: actor, instant, reason.

    Raises NotWaiting, BadResult, BookChanged.
    """
    row = sessions.lock(conn, session_id)
    if row is None or row.state not in ("cleared", "checked", *AFTER_PUBLICATION):
        raise NotWaiting("not_waiting", session=theirs.session_no)
    return _keep(conn, row, theirs, who)


def _keep(conn: Conn, row: SessionRow, theirs: Result, who: tuple[str, datetime, str]) -> int:
    bids = _bids(conn, row, theirs)
    result = hosted(theirs, bids, len(row.period_label))
    document = hashlib.sha256(exchangefile.canonical(exchangefile.result_json(theirs))).hexdigest()
    way = Way(Method.UNIFORM, theirs.price_rule, theirs.at_margin)
    also = (f"platform {document}",)
    run_no = clearings.next_run(conn, row.session_id)
    run = RunRow(
        *(row.session_id, run_no, "pre", None, row.rule_sha256, way.price_rule.value, way.at_margin.value),
        *(way.method.value, min((bid.seq for bid in bids), default=0), row.last_seq or 0),
        sum(len(bid.period) for bid in bids),
        input_sha256(row.book_sha256 or "", way, row.rule_sha256, also),
        *(result_sha256(result), exchangefile.RESULT),
        who[2],
        who[1],
        who[0],
    )
    clearings.insert_run(conn, run, result, {bid.seq: bid.party_id for bid in bids})
    state = row.state
    if state not in AFTER_PUBLICATION:
        state = step(SESSION, row.state, "clear")
        sessions.set_state(conn, row.session_id, state)
    facts = {"run": run_no, "version": theirs.version, "result_sha256": run.result_sha256}
    sessions.note(conn, row.session_id, "clear", state, who, facts)
    return run_no


def _bids(conn: Conn, row: SessionRow, theirs: Result) -> tuple[Bid, ...]:
    """The closed book, and what else the platform held of it. Raises BookChanged."""
    bids = bids_of(row.session_no, orders.book(conn, row.session_id, row.last_seq or 0))
    check_whole(bids, row.book_sha256)
    missing = {seq_of(key) for key in theirs.fills} - {bid.seq for bid in bids}
    return (*bids, *bids_of(row.session_no, orders.rows_of(conn, row.session_id, sorted(missing))))
