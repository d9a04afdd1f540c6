"""Shell: hand out claim codes, take a claim and issue an identity, revoke in the proven order.

A claim is consumed in the transaction that issues. Who loses the answer may ask again with the same code and the same
signing key within a day: that is the same gateway, and it gets another certificate and no new epoch.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.errors import Conflict, Forbidden, NotFound, NotNow
from provisioning import store
from provisioning.ca import Authority, Revoked, issue_client, pem_of
from provisioning.identity import (
    CODES,
    check_proof,
    checked_request,
    checked_serial,
    claim_code,
    claim_hmac,
    is_fresh,
    key_words,
    normal_code,
    proof_message,
)

CLAIM_VALID = dt.timedelta(days=30)
ANSWER_LOST = dt.timedelta(days=1)
REFUSALS_PER_HOUR_MAX = 5
REFUSALS_PER_CODE_MAX = 10
MAY_ENROL = ("registered", "enrolled", "active")
REASONS = ("keyCompromise", "superseded", "cessationOfOperation")


class WrongClaim(Forbidden):
    """The code is not the one of this gateway. Also said of a gateway that is not registered."""


class ClaimUsed(Conflict):
    """The code was used before, by another key or too long ago."""


class ClaimExpired(Forbidden):
    """The code is too old, or a newer one has replaced it."""


class TooManyTries(NotNow):
    """Too many wrong codes for this gateway within an hour."""


class CodeLocked(NotNow):
    """Too many wrong codes since the last one was issued: only a new code helps."""


class StaleNonce(NotNow):
    """The nonce is not ours or is older than ten minutes."""


class NotEnrollable(NotNow):
    """The gateway is revoked, suspended or suspect."""


class NoSuchGateway(NotFound):
    """No gateway of this serial is registered."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a gateway sends."""

    serial: str
    code: str
    nonce: str
    csr_pem: bytes
    signing_key: bytes  # Ed25519 public, raw
    proof: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """What a gateway gets."""

    gateway_id: str
    certificate_pem: str
    epoch: int
    key_words: str


def issue_claim(
    pool: Pool, authority: Authority, serial: str, name: str, *, actor: str, now: dt.datetime
) -> str:
    """Register the gateway if need be and give its new claim code; older unused codes end.

    Raises BadSerial, NotEnrollable.
    """
    code = claim_code(secrets.randbelow(CODES))
    with transaction(pool, Scope(ProcessRole.PROVISION, actor=actor)) as conn:
        if store.register_gateway(conn, checked_serial(serial), name or serial):
            store.note_event(conn, serial, now, "registered", actor, {"name": name or serial})
        gateway = store.lock_gateway(conn, serial)
        assert gateway is not None
        if gateway.state not in MAY_ENROL:
            raise NotEnrollable("not_enrollable", serial=serial, state=gateway.state)
        store.end_open_claims(conn, serial, now)
        hidden = claim_hmac(authority.pepper, serial, code)
        store.add_claim(conn, serial, hidden, now, now + CLAIM_VALID)
        store.note_event(
            conn, serial, now, "claim issued", actor, {"expires_at": (now + CLAIM_VALID).isoformat()}
        )
    return code


def enrol(pool: Pool, authority: Authority, request: Request, *, actor: str, now: dt.datetime) -> Identity:
    """Take the claim and issue certificate, key and epoch, in one transaction.

    A wrong code is counted although it is refused. Raises the classes above, MistypedCode, BadSerial, BadRequest,
    BadProof.
    """
    serial, code = checked_serial(request.serial), normal_code(request.code)
    csr = checked_request(request.csr_pem, serial)
    if not is_fresh(authority.pepper, request.nonce, int(now.timestamp())):
        raise StaleNonce("stale_nonce")
    check_proof(request.signing_key, request.proof, proof_message(request.nonce, serial, request.csr_pem))
    with transaction(pool, Scope(ProcessRole.PROVISION, actor=actor)) as conn:
        gateway = store.lock_gateway(conn, serial)
        if gateway is None:
            raise WrongClaim("wrong_claim", serial=serial)
        _refuse_guessing(conn, serial, now)
        hidden = claim_hmac(authority.pepper, serial, code)
        claim = store.find_claim(conn, serial, hidden)
        if claim is not None:
            key = csr.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            again = _again(conn, claim, request, now)
            identity = _issue(
                conn, authority, gateway, key, request.signing_key, again=again, actor=actor, now=now
            )
            if not again:
                store.use_claim(conn, hidden, now)
            return identity
        store.note_event(conn, serial, now, "claim refused", actor, {})
    raise WrongClaim("wrong_claim", serial=serial)


