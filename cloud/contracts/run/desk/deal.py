"""Shells: 不是我签的, and what becomes of it; retracting while it cools; requests to change or end, under the operator's eyes."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.contracts import document
from cloud.contracts.contract import IN_FORCE, REQUEST, Purpose
from cloud.contracts.run.desk.ask import Ask, contract_for, event, reason_of, tell
from cloud.contracts.run.desk.check import latest_terms
from cloud.contracts.run.desk.draft import Wish, add_paper
from cloud.contracts.store import dealings, life, papers, retail, wholesale
from cloud.contracts.store.dealings import RequestRow, StepRow
from cloud.contracts.store.life import ContractRow
from cloud.db import Conn
from cloud.errors import Invalid, NotNow
from cloud.lives import step
from cloud.markettime import day_of
from cloud.security.access import Deed

DISPUTABLE = frozenset({"signing", "cooling", "effective", "executing"})
KINDS = ("amend", "supplement", "transfer", "terminate")
PURPOSES = {"amend": Purpose.SUPPLEMENT, "supplement": Purpose.SUPPLEMENT, "terminate": Purpose.TERMINATION}
OF_STAFF = frozenset({"organise", "refuse", "fail"})
WANTED_MAX = 2000


class NotDisputable(NotNow):
    """The contract is over, or a dispute about it is open already."""


class NotInForceYet(NotNow):
    """Only a contract in force is changed or ended."""


class NotForYou(NotNow):
    """This step of a request is for the other side, or for the operator."""


class BadRequest(Invalid):
    """The request does not say what is wanted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision about a dispute: upheld (not signed by them), or rejected."""

    is_upheld: bool
    reason: str


def dispute(conn: Conn, ask: Ask, contract_id: str, reason: str) -> int:
    """Say 不是我签的 for the own party: the contract is frozen from this instant. Return the dispute's number.

    Needs no seal and no step-up: whoever finds the contract on the party's list can stop it. Raises NotDisputable.
    """
    row = contract_for(conn, ask, Deed.DISPUTE_CONTRACT, contract_id, is_locked=True)
    if row.state not in DISPUTABLE or row.is_frozen:
        raise NotDisputable("not_disputable", contract=contract_id)
    why = reason_of(reason)
    told = (ask.name, *ask.where, ask.now)
    number = dealings.insert_dispute(conn, contract_id, ask.actor.party_id or 0, why, told)
    life.note(conn, contract_id, event(ask, "dispute", why, dispute=number), (row.state, row.state))
    tell(
        conn,
        row,
        "disputed",
        (str(number), ask.now),
        {"reason": why, "by": ask.actor.display_name},
        staff=True,
    )
    return number


def decide(conn: Conn, ask: Ask, dispute_id: int, verdict: Verdict) -> None:
    """Decide a dispute for the operator: upheld, the contract is void and takes no energy any more; rejected, it goes on.

    Raises DecidedAlready, ReasonMissing.
    """
    found = dealings.find_dispute(conn, dispute_id)
    row = contract_for(conn, ask, Deed.DIRECT_CONTRACTS, found.contract_id, is_locked=True)
    why = reason_of(verdict.reason)
    name = "upheld" if verdict.is_upheld else "rejected"
    dealings.decide_dispute(conn, dispute_id, name, why, (ask.name, ask.now))
    life.note(conn, row.contract_id, event(ask, name, why, dispute=dispute_id), (row.state, row.state))
    if verdict.is_upheld:
        _void(conn, ask, row, why)
    tell(conn, row, name, (str(dispute_id), ask.now), {"reason": why})


def _void(conn: Conn, ask: Ask, row: ContractRow, why: str) -> None:
    for paper in papers.of_contract(conn, row.contract_id):
        if paper.state in ("signing", "draft"):
            papers.move(conn, paper, "withdraw")
    version = row.version
    terms = latest_terms(conn, row)
    if row.state in IN_FORCE and terms is not None:
        version = terms.version + 1
        note = f"void: dispute upheld {day_of(ask.now).isoformat()}"
        wholesale.put(conn, document.ended(terms, version, row.start_day, note), ask.name, ask.now)
    for account_id in dealings.accounts_of(conn, row.contract_id):
        retail.end_at(conn, account_id, ask.now)
    dealings.release_accounts(conn, row.contract_id, ask.now)
    life.move(conn, life.find(conn, row.contract_id), event(ask, "void", why), version=version)


def retract(conn: Conn, ask: Ask, contract_id: str, reason: str) -> None:
    """Take the own party's signature back while the contract cools: it never becomes effective. Raises NoSuchMove."""
    row = contract_for(conn, ask, Deed.DISPUTE_CONTRACT, contract_id, is_locked=True)
    why = reason_of(reason)
    life.move(conn, row, event(ask, "retract", why))
    dealings.release_accounts(conn, contract_id, ask.now)
    tell(conn, row, "retracted", ("", ask.now), {"by": ask.actor.display_name, "reason": why})


