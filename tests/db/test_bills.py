"""Bills against a real database: drawn up from intervals, revised only when inputs differ, refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pypdfium2
import pytest

from cloud.__main__ import main
from cloud.billing.billjson import bill_text
from cloud.billing.catalogue import UnpricedMonth
from cloud.billing.evidence import IntervalsMissing
from cloud.billing.facts import Bill
from cloud.billing.labels import Language
from cloud.billing.review import Risk
from cloud.billing.run import bill as billing
from cloud.billing.run import issue as issuing
from cloud.billing.run.print import bill_file_name, bill_pdf
from cloud.billing.run.verify import UnreadableFile, verify, verify_file
from cloud.billing.store import bills, published
from cloud.billing.store import review as reviews
from cloud.db import Conn, ProcessRole, Scope, take_scope
from cloud.markettime import days_of_month, month_bounds
from cloud.metering.interval import IntervalDay, IntervalQuality
from cloud.metering.store import intervals, partitions
from cloud.paper.attached import NoAttachment

ACCOUNT = "1300000000001"
AUGUST = date(2026, 8, 1)
NOW = datetime(2026, 9, 3, 2, tzinfo=UTC)
MAKING = intervals.Making(NOW, "test:1", 7, 9)
MULTIPLIER = 80
# 1 kWh x slot number: 96 slots a day add up to 4,560 kWh, 31 days to 141,360 kWh, in whole kWh.
CURVE = tuple(1000 * slot for slot in range(96))
REACTIVE = tuple(wh // 3 for wh in CURVE)
NO = (0,) * 96
MEASURED = (int(IntervalQuality.ACTUAL),) * 96


def an_interval_day(day: date, **changes: tuple[int | None, ...]) -> IntervalDay:
    curves: dict[str, tuple[int | None, ...]] = {
        "import_wh": CURVE,
        "export_wh": NO,
        "import_varh": REACTIVE,
        "export_varh": NO,
        **changes,
    }
    return IntervalDay("SP0001", day, 1, quality=MEASURED, **curves)  # type: ignore[arg-type]


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO party (kind, name) VALUES ('user', '示范园区䶮光铸造厂')")
        connection.execute(
            "INSERT INTO account (account_id, party_id, name, address) SELECT %s, party_id, name, '示范园区1号' FROM party",
            (ACCOUNT,),
        )
        put_terms(connection, "[2020-01-01 00:00+08,)", 1250)
        connection.execute("INSERT INTO supply_point VALUES ('SP0001', %s, '总表')", (ACCOUNT,))
        yield connection


def put_terms(conn: Conn, effective: str, capacity_kva: int) -> None:
    conn.execute(
        """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage, demand_mode,
                                      capacity_kva, power_factor_standard)
           VALUES (%s, %s, 'commercial', 'agency', 'two_part', '1-10kV', 'capacity', %s, 0.90)""",
        (ACCOUNT, effective, capacity_kva),
    )


def fill(conn: Conn, days: tuple[date, ...] = days_of_month(AUGUST)) -> None:
    for day in days:
        intervals.add_day(conn, an_interval_day(day), MAKING)


def load(conn: Conn, bill_id: int) -> Bill:
    return bills.load(conn, bill_id)


def recomputed_fen() -> int:
    """The same month in a dozen lines that share nothing with the program; prices read off the notices."""
    period_of_hour = (
        ["valley"] * 7
        + ["flat"] * 3
        + ["peak"] * 2
        + ["flat"] * 4
        + ["peak"] * 2
        + ["tip"] * 3
        + ["peak", "flat"]
    ) + ["valley"]
    coefficient = {
        "tip": Decimal("2.04"),
        "peak": Decimal("1.7"),
        "flat": Decimal(1),
        "valley": Decimal("0.3"),
    }
    kwh = dict.fromkeys(coefficient, Decimal(0))
    for slot, wh in enumerate(CURVE):
        kwh[period_of_hour[slot // 4]] += Decimal(wh * 31) / 1000
    assert all(each == int(each) for each in kwh.values())  # whole kWh: nothing to round
    cent = Decimal("0.01")

    def amount(quantity: Decimal, price: str) -> Decimal:
        return (quantity * Decimal(price)).quantize(cent, "ROUND_HALF_UP")

    total = sum(kwh.values())
    energy = sum(
        (part * (Decimal("0.398598") * coefficient[period] - Decimal("0.012885"))).quantize(
            cent, "ROUND_HALF_UP"
        )
        for period, part in kwh.items()
    )
    base = energy + amount(total, "0.011778") + amount(total, "0.1365") + amount(total, "0.013088")
    base += amount(Decimal(1250), "23.6")
    power_factor = -(base * Decimal("0.0075")).quantize(cent, "ROUND_HALF_UP")  # P : Q = 3 : 1, 0.95
    return int((base + amount(total, "0.02406875") + power_factor) * 100)


def test_the_bill_equals_an_independent_recomputation(conn: Conn) -> None:
    fill(conn)

    drawn = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)

    assert drawn.total_fen == recomputed_fen()
    assert (drawn.revision, drawn.is_new, drawn.change_fen) == (1, True, drawn.total_fen)


def test_the_kept_bill_is_complete_and_its_lines_are_its_total(conn: Conn) -> None:
    fill(conn)
    drawn = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)

    kept = load(conn, drawn.bill_id)
    in_rows = conn.execute("SELECT sum(amount_fen), count(*) FROM bill_line").fetchone()

    assert in_rows == (drawn.total_fen, len(kept.lines))
    assert kept.total_fen == drawn.total_fen
    assert kept.import_wh == sum(CURVE) * 31
    assert {each.revision for each in kept.intervals} == {1}
    assert [(each.first_batch_id, each.last_batch_id) for each in kept.intervals] == [(7, 9)] * 31
    (segment,) = kept.segments
    assert [file.id for file in segment.files] == [
        "jibei-agency-2026-08", "jibei-tou", "jibei-transmission", "jibei-funds", "cn-two-part", "cn-power-factor",
    ]  # fmt: skip
    assert verify(bill_text(kept).encode()).is_right


def test_equal_inputs_make_no_new_revision_and_other_inputs_one_with_the_difference(conn: Conn) -> None:
    fill(conn)
    first = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    again = billing.bill_month(conn, ACCOUNT, AUGUST, NOW + timedelta(days=1))
    corrected = an_interval_day(date(2026, 8, 5), import_wh=(*CURVE[:-1], CURVE[-1] + 1_000_000))
    intervals.add_day(conn, replaced(corrected, revision=2), MAKING)
    second = billing.bill_month(conn, ACCOUNT, AUGUST, NOW + timedelta(days=2))

    assert (again.bill_id, again.is_new, again.change_fen) == (first.bill_id, False, 0)
    assert (second.revision, second.is_new) == (2, True)
    assert second.change_fen == second.total_fen - first.total_fen > 0
    assert {each.revision for each in load(conn, second.bill_id).intervals if each.day.day == 5} == {2}


def replaced(day: IntervalDay, revision: int) -> IntervalDay:
    curves = (day.import_wh, day.export_wh, day.import_varh, day.export_varh, day.quality)
    return IntervalDay(day.supply_point_id, day.day, revision, *curves)


def test_missing_intervals_are_named_by_day_and_clock(conn: Conn) -> None:
    fill(conn, tuple(day for day in days_of_month(AUGUST) if day.day not in (3, 9)))
    holes = tuple(None if slot in (1, 2, 95) else wh for slot, wh in enumerate(CURVE))
    intervals.add_day(conn, an_interval_day(date(2026, 8, 3), import_wh=holes), MAKING)

    with pytest.raises(IntervalsMissing) as refusal:
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)

    assert [(each.day.day, len(each.slots)) for each in refusal.value.missing] == [(3, 3), (9, 96)]
    assert "SP0001 2026-08-03 00:15-00:45, 23:45-24:00; SP0001 2026-08-09 00:00-24:00" in str(refusal.value)


def test_missing_reactive_energy_stops_an_assessed_account_only(conn: Conn) -> None:
    fill(conn, days_of_month(AUGUST)[1:])
    intervals.add_day(
        conn, an_interval_day(AUGUST, import_varh=(None,) * 96, export_varh=(None,) * 96), MAKING
    )

    with pytest.raises(IntervalsMissing):
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    conn.execute("UPDATE account_terms SET power_factor_standard = NULL")
    assert billing.bill_month(conn, ACCOUNT, AUGUST, NOW).is_new


def test_estimates_are_billed_and_said(conn: Conn) -> None:
    fill(conn, days_of_month(AUGUST)[1:])
    guessed = (int(IntervalQuality.ESTIMATED),) * 4 + MEASURED[4:]
    first = an_interval_day(AUGUST)
    intervals.add_day(
        conn,
        IntervalDay(
            "SP0001",
            AUGUST,
            1,
            first.import_wh,
            first.export_wh,
            first.import_varh,
            first.export_varh,
            guessed,
        ),
        MAKING,
    )

    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    assert kept.estimated_slots == 4


@pytest.mark.parametrize(
    ("month", "names"),
    [(date(2026, 7, 1), ("2026-07", "jibei-agency-2026-08@1")), (date(2025, 8, 1), ("2025-08",))],
)
def test_a_month_without_prices_is_refused(conn: Conn, month: date, names: tuple[str, ...]) -> None:
    fill(conn, days_of_month(month))

    with pytest.raises(UnpricedMonth) as refusal:
        billing.bill_month(conn, ACCOUNT, month, NOW)

    assert all(name in str(refusal.value) for name in names)


def test_what_cannot_be_billed_is_refused_by_name(conn: Conn) -> None:
    with pytest.raises(billing.NoSuchAccount):
        billing.bill_month(conn, "9999999999999", AUGUST, NOW)
    with pytest.raises(billing.MonthNotOver):
        billing.bill_month(conn, ACCOUNT, AUGUST, month_bounds(AUGUST)[1] - timedelta(seconds=1))
    conn.execute("DELETE FROM account_terms")
    with pytest.raises(billing.NothingToBill):
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    put_terms(conn, "[2026-08-10 12:00+08,)", 1250)
    with pytest.raises(billing.TermsWithinADay):
        billing.bill_month(conn, ACCOUNT, AUGUST, NOW)


def test_a_change_of_capacity_inside_the_month_makes_segments(conn: Conn) -> None:
    """1/30 of the monthly charge per day of service (tariffs-and-settlement 3.2): 18 days and 13 days."""
    fill(conn)
    conn.execute("DELETE FROM account_terms")
    put_terms(conn, "[2020-01-01 00:00+08,2026-08-19 00:00+08)", 1250)
    put_terms(conn, "[2026-08-19 00:00+08,)", 1600)

    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    basic = [line.amount_fen for line in kept.lines if line.section == "basic"]
    assert basic == [1250 * 2360 * 18 // 30, 1600 * 2360 * 13 // 30 + 1]  # 16362.67 by half-up, // cuts
    assert [(each.segment.first_day.day, each.segment.days) for each in kept.segments] == [(1, 18), (19, 13)]
    assert sum(line.quantity for line in kept.lines if line.section == "energy") == 141_360
    assert len([line for line in kept.lines if line.section == "power_factor"]) == 1


def test_registers_are_shown_with_their_multiplier_and_compared(conn: Conn) -> None:
    fill(conn)
    start, end = month_bounds(AUGUST)
    install(conn, start - timedelta(days=400))
    wh = sum(CURVE) * 31
    read(conn, start, 12_345_6000, 0)
    read(conn, end, 12_345_6000 + wh * 10 // MULTIPLIER, 0)

    drawn = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    kept = load(conn, drawn.bill_id)

    active = next(each for each in kept.registers if each.register == "ea_imp")
    assert (active.meter_id, active.multiplier, active.start) == ("M1", MULTIPLIER, Decimal("12345.6000"))
    assert active.end is not None
    assert active.start is not None
    assert (active.end - active.start) * MULTIPLIER == Decimal(wh) / 1000
    assert kept.findings == ()


def test_a_register_that_rolled_over_agrees_with_the_intervals(conn: Conn) -> None:
    """A meter shows six digits of kWh; behind 999999 comes 0."""
    fill(conn)
    start, end = month_bounds(AUGUST)
    install(conn, start - timedelta(days=400))
    wh = sum(CURVE) * 31
    read(conn, start, 10**10 - 1000, 0)
    read(conn, end, wh * 10 // MULTIPLIER - 1000, 0)

    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    active = next(each for each in kept.registers if each.register == "ea_imp")
    assert (active.start, active.moved_kwh) == (Decimal("999999.9000"), Decimal(wh) / 1000)
    assert kept.findings == ()
    assert verify(bill_text(kept).encode()).is_right


def test_registers_that_do_not_agree_with_the_intervals_are_a_finding(conn: Conn) -> None:
    fill(conn)
    start, end = month_bounds(AUGUST)
    install(conn, start - timedelta(days=400))
    read(conn, start, 0, 0)
    read(conn, end, sum(CURVE) * 31 * 10 // MULTIPLIER + 1, 0)

    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    assert [each.rule for each in kept.findings] == ["register_differs"]


def test_a_meter_that_was_not_read_is_a_finding(conn: Conn) -> None:
    fill(conn)
    install(conn, month_bounds(AUGUST)[0])

    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    assert [each.rule for each in kept.findings] == ["register_not_read"]


def test_a_reading_without_a_trusted_clock_is_no_evidence(conn: Conn) -> None:
    fill(conn)
    start, end = month_bounds(AUGUST)
    install(conn, start)
    for at in (start, end):
        read(conn, at, 1, 0)
    conn.execute("UPDATE reading SET quality = 1")

    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    assert [(each.start, each.end) for each in kept.registers] == [(None, None)]


def install(conn: Conn, since: datetime) -> None:
    conn.execute("INSERT INTO gateway (gateway_id, name) VALUES ('GW1', '网关')")
    conn.execute("INSERT INTO meter (meter_id, profile, address) VALUES ('M1', 'p', '1')")
    conn.execute(
        """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
           SELECT meter_key, 'SP0001', 'GW1', %s, tstzrange(%s, NULL) FROM meter""",
        (MULTIPLIER, since),
    )


def read(conn: Conn, at: datetime, ea_imp: int, er_imp: int) -> None:
    partitions.ensure_partitions(conn, [at], 7)
    conn.execute(
        """INSERT INTO reading (taken_at, meter_key, source, quality, batch_id, c0, c1, c2)
           SELECT %s, meter_key, 0, 0, 1, %s, 0, %s FROM meter""",
        (at, ea_imp, er_imp),
    )


def test_issuing_moves_a_draft_once(conn: Conn) -> None:
    fill(conn)
    drawn = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)

    issuing.issue(conn, drawn.bill_id, "test", NOW)

    assert load(conn, drawn.bill_id).state == "issued"
    with pytest.raises(issuing.NotADraft):
        issuing.issue(conn, drawn.bill_id, "test", NOW)
    with pytest.raises(issuing.NoSuchBill):
        issuing.issue(conn, 999, "test", NOW)
    assert billing.accounts_to_bill(conn, AUGUST) == (ACCOUNT,)


def test_a_price_file_never_changes_under_its_version(conn: Conn) -> None:
    texts = published.packaged_texts()

    assert published.keep(conn, texts, NOW) == len(texts)
    assert published.keep(conn, texts, NOW) == 0
    assert len(published.catalogue(conn).files) == len(texts)
    changed = published.PublishedText(texts[0].name, texts[0].text + "\n# another byte\n")
    with pytest.raises(published.PublishedFileChanged) as refusal:
        published.keep(conn, [changed], NOW)
    assert texts[0].name in str(refusal.value)


@pytest.mark.parametrize("language", list(Language))
def test_a_printed_bill_is_the_same_bytes_shows_its_amounts_and_carries_its_json(
    conn: Conn, language: Language, tmp_path: Path
) -> None:
    fill(conn)
    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)

    pdf = bill_pdf(kept, language)

    assert pdf == bill_pdf(kept, language)
    with pypdfium2.PdfDocument(pdf) as document:
        pages = "".join(page.get_textpage().get_text_range() for page in document)
    for amount in (kept.total_fen, *(line.amount_fen for line in kept.lines)):
        assert f"{Decimal(abs(amount)) / 100:,.2f}" in pages
    assert "䶮" in pages  # a character of GB18030 that many fonts lack
    path = tmp_path / bill_file_name(kept, "pdf")
    path.write_bytes(pdf)
    verdict = verify_file(path)
    assert verdict.is_right
    assert verdict.text.startswith(f"OK {ACCOUNT} 2026-08 revision 1: {len(kept.lines)} lines")


def test_a_doctored_bill_is_told_and_other_files_are_refused(conn: Conn, tmp_path: Path) -> None:
    fill(conn)
    kept = load(conn, billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id)
    content = json.loads(bill_text(kept))
    content["lines"][2]["amount_fen"] += 1
    content["total_fen"] += 1

    verdict = verify(json.dumps(content).encode())

    assert not verdict.is_right
    assert "line 3 (energy energy flat)" in verdict.text
    with pytest.raises(NoAttachment):
        verify(b"%PDF-1.7 nonsense")
    with pytest.raises(UnreadableFile):
        verify_file(tmp_path / "absent.json")


def test_two_runs_at_once_make_one_bill(conn: Conn, database: str) -> None:
    """The second waits for the first's transaction and then finds its bill."""
    fill(conn)
    conn.commit()
    with psycopg.connect(database) as other:
        first = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            billing.bill_month(other, ACCOUNT, AUGUST, NOW)
        other.rollback()
        conn.commit()
        second = billing.bill_month(other, ACCOUNT, AUGUST, NOW)

    assert (second.bill_id, second.is_new) == (first.bill_id, False)


