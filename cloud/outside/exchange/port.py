"""The port to a trading platform: declarations out, answers, results and day files in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from cloud.errors import Unavailable


class ExchangeAway(Unavailable):
    """The platform does not answer, answers an error of its own, or is not there."""


class UntrueAnswer(Unavailable):
    """An answer is not to be believed: not signed by the platform, stale, or for another question."""

    def __init__(self, problem: str, body: bytes) -> None:
        super().__init__("untrue_answer", problem=problem)
        self.body = body


@dataclass(frozen=True, slots=True)
class Reply:
    """A document of the platform, proven to be its answer to this question; None: there is none yet."""

    status: int
    body: bytes


class Exchange(Protocol):
    """One platform. Every method talks to it and may raise ExchangeAway, UntrueAnswer."""

    @property
    def platform(self) -> str:
        """Its name in our books."""

    def declare(self, body: bytes, now: datetime) -> Reply:
        """Send a declaration or withdrawal. The same bytes again are the same declaration."""

    def result(self, session_no: str, now: datetime) -> Reply | None:
        """Fetch a session's result; None while there is none."""

    def day_file(self, day: date, now: datetime) -> Reply | None:
        """Fetch the platform's file of a day; None while there is none."""
