"""Shells: key terms are confirmed, papers signed or declined, expiry moved.

A confirmation and a signature need, each time: a person of exactly the signing party, who holds its seal, in a session
that has just proven itself; an open paper; this party's turn; the very card that was shown. The database asks all of it
again (0030_contracts.sql, keep_signature), and only a transaction of the party can read its seal's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Any

from cloud.contracts import difference, keyterms
from cloud.contracts.contract import SOLD_TO_USERS, Kind, Purpose
from cloud.contracts.document import agreed_clauses, standard_clauses
from cloud.contracts.run.desk import bond
from cloud.contracts.run.desk.ask import Ask, contract_for, event, reason_of, tell
from cloud.contracts.run.desk.check import (
    accounts_in,
    check_admitted,
    check_delivery,
    check_drafter,
    cooling_hours,
    latest_terms,
)
from cloud.contracts.run.desk.print import stamp
from cloud.contracts.store import dealings, life, papers, seals
from cloud.contracts.store.life import ContractRow
from cloud.contracts.store.papers import Confirmation, PaperRow, Signature, SignerRow
from cloud.db import Conn
from cloud.errors import Forbidden, NotNow, Unavailable
from cloud.markettime import market_local
from cloud.paper.cosign import BadStamp, When, cosign, signatures_of
from cloud.paper.seals import Keys, make_seal, opened
from cloud.security import sealing
from cloud.security.access import Deed
from cloud.security.run import demand_step_up, may_sign_for

CONFIRMED_FOR = timedelta(minutes=5)
EXTEND_DAYS_MAX = 365
STAMP_NAME_MAX = 200
CLOCKS_APART_MAX = timedelta(minutes=5)


class NotSealHolder(Forbidden):
    """The person does not hold the seal of a party that signs this paper."""


class NotTheirTurn(NotNow):
    """Another party signs first, or this one has signed already."""


class NotOpen(NotNow):
    """The paper is not out for signature: not sent, expired, signed, declined or disputed."""


class Lapsed(NotNow):
    """Another party had signed the paper that expired: it is drawn up anew."""


class NotConfirmed(NotNow):
    """The key terms were not confirmed by this person just now, or the confirmation was used."""


class NoAuthority(Unavailable):
    """This installation has no seal authority yet."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the form of the key-terms card said: the card's hash, and the keys of all terms and warnings ticked."""

    card_sha256: str
    ticked: tuple[str, ...]


def confirm(conn: Conn, ask: Ask, contract_id: str, paper_no: int, told: Told) -> int:
    """Confirm the key terms for the own party and return the confirmation's number.

    Raises StepUpNeeded, NotSealHolder, NotOpen, NotTheirTurn, DeliveryOver, ShownOther, NotAcknowledged.
    """
    row, paper, place = _place(conn, ask, contract_id, paper_no)
    bond.check(conn, ask, row, paper, is_last=False)
    keyterms.check(paper.card, told.card_sha256, told.ticked, paper.content["warnings"])
    confirmed = Confirmation(
        place.party_id,
        ask.actor.user_id,
        paper.content_sha256,
        paper.card_sha256,
        shown_of(paper),
        tuple(told.ticked),
        ask.where,
        ask.now,
    )
    number = papers.confirm(conn, paper, confirmed)
    life.note(
        conn,
        contract_id,
        event(ask, "confirm", paper_no=paper_no, document=paper.card_sha256),
        (row.state, row.state),
    )
    tell(conn, row, "confirmed", (str(number), ask.now), {"party": place.name, "by": ask.actor.display_name})
    return number


@dataclass(frozen=True, slots=True)
class Ready:
    """A signature that may be made: of which file, with which seal and stamp, for which place."""

    paper: tuple[str, int]
    confirmation_id: int
    place: int
    before: bytes
    before_sha256: str
    seal: Keys
    root: str
    drawn: bytes
    when: When


@dataclass(frozen=True, slots=True)
class Made:
    """The file with the signature in it, and when which time-stamp authority saw it."""

    ready: Ready
    signed: bytes
    attested: tuple[datetime, str] | None


