"""Shells: a contract is drawn up from a template, drawn up anew, sent for signature, recalled, cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from cloud.contracts import document, keyterms
from cloud.contracts.clause import Clause, clause_from
from cloud.contracts.contract import (
    PARTY_UNIT,
    SOLD_TO_USERS,
    STUDIO,
    Kind,
    NewContract,
    Purpose,
    terms_from_json,
)
from cloud.contracts.document import Changes, Heading, PartyFacts
from cloud.contracts.keyterms import Reference
from cloud.contracts.run.desk.ask import Ask, contract_for, event, reason_of, tell
from cloud.contracts.run.desk.check import (
    check_accounts,
    check_admitted,
    check_delivery,
    check_drafter,
    check_free,
    check_kinds,
    latest_terms,
)
from cloud.contracts.run.desk.print import printed
from cloud.contracts.store import archive, life, papers, texts
from cloud.contracts.store.life import ContractRow
from cloud.contracts.store.papers import PaperRow
from cloud.contracts.template import Template, template_from, values_of, volumes_text
from cloud.db import Conn
from cloud.errors import NotNow
from cloud.markettime import day_of, market_local, month_of
from cloud.money import quotient
from cloud.security.access import Deed, Subject
from cloud.security.run import allow

WHOLESALE_KEYS = ("annual_average", "monthly_average", "bilateral_average", "auction_average")
RETAIL_KEYS = ("retail_average",)
TRADED, AGENCY = "traded_average", "agency_average"
CENT = Decimal("0.01")
REGISTERED = frozenset({"publicised", "effective", "suspended"})  # whose names are public
NUMBERS = {Kind.WHOLESALE: "GS", Kind.AGENCY: "WT", Kind.RETAIL: "LS", Kind.GREEN: "LD"}


class NotInForce(NotNow):
    """The template's version is not in force today: it waits for approval, or was withdrawn."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be drawn up: a template's version, values as they were typed, and what is agreed beside it."""

    template_id: str
    version: int
    values: Mapping[str, str]
    changes: Changes


def start(conn: Conn, ask: Ask, wish: Wish, units: tuple[str, str], note: str = "") -> str:
    """Draw up a new contract between two units (who sells, who buys) and return its number. Raises what `drawn` raises."""
    seller_id, buyer_id = (life.party_of_unit(conn, unit) for unit in units)
    own = ask.actor.party_id
    subject = own if own in (seller_id, buyer_id) else seller_id
    allow(conn, ask.actor, Deed.DRAW_CONTRACT, Subject("contract", "new", subject), ask.now)
    _check_public(conn, ask, units)
    template, clauses = template_in_force(conn, wish.template_id, wish.version, day_of(ask.now))
    if template.purpose is not Purpose.MAIN:
        raise NotInForce("template_not_for_this", template=template.title)
    check_kinds(conn, template.kind, (seller_id, buyer_id))
    number = f"{NUMBERS[template.kind]}{market_local(ask.now):%Y%m%d}-{life.next_number(conn):05d}"
    heading = Heading(number, 1, template.kind, _parties(conn, units))
    content = _composed(conn, ask, (template, clauses), heading, wish)
    check_accounts(conn, content, buyer_id)
    check_delivery(conn, content, None, ask.now)
    days = (date.fromisoformat(content["first_day"]), date.fromisoformat(content["end_day"]))
    new = NewContract(number, template.kind, STUDIO, *units, *days, None, own)
    life.insert(conn, new, ask.now, ask.name)
    _keep(conn, ask, template, content)
    if note.strip():
        life.note(conn, number, event(ask, "say", note), ("draft", "draft"))
    return number


def redraw(conn: Conn, ask: Ask, contract_id: str, wish: Wish) -> int:
    """Draw a contract's main paper up anew, also after it was declined or has expired; return the paper's number.

    What a negotiation agreed stays as it was agreed: volumes, prices and shape of the wish do not count.
    """
    row = contract_for(conn, ask, Deed.DRAW_CONTRACT, contract_id, is_locked=True)
    check_drafter(ask, row)
    template, clauses = template_in_force(conn, wish.template_id, wish.version, day_of(ask.now))
    if template.purpose is not Purpose.MAIN or template.kind.value != row.kind:
        raise NotInForce("template_not_for_this", template=template.title)
    for paper in papers.of_contract(conn, contract_id):
        if paper.purpose == Purpose.MAIN and paper.state in ("draft", "declined", "expired"):
            papers.move(conn, paper, "replace")
    paper_no = papers.next_no(conn, contract_id)
    heading = Heading(contract_id, paper_no, template.kind, _parties(conn, (row.seller_unit, row.buyer_unit)))
    content = _composed(conn, ask, (template, clauses), heading, _as_agreed(row, wish))
    check_accounts(conn, content, row.buyer_id)
    check_delivery(conn, content, None, ask.now)
    days = (date.fromisoformat(content["first_day"]), date.fromisoformat(content["end_day"]))
    life.move(conn, row, event(ask, "redraw", paper_no=paper_no), start_day=days[0], end_day=days[1])
    _keep(conn, ask, template, content)
    return paper_no


def add_paper(conn: Conn, ask: Ask, row: ContractRow, purpose: Purpose, wish: Wish) -> int:
    """Draw up a supplement or an agreement to end a contract in force; return the paper's number."""
    allow(conn, ask.actor, Deed.DRAW_CONTRACT, _subject(ask, row), ask.now)
    template, clauses = template_in_force(conn, wish.template_id, wish.version, day_of(ask.now))
    if template.purpose is not purpose:
        raise NotInForce("template_not_for_this", template=template.title)
    main = next(
        paper for paper in papers.of_contract(conn, row.contract_id) if paper.state in ("signed", "issued")
    )
    paper_no = papers.next_no(conn, row.contract_id)
    heading = Heading(
        row.contract_id,
        paper_no,
        Kind(row.kind),
        _parties(conn, (row.seller_unit, row.buyer_unit)),
        main.content["title"],
        None if row.signed_at is None else day_of(row.signed_at),
    )
    content = _composed(conn, ask, (template, clauses), heading, wish)
    check_delivery(conn, content, latest_terms(conn, row), ask.now)
    _keep(conn, ask, template, content)
    life.note(conn, row.contract_id, event(ask, "draw", paper_no=paper_no), (row.state, row.state))
    return paper_no


