"""Shells that read: files of papers for whoever may see them, and the paper of a trade's confirmation."""

from __future__ import annotations

from cloud.contracts import difference, document, keyterms
from cloud.contracts.contract import Kind, terms_from_json
from cloud.contracts.document import PartyFacts, agreed_clauses
from cloud.contracts.run.desk.ask import Ask, contract_for
from cloud.contracts.run.desk.print import printed
from cloud.contracts.run.desk.sign import file_of
from cloud.contracts.store import life, papers
from cloud.contracts.store.life import ContractRow
from cloud.contracts.store.papers import NoPaper, PaperRow
from cloud.db import Conn
from cloud.security.access import Deed


def file_for(conn: Conn, ask: Ask, contract_id: str, paper_no: int) -> bytes:
    """Take a paper as it stands: with its signatures, as printed, or of a draft what would be printed.

    Bytes come from the vault by their hash, so they are those that were signed. Raises NoContract, NoPaper, Tampered.
    """
    row = contract_for(conn, ask, Deed.SEE_CONTRACTS, contract_id)
    if row.kind == Kind.CONFIRMATION:
        return printed(confirmation_of(conn, row))
    paper = papers.find(conn, contract_id, paper_no)
    sha256 = file_of(paper, papers.signers_of(conn, contract_id, paper_no))
    return ask.vault.get(sha256) if sha256 else printed(paper)


def confirmation_of(conn: Conn, row: ContractRow) -> PaperRow:
    """The paper of a trade, made of its terms. Raises NoPaper when the contract is no trade."""
    if row.agreed is None:
        raise NoPaper("not_found", kind="paper")
    sides = []
    for side, party_id, unit in (
        ("seller", row.seller_id, row.seller_unit),
        ("buyer", row.buyer_id, row.buyer_unit),
    ):
        name, _, identifier = life.party_facts(conn, party_id)
        sides.append(PartyFacts(side, party_id, name, unit, identifier))
    content = document.confirmation(terms_from_json(row.agreed), (sides[0], sides[1]), row.source)
    card = keyterms.card_of(content)
    return PaperRow(
        contract_id=row.contract_id,
        paper_no=1,
        purpose="confirmation",
        template_id=None,
        template_version=None,
        content=content,
        content_sha256=document.sha256_of(content),
        card=card,
        card_sha256=document.sha256_of(card),
        body=document.body_of(content),
        pdf_sha256="",
        state="issued",
        sent_at=None,
        expires_at=None,
        drawn_at=row.entered_at,
        drawn_by=row.entered_by,
    )


def last_together(
    conn: Conn, row: ContractRow, paper: PaperRow
) -> tuple[str, tuple[difference.ClauseChange, ...]]:
    """Compare a paper with the last one that both signed before it from the same template: its number and the changes."""
    for other in life.of_parties(conn, row.seller_id):
        is_before = other.signed_at is not None and other.signed_at < paper.drawn_at
        if other.contract_id == row.contract_id or other.parties != row.parties or not is_before:
            continue
        for before in reversed(papers.of_contract(conn, other.contract_id)):
            if before.state == "signed" and before.template_id == paper.template_id:
                found = difference.changes(agreed_clauses(before.content), agreed_clauses(paper.content))
                return other.contract_id, tuple(each for each in found if each.how != difference.SAME)
    return "", ()
