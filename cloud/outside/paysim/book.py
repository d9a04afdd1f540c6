"""What the simulated providers know: trades, refunds, plans to misbehave, and a diary that is on disk before anybody is told."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Final

MARKET: Final = timezone(timedelta(hours=8))
TRADES_MAX: Final = 100_000
FEE_PERMILLE: Final = 6
GOOD: Final = ("good",)


@dataclass(slots=True)
class Trade:
    """An order at a provider."""

    provider: str
    order_no: str
    amount_fen: int
    subject: str
    notify_url: str
    return_url: str = ""
    state: str = "open"  # open, paid, closed
    transaction_id: str = ""
    paid_at: datetime | None = None
    refunds: dict[str, tuple[int, datetime]] = field(default_factory=dict)  # by refund number

    @property
    def fee_fen(self) -> int:
        """What the provider keeps, to the fen."""
        return (self.amount_fen * FEE_PERMILLE * 2 + 1000) // 2000


@dataclass(frozen=True, slots=True)
class Edit:
    """A planted mistake in a day's statement."""

    op: str  # drop, amount, twice, add
    reference: str
    amount_fen: int = 0
    order_no: str = ""


class Book:
    """All trades, under one lock."""

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self.now = now
        self._lock = threading.RLock()
        self._trades: dict[tuple[str, str], Trade] = {}
        self._plans: dict[tuple[str, str], tuple[str, ...]] = {}
        self._edits: dict[tuple[str, date], tuple[Edit, ...]] = {}
        self._count = 0
        self._path = folder / "diary.jsonl"
        self._diary = self._path.open("a", encoding="utf-8")

    def open(self, trade: Trade) -> Trade | None:
        """Make a trade known; None when the number is known with another amount, or is paid or closed."""
        with self._lock:
            known = self._trades.get((trade.provider, trade.order_no))
            if known is None:
                if len(self._trades) >= TRADES_MAX:
                    return None
                self._trades[trade.provider, trade.order_no] = trade
                return trade
            if known.amount_fen != trade.amount_fen or known.state != "open":
                return None
            known.return_url = trade.return_url or known.return_url
            return known

    def find(self, provider: str, order_no: str) -> Trade | None:
        """Find a trade by our number."""
        with self._lock:
            return self._trades.get((provider, order_no))

    def find_paid(self, provider: str, transaction_id: str) -> Trade | None:
        """Find a paid trade by the provider's number."""
        with self._lock:
            return next(
                (
                    each
                    for each in self._trades.values()
                    if each.provider == provider and each.transaction_id == transaction_id
                ),
                None,
            )

    def pay(self, provider: str, order_no: str) -> Trade | None:
        """Take the money; the diary is on disk before this returns. None when it cannot be paid."""
        with self._lock:
            trade = self._trades.get((provider, order_no))
            if trade is None or trade.state != "open":
                return None
            self._count += 1
            at = self.now().replace(microsecond=0)
            head = "4200" if provider == "wechat" else "2026"
            trade.transaction_id = (
                f"{head}{at.astimezone(MARKET):%Y%m%d%H%M%S}{os.getpid():07d}{self._count:06d}"
            )
            trade.paid_at, trade.state = at, "paid"
            self._note("paid", trade, amount_fen=trade.amount_fen)
            return trade

    def close(self, provider: str, order_no: str) -> Trade | None:
        """Close an open trade; None when there is none, a paid one stays paid."""
        with self._lock:
            trade = self._trades.get((provider, order_no))
            if trade is not None and trade.state == "open":
                trade.state = "closed"
            return trade

    def refund(self, trade: Trade, refund_no: str, amount_fen: int) -> bool:
        """Give money back once per refund number; False when that is more than is left."""
        with self._lock:
            known = trade.refunds.get(refund_no)
            if known is not None:
                return known[0] == amount_fen
            given = sum(fen for fen, _ in trade.refunds.values())
            if trade.state != "paid" or amount_fen <= 0 or given + amount_fen > trade.amount_fen:
                return False
            trade.refunds[refund_no] = (amount_fen, self.now().replace(microsecond=0))
            self._note("refunded", trade, amount_fen=amount_fen, refund_no=refund_no)
            return True

    def plan(self, provider: str, order_no: str, steps: tuple[str, ...]) -> None:
        """Set what is called after the next payments: of one order, or of all with order_no ''."""
        with self._lock:
            self._plans[provider, order_no] = steps

    def steps_for(self, trade: Trade) -> tuple[str, ...]:
        """What to call after this trade was paid."""
        with self._lock:
            own = self._plans.get((trade.provider, trade.order_no))
            return own if own is not None else self._plans.get((trade.provider, ""), GOOD)

    def edit(self, provider: str, day: date, edits: tuple[Edit, ...]) -> None:
        """Plant mistakes in a day's statement."""
        with self._lock:
            self._edits[provider, day] = edits

    def day(
        self, provider: str, day: date
    ) -> tuple[list[Trade], list[tuple[Trade, str, int, datetime]], tuple[Edit, ...]]:
        """A market day's payments and refunds, and the mistakes to plant."""
        with self._lock:
            mine = [each for each in self._trades.values() if each.provider == provider]
            paid = [each for each in mine if each.paid_at is not None and _day(each.paid_at) == day]
            refunded = [
                (each, number, fen, at)
                for each in mine
                for number, (fen, at) in each.refunds.items()
                if _day(at) == day
            ]
            return paid, refunded, self._edits.get((provider, day), ())

    def diary(self) -> list[dict[str, object]]:
        """Everything that was paid and given back, from disk."""
        with self._lock, self._path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def note_call(self, trade: Trade, step: str, status: int) -> None:
        """Note in the diary that a call was made and what was answered (0: no answer)."""
        with self._lock:
            self._note("called", trade, step=step, status=status)

    def shut(self) -> None:
        """Close the diary."""
        with self._lock:
            self._diary.close()

    def _note(self, what: str, trade: Trade, **facts: object) -> None:
        entry = {
            "at": self.now().astimezone(UTC).isoformat(),
            "what": what,
            "provider": trade.provider,
            "order_no": trade.order_no,
            "transaction_id": trade.transaction_id,
            **facts,
        }
        if self._diary.closed:
            return
        self._diary.write(json.dumps(entry) + "\n")
        self._diary.flush()
        os.fsync(self._diary.fileno())


def _day(at: datetime) -> date:
    return at.astimezone(MARKET).date()


def market_text(at: datetime) -> str:
    """An instant as the providers write it."""
    return at.astimezone(MARKET).strftime("%Y-%m-%d %H:%M:%S")
