"""The simulated platform's books: declarations by key, sessions, results by the clearing kernel. One lock around all.

What was accepted is appended to `book.jsonl` before it is answered and read again at the start, as a platform would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from cloud.market import auction, exchangefile
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.exchange import Declaration, Kind, PeriodResult, Result
from cloud.markettime import day_of

FAULTS: Final = ("500", "late", "lost", "signature", "stale", "twice", "garbage", "drop")


@dataclass(slots=True)
class Taken:
    """A declaration that came, with the verdict on it; arrival decides the time priority."""

    number: int
    declaration: Declaration
    body: bytes
    is_accepted: bool
    code: str


@dataclass(slots=True)
class Session:
    """A session of the platform: open until it is closed, then cleared."""

    session_no: str
    price_rule: PriceRule = PriceRule.MARGINAL
    at_margin: AtMargin = AtMargin.TIME
    closed_at: datetime | None = None
    results: list[Result] = field(default_factory=list)


class Book:
    """Everything the platform knows."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self.now = now
        self._lock = threading.RLock()
        self._taken: dict[str, Taken] = {}
        self._sessions: dict[str, Session] = {}
        self._faults: list[str] = []
        self._edits: dict[str, list[dict[str, Any]]] = {}
        self.diary: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "book.jsonl"
        if self._file.exists():
            for line in self._file.read_text("utf-8").splitlines():
                self._replay(json.loads(line))

    # ---- faults: for tests and the curious -------------------------------------------------------------------

    def plan(self, faults: list[str]) -> None:
        """Let the next requests meet these faults, one each; '' is none."""
        with self._lock:
            if unknown := [each for each in faults if each and each not in FAULTS]:
                raise ValueError(f"{unknown}: {FAULTS}")
            self._faults += faults

    def fault(self) -> str:
        """Take the fault of this request."""
        with self._lock:
            return self._faults.pop(0) if self._faults else ""

    def edit(self, day: date, edits: list[dict[str, Any]]) -> None:
        """Falsify the file of a day: {"do": "drop" | "double" | "price" | "mwh" | "invent", "key": …}."""
        with self._lock:
            self._edits[day.isoformat()] = edits

    # ---- what the platform does ------------------------------------------------------------------------------

    def announce(self, session_no: str, price_rule: PriceRule, at_margin: AtMargin) -> None:
        """Open a session with its rules."""
        with self._lock:
            self._write({"session": session_no, "price_rule": price_rule, "at_margin": at_margin})
            self._sessions[session_no] = Session(session_no, price_rule, at_margin)

    def take(self, body: bytes) -> Taken:
        """Take a declaration: the same key with the same bytes is the same declaration, with other bytes it is refused."""
        declaration = exchangefile.declaration_from(body)
        with self._lock:
            self.diary.append(f"{declaration.kind} {declaration.key}")
            known = self._taken.get(declaration.key)
            if known is not None:
                return known if known.body == body else Taken(0, declaration, body, False, "KEY_REUSED")
            code = self._flaw(declaration)
            taken = Taken(len(self._taken) + 1, declaration, body, not code, code or "OK")
            self._write({"body": body.decode(), "code": taken.code})
            self._taken[declaration.key] = taken
            return taken

    def close(self, session_no: str) -> Result:
        """Close a session's book and clear it; closed again it has the same result."""
        with self._lock:
            session = self._sessions.setdefault(session_no, Session(session_no))
            if session.closed_at is None:
                at = self.now()
                self._write({"close": session_no, "at": at.isoformat()})
                self._close(session, at)
            return session.results[-1]

    def correct(self, session_no: str, without: list[str]) -> Result:
        """Clear a closed session once more without these keys, as the next version of its result."""
        with self._lock:
            self._write({"correct": session_no, "without": without})
            return self._correct(session_no, without)

    def result(self, session_no: str) -> Result | None:
        """A session's result, once there is one."""
        with self._lock:
            session = self._sessions.get(session_no)
            return session.results[-1] if session is not None and session.results else None

    def day(self, day: date) -> dict[str, Any]:
        """The file of a day: the sessions that closed then, with all their declarations."""
        with self._lock:
            sessions = [
                each
                for each in self._sessions.values()
                if each.closed_at is not None and day_of(each.closed_at) == day
            ]
            numbers = {each.session_no for each in sessions}
            declarations = [
                _held(each) for each in self._taken.values() if each.declaration.session_no in numbers
            ]
            results = [exchangefile.result_json(each.results[-1]) for each in sessions]
            for edit in self._edits.get(day.isoformat(), []):
                _falsify(edit, declarations, results)
        return {
            "schema": exchangefile.DAY_FILE,
            "day": day.isoformat(),
            "declarations": declarations,
            "results": results,
        }

    def accepted(self) -> tuple[Taken, ...]:
        """Every declaration that was accepted, in the order in which it came."""
        with self._lock:
            return tuple(each for each in self._taken.values() if each.is_accepted)

    def _flaw(self, declaration: Declaration) -> str:
        session = self._sessions.setdefault(declaration.session_no, Session(declaration.session_no))
        if session.closed_at is not None:
            return "GATE_CLOSED"
        if declaration.replaces is None:
            return ""
        before = self._taken.get(declaration.replaces)
        return "" if before is not None and before.is_accepted else "NOTHING_TO_REPLACE"

    def _standing(self, session_no: str) -> list[Taken]:
        own = [each for each in self.accepted() if each.declaration.session_no == session_no]
        replaced = {each.declaration.replaces for each in own}
        return [
            each
            for each in own
            if each.declaration.key not in replaced and each.declaration.kind is not Kind.WITHDRAW
        ]

    def _close(self, session: Session, at: datetime) -> None:
        session.closed_at = at
        session.results.append(self._cleared(session, 1, ()))

    def _correct(self, session_no: str, without: list[str]) -> Result:
        session = self._sessions[session_no]
        session.results.append(self._cleared(session, len(session.results) + 1, without))
        return session.results[-1]

    def _cleared(self, session: Session, version: int, without: Collection[str]) -> Result:
        """What came out; who is left out stays in the result and gets nothing."""
        standing = self._standing(session.session_no)
        periods = sorted({entry.period for each in standing for entry in each.declaration.entries})
        fills = {each.declaration.key: [0] * len(each.declaration.entries) for each in standing}
        results = []
        for period in periods:
            orders = _orders([each for each in standing if each.declaration.key not in without], period)
            cleared = auction.cleared(orders, session.at_margin)
            for fill in cleared.fills:
                key, _, position = fill.order_id.rpartition("/")
                fills[key][int(position)] = fill.quantity_kwh
            price = auction.price_ticks(cleared, session.price_rule)
            results.append(
                PeriodResult(
                    period,
                    cleared.volume_kwh,
                    price,
                    cleared.last_bid_ticks,
                    cleared.last_ask_ticks,
                    cleared.bid_out_ticks,
                    cleared.ask_out_ticks,
                )
            )
        whole = {key: tuple(values) for key, values in fills.items()}
        rules = session.price_rule, session.at_margin
        return Result(session.session_no, version, *rules, tuple(results), whole)

    def _write(self, event: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def _replay(self, event: dict[str, Any]) -> None:
        if "body" in event:
            body = event["body"].encode()
            declaration = exchangefile.declaration_from(body)
            self._sessions.setdefault(declaration.session_no, Session(declaration.session_no))
            number = len(self._taken) + 1
            self._taken[declaration.key] = Taken(
                number, declaration, body, event["code"] == "OK", event["code"]
            )
        elif "close" in event:
            session = self._sessions.setdefault(event["close"], Session(event["close"]))
            self._close(session, datetime.fromisoformat(event["at"]))
        elif "correct" in event:
            self._correct(event["correct"], event["without"])
        else:
            rules = PriceRule(event["price_rule"]), AtMargin(event["at_margin"])
            self._sessions[event["session"]] = Session(event["session"], *rules)


def _orders(standing: list[Taken], period: int) -> list[Order]:
    return [
        Order(
            f"{each.declaration.key}/{position}",
            each.declaration.side,
            entry.price_ticks,
            entry.quantity_kwh,
            each.number * 10_000 + position,
            each.declaration.unit_id,
        )
        for each in standing
        for position, entry in enumerate(each.declaration.entries)
        if entry.period == period
    ]


def _held(taken: Taken) -> dict[str, Any]:
    said = json.loads(taken.body)
    return {
        "key": said["key"],
        "session": said["session"],
        "kind": said["kind"],
        "side": said["side"],
        "unit": said["unit"],
        "entries": said["entries"],
        "status": "accepted" if taken.is_accepted else "rejected",
    }


def _falsify(edit: dict[str, Any], declarations: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    own = [each for each in declarations if each["key"] == edit.get("key")]
    match edit["do"]:
        case "drop":
            declarations[:] = [each for each in declarations if each["key"] != edit["key"]]
        case "double":
            declarations += own
        case "invent":
            entry = {"period": 1, "price": "1.00", "mwh": "1.000"}
            declarations.append(
                {"key": edit["key"], "session": edit["session"], "kind": "SUBMIT", "side": Side.BUY.value}
                | {"unit": "party:1", "entries": [entry], "status": "accepted"}
            )
        case "entry":
            for each in own:
                each["entries"] = [edit["entry"], *each["entries"][1:]]
        case "price" | "mwh":
            for each in results:
                each["periods"][0][edit["do"]] = edit["value"]