def preview(conn: Conn, ask: Ask, wish: Wish, units: tuple[str, str]) -> PaperRow:
    """Draw a paper up without keeping it: what would be printed."""
    seller_id, buyer_id = (life.party_of_unit(conn, unit) for unit in units)
    own = ask.actor.party_id
    subject = own if own in (seller_id, buyer_id) else seller_id
    allow(conn, ask.actor, Deed.DRAW_CONTRACT, Subject("contract", "preview", subject), ask.now)
    _check_public(conn, ask, units)
    template, clauses = template_of(conn, wish.template_id, wish.version)
    check_kinds(conn, template.kind, (seller_id, buyer_id))
    heading = Heading("PREVIEW", 1, template.kind, _parties(conn, units))
    content = _composed(conn, ask, (template, clauses), heading, wish)
    if template.purpose is Purpose.MAIN:
        check_delivery(conn, content, None, ask.now)
    return _paper(ask, template, content)


def send(conn: Conn, ask: Ask, contract_id: str, paper_no: int) -> None:
    """Print a draft, keep the print, and ask both sides for their signatures in the template's order.

    Raises NotDrafter, NotAdmitted, WrongAccounts, NoSuchMove.
    """
    row = contract_for(conn, ask, Deed.DRAW_CONTRACT, contract_id, is_locked=True)
    paper = papers.find(conn, contract_id, paper_no)
    check_drafter(ask, row)
    check_admitted(conn, row)
    check_free(conn, row, paper.content)
    check_delivery(conn, paper.content, latest_terms(conn, row), ask.now)
    template, _ = template_in_force(
        conn, str(paper.template_id), int(paper.template_version or 0), day_of(ask.now)
    )
    pdf_sha256 = ask.vault.put(printed(paper))
    expires_at = ask.now + timedelta(days=template.sign_days)
    papers.move(conn, paper, "send", pdf_sha256=pdf_sha256, sent_at=ask.now, expires_at=expires_at)
    told = event(ask, "send", paper_no=paper_no, document=pdf_sha256)
    if paper.purpose == Purpose.MAIN:
        life.move(conn, row, told, shown_at=ask.now)
        archive.index(conn, contract_id, paper.body)
    else:
        life.note(conn, contract_id, told, (row.state, row.state))
    until = f"{market_local(expires_at):%Y-%m-%d %H:%M}"
    tell(conn, row, "sent", (str(paper_no), ask.now), {"title": paper.content["title"], "until": until})


