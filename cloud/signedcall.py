"""One signed request over HTTP and its signed answer: for every foreign system that we speak with as a known member.

A request is signed (Ed25519) over six lines: '<language>-request/1', member, method and path, instant, nonce,
sha256(body). An answer is signed over five: '<language>-answer/1', the request's nonce, status, instant, sha256(body);
so an answer to another question, or of yesterday, is no answer to this one. One bounded request, one bounded answer, no
redirects; nothing is retried here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import secrets
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from cloud.errors import Unavailable

AGE_MAX: Final = timedelta(seconds=300)  # either way
TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024


class Away(Unavailable):
    """The other side does not answer, answers an error of its own, or is not there."""


class Untrue(Unavailable):
    """An answer is not to be believed: not signed by the other side, stale, or for another question."""

    def __init__(self, problem: str, body: bytes) -> None:
        super().__init__("untrue_answer", problem=problem)
        self.body = body


@dataclass(frozen=True, slots=True)
class Keys:
    """The language that is signed, who we are there, our key, and the other side's."""

    language: str  # 'shoudian-exchange'
    member: str
    own: Ed25519PrivateKey
    other: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Line:
    """Where the other side is, and the keys of both."""

    url: str
    keys: Keys
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side said, proven to be its answer to this question."""

    status: int
    body: bytes


def keys_from(language: str, member: str, own_pem: str, other_pem: str) -> Keys:
    """Read the keys. Raises ValueError, TypeError."""
    own = load_pem_private_key(own_pem.encode(), password=None)
    other = load_pem_public_key(other_pem.encode())
    if not isinstance(own, Ed25519PrivateKey) or not isinstance(other, Ed25519PublicKey):
        raise ValueError("the keys are not Ed25519")
    return Keys(language, member, own, other)


def ask(line: Line, method: str, path: str, body: bytes, now: datetime) -> Reply:
    """Ask once. Raises Away, Untrue; a status from 500 on is Away, any other is the caller's to judge."""
    url = urllib.parse.urlsplit(line.url)
    path = url.path.rstrip("/") + path
    headers = request_headers(line.keys, f"{method} {path}", body, now)
    wire = _wire(url, line.timeout_s)
    try:
        wire.request(method, path, body or None, headers | {"Content-Type": "application/json"})
        answer = wire.getresponse()
        content = answer.read(ANSWER_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as problem:
        reason = f"{type(problem).__name__}: {problem}"
        raise Away("line_away", problem=reason[:200]) from problem
    finally:
        wire.close()
    if len(content) > ANSWER_BYTES_MAX:
        raise Away("line_away", problem=f"more than {ANSWER_BYTES_MAX} bytes")
    if answer.status >= 500:
        raise Away("line_away", problem=f"HTTP {answer.status}")
    said = {name.lower(): value for name, value in answer.getheaders()}
    if flaw := flaw_of(line.keys, headers["X-Shoudian-Nonce"], answer.status, (said, content), now):
        raise Untrue(f"{flaw}, HTTP {answer.status}", content)
    return Reply(answer.status, content)


def request_headers(keys: Keys, question: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers that sign a request; `question` is method and path, e.g. 'GET /v1/days/2026-11-02'."""
    nonce, at = secrets.token_hex(16), now.isoformat()
    text = "\n".join((f"{keys.language}-request/1", keys.member, question, at, nonce, _sha256(body)))
    return {
        "X-Shoudian-Member": keys.member,
        "X-Shoudian-At": at,
        "X-Shoudian-Nonce": nonce,
        "X-Shoudian-Signature": base64.b64encode(keys.own.sign(text.encode())).decode(),
    }


def flaw_of(keys: Keys, nonce: str, status: int, said: tuple[Mapping[str, str], bytes], now: datetime) -> str:
    """Say what is wrong with an answer (headers in lower case, and body); '' when it is proven."""
    headers, body = said
    at_text = headers.get("x-shoudian-at", "")
    text = "\n".join((f"{keys.language}-answer/1", nonce, str(status), at_text, _sha256(body)))
    try:
        signature = base64.b64decode(headers.get("x-shoudian-signature", ""), validate=True)
        keys.other.verify(signature, text.encode())
    except (InvalidSignature, binascii.Error, ValueError):
        return "signature"
    try:
        age = now - datetime.fromisoformat(at_text)
    except (ValueError, TypeError):
        return "instant"
    return "" if abs(age) <= AGE_MAX else "stale"


def _wire(url: urllib.parse.SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host, port = url.hostname or "", url.port
    if url.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
