"""Whose request this is: cookie -> session -> Actor, and the connection that carries the actor's scope.

A route states its deed by the dependency it asks for, and there is no other way to a connection:

    def bills(visit: Annotated[Visit, visits(Deed.SEE_BILLS)], …)          a signed-in person who looks
    def leave(visit: Annotated[Visit, changes(Deed.SIGN_OUT)], …)          … who changes something (form token)
    def login_page(guest: Annotated[Guest, guests(Deed.SIGN_IN)], …)       anybody

The dependencies have scope="function", so that commit comes before the answer (a plain `yield` dependency ends
after the answer has been sent). This is one of the few places that read the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Protocol

from fastapi import Depends, Form, Path, Request, Response

from cloud import db
from cloud.errors import Forbidden, NotFound
from cloud.parties import store as parties
from cloud.parties.store import AccountRow
from cloud.security import run as security
from cloud.security.access import Actor, Deed, NotForRole, Subject, may
from cloud.words import LANGUAGES

SESSION_COOKIE: Final = "shoudian_session"
FORM_COOKIE: Final = "shoudian_form"
LANGUAGE_COOKIE: Final = "shoudian_language"
FORM_HEADER: Final = "x-form-token"
_LANGUAGE_KEPT: Final = timedelta(days=365)

AccountId = Annotated[str, Path(pattern="^[0-9]{10,13}$")]


class ForeignForm(Forbidden):
    """The form was not ours, or was loaded in another session."""


class NoAccount(NotFound):
    """There is no such account, or this transaction does not see it."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody of whom nothing is known but the language."""

    language: str
    now: datetime
    deed: Deed


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a signed-in person: one transaction with the person's scope."""

    conn: db.Conn
    session: security.Session
    language: str
    now: datetime
    deed: Deed

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return self.session.actor

    @property
    def csrf_token(self) -> str:
        """What this person's forms must carry."""
        return self.session.csrf_token


class Declared(Protocol):
    """What the authorization test looks for in a route's dependencies."""

    deed: Deed


class _Guests:
    def __init__(self, deed: Deed) -> None:
        self.deed = deed

    def __call__(self, request: Request) -> Guest:
        if not may(None, self.deed, None):
            raise NotForRole("not_for_role", deed=self.deed.value)
        return Guest(language_of(request, None), clock(), self.deed)


class _Visits:
    def __init__(self, deed: Deed) -> None:
        self.deed = deed

    def __call__(self, request: Request) -> Iterator[Visit]:
        yield from _open(request, self.deed, form_token=None)


class _Changes:
    def __init__(self, deed: Deed) -> None:
        self.deed = deed

    def __call__(self, request: Request, form_token: Annotated[str, Form()] = "") -> Iterator[Visit]:
        yield from _open(request, self.deed, form_token=form_token or request.headers.get(FORM_HEADER, ""))


def guests(deed: Deed) -> Any:
    """Anybody may ask, signed in or not; no connection is opened."""
    return Depends(_Guests(deed))


def visits(deed: Deed) -> Any:
    """A signed-in person looks at something."""
    return Depends(_Visits(deed), scope="function")


def changes(deed: Deed) -> Any:
    """A signed-in person changes something: the request must carry the session's form token."""
    return Depends(_Changes(deed), scope="function")


def clock() -> datetime:
    """The instant of this request."""
    return datetime.now(UTC)  # noqa: TID251  # a composition root: see the module's docstring


def session_in(conn: db.Conn, request: Request, now: datetime, *, is_use: bool) -> security.Session:
    """The session of the request's cookie; the transaction then has its person's scope. Raises NoSession."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        raise security.NoSession("no_session")
    key = request.app.state.config.sealing_key
    session = security.find_session(conn, token, now, is_use=is_use, sealing_key=key)
    actor = session.actor
    name = security.actor_name(actor)
    db.take_scope(conn, db.Scope(db.ProcessRole.API, actor.role.value, actor.party_id, name))
    return session


@contextmanager
def between(visit: Visit) -> Iterator[None]:
    """Commit what the request did so far, and go on in a new transaction of the same person: for slow calls of others."""
    visit.conn.commit()
    yield
    actor = visit.actor
    name = security.actor_name(actor)
    db.take_scope(visit.conn, db.Scope(db.ProcessRole.API, actor.role.value, actor.party_id, name))


def nobody() -> db.Scope:
    """The scope of a transaction before it is known who asks: it sees no customer's rows."""
    return db.Scope(db.ProcessRole.API)


def check_origin(request: Request) -> None:
    """Refuse a form that another site sent. Raises ForeignForm.

    Browsers name the sending site in Origin; the cookie is SameSite=Lax as well.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise ForeignForm("foreign_form")


def account_for(visit: Visit, account_id: str) -> AccountRow:
    """The account, if the visitor may do this visit's deed to it. Raises NoAccount, NotYours, NotForRole."""
    account = parties.find_account(visit.conn, account_id)
    if account is None:
        raise NoAccount("not_found", kind="account")
    subject = Subject("account", account_id, account.party_id)
    security.allow(visit.conn, visit.actor, visit.deed, subject, visit.now)
    return account


def language_of(request: Request, actor: Actor | None) -> str:
    """The language asked for: this link's ?lang, else the cookie's, else the person's, else Chinese."""
    asked = (
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        None if actor is None else actor.language,
    )
    return next((language for language in asked if language in LANGUAGES), LANGUAGES[0])


def keep_language(request: Request, response: Response) -> None:
    """Remember the language that ?lang asked for."""
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(
            LANGUAGE_COOKIE,
            request.query_params["lang"],
            max_age=int(_LANGUAGE_KEPT.total_seconds()),
            samesite="lax",
            httponly=True,
            secure=request.app.state.config.http_secure_cookies,
        )


def own_path(path: str) -> str:
    """The path if it leads to one of our own pages, else the first page: nobody is sent elsewhere."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_own and "\\" not in path else "/"


def address_of(request: Request) -> str:
    """Where the request comes from, for limits and the audit row."""
    return request.client.host if request.client else "unknown"


def _open(request: Request, deed: Deed, form_token: str | None) -> Iterator[Visit]:
    now = clock()
    with db.transaction(request.app.state.pool, nobody()) as conn:
        session = session_in(conn, request, now, is_use=True)
        request.state.actor = session.actor
        if form_token is not None:
            check_origin(request)
            if not security.same(session.csrf_token, form_token):
                raise ForeignForm("foreign_form")
        if not may(session.actor, deed, None):
            raise NotForRole("not_for_role", deed=deed.value)
        yield Visit(conn, session, language_of(request, session.actor), now, deed)
