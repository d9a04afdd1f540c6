"""The simulated regulator: proves who hands in, keeps every report once, answers with signed receipts, publishes policies.

/v1/reports/{sha256} · /v1/policies          what a sender uses (docs/operations/regulator.md)
/control/plan | policies                     faults ("500", "lost", "signature", "return") and policies to publish

A report whose revision is not the next one of its period is returned, as an inspector would.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cloud.outside.simserver import Handler, Line, Server, Unproven, key_in, put_public

SENDER: Final = "SHOUDIAN-01"


class Simulator:
    """The regulator at an address, with one sender."""

    def __init__(self, folder: Path, address: tuple[str, int], now: Callable[[], datetime]) -> None:
        self.server = _Server(address, self)
        self.base = self.server.base
        self.now = now
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.own = key_in(folder / "regulator.pem")
        self.line = Line("regulator", SENDER, key_in(folder / "sender.pem"), self.own)
        self.faults: list[str] = []
        self.policies: list[dict[str, Any]] = []
        self.receipts: dict[str, bytes] = {}
        self.reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.lock = threading.RLock()
        self._write_env()

    def run(self) -> None:
        """Serve until `close`."""
        self.server.run()

    def close(self) -> None:
        """Stop serving."""
        self.server.end()

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
        put_public(self.own, self.folder / "regulator.pub.pem")
        text = (
            f"SHOUDIAN_REGULATOR_URL={self.base}\nSHOUDIAN_REGULATOR_SENDER={SENDER}\n"
            f"SHOUDIAN_REGULATOR_KEY_FILE={(self.folder / 'sender.pem').absolute()}\n"
            f"SHOUDIAN_REGULATOR_PUBLIC_KEY_FILE={(self.folder / 'regulator.pub.pem').absolute()}\n"
        )
        (self.folder / "regulator.env").write_text(text, "utf-8")


class _Server(Server):
    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, _Handler)
        self.simulator = simulator


class _Handler(Handler):
    server: _Server
    body_bytes_max = 32 * 1024 * 1024

    def answer(self, method: str, body: bytes) -> None:
        """Answer the sender, or the control door."""
        simulator = self.server.simulator
        parts = self.path.strip("/").split("/")
        if parts[0] == "control":
            said = json.loads(body)
            with simulator.lock:
                simulator.faults += said.get("faults", [])
                simulator.policies += said.get("policies", [])
            self.send(200, b"{}", {})
            return
        try:
            nonce = simulator.line.prove(self.headers, f"{method} {self.path}", body, simulator.now())
        except Unproven:
            self.send(401, b"{}", {})
            return
        with simulator.lock:
            fault = simulator.faults.pop(0) if simulator.faults else ""
        if fault == "500":
            self.send(500, b"", {})
            return
        status, content = 404, b"{}"
        if method == "PUT" and parts[:2] == ["v1", "reports"]:
            status, content = simulator.take(parts[2], body, fault == "return")
        elif parts == ["v1", "policies"]:
            listed = {"schema": "shoudian-policies/1", "policies": simulator.policies}
            status, content = 200, json.dumps(listed, ensure_ascii=False).encode()
        if fault == "lost":
            self.drop()
            return
        is_forged = fault == "signature"
        signed = simulator.line.sign(nonce, status, content, simulator.now(), is_forged=is_forged)
        self.send(status, content, signed)
