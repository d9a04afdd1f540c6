"""The port to a trading platform: declarations out, answers, results and day files in."""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol

from cloud.signedcall import Reply


class Exchange(Protocol):
    """One platform. Every method but `platform` talks to it and may raise signedcall.Away, signedcall.Untrue."""

    @property
    def platform(self) -> str:
        """Its name in our books."""

    def declare(self, body: bytes, now: datetime) -> Reply:
        """Send a declaration or withdrawal. The same bytes again are the same declaration."""

    def result(self, session_no: str, now: datetime) -> Reply | None:
        """Fetch a session's result; None while there is none."""

    def day_file(self, day: date, now: datetime) -> Reply | None:
        """Fetch the platform's file of a day; None while there is none."""
