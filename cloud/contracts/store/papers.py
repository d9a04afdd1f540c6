"""SQL: papers of contracts, who signs them, what was confirmed and signed. Nothing here commits or decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import InsufficientPrivilege, UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cloud.contracts.contract import PAPER
from cloud.db import Conn
from cloud.errors import Conflict, Forbidden, NotFound
from cloud.lives import step


class NoPaper(NotFound):
    """The contract has no such paper."""


class PaperMoved(Conflict):
    """Somebody else has moved the paper meanwhile, or another paper of the contract is open."""


class NotYoursToSign(Forbidden):
    """The database refuses this person's confirmation or signature."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A paper as it was drawn up, and where it stands."""

    contract_id: str
    paper_no: int
    purpose: str
    template_id: str | None
    template_version: int | None
    content: dict[str, Any]
    content_sha256: str
    card: dict[str, Any]
    card_sha256: str
    body: str
    pdf_sha256: str
    state: str
    sent_at: datetime | None
    expires_at: datetime | None
    drawn_at: datetime
    drawn_by: str


@dataclass(frozen=True, slots=True)
class SignerRow:
    """Who is to sign, in which order, and how it was signed, if it was; hashes are of the file before and after."""

    order_no: int
    party_id: int
    side: str
    name: str
    user_id: int | None
    signed_by: str | None
    signed_at: datetime | None
    certificate_sha256: str | None
    after_sha256: str | None
    address: str | None
    device: str | None
    stamped_at: datetime | None
    stamp_authority: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person was shown and confirmed; `where` is (address, device)."""

    party_id: int
    user_id: int
    content_sha256: str
    card_sha256: str
    shown: Mapping[str, Any]
    acknowledged: tuple[str, ...]
    where: tuple[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class ConfirmationRow:
    """A confirmation as it was kept; `is_used` once a signature rests on it."""

    confirmation_id: int
    party_id: int
    user_id: int
    display_name: str
    card_sha256: str
    acknowledged: list[str]
    address: str
    device: str
    at: datetime
    is_used: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature to keep; `hashes` are of the file before and after; `where` is (address, device).

    `stamp` is when which time-stamp authority saw it, if one did.
    """

    order_no: int
    party_id: int
    user_id: int
    confirmation_id: int
    certificate_sha256: str
    hashes: tuple[str, str]
    where: tuple[str, str]
    at: datetime
    stamp: tuple[datetime, str] | None = None


_COLUMNS = """contract_id, paper_no, purpose, template_id, template_version, content, content_sha256, card, card_sha256,
    body, pdf_sha256, state, sent_at, expires_at, drawn_at, drawn_by"""


