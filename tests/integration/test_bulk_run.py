"""Day blocks and the bulk run on a real database: the fen of the single path, nothing stale, nothing twice, nobody lost."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import psycopg
import pytest
from bulk_world import AUGUST, MAKING, NOW, Shape, fill, month_of, put_account, put_accounts

from cloud.billing import bulkshard
from cloud.billing.run import bill as billing
from cloud.billing.run import bulk
from cloud.billing.store import bills
from cloud.billing.store import bulk as drafts
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.metering import block
from cloud.metering.store import blocks, intervals

SEPTEMBER = date(2026, 9, 1)


@contextmanager
def worker(dsn: str) -> Iterator[Conn]:
    with psycopg.connect(dsn) as conn:
        take_scope(conn, Scope(ProcessRole.WORKER, actor="test"))
        yield conn


def world(dsn: str, count: int, points_each: int = 1, members_max: int = 5) -> tuple[str, ...]:
    with psycopg.connect(dsn) as conn:
        accounts = put_accounts(conn, count, points_each)
        fill(conn, accounts, points_each)
    write_blocks(dsn, members_max)
    return accounts


def write_blocks(dsn: str, members_max: int = 5) -> int:
    with worker(dsn) as conn:
        blocks.form_shards(conn, NOW, members_max)
        due = blocks.due(conn, AUGUST, SEPTEMBER, 10_000)
        conn.commit()
        for day, shard_id in due:
            blocks.write_from_intervals(conn, shard_id, day, NOW)
            conn.commit()
    return len(due)


def run_month(dsn: str) -> tuple[bulk.Done, ...]:
    def opened() -> AbstractContextManager[Conn]:
        return worker(dsn)

    with worker(dsn) as conn:
        run = bulk.begin(conn, AUGUST, NOW)
    return bulk.run_all(opened, run, lambda done: None)


def draft_of(dsn: str, account_id: str) -> drafts.Draft:
    with worker(dsn) as conn:
        found = drafts.draft(conn, AUGUST, account_id)
    assert found is not None
    return found


def revise(dsn: str, account_id: str, day: date, more_wh: int) -> None:
    point = f"SP{account_id}-0"
    with worker(dsn) as conn:
        (old,) = intervals.load_days(conn, point, day, day + timedelta(days=1))
        new = replace(old, revision=old.revision + 1, import_wh=tuple(wh + more_wh for wh in old.import_wh))  # type: ignore[operator]  # no slot is missing
        intervals.add_day(conn, new, MAKING)


# ---- the bytes of a block ----------------------------------------------------------------------------------------


def test_a_block_gives_back_what_was_laid_down() -> None:
    """Also the largest numbers, negative sums, missing days, missing slots and meters without a reverse register."""
    (first, second, *_) = month_of("SP1", 3)
    huge = replace(first, import_wh=(2**31 - 1,) * 96, export_wh=(2**40,) * 96)
    beyond = replace(first, import_wh=(2**31, *first.import_wh[1:]))
    gap = replace(first, import_wh=(None, *first.import_wh[1:]))
    one_way = replace(first, export_varh=(None,) * 96, quality=(3,) * 96)
    unread = replace(first, import_varh=(None, *first.import_varh[1:]))
    days = [first, None, huge, beyond, gap, one_way, unread]
    rows = block.day_rows(days)
    month = block.month_rows(7, 1, ((0, block.pack(rows)),), ())
    assert month.is_complete.tolist() == [True, False, True, False, False, True, True]
    assert month.is_reactive.tolist() == [True, False, True, False, False, True, False]
    assert month.revisions[:, 0].tolist() == [1, 0, 1, 1, 1, 1, 1]
    assert month.import_wh[0].tolist() == list(first.import_wh)
    assert month.import_wh[2].tolist() == [2**31 - 1] * 96
    assert month.export_wh.tolist()[2] == 96 * 2**40
    assert month.estimated_slots.tolist()[5] == 96
    assert month.import_varh.tolist()[0] == sum(wh or 0 for wh in first.import_varh)
    two = block.month_rows(
        1, 2, [(at, block.pack(block.day_rows([day]))) for at, day in enumerate((first, second))], ()
    )
    assert two.import_wh[0].tolist() == [*first.import_wh, *second.import_wh]


@pytest.mark.parametrize("damage", ["flip", "cut", "other_size"])
def test_a_damaged_block_is_refused(damage: str) -> None:
    body = bytearray(block.pack(block.day_rows([month_of("SP1", 3)[0]])))
    rows = 1
    if damage == "flip":
        body[len(body) // 2] ^= 4
    elif damage == "cut":
        del body[-8:]
    else:
        rows = 2
    with pytest.raises(block.BadBlock):
        block.month_rows(rows, 1, ((0, bytes(body)),), ())


# ---- the run -----------------------------------------------------------------------------------------------------


def test_every_draft_is_the_bill_of_the_single_path(database: str) -> None:
    """Line by line and to the Wh of its usage; accounts with two supply points; every shape of the world."""
    accounts = world(database, 12, points_each=2, members_max=7)
    done = run_month(database)
    assert sum(each.drafts for each in done) == len(accounts)
    assert sum(each.left_over for each in done) == 0
    for account_id in accounts:
        found = draft_of(database, account_id)
        with worker(database) as conn:
            drawn = billing.bill_month(conn, account_id, AUGUST, NOW)
            bill = bills.load(conn, drawn.bill_id)
            bulk.expand(conn, drawn.bill_id, bill)
            bulk.expand(conn, drawn.bill_id, bill)  # again: nothing
        assert found.amounts_fen == tuple(line.amount_fen for line in bill.lines)
        assert found.total_fen == bill.total_fen
        assert draft_of(database, account_id).bill_id == drawn.bill_id
    with psycopg.connect(database) as conn:
        usage = conn.execute("SELECT usage FROM bulk_draft WHERE account_id = %s", (accounts[-1],)).fetchone()
        lines = conn.execute(
            "SELECT line ->> 'item', amount_fen FROM bulk_draft_line WHERE account_id = %s ORDER BY line_no",
            (accounts[-1],),
        ).fetchall()
        assert drafts.waiting(conn, AUGUST, 10) == ()
    own = bill.segments[0].segment.usage
    assert usage is not None
    assert dict(zip(bulkshard.USAGE, usage[0], strict=True)) == {
        **dict(zip(bulkshard.USAGE[:5], own.import_wh, strict=True)),
        "export_wh": own.export_wh,
        "import_varh": own.import_varh,
        "export_varh": own.export_varh,
        "highest_wh": int(own.demand_kw * 250),
        "estimated_slots": own.estimated_slots,
    }
    assert lines == [(line.item, line.amount_fen) for line in bill.lines]


def test_a_second_run_passes_over_what_is_done_and_a_change_is_drafted_once(database: str) -> None:
    accounts = world(database, 12)
    assert {each.added for each in run_month(database)} <= {2, 5}
    again = run_month(database)
    assert all(each.is_passed_over for each in again)
    before = draft_of(database, accounts[3])

    revise(database, accounts[3], date(2026, 8, 9), 100)
    stale = run_month(database)
    assert [each.left_over for each in stale if not each.is_passed_over] == [1]
    with worker(database) as conn:
        assert bulk.left_over(conn, AUGUST) == ((accounts[3], "intervals_not_complete"),)
    assert draft_of(database, accounts[3]) == before

    assert write_blocks(database) == 1
    fresh = run_month(database)
    assert [(each.added, each.left_over) for each in fresh if not each.is_passed_over] == [(1, 0)]
    after = draft_of(database, accounts[3])
    assert after.revision == 2
    assert after.total_fen > before.total_fen
    assert all(each.is_passed_over for each in run_month(database))


def test_a_draft_that_is_not_the_bill_is_not_taken_for_it(database: str) -> None:
    (account_id, *_) = world(database, 2)
    run_month(database)
    revise(database, account_id, date(2026, 8, 9), 5000)
    with worker(database) as conn:
        drawn = billing.bill_month(conn, account_id, AUGUST, NOW)
        with pytest.raises(bulk.DraftDiffers) as refused:
            bulk.expand(conn, drawn.bill_id, bills.load(conn, drawn.bill_id))
        assert refused.value.facts["account"] == account_id


def test_who_is_not_covered_is_named(database: str) -> None:
    accounts = world(database, 2)
    retail, changed, split, gone, late = (f"{1_400_000_000_000 + number}" for number in range(5))
    with psycopg.connect(database) as conn:
        for each in (retail, changed, split, gone):
            put_account(conn, each, Shape("two_part", "1-10kV", "capacity", 630, None, "0.90"))
        conn.execute("UPDATE account_terms SET purchase = 'retail' WHERE account_id = %s", (retail,))
        conn.execute(
            "UPDATE account_terms SET effective = '[2020-01-01 00:00+08,2026-08-15 00:00+08)' WHERE account_id = %s",
            (changed,),
        )
        fill(conn, (retail, changed, split))
    write_blocks(database)
    with psycopg.connect(database) as conn:
        conn.execute("INSERT INTO supply_point VALUES ('SPLATE', %s, '表')", (split,))
        put_account(conn, late, Shape("single_part", "lt1kV", "none", None, None, None))
    done = run_month(database)
    assert sum(each.drafts for each in done) == len(accounts)
    with worker(database) as conn:
        assert dict(bulk.left_over(conn, AUGUST)) == {
            retail: "purchase",
            changed: "terms_change",
            split: "supply_points_elsewhere",
            gone: "intervals_not_complete",
            late: "no_block",
        }


def test_a_ladder_is_drafted_from_where_the_year_stands(database: str) -> None:
    """With the year's opening, since a day of this year, and not at all where earlier months are not billed."""
    opened, moved_in, unknown = (f"{1_500_000_000_000 + number}" for number in range(3))
    with psycopg.connect(database) as conn:
        put_accounts(conn, 0)
        for each in (opened, moved_in, unknown):
            put_account(conn, each, Shape("single_part", "lt1kV", "none", None, None, None))
        conn.execute(
            "UPDATE account_terms SET category = 'residential', purchase = 'catalogue', option = 'ladder'"
        )
        conn.execute(
            "UPDATE account_terms SET effective = '[2026-08-01 00:00+08,)' WHERE account_id = %s", (moved_in,)
        )
        conn.execute("INSERT INTO year_opening VALUES (%s, '2026-08-01', 2100)", (opened,))
        fill(conn, (opened, moved_in, unknown))
    write_blocks(database)
    (done,) = run_month(database)
    assert (done.drafts, done.left_over) == (2, 1)
    for account_id in (opened, moved_in):
        with worker(database) as conn:
            drawn = billing.bill_month(conn, account_id, AUGUST, NOW)
            bulk.expand(conn, drawn.bill_id, bills.load(conn, drawn.bill_id))
    with worker(database) as conn:
        assert bulk.left_over(conn, AUGUST) == ((unknown, "year_incomplete"),)
        with pytest.raises(billing.YearIncomplete):
            billing.bill_month(conn, unknown, AUGUST, NOW)

    with psycopg.connect(database) as conn:
        conn.execute("UPDATE year_opening SET kwh = 3000")
    (again,) = run_month(database)
    assert (again.added, again.drafts) == (1, 2)


