"""How many bills a machine prints: python -m benchmarks.paper [BILLS] [PROCESSES]

A two-part bill of a month with all days, as one process and as a pool; unsigned and signed; and what checking costs.
Every printed file is checked to be the same bytes as the first of its account, so nothing is skipped.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from cloud.billing.bill import priced, rate
from cloud.billing.catalogue import Buyer
from cloud.billing.document.around import Around, PastMonth, bill_file_text
from cloud.billing.facts import Account, Bill, rated
from cloud.billing.labels import Language
from cloud.billing.run.print import Job, bill_pdf, print_all
from cloud.billing.run.verify import verify
from cloud.billing.segment import DayUse, Demand, DemandMode, Segment, Terms, Usage
from cloud.billing.store.published import packaged_catalogue
from cloud.config import SignerConfig
from cloud.markettime import days_of_month, month_after
from cloud.paper.sign import load_signer
from cloud.paper.signer import make_signer

MONTH = date(2026, 8, 1)
MADE = datetime(2026, 9, 2, 2, tzinfo=UTC)
BILLS, WARM = 200, 4
UNSIGNED = SignerConfig(None, None)


def a_bill(number: int) -> Bill:
    """One of many customers."""
    terms = Terms("commercial", "agency", "two_part", "1-10kV", DemandMode.ACTUAL, 800, None, Decimal("0.90"))
    days = tuple(
        DayUse(day, (600_000 + number, 900_000, 1_300_000 + day.day * 1000, 800_000, 0))
        for day in days_of_month(MONTH)
    )
    wh = tuple(sum(day.import_wh[index] for day in days) for index in range(5))
    usage = Usage(
        wh, 0, 38_500_000, 0, (Demand("SP1", Decimal("412.6"), MONTH + timedelta(17), 43),), 4, days
    )
    prices = packaged_catalogue().prices_on(MONTH, Buyer("jibei", "agency", "commercial"))
    segments = priced([(Segment(MONTH, month_after(MONTH), terms, usage), prices)])
    account = Account(f"13{number:011d}", f"示范企业 {number} 号", f"示范园区 {number} 号")
    return Bill(account, MONTH, 1, MADE, tuple(map(rated, segments)), rate(segments, MONTH), state="issued")


def around() -> Around:
    """A year of months before it."""
    past = tuple(PastMonth(month_after(MONTH, -back), 9_000_000, 110_000_000) for back in range(12, 0, -1))
    return Around(past, MADE, MONTH + timedelta(50), 0)


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else BILLS
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
    bills = [a_bill(number) for number in range(count)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_signer(folder / "signer", "示范售电有限公司", datetime(2026, 1, 1, tzinfo=UTC))
        signer = SignerConfig(folder / "signer" / "signer.key", folder / "signer" / "signer.pem")
        _alone(bills, folder)
        for config in (UNSIGNED, signer):
            _together(bills, folder, config, processes)
        _checked(folder, bills[: min(20, count)], signer)
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"memory: this process {memory_mb} MB, largest printing process {child_mb} MB")


def _alone(bills: list[Bill], folder: Path) -> None:
    for bill in bills[:WARM]:
        bill_pdf(bill, Language.ZH, around())
    started, worked, size = time.perf_counter(), time.process_time(), 0
    for bill in bills:
        size += len(bill_pdf(bill, Language.ZH, around()))
    took_s = time.perf_counter() - started
    print(
        f"1 process, unsigned: {len(bills)} bills in {took_s:.1f} s = {len(bills) / took_s:.1f} bills/s, "
        f"{len(bills) / (time.process_time() - worked):.1f} bills a CPU second, {size // len(bills) // 1000} kB each"
    )


def _together(bills: list[Bill], folder: Path, config: SignerConfig, processes: int) -> None:
    kind = "signed" if config.key_file else "unsigned"
    place = folder / kind
    place.mkdir()
    warm = [replace(bills[0], account=Account(f"99{n:011d}", "暖机", "—")) for n in range(processes * WARM)]
    jobs = [
        Job(
            bill.account.account_id,
            bill_file_text(bill, around()),
            place / f"{bill.account.account_id}.pdf",
            Language.ZH,
            config,
        )
        for bill in (*warm, *bills)
    ]
    started, worked_s = time.perf_counter(), _children_s()
    for done, printed in enumerate(print_all(jobs, processes), start=1):
        if printed.problem:
            raise SystemExit(f"{printed.name}: {printed.problem}")
        if done == len(warm):
            started = time.perf_counter()
    took_s = time.perf_counter() - started
    sizes = [path.stat().st_size for path in place.iterdir()]
    own = (
        None
        if config.key_file is None or config.certificate_file is None
        else load_signer(config.key_file, config.certificate_file)
    )
    again = bill_pdf(bills[-1], Language.ZH, around(), own)
    if (place / f"{bills[-1].account.account_id}.pdf").read_bytes() != again:
        raise SystemExit("another process printed other bytes")
    print(
        f"{processes} processes, {kind}: {len(bills)} bills in {took_s:.1f} s = {len(bills) / took_s:.1f} bills/s, "
        f"{len(jobs) / (_children_s() - worked_s):.1f} bills a CPU second with starting, {sum(sizes) // len(sizes) // 1000} kB each, same bytes in every process"
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _checked(folder: Path, bills: list[Bill], config: SignerConfig) -> None:
    files = [(folder / "signed" / f"{bill.account.account_id}.pdf").read_bytes() for bill in bills]
    verify(files[0])
    started = time.perf_counter()
    if not all(verify(content).is_right for content in files):
        raise SystemExit("a printed bill does not verify")
    took_s = time.perf_counter() - started
    print(
        f"verify-bill, signed PDF: {took_s / len(files) * 1000:.0f} ms each (signature, pages printed again, rated again)"
    )


if __name__ == "__main__":
    main()
