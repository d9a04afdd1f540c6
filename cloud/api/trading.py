"""The trading desk: announcements, declarations with receipts, results. Staff direct sessions in tradingdesk.

A declaration goes through the intake (one transaction for many); everything else is an ordinary visit.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud.api import doubtviews, intake, reply, who
from cloud.api import tradingviews as views
from cloud.api.tradingforms import declaration_from, fields_of, json_of
from cloud.errors import NotFound
from cloud.market import plausible
from cloud.market.auction import Side
from cloud.market.declaration import Packed, packed_from
from cloud.market.receipt import Acknowledged, receipt
from cloud.market.run import convene, trade
from cloud.market.session import clock_of
from cloud.market.store import changes, clearings, orders, rests, sessions, tracks
from cloud.market.store.sessions import SessionRow
from cloud.security import run as security
from cloud.security.access import Deed, Role, Subject

router = APIRouter(tags=["trading"])
gate = APIRouter(
    tags=["trading"], route_class=intake.IntakeRoute
)  # asked first: routes are looked through in order

SEGMENTS_SHOWN: Final = 3
DECLARATIONS_SHOWN: Final = 50
FIELDS_MAX: Final = 25_000
PUBLIC_DEEDS: Final = frozenset(
    {"announce", "open", "freeze", "clear", "check", "publish", "roll", "rests", "close", "correct"}
    | {"suspend", "reannounce", "reopen", "refreeze", "cancel"}
)
_INT_MAX: Final = 2**31 - 1
_BIGINT_MAX: Final = 2**63 - 1

SessionId = Annotated[int, Path(ge=1, le=_INT_MAX)]
Seq = Annotated[int, Path(ge=1, le=_BIGINT_MAX)]
Text = Annotated[str, Form(max_length=2000)]


class NoSession(NotFound):
    """There is no such session, or this person does not see it."""


async def _sent_fields(request: Request) -> Mapping[str, str]:
    """The fields of the request's form, which are named by the session's periods."""
    form = await request.form(max_fields=FIELDS_MAX)
    return {name: str(value) for name, value in form.items()}


@router.get("/trading", response_model=views.TradingView)
def trading(
    request: Request,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)],
    before: Annotated[int | None, Query(ge=1, le=_BIGINT_MAX)] = None,
) -> Response:
    """Announced sessions with their next hour, and the own declarations of all sessions."""
    party_id = visit.actor.party_id
    subject = Subject("trading", str(party_id or "all"), party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    rows = sessions.listed(visit.conn)
    own = () if party_id is None else orders.recent_of(visit.conn, party_id, before, DECLARATIONS_SHOWN)
    known = {row.session_id: row for row in rows}
    view = views.TradingView(
        now=visit.now,
        sessions=tuple(views.head_view(row, visit.now) for row in rows),
        declarations=_declarations(visit, own, known),
        may_direct=visit.actor.role is Role.STAFF,
        before=own[-1].seq if len(own) == DECLARATIONS_SHOWN else None,
    )
    return reply.answer(request, visit, "trading/trading.html", view)


@router.get("/trading/sessions/{session_id}", response_model=views.SessionView)
def session(
    request: Request,
    session_id: SessionId,
    visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)],
    replaces: Annotated[int, Query(ge=0, le=_BIGINT_MAX)] = 0,
    segments: Annotated[int, Query(ge=1, le=10)] = SEGMENTS_SHOWN,
) -> Response:
    """A session: announcement, rules, the form while it is open, own declarations, results, the way so far."""
    row = session_for(visit, session_id)
    form, why_not = _form(visit, row, replaces, segments)
    return reply.answer(request, visit, "trading/session.html", _session(visit, row, form, why_not))


@router.post("/trading/sessions/{session_id}/check", response_model=views.SessionView)
def check(
    request: Request,
    session_id: SessionId,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE)],
    fields: Annotated[Mapping[str, str], Depends(_sent_fields)],
) -> Response:
    """Look at a declaration before it is sent: what is refused, and what looks mistaken. The fields are those of `orders`."""
    row = session_for(visit, session_id)
    form, why_not = _form(visit, row, 0, SEGMENTS_SHOWN)
    if form is not None:
        form = _checked_form(visit, row, form, fields_of(fields))
    view = _session(visit, row, form, why_not)
    return reply.answer(request, visit, "trading/session.html", view)


@gate.post("/trading/sessions/{session_id}/orders", response_class=Response)
async def submit(
    request: Request, session_id: SessionId, caller: Annotated[intake.Caller, intake.sends(Deed.TRADE)]
) -> Response:
    """Submit, replace or withdraw a declaration; the answer is its numbered and signed receipt.

    JSON: {"unit", "side": "B"|"S", "client_key": uuid, "replaces": seq or null, "entries": [[period, "price", "MWh"], …] or
    null to withdraw}. A repeated client_key gets the first answer again. Pages send the same fields as a form.
    """
    is_json = request.headers.get("content-type", "").startswith("application/json")
    if is_json:
        sent = declaration_from(json_of(await request.body()))
    else:
        fields = await _sent_fields(request)
        caller = intake.Caller(caller.token, fields.get("form_token", "") or caller.form_token)
        sent = declaration_from(fields_of(fields))
    kept: Acknowledged = await request.app.state.intake.take(caller, Deed.TRADE, session_id, sent)
    if not is_json and not reply.wants_json(request):
        return RedirectResponse(f"/trading/declarations/{kept.seq}", 303)
    text = json.dumps(receipt(kept, request.app.state.receipt_signer), ensure_ascii=False)
    return Response(text, 201, media_type="application/json")


@router.get("/trading/declarations/{seq}", response_model=views.ReceiptView)
def declaration(
    request: Request, seq: Seq, visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)]
) -> Response:
    """A declaration's receipt, and where it stands."""
    row, found = _receipt(request, visit, seq)
    bid = orders.find(visit.conn, seq)
    struck = changes.struck_for(visit.conn, row.session_id).get(seq)
    filled = None if row.final_run is None else clearings.fills_of(visit.conn, row.session_id, row.final_run)
    replaced = orders.replaced_by(visit.conn, seq)
    assert bid is not None
    gone = "replaced" if replaced is not None else "struck" if struck is not None else ""
    view = views.ReceiptView(
        receipt=found,
        state=views.declaration_view(bid, row, gone, None if filled is None else filled.get(seq)).state,
        at=bid.at,
        struck=None if struck is None else (struck.at, struck.reason),
        rests=tuple(
            (each.order_seq, each.rolling_id, bid.period[each.place], each.reason)
            for each in rests.of_declaration(visit.conn, seq)
        ),
        replaced_by=replaced,
        session_id=row.session_id,
        title=row.title,
        entries=views.entries_of(found, row),
        public_key=request.app.state.receipt_signer.public_pem,
    )
    return reply.answer(request, visit, "trading/receipt.html", view)


