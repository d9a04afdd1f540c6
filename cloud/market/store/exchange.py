"""SQL: sessions that a platform hosts, messages to it, its documents and results, reconciliations, the line to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.market.exchange import Difference, Gap

QUEUED_MAX: Final = 5000  # declarations that one look puts into the outbox


@dataclass(frozen=True, slots=True)
class BidRow:
    """A declaration that is not in the outbox yet; `replaces_key` is set where it follows another."""

    seq: int
    session_id: int
    session_no: str
    kind: str
    unit_id: str
    side: str
    replaces: int | None
    period: list[int]
    price_ticks: list[int]
    quantity_kwh: list[int]
    at: datetime


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to go out."""

    platform: str
    key: str
    session_id: int
    seq: int
    kind: str
    schema: str
    body: str
    sha256: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as it stands."""

    message_id: int
    idem_key: str
    session_id: int
    seq: int
    kind: str
    schema_name: str
    queued_at: datetime
    state: str
    attempts: int
    next_at: datetime
    last_problem: str
    answered_at: datetime | None
    answer_code: str
    receipt_no: str


@dataclass(frozen=True, slots=True)
class SaidRow:
    """A message with what it says: for who sends it and compares it, not for pages."""

    message_id: int
    idem_key: str
    session_id: int
    state: str
    attempts: int
    body: str


@dataclass(frozen=True, slots=True)
class HostedRow:
    """A session that a platform hosts, with the messages by state."""

    session_id: int
    session_no: str
    state: str
    platform: str
    new: int
    sent: int
    acked: int
    rejected: int
    reconciled: int
    result_version: int | None
    offered_version: int | None  # a later one that nobody has taken over


@dataclass(frozen=True, slots=True)
class ReconciliationRow:
    """One comparison with the platform's file of a day."""

    reconciliation_id: int
    day: date
    document: str
    declarations: int
    results: int
    differences: int
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has not reached the platform, or has no answer yet."""

    waiting: int
    oldest: datetime | None
    attempts_most: int
    unqueued: int


# ---- which sessions, and the outbox ----------------------------------------------------------------------


def host(conn: Conn, session_id: int, platform: str, at: datetime, by: str) -> bool:
    """Hand a session's matching to the platform; False when it was already."""
    cursor = conn.execute(
        """INSERT INTO exchange_session (session_id, platform, hosted_at, hosted_by) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (session_id, platform, at, by),
    )
    return cursor.rowcount == 1


def hostable(conn: Conn) -> tuple[int, ...]:
    """Sessions that are announced or open and that nobody hosts but we."""
    rows = conn.execute(
        """SELECT session_id FROM trading_session s WHERE state IN ('announced', 'open') AND product <> 'gec'
             AND NOT EXISTS (SELECT FROM exchange_session e WHERE e.session_id = s.session_id)
             AND NOT EXISTS (SELECT FROM bid_event b WHERE b.session_id = s.session_id)
           ORDER BY session_id"""
    )
    return tuple(session_id for (session_id,) in rows)


def unqueued(conn: Conn, platform: str) -> tuple[BidRow, ...]:
    """Declarations of hosted sessions that are not in the outbox, in their order."""
    with conn.cursor(row_factory=class_row(BidRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT b.seq, b.session_id, s.session_no, b.kind, b.unit_id, b.side, b.replaces, b.period,
                          b.price_ticks, b.quantity_kwh, b.at
                   FROM bid_event b JOIN exchange_session e USING (session_id) JOIN trading_session s USING (session_id)
                   WHERE e.platform = %s AND b.kind <> 'CLOSE'
                     AND NOT EXISTS (SELECT FROM exchange_message m WHERE m.seq = b.seq)
                   ORDER BY b.seq LIMIT %s""",
                (platform, QUEUED_MAX),
            )
        )