def test_the_worker_role_may_do_all_of_it(conn: Conn) -> None:
    fill(conn)
    install(conn, month_bounds(AUGUST)[0])
    take_scope(conn, Scope(ProcessRole.WORKER))

    drawn = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    issuing.issue(conn, drawn.bill_id, "test", NOW)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("UPDATE bill SET total_fen = 0")


def test_the_command_bills_issues_prints_and_verifies(
    conn: Conn,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(conn)
    conn.commit()
    monkeypatch.setenv("SHOUDIAN_DSN", database)
    paper = tmp_path / "bill.pdf"

    assert main(["bill", ACCOUNT, "2026-08", "--issue", "--pdf", str(paper)]) == 0
    assert f"{recomputed_fen() / 100:,.2f}" in capsys.readouterr().out
    assert main(["verify-bill", str(paper)]) == 0
    assert capsys.readouterr().out.startswith("OK ")
    assert main(["bill", ACCOUNT, "2026-07"]) == 2
    assert "2026-07" in capsys.readouterr().err
    assert conn.execute("SELECT state FROM bill").fetchall() == [("issued",)]


def test_the_command_issues_no_bill_that_needs_a_second_person(
    conn: Conn, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft was drawn up and scored by another command; that does not make this one a colleague."""
    fill(conn)
    drawn = billing.bill_month(conn, ACCOUNT, AUGUST, NOW)
    reviews.add_assessment(conn, drawn.bill_id, Risk(80, (), 1), "cli:bill-run", NOW)
    conn.commit()
    monkeypatch.setenv("SHOUDIAN_DSN", database)

    assert main(["bill", ACCOUNT, "2026-08", "--issue"]) == 2

    assert conn.execute("SELECT state FROM bill").fetchall() == [("draft",)]


def test_a_line_cannot_be_added_to_a_bill_that_is_out(conn: Conn) -> None:
    fill(conn)
    bill_id = billing.bill_month(conn, ACCOUNT, AUGUST, NOW).bill_id
    issuing.issue(conn, bill_id, "test", NOW)

    with pytest.raises(psycopg.errors.RestrictViolation), conn.transaction():
        conn.execute(
            """INSERT INTO bill_line SELECT bill_id, 900, section, item, period, quantity, unit, price_yuan_per_unit,
                                            amount_fen, derivation FROM bill_line WHERE bill_id = %s LIMIT 1""",
            (bill_id,),
        )
