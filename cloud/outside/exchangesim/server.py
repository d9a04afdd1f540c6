"""The simulated platform's HTTP process: it proves who asks, answers signed, and fails when told to.

/v1/declarations · /v1/sessions/{no}/result · /v1/days/{day}      what a member uses (docs/operations/exchange.md)
/control/announce | close | correct | plan | edit | diary         for tests and the curious; this machine only
"""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cloud.market import exchangefile
from cloud.market.auction import AtMargin, PriceRule
from cloud.outside.exchangesim.book import Book, Taken
from cloud.outside.simserver import Handler, Line, Server, Unproven, key_in, put_public

MEMBER: Final = "SHOUDIAN-01"


class Simulator:
    """A platform at an address, with one member."""

    def __init__(self, folder: Path, address: tuple[str, int], now: Callable[[], datetime]) -> None:
        self.server = _Server(address, self)
        self.base = self.server.base
        self.now = now
        folder.mkdir(parents=True, exist_ok=True)
        own = key_in(folder / "platform.pem")
        self.line = Line("exchange", MEMBER, key_in(folder / "member.pem"), own)
        self.book = Book(folder, now)
        put_public(own, folder / "platform.pub.pem")
        text = (
            f"SHOUDIAN_EXCHANGE_URL={self.base}\nSHOUDIAN_EXCHANGE_PLATFORM=simulated\n"
            f"SHOUDIAN_EXCHANGE_MEMBER={MEMBER}\n"
            f"SHOUDIAN_EXCHANGE_KEY_FILE={(folder / 'member.pem').absolute()}\n"
            f"SHOUDIAN_EXCHANGE_PLATFORM_KEY_FILE={(folder / 'platform.pub.pem').absolute()}\n"
        )
        (folder / "exchange.env").write_text(text, "utf-8")

    def run(self) -> None:
        """Serve until `close`."""
        self.server.run()

    def close(self) -> None:
        """Stop serving."""
        self.server.end()

    def sign(self, nonce: str, status: int, body: bytes, fault: str) -> dict[str, str]:
        """The headers that sign an answer."""
        at = self.now() - (timedelta(hours=1) if fault == "stale" else timedelta(0))
        return self.line.sign(nonce, status, body, at, is_forged=fault == "signature")

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


class _Server(Server):
    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, _Handler)
        self.simulator = simulator


class _Handler(Handler):
    server: _Server
    body_bytes_max = 8 * 1024 * 1024

    def answer(self, method: str, body: bytes) -> None:
        """Answer a member, or the control door."""
        simulator = self.server.simulator
        parts = [urllib.parse.unquote(each) for each in self.path.partition("?")[0].strip("/").split("/")]
        try:
            if parts[0] == "control":
                found = simulator.control(parts[1], json.loads(body) if body else {})
                self.send(200, json.dumps(found, ensure_ascii=False).encode(), {})
                return
            fault = simulator.book.fault()
            if fault in ("500", "drop"):
                self._fail(fault)
                return
            nonce = simulator.line.prove(self.headers, f"{method} {self.path}", body, simulator.now())
            status, content = self._member(method, parts, body)
            if fault == "twice":  # the network repeated the request
                status, content = self._member(method, parts, body)
            if fault == "lost":  # accepted, and the answer never arrives
                self._fail("drop")
                return
            if fault == "late":
                threading.Event().wait(1.0)
            content = b"{}" if fault == "garbage" else content
            self.send(status, content, simulator.sign(nonce, status, content, fault))
        except Unproven as problem:
            self.send(401, json.dumps({"problem": str(problem)}).encode(), {})
        except (KeyError, ValueError, TypeError, IndexError, exchangefile.BadDocument) as problem:
            self.send(400, json.dumps({"problem": f"{type(problem).__name__}: {problem}"}).encode(), {})

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
            self.send(500, b"internal error", {})
        else:
            self.drop()


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
