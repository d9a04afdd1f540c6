"""The platform over HTTP: one bounded request, one bounded answer, both signed; no redirects, no guesses.

Retrying is not done here but from the outbox (errands.py), so that an attempt that died is seen and counted.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from datetime import date, datetime
from typing import Final

from cloud.outside.exchange.port import ExchangeAway, Reply, UntrueAnswer
from cloud.outside.exchange.signing import Keys, flaw_of, request_headers

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
_PENDING: Final = 404
_VERDICTS: Final = (200, 409, 422)  # the platform has understood; its body says what it decided


class HttpExchange:
    """A platform at an address."""

    def __init__(self, platform: str, url: str, keys: Keys, timeout_s: float = TIMEOUT_S) -> None:
        self._platform = platform
        self._url = urllib.parse.urlsplit(url)
        self._keys = keys
        self._timeout_s = timeout_s

    @property
    def platform(self) -> str:
        """Its name in our books."""
        return self._platform

    def declare(self, body: bytes, now: datetime) -> Reply:
        """Send a declaration or withdrawal."""
        reply = self._ask("POST", "/v1/declarations", body, now)
        if reply.status not in _VERDICTS:
            raise ExchangeAway("exchange_away", problem=f"HTTP {reply.status}")
        return reply

    def result(self, session_no: str, now: datetime) -> Reply | None:
        """Fetch a session's result."""
        return self._fetch(f"/v1/sessions/{urllib.parse.quote(session_no, safe='')}/result", now)

    def day_file(self, day: date, now: datetime) -> Reply | None:
        """Fetch the platform's file of a day."""
        return self._fetch(f"/v1/days/{day.isoformat()}", now)

    def _fetch(self, path: str, now: datetime) -> Reply | None:
        reply = self._ask("GET", path, b"", now)
        if reply.status == _PENDING:
            return None
        if reply.status != 200:
            raise ExchangeAway("exchange_away", problem=f"HTTP {reply.status}")
        return reply

    def _ask(self, method: str, path: str, body: bytes, now: datetime) -> Reply:
        path = self._url.path.rstrip("/") + path
        headers = request_headers(self._keys, f"{method} {path}", body, now)
        nonce = headers["X-Exchange-Nonce"]
        line = self._line()
        try:
            line.request(method, path, body or None, headers | {"Content-Type": "application/json"})
            answer = line.getresponse()
            content = answer.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as problem:
            reason = f"{type(problem).__name__}: {problem}"
            raise ExchangeAway("exchange_away", problem=reason[:200]) from problem
        finally:
            line.close()
        if len(content) > ANSWER_BYTES_MAX:
            raise ExchangeAway("exchange_away", problem=f"more than {ANSWER_BYTES_MAX} bytes")
        if answer.status >= 500:
            raise ExchangeAway("exchange_away", problem=f"HTTP {answer.status}")
        said = {name.lower(): value for name, value in answer.getheaders()}
        if flaw := flaw_of(self._keys, nonce, answer.status, (said, content), now):
            raise UntrueAnswer(f"{flaw}, HTTP {answer.status}", content)
        return Reply(answer.status, content)

    def _line(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=self._timeout_s, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