def recall(conn: Conn, ask: Ask, contract_id: str, paper_no: int, reason: str) -> None:
    """Take a paper back that was sent and is not wholly signed. Raises NotDrafter, NoSuchMove."""
    row = contract_for(conn, ask, Deed.DRAW_CONTRACT, contract_id, is_locked=True)
    paper = papers.find(conn, contract_id, paper_no)
    check_drafter(ask, row)
    why = reason_of(reason)
    papers.move(conn, paper, "recall")
    told = event(ask, "recall", why, paper_no=paper_no, document=paper.pdf_sha256)
    if paper.purpose == Purpose.MAIN:
        life.move(conn, row, told)
    else:
        life.note(conn, contract_id, told, (row.state, row.state))
    tell(conn, row, "recalled", (str(paper_no), ask.now), {"reason": why})


def cancel(conn: Conn, ask: Ask, contract_id: str, reason: str) -> None:
    """Give a draft up. Raises NotDrafter, NoSuchMove."""
    row = contract_for(conn, ask, Deed.DRAW_CONTRACT, contract_id, is_locked=True)
    check_drafter(ask, row)
    why = reason_of(reason)
    for paper in papers.of_contract(conn, contract_id):
        if paper.state == "draft":
            papers.move(conn, paper, "withdraw")
    life.move(conn, row, event(ask, "cancel", why))
    tell(conn, row, "cancelled", ("", ask.now), {"reason": why})


def template_of(conn: Conn, template_id: str, version: int) -> tuple[Template, tuple[Clause, ...]]:
    """Load a template's version with its clauses, whatever was decided about it. Raises NoText."""
    text = texts.find(conn, "template", template_id, version)
    template = template_from(text.text_id, text.body)
    return template, tuple(
        clause_from(clause_id, texts.find(conn, "clause", clause_id, number).body)
        for clause_id, number in template.clauses
    )


def template_in_force(
    conn: Conn, template_id: str, version: int, day: date
) -> tuple[Template, tuple[Clause, ...]]:
    """Load a template's version that is approved and in force on a day. Raises NotInForce, NoText."""
    text = texts.find(conn, "template", template_id, version)
    if text.standing != "approve" or text.from_day is None or text.from_day > day:
        raise NotInForce("template_not_in_force", template=text.title, version=version)
    return template_of(conn, template_id, version)


def references(
    conn: Conn, heading: Heading, months: tuple[date, ...], now: datetime
) -> tuple[Reference, ...]:
    """List what a price is compared with: entered averages, the market's own average, the last published agency price."""
    keys = RETAIL_KEYS if heading.kind in SOLD_TO_USERS else WHOLESALE_KEYS
    found = [
        Reference(key, value, f"{source} ({month:%Y-%m})")
        for key, month, value, source in archive.published_prices(conn, max(months), keys)
    ]
    traded = archive.traded_average(conn, months)
    if traded is not None:
        found.append(Reference(TRADED, quotient(traded[1], traded[0], CENT), f"{min(months):%Y-%m}"))
    parties = [each.party_id for each in heading.parties]
    told: set[str] = set()
    for grid, body in archive.agency_sheets(conn, now, parties):  # the last one first
        stated = keyterms.agency_price(body)
        if stated is not None and grid not in told:
            told.add(grid)
            found.append(Reference(AGENCY, *stated))
    return tuple(found)


