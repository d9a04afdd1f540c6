"""What went wrong, as an answer: error -> status table, a page or JSON in the reader's language."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from cloud import words
from cloud.api import reply, who
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow, Refused, Unavailable
from cloud.security import run as security_run

log = logging.getLogger(__name__)

STATUS: Final[dict[type[Exception], int]] = {
    security_run.NoSession: 401,
    security_run.WrongPassword: 401,
    security_run.WrongProof: 401,
    security_run.StepUpNeeded: 401,  # as RFC 9470 answers who is signed in, but not surely enough
    security_run.TooManyTries: 429,
    NotFound: 404,
    Forbidden: 403,
    Invalid: 422,
    Conflict: 409,
    NotNow: 409,
    Unavailable: 503,
}


def handle_in(app: FastAPI) -> None:
    """Let the application answer every problem so."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def answer(request: Request, problem: Exception) -> Response:
    """The answer to a problem that came up outside the application's own machinery."""
    return await next(HANDLERS[kind] for kind in type(problem).__mro__ if kind in HANDLERS)(request, problem)


def status_of(problem: Exception) -> int:
    return next((STATUS[kind] for kind in type(problem).__mro__ if kind in STATUS), 400)


async def _refused(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, (Refused, Unavailable))
    status = status_of(problem)
    if status >= 500:
        log.warning("http.unavailable path=%s problem=%s", request.url.path, problem)
    if isinstance(problem, security_run.StepUpNeeded) and not reply.wants_json(request):
        return _to_step_up(request)
    if status == 401 and "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": "/login"})
    if status == 401 and request.method == "GET" and not reply.wants_json(request):
        return RedirectResponse(f"/login?next={request.url.path}", 303)
    key = problem.key if words.known(f"problem.{problem.key}") else f"status_{status}"
    facts = problem.facts if key == problem.key else {}
    return _problem(request, status, key, facts)


def _to_step_up(request: Request) -> Response:
    """Ask for the proof, and lead back to the page whose form it was."""
    page = urlsplit(request.headers.get("referer", ""))
    back = f"{page.path}?{page.query}" if page.query else page.path
    target = f"/security?{urlencode({'next': back or '/security'})}"
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


async def _not_understood(request: Request, problem: Exception) -> Response:
    """A path, query or form that does not fit its declared shape. A path that cannot exist is simply not found."""
    assert isinstance(problem, RequestValidationError)
    errors = problem.errors()
    status = 404 if all(error["loc"][:1] == ("path",) for error in errors) else 422
    return _problem(request, status, f"status_{status}", {})


async def _http_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    key = f"status_{problem.status_code}"
    key = key if words.known(f"problem.{key}") else "status_400"
    return _problem(request, problem.status_code, key, {}, headers=problem.headers)


async def _bug(request: Request, problem: Exception) -> Response:
    log.error("http.bug path=%s", request.url.path, exc_info=problem)
    return _problem(request, 500, "status_500", {})


def _problem(
    request: Request, status: int, key: str, facts: dict[str, object], headers: Any = None
) -> Response:
    language = who.language_of(request, getattr(request.state, "actor", None))
    text = words.say(language, f"problem.{key}", **facts)
    response: Response
    if reply.wants_json(request):
        body = {"status": status, "problem": key, "text": text, "facts": jsonable_encoder(facts)}
        response = JSONResponse(body, status)
    else:
        response = reply.page(
            request,
            language,
            "problem.html",
            status=status,
            code=status,
            phrase=HTTPStatus(status).phrase,
            text=text,
        )
    for name, value in (headers or {}).items():
        response.headers[name] = value
    if "wait_s" in facts:
        response.headers["Retry-After"] = str(facts["wait_s"])
    return response


HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    Refused: _refused,
    Unavailable: _refused,
    RequestValidationError: _not_understood,
    HTTPException: _http_problem,
    Exception: _bug,
}