def next_no(conn: Conn, contract_id: str) -> int:
    """The number of the contract's next paper; the contract must be held."""
    row = conn.execute(
        "SELECT coalesce(max(paper_no), 0) + 1 FROM contract_paper WHERE contract_id = %s", (contract_id,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def insert(conn: Conn, paper: PaperRow, signers: Sequence[tuple[int, int, str]]) -> None:
    """Keep a new paper with its signers (order, party, side). Raises PaperMoved while another is open."""
    try:
        with conn.transaction():
            conn.execute(
                f"""INSERT INTO contract_paper ({_COLUMNS})
                    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    *(
                        paper.contract_id,
                        paper.paper_no,
                        paper.purpose,
                        paper.template_id,
                        paper.template_version,
                    ),
                    *(
                        Jsonb(paper.content),
                        paper.content_sha256,
                        Jsonb(paper.card),
                        paper.card_sha256,
                        paper.body,
                    ),
                    *(
                        paper.pdf_sha256,
                        paper.state,
                        paper.sent_at,
                        paper.expires_at,
                        paper.drawn_at,
                        paper.drawn_by,
                    ),
                ),
            )
    except UniqueViolation as open_one:
        raise PaperMoved("paper_open", contract=paper.contract_id) from open_one
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO contract_signer (contract_id, paper_no, order_no, party_id, side)
               VALUES (%s, %s, %s, %s, %s)""",
            [(paper.contract_id, paper.paper_no, *signer) for signer in signers],
        )


def find(conn: Conn, contract_id: str, paper_no: int) -> PaperRow:
    """Load a paper. Raises NoPaper."""
    found = _load(conn, "contract_id = %s AND paper_no = %s", (contract_id, paper_no))
    if not found:
        raise NoPaper("not_found", kind="paper")
    return found[0]


def of_contract(conn: Conn, contract_id: str) -> tuple[PaperRow, ...]:
    """The papers of a contract, in order."""
    return _load(conn, "contract_id = %s ORDER BY paper_no", (contract_id,))


def open_past(conn: Conn, now: datetime) -> tuple[PaperRow, ...]:
    """Papers that wait for a signature although their time is over."""
    return _load(conn, "state = 'signing' AND expires_at <= %s ORDER BY contract_id", (now,))


def move(conn: Conn, paper: PaperRow, deed: str, **changed: object) -> str:
    """Take a paper along its life; `changed` are columns to set beside the state. Raises NoSuchMove, PaperMoved."""
    after = step(PAPER, paper.state, deed)
    assert set(changed) <= {"sent_at", "expires_at", "pdf_sha256"}
    sets = "".join(f", {name} = %({name})s" for name in changed)
    moved = conn.execute(
        f"""UPDATE contract_paper SET state = %(after)s{sets}
            WHERE contract_id = %(id)s AND paper_no = %(no)s AND state = %(before)s""",
        {"after": after, "id": paper.contract_id, "no": paper.paper_no, "before": paper.state, **changed},
    ).rowcount
    if moved != 1:
        raise PaperMoved("paper_moved", contract=paper.contract_id, paper=paper.paper_no)
    return after


def reopen(conn: Conn, paper: PaperRow, expires_at: datetime | None) -> None:
    """Move a paper's expiry; one that had expired is out for signature again. Raises PaperMoved."""
    if paper.state == "expired":
        move(conn, paper, "extend", expires_at=expires_at)
        return
    moved = conn.execute(
        "UPDATE contract_paper SET expires_at = %s WHERE contract_id = %s AND paper_no = %s AND state = 'signing'",
        (expires_at, paper.contract_id, paper.paper_no),
    ).rowcount
    if moved != 1:
        raise PaperMoved("paper_moved", contract=paper.contract_id, paper=paper.paper_no)


def signers_of(conn: Conn, contract_id: str, paper_no: int) -> tuple[SignerRow, ...]:
    """Who signs a paper, in order, with the signatures made."""
    with conn.cursor(row_factory=class_row(SignerRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT s.order_no, s.party_id, s.side, p.name, g.user_id, u.display_name AS signed_by,
                          g.at AS signed_at, g.certificate_sha256, g.after_sha256, g.address, g.device,
                          g.stamped_at, coalesce(g.stamp_authority, '') AS stamp_authority
                   FROM contract_signer s JOIN party p USING (party_id)
                   LEFT JOIN contract_signature g USING (contract_id, paper_no, order_no)
                   LEFT JOIN app_user u ON u.user_id = g.user_id
                   WHERE s.contract_id = %s AND s.paper_no = %s ORDER BY s.order_no""",
                (contract_id, paper_no),
            )
        )


def signings_of(conn: Conn, contract_id: str, paper_no: int) -> tuple[tuple[datetime, str], ...]:
    """When a paper was signed and the file's hash after it, in order; names no person."""
    rows = conn.execute(
        """SELECT at, after_sha256 FROM contract_signature WHERE contract_id = %s AND paper_no = %s ORDER BY order_no""",
        (contract_id, paper_no),
    )
    return tuple((at, str(sha256)) for at, sha256 in rows)


def confirmations_of(conn: Conn, contract_id: str, paper_no: int) -> tuple[ConfirmationRow, ...]:
    """What was confirmed about a paper, in order."""
    with conn.cursor(row_factory=class_row(ConfirmationRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT c.confirmation_id, c.party_id, c.user_id, u.display_name, c.card_sha256, c.acknowledged,
                          c.address, c.device, c.at,
                          EXISTS (SELECT FROM contract_signature g WHERE g.confirmation_id = c.confirmation_id) AS is_used
                   FROM contract_confirmation c JOIN app_user u USING (user_id)
                   WHERE c.contract_id = %s AND c.paper_no = %s ORDER BY c.confirmation_id""",
                (contract_id, paper_no),
            )
        )


def confirm(conn: Conn, paper: PaperRow, told: Confirmation) -> int:
    """Keep a confirmation and return its number. Raises NotYoursToSign when the database refuses the person."""
    try:
        with conn.transaction():
            row = conn.execute(
                """INSERT INTO contract_confirmation (contract_id, paper_no, party_id, user_id, content_sha256,
                                                      card_sha256, shown, acknowledged, address, device, at)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING confirmation_id""",
                (
                    *(paper.contract_id, paper.paper_no, told.party_id, told.user_id, told.content_sha256),
                    *(
                        told.card_sha256,
                        Jsonb(dict(told.shown)),
                        list(told.acknowledged),
                        *told.where,
                        told.at,
                    ),
                ),
            ).fetchone()
    except InsufficientPrivilege as refused:
        raise NotYoursToSign("not_yours_to_sign") from refused
    assert row is not None
    return int(row[0])


def sign(conn: Conn, paper: PaperRow, signature: Signature) -> None:
    """Keep a signature. Raises NotYoursToSign when the database refuses the person, PaperMoved when it is made already."""
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO contract_signature (contract_id, paper_no, order_no, party_id, user_id, confirmation_id,
                                                   certificate_sha256, before_sha256, after_sha256, address, device, at,
                                                   stamped_at, stamp_authority)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                (
                    *(
                        paper.contract_id,
                        paper.paper_no,
                        signature.order_no,
                        signature.party_id,
                        signature.user_id,
                    ),
                    *(signature.confirmation_id, signature.certificate_sha256, *signature.hashes),
                    *(*signature.where, signature.at, *(signature.stamp or (None, ""))),
                ),
            )
    except InsufficientPrivilege as refused:
        raise NotYoursToSign("not_yours_to_sign") from refused
    except UniqueViolation as twice:
        raise PaperMoved("signed_already", contract=paper.contract_id) from twice


def _load(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[PaperRow, ...]:
    with conn.cursor(row_factory=class_row(PaperRow)) as cursor:
        return tuple(cursor.execute(f"SELECT {_COLUMNS} FROM contract_paper WHERE {condition}", parameters))
