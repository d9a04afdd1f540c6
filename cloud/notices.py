"""What happened that somebody should look at: one row a fact, told once, kept for ever, read per person.

`post` is called in the transaction of the deed that it tells of, so there is no notice of what was rolled back.
A notice's text is words `notice.<key>` with the facts put in; a deed done twice is told once (idem_key).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.db import Conn

PAGE_ROWS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell a party, or the market operator's staff (party_id None)."""

    party_id: int | None
    key: str
    facts: Mapping[str, str]
    path: str  # the page it is about
    idem_key: str


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice as one person finds it."""

    notice_id: int
    key: str
    facts: Mapping[str, str]
    path: str
    at: datetime
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose inbox: a person and the party the person acts for (None: the staff's)."""

    user_id: int
    party_id: int | None


def post(conn: Conn, notice: Notice, at: datetime) -> bool:
    """Tell of something; say whether it was told now, False when it had been told already."""
    cursor = conn.execute(
        """INSERT INTO notice (party_id, key, facts, path, idem_key, at)
           VALUES (%s, %s, %s::jsonb, %s, %s, %s) ON CONFLICT DO NOTHING""",
        (notice.party_id, notice.key, _json(notice.facts), notice.path, notice.idem_key, at),
    )
    return cursor.rowcount == 1


def inbox(
    conn: Conn, reader: Reader, *, only_unread: bool = False, topic: str = "", before: int | None = None
) -> tuple[NoticeRow, ...]:
    """The reader's notices, newest first, at most PAGE_ROWS_MAX; `topic` is the beginning of their keys."""
    rows = conn.execute(
        """SELECT n.notice_id, n.key, n.facts, n.path, n.at, r.at
           FROM notice n LEFT JOIN notice_read r ON r.notice_id = n.notice_id AND r.user_id = %(user)s
           WHERE n.party_id IS NOT DISTINCT FROM %(party)s AND (NOT %(unread)s OR r.at IS NULL)
             AND (%(topic)s = '' OR n.key = %(topic)s OR starts_with(n.key, %(topic)s || '.'))
             AND (%(before)s::bigint IS NULL OR n.notice_id < %(before)s)
           ORDER BY n.notice_id DESC LIMIT %(most)s""",
        {
            "user": reader.user_id,
            "party": reader.party_id,
            "unread": only_unread,
            "topic": topic,
            "before": before,
            "most": PAGE_ROWS_MAX,
        },
    ).fetchall()
    return tuple(NoticeRow(*row) for row in rows)


def unread(conn: Conn, reader: Reader) -> int:
    """How many of the reader's notices the reader has not opened."""
    row = conn.execute(
        """SELECT count(*) FROM notice n WHERE n.party_id IS NOT DISTINCT FROM %(party)s
             AND NOT EXISTS (SELECT FROM notice_read r
                             WHERE r.notice_id = n.notice_id AND r.user_id = %(user)s)""",
        {"user": reader.user_id, "party": reader.party_id},
    ).fetchone()
    assert row is not None
    return int(row[0])


def unread_up_to(conn: Conn, reader: Reader, most: int) -> int:
    """How many of the reader's notices the reader has not opened, counting no further than `most`: for every page's header."""
    row = conn.execute(
        """SELECT count(*) FROM (
               SELECT FROM notice n WHERE n.party_id IS NOT DISTINCT FROM %(party)s
                 AND NOT EXISTS (SELECT FROM notice_read r
                                 WHERE r.notice_id = n.notice_id AND r.user_id = %(user)s)
               ORDER BY n.notice_id DESC LIMIT %(most)s) counted""",
        {"user": reader.user_id, "party": reader.party_id, "most": most},
    ).fetchone()
    assert row is not None
    return int(row[0])


def topics(conn: Conn, reader: Reader) -> tuple[str, ...]:
    """The first parts of the keys that the reader's notices have, in order of the alphabet."""
    rows = conn.execute(
        """SELECT DISTINCT split_part(key, '.', 1) FROM notice WHERE party_id IS NOT DISTINCT FROM %s
           ORDER BY 1""",
        (reader.party_id,),
    ).fetchall()
    return tuple(str(row[0]) for row in rows)


def find(conn: Conn, reader: Reader, notice_id: int) -> NoticeRow | None:
    """One notice of the reader's."""
    row = conn.execute(
        """SELECT n.notice_id, n.key, n.facts, n.path, n.at, r.at
           FROM notice n LEFT JOIN notice_read r ON r.notice_id = n.notice_id AND r.user_id = %s
           WHERE n.notice_id = %s AND n.party_id IS NOT DISTINCT FROM %s""",
        (reader.user_id, notice_id, reader.party_id),
    ).fetchone()
    return None if row is None else NoticeRow(*row)


def mark_read(conn: Conn, reader: Reader, notice_ids: Sequence[int], at: datetime) -> None:
    """The reader has seen these of the reader's own notices."""
    conn.execute(
        """INSERT INTO notice_read (notice_id, user_id, at)
           SELECT n.notice_id, %(user)s, %(at)s FROM notice n
           WHERE n.notice_id = ANY(%(ids)s) AND n.party_id IS NOT DISTINCT FROM %(party)s
           ON CONFLICT DO NOTHING""",
        {"user": reader.user_id, "party": reader.party_id, "ids": list(notice_ids), "at": at},
    )


def mark_all_read(conn: Conn, reader: Reader, at: datetime) -> None:
    """The reader has seen everything there is now."""
    conn.execute(
        """INSERT INTO notice_read (notice_id, user_id, at)
           SELECT n.notice_id, %(user)s, %(at)s FROM notice n WHERE n.party_id IS NOT DISTINCT FROM %(party)s
           ON CONFLICT DO NOTHING""",
        {"user": reader.user_id, "party": reader.party_id, "at": at},
    )


def _json(facts: Mapping[str, str]) -> str:
    return json.dumps(dict(facts), ensure_ascii=False, sort_keys=True)