def _refuse_guessing(conn: Conn, serial: str, now: dt.datetime) -> None:
    if store.count_refusals(conn, serial, now - dt.timedelta(hours=1)) >= REFUSALS_PER_HOUR_MAX:
        raise TooManyTries("too_many_tries", serial=serial, per_hour=REFUSALS_PER_HOUR_MAX)
    issued_at = store.last_claim_issued_at(conn, serial)
    if issued_at and store.count_refusals(conn, serial, issued_at) >= REFUSALS_PER_CODE_MAX:
        raise CodeLocked("code_locked", serial=serial)


def _again(conn: Conn, claim: store.Claim, request: Request, now: dt.datetime) -> bool:
    """Tell a first use (False) from the repetition of one whose answer was lost (True). Raises ClaimUsed, ClaimExpired."""
    if claim.used_at is None:
        if now >= claim.expires_at:
            raise ClaimExpired(
                "claim_expired", serial=request.serial, expired_at=claim.expires_at.isoformat()
            )
        return False
    same_key = store.current_key(conn, request.serial, now) == request.signing_key
    if not same_key or now - claim.used_at > ANSWER_LOST:
        raise ClaimUsed("claim_used", serial=request.serial, used_at=claim.used_at.isoformat())
    return True


def _issue(
    conn: Conn,
    authority: Authority,
    gateway: store.Gateway,
    tls_key: ec.EllipticCurvePublicKey,
    signing_key: bytes,
    *,
    again: bool,
    actor: str,
    now: dt.datetime,
) -> Identity:
    if gateway.state not in MAY_ENROL:
        raise NotEnrollable("not_enrollable", serial=gateway.gateway_id, state=gateway.state)
    serial, epoch = gateway.gateway_id, gateway.epoch
    if not again:
        # keys of an earlier life end; what it sealed belongs to its own epoch
        epoch += 0 if gateway.state == "registered" else 1
        store.end_keys(conn, serial, now)
        store.revoke_certificates(conn, serial, now, "superseded")
        store.add_key(conn, serial, hashlib.sha256(signing_key).digest()[:8], signing_key, now)
        store.set_state(conn, serial, "enrolled" if gateway.state == "registered" else gateway.state, epoch)
    certificate = issue_client(authority, serial, tls_key, now)
    store.add_certificate(
        conn,
        serial,
        certificate.serial_number,
        certificate.fingerprint(hashes.SHA256()),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    facts = {"epoch": epoch, "certificate": f"{certificate.serial_number:x}", "again": again}
    store.note_event(conn, serial, now, "enrolled", actor, facts)
    return Identity(serial, pem_of(certificate), epoch, key_words(signing_key))


def revoke(
    pool: Pool,
    authority: Authority,
    serial: str,
    reason: str,
    *,
    actor: str,
    now: dt.datetime,
    publish: Callable[[], None],
    kick: Callable[[str], None],
) -> None:
    """Shut a gateway out, in the order that leaves no gap: database, list, broker reads it, live connection ends.

    The intake refuses after the first step. `publish` writes the list and has the broker read it; without that a
    kicked gateway would just reconnect.
    Raises NoSuchGateway.
    """
    with transaction(pool, Scope(ProcessRole.PROVISION, actor=actor)) as conn:
        gateway = store.lock_gateway(conn, serial)
        if gateway is None:
            raise NoSuchGateway("no_such_gateway", serial=serial)
        store.set_state(conn, serial, "revoked", gateway.epoch)
        store.end_open_claims(conn, serial, now)
        store.end_keys(conn, serial, now)
        store.revoke_certificates(conn, serial, now, reason)
        store.note_event(conn, serial, now, "revoked", actor, {"reason": reason})
    publish()
    kick(serial)


def revoked_now(pool: Pool, now: dt.datetime) -> tuple[Revoked, ...]:
    """List what the revocation list must name now."""
    with transaction(pool, Scope(ProcessRole.PROVISION, actor="job:crl")) as conn:
        return store.load_revoked(conn, now)