def _composed(
    conn: Conn, ask: Ask, text: tuple[Template, tuple[Clause, ...]], heading: Heading, wish: Wish
) -> dict[str, Any]:
    template, clauses = text
    values = values_of(template, wish.values)
    content = document.compose(template, clauses, heading, values, wish.changes)
    price = content["totals"]["price_yuan_per_mwh"] or values.get("retail_price_yuan_per_mwh", "")
    months = tuple(
        {month_of(date.fromisoformat(content["first_day"]))}
        | {date.fromisoformat(f"{row['month']}-01") for row in content["volumes"]}
    )
    found = references(conn, heading, months, ask.now)
    prices = keyterms.compared(price, template.price_band_percent, found)
    warnings = keyterms.price_warnings(prices)
    if any(each["text"] != each["standard"] for each in content["clauses"]):
        warnings.append({"key": keyterms.CHANGED_WARNING})
    return content | ({"prices": prices} if price else {}) | {"warnings": warnings}


def _paper(ask: Ask, template: Template, content: dict[str, Any]) -> PaperRow:
    card = keyterms.card_of(content)
    return PaperRow(
        contract_id=content["contract_id"],
        paper_no=content["paper_no"],
        purpose=template.purpose.value,
        template_id=template.template_id,
        template_version=template.version,
        content=content,
        content_sha256=document.sha256_of(content),
        card=card,
        card_sha256=document.sha256_of(card),
        body=document.body_of(content),
        pdf_sha256="",
        state="draft",
        sent_at=None,
        expires_at=None,
        drawn_at=ask.now,
        drawn_by=ask.name,
    )


def _keep(conn: Conn, ask: Ask, template: Template, content: dict[str, Any]) -> None:
    sides = {each["side"]: each["party_id"] for each in content["parties"]}
    signers = [(number, sides[side], side) for number, side in enumerate(template.order, start=1)]
    papers.insert(conn, _paper(ask, template, content), signers)


def _check_public(conn: Conn, ask: Ask, units: tuple[str, str]) -> None:
    """Let a party name only parties that the register shows: a meter's number tells nobody whose it is."""
    for unit in units:
        party_id = life.party_of_unit(conn, unit)
        _, state, _ = life.party_facts(conn, party_id)
        if not ask.is_staff and party_id != ask.actor.party_id and state not in REGISTERED:
            raise life.NoSuchUnit("no_such_unit", unit=unit)


def _parties(conn: Conn, units: tuple[str, str]) -> tuple[PartyFacts, PartyFacts]:
    seller, buyer = (_party(conn, side, unit) for side, unit in zip(("seller", "buyer"), units, strict=True))
    return seller, buyer


def _party(conn: Conn, side: str, unit: str) -> PartyFacts:
    party_id = life.party_of_unit(conn, unit)
    name, _, identifier = life.party_facts(conn, party_id)
    return PartyFacts(side, party_id, name, unit, identifier)


def _as_agreed(row: ContractRow, wish: Wish) -> Wish:
    if row.agreed is None:
        return wish
    terms = terms_from_json(row.agreed)
    shape = next(word for word, each in document.SHAPES.items() if each is terms.shape)
    fixed = {document.VOLUMES: volumes_text(terms.volumes), document.SHAPE: shape}
    return replace(wish, values={**wish.values, **fixed})


def _subject(ask: Ask, row: ContractRow) -> Subject:
    own = ask.actor.party_id if row.side_of(ask.actor.party_id) else row.seller_id
    return Subject("contract", row.contract_id, own)


def party_unit(party_id: int) -> str:
    """Name the unit that a party itself is."""
    return f"{PARTY_UNIT}{party_id}"
