"""The simulated platform's HTTP process: it proves who asks, answers signed, and fails when told to.

/v1/declarations · /v1/sessions/{no}/result · /v1/days/{day}      what a member uses (docs/operations/exchange.md)
/control/announce | close | correct | plan | edit | diary         for tests and the curious; this machine only

The signing is written a second time here, on purpose: adapter and simulator share no code that could be wrong in both.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
import urllib.parse
from collections.abc import Callable
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from cloud.market import exchangefile
from cloud.market.auction import AtMargin, PriceRule
from cloud.outside.exchangesim.book import Book, Taken

MEMBER: Final = "SHOUDIAN-01"
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
_AGE_MAX: Final = timedelta(seconds=300)


class Unproven(Exception):
    """A request is not signed by a member, lately, or its nonce was used before."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, _Handler)
        self.simulator = simulator


class Simulator:
    """A platform at an address, with one member."""

    def __init__(self, folder: Path, address: tuple[str, int], now: Callable[[], datetime]) -> None:
        self.server = _Server(address, self)
        self.base = f"http://{address[0]}:{self.server.server_port}"
        self.now = now
        folder.mkdir(parents=True, exist_ok=True)
        self.own = _key_in(folder / "platform.pem")
        self.member_key = _key_in(folder / "member.pem")
        self.forger = Ed25519PrivateKey.generate()
        self.book = Book(folder, now)
        self._nonces: set[str] = set()
        self._lock = threading.Lock()
        self._write_env(folder)

    def run(self) -> None:
        """Serve until `close`."""
        self.server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def prove(self, handler: _Handler, question: str, body: bytes) -> str:
        """Whether a member asks; return the nonce. Raises Unproven."""
        said = handler.headers
        member, at, nonce = (said.get(f"X-Shoudian-{name}", "") for name in ("Member", "At", "Nonce"))
        lines = ("shoudian-exchange-request/1", member, question, at, nonce, hashlib.sha256(body).hexdigest())
        try:
            signature = base64.b64decode(said.get("X-Shoudian-Signature", ""), validate=True)
            self.member_key.public_key().verify(signature, "\n".join(lines).encode())
            is_stale = abs(self.now() - datetime.fromisoformat(at)) > _AGE_MAX
        except (InvalidSignature, ValueError, TypeError) as problem:
            raise Unproven("signature") from problem
        with self._lock:
            if member != MEMBER or is_stale or nonce in self._nonces:
                raise Unproven("member, instant or nonce")
            self._nonces.add(nonce)
        return nonce

    def sign(self, nonce: str, status: int, body: bytes, fault: str) -> dict[str, str]:
        """The headers that sign an answer."""
        at = (self.now() - (timedelta(hours=1) if fault == "stale" else timedelta(0))).isoformat()
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join(("shoudian-exchange-answer/1", nonce, str(status), at, digest))
        key = self.forger if fault == "signature" else self.own
        return {
            "X-Shoudian-At": at,
            "X-Shoudian-Signature": base64.b64encode(key.sign(text.encode())).decode(),
        }

    def control(self, what: str, asked: dict[str, Any]) -> object:
        """Carry out a wish of the control door."""
        match what:
            case "announce":
                rules = (
                    PriceRule(asked.get("price_rule", "marginal")),
                    AtMargin(asked.get("at_margin", "time")),
                )
                self.book.announce(asked["session"], *rules)
            case "close":
                return exchangefile.result_json(self.book.close(asked["session"]))
            case "correct":
                return exchangefile.result_json(self.book.correct(asked["session"], asked["without"]))
            case "plan":
                self.book.plan(asked["faults"])
            case "edit":
                self.book.edit(date.fromisoformat(asked["day"]), asked["edits"])
            case "diary":
                return self.book.diary
            case _:
                return {"problem": "announce | close | correct | plan | edit | diary"}
        return {"done": True}

    def _write_env(self, folder: Path) -> None:
        public = self.own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "platform.pub.pem").write_bytes(public)
        text = (
            f"SHOUDIAN_EXCHANGE_URL={self.base}\nSHOUDIAN_EXCHANGE_PLATFORM=simulated\n"
            f"SHOUDIAN_EXCHANGE_MEMBER={MEMBER}\n"
            f"SHOUDIAN_EXCHANGE_KEY_FILE={(folder / 'member.pem').absolute()}\n"
            f"SHOUDIAN_EXCHANGE_PLATFORM_KEY_FILE={(folder / 'platform.pub.pem').absolute()}\n"
        )
        (folder / "exchange.env").write_text(text, "utf-8")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET", b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            self._send(413, b"{}", {})
            return
        self._answer("POST", self.rfile.read(length))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the diary tells what mattered."""

    def _answer(self, method: str, body: bytes) -> None:
        simulator = self.server.simulator
        parts = [urllib.parse.unquote(each) for each in self.path.partition("?")[0].strip("/").split("/")]
        try:
            if parts[0] == "control":
                found = simulator.control(parts[1], json.loads(body) if body else {})
                self._send(200, json.dumps(found, ensure_ascii=False).encode(), {})
                return
            fault = simulator.book.fault()
            if fault in ("500", "drop"):
                self._fail(fault)
                return
            nonce = simulator.prove(self, f"{method} {self.path}", body)
            status, content = self._member(method, parts, body)
            if fault == "twice":  # the network repeated the request
                status, content = self._member(method, parts, body)
            if fault == "lost":  # accepted, and the answer never arrives
                self._fail("drop")
                return
            if fault == "late":
                threading.Event().wait(1.0)
            content = b"{}" if fault == "garbage" else content
            self._send(status, content, simulator.sign(nonce, status, content, fault))
        except Unproven as problem:
            self._send(401, json.dumps({"problem": str(problem)}).encode(), {})
        except (KeyError, ValueError, TypeError, IndexError, exchangefile.BadDocument) as problem:
            self._send(400, json.dumps({"problem": f"{type(problem).__name__}: {problem}"}).encode(), {})

    def _member(self, method: str, parts: list[str], body: bytes) -> tuple[int, bytes]:
        book = self.server.simulator.book
        match method, parts:
            case "POST", ["v1", "declarations"]:
                return _verdict(book.take(body))
            case "GET", ["v1", "sessions", session_no, "result"]:
                result = book.result(session_no)
                if result is not None:
                    return 200, exchangefile.canonical(exchangefile.result_json(result))
            case "GET", ["v1", "days", day]:
                return 200, exchangefile.canonical(book.day(date.fromisoformat(day)))
        return 404, b'{"problem":"none"}'

    def _fail(self, how: str) -> None:
        if how == "500":
            self._send(500, b"internal error", {})
            return
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, content: bytes, extra: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in (extra | {"Content-Type": "application/json"}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # who asked has gone


def _verdict(taken: Taken) -> tuple[int, bytes]:
    content = {
        "schema": exchangefile.ANSWER,
        "key": taken.declaration.key,
        "status": "accepted" if taken.is_accepted else "rejected",
        "code": taken.code,
        "receipt_no": f"R{taken.number:08d}" if taken.is_accepted else "",
    }
    status = 200 if taken.is_accepted else 409 if taken.code == "KEY_REUSED" else 422
    return status, exchangefile.canonical(content)


def _key_in(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    found = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(found, Ed25519PrivateKey)
    return found
