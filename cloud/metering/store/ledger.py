"""SQL: the batch ledger. Sealed bytes as evidence, cursors, losses, quarantine and counters.

The ledger alone decides what is a duplicate; its writers hold the lock of the batch's gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cloud.db import Conn
from cloud.metering.intake import Link, Position, StreamState
from edge_agent.wire.control import Loss

QUARANTINE_SAMPLES_PER_DAY = 100

_LEDGER_TYPES = (
    *("int8", "text", "int4", "int2", "int8", "bytea", "bytea", "text", "int4"),
    *("timestamptz", "timestamptz", "timestamptz", "bytea"),
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sealed batch as it goes into the ledger."""

    batch_id: int
    position: Position
    sha256: bytes
    previous_sha256: bytes
    verdict: str
    readings: int
    first_at: datetime | None
    last_at: datetime | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something that was not accepted, and why."""

    topic: str
    gateway_id: str
    verdict: str
    detail: str
    sha256: bytes
    body: bytes | None
    batch_id: int | None


def draw_batch_ids(conn: Conn, count: int) -> list[int]:
    """Draw ids for batches that may be stored; unused ones leave gaps, which mean nothing."""
    rows = conn.execute("SELECT nextval('sealed_batch_batch_id_seq') FROM generate_series(1, %s)", (count,))
    return [batch_id for (batch_id,) in rows]


def load_ledger(conn: Conn, positions: Iterable[Position]) -> dict[Position, Link]:
    """Load what the ledger holds at these positions."""
    wanted = sorted(set(positions))
    if not wanted:
        return {}
    gateways, epochs, streams, seqs = zip(*wanted, strict=True)
    rows = conn.execute(
        """SELECT b.gateway_id, b.epoch, b.stream, b.seq, b.sha256, b.previous_sha256
           FROM unnest(%s::text[], %s::int[], %s::smallint[], %s::bigint[]) AS w(gateway_id, epoch, stream, seq)
           JOIN sealed_batch b USING (gateway_id, epoch, stream, seq)""",
        (list(gateways), list(epochs), list(streams), list(seqs)),
        binary=True,
    )
    return {Position(*row[:4]): Link(*row[4:]) for row in rows}


def add_evidence(conn: Conn, batches: Sequence[Evidence], received_at: datetime) -> None:
    """Append batches to the ledger. The gateways' lock guarantees that none of them is there."""
    if not batches:
        return
    with (
        conn.cursor() as cursor,
        cursor.copy(
            """COPY sealed_batch (batch_id, gateway_id, epoch, stream, seq, sha256, previous_sha256, verdict, readings,
                                  first_at, last_at, received_at, body) FROM STDIN (FORMAT BINARY)"""
        ) as copy,
    ):
        copy.set_types(_LEDGER_TYPES)
        for b in batches:
            copy.write_row(
                (
                    *(b.batch_id, *b.position, b.sha256, b.previous_sha256, b.verdict, b.readings),
                    *(b.first_at, b.last_at, received_at, b.body),
                )
            )


def open_cursors(conn: Conn, streams: Iterable[tuple[str, int, int]]) -> None:
    """Make the cursors of streams (gateway, epoch, stream) that have none yet."""
    wanted = sorted(set(streams))
    if wanted:
        gateways, epochs, numbers = zip(*wanted, strict=True)
        conn.execute(
            """INSERT INTO batch_cursor (gateway_id, epoch, stream)
               SELECT * FROM unnest(%s::text[], %s::int[], %s::smallint[]) ON CONFLICT DO NOTHING""",
            (list(gateways), list(epochs), list(numbers)),
        )


def load_streams(conn: Conn, epochs: Iterable[tuple[str, int]]) -> dict[tuple[str, int, int], StreamState]:
    """Load every stream of these (gateway, epoch): cursor, and the ranges of seqs the ledger holds above it."""
    gateways, numbers = _columns(epochs)
    rows = conn.execute(
        """SELECT c.gateway_id, c.epoch, c.stream, c.upto, i.first, i.last,
                  EXISTS (SELECT FROM sealed_batch b
                          WHERE (b.gateway_id, b.epoch, b.stream) = (c.gateway_id, c.epoch, c.stream)
                            AND b.verdict = 'rejected')
           FROM unnest(%s::text[], %s::int[]) AS w(gateway_id, epoch)
           JOIN batch_cursor c USING (gateway_id, epoch)
           LEFT JOIN LATERAL (
               SELECT min(seq) AS first, max(seq) AS last
               FROM (SELECT b.seq, b.seq - row_number() OVER (ORDER BY b.seq) AS island FROM sealed_batch b
                     WHERE (b.gateway_id, b.epoch, b.stream) = (c.gateway_id, c.epoch, c.stream) AND b.seq > c.upto) s
               GROUP BY island
               UNION ALL
               SELECT l.first_seq, l.last_seq FROM batch_loss l
               WHERE (l.gateway_id, l.epoch, l.stream) = (c.gateway_id, c.epoch, c.stream) AND l.last_seq > c.upto
               ORDER BY 1 LIMIT 40) i ON true
           ORDER BY 1, 2, 3, i.first""",
        (gateways, numbers),
    )
    states: dict[tuple[str, int, int], StreamState] = {}
    for gateway_id, epoch, stream, upto, first, last, has_rejected in rows:
        key = (gateway_id, epoch, stream)
        islands = states[key].islands if key in states else ()
        states[key] = StreamState(upto, islands if first is None else (*islands, (first, last)), has_rejected)
    return states


