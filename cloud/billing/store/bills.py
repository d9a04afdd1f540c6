"""SQL: what a bill is drawn up from, and bills with their lines. Nothing here commits or decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from psycopg.types.json import Jsonb

from cloud.billing.billjson import bill_from, derivation_json, facts_json, items_json
from cloud.billing.facts import Bill, IntervalEvidence, Register
from cloud.billing.line import BillLine
from cloud.billing.segment import DemandMode, Terms
from cloud.db import Conn
from cloud.errors import NotFound
from cloud.money import EXACT

# Energy registers of the channel catalogue: (column, code, unit); canonical ticks are 0.1 Wh and 0.1 varh.
REGISTERS = (
    ("c0", "ea_imp", "kWh"),
    ("c1", "ea_exp", "kWh"),
    ("c2", "er_imp", "kvarh"),
    ("c3", "er_exp", "kvarh"),
)
TICK_EXPONENT = -4
# How far from an end of the month a register reading may stand for it when that very instant was not read.
EDGE = timedelta(days=1)
UNTRUSTED_CLOCK = 1  # quality bit of a reading without a trusted clock: never shown as evidence


class NoSuchRow(NotFound):
    """There is no bill of that number."""


@dataclass(frozen=True, slots=True)
class DatedTerms:
    """Terms in force in `[start, end)`; None = since ever, or for ever."""

    start: datetime | None
    end: datetime | None
    terms: Terms


@dataclass(frozen=True, slots=True)
class Kept:
    """The latest revision of a bill as far as a next one needs to know it."""

    bill_id: int
    revision: int
    total_fen: int
    input_sha256: bytes
    state: str


def lock_month(conn: Conn, account_id: str, month: date) -> None:
    """Let only this transaction draw up bills of the account and month, until it ends."""
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"bill {account_id} {month.isoformat()}",)
    )


def terms_between(conn: Conn, account_id: str, start: datetime, end: datetime) -> tuple[DatedTerms, ...]:
    """Load the terms that touch `[start, end)`, earliest first."""
    rows = conn.execute(
        """SELECT lower(effective), upper(effective), category, purchase, structure, voltage, demand_mode,
                  capacity_kva, contract_demand_kw, power_factor_standard, option
           FROM account_terms WHERE account_id = %s AND effective && tstzrange(%s, %s) ORDER BY lower(effective)""",
        (account_id, start, end),
    )
    return tuple(
        DatedTerms(first, last, Terms(category, purchase, structure, voltage, DemandMode(mode), *amounts))
        for first, last, category, purchase, structure, voltage, mode, *amounts in rows
    )


def supply_points(conn: Conn, account_id: str) -> tuple[str, ...]:
    """List the account's supply points by id."""
    rows = conn.execute(
        "SELECT supply_point_id FROM supply_point WHERE account_id = %s ORDER BY supply_point_id",
        (account_id,),
    )
    return tuple(supply_point_id for (supply_point_id,) in rows)


def services(conn: Conn, supply_point_ids: Sequence[str]) -> dict[str, tuple[datetime, datetime | None]]:
    """Tell from when to when each supply point had meters; None = it has one; no entry = it never had any."""
    rows = conn.execute(
        """SELECT supply_point_id, min(lower(period)),
                  CASE WHEN bool_or(upper(period) IS NULL) THEN NULL ELSE max(upper(period)) END
           FROM installation WHERE supply_point_id = ANY(%s) GROUP BY supply_point_id""",
        (list(supply_point_ids),),
    )
    return {point: (start, end) for point, start, end in rows}


@dataclass(frozen=True, slots=True)
class YearKwh:
    """Catalogue kWh of the months of a year that are billed, and what was used before the first month billed here."""

    by_month: dict[date, Decimal]
    opening_month: date | None
    opening_kwh: Decimal


def year_kwh(conn: Conn, account_id: str, month: date) -> YearKwh:
    """Add up the catalogue kWh of the standing bills of the calendar year's months before `month`."""
    new_year = month.replace(month=1)
    rows = conn.execute(
        """SELECT month, (SELECT coalesce(sum(kwh.value::numeric), 0)
                          FROM jsonb_array_elements(facts -> 'segments') s, jsonb_each_text(s -> 'kwh') kwh
                          WHERE s -> 'terms' ->> 'purchase' = 'catalogue')
           FROM (SELECT DISTINCT ON (month) month, facts FROM bill
                 WHERE account_id = %s AND month >= %s AND month < %s AND state <> 'void'
                 ORDER BY month, state = 'issued' DESC, revision DESC) latest""",
        (account_id, new_year, month),
    ).fetchall()
    opening = conn.execute(
        """SELECT month, kwh FROM year_opening
           WHERE account_id = %s AND month >= %s AND month <= %s ORDER BY month DESC LIMIT 1""",
        (account_id, new_year, month),
    ).fetchone()
    first, kwh = opening or (None, Decimal(0))
    return YearKwh(dict(rows), first, kwh)


