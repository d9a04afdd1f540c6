"""SQL: gateways, their keys and epochs, meters and where they are installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from cloud.db import Conn
from cloud.metering.device import GATEWAY, Installation
from cloud.metering.intake import Binding, Gateway

_FAR_PAST_MS = -(1 << 62)
_FAR_FUTURE_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """One move or message in a gateway's life."""

    gateway_id: str
    at: datetime
    deed: str
    actor: str
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """A state message as it is kept."""

    gateway_id: str
    seen_at: datetime
    online: bool
    backlog_batches: int
    oldest_unacked_s: int
    facts: Mapping[str, object]
    retained: bool


def load_gateways(conn: Conn, gateway_ids: Iterable[str]) -> dict[str, Gateway]:
    """Load registered gateways with the keys that are in force now."""
    rows = conn.execute(
        """SELECT g.gateway_id, g.state, g.epoch, g.store_uuid,
                  array_agg(k.key_id) FILTER (WHERE k.key_id IS NOT NULL),
                  array_agg(k.public_key) FILTER (WHERE k.key_id IS NOT NULL)
           FROM gateway g LEFT JOIN gateway_key k ON k.gateway_id = g.gateway_id AND k.valid @> now()
           WHERE g.gateway_id = ANY(%s) GROUP BY g.gateway_id""",
        (sorted(set(gateway_ids)),),
    )
    return {
        gateway_id: Gateway(
            gateway_id, state, epoch, store_uuid, dict(zip(ids or (), keys or (), strict=True))
        )
        for gateway_id, state, epoch, store_uuid, ids, keys in rows
    }


def lock_gateways(conn: Conn, gateway_ids: Iterable[str]) -> dict[str, Gateway]:
    """Load gateways (without keys) and let only this transaction move their streams.

    In sorted order, so that two groups cannot deadlock.
    """
    rows = conn.execute(
        """SELECT gateway_id, state, epoch, store_uuid FROM gateway WHERE gateway_id = ANY(%s)
           ORDER BY gateway_id FOR NO KEY UPDATE""",
        (sorted(set(gateway_ids)),),
    )
    return {
        gateway_id: Gateway(gateway_id, state, epoch, store_uuid, {})
        for gateway_id, state, epoch, store_uuid in rows
    }


def load_bindings(conn: Conn, gateway_ids: Iterable[str]) -> dict[str, dict[str, tuple[Binding, ...]]]:
    """Load which meters these gateways read and when: gateway → meter id → bindings. Every gateway is a key."""
    wanted = sorted(set(gateway_ids))
    found: dict[str, dict[str, tuple[Binding, ...]]] = {gateway_id: {} for gateway_id in wanted}
    rows = conn.execute(
        """SELECT i.gateway_id, m.meter_id, i.meter_key,
                  (extract(epoch FROM lower(i.period)) * 1000)::bigint, (extract(epoch FROM upper(i.period)) * 1000)::bigint
           FROM installation i JOIN meter m USING (meter_key) WHERE i.gateway_id = ANY(%s)""",
        (wanted,),
    )
    for gateway_id, meter_id, meter_key, start_ms, end_ms in rows:
        binding = Binding(
            meter_key,
            _FAR_PAST_MS if start_ms is None else start_ms,
            _FAR_FUTURE_MS if end_ms is None else end_ms,
        )
        meters = found[gateway_id]
        meters[meter_id] = (*meters.get(meter_id, ()), binding)
    return found


def load_meter_keys(conn: Conn, meter_ids: Iterable[str]) -> dict[str, int]:
    """Find the keys of meters by their ids."""
    rows = conn.execute(
        "SELECT meter_id, meter_key FROM meter WHERE meter_id = ANY(%s)", (sorted(set(meter_ids)),)
    )
    return dict(rows.fetchall())


def installations_of_meter(conn: Conn, meter_key: int) -> tuple[Installation, ...]:
    """Load where a meter has been, earliest first."""
    return _installations(
        conn.execute(
            _INSTALLATION_SQL + "WHERE meter_key = %s ORDER BY lower(period)", (meter_key,)
        ).fetchall()
    )


def installations_of_supply_point(conn: Conn, supply_point_id: str) -> tuple[Installation, ...]:
    """Load which meters have measured a supply point, earliest first."""
    return _installations(
        conn.execute(
            _INSTALLATION_SQL + "WHERE supply_point_id = %s ORDER BY lower(period)", (supply_point_id,)
        ).fetchall()
    )