def test_a_month_that_is_not_over_is_not_drafted(database: str) -> None:
    with worker(database) as conn, pytest.raises(bulk.MonthNotOver):
        bulk.begin(conn, date(2026, 9, 1), NOW)


# ---- never stale -------------------------------------------------------------------------------------------------


def test_a_revision_around_the_marker_is_found_by_comparison(database: str) -> None:
    (account_id, *_) = world(database, 1)
    day = date(2026, 8, 9)
    with worker(database) as conn:
        assert blocks.overtaken_unmarked(conn, 1, day) == ()
    revise(database, account_id, day, 1)
    with psycopg.connect(database) as conn:
        assert blocks.overtaken_unmarked(conn, 1, day) == ()
        conn.execute("DELETE FROM block_overtaken")
        assert blocks.overtaken_unmarked(conn, 1, day) == (f"SP{account_id}-0",)


def test_a_revision_and_a_writer_at_the_same_time_never_leave_a_stale_row(database: str) -> None:
    """The one waits for the other, whichever comes first; afterwards the block is new or the row is marked."""
    (account_id, *_) = world(database, 1)
    point, day = f"SP{account_id}-0", date(2026, 8, 9)
    for turn in range(6):
        with psycopg.connect(database) as reviser, psycopg.connect(database) as writer:
            (old,) = intervals.load_days(reviser, point, day, day + timedelta(days=1))
            new = replace(old, revision=old.revision + 1)
            first, second = (reviser, writer) if turn % 2 else (writer, reviser)

            def act(conn: Conn, new: intervals.IntervalDay = new, reviser: Conn = reviser) -> None:
                if conn is reviser:
                    intervals.add_day(conn, new, MAKING)
                else:
                    blocks.write_from_intervals(conn, 1, day, NOW)

            act(first)
            other = threading.Thread(target=act, args=(second,))
            other.start()
            other.join(0.2)
            assert other.is_alive()
            first.commit()
            other.join(10)
            second.commit()
        with worker(database) as conn:
            assert blocks.overtaken_unmarked(conn, 1, day) == ()
            rows = blocks.load(conn, 1, AUGUST, SEPTEMBER)
        assert rows.is_complete.tolist() == [bool(turn % 2)]
        write_blocks(database)


