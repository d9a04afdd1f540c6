"""The platform over HTTP. Retrying is not done here but from the outbox (errands.py), so that every attempt is counted."""

from __future__ import annotations

import urllib.parse
from datetime import date, datetime
from typing import Final

from cloud import signedcall
from cloud.signedcall import Away, Line, Reply

LANGUAGE: Final = "shoudian-exchange"
_PENDING: Final = 404
_VERDICTS: Final = (200, 409, 422)  # the platform has understood; its body says what it decided


class HttpExchange:
    """A platform at an address."""

    def __init__(self, platform: str, line: Line) -> None:
        self._platform = platform
        self.line = line

    @property
    def platform(self) -> str:
        """Its name in our books."""
        return self._platform

    def declare(self, body: bytes, now: datetime) -> Reply:
        """Send a declaration or withdrawal."""
        reply = signedcall.ask(self.line, "POST", "/v1/declarations", body, now)
        if reply.status not in _VERDICTS:
            raise Away("line_away", problem=f"HTTP {reply.status}")
        return reply

    def result(self, session_no: str, now: datetime) -> Reply | None:
        """Fetch a session's result."""
        return self._fetch(f"/v1/sessions/{urllib.parse.quote(session_no, safe='')}/result", now)

    def day_file(self, day: date, now: datetime) -> Reply | None:
        """Fetch the platform's file of a day."""
        return self._fetch(f"/v1/days/{day.isoformat()}", now)

    def _fetch(self, path: str, now: datetime) -> Reply | None:
        reply = signedcall.ask(self.line, "GET", path, b"", now)
        if reply.status == _PENDING:
            return None
        if reply.status != 200:
            raise Away("line_away", problem=f"HTTP {reply.status}")
        return reply