_INSTALLATION_SQL = """SELECT meter_key, supply_point_id, gateway_id, multiplier, lower(period), upper(period)
                       FROM installation """


def _installations(rows: Sequence[tuple[object, ...]]) -> tuple[Installation, ...]:
    return tuple(Installation(*row) for row in rows)  # type: ignore[arg-type]  # columns are in field order


def load_stores(conn: Conn, gateway_id: str) -> tuple[bytes, ...]:
    """Load the uuids of every edge store this gateway ever had."""
    rows = conn.execute("SELECT store_uuid FROM gateway_store WHERE gateway_id = %s", (gateway_id,))
    return tuple(store_uuid for (store_uuid,) in rows)


def register_store(conn: Conn, gateway_id: str, store_uuid: bytes, epoch: int, since: datetime) -> None:
    """Make this edge store the holder of the epoch. The caller holds the gateway's lock."""
    conn.execute(
        """WITH noted AS (INSERT INTO gateway_store (gateway_id, store_uuid, epoch, since) VALUES (%s, %s, %s, %s))
           UPDATE gateway SET store_uuid = %s, epoch = %s WHERE gateway_id = %s""",
        (gateway_id, store_uuid, epoch, since, store_uuid, epoch, gateway_id),
    )


def move_gateways(conn: Conn, gateway_ids: Iterable[str], deed: str) -> tuple[str, ...]:
    """Take a deed with those gateways whose state allows it (device.GATEWAY); return those that moved."""
    moves = [
        (before, after) for (before, said), after in GATEWAY.moves.items() if said == deed and before != after
    ]
    rows = conn.execute(
        """UPDATE gateway g SET state = m.after FROM unnest(%s::text[], %s::text[]) AS m(before, after)
           WHERE g.gateway_id = ANY(%s) AND g.state = m.before RETURNING g.gateway_id""",
        ([before for before, _ in moves], [after for _, after in moves], sorted(set(gateway_ids))),
    )
    return tuple(sorted(gateway_id for (gateway_id,) in rows))


def add_events(conn: Conn, events: Iterable[GatewayEvent]) -> None:
    """Append to the gateways' lives."""
    rows = [(e.gateway_id, e.at, e.deed, e.actor, Jsonb(dict(e.facts))) for e in events]
    if rows:
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO gateway_event (gateway_id, at, deed, actor, facts) VALUES (%s, %s, %s, %s, %s)",
                rows,
            )


def save_status(conn: Conn, status: GatewayStatus) -> None:
    """Keep a gateway's last state message for display.

    A retained message is a copy of an older one: it changes nothing that is newer. The will (offline) is as old as
    the connection, so the last time something was heard stays.
    """
    conn.execute(
        """INSERT INTO gateway_status AS kept (gateway_id, seen_at, online, backlog_batches, oldest_unacked_s, facts)
           VALUES (%(gateway_id)s, %(seen_at)s, %(online)s, %(backlog_batches)s, %(oldest_unacked_s)s, %(facts)s)
           ON CONFLICT (gateway_id) DO UPDATE SET seen_at = greatest(kept.seen_at, excluded.seen_at),
               online = excluded.online, backlog_batches = excluded.backlog_batches,
               oldest_unacked_s = excluded.oldest_unacked_s, facts = excluded.facts
           WHERE NOT %(retained)s OR kept.seen_at < excluded.seen_at""",
        {
            "gateway_id": status.gateway_id,
            "seen_at": status.seen_at,
            "online": status.online,
            "backlog_batches": status.backlog_batches,
            "oldest_unacked_s": status.oldest_unacked_s,
            "facts": Jsonb(dict(status.facts)),
            "retained": status.retained,
        },
    )


def save_live(conn: Conn, samples: Mapping[int, tuple[datetime, Mapping[str, int]]]) -> int:
    """Keep the newest sample per meter and tell the pages. Returns how many were newer than what was kept."""
    if not samples:
        return 0
    keys = sorted(samples)
    kept = conn.execute(
        """INSERT INTO live_value AS kept (meter_key, taken_at, ticks)
           SELECT * FROM unnest(%s::int[], %s::timestamptz[], %s::jsonb[])
           ON CONFLICT (meter_key) DO UPDATE SET taken_at = excluded.taken_at, ticks = excluded.ticks
           WHERE kept.taken_at < excluded.taken_at""",
        (keys, [samples[key][0] for key in keys], [Jsonb(dict(samples[key][1])) for key in keys]),
    ).rowcount
    if kept:
        conn.execute("NOTIFY live")
    return kept