@router.get("/trading/declarations/{seq}/receipt", response_class=Response)
def receipt_file(
    request: Request, seq: Seq, visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)]
) -> Response:
    """The receipt as a file, for `shoudian-cloud market receipt`."""
    row, found = _receipt(request, visit, seq)
    text = json.dumps(found, ensure_ascii=False, indent=1)
    return _download(text, "application/json", f"receipt-{row.session_no}-{seq}.json")


@router.get("/trading/receipt-key", response_class=Response)
def receipt_key(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)]) -> Response:
    """The public key by which receipts are verified."""
    pem: str = request.app.state.receipt_signer.public_pem
    return _download(pem, "application/x-pem-file", "receipt-key.pem")


@router.get("/trading/sessions/{session_id}/result", response_class=Response)
def result_csv(session_id: SessionId, visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)]) -> Response:
    """The published result as a table: prices of all periods, and the own pieces."""
    row = session_for(visit, session_id)
    if row.final_run is None:
        raise NoSession("not_found", kind="clearing_run")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        ("session", "month", "period", "volume_mwh", "price_yuan_per_mwh", "last_bid", "last_ask")
    )
    for each in clearings.prices_of(visit.conn, session_id, row.final_run):
        price = views.price_view(each, row)
        writer.writerow(
            (
                *(row.session_no, price.month, price.label, views.mwh(each.volume_kwh)),
                *(price.price_yuan or "", price.last_bid_yuan or "", price.last_ask_yuan or ""),
            )
        )
    writer.writerow(())
    writer.writerow(("session", "period", "seller", "buyer", "quantity_mwh", "price_yuan_per_mwh"))
    for piece in clearings.pieces_of(visit.conn, session_id, row.final_run):
        shown = views.piece_view(piece, row)
        writer.writerow(
            (
                *(row.session_no, shown.period, _cell(shown.seller), _cell(shown.buyer)),
                *(views.mwh(shown.quantity_kwh), shown.price_yuan),
            )
        )
    return _download("\ufeff" + out.getvalue(), "text/csv; charset=utf-8", f"result-{row.session_no}.csv")


