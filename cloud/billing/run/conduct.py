"""Shell: read from bills, statements and measured days what they say of parties, and how much each trades. Keeps nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from cloud.billing.store import conduct as seen
from cloud.db import Conn
from cloud.markettime import day_of, month_after, slot_start
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.guarantee import Volumes
from cloud.parties.guaranteefile import Traded

LOOK_BACK: Final = timedelta(days=400)
PPM: Final = 1_000_000


def gather(conn: Conn, now: datetime) -> tuple[Fact, ...]:
    """Read the facts of the last year and a little more."""
    today = day_of(now)
    since = today - LOOK_BACK
    first = _month(today, -1)
    payments = (_payment(row, today) for row in seen.bill_payments(conn, since))
    quality = (_quality(row, first) for row in seen.measured(conn, first, _month(today, 0)))
    found = (*payments, *(_deviation(row) for row in seen.deviations(conn, since)), *quality)
    return tuple(fact for fact in found if fact is not None)


def traded(conn: Conn, now: datetime) -> Mapping[int, Traded]:
    """How much every party trades: the twelve months up to this one, and the last two."""
    today = day_of(now)
    end = month_after(_month(today, 0))
    wholesale: dict[int, dict[date, int]] = defaultdict(dict)
    retail: dict[int, int] = defaultdict(int)
    for party_id, month, mwh in seen.wholesale_months(conn, _month(today, -11), end):
        wholesale[party_id][month] = int(mwh * 1000)
    for party_id, _, import_wh in seen.retail_months(conn, _month(today, -1), end):
        retail[party_id] += import_wh // 1000
    recent = _month(today, -1)
    return {
        party_id: Traded(
            Volumes(
                Decimal(sum(wholesale[party_id].values())),
                Decimal(sum(kwh for month, kwh in wholesale[party_id].items() if month >= recent)),
                Decimal(retail[party_id]),
            ),
            max(wholesale[party_id].values(), default=0),
        )
        for party_id in {*wholesale, *retail}
    }


def _payment(row: tuple[int, str, date, int, date | None], today: date) -> Fact | None:
    party_id, item, due, open_fen, paid_on = row
    document = f"{item} ≤ {due:%Y-%m-%d}"
    if open_fen > 0:
        if today <= due:
            return None
        noted = slot_start(due + timedelta(days=1), 0)
        return Fact(party_id, Conduct.UNPAID, noted, (today - due).days, f"unpaid:{item}", document)
    if paid_on is None:
        return None
    late = max(0, (paid_on - due).days)
    kind = Conduct.PAID_LATE if late else Conduct.PAID_ON_TIME
    return Fact(party_id, kind, slot_start(paid_on, 0), late, f"bill:{item}", document)


def _deviation(row: tuple[int, str, date, int, Decimal]) -> Fact:
    party_id, unit, month, quantity_kwh, contract_mwh = row
    missed = abs(int(contract_mwh * 1000) - quantity_kwh)
    at = slot_start(month_after(month), 0)
    document = f"{unit} {month:%Y-%m}: {quantity_kwh} kWh / {contract_mwh} MWh"
    return Fact(
        party_id,
        Conduct.DEVIATION,
        at,
        missed * PPM // quantity_kwh,
        f"statement:{unit}:{month:%Y-%m}",
        document,
    )


def _quality(row: tuple[int, int, int], month: date) -> Fact:
    party_id, slots, measured = row
    document = f"{month:%Y-%m}: {measured} / {slots}"
    at = slot_start(month_after(month), 0)
    key = f"quality:{party_id}:{month:%Y-%m}"
    return Fact(party_id, Conduct.DATA_QUALITY, at, measured * PPM // slots, key, document)


def _month(day: date, offset: int) -> date:
    number = day.year * 12 + day.month - 1 + offset
    return date(number // 12, number % 12 + 1, 1)