def interval_evidence(
    conn: Conn, supply_point_ids: Sequence[str], first: date, end: date
) -> tuple[IntervalEvidence, ...]:
    """Tell which revision of each day of `[first, end)` speaks, and the batches it rests on."""
    rows = conn.execute(
        """SELECT DISTINCT ON (supply_point_id, day) supply_point_id, day, revision, first_batch_id, last_batch_id
           FROM interval_day WHERE supply_point_id = ANY(%s) AND day >= %s AND day < %s
           ORDER BY supply_point_id, day, revision DESC""",
        (list(supply_point_ids), first, end),
    )
    return tuple(IntervalEvidence(*row) for row in rows)


def registers(
    conn: Conn, supply_point_ids: Sequence[str], start: datetime, end: datetime
) -> tuple[Register, ...]:
    """Read the energy registers of every installed meter at the ends of its part of `[start, end]`."""
    rows = conn.execute(
        """SELECT i.supply_point_id, m.meter_id, i.multiplier, part.first_at, part.last_at,
                  a.taken_at, a.batch_id, a.c0, a.c1, a.c2, a.c3, z.taken_at, z.batch_id, z.c0, z.c1, z.c2, z.c3
           FROM installation i JOIN meter m USING (meter_key)
           CROSS JOIN LATERAL (SELECT greatest(lower(i.period), %(start)s) AS first_at,
                                      least(upper(i.period), %(end)s) AS last_at) part
           LEFT JOIN LATERAL (
               SELECT * FROM reading r WHERE r.meter_key = i.meter_key AND r.quality & %(untrusted)s = 0
               AND r.taken_at >= part.first_at AND r.taken_at <= least(part.first_at + %(edge)s, part.last_at)
               ORDER BY r.taken_at, r.source DESC LIMIT 1) a ON true
           LEFT JOIN LATERAL (
               SELECT * FROM reading r WHERE r.meter_key = i.meter_key AND r.quality & %(untrusted)s = 0
               AND r.taken_at <= part.last_at AND r.taken_at >= greatest(part.last_at - %(edge)s, part.first_at)
               ORDER BY r.taken_at DESC, r.source DESC LIMIT 1) z ON true
           WHERE i.supply_point_id = ANY(%(points)s) AND i.period && tstzrange(%(start)s, %(end)s)
           ORDER BY i.supply_point_id, lower(i.period)""",
        {
            "points": list(supply_point_ids),
            "start": start,
            "end": end,
            "edge": EDGE,
            "untrusted": UNTRUSTED_CLOCK,
        },
    ).fetchall()
    return tuple(register for row in rows for register in _registers_of(row))


def _registers_of(row: tuple[object, ...]) -> tuple[Register, ...]:
    point, meter_id, multiplier, first_at, last_at = row[:5]
    start_at, start_batch, *start_ticks = row[5:11]
    end_at, end_batch, *end_ticks = row[11:17]
    batches = tuple(sorted({each for each in (start_batch, end_batch) if isinstance(each, int)}))
    found = []
    for (_, code, unit), start, end in zip(REGISTERS, start_ticks, end_ticks, strict=True):
        if start is None and end is None and code != "ea_imp":
            continue  # this meter has no such register
        found.append(
            Register(
                supply_point_id=str(point),
                meter_id=str(meter_id),
                register=code,
                unit=unit,
                multiplier=_whole(multiplier),
                start_at=_instant(start_at or first_at),
                end_at=_instant(end_at or last_at),
                start=_face_value(start),
                end=_face_value(end),
                batch_ids=batches,
            )
        )
    return tuple(found)


def latest(conn: Conn, account_id: str, month: date) -> Kept | None:
    """Find the latest revision of a bill, in whatever state."""
    row = conn.execute(
        """SELECT bill_id, revision, total_fen, input_sha256, state FROM bill
           WHERE account_id = %s AND month = %s ORDER BY revision DESC LIMIT 1""",
        (account_id, month),
    ).fetchone()
    return None if row is None else Kept(*row)