def add_losses(conn: Conn, losses: Iterable[tuple[Loss, str, int]]) -> None:
    """Keep which seqs (loss, gateway, batch that says so) will never come; they count as consumed."""
    rows = [
        (
            *(gateway_id, loss.epoch, loss.stream, loss.first_seq, loss.last_seq, loss.readings),
            *(_instant(loss.first_ms), _instant(loss.last_ms), loss.reason, batch_id),
        )
        for loss, gateway_id, batch_id in losses
    ]
    if rows:
        with conn.cursor() as cursor:
            cursor.executemany(
                """INSERT INTO batch_loss (gateway_id, epoch, stream, first_seq, last_seq, readings, first_at, last_at,
                                           reason, batch_id)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
                rows,
            )


def _instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)


def load_rejected(
    conn: Conn, epochs: Iterable[tuple[str, int]], limit: int
) -> dict[tuple[str, int, int], tuple[tuple[int, int], ...]]:
    """Load the newest rejected batches of each stream of these (gateway, epoch) as (seq, batch id), ascending."""
    gateways, numbers = _columns(epochs)
    rows = conn.execute(
        """SELECT c.gateway_id, c.epoch, c.stream, r.seq, r.batch_id
           FROM unnest(%s::text[], %s::int[]) AS w(gateway_id, epoch)
           JOIN batch_cursor c USING (gateway_id, epoch)
           JOIN LATERAL (
               SELECT b.seq, b.batch_id FROM sealed_batch b
               WHERE (b.gateway_id, b.epoch, b.stream) = (c.gateway_id, c.epoch, c.stream) AND b.verdict = 'rejected'
               ORDER BY b.seq DESC LIMIT %s) r ON true
           ORDER BY 1, 2, 3, 4""",
        (gateways, numbers, limit),
    )
    found: dict[tuple[str, int, int], tuple[tuple[int, int], ...]] = {}
    for gateway_id, epoch, stream, seq, batch_id in rows:
        key = (gateway_id, epoch, stream)
        found[key] = (*found.get(key, ()), (seq, batch_id))
    return found


def advance_cursors(conn: Conn, uptos: Mapping[tuple[str, int, int], int]) -> None:
    """Move cursors forward; one never moves back."""
    if uptos:
        gateways, epochs, streams = zip(*uptos, strict=True)
        conn.execute(
            """UPDATE batch_cursor c SET upto = w.upto
               FROM unnest(%s::text[], %s::int[], %s::smallint[], %s::bigint[]) AS w(gateway_id, epoch, stream, upto)
               WHERE (c.gateway_id, c.epoch, c.stream) = (w.gateway_id, w.epoch, w.stream) AND c.upto < w.upto""",
            (list(gateways), list(epochs), list(streams), list(uptos.values())),
        )


def _columns(epochs: Iterable[tuple[str, int]]) -> tuple[list[str], list[int]]:
    wanted = sorted(set(epochs))
    return [gateway_id for gateway_id, _ in wanted], [epoch for _, epoch in wanted]


# ---- quarantine and counters -----------------------------------------------------------------------------


def quarantine(conn: Conn, items: Sequence[Quarantined], received_at: datetime, day_start: datetime) -> None:
    """Keep what was not accepted: all that consumed a seq, of the rest the first 100 of a gateway's day."""
    if not items:
        return
    kept: dict[str, int] = dict(
        conn.execute(
            """SELECT gateway_id, count(*) FROM quarantine
               WHERE gateway_id = ANY(%s) AND received_at >= %s AND batch_id IS NULL GROUP BY gateway_id""",
            (sorted({item.gateway_id for item in items}), day_start),
        ).fetchall()
    )
    rows = []
    for item in items:
        kept[item.gateway_id] = kept.get(item.gateway_id, 0) + (item.batch_id is None)
        if item.batch_id is not None or kept[item.gateway_id] <= QUARANTINE_SAMPLES_PER_DAY:
            rows.append(
                (
                    received_at,
                    item.topic,
                    item.gateway_id,
                    item.verdict,
                    item.detail,
                    item.sha256,
                    item.body,
                    item.batch_id,
                )
            )
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO quarantine (received_at, topic, gateway_id, verdict, detail, sha256, body, batch_id)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
            rows,
        )


def count_verdicts(conn: Conn, day: date, counts: Mapping[tuple[str, str], int]) -> None:
    """Add to the day's counters: (gateway, verdict) → messages."""
    wanted = sorted(counts.items())
    if wanted:
        conn.execute(
            """INSERT INTO intake_count (day, gateway_id, verdict, messages)
               SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[])
               ON CONFLICT (day, gateway_id, verdict) DO UPDATE SET messages = intake_count.messages + excluded.messages""",
            (
                day,
                [key[0] for key, _ in wanted],
                [key[1] for key, _ in wanted],
                [count for _, count in wanted],
            ),
        )