def sign(conn: Conn, ask: Ask, contract_id: str, paper_no: int, confirmation_id: int) -> bool:
    """Sign for the own party with its seal, in one transaction; tell whether the paper now has all signatures.

    Raises what `prepare`, `make` and `keep` raise.
    """
    return keep(conn, ask, make(prepare(conn, ask, contract_id, paper_no, confirmation_id)))


def prepare(conn: Conn, ask: Ask, contract_id: str, paper_no: int, confirmation_id: int) -> Ready:
    """Check that this person may sign now, and gather what is signed; a party without a seal gets one.

    Raises as `confirm`, and NotConfirmed, NoAuthority, NotAdmitted.
    """
    row, paper, place = _place(conn, ask, contract_id, paper_no)
    check_admitted(conn, row)
    _check_confirmed(conn, ask, paper, place, confirmation_id)
    seal, root = _seal(conn, ask, place)
    before_sha256 = _file_before(conn, paper)
    return Ready(
        (contract_id, paper_no),
        confirmation_id,
        place.order_no,
        ask.vault.get(before_sha256),
        before_sha256,
        seal,
        root,
        stamp(place.name, seal.sha256, ask.actor.display_name, ask.now),
        When(ask.now, ask.timestamps),
    )


def make(ready: Ready) -> Made:
    """Make the signature; a time-stamp authority may take its time, so hold no transaction. Raises BadStamp, NoTimeStamp."""
    seal = opened(ready.seal, ready.root)
    signed = cosign(ready.before, seal, ready.place, ready.drawn, ready.when)
    return Made(ready, signed, None if ready.when.authority is None else _stamp_in(signed, ready.when.at))


def keep(conn: Conn, ask: Ask, made: Made) -> bool:
    """Keep a signature if it may still be made, all asked again; tell whether the paper now has all signatures.

    Raises as `prepare`, and SuppliedAlready, GuaranteeShort, OverLimit.
    """
    ready = made.ready
    (contract_id, paper_no), confirmation_id = ready.paper, ready.confirmation_id
    row, paper, place = _place(conn, ask, contract_id, paper_no)
    check_admitted(conn, row)
    _check_confirmed(conn, ask, paper, place, confirmation_id)
    if (place.order_no, _file_before(conn, paper)) != (ready.place, ready.before_sha256):
        raise NotTheirTurn("not_their_turn")
    waiting = [each for each in papers.signers_of(conn, contract_id, paper_no) if each.signed_at is None]
    bond.check(conn, ask, row, paper, is_last=len(waiting) == 1)
    after_sha256 = ask.vault.put(made.signed)
    papers.sign(
        conn,
        paper,
        Signature(
            *(place.order_no, place.party_id, ask.actor.user_id, confirmation_id, ready.seal.sha256),
            *((ready.before_sha256, after_sha256), ask.where, ask.now, made.attested),
        ),
    )
    papers.move(conn, paper, "sign")
    told = event(ask, "sign", paper_no=paper_no, document=after_sha256)
    if paper.purpose == Purpose.MAIN:
        life.move(conn, row, told)
    else:
        life.note(conn, contract_id, told, (row.state, row.state))
    tell(
        conn,
        row,
        "signed",
        (f"{paper_no}.{place.order_no}", ask.now),
        {"party": place.name, "by": ask.actor.display_name},
    )
    if len(waiting) == 1:
        _complete(conn, ask, row, paper, after_sha256)
    return len(waiting) == 1


def decline(conn: Conn, ask: Ask, contract_id: str, paper_no: int, reason: str) -> None:
    """Decline a paper for the own party, saying why. Raises NotOpen, NotSealHolder, ReasonMissing."""
    row = contract_for(conn, ask, Deed.SIGN_CONTRACT, contract_id, is_locked=True)
    paper = papers.find(conn, contract_id, paper_no)
    if paper.state != "signing" or row.is_frozen:
        raise NotOpen("paper_not_open", contract=contract_id)
    if not may_sign_for(conn, ask.actor, ask.actor.party_id or 0, ask.now):
        raise NotSealHolder("not_seal_holder")
    why = reason_of(reason)
    papers.move(conn, paper, "decline")
    told = event(ask, "decline", why, paper_no=paper_no, document=paper.pdf_sha256)
    if paper.purpose == Purpose.MAIN:
        life.move(conn, row, told)
    else:
        life.note(conn, contract_id, told, (row.state, row.state))
    tell(conn, row, "declined", (str(paper_no), ask.now), {"by": ask.actor.display_name, "reason": why})