def queue(conn: Conn, new: NewMessage, at: datetime) -> bool:
    """Put a message into the outbox; False when it is there already."""
    cursor = conn.execute(
        """INSERT INTO exchange_message (platform, idem_key, session_id, seq, kind, schema_name, body, body_sha256,
               queued_at, next_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (
            *(new.platform, new.key, new.session_id, new.seq, new.kind, new.schema, new.body, new.sha256),
            *(at, at),
        ),
    )
    return cursor.rowcount == 1


_SAID: Final = "message_id, idem_key, session_id, state, attempts, body"
_MESSAGE: Final = """message_id, idem_key, session_id, seq, kind, schema_name, queued_at, state, attempts, next_at,
    last_problem, answered_at, answer_code, receipt_no"""


def next_due(conn: Conn, platform: str, now: datetime) -> SaidRow | None:
    """The first unanswered message whose session has none before it that is still unanswered, if it is due."""
    with conn.cursor(row_factory=class_row(SaidRow)) as cursor:
        return cursor.execute(
            f"""SELECT {_SAID} FROM exchange_message m
                WHERE platform = %s AND state IN ('NEW', 'SENT') AND next_at <= %s
                  AND NOT EXISTS (SELECT FROM exchange_message b
                                  WHERE b.session_id = m.session_id AND b.message_id < m.message_id
                                    AND b.state IN ('NEW', 'SENT'))
                ORDER BY message_id LIMIT 1""",
            (platform, now),
        ).fetchone()


def sending(conn: Conn, message_id: int, next_at: datetime) -> None:
    """Note, before it goes, that a message is sent once more."""
    conn.execute(
        "UPDATE exchange_message SET state = 'SENT', attempts = attempts + 1, next_at = %s WHERE message_id = %s",
        (next_at, message_id),
    )


def failed(conn: Conn, message_id: int, problem: str) -> None:
    """Note why a message has no answer."""
    conn.execute(
        "UPDATE exchange_message SET last_problem = %s WHERE message_id = %s", (problem[:300], message_id)
    )


def answered(conn: Conn, message_id: int, state: str, answer: tuple[str, str, str], at: datetime) -> None:
    """Note an answer: document, code, receipt number."""
    document, code, receipt_no = answer
    conn.execute(
        """UPDATE exchange_message SET state = %s, answered_at = %s, answer_sha256 = %s, answer_code = %s,
               receipt_no = %s, last_problem = ''
           WHERE message_id = %s""",
        (state, at, document, code[:200], receipt_no[:200], message_id),
    )


def send_again(conn: Conn, session_id: int, now: datetime) -> int:
    """Let unanswered messages of a session go at once instead of waiting."""
    cursor = conn.execute(
        "UPDATE exchange_message SET next_at = %s WHERE session_id = %s AND state IN ('NEW', 'SENT')",
        (now, session_id),
    )
    return cursor.rowcount


def messages(conn: Conn, session_id: int, most: int = 500) -> tuple[MessageRow, ...]:
    """A session's messages, the latest first."""
    with conn.cursor(row_factory=class_row(MessageRow)) as cursor:
        return tuple(
            cursor.execute(
                f"SELECT {_MESSAGE} FROM exchange_message WHERE session_id = %s ORDER BY message_id DESC LIMIT %s",
                (session_id, most),
            )
        )


def messages_of(conn: Conn, session_ids: Sequence[int]) -> tuple[SaidRow, ...]:
    """All messages of sessions, in their order."""
    with conn.cursor(row_factory=class_row(SaidRow)) as cursor:
        return tuple(
            cursor.execute(
                f"SELECT {_SAID} FROM exchange_message WHERE session_id = ANY(%s) ORDER BY message_id",
                (list(session_ids),),
            )
        )


def reconcile_messages(conn: Conn, keys: Sequence[str]) -> None:
    """These acknowledged messages stand in the platform's file as we sent them."""
    conn.execute(
        "UPDATE exchange_message SET state = 'RECONCILED' WHERE idem_key = ANY(%s) AND state = 'ACKED'",
        (list(keys),),
    )


def backlog(conn: Conn, platform: str) -> Backlog:
    """Count what waits for the platform."""
    row = conn.execute(
        """SELECT count(*), min(queued_at), coalesce(max(attempts), 0),
                  (SELECT count(*) FROM bid_event b JOIN exchange_session e USING (session_id)
                   WHERE e.platform = %(platform)s AND b.kind <> 'CLOSE'
                     AND NOT EXISTS (SELECT FROM exchange_message m WHERE m.seq = b.seq))
           FROM exchange_message WHERE platform = %(platform)s AND state IN ('NEW', 'SENT')""",
        {"platform": platform},
    ).fetchone()
    assert row is not None
    return Backlog(*row)


# ---- what came -------------------------------------------------------------------------------------------


def keep_document(conn: Conn, platform: str, kind: str, document: tuple[str, int], at: datetime) -> None:
    """Note a document (sha256, bytes) that lies in the vault."""
    conn.execute(
        """INSERT INTO exchange_document (sha256, platform, kind, size_bytes, received_at) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (document[0], platform, kind, document[1], at),
    )


def hosted(conn: Conn, platform: str = "") -> tuple[HostedRow, ...]:
    """Hosted sessions with their messages by state, the latest first."""
    with conn.cursor(row_factory=class_row(HostedRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT e.session_id, s.session_no, s.state, e.platform,
                          count(m.message_id) FILTER (WHERE m.state = 'NEW') AS new,
                          count(m.message_id) FILTER (WHERE m.state = 'SENT') AS sent,
                          count(m.message_id) FILTER (WHERE m.state = 'ACKED') AS acked,
                          count(m.message_id) FILTER (WHERE m.state = 'REJECTED') AS rejected,
                          count(m.message_id) FILTER (WHERE m.state = 'RECONCILED') AS reconciled,
                          (SELECT max(version) FROM exchange_result r
                           WHERE r.session_id = e.session_id AND r.verdict = 'taken') AS result_version,
                          (SELECT max(o.version) FROM exchange_offer o WHERE o.session_id = e.session_id
                           AND o.version > (SELECT max(r.version) FROM exchange_result r
                                            WHERE r.session_id = e.session_id AND r.verdict = 'taken')) AS offered_version
                   FROM exchange_session e JOIN trading_session s USING (session_id)
                   LEFT JOIN exchange_message m USING (session_id)
                   WHERE %(platform)s = '' OR e.platform = %(platform)s
                   GROUP BY e.session_id, s.session_no, s.state, e.platform, s.opens_at
                   ORDER BY s.opens_at DESC, e.session_id DESC LIMIT 500""",
                {"platform": platform},
            )
        )


