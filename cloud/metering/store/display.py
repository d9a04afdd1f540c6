"""SQL for screens: live samples, days and months of an account, the fleet. Never read by billing or settlement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from cloud.db import Conn
from cloud.metering.display import DayRow, LiveRow

FLEET_MAX = 1000
METERS_MAX = 500
FINDINGS_MAX = 200


@dataclass(frozen=True, slots=True)
class DayTotalRow:
    """A day of an account as sums over its supply points."""

    day: date
    import_wh: int
    export_wh: int
    missing: int
    estimated: int


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """A gateway as the fleet page shows it; seen_at None: it has never been heard of."""

    gateway_id: str
    name: str
    state: str
    seen_at: datetime | None
    online: bool | None
    backlog_batches: int | None
    oldest_unacked_s: int | None
    meters: int
    missing: int
    estimated: int
    expected: int
    quarantined: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MeterRow:
    """A meter behind a gateway with its latest sample."""

    gateway_id: str
    meter_id: str
    profile: str
    address: str
    account_id: str
    supply_point_name: str
    multiplier: int
    taken_at: datetime | None
    ticks: Mapping[str, int | None] | None


@dataclass(frozen=True, slots=True)
class FindingRow:
    """What validation noticed about a day."""

    day: date
    slot: int | None
    meter_id: str
    rule: str
    severity: str


def live_of_account(conn: Conn, account_id: str, at: datetime) -> tuple[LiveRow, ...]:
    """The latest sample of every meter installed for the account at the instant, by supply point and meter."""
    with conn.cursor(row_factory=class_row(LiveRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT m.meter_id, s.supply_point_id, s.name AS supply_point_name, i.multiplier,
                          v.taken_at, v.ticks
                   FROM supply_point s
                   JOIN installation i ON i.supply_point_id = s.supply_point_id AND i.period @> %(at)s
                   JOIN meter m USING (meter_key)
                   LEFT JOIN live_value v USING (meter_key)
                   WHERE s.account_id = %(account_id)s
                   ORDER BY s.supply_point_id, m.meter_id LIMIT %(most)s""",
                {"account_id": account_id, "at": at, "most": METERS_MAX},
            )
        )