# ---- killed ------------------------------------------------------------------------------------------------------


def test_a_run_that_is_killed_again_and_again_makes_every_draft_once(database: str) -> None:
    accounts = world(database, 24, members_max=2)
    command = [
        sys.executable, "-m", "cloud", "bulk-bill", AUGUST.strftime("%Y-%m"),
    ]  # fmt: skip
    environment = {**os.environ, "SHOUDIAN_DSN": database}
    rng = np.random.default_rng(20260801)
    kills = 0
    for attempt in itertools.count():
        running = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if attempt < 4:
            assert running.stdout is not None
            for _ in range(int(rng.integers(0, 3))):
                running.stdout.readline()  # a shard is told when it is committed
            time.sleep(float(rng.uniform(0, 0.02)))
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=20)
            kills += running.returncode == -signal.SIGKILL
            continue
        _, told = running.communicate(timeout=40)
        assert running.returncode == 0, told
        break
    assert kills >= 1
    with psycopg.connect(database) as conn:
        rows = conn.execute(
            "SELECT account_id, count(*), max(revision) FROM bulk_draft GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert rows == [(account_id, 1, 1) for account_id in accounts]
        shards = conn.execute("SELECT shard_id, count(*) FROM bulk_done GROUP BY 1").fetchall()
    assert len(shards) == 12
    assert {count for _, count in shards} == {1}
