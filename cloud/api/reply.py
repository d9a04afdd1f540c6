"""One view model, two clothes: JSON for programs, a page or a fragment for browsers. And how numbers look.

A handler makes one pydantic view and calls `answer`; it never formats. Integers keep their base unit in the view
(`_wh`, `_fen`, `_w`) and become kWh, yuan and kW here, so a number cannot differ between page and API.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from importlib import resources
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict

from cloud import markettime, notices, words
from cloud.api import navigation, who
from cloud.money import yuan
from cloud.notices import Reader
from cloud.parties import store as parties
from cloud.security import run as security
from cloud.security.access import Actor, Deed, Role, may

MINUS: Final = "\N{MINUS SIGN}"
ABSENT: Final = "—"
UNREAD_MOST: Final = 100


class View(BaseModel):
    """Base of all view models: frozen, nothing unexpected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def wants_json(request: Request) -> bool:
    """Programs get JSON: everybody who does not ask for text/html and is not htmx on one of our pages."""
    return "text/html" not in request.headers.get("accept", "") and "hx-request" not in request.headers


def answer(
    request: Request,
    visit: who.Visit,
    template: str,
    view: View,
    *,
    account_id: str | None = None,
    drawing: object = None,
) -> Response:
    """Give the view as JSON or as a page with the person's header and navigation.

    `drawing` is what the page needs besides the view to draw it; it holds no number that the view has not.
    """
    if wants_json(request):
        return as_json(view)
    mine = (
        parties.list_accounts(visit.conn, visit.actor.party_id) if visit.actor.role is Role.CUSTOMER else ()
    )
    response = page(
        request,
        visit.language,
        template,
        view=view,
        drawing=drawing,
        actor=visit.actor,
        form_token=visit.csrf_token,
        accounts=mine,
        account_id=account_id or (mine[0].account_id if mine else None),
        unread=_unread(request, visit),
        person=_namer(visit),
    )
    who.keep_language(request, response)
    return response


def _unread(request: Request, visit: who.Visit) -> int | None:
    """What the header's bell tells, up to UNREAD_MOST; None where there is none: no inbox, or only a part of a page."""
    if "hx-request" in request.headers or not may(visit.actor, Deed.SEE_NOTICES, None):
        return None
    return notices.unread_up_to(visit.conn, Reader(visit.actor.user_id, visit.actor.party_id), UNREAD_MOST)


def _namer(visit: who.Visit) -> Callable[[str | None], str]:
    """What a page calls an actor (`user:5`): the house reads names, a party those of its own people and else what they are."""
    known: dict[str, str] = {}

    def person(actor: str | None) -> str:
        if actor and actor.startswith(("job:", "clock")):
            return words.say(visit.language, "entity_actor.clock")
        if not actor or not security.is_person(actor):
            return actor or ""
        if actor not in known:
            name, party_id = security.person(visit.conn, actor) or ("", None)
            kind = "house" if party_id is None else "other"
            is_told = name and visit.actor.party_id in (None, party_id)
            known[actor] = name if is_told else words.say(visit.language, f"entity_actor.{kind}")
        return known[actor]

    return person


def as_json(view: View, status: int = 200) -> Response:
    """The view as JSON."""
    return Response(view.model_dump_json(), status, media_type="application/json")


def page(
    request: Request, language: str, template: str, *, status: int = 200, **context: object
) -> HTMLResponse:
    """A template as a page."""
    everything: dict[str, object] = {
        "actor": None,
        "accounts": (),
        "account_id": None,
        "form_token": "",
        "unread": None,
    }
    everything |= {"request_path": request.url.path, "deed_of": Deed, "may": may} | context
    actor, account_id = everything["actor"], everything["account_id"]
    assert isinstance(actor, Actor | None)
    assert isinstance(account_id, str | None)
    everything["menus"] = navigation.menus_for(actor, account_id)
    everything["own_links"] = navigation.own_links(actor)
    return HTMLResponse(fragment(language, template, **everything), status)


def fragment(language: str, template: str, **context: object) -> str:
    """A template as text."""
    return _ENVIRONMENT.get_template(template).render(
        t=_speaker(language), language=language, html_language=words.HTML_LANGUAGE[language], **context
    )


def asset(name: str) -> str:
    """The address of a static file, with its content's hash so that it may be kept for ever."""
    if name not in _ASSETS:
        content = resources.files("cloud.api").joinpath("static", name).read_bytes()
        _ASSETS[name] = f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
    return _ASSETS[name]


def grouped(number: Decimal | int) -> str:
    """A number as printed: 1,234.56, with a real minus sign."""
    return f"{number:,}".replace("-", MINUS)


def kwh(wh: int | None, decimals: int = 2) -> str:
    """Watt-hours as kWh."""
    return ABSENT if wh is None else scaled(wh, 3, decimals)


def kilowatts(watts: int | None) -> str:
    """Watts as kW with a watt's worth of decimals for small loads, fewer for large ones."""
    if watts is None:
        return ABSENT
    return scaled(watts, 3, 3 if abs(watts) < 10_000 else 2 if abs(watts) < 100_000 else 1)


def scaled(number: int, places: int, decimals: int) -> str:
    """An integer divided by 10**places, shown with that many decimals, half away from zero."""
    exact = Decimal(number).scaleb(-places)
    return grouped(exact.quantize(Decimal(1).scaleb(-decimals), rounding="ROUND_HALF_UP"))


def yuan_text(amount_fen: int) -> str:
    """Fen as yuan with two decimals."""
    return grouped(yuan(amount_fen))


def local(instant: datetime | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
    """An instant on the market's clock."""
    return ABSENT if instant is None else markettime.market_local(instant).strftime(pattern)


def plain(number: Decimal | str | int) -> str:
    """A decimal as printed, without an exponent and without zeros that nobody published."""
    value = Decimal(number)
    text = f"{value:,f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def _speaker(language: str) -> Callable[..., str]:
    def t(key: str, **facts: object) -> str:
        return words.say(language, key, **facts)

    return t


def _json_attribute(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _iso(value: datetime | date) -> str:
    return value.isoformat()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cloud.api", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "kwh": kwh,
        "kw": kilowatts,
        "yuan": yuan_text,
        "local": local,
        "grouped": grouped,
        "scaled": scaled,
        "plain": plain,
        "as_json": _json_attribute,
        "iso": _iso,
        "slot_label": markettime.slot_label,
    }
    environment.filters |= filters
    environment.globals |= {"asset": asset, "person": str}
    return environment


_ASSETS: Final[dict[str, str]] = {}
_ENVIRONMENT: Final = _environment()
