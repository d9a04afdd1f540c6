"""What the routes of contracts share: the request as the shells take it, the forms of ids, files to download."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final
from urllib.parse import quote

from fastapi import Form, Path, Request, Response

from cloud.api import who
from cloud.contracts.run.desk.ask import Ask
from cloud.errors import Invalid, NotFound

BIGINT_MAX: Final = 2**63 - 1
DAY_PATTERN: Final = "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"
_PAPERS_MAX: Final = 9999

ContractId = Annotated[str, Path(pattern="^[A-Za-z0-9_.-]{1,64}$")]
PaperNo = Annotated[int, Path(ge=1, le=_PAPERS_MAX)]
Text = Annotated[str, Form(max_length=2000)]


class NoDeed(NotFound):
    """There is no such deed."""


class BadForm(Invalid):
    """A form or an address says what cannot be: too many fields, one that is too long, a day that there is not."""


def ask_of(request: Request, visit: who.Visit) -> Ask:
    """The request as the shells take it."""
    device = request.headers.get("user-agent", "")
    state = request.app.state
    return Ask(visit.session, visit.now, who.address_of(request), device, state.vault, state.timestamps)


def day_from(name: str, text: str) -> date | None:
    """Read a day of DAY_PATTERN; none for nothing. Raises BadForm for a day that is not in the calendar."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise BadForm("bad_value", name=name, found=text, allowed="2026-09-01") from None


def download(body: bytes, media_type: str, name: str) -> Response:
    """Hand a file out under a name."""
    response = Response(body, media_type=media_type)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
