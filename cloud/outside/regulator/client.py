"""The regulator over HTTP: a report goes out with its hash in the address, so that the same report again is the same one.

PUT /v1/reports/{sha256}   the report's bytes; the answer is a receipt, or says what is wrong with it
GET /v1/policies           what the regulator has published
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from cloud import signedcall
from cloud.errors import Invalid
from cloud.signedcall import Away, Line

LANGUAGE: Final = "shoudian-regulator"
RECEIPT: Final = "shoudian-report-receipt/1"
POLICIES: Final = "shoudian-policies/1"


class BadAnswer(Invalid):
    """The regulator's answer is not of its schema."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the regulator says to a report; `body` is the document itself."""

    is_accepted: bool
    receipt_no: str
    words: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A policy as the regulator publishes it."""

    number: str
    title: str
    issuer: str
    issued: date
    effective: date
    expires: date | None
    summary: str
    tags: tuple[str, ...]
    relations: tuple[tuple[str, str], ...]  # ('repeals' | 'amends' | 'implements', number)


class HttpRegulator:
    """The regulator at an address."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def submit(self, body: bytes, now: datetime) -> Receipt:
        """Hand in a report. Raises Away, Untrue, BadAnswer."""
        sha256 = hashlib.sha256(body).hexdigest()
        reply = signedcall.ask(self.line, "PUT", f"/v1/reports/{sha256}", body, now)
        if reply.status not in (200, 422):
            raise Away("line_away", problem=f"HTTP {reply.status}")
        content = _content(reply.body, RECEIPT)
        if content.get("sha256") != sha256 or content.get("status") not in ("accepted", "returned"):
            raise BadAnswer("bad_answer", problem="another report's receipt")
        words = str(content.get("words", ""))
        return Receipt(content["status"] == "accepted", str(content.get("receipt_no", "")), words, reply.body)

    def policies(self, now: datetime) -> tuple[Published, ...]:
        """Fetch what the regulator has published. Raises Away, Untrue, BadAnswer."""
        reply = signedcall.ask(self.line, "GET", "/v1/policies", b"", now)
        if reply.status != 200:
            raise Away("line_away", problem=f"HTTP {reply.status}")
        content = _content(reply.body, POLICIES)
        try:
            return tuple(_published(each) for each in content["policies"])
        except (KeyError, TypeError, ValueError) as problem:
            raise BadAnswer("bad_answer", problem=f"{type(problem).__name__}: {problem}"[:200]) from problem


def _content(body: bytes, schema: str) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("bad_answer", problem="no JSON") from None
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise BadAnswer("bad_answer", problem="another schema")
    return content


def _published(table: dict[str, Any]) -> Published:
    expires = table.get("expires")
    return Published(
        number=str(table["number"]),
        title=str(table["title"]),
        issuer=str(table["issuer"]),
        issued=date.fromisoformat(table["issued"]),
        effective=date.fromisoformat(table["effective"]),
        expires=None if expires is None else date.fromisoformat(expires),
        summary=str(table.get("summary", "")),
        tags=tuple(str(each) for each in table.get("tags", ())),
        relations=tuple((str(each["kind"]), str(each["number"])) for each in table.get("relations", ())),
    )
