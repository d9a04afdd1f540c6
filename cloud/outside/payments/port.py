"""The port to payment providers: what we ask of one, and what its calls come to once they are proven genuine."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from cloud.billing.payment import Notified, Order, Provider
from cloud.billing.reconcile import Statement
from cloud.errors import Invalid, Refused, Unavailable

CALL_AGE_MAX: Final = timedelta(seconds=300)  # either way; the libraries check no time at all
TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024


class UntrueCall(Invalid):
    """A provider's call is not to be believed; `kind` says why: forged, stale or foreign."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__("untrue_call", kind=kind, detail=detail)

    @property
    def kind(self) -> str:
        """Which of the reasons it is."""
        return str(self.facts["kind"])


class ProviderRefused(Refused):
    """The provider understood and says no; asking the same again cannot help."""


@dataclass(frozen=True, slots=True)
class Genuine:
    """A call that was proven to come from the provider, lately, to us. Without `notified` it is about something else."""

    nonce: str
    about: str
    notified: Notified | None


class Standing(StrEnum):
    """How an order or a refund stands at the provider."""

    PAID = "paid"
    PENDING = "pending"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Asked:
    """The provider's answer about an order."""

    standing: Standing
    notified: Notified | None


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """Money to give back: part of what an order brought."""

    refund_no: str
    order_no: str
    transaction_id: str
    refund_fen: int
    whole_fen: int
    reason: str


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """What a provider wants to hear."""

    status: int
    media_type: str
    body: str


class Payments(Protocol):
    """One provider. Every method but `read` and `answer` talks to it and may raise Unavailable, ProviderRefused."""

    @property
    def provider(self) -> Provider:
        """Which provider this is."""

    def offer(self, order: Order, return_url: str) -> str:
        """Make the order known; give what the QR code says, or the page where a phone pays. Safe to repeat."""

    def ask(self, order_no: str) -> Asked:
        """Ask how an order stands."""

    def close(self, order_no: str) -> None:
        """See to it that the order cannot be paid any more. Safe to repeat."""

    def refund(self, refund: RefundOrder) -> Standing:
        """Give money back; PAID when it has gone, PENDING while it is under way. Safe to repeat."""

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Genuine:
        """Prove a call genuine, fresh and ours, and read it. Raises UntrueCall."""

    def answer(self, *, is_taken: bool) -> CallAnswer:
        """What to answer so that the provider stops calling, or calls again."""

    def statement(self, day: date) -> Statement:
        """Fetch a trading day's statement; without lines when nothing happened that day."""


def fetch(url: str) -> bytes:
    """Get a bounded answer. A plain-http address (a simulator) is never reached through a proxy. Raises Unavailable."""
    handlers = [urllib.request.ProxyHandler({})] if url.startswith("http://") else []
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read(ANSWER_BYTES_MAX + 1)
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as problem:
        raise Unavailable("provider_unavailable", problem=str(problem)[:200]) from problem
    if len(content) > ANSWER_BYTES_MAX:
        raise Unavailable("provider_unavailable", problem=f"more than {ANSWER_BYTES_MAX} bytes")
    return content


def check_age(at: datetime, now: datetime) -> None:
    """Raise UntrueCall for a call whose time is more than CALL_AGE_MAX from now, either way."""
    if abs(now - at) > CALL_AGE_MAX:
        raise UntrueCall("stale", f"sent {at.isoformat()}, read {now.isoformat()}")
