"""The simulated regulator: proves who hands in, keeps every report once, answers with signed receipts, publishes policies.

/v1/reports/{sha256} · /v1/policies          what a sender uses (docs/operations/regulator.md)
/control/plan | policies                     faults ("500", "lost", "signature", "return") and policies to publish

A report whose revision is not the next one of its period is returned, as an inspector would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
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

SENDER: Final = "SHOUDIAN-01"
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
_AGE_MAX: Final = timedelta(seconds=300)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, _Handler)
        self.simulator = simulator


class Simulator:
    """The regulator at an address, with one sender."""

    def __init__(self, folder: Path, address: tuple[str, int], now: Callable[[], datetime]) -> None:
        self.server = _Server(address, self)
        self.base = f"http://{address[0]}:{self.server.server_port}"
        self.now = now
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.own, self.sender = _key_in(folder / "regulator.pem"), _key_in(folder / "sender.pem")
        self.faults: list[str] = []
        self.policies: list[dict[str, Any]] = []
        self.receipts: dict[str, bytes] = {}
        self.reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.lock = threading.RLock()
        self._write_env()

    def run(self) -> None:
        """Serve until `close`."""
        self.server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def take(self, sha256: str, body: bytes, is_returned: bool) -> tuple[int, bytes]:
        """Keep a report once and give its receipt."""
        with self.lock:
            if sha256 in self.receipts:
                return 200, self.receipts[sha256]
            flaw = "请补充说明" if is_returned else self._flaw(sha256, body)
            content = {
                "schema": "shoudian-report-receipt/1",
                "sha256": sha256,
                "status": "returned" if flaw else "accepted",
                "receipt_no": "" if flaw else f"HB{len(self.receipts) + 1:06d}",
                "words": flaw,
            }
            receipt = json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
            if flaw:
                return 422, receipt
            said = json.loads(body)
            self.reports.setdefault((said["report"], said["period"]), []).append(said)
            self.receipts[sha256] = receipt
            (self.folder / f"{said['report']}-{said['period']}-{said['revision']}.json").write_bytes(body)
            return 200, receipt

    def _flaw(self, sha256: str, body: bytes) -> str:
        if hashlib.sha256(body).hexdigest() != sha256:
            return "内容与摘要不符"
        said = json.loads(body)
        before = self.reports.get((said["report"], said["period"]), [])
        if before and said["revision"] <= before[-1]["revision"]:
            return "版次不大于已收版次"
        return "更正须说明原因" if before and not said["reason"] else ""

    def _write_env(self) -> None:
        public = self.own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "regulator.pub.pem").write_bytes(public)
        text = (
            f"SHOUDIAN_REGULATOR_URL={self.base}\nSHOUDIAN_REGULATOR_SENDER={SENDER}\n"
            f"SHOUDIAN_REGULATOR_KEY_FILE={(self.folder / 'sender.pem').absolute()}\n"
            f"SHOUDIAN_REGULATOR_PUBLIC_KEY_FILE={(self.folder / 'regulator.pub.pem').absolute()}\n"
        )
        (self.folder / "regulator.env").write_text(text, "utf-8")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET", b"")

    def do_PUT(self) -> None:
        self._answer("PUT", self._body())

    def do_POST(self) -> None:
        self._answer("POST", self._body())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX)
        return self.rfile.read(length)

    def _answer(self, method: str, body: bytes) -> None:
        simulator = self.server.simulator
        parts = self.path.strip("/").split("/")
        if parts[0] == "control":
            said = json.loads(body)
            with simulator.lock:
                simulator.faults += said.get("faults", [])
                simulator.policies += said.get("policies", [])
            self._send(200, b"{}", {})
            return
        nonce = self._proven(f"{method} {self.path}", body)
        if nonce is None:
            self._send(401, b"{}", {})
            return
        with simulator.lock:
            fault = simulator.faults.pop(0) if simulator.faults else ""
        if fault == "500":
            self._send(500, b"", {})
            return
        status, content = 404, b"{}"
        if method == "PUT" and parts[:2] == ["v1", "reports"]:
            status, content = simulator.take(parts[2], body, fault == "return")
        elif parts == ["v1", "policies"]:
            listed = {"schema": "shoudian-policies/1", "policies": simulator.policies}
            status, content = 200, json.dumps(listed, ensure_ascii=False).encode()
        if fault == "lost":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(status, content, self._signed(nonce, status, content, fault))

    def _proven(self, question: str, body: bytes) -> str | None:
        simulator, said = self.server.simulator, self.headers
        member, at, nonce = (said.get(f"X-Shoudian-{name}", "") for name in ("Member", "At", "Nonce"))
        digest = hashlib.sha256(body).hexdigest()
        text = "\n".join(("shoudian-regulator-request/1", member, question, at, nonce, digest))
        try:
            signature = base64.b64decode(said.get("X-Shoudian-Signature", ""), validate=True)
            simulator.sender.public_key().verify(signature, text.encode())
            is_fresh = abs(simulator.now() - datetime.fromisoformat(at)) <= _AGE_MAX
        except (InvalidSignature, ValueError, TypeError):
            return None
        return nonce if is_fresh and member == SENDER else None

    def _signed(self, nonce: str, status: int, body: bytes, fault: str) -> dict[str, str]:
        simulator = self.server.simulator
        at, digest = simulator.now().isoformat(), hashlib.sha256(body).hexdigest()
        text = "\n".join(("shoudian-regulator-answer/1", nonce, str(status), at, digest))
        key = simulator.sender if fault == "signature" else simulator.own
        signature = base64.b64encode(key.sign(text.encode())).decode()
        return {"X-Shoudian-At": at, "X-Shoudian-Signature": signature}

    def _send(self, status: int, content: bytes, extra: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (extra | {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _key_in(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    found = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(found, Ed25519PrivateKey)
    return found
