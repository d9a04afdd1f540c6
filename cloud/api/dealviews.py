"""What listings, rolling books, negotiation rooms and transfers show, to whom, and how their forms are read. No HTTP here.

Quantities stay whole kWh and prices whole ticks of 0.01 yuan/MWh in the views; a form's figures are read as decimal texts
and refused when they are not exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import zip_longest

from cloud import markettime, words
from cloud.api import reply, who
from cloud.errors import Invalid
from cloud.market.auction import Side
from cloud.market.negotiation import Change, Link, Room, RoomState, Version
from cloud.market.offering import Line, kwh_from, ticks_from
from cloud.market.precheck import Finding
from cloud.market.rollbook import Depth
from cloud.market.store import listings
from cloud.market.store.listings import ListingRow, TakeRow
from cloud.market.store.negotiations import RoomRow, TransferEvent, TransferRow
from cloud.market.store.rolling import FeedRow, RollingRow
from cloud.security import run as security
from cloud.security.access import Subject

FORM_LINES_MAX = 288


class BadForm(Invalid):
    """A field of a form cannot be read; the key says which form it has."""


class LineView(reply.View):
    """A line of a listing or an offer; `left_kwh` is None where nothing is taken of it."""

    month: date
    period: str
    kwh: int
    price_ticks: int
    environment_ticks: int
    left_kwh: int | None = None


class ListingView(reply.View):
    """A listing as the market sees it; `may_take` says whether this visitor's kind may, as far as can be said before."""

    listing_id: int
    party_name: str
    side: str
    is_green: bool
    sharing: str
    is_clipped: bool
    all_or_none: bool
    min_take_kwh: int
    eligible_kinds: tuple[str, ...]
    is_limited: bool
    note: str
    starts_at: datetime
    ends_at: datetime
    state: str
    lines: tuple[LineView, ...]
    is_mine: bool
    published_at: datetime

    @property
    def left_kwh(self) -> int:
        """What is left of all lines together."""
        return sum(line.left_kwh or 0 for line in self.lines)


class TakeView(reply.View):
    """A take as its own party and the lister see it."""

    receipt_no: str
    listing_id: int
    seq: int
    party_name: str
    kwh: tuple[int, ...]
    got: tuple[int, ...] | None
    contract_id: str | None
    at: datetime


class RollingView(reply.View):
    """A rolling session."""

    rolling_id: int
    title: str
    periods: tuple[str, ...]
    trade_price: str
    price_min_ticks: int | None
    price_max_ticks: int | None
    lot_kwh: int
    opens_at: datetime
    closes_at: datetime
    state: str
    is_open: bool


class LevelView(reply.View):
    """What rests at one price."""

    price_ticks: int
    kwh: int
    orders: int


class DepthView(reply.View):
    """The best levels of a book, and its last trades; no names."""

    rolling_id: int
    period_no: int
    bids: tuple[LevelView, ...]
    asks: tuple[LevelView, ...]
    trades: tuple[tuple[int, int, datetime], ...]  # price in ticks, kWh, when


class VersionView(reply.View):
    """An offer with what differs from the one before it."""

    number: int
    party_name: str
    is_mine: bool
    sha256: str
    at: datetime
    lines: tuple[LineView, ...]
    settlement: str
    deviation: str
    band_permille: int
    clause: str
    changes: tuple[tuple[str, str, str | None, str | None], ...]
    warnings: tuple[str, ...]


class TalkView(reply.View):
    """Something that happened in a room."""

    number: int
    deed: str
    party_name: str
    is_mine: bool
    actor: str
    at: datetime
    text: str
    version: int | None
    document_id: int | None
    document_name: str
    sha256: str


class RoomHeadView(reply.View):
    """A room in the list."""

    negotiation_id: int
    title: str
    seller_name: str
    buyer_name: str
    is_green: bool
    state: str
    expires_at: datetime
    unread: int


class RoomView(reply.View):
    """A room: the versions, the talk, and what this visitor may do now."""

    head: RoomHeadView
    seller_unit: str
    buyer_unit: str
    versions: tuple[VersionView, ...]
    standing_no: int | None
    agreed_no: int | None
    contract_id: str | None
    talk: tuple[TalkView, ...]
    may: tuple[str, ...]
    units: tuple[str, ...]
    last_sha256: str


class TransferView(reply.View):
    """A transfer with the figures that all three agree to."""

    transfer_id: int
    contract_id: str
    new_contract_id: str
    side: str
    from_name: str
    to_name: str
    other_name: str
    lines: tuple[LineView, ...]
    kwh: tuple[int, ...]
    reason: str
    terms_sha256: str
    state: str
    expires_at: datetime
    steps: tuple[tuple[str, datetime, str], ...]
    may: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Lines of a form, column by column, as they were sent."""

    months: Sequence[str]
    periods: Sequence[str]
    mwh: Sequence[str]
    prices: Sequence[str]
    environments: Sequence[str] = ()


def allow(visit: who.Visit, kind: str, key: str, parties: Sequence[int] = ()) -> None:
    """Let a visitor look at a deal of these parties, or at what is the whole market's. Raises NotYours, NotForRole.

    A customer looks as its own party if it is one of them; everybody else meets the rights to what is the first one's.
    """
    own = visit.actor.party_id
    owner = own if own in parties or not parties else parties[0]
    security.allow(visit.conn, visit.actor, visit.deed, Subject(kind, key, owner), visit.now)


def own_unit(visit: who.Visit, unit: str) -> str:
    """The unit that a form names, or the visitor's first."""
    return unit or listings.units_of(visit.conn, visit.actor.party_id or 0, visit.now)[0]