def request(conn: Conn, ask: Ask, contract_id: str, kind: str, wanted: str) -> int:
    """Ask for a change, supplement, transfer or end of a contract in force. Raises NotInForceYet, BadRequest."""
    row = contract_for(conn, ask, Deed.SIGN_CONTRACT, contract_id, is_locked=True)
    if row.state not in IN_FORCE or row.is_frozen:
        raise NotInForceYet("contract_not_in_force", contract=contract_id)
    if kind not in KINDS or not 0 < len(wanted.strip()) <= WANTED_MAX or "\0" in wanted:
        raise BadRequest("bad_contract_request", longest=WANTED_MAX)
    party_id = ask.actor.party_id or 0
    number = dealings.insert_request(conn, contract_id, kind, wanted.strip(), (party_id, ask.name, ask.now))
    life.note(
        conn, contract_id, event(ask, "ask", wanted[:1000], request=number, kind=kind), (row.state, row.state)
    )
    tell(
        conn,
        row,
        "request",
        (str(number), ask.now),
        {"kind": kind, "wanted": wanted.strip()[:200]},
        staff=True,
    )
    return number


def answer(conn: Conn, ask: Ask, request_id: int, deed: str, note: str) -> str:
    """Take a request a step on and return its state: the operator organises or refuses, the other side agrees, all may speak.

    Raises NotForYou, NoSuchMove, ReasonMissing.
    """
    found = dealings.find_request(conn, request_id)
    row = contract_for(conn, ask, Deed.SEE_CONTRACTS, found.contract_id)
    after = step(REQUEST, found.state, deed)
    _check_turn(ask, found, deed)
    said = reason_of(note)
    party_id = ask.actor.party_id
    dealings.add_step(conn, request_id, StepRow(deed, after, said, party_id, ask.name, ask.now))
    life.note(
        conn, row.contract_id, event(ask, f"request_{deed}", said, request=request_id), (row.state, row.state)
    )
    facts = {"deed": deed, "note": said[:200], "by": ask.actor.display_name}
    tell(conn, row, "request_step", (f"{request_id}.{ask.now.isoformat()}", ask.now), facts, staff=True)
    return after


def draw_for(conn: Conn, ask: Ask, request_id: int, wish: Wish) -> int:
    """Draw up the paper that an agreed request asks for: a supplement or an agreement to end. Return its number.

    Raises NotForYou, NotInForceYet and what drawing up raises.
    """
    found = dealings.find_request(conn, request_id)
    row = contract_for(conn, ask, Deed.DRAW_CONTRACT, found.contract_id, is_locked=True)
    after = step(REQUEST, found.state, "draw")
    if found.kind not in PURPOSES:
        raise NotForYou("request_not_for_you")
    if row.state not in IN_FORCE or row.is_frozen:
        raise NotInForceYet("contract_not_in_force", contract=row.contract_id)
    paper_no = add_paper(conn, ask, row, PURPOSES[found.kind], wish)
    drawn = StepRow("draw", after, str(paper_no), ask.actor.party_id, ask.name, ask.now)
    dealings.add_step(conn, request_id, drawn)
    return paper_no


def mark(conn: Conn, ask: Ask, contract_id: str, milestone: str, note: str) -> None:
    """Note that a milestone was met, or a service rendered. Raises ReasonMissing."""
    row = contract_for(conn, ask, Deed.SEE_CONTRACTS, contract_id)
    told = reason_of(note)
    life.note(
        conn, contract_id, event(ask, "milestone", told, milestone=milestone[:80]), (row.state, row.state)
    )


def _check_turn(ask: Ask, found: RequestRow, deed: str) -> None:
    is_asker = ask.actor.party_id == found.party_id
    if deed in OF_STAFF:
        allowed = ask.is_staff
    elif deed == "agree":
        allowed = not ask.is_staff and not is_asker
    elif deed == "withdraw":
        allowed = is_asker
    else:
        allowed = deed == "say"
    if not allowed:
        raise NotForYou("request_not_for_you")
