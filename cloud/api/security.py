"""Sign in, sign out, and the way to everybody's first page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from cloud import db
from cloud.api import reply, who
from cloud.parties import store as parties
from cloud.security import run as security
from cloud.security.access import Deed, Role

router = APIRouter(tags=["security"])

_SEE_OTHER = 303


class SignedIn(reply.View):
    """Who has just signed in."""

    login: str
    display_name: str
    role: Role


class Home(reply.View):
    """Where this person starts."""

    path: str


@router.get("/login", response_class=Response)
def login_page(
    request: Request, guest: Annotated[who.Guest, who.guests(Deed.SIGN_IN)], next: str = "/"
) -> Response:
    """The sign-in form."""
    return _login_page(request, guest.language, next=next, problem=None, login="", status=200)


@router.post("/login", response_model=SignedIn)
def login(
    request: Request,
    guest: Annotated[who.Guest, who.guests(Deed.SIGN_IN)],
    login: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1000)],
    form_token: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Open a session and put its token into a cookie. A browser must send the form's own token along."""
    _check_login_form(request, form_token)
    pool = request.app.state.pool
    try:
        with db.transaction(pool, who.nobody()) as conn:
            tried = security.knock(conn, login, who.address_of(request), guest.now)
        if not security.is_right(tried, password):
            raise security.WrongPassword("wrong_password")
        with db.transaction(pool, who.nobody()) as conn:
            entered = security.enter(conn, tried, guest.now)
    except (security.WrongPassword, security.TooManyTries) as refusal:
        if reply.wants_json(request):
            raise
        status = 401 if isinstance(refusal, security.WrongPassword) else 429
        response = _login_page(
            request, guest.language, next=next, problem=refusal, login=login, status=status
        )
        if status == 429:
            response.headers["Retry-After"] = str(refusal.facts["wait_s"])
        return response
    actor = entered.actor
    if reply.wants_json(request):
        response = reply.as_json(
            SignedIn(login=actor.login, display_name=actor.display_name, role=actor.role)
        )
    else:
        response = RedirectResponse(who.own_path(next), _SEE_OTHER)
    _set_cookie(request, response, who.SESSION_COOKIE, entered.token, security.SESSION_MAX.total_seconds())
    response.delete_cookie(who.FORM_COOKIE)
    return response


@router.post("/logout", response_class=Response)
def logout(request: Request, visit: Annotated[who.Visit, who.changes(Deed.SIGN_OUT)]) -> Response:
    """End the session."""
    security.sign_out(visit.conn, visit.session, visit.now)
    response: Response = (
        Response(status_code=204) if reply.wants_json(request) else RedirectResponse("/login", _SEE_OTHER)
    )
    response.delete_cookie(who.SESSION_COOKIE)
    return response


@router.get("/", response_model=Home)
def home(request: Request, visit: Annotated[who.Visit, who.visits(Deed.SEE_HOME)]) -> Response:
    """Everybody's first page: a customer's live page, the fleet for staff, the field list for technicians."""
    path = _first_path(visit)
    if reply.wants_json(request):
        return reply.as_json(Home(path=path))
    response = RedirectResponse(path, _SEE_OTHER)
    who.keep_language(request, response)
    return response


def _first_path(visit: who.Visit) -> str:
    if visit.actor.role is Role.STAFF:
        return "/fleet"
    if visit.actor.role is Role.TECHNICIAN:
        return "/field"
    if visit.actor.role is Role.REGULATOR:
        return "/regulator"
    mine = parties.list_accounts(visit.conn, visit.actor.party_id)
    return f"/accounts/{mine[0].account_id}/live" if len(mine) == 1 else "/accounts"


def _check_login_form(request: Request, form_token: str) -> None:
    """A sign-in from another site's form would put the visitor into somebody else's account."""
    who.check_origin(request)
    kept = request.cookies.get(who.FORM_COOKIE)
    if not reply.wants_json(request) and (not kept or not security.same(kept, form_token)):
        raise who.ForeignForm("foreign_form")


def _login_page(
    request: Request,
    language: str,
    *,
    next: str,
    problem: security.WrongPassword | security.TooManyTries | None,
    login: str,
    status: int,
) -> Response:
    token = request.cookies.get(who.FORM_COOKIE) or security.new_form_token()
    response = reply.page(
        request,
        language,
        "security/login.html",
        status=status,
        form_token=token,
        next=who.own_path(next),
        problem=problem,
        login=login,
    )
    _set_cookie(request, response, who.FORM_COOKIE, token, security.SESSION_MAX.total_seconds())
    who.keep_language(request, response)
    return response


def _set_cookie(request: Request, response: Response, name: str, value: str, age_s: float) -> None:
    response.set_cookie(
        name,
        value,
        max_age=int(age_s),
        httponly=True,
        samesite="lax",
        secure=request.app.state.config.http_secure_cookies,
        path="/",
    )
