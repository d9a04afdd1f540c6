"""What the index of bills costs and gives: kept as tables by trigger, against reading it out of the bills' facts.

python -m benchmarks.corrections [--bills 20000] [--changed 200] [--dsn DSN]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from cloud.billing.store import touched
from cloud.db import Conn, migrate
from demo.postgres import embedded_postgres

AUGUST = date(2026, 8, 1)
MADE_AT = datetime(2026, 9, 14, 2, tzinfo=UTC)
LATE_AT = MADE_AT + timedelta(days=20)
_FACTS = """
    SELECT jsonb_build_object(
        'intervals', jsonb_agg(jsonb_build_object('supply_point_id', 'SP' || %(n)s, 'day', d::date, 'revision', 1)),
        'segments', jsonb_build_array(jsonb_build_object('files', (
            SELECT jsonb_agg(jsonb_build_object('id', 'file-' || f, 'version', 1)) FROM generate_series(1, 6) f))))
    FROM generate_series('2026-08-01'::date, '2026-08-31', '1 day') d"""
_BILLS = f"""
    INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at, issued_at,
                      issued_by)
    SELECT '13' || lpad(n::text, 11, '0'), '2026-08-01', 1, 0, 0, 'issued', ({_FACTS.replace("%(n)s", "n")}),
           decode(repeat('00', 32), 'hex'), %s, %s, 'benchmark' FROM generate_series(1, %s) n"""


def main() -> None:
    """Fill, look, and ask the same of the facts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bills", type=int, default=20_000)
    parser.add_argument("--changed", type=int, default=200)
    parser.add_argument("--dsn", help="a database of its own; default: an embedded server")
    arguments = parser.parse_args()
    with _server(arguments.dsn) as dsn, psycopg.connect(dsn) as conn:
        _accounts(conn, arguments.bills)
        plain_s = _without_index(conn, arguments.bills)
        with_s = _timed(lambda: conn.execute(_BILLS, (MADE_AT, MADE_AT, arguments.bills)))
        conn.commit()
        _intervals(conn, arguments.bills, arguments.changed)
        print(
            f"{arguments.bills} bills of 31 days and 6 files: kept in {with_s:.1f} s, without the index {plain_s:.1f} s"
        )
        print(f"cost of the index: {(with_s - plain_s) / arguments.bills * 1e6:.0f} us a bill")
        sizes = conn.execute(
            """SELECT pg_total_relation_size('bill_interval'), pg_total_relation_size('bill_file'),
                      pg_total_relation_size('bill')"""
        ).fetchone()
        print(
            "bytes a bill: index of days {}, of files {}; the bill itself {}".format(
                *(n // arguments.bills for n in sizes or ())
            )
        )
        _ask(conn, arguments.changed)


def _ask(conn: Conn, changed: int) -> None:
    by_index = _timed(lambda: touched.bills_of_day(conn, "SP77", date(2026, 8, 12)))
    by_facts = _timed(
        lambda: conn.execute(
            """SELECT bill_id FROM bill WHERE facts @? '$.intervals[*] ? (@.supply_point_id == "SP77" && @.day == "2026-08-12")'"""
        ).fetchall()
    )
    print(f"bills of one day: index {by_index * 1000:.2f} ms, from the facts {by_facts * 1000:.0f} ms")
    first_s = _timed(lambda: touched.look(conn, LATE_AT))
    found = len(touched.waiting(conn))
    later_s = _timed(lambda: touched.look(conn, LATE_AT + timedelta(days=3)))
    print(
        f"a look at everything: {first_s * 1000:.0f} ms, found {found}; a look at what is new: {later_s * 1000:.1f} ms"
    )
    if found != changed:
        raise AssertionError(f"{changed} bills were touched, {found} found")


def _accounts(conn: Conn, count: int) -> None:
    conn.execute("INSERT INTO party (kind, name) VALUES ('user', 'benchmark')")
    conn.execute(
        """INSERT INTO account (account_id, party_id, name, address)
           SELECT '13' || lpad(n::text, 11, '0'), party_id, 'n', 'a' FROM party, generate_series(1, %s) n""",
        (count,),
    )
    conn.execute(
        """INSERT INTO supply_point SELECT 'SP' || n, '13' || lpad(n::text, 11, '0'), 'n' FROM generate_series(1, %s) n""",
        (count,),
    )
    conn.commit()


def _without_index(conn: Conn, count: int) -> float:
    conn.execute("ALTER TABLE bill DISABLE TRIGGER index_bill")
    took = _timed(lambda: conn.execute(_BILLS, (MADE_AT, MADE_AT, count)))
    conn.rollback()
    return took


def _intervals(conn: Conn, count: int, changed: int) -> None:
    """Every day as it was billed, and one later revision for some supply points."""
    zeros = "array_fill(0::bigint, ARRAY[96])"
    values = f"{zeros}, {zeros}, {zeros}, {zeros}, array_fill(1::smallint, ARRAY[96])"
    conn.execute(
        f"""INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality,
                                      made_at, made_by)
            SELECT 'SP' || n, d::date, 1, {values}, %s, 'b' FROM generate_series(1, %s) n,
                   generate_series('2026-08-01'::date, '2026-08-31', '1 day') d""",
        (MADE_AT - timedelta(days=10), count),
    )
    conn.execute(
        f"""INSERT INTO interval_day (supply_point_id, day, revision, import_wh, export_wh, import_varh, export_varh, quality,
                                      made_at, made_by)
            SELECT 'SP' || n, '2026-08-12', 2, {values}, %s, 'b' FROM generate_series(1, %s) n""",
        (LATE_AT, changed),
    )
    conn.commit()
    conn.execute("ANALYZE")
    conn.commit()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        migrate(dsn)
        yield dsn
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_postgres(Path(folder) / "server", durable=False) as server,
    ):
        migrate(server.dsn)
        yield server.dsn


if __name__ == "__main__":
    main()