def days_of_account(conn: Conn, account_id: str, first: date, end: date) -> tuple[DayRow, ...]:
    """The latest revision of each day [first, end) of each supply point of the account."""
    with conn.cursor(row_factory=class_row(DayRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT DISTINCT ON (d.supply_point_id, d.day)
                          d.supply_point_id, d.day, d.revision, d.import_wh, d.export_wh, d.quality
                   FROM interval_day d JOIN supply_point s USING (supply_point_id)
                   WHERE s.account_id = %s AND d.day >= %s AND d.day < %s
                   ORDER BY d.supply_point_id, d.day, d.revision DESC""",
                (account_id, first, end),
            )
        )


def day_totals_of_account(conn: Conn, account_id: str, first: date, end: date) -> tuple[DayTotalRow, ...]:
    """Sums per day [first, end) over the account's supply points, latest revisions."""
    with conn.cursor(row_factory=class_row(DayTotalRow)) as cursor:
        return tuple(
            cursor.execute(
                """WITH latest AS (
                       SELECT DISTINCT ON (d.supply_point_id, d.day) d.*
                       FROM interval_day d JOIN supply_point s USING (supply_point_id)
                       WHERE s.account_id = %s AND d.day >= %s AND d.day < %s
                       ORDER BY d.supply_point_id, d.day, d.revision DESC)
                   SELECT day, coalesce(sum(i), 0)::bigint AS import_wh, coalesce(sum(e), 0)::bigint AS export_wh,
                          count(*) FILTER (WHERE q = 0) AS missing, count(*) FILTER (WHERE q = 3) AS estimated
                   FROM latest, unnest(import_wh, export_wh, quality) AS slot (i, e, q)
                   GROUP BY day ORDER BY day""",
                (account_id, first, end),
            )
        )


def fleet(conn: Conn, *, since_day: date, end_day: date, at: datetime) -> tuple[GatewayRow, ...]:
    """Every gateway with its state, its meters and the gaps and quarantined messages of the days given."""
    with conn.cursor(row_factory=class_row(GatewayRow)) as cursor:
        return tuple(
            cursor.execute(
                """WITH place AS (
                       SELECT gateway_id, supply_point_id, meter_key FROM installation WHERE period @> %(at)s),
                   latest AS (
                       SELECT DISTINCT ON (supply_point_id, day) supply_point_id, day, quality
                       FROM interval_day WHERE day >= %(since)s AND day < %(end)s
                       ORDER BY supply_point_id, day, revision DESC),
                   owed AS (
                       SELECT i.gateway_id, i.supply_point_id, each.day::date AS day
                       FROM installation i, generate_series(%(since)s::date, %(end)s::date - 1, '1 day') AS each (day)
                       WHERE i.period @> ((each.day::date)::timestamp AT TIME ZONE 'Asia/Shanghai')),
                   gap AS (
                       SELECT o.gateway_id, 96 * count(*) AS expected,
                              sum(coalesce(cardinality(array_positions(l.quality, 0::smallint)), 96)) AS missing,
                              sum(coalesce(cardinality(array_positions(l.quality, 3::smallint)), 0)) AS estimated
                       FROM owed o LEFT JOIN latest l USING (supply_point_id, day)
                       GROUP BY o.gateway_id),
                   held AS (
                       SELECT gateway_id, jsonb_object_agg(verdict, messages) AS counts
                       FROM (SELECT gateway_id, verdict, sum(messages) AS messages FROM intake_count
                             WHERE day >= %(since)s AND day < %(end)s
                               AND verdict NOT IN ('accepted', 'duplicate')
                             GROUP BY gateway_id, verdict) AS counted
                       GROUP BY gateway_id)
                   SELECT g.gateway_id, g.name, g.state, s.seen_at, s.online, s.backlog_batches, s.oldest_unacked_s,
                          (SELECT count(*) FROM place p WHERE p.gateway_id = g.gateway_id) AS meters,
                          coalesce(gap.missing, 0) AS missing, coalesce(gap.estimated, 0) AS estimated,
                          coalesce(gap.expected, 0) AS expected, coalesce(held.counts, '{}') AS quarantined
                   FROM gateway g LEFT JOIN gateway_status s USING (gateway_id)
                   LEFT JOIN gap USING (gateway_id) LEFT JOIN held USING (gateway_id)
                   ORDER BY g.gateway_id LIMIT %(most)s""",
                {"since": since_day, "end": end_day, "at": at, "most": FLEET_MAX},
            )
        )


def meters_of_gateways(conn: Conn, gateway_id: str | None, at: datetime) -> tuple[MeterRow, ...]:
    """The meters installed behind the gateway (None: behind any) at the instant, with their latest samples."""
    with conn.cursor(row_factory=class_row(MeterRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT i.gateway_id, m.meter_id, m.profile, m.address, s.account_id,
                          s.name AS supply_point_name, i.multiplier, v.taken_at, v.ticks
                   FROM installation i JOIN meter m USING (meter_key) JOIN supply_point s USING (supply_point_id)
                   LEFT JOIN live_value v USING (meter_key)
                   WHERE i.period @> %(at)s AND (%(gateway_id)s::text IS NULL OR i.gateway_id = %(gateway_id)s)
                   ORDER BY i.gateway_id, m.meter_id LIMIT %(most)s""",
                {"gateway_id": gateway_id, "at": at, "most": METERS_MAX},
            )
        )


def findings_of_gateway(
    conn: Conn, gateway_id: str, *, since_day: date, end_day: date
) -> tuple[FindingRow, ...]:
    """What validation noticed about the latest revisions of the gateway's supply points, newest first."""
    with conn.cursor(row_factory=class_row(FindingRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT f.day, f.slot, m.meter_id, f.rule, f.severity
                   FROM finding f
                   JOIN installation i ON i.supply_point_id = f.supply_point_id AND i.gateway_id = %(gateway_id)s
                        AND i.period && tstzrange((f.day)::timestamp AT TIME ZONE 'Asia/Shanghai',
                                                  (f.day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai')
                   JOIN meter m USING (meter_key)
                   WHERE f.day >= %(since)s AND f.day < %(end)s AND f.revision = (
                       SELECT max(revision) FROM interval_day d
                       WHERE d.supply_point_id = f.supply_point_id AND d.day = f.day)
                   ORDER BY f.day DESC, m.meter_id, f.slot LIMIT %(most)s""",
                {"gateway_id": gateway_id, "since": since_day, "end": end_day, "most": FINDINGS_MAX},
            )
        )
