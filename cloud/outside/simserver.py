"""What the simulators of foreign systems stand on: a server on this machine, keys kept in a folder, a line of signed calls.

The signing is written a second time here, on purpose: adapters and simulators share no code that could be wrong in both.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

_AGE_MAX: Final = timedelta(seconds=300)


class Unproven(Exception):
    """A request is not signed by the member, lately, or its nonce was used before."""


class Server(ThreadingHTTPServer):
    """One thread a request, and a queue for bursts."""

    daemon_threads = True
    request_queue_size = 128

    @property
    def base(self) -> str:
        """Where it is reached."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def run(self) -> None:
        """Serve until `end`."""
        self.serve_forever(poll_interval=0.1)

    def end(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler, ABC):
    """Hands every request to `answer`; says nothing on the console."""

    protocol_version = "HTTP/1.1"
    body_bytes_max: ClassVar[int] = 64 * 1024

    @abstractmethod
    def answer(self, method: str, body: bytes) -> None:
        """Answer one request."""

    def do_GET(self) -> None:
        self.answer("GET", b"")

    def do_POST(self) -> None:
        self._take("POST")

    def do_PUT(self) -> None:
        self._take("PUT")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the diary tells what mattered."""

    def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        """Send an answer; who asked may have gone."""
        try:
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | dict(headers)).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def drop(self) -> None:
        """Break the line without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _take(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > self.body_bytes_max:
            self.close_connection = True
            self.send(413, b"{}", {})
            return
        self.answer(method, self.rfile.read(length))


@dataclass(slots=True)
class Line:
    """Calls of one member, signed both ways; `name` is what the signed texts begin with."""

    name: str
    member: str
    member_key: Ed25519PrivateKey
    own: Ed25519PrivateKey
    forger: Ed25519PrivateKey = field(
        default_factory=Ed25519PrivateKey.generate
    )  # signs where a fault asks for it
    nonces: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prove(self, headers: Message, question: str, body: bytes, now: datetime) -> str:
        """Whether the member asks; return the nonce. Raises Unproven."""
        member, at, nonce = (headers.get(f"X-Shoudian-{name}", "") for name in ("Member", "At", "Nonce"))
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join((f"shoudian-{self.name}-request/1", member, question, at, nonce, digest))
        try:
            signature = base64.b64decode(headers.get("X-Shoudian-Signature", ""), validate=True)
            self.member_key.public_key().verify(signature, text.encode())
            is_stale = abs(now - datetime.fromisoformat(at)) > _AGE_MAX
        except (InvalidSignature, ValueError, TypeError) as problem:
            raise Unproven("signature") from problem
        with self.lock:
            if member != self.member or is_stale or nonce in self.nonces:
                raise Unproven("member, instant or nonce")
            self.nonces.add(nonce)
        return nonce

    def sign(
        self, nonce: str, status: int, body: bytes, at: datetime, *, is_forged: bool = False
    ) -> dict[str, str]:
        """The headers that sign an answer."""
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join((f"shoudian-{self.name}-answer/1", nonce, str(status), at.isoformat(), digest))
        signature = (self.forger if is_forged else self.own).sign(text.encode())
        return {"X-Shoudian-At": at.isoformat(), "X-Shoudian-Signature": base64.b64encode(signature).decode()}


def key_in(path: Path) -> Ed25519PrivateKey:
    """The key of a file; made once."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    found = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(found, Ed25519PrivateKey)
    return found


def put_public(key: Ed25519PrivateKey, path: Path) -> None:
    """Write the public half."""
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
