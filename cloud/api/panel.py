"""The live panel: what the live page, its JSON and its event stream all show."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from cloud.api import reply, who
from cloud.metering import display
from cloud.metering.store import display as store

PHASES: Final = ("a", "b", "c")


class PhaseView(reply.View):
    """Voltage and current of one phase at the meter's face."""

    phase: str
    voltage_v: Decimal | None
    current_a: Decimal | None


class MeterNowView(reply.View):
    """The latest sample of one meter; voltages and currents are as on its face, before the multiplier."""

    meter_id: str
    supply_point_name: str
    multiplier: int
    taken_at: datetime | None
    freshness: display.Freshness
    power_w: int | None
    power_factor: Decimal | None
    frequency_hz: Decimal | None
    phases: tuple[PhaseView, ...]


class NowView(reply.View):
    """Power now (unvalidated), how old it is, and the meters it is the sum of. Negative: fed into the grid."""

    account_id: str
    as_of: datetime
    taken_at: datetime | None
    age_s: int | None
    freshness: display.Freshness
    power_w: int | None
    meters: tuple[MeterNowView, ...]


def now_view(visit: who.Visit, account_id: str) -> NowView:
    """The latest samples of the account's meters."""
    rows = store.live_of_account(visit.conn, account_id, visit.now)
    taken_at = display.oldest(rows)
    return NowView(
        account_id=account_id,
        as_of=visit.now,
        taken_at=taken_at,
        age_s=None if taken_at is None else max(0, (visit.now - taken_at) // timedelta(seconds=1)),
        freshness=display.freshness(taken_at, visit.now),
        power_w=display.total_power_w(rows),
        meters=tuple(_meter_view(row, visit.now) for row in rows),
    )


def _meter_view(row: display.LiveRow, now: datetime) -> MeterNowView:
    return MeterNowView(
        meter_id=row.meter_id,
        supply_point_name=row.supply_point_name,
        multiplier=row.multiplier,
        taken_at=row.taken_at,
        freshness=display.freshness(row.taken_at, now),
        power_w=display.power_w(row.ticks, row.multiplier),
        power_factor=display.channel(row.ticks, "pf"),
        frequency_hz=display.channel(row.ticks, "freq"),
        phases=tuple(
            PhaseView(
                phase=phase.upper(),
                voltage_v=display.channel(row.ticks, f"u_{phase}"),
                current_a=display.channel(row.ticks, f"i_{phase}"),
            )
            for phase in PHASES
        ),
    )
