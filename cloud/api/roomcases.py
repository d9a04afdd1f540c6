"""A negotiation room as somebody sees it: whether at all, as a view, and as the parts of its page that change while it is open."""

from __future__ import annotations

from typing import Final

from cloud.api import dealviews, reply, who
from cloud.api.dealviews import RoomView
from cloud.api.streaming import Look, Part
from cloud.market.negotiation import contract_id_of, differences
from cloud.market.precheck import Finding, Severity
from cloud.market.store import negotiations
from cloud.market.store.negotiations import RoomRow
from cloud.security.access import Role

PARTS: Final = ("state", "offers", "deeds", "making", "talk", "versions")


def found(visit: who.Visit, negotiation_id: int) -> RoomRow:
    """A room of the visitor's party; who oversees sees all."""
    row = negotiations.find(visit.conn, negotiation_id)
    dealviews.allow(visit, "negotiation", str(negotiation_id), row.parties)
    return row


def view_of(visit: who.Visit, row: RoomRow) -> RoomView:
    """A room as this visitor sees it, with what may be done now."""
    party_id = visit.actor.party_id
    links = negotiations.links_of(visit.conn, row.negotiation_id)
    folded = negotiations.room_of(row, links)
    warned = {
        link.event.body["version"]: tuple(
            dealviews.finding_text(
                visit.language,
                Finding(Severity(each["severity"]), each["key"], each["place"], each["value"]),
            )
            for each in link.event.body.get("warnings", ())
        )
        for link in links
        if link.event.deed == "offer"
    }
    befores = (None, *(version.terms for version in folded.versions))
    agreed = folded.agreed
    return RoomView(
        head=dealviews.head_view(row, 0),
        seller_unit=row.seller_unit,
        buyer_unit=row.buyer_unit,
        versions=tuple(
            dealviews.version_view(
                row,
                version,
                differences(before, version.terms),
                (party_id, warned.get(version.version_no, ())),
            )
            for before, version in zip(befores, folded.versions, strict=False)
        ),
        standing_no=folded.standing_no,
        agreed_no=folded.agreed_no,
        contract_id=None if agreed is None else contract_id_of(row.negotiation_id, agreed.version_no),
        talk=tuple(dealviews.talk_view(row, link, party_id) for link in links),
        may=dealviews.may_do(folded, party_id, visit.actor.role is Role.STAFF),
        units=dealviews.own_units(visit),
        last_sha256=negotiations.last_sha256(links),
    )


def look(visit: who.Visit, negotiation_id: int, after: int) -> Look:
    """What has happened in a room after a number, and the parts of its page; who looks at it has read it."""
    row = found(visit, negotiation_id)
    view = view_of(visit, row)
    mark_read(visit, view)
    news = tuple(("happened", each.model_dump_json()) for each in view.talk if each.number > after)
    return Look(len(view.talk), news, {name: _part(visit, view, name) for name in PARTS})


def mark_read(visit: who.Visit, view: RoomView) -> None:
    """Note that the visitor has read all there is."""
    if visit.actor.party_id is not None and view.talk:
        number = max(each.number for each in view.talk)
        negotiations.mark_read(visit.conn, view.head.negotiation_id, visit.actor.user_id, number)


def _part(visit: who.Visit, view: RoomView, name: str) -> Part:
    """A part of the page. Deeds and the offer's form stay as somebody fills them while they are the same deeds."""
    template = f"negotiations/_{name}.html"
    text = reply.fragment(visit.language, template, view=view, form_token=visit.csrf_token)
    return Part(text, f"{name} {' '.join(view.may)}" if name in ("deeds", "making") else "")