def own_units(visit: who.Visit) -> tuple[str, ...]:
    """The units that the visitor's party trades with; none for who has no party."""
    party_id = visit.actor.party_id
    return () if party_id is None else listings.units_of(visit.conn, party_id, visit.now)


def lines_from(columns: Columns) -> tuple[Line, ...]:
    """Read the lines of a form; rows without month and quantity are left out. Raises BadForm, BadQuantity."""
    if len(columns.mwh) > FORM_LINES_MAX:
        raise BadForm("listing_lines", most=FORM_LINES_MAX)
    found = []
    for month, period, mwh, price, environment in zip_longest(
        columns.months, columns.periods, columns.mwh, columns.prices, columns.environments, fillvalue=""
    ):
        if not mwh.strip():
            continue
        found.append(
            Line(
                month_from(month),
                period.strip() or "month",
                kwh_from(mwh),
                ticks_from(price),
                ticks_from(environment) if environment.strip() else 0,
            )
        )
    return tuple(found)


def month_from(text: str) -> date:
    """Read YYYY-MM. Raises BadForm."""
    try:
        return markettime.month_from(text.strip())
    except ValueError:
        raise BadForm("month_form", text=text[:20]) from None


def instant_from(text: str) -> datetime:
    """Read a local date and time of the market, 2026-12-01T09:00, or an instant with its zone. Raises BadForm."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadForm("instant_form", text=text[:40]) from None
    return (at.replace(tzinfo=markettime.MARKET_ZONE) if at.tzinfo is None else at).astimezone(UTC)


def quantities_from(texts: Sequence[str], lines: int) -> tuple[int, ...]:
    """Read MWh by line; an empty field is nothing of that line. Raises BadForm, BadQuantity."""
    if len(texts) != lines:
        raise BadForm("lines_differ", lines=lines)
    return tuple(kwh_from(text) if text.strip() else 0 for text in texts)


def listing_view(row: ListingRow, party_id: int | None) -> ListingView:
    """Show a listing to somebody of a party."""
    offer = row.offer
    return ListingView(
        listing_id=row.listing_id,
        party_name=row.party_name,
        side=offer.side.value,
        is_green=offer.is_green,
        sharing=offer.sharing.value,
        is_clipped=offer.is_clipped,
        all_or_none=offer.all_or_none,
        min_take_kwh=offer.min_take_kwh,
        eligible_kinds=offer.eligible_kinds,
        is_limited=bool(offer.eligible_ids),
        note=row.note,
        starts_at=offer.starts_at,
        ends_at=offer.ends_at,
        state=row.state,
        lines=tuple(line_view(line, left) for line, left in zip(offer.lines, row.left, strict=True)),
        is_mine=row.party_id == party_id,
        published_at=row.published_at,
    )


def take_view(row: TakeRow) -> TakeView:
    """Show a take."""
    return TakeView(
        receipt_no=f"ZP{row.listing_id:06d}-{row.seq:08d}",
        listing_id=row.listing_id,
        seq=row.seq,
        party_name=row.party_name or "",
        kwh=tuple(row.kwh),
        got=None if row.got is None else tuple(row.got),
        contract_id=row.contract_id,
        at=row.at,
    )


def line_view(line: Line, left_kwh: int | None = None) -> LineView:
    """Show a line."""
    return LineView(
        month=line.month,
        period=line.period,
        kwh=line.kwh,
        price_ticks=line.price_ticks,
        environment_ticks=line.environment_ticks,
        left_kwh=left_kwh,
    )


def rolling_view(row: RollingRow, now: datetime) -> RollingView:
    """Show a rolling session."""
    pairs = zip(row.period_month, row.period_label, strict=True)
    return RollingView(
        rolling_id=row.rolling_id,
        title=row.title,
        periods=tuple(f"{month:%Y-%m} {label}" for month, label in pairs),
        trade_price=row.trade_price,
        price_min_ticks=row.price_min_ticks,
        price_max_ticks=row.price_max_ticks,
        lot_kwh=row.lot_kwh,
        opens_at=row.opens_at,
        closes_at=row.closes_at,
        state=row.state,
        is_open=row.is_open(now),
    )


def depth_view(rolling_id: int, period_no: int, depth: Depth, trades: Sequence[FeedRow]) -> DepthView:
    """Show a book."""
    bids, asks = (
        tuple(
            LevelView(price_ticks=each.price_ticks, kwh=each.quantity_kwh, orders=each.order_count)
            for each in levels
        )
        for levels in (depth.bids, depth.asks)
    )
    return DepthView(
        rolling_id=rolling_id,
        period_no=period_no,
        bids=bids,
        asks=asks,
        trades=tuple((each.price_ticks, each.kwh, each.at) for each in trades),
    )


def head_view(row: RoomRow, unread: int) -> RoomHeadView:
    """Show a room in the list."""
    return RoomHeadView(
        negotiation_id=row.negotiation_id,
        title=row.title,
        seller_name=row.seller_name,
        buyer_name=row.buyer_name,
        is_green=row.is_green,
        state=row.state,
        expires_at=row.expires_at,
        unread=unread,
    )


def version_view(
    row: RoomRow, version: Version, changes: Sequence[Change], about: tuple[int | None, tuple[str, ...]]
) -> VersionView:
    """Show an offer; `about` is (the visitor's party, its warnings as sentences)."""
    party_id, warnings = about
    return VersionView(
        number=version.version_no,
        party_name=name_in(row, version.party_id),
        is_mine=version.party_id == party_id,
        sha256=version.sha256,
        at=version.at,
        lines=tuple(line_view(line) for line in version.terms.lines),
        settlement=version.terms.settlement.value,
        deviation=version.terms.deviation.value,
        band_permille=version.terms.band_permille,
        clause=version.terms.clause,
        changes=tuple((each.what, each.place, each.before, each.after) for each in changes),
        warnings=warnings,
    )


def talk_view(row: RoomRow, link: Link, party_id: int | None) -> TalkView:
    """Show an event of a room."""
    event, body = link.event, link.event.body
    return TalkView(
        number=event.event_no,
        deed=event.deed,
        party_name=name_in(row, event.party_id),
        is_mine=event.party_id is not None and event.party_id == party_id,
        actor=event.actor,
        at=event.at,
        text=str(body.get("text", body.get("reason", ""))),
        version=body.get("version"),
        document_id=body.get("document"),
        document_name=str(body.get("name", "")),
        sha256=link.sha256,
    )


def transfer_view(
    row: TransferRow, lines: tuple[LineView, ...], events: Sequence[TransferEvent], party_id: int | None
) -> TransferView:
    """Show a transfer, with what this visitor may do."""
    may: tuple[str, ...] = ()
    if row.state in ("proposed", "taken_over"):
        turns = {
            row.from_id: ("withdraw",),
            row.to_id: ("take_over", "decline") if row.state == "proposed" else ("decline",),
            row.other_id: ("consent", "decline") if row.state == "taken_over" else ("decline",),
        }
        may = turns.get(party_id or 0, ())
    return TransferView(
        transfer_id=row.transfer_id,
        contract_id=row.contract_id,
        new_contract_id=row.new_contract_id,
        side=row.side,
        from_name=row.from_name,
        to_name=row.to_name,
        other_name=row.other_name,
        lines=lines,
        kwh=tuple(row.kwh),
        reason=row.reason,
        terms_sha256=row.terms_sha256,
        state=row.state,
        expires_at=row.expires_at,
        steps=tuple((each.deed, each.at, each.reason) for each in events),
        may=may,
        units=(),
    )


def may_do(room: Room, party_id: int | None, is_staff: bool) -> tuple[str, ...]:
    """Which deeds a room's page offers this visitor: only those that the fold would take."""
    if is_staff:
        return ("operator_refuse",) if room.state == RoomState.CHANGING else ()
    if party_id not in (room.seller_id, room.buyer_id):
        return ()
    standing = room.standing
    is_invited = party_id != room.inviter_id
    is_other = standing is not None and standing.party_id != party_id
    is_answering = party_id != room.asker_id
    table = {
        RoomState.INVITED: ("join", "decline", "say", "withdraw") if is_invited else ("withdraw", "say"),
        RoomState.NEGOTIATING: ("offer", "say", "withdraw"),
        RoomState.OFFERED: ("offer", *(("accept",) if is_other else ("retract",)), "say", "withdraw"),
        RoomState.AGREED: ("ask_change", "say"),
        RoomState.CHANGING: ("allow_change", "refuse_change", "say") if is_answering else ("say",),
    }
    return table.get(RoomState(room.state or ""), ("reopen",))


def name_in(row: RoomRow, party_id: int | None) -> str:
    """A side's name; empty for the operator and the clock."""
    return {row.seller_id: row.seller_name, row.buyer_id: row.buyer_name}.get(party_id or 0, "")


def finding_text(language: str, finding: Finding) -> str:
    """A finding of the preliminary check as a sentence."""
    return words.say(language, f"problem.precheck_{finding.key}", place=finding.place, value=finding.value)


def side_from(text: str) -> Side:
    """Read a side. Raises BadForm."""
    if text not in ("B", "S"):
        raise BadForm("side_form")
    return Side(text)
