"""Who a gateway is: claim codes, label texts, fingerprint words, and the checks of a certificate request. Pure.

A claim code is 10 characters of Crockford's base 32 (50 bits) and his check symbol modulo 37; a code whose check symbol
is one of the five awkward ones (* ~ $ = U) is never given out, so every code can be typed on any keyboard.
Source: D. Crockford, "Base 32"; proquints: D. S. Wilkerson, "A Proposal for Proquints" (2009).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from cloud.errors import Invalid
from provisioning.broker import WORKER_NAMES

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CHECK_SYMBOLS = ALPHABET + "*~$=U"
CODE_CHARACTERS = 10
CODES = 32**CODE_CHARACTERS
SERIAL = re.compile(r"[A-Za-z0-9_-]{1,32}")
CA_FINGERPRINT_BYTES = 8
NONCE_VALID_S = 600
_LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


class MistypedCode(Invalid):
    """A claim code has a wrong length, a foreign character, or a check symbol that does not fit."""


class BadSerial(Invalid):
    """A gateway serial has foreign characters, is too long, or is the name of a cloud process."""


class BadRequest(Invalid):
    """A certificate request is damaged, names somebody else, or has a key of another kind than P-256."""


class BadProof(Invalid):
    """The request does not prove that its sender has the signing key, or proves it for another request."""


class BadLabel(Invalid):
    """A label text is not EGW1:<serial>:<code>:<fingerprint>."""


@dataclass(frozen=True, slots=True)
class Label:
    """What the QR code on a gateway says."""

    serial: str
    code: str
    ca_fingerprint: str  # first 8 bytes of the SHA-256 of the CA certificate, hexadecimal


def checked_serial(serial: str) -> str:
    """Give back the serial. Raises BadSerial; names of cloud processes have rights that no gateway may have."""
    if not SERIAL.fullmatch(serial) or serial in WORKER_NAMES:
        raise BadSerial("bad_serial", serial=serial[:40])
    return serial


def claim_code(number: int) -> str:
    """Write the first typable code at or after `number`, a random whole number in [0, 32^10)."""
    for candidate in range(number, number + 64):
        value = candidate % CODES
        if CHECK_SYMBOLS[value % 37] in ALPHABET:
            digits = (ALPHABET[value >> 5 * place & 31] for place in reversed(range(CODE_CHARACTERS)))
            return "".join(digits) + CHECK_SYMBOLS[value % 37]
    raise AssertionError("at most five neighbours of 37 are skipped")


def normal_code(typed: str) -> str:
    """Read a code as people type it: any case, spaces and dashes, O for 0, I and L for 1. Raises MistypedCode."""
    code = typed.strip().upper().translate(_LOOK_ALIKES)
    if len(code) != CODE_CHARACTERS + 1 or any(letter not in ALPHABET for letter in code):
        raise MistypedCode("mistyped_code", characters=len(code))
    value = 0
    for letter in code[:-1]:
        value = value * 32 + ALPHABET.index(letter)
    if CHECK_SYMBOLS[value % 37] != code[-1]:
        raise MistypedCode("mistyped_code", characters=len(code))
    return code


def spaced_code(code: str) -> str:
    """Show a code in groups, as on the label: 7ZZZZ-ZZZZZ-5."""
    return f"{code[:5]}-{code[5:10]}-{code[10:]}"


def claim_hmac(pepper: bytes, serial: str, code: str) -> bytes:
    """What is stored instead of the code: HMAC-SHA256 with a pepper that is not in the database."""
    return hmac.new(pepper, f"{serial}\0{code}".encode(), hashlib.sha256).digest()


def ca_fingerprint(ca: x509.Certificate) -> str:
    """Name a CA on a label: 64 bits, hexadecimal. Finding another certificate with the same ones is out of reach."""
    return _sha256_of(ca)[:CA_FINGERPRINT_BYTES].hex()


def _sha256_of(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def label_text(label: Label) -> str:
    """Write the QR text."""
    return f"EGW1:{label.serial}:{label.code}:{label.ca_fingerprint}"


def label_from(text: str) -> Label:
    """Read the QR text. Raises BadLabel, BadSerial, MistypedCode."""
    parts = text.strip().split(":")
    if len(parts) != 4 or parts[0].upper() != "EGW1" or not re.fullmatch(r"[0-9a-fA-F]{16}", parts[3]):
        raise BadLabel("bad_label")
    return Label(checked_serial(parts[1]), normal_code(parts[2]), parts[3].lower())


def words(fingerprint: bytes) -> str:
    """Spell bytes as pronounceable words of 16 bits (proquints), for two people to compare by voice."""
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    pairs = (int.from_bytes(fingerprint[at : at + 2], "big") for at in range(0, len(fingerprint) - 1, 2))
    return "-".join(
        consonants[n >> 12]
        + vowels[n >> 10 & 3]
        + consonants[n >> 6 & 15]
        + vowels[n >> 4 & 3]
        + consonants[n & 15]
        for n in pairs
    )


def key_words(signing_key: bytes) -> str:
    """Three words for a gateway's raw Ed25519 public key, shown on both sides of an enrolment."""
    return words(hashlib.sha256(signing_key).digest()[:6])


def checked_request(pem: bytes, serial: str) -> x509.CertificateSigningRequest:
    """Read a PKCS#10 request and give it back if it is whole, P-256, and for `serial`. Raises BadRequest.

    Extensions that it asks for are not looked at: the CA decides them all.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
        whole = request.is_signature_valid
    except (ValueError, TypeError) as problem:
        raise BadRequest("bad_csr", problem="damaged") from problem
    if not whole:
        raise BadRequest("bad_csr", problem="signature")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("bad_csr", problem="key is not P-256")
    if [name.value for name in names] != [serial] or len(request.subject) != 1:
        raise BadRequest("bad_csr", problem="subject is not the serial")
    return request


def nonce_from(pepper: bytes, issued_s: int, salt: bytes) -> str:
    """Make a nonce that we recognise without storing it: when, 16 random bytes, and our HMAC over both."""
    body = issued_s.to_bytes(8, "big") + salt
    return (body + hmac.new(pepper, b"nonce" + body, hashlib.sha256).digest()[:16]).hex()


def is_fresh(pepper: bytes, nonce: str, now_s: int) -> bool:
    """Tell whether the nonce is ours and at most ten minutes old."""
    try:
        raw = bytes.fromhex(nonce)
    except ValueError:
        return False
    if len(raw) != 40:
        return False
    issued_s = int.from_bytes(raw[:8], "big")
    ours = hmac.compare_digest(nonce_from(pepper, issued_s, raw[8:24]), nonce.lower())
    return ours and 0 <= now_s - issued_s <= NONCE_VALID_S


def proof_message(nonce: str, serial: str, csr_pem: bytes) -> bytes:
    """What the gateway signs with its Ed25519 key: this nonce, this serial, this request."""
    return b"egw-enrol-1\0" + f"{nonce}\0{serial}\0".encode() + hashlib.sha256(csr_pem).digest()


def check_proof(signing_key: bytes, proof: bytes, message: bytes) -> None:
    """Raises BadProof unless `proof` is the signature of `message` by the raw Ed25519 key."""
    try:
        Ed25519PublicKey.from_public_bytes(signing_key).verify(proof, message)
    except (InvalidSignature, ValueError) as problem:
        raise BadProof("bad_proof") from problem