def awaiting_result(conn: Conn, platform: str) -> tuple[tuple[int, str], ...]:
    """Hosted sessions (id, number) whose book is closed and all of whose messages are answered, without a result."""
    rows = conn.execute(
        """SELECT e.session_id, s.session_no FROM exchange_session e JOIN trading_session s USING (session_id)
           WHERE e.platform = %s AND s.state = 'frozen'
             AND NOT EXISTS (SELECT FROM exchange_result r WHERE r.session_id = e.session_id AND r.verdict = 'taken')
             AND NOT EXISTS (SELECT FROM exchange_message m
                             WHERE m.session_id = e.session_id AND m.state IN ('NEW', 'SENT'))
             AND NOT EXISTS (SELECT FROM bid_event b WHERE b.session_id = e.session_id AND b.kind <> 'CLOSE'
                             AND NOT EXISTS (SELECT FROM exchange_message m WHERE m.seq = b.seq))
           ORDER BY e.session_id""",
        (platform,),
    )
    return tuple((int(session_id), str(number)) for session_id, number in rows)


def keep_result(
    conn: Conn,
    session_id: int,
    version: int,
    document: tuple[str, dict[str, Any]],
    verdict: tuple[str, str, int | None],
    at: datetime,
) -> bool:
    """Keep a result with what was made of it; False when exactly this one is kept already."""
    sha256, body = document
    cursor = conn.execute(
        """INSERT INTO exchange_result (session_id, version, document, body, verdict, problem, run_no, taken_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (session_id, version, sha256, Jsonb(body), verdict[0], verdict[1][:300], verdict[2], at),
    )
    return cursor.rowcount == 1


def keep_offer(
    conn: Conn, session_id: int, version: int, document: tuple[str, dict[str, Any], str], at: datetime
) -> bool:
    """Keep a later version of a taken result, as document, body and the body's hash; False when it is kept already."""
    sha256, body, body_sha256 = document
    cursor = conn.execute(
        """INSERT INTO exchange_offer (session_id, version, document, body, body_sha256, at)
           VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (session_id, version, sha256, Jsonb(body), body_sha256, at),
    )
    return cursor.rowcount == 1


def taken_version(conn: Conn, session_id: int) -> int:
    """The version of the result in our books; 0: none."""
    row = conn.execute(
        "SELECT coalesce(max(version), 0) FROM exchange_result WHERE session_id = %s AND verdict = 'taken'",
        (session_id,),
    ).fetchone()
    return 0 if row is None else int(row[0])


def watched(conn: Conn, platform: str, since: datetime | None) -> tuple[tuple[int, str], ...]:
    """Hosted sessions (id, number) whose result may still be corrected: not published yet, or closed since an instant."""
    rows = conn.execute(
        """SELECT e.session_id, s.session_no FROM exchange_session e JOIN trading_session s USING (session_id)
           WHERE e.platform = %s AND (s.state IN ('cleared', 'checked')
                                      OR s.state IN ('published', 'rolling', 'closed') AND s.gate_at >= %s)
             AND EXISTS (SELECT FROM exchange_result r WHERE r.session_id = e.session_id AND r.verdict = 'taken')
           ORDER BY e.session_id""",
        (platform, since),
    )
    return tuple((int(session_id), str(number)) for session_id, number in rows)


def taken_results(conn: Conn, session_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The latest result taken of each session, as kept."""
    rows = conn.execute(
        """SELECT DISTINCT ON (session_id) session_id, body FROM exchange_result
           WHERE verdict = 'taken' AND session_id = ANY(%s) ORDER BY session_id, version DESC""",
        (list(session_ids),),
    )
    return {int(session_id): body for session_id, body in rows}


def sessions_of_day(conn: Conn, platform: str, start: datetime, end: datetime) -> dict[int, str]:
    """Hosted sessions whose gate fell into `[start, end)`, or which had messages then: id -> number."""
    rows = conn.execute(
        """SELECT e.session_id, s.session_no FROM exchange_session e JOIN trading_session s USING (session_id)
           WHERE e.platform = %(platform)s AND s.gate_at >= %(start)s AND s.gate_at < %(end)s""",
        {"platform": platform, "start": start, "end": end},
    )
    return {int(session_id): str(number) for session_id, number in rows}


# ---- reconciliations -------------------------------------------------------------------------------------


def keep_reconciliation(
    conn: Conn,
    platform: str,
    day: date,
    document: tuple[str, int, int],
    found: Sequence[Difference],
    who: tuple[str, datetime],
) -> int:
    """Keep a comparison with its differences: `document` is sha256, declarations and results in it."""
    row = conn.execute(
        """INSERT INTO exchange_reconciliation (platform, day, document, declarations, results, differences, at, actor)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING reconciliation_id""",
        (platform, day, *document, len(found), who[1], who[0]),
    ).fetchone()
    assert row is not None
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO exchange_difference VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    row[0],
                    number,
                    each.gap.value,
                    each.session_no,
                    each.key,
                    each.period,
                    each.ours[:500],
                    each.theirs[:500],
                )
                for number, each in enumerate(found, start=1)
            ],
        )
    return int(row[0])


