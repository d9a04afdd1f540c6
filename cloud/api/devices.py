"""The fleet for staff, one gateway, and a technician's list of what is where and whether it answers."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from cloud import markettime
from cloud.api import reply, who
from cloud.errors import NotFound
from cloud.metering import display
from cloud.metering.store import display as store
from cloud.security import run as security
from cloud.security.access import Deed, Subject

router = APIRouter(tags=["devices"])

DAYS_BACK: Final = 7
ONLINE_AGE_MAX: Final = timedelta(minutes=5)
BACKLOG_OLD_S: Final = 1800  # two sealing periods
_WORST_FIRST: Final = ("offline", "behind", "never", "online")


class NoGateway(NotFound):
    """There is no gateway of that name."""


class GatewayView(reply.View):
    """A gateway: where it stands, what it owes us, and what its meters lack of the last seven days."""

    gateway_id: str
    name: str
    state: str
    condition: str
    seen_at: datetime | None
    age_s: int | None
    backlog_batches: int | None
    oldest_unacked_s: int | None
    meters: int
    missing: int
    estimated: int
    expected: int
    quarantined: dict[str, int]


class FleetView(reply.View):
    """All gateways, and sums."""

    as_of: datetime
    first_day: date
    gateways: tuple[GatewayView, ...]
    online: int
    meters: int
    backlog_batches: int
    missing: int
    estimated: int
    quarantined: int


class MeterView(reply.View):
    """A meter behind a gateway with its latest sample."""

    gateway_id: str
    meter_id: str
    profile: str
    address: str
    account_id: str
    supply_point_name: str
    multiplier: int
    taken_at: datetime | None
    age_s: int | None
    freshness: display.Freshness
    power_w: int | None


class FindingView(reply.View):
    """What validation noticed; slot None: about the whole day."""

    day: date
    slot: int | None
    meter_id: str
    rule: str
    severity: str


class GatewayPageView(reply.View):
    """One gateway with its meters and findings."""

    as_of: datetime
    gateway: GatewayView
    meters: tuple[MeterView, ...]
    findings: tuple[FindingView, ...]


class FieldView(reply.View):
    """What a technician looks after."""

    as_of: datetime
    gateways: tuple[GatewayView, ...]
    meters: tuple[MeterView, ...]


GatewayId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,32}$")]


@router.get("/fleet", response_model=FleetView)
def fleet(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_FLEET)]) -> Response:
    """Gateways with state, last seen, backlog, gaps of the last seven days, quarantined messages by verdict."""
    first_day, gateways = _gateways(visit)
    view = FleetView(
        as_of=visit.now,
        first_day=first_day,
        gateways=gateways,
        online=sum(gateway.condition == "online" for gateway in gateways),
        meters=sum(gateway.meters for gateway in gateways),
        backlog_batches=sum(gateway.backlog_batches or 0 for gateway in gateways),
        missing=sum(gateway.missing for gateway in gateways),
        estimated=sum(gateway.estimated for gateway in gateways),
        quarantined=sum(sum(gateway.quarantined.values()) for gateway in gateways),
    )
    return reply.answer(request, visit, "devices/fleet.html", view)


@router.get("/gateways/{gateway_id}", response_model=GatewayPageView)
def gateway_page(
    request: Request,
    gateway_id: GatewayId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_GATEWAY)],
) -> Response:
    """One gateway: its meters with their latest samples, and what validation noticed."""
    security.allow(visit.conn, visit.actor, visit.deed, Subject("gateway", gateway_id), visit.now)
    first_day, gateways = _gateways(visit)
    found = next((gateway for gateway in gateways if gateway.gateway_id == gateway_id), None)
    if found is None:
        raise NoGateway("not_found", kind="gateway")
    end_day = markettime.day_of(visit.now) + timedelta(days=1)
    findings = store.findings_of_gateway(visit.conn, gateway_id, since_day=first_day, end_day=end_day)
    view = GatewayPageView(
        as_of=visit.now,
        gateway=found,
        meters=_meters(visit, gateway_id),
        findings=tuple(
            FindingView(
                day=row.day, slot=row.slot, meter_id=row.meter_id, rule=row.rule, severity=row.severity
            )
            for row in findings
        ),
    )
    return reply.answer(request, visit, "devices/gateway.html", view)


@router.get("/field", response_model=FieldView)
def field(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_FIELD)]) -> Response:
    """Every gateway and meter with its latest sample, those that need somebody first."""
    _, gateways = _gateways(visit)
    by_need = tuple(sorted(gateways, key=lambda gateway: _WORST_FIRST.index(gateway.condition)))
    view = FieldView(as_of=visit.now, gateways=by_need, meters=_meters(visit, None))
    return reply.answer(request, visit, "devices/field.html", view)


def _gateways(visit: who.Visit) -> tuple[date, tuple[GatewayView, ...]]:
    today = markettime.day_of(visit.now)
    first_day = today - timedelta(days=DAYS_BACK)
    rows = store.fleet(visit.conn, since_day=first_day, end_day=today, at=visit.now)
    return first_day, tuple(_gateway_view(row, visit.now) for row in rows)


def _gateway_view(row: store.GatewayRow, now: datetime) -> GatewayView:
    return GatewayView(
        gateway_id=row.gateway_id,
        name=row.name,
        state=row.state,
        condition=_condition(row, now),
        seen_at=row.seen_at,
        age_s=None if row.seen_at is None else _age_s(row.seen_at, now),
        backlog_batches=row.backlog_batches,
        oldest_unacked_s=row.oldest_unacked_s,
        meters=row.meters,
        missing=row.missing,
        estimated=row.estimated,
        expected=row.expected,
        quarantined={verdict: int(count) for verdict, count in row.quarantined.items()},
    )


def _condition(row: store.GatewayRow, now: datetime) -> str:
    """What a person would say of it: never seen, offline, behind with its batches, or online."""
    if row.seen_at is None:
        return "never"
    if not row.online or now - row.seen_at > ONLINE_AGE_MAX:
        return "offline"
    return "behind" if (row.oldest_unacked_s or 0) > BACKLOG_OLD_S else "online"


def _meters(visit: who.Visit, gateway_id: str | None) -> tuple[MeterView, ...]:
    rows = store.meters_of_gateways(visit.conn, gateway_id, visit.now)
    return tuple(
        MeterView(
            gateway_id=row.gateway_id,
            meter_id=row.meter_id,
            profile=row.profile,
            address=row.address,
            account_id=row.account_id,
            supply_point_name=row.supply_point_name,
            multiplier=row.multiplier,
            taken_at=row.taken_at,
            age_s=None if row.taken_at is None else _age_s(row.taken_at, visit.now),
            freshness=display.freshness(row.taken_at, visit.now),
            power_w=display.power_w(row.ticks, row.multiplier),
        )
        for row in rows
    )


def _age_s(then: datetime, now: datetime) -> int:
    return max(0, (now - then) // timedelta(seconds=1))
