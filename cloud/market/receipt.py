"""A receipt: what the exchange has in its book, numbered and signed, for the participant to keep. Pure.

The signed text is the receipt's JSON without `signature`, keys sorted, no spaces, UTF-8. Ed25519 is deterministic: the
same row and key give the same receipt again, whenever it is asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloud.errors import Invalid

SCHEMA: Final = "shoudian-receipt/1"
FILE_BYTES_MAX: Final = 1 << 20
_KEYS: Final = frozenset(
    {"schema", "session", "seq", "kind", "party_id", "unit", "side", "replaces", "periods", "price_ticks"}
    | {"quantity_kwh", "margin_fen", "client_key", "content_sha256", "at", "key_id", "signature"}
)


class BadKey(Invalid):
    """The receipt key is no Ed25519 private key in PEM."""


class BadReceipt(Invalid):
    """A file is no receipt, or its signature is not ours, or it was changed."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What stands in the book under a number."""

    session_no: str
    seq: int
    kind: str
    party_id: int
    unit_id: str
    side: str
    replaces: int | None
    period: tuple[int, ...]
    price_ticks: tuple[int, ...]
    quantity_kwh: tuple[int, ...]
    margin_fen: int
    client_key: str
    content_sha256: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Signer:
    """The key of the exchange and its short name."""

    key: Ed25519PrivateKey
    key_id: str

    @property
    def public_pem(self) -> str:
        """What a participant needs to verify a receipt."""
        return public_pem(self.key.public_key())


def signer_from(pem: bytes) -> Signer:
    """Read the key. Raises BadKey."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as problem:
        raise BadKey("bad_receipt_key") from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey("bad_receipt_key")
    return Signer(key, key_id(key.public_key()))


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def public_pem(key: Ed25519PublicKey) -> str:
    """The public key as text."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def public_from(pem: bytes) -> Ed25519PublicKey:
    """Read a public key. Raises BadKey."""
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as problem:
        raise BadKey("bad_receipt_key") from problem
    if not isinstance(key, Ed25519PublicKey):
        raise BadKey("bad_receipt_key")
    return key


def receipt(kept: Acknowledged, signer: Signer) -> dict[str, Any]:
    """Write and sign a receipt."""
    body: dict[str, Any] = {
        "schema": SCHEMA,
        "session": kept.session_no,
        "seq": kept.seq,
        "kind": kept.kind,
        "party_id": kept.party_id,
        "unit": kept.unit_id,
        "side": kept.side,
        "replaces": kept.replaces,
        "periods": list(kept.period),
        "price_ticks": list(kept.price_ticks),
        "quantity_kwh": list(kept.quantity_kwh),
        "margin_fen": kept.margin_fen,
        "client_key": kept.client_key,
        "content_sha256": kept.content_sha256,
        "at": kept.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "key_id": signer.key_id,
    }
    return body | {"signature": base64.b64encode(signer.key.sign(_signed(body))).decode()}


def verified(text: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """Read a receipt and check that this key signed every word of it. Raises BadReceipt."""
    if len(text) > FILE_BYTES_MAX:
        raise BadReceipt("receipt_form")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BadReceipt("receipt_form") from problem
    if not isinstance(content, dict) or set(content) != _KEYS or content["schema"] != SCHEMA:
        raise BadReceipt("receipt_form")
    body = {name: value for name, value in content.items() if name != "signature"}
    if content["key_id"] != key_id(key):
        raise BadReceipt("receipt_other_key", key=key_id(key), found=str(content["key_id"])[:40])
    try:
        key.verify(base64.b64decode(str(content["signature"]), validate=True), _signed(body))
    except (InvalidSignature, ValueError) as problem:
        raise BadReceipt("receipt_not_signed") from problem
    return body


def _signed(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