def extend(conn: Conn, ask: Ask, contract_id: str, paper_no: int, days: int | None) -> None:
    """Move a paper's expiry to so many days from now, or clear it with None; an expired paper is open again.

    Signatures made stay; but one that has lapsed with its paper binds nobody anew whose party does not say so itself.
    Raises NotDrafter, NotOpen, Lapsed.
    """
    row = contract_for(conn, ask, Deed.DRAW_CONTRACT, contract_id, is_locked=True)
    check_drafter(ask, row)
    paper = papers.find(conn, contract_id, paper_no)
    is_expired = paper.state == "expired"
    if (
        paper.state not in ("signing", "expired")
        or row.is_frozen
        or not (days is None or 0 < days <= EXTEND_DAYS_MAX)
    ):
        raise NotOpen("paper_not_open", contract=contract_id)
    if is_expired or _is_past(paper, ask.now):
        _check_lapsed(conn, ask, paper)
    expires_at = None if days is None else ask.now + timedelta(days=days)
    papers.reopen(conn, paper, expires_at)
    told = event(ask, "extend", paper_no=paper_no, until="" if expires_at is None else expires_at.isoformat())
    if is_expired and paper.purpose == Purpose.MAIN:
        life.move(conn, row, told)
    else:
        life.note(conn, contract_id, told, (row.state, row.state))
    until = "—" if expires_at is None else f"{market_local(expires_at):%Y-%m-%d %H:%M}"
    tell(conn, row, "extended", (f"{paper_no}.{ask.now.isoformat()}", ask.now), {"until": until})


def shown_of(paper: PaperRow) -> dict[str, Any]:
    """What the signing page shows of a paper: card, differences from the standard text, warnings."""
    found = difference.changes(standard_clauses(paper.content), agreed_clauses(paper.content))
    return {
        "card": paper.card,
        "changes": [each for each in difference.changes_json(found) if each["how"] != difference.SAME],
        "warnings": paper.content["warnings"],
    }


def file_of(paper: PaperRow, signers: Sequence[SignerRow]) -> str:
    """Name the last file of a paper: as signed so far, else as printed; empty before it was sent."""
    signed = [each.after_sha256 for each in signers if each.after_sha256]
    return signed[-1] if signed else paper.pdf_sha256


def _place(conn: Conn, ask: Ask, contract_id: str, paper_no: int) -> tuple[ContractRow, PaperRow, SignerRow]:
    row = contract_for(conn, ask, Deed.SIGN_CONTRACT, contract_id, is_locked=True)
    demand_step_up(conn, ask.session, ask.now)
    party_id = ask.actor.party_id
    if party_id is None or not may_sign_for(conn, ask.actor, party_id, ask.now):
        raise NotSealHolder("not_seal_holder")
    paper = papers.find(conn, contract_id, paper_no)
    if paper.state != "signing" or row.is_frozen or _is_past(paper, ask.now):
        raise NotOpen("paper_not_open", contract=contract_id)
    signers = papers.signers_of(conn, contract_id, paper_no)
    turn = next((each for each in signers if each.signed_at is None), None)
    if turn is None or turn.party_id != party_id:
        raise NotTheirTurn("not_their_turn")
    check_delivery(conn, paper.content, latest_terms(conn, row), ask.now)
    return row, paper, turn


def _is_past(paper: PaperRow, now: datetime) -> bool:
    return paper.expires_at is not None and paper.expires_at <= now


def _check_lapsed(conn: Conn, ask: Ask, paper: PaperRow) -> None:
    for each in papers.signers_of(conn, paper.contract_id, paper.paper_no):
        if each.signed_at is not None and each.party_id != ask.actor.party_id:
            raise Lapsed("signature_lapsed", party=each.name)