@dataclass(frozen=True, slots=True)
class PartyBill:
    """The latest revision of a bill of one of a party's accounts, and what is open of its month."""

    bill_id: int
    account_id: str
    month: date
    state: str
    total_fen: int
    open_fen: int


def of_party(conn: Conn, party_id: int, most: int) -> tuple[PartyBill, ...]:
    """The latest bills of a party's accounts, the latest month first; at most so many."""
    rows = conn.execute(
        """SELECT b.bill_id, b.account_id, b.month, b.state, b.total_fen,
                  (SELECT coalesce(sum(p.amount_fen), 0)::bigint FROM posting p JOIN ledger_account l USING (account_code)
                   WHERE l.account_code = 'receivable/' || b.account_id
                     AND p.item = b.account_id || '/' || to_char(b.month, 'YYYY-MM'))
           FROM (SELECT DISTINCT ON (account_id, month) bill_id, account_id, month, state, total_fen
                 FROM bill JOIN account a USING (account_id) WHERE a.party_id = %s
                 ORDER BY account_id, month, revision DESC) b
           ORDER BY b.month DESC, b.account_id LIMIT %s""",
        (party_id, most),
    ).fetchall()
    return tuple(PartyBill(*row) for row in rows)


def number_of(conn: Conn, account_id: str, month: date, revision: int) -> int | None:
    """Find the number of a bill by what its paper says."""
    row = conn.execute(
        "SELECT bill_id FROM bill WHERE account_id = %s AND month = %s AND revision = %s",
        (account_id, month, revision),
    ).fetchone()
    return None if row is None else int(row[0])


def save(conn: Conn, bill: Bill, input_sha256: bytes) -> int:
    """Keep a bill as a draft with its lines; return its number."""
    row = conn.execute(
        """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, facts, input_sha256, made_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING bill_id""",
        (
            *(bill.account.account_id, bill.month, bill.revision, bill.total_fen, bill.import_wh),
            *(Jsonb(facts_json(bill)), input_sha256, bill.made_at),
        ),
    ).fetchone()
    if row is None:
        raise TypeError("INSERT … RETURNING gave no row")
    bill_id = int(row[0])
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO bill_line (bill_id, line_no, section, item, period, quantity, unit, price_yuan_per_unit,
                                      amount_fen, derivation, items)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [(bill_id, number, *_columns(line)) for number, line in enumerate(bill.lines, start=1)],
        )
    return bill_id


def load(conn: Conn, bill_id: int) -> Bill:
    """Load a whole bill as it was kept. Raises NoSuchRow, NotABill."""
    row = conn.execute(
        """SELECT b.facts || jsonb_build_object(
                      'month', to_char(b.month, 'YYYY-MM'), 'revision', b.revision, 'total_fen', b.total_fen,
                      'state', b.state),
                  b.made_at,
                  (SELECT jsonb_agg(jsonb_build_object(
                              'section', section, 'item', item, 'period', period, 'quantity', quantity::text,
                              'unit', unit, 'price_yuan_per_unit', price_yuan_per_unit::text,
                              'amount_fen', amount_fen, 'derivation', derivation, 'items', items)
                          ORDER BY line_no)
                   FROM bill_line l WHERE l.bill_id = b.bill_id)
           FROM bill b WHERE b.bill_id = %s""",
        (bill_id,),
    ).fetchone()
    if row is None:
        raise NoSuchRow("not_found", kind="bill", bill_id=bill_id)
    content, made_at, lines = row
    return bill_from({**content, "made_at": made_at.isoformat(), "lines": lines or []})


def accounts_with_terms(conn: Conn, start: datetime, end: datetime) -> tuple[str, ...]:
    """List the accounts that have terms in `[start, end)`, by number: whom a bill run is for."""
    rows = conn.execute(
        "SELECT DISTINCT account_id FROM account_terms WHERE effective && tstzrange(%s, %s) ORDER BY account_id",
        (start, end),
    )
    return tuple(account_id for (account_id,) in rows)


def _columns(line: BillLine) -> tuple[object, ...]:
    return (
        *(line.section, line.item, line.period, line.quantity, line.unit, line.price_yuan_per_unit),
        *(line.amount_fen, Jsonb(derivation_json(line.derivation)), Jsonb(items_json(line))),
    )


def _face_value(ticks: object) -> Decimal | None:
    return None if ticks is None else EXACT.scaleb(Decimal(_whole(ticks)), TICK_EXPONENT)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _instant(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} is not an instant")
    return value
