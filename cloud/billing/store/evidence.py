"""SQL: what a bill's energy rests on, from its interval days down to the sealed batches and the gateways' keys."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloud.billing.facts import Bill
from cloud.billing.proof.witness import Batch, GatewayKey, MeterAt, Witness
from cloud.db import Conn
from cloud.metering.interval import IntervalDay

BESIDE = timedelta(minutes=2)  # a reading beside a mark may stand for it


def load(conn: Conn, bill: Bill, span: tuple[datetime, datetime]) -> Witness:
    """Load all of it for a bill whose energy is of `span` = [start, end)."""
    points = sorted({each.supply_point_id for each in bill.intervals}) or _points(conn, bill)
    meters = _meters(conn, points, span)
    batches = _batches(conn, bill, meters, span)
    return Witness(
        account_id=bill.account.account_id,
        month=bill.month,
        revision=bill.revision,
        meters=meters,
        days=_days(conn, bill),
        keys=_keys(conn, sorted({each.gateway_id for each in batches})),
        batches=batches,
        prices=_prices(conn, bill),
    )


def _points(conn: Conn, bill: Bill) -> list[str]:
    rows = conn.execute(
        "SELECT supply_point_id FROM supply_point WHERE account_id = %s ORDER BY 1",
        (bill.account.account_id,),
    )
    return [point for (point,) in rows]


def _meters(conn: Conn, points: list[str], span: tuple[datetime, datetime]) -> tuple[MeterAt, ...]:
    rows = conn.execute(
        """SELECT i.supply_point_id, m.meter_id, i.gateway_id, i.multiplier, lower(i.period), upper(i.period)
           FROM installation i JOIN meter m USING (meter_key)
           WHERE i.supply_point_id = ANY(%s) AND i.period && tstzrange(%s, %s)
           ORDER BY i.supply_point_id, lower(i.period)""",
        (points, *span),
    )
    return tuple(MeterAt(*row) for row in rows)


def _days(conn: Conn, bill: Bill) -> tuple[IntervalDay, ...]:
    rows = conn.execute(
        """SELECT d.supply_point_id, d.day, d.revision, d.import_wh, d.export_wh, d.import_varh, d.export_varh,
                  d.quality
           FROM unnest(%s::text[], %s::date[], %s::int[]) AS w(supply_point_id, day, revision)
           JOIN interval_day d USING (supply_point_id, day, revision) ORDER BY 1, 2""",
        (
            [each.supply_point_id for each in bill.intervals],
            [each.day for each in bill.intervals],
            [each.revision for each in bill.intervals],
        ),
    )
    return tuple(
        IntervalDay(point, day, revision, tuple(a), tuple(b), tuple(c), tuple(d), tuple(quality))
        for point, day, revision, a, b, c, d, quality in rows
    )


def _batches(
    conn: Conn, bill: Bill, meters: tuple[MeterAt, ...], span: tuple[datetime, datetime]
) -> tuple[Batch, ...]:
    """Every batch that holds a reading of one of the meters in the span, and those the bill names."""
    start, end = span
    named = sorted({batch_id for each in bill.registers for batch_id in each.batch_ids})
    rows = conn.execute(
        """SELECT batch_id, gateway_id, epoch, stream, seq, sha256, body FROM sealed_batch
           WHERE batch_id = ANY(%(named)s) OR batch_id IN (
               SELECT DISTINCT r.batch_id FROM reading r JOIN meter m USING (meter_key)
               WHERE m.meter_id = ANY(%(meters)s) AND r.taken_at >= %(start)s AND r.taken_at <= %(end)s)
           ORDER BY batch_id""",
        {
            "named": named,
            "meters": sorted({each.meter_id for each in meters}),
            "start": start - BESIDE,
            "end": end + BESIDE,
        },
    )
    return tuple(Batch(a, b, c, d, e, bytes(sha256), bytes(body)) for a, b, c, d, e, sha256, body in rows)


def _keys(conn: Conn, gateways: list[str]) -> tuple[GatewayKey, ...]:
    rows = conn.execute(
        """SELECT gateway_id, public_key, lower(valid), upper(valid) FROM gateway_key
           WHERE gateway_id = ANY(%s) ORDER BY gateway_id, lower(valid)""",
        (gateways,),
    )
    return tuple(GatewayKey(gateway_id, bytes(key), start, end) for gateway_id, key, start, end in rows)


def _prices(conn: Conn, bill: Bill) -> tuple[tuple[str, str], ...]:
    refs = sorted({(file.id, file.version) for each in bill.segments for file in each.files})
    rows = conn.execute(
        """SELECT p.sheet_id || '@' || p.version, p.body
           FROM unnest(%s::text[], %s::int[]) AS w(sheet_id, version) JOIN price_sheet p USING (sheet_id, version)
           ORDER BY 1""",
        ([sheet_id for sheet_id, _ in refs], [version for _, version in refs]),
    )
    return tuple((name, body) for name, body in rows)