def reconciliations(conn: Conn, platform: str, most: int = 60) -> tuple[ReconciliationRow, ...]:
    """Comparisons, the latest first."""
    with conn.cursor(row_factory=class_row(ReconciliationRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT reconciliation_id, day, document, declarations, results, differences, at, actor
                   FROM exchange_reconciliation WHERE platform = %s ORDER BY reconciliation_id DESC LIMIT %s""",
                (platform, most),
            )
        )


def find_reconciliation(conn: Conn, reconciliation_id: int) -> ReconciliationRow | None:
    """One comparison."""
    with conn.cursor(row_factory=class_row(ReconciliationRow)) as cursor:
        return cursor.execute(
            """SELECT reconciliation_id, day, document, declarations, results, differences, at, actor
               FROM exchange_reconciliation WHERE reconciliation_id = %s""",
            (reconciliation_id,),
        ).fetchone()


def differences_of(conn: Conn, reconciliation_id: int) -> tuple[Difference, ...]:
    """What a comparison found."""
    rows = conn.execute(
        """SELECT gap, session_no, idem_key, period, ours, theirs FROM exchange_difference
           WHERE reconciliation_id = %s ORDER BY difference_no""",
        (reconciliation_id,),
    )
    return tuple(Difference(Gap(row[0]), *row[1:]) for row in rows)


def compared_days(conn: Conn, platform: str, since: date) -> frozenset[date]:
    """The days from `since` on that were compared without a difference left."""
    rows = conn.execute(
        """SELECT DISTINCT ON (day) day, differences FROM exchange_reconciliation
           WHERE platform = %s AND day >= %s ORDER BY day, reconciliation_id DESC""",
        (platform, since),
    )
    return frozenset(day for day, count in rows if count == 0)
