"""Signatures of requests and answers: Ed25519 over what was asked, when, and the hash of what was said.

A request is signed over six lines: 'shoudian-exchange-request/1', member, method and path, instant, nonce, sha256(body).
An answer is signed over five: 'shoudian-exchange-answer/1', the request's nonce, status, instant, sha256(body); so an
answer to another question, or of yesterday, is no answer to this one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

AGE_MAX: Final = timedelta(seconds=300)  # either way
REQUEST: Final = "shoudian-exchange-request/1"
ANSWER: Final = "shoudian-exchange-answer/1"


@dataclass(frozen=True, slots=True)
class Keys:
    """Who we are to the platform, our key, and the platform's."""

    member: str
    own: Ed25519PrivateKey
    platform: Ed25519PublicKey


def keys_from(member: str, own_pem: str, platform_pem: str) -> Keys:
    """Read the keys. Raises ValueError, TypeError."""
    own = load_pem_private_key(own_pem.encode(), password=None)
    platform = load_pem_public_key(platform_pem.encode())
    if not isinstance(own, Ed25519PrivateKey) or not isinstance(platform, Ed25519PublicKey):
        raise ValueError("the keys are not Ed25519")
    return Keys(member, own, platform)


def request_headers(keys: Keys, question: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers that sign a request; `question` is method and path, e.g. 'GET /v1/days/2026-11-02'."""
    nonce, at = secrets.token_hex(16), now.isoformat()
    text = "\n".join((REQUEST, keys.member, question, at, nonce, _sha256(body)))
    return {
        "X-Exchange-Member": keys.member,
        "X-Exchange-At": at,
        "X-Exchange-Nonce": nonce,
        "X-Exchange-Signature": base64.b64encode(keys.own.sign(text.encode())).decode(),
    }


def flaw_of(keys: Keys, nonce: str, status: int, said: tuple[Mapping[str, str], bytes], now: datetime) -> str:
    """Say what is wrong with an answer (headers in lower case, and body); '' when it is proven."""
    headers, body = said
    at_text = headers.get("x-exchange-at", "")
    text = "\n".join((ANSWER, nonce, str(status), at_text, _sha256(body)))
    try:
        signature = base64.b64decode(headers.get("x-exchange-signature", ""), validate=True)
        keys.platform.verify(signature, text.encode())
    except (InvalidSignature, binascii.Error, ValueError):
        return "signature"
    try:
        age = now - datetime.fromisoformat(at_text)
    except (ValueError, TypeError):
        return "instant"
    return "" if abs(age) <= AGE_MAX else "stale"


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