@router.get("/trading/sessions/{session_id}/book", response_class=Response)
def book_lines(session_id: SessionId, visit: Annotated[who.Visit, who.visits(Deed.SEE_TRADING)]) -> Response:
    """The closed book without names: number and hash of every declaration; hashed whole it gives the published hash."""
    row = session_for(visit, session_id)
    if row.gate_at is None:
        raise NoSession("not_found", kind="book")
    text = "".join(f"{seq} {content}\n" for seq, content in orders.lines(visit.conn, session_id))
    return _download(text, "text/plain; charset=utf-8", f"book-{row.session_no}.txt")


@router.post("/trading/sessions/{session_id}/disputes", response_class=RedirectResponse)
def dispute(
    session_id: SessionId,
    visit: Annotated[who.Visit, who.changes(Deed.TRADE)],
    kind: Annotated[str, Form(max_length=20)] = "other",
    body: Text = "",
    seq: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Raise a dispute about a session or an own declaration."""
    session_for(visit, session_id)
    about = int(seq) if seq.isascii() and seq.isdecimal() and 0 < int(seq) <= _BIGINT_MAX else None
    convene.dispute(visit.conn, visit.actor, session_id, (about, kind, body), visit.now)
    return RedirectResponse(f"/trading/sessions/{session_id}#disputes", 303)


# ---- views ---------------------------------------------------------------------------------------------------------


def session_for(visit: who.Visit, session_id: int) -> SessionRow:
    """The session, if this person may do this visit's deed in it. Raises NoSession."""
    row = sessions.find(visit.conn, session_id)
    if row is None:
        raise NoSession("not_found", kind="trading_session")
    subject = Subject("trading_session", str(session_id), visit.actor.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return row


def _session(
    visit: who.Visit, row: SessionRow, form: views.FormView | None, why_not: str
) -> views.SessionView:
    conn, party_id = visit.conn, visit.actor.party_id
    own = () if party_id is None else orders.of_party(conn, row.session_id, party_id)
    run_no = row.final_run
    runs = {run.run_no: run for run in clearings.runs_of(conn, row.session_id)}
    return views.SessionView(
        now=visit.now,
        head=views.head_view(row, visit.now),
        announcement=row.announcement,
        rule=views.rule_view(trade.rule_of(row)),
        form=form,
        why_not=why_not,
        declarations=_declarations(visit, tuple(reversed(own)), {row.session_id: row}),
        book_sha256=row.book_sha256,
        result_sha256=runs[run_no].result_sha256 if run_no in runs else None,
        prices=()
        if run_no is None
        else tuple(views.price_view(each, row) for each in clearings.prices_of(conn, row.session_id, run_no)),
        pieces=()
        if run_no is None or party_id is None
        else tuple(views.piece_view(each, row) for each in clearings.pieces_of(conn, row.session_id, run_no)),
        contracts=()
        if party_id is None
        else tuple(each.contract_id for each in clearings.contracts_of(conn, row.session_id)),
        timeline=_timeline(visit, row, own),
        disputes=tuple(map(views.dispute_view, clearings.disputes(conn, row.session_id))),
        may_direct=visit.actor.role is Role.STAFF,
        shows_curve=row.shows_curve or row.gate_at is not None,
        rolling_id=rests.rolling_after(conn, row.session_id),
    )


def _timeline(visit: who.Visit, row: SessionRow, own: Sequence[orders.BidRow]) -> tuple[views.EventView, ...]:
    """The whole way: announcement, own declarations, gate, clearing, publication, contracts."""
    steps = [
        views.EventView(deed=each.deed, at=each.at, actor="", reason=each.reason, path="", key="")
        for each in sessions.events_of(visit.conn, row.session_id)
        if each.deed in PUBLIC_DEEDS
    ]
    steps += [
        views.EventView(
            deed=f"bid_{bid.kind.lower()}",
            at=bid.at,
            actor="",
            reason="",
            path=f"/trading/declarations/{bid.seq}",
            key=f"#{bid.seq}",
        )
        for bid in own
    ]
    if visit.actor.party_id is not None:
        steps += [
            views.EventView(deed="contract", at=each.at, actor="", reason="", path=each.path, key=each.key)
            for each in tracks.contract_steps(visit.conn, row.session_id)
        ]
    return tuple(sorted(steps, key=lambda each: each.at))


def _declarations(
    visit: who.Visit, own: Sequence[orders.BidRow], known: Mapping[int, SessionRow]
) -> tuple[views.DeclarationView, ...]:
    gone = {bid.replaces: "replaced" for bid in own if bid.replaces is not None}
    fills: dict[int, dict[int, tuple[int, ...]]] = {}
    for session_id in {bid.session_id for bid in own}:
        row = known.get(session_id)
        if row is not None and row.gate_at is not None:
            gone |= dict.fromkeys(changes.struck_for(visit.conn, session_id), "struck")
        if row is not None and row.final_run is not None:
            fills[session_id] = clearings.fills_of(visit.conn, session_id, row.final_run)
    return tuple(
        views.declaration_view(
            bid,
            known.get(bid.session_id),
            gone.get(bid.seq, ""),
            fills.get(bid.session_id, {}).get(bid.seq),
        )
        for bid in own
    )


def _form(
    visit: who.Visit, row: SessionRow, replaces: int, segments: int
) -> tuple[views.FormView | None, str]:
    """The form of an open session, or why there is none."""
    party_id = visit.actor.party_id
    if party_id is None:
        return None, "staff"
    if views.head_view(row, visit.now).phase != "open":
        return None, "closed"
    rule = trade.rule_of(row)
    known = trade.known_party(visit.conn, party_id, visit.now)
    sides = tuple(side.value for side in Side if known.standing.kind in rule.kinds(side))
    units = trade.units_of(known)
    if not known.standing.is_admitted or not sides or not units:
        return None, "not_admitted" if not known.standing.is_admitted else "kind" if not sides else "unit"
    if rule.grades and known.standing.grade not in rule.grades:
        return None, "grade"
    typed: dict[str, str] = {}
    if not replaces and len(units) == len(sides) == 1:  # what stands is what a person comes to change
        replaces = trade.standing_seq(visit.conn, row.session_id, party_id)
    old = None if not replaces else orders.find(visit.conn, replaces)
    if old is not None and old.session_id == row.session_id and old.kind != "WITHDRAW":
        typed = views.typed(Packed(tuple(old.period), tuple(old.price_ticks), tuple(old.quantity_kwh)))
        segments = max([segments, *(int(name.partition("_")[2]) for name in typed)])
    form = views.FormView(
        units=units,
        unit=units[0] if old is None else str(old.unit_id),
        sides=sides,
        side=sides[0] if old is None else str(old.side),
        client_key=str(uuid4()),
        replaces=None if old is None else old.seq,
        segments=min(segments, rule.segments_max),
        typed=typed,
        warnings=(),
        problem="",
        total_mwh="",
        is_checked=False,
        periods=tuple((each.number, f"{each.month:%Y-%m}", clock_of(each.label)) for each in row.periods),
    )
    return form, ""


def _checked_form(
    visit: who.Visit, row: SessionRow, form: views.FormView, content: Mapping[str, Any]
) -> views.FormView:
    """What would be refused and what looks mistaken; nothing is sent."""
    sent, rule = declaration_from(content), trade.rule_of(row)
    problem = trade.shape_problem(row, sent)
    packed = packed_from(sent.entries or ())
    doubts = list(doubtviews.price_doubts(sent.entries or (), rule))
    party_id = visit.actor.party_id
    if packed is not None and party_id is not None:
        months = sorted(
            {row.periods[each - 1].month for each in packed.period if 1 <= each <= len(row.periods)}
        )
        past = tracks.past_kwh(visit.conn, party_id, sent.side.value, row.session_id)
        past = tuple(kwh * max(1, len(months)) for kwh in past)
        other = tracks.declared_elsewhere(visit.conn, party_id, sent.side.value, row.session_id, months)
        found = plausible.before_sending(sum(packed.quantity_kwh), past, other)
        doubts += [doubtviews.quantity_doubt(each) for each in found]
    return form.model_copy(
        update={
            "unit": sent.unit_id,
            "side": sent.side.value,
            "client_key": str(sent.client_key),
            "replaces": sent.replaces,
            "typed": {} if packed is None else views.typed(packed),
            "problem": problem,
            "total_mwh": "" if packed is None else views.mwh(sum(packed.quantity_kwh)),
            "warnings": tuple(doubts),
            "is_checked": True,
        }
    )


def _receipt(request: Request, visit: who.Visit, seq: int) -> tuple[SessionRow, dict[str, Any]]:
    bid = orders.find(visit.conn, seq)
    row = None if bid is None else sessions.find(visit.conn, bid.session_id)
    if bid is None or row is None:
        raise NoSession("not_found", kind="declaration")
    subject = Subject("declaration", str(seq), bid.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return row, receipt(trade.acknowledged(row, bid), request.app.state.receipt_signer)


def _cell(text: str) -> str:
    """A name is never a formula to a spreadsheet."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _download(text: str, kind: str, name: str) -> Response:
    return Response(text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