def _check_confirmed(conn: Conn, ask: Ask, paper: PaperRow, place: SignerRow, confirmation_id: int) -> None:
    for each in papers.confirmations_of(conn, paper.contract_id, paper.paper_no):
        is_theirs = (each.confirmation_id, each.party_id, each.user_id) == (
            *(confirmation_id, place.party_id, ask.actor.user_id),
        )
        if is_theirs and not each.is_used and ask.now < each.at + CONFIRMED_FOR:
            return
    raise NotConfirmed("not_confirmed")


def _seal(conn: Conn, ask: Ask, place: SignerRow) -> tuple[Keys, str]:
    """The party's seal, made now if it has none yet, and the authority's certificate."""
    authority = seals.authority(conn)
    if authority is None:
        raise NoAuthority("no_seal_authority")
    seals.lock_seal(conn, place.party_id)
    kept = seals.seal_of(conn, place.party_id, ask.now)
    key = ask.session.sealing_key
    if kept is not None and kept.sealed_key is not None:
        opened_key = sealing.unseal(key, kept.sealed_key, _where("party_seal_key", kept.seal_id))
        return Keys(
            opened_key, kept.certificate, kept.certificate_sha256, kept.valid_until
        ), authority.certificate
    root_key = sealing.unseal(key, authority.sealed_key, authority_place(authority.certificate_sha256))
    root = Keys(root_key, authority.certificate, authority.certificate_sha256, ask.now)
    name, _, identifier = life.party_facts(conn, place.party_id)
    made = make_seal(root, name, identifier, ask.now)
    seal_id = seals.insert_seal(
        conn, place.party_id, (made.certificate, made.sha256, made.valid_until), (ask.now, ask.name)
    )
    sealed = sealing.seal(key, made.key, _where("party_seal_key", seal_id), token_bytes(sealing.NONCE_BYTES))
    seals.insert_key(conn, seal_id, place.party_id, sealed)
    return made, authority.certificate


def authority_place(sha256: str) -> str:
    """Name where an authority's key stands, for sealing it."""
    return f"seal_authority|sealed_key|{sha256}"


def _where(table: str, key: int) -> str:
    return sealing.place(table, "sealed_key", key)


def _stamp_in(pdf: bytes, signed_at: datetime) -> tuple[datetime, str]:
    """When which authority saw the last signature of a file.

    Raises BadStamp when its token is of something else, or its clock and ours contradict each other.
    """
    _, last = signatures_of(pdf).signatures[-1]
    if last.stamp is None or not last.stamp.is_intact:
        raise BadStamp("no_time_stamp", problem="a token of another signature")
    if abs(last.stamp.at - signed_at) > CLOCKS_APART_MAX:
        raise BadStamp("no_time_stamp", problem=f"{last.stamp.at.isoformat()} by its clock")
    return last.stamp.at, last.stamp.authority[:STAMP_NAME_MAX]


def _file_before(conn: Conn, paper: PaperRow) -> str:
    return file_of(paper, papers.signers_of(conn, paper.contract_id, paper.paper_no))


def _complete(conn: Conn, ask: Ask, row: ContractRow, paper: PaperRow, sha256: str) -> None:
    """All have signed: the cooling-off time begins; a retail contract holds its accounts from here on."""
    papers.move(conn, papers.find(conn, row.contract_id, paper.paper_no), "complete")
    until = ask.now + timedelta(hours=cooling_hours(paper.content))
    facts = {"until": f"{market_local(until):%Y-%m-%d %H:%M}", "title": paper.content["title"]}
    told = event(ask, "complete", paper_no=paper.paper_no, document=sha256)
    if paper.purpose == Purpose.MAIN:
        if Kind(row.kind) in SOLD_TO_USERS:
            dealings.hold_accounts(
                conn, row.contract_id, accounts_in(paper.content), (row.start_day, row.end_day)
            )
        signing = life.find(conn, row.contract_id)
        life.move(conn, signing, told, signed_at=ask.now, cooling_until=until)
    else:
        life.note(conn, row.contract_id, told, (row.state, row.state))
    tell(conn, row, "completed", (str(paper.paper_no), ask.now), facts)
