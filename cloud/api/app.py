"""Composition root of the HTTP process: pool, routers, error -> status table, headers, `serve(config)`.

Pages may load scripts, styles and pictures from this host only and contain none inline
(Content-Security-Policy); every answer but static files is private and not kept by caches.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import cached_property
from http import HTTPStatus
from importlib import resources
from types import FrameType
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud import db, words
from cloud.api import (
    billing,
    contractdesk,
    contracts,
    corrections,
    credit,
    curve,
    devices,
    entities,
    entitydesk,
    exchange,
    green,
    hooks,
    intake,
    ledger,
    listings,
    live,
    metering,
    negotiations,
    notices,
    offers,
    payments,
    policies,
    questions,
    receivables,
    regulator,
    reply,
    reports,
    response,
    review,
    risk,
    rolling,
    security,
    settlement,
    stepup,
    tariffs,
    trading,
    tradingdesk,
    transfers,
    upload,
    who,
)
from cloud.billing.store.published import packaged_catalogue
from cloud.config import CloudConfig
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow, Refused, Unavailable
from cloud.files import open_vault
from cloud.outside.payments import offered
from cloud.security import run as security_run
from cloud.security.access import Deed

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 64 * 1024
FILES_BYTES_MAX: Final = upload.FILE_BYTES_MAX + BODY_BYTES_MAX  # a file of the most, and its form
SHUTDOWN_S: Final = 5
CONNECTIONS_WAITING_MAX: Final = 4096  # a gate's burst; the kernel may allow fewer

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

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class PortInUse(Unavailable):
    """The address cannot be listened on: somebody else does, or this process may not."""


class Health(reply.View):
    """Whether this process can answer."""

    status: str
    database: str


def make_app(config: CloudConfig) -> FastAPI:
    """Compose the application; the pool opens with its lifespan."""
    app = FastAPI(
        title="售电 Shoudian",
        description="用电、账单与采集。Usage, bills and metering. 程序请带 Accept: application/json。",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.config = config
    app.state.hub = live.Hub(config.dsn)
    app.state.curves = curve.Curves()
    app.state.catalogue = packaged_catalogue()
    app.state.payments = offered(config)
    app.state.intake = intake.Intake()
    app.state.receipt_signer = intake.signer(config.receipt_key_file)
    app.state.vault = open_vault(config.files)
    app.include_router(trading.gate)
    for router in (security.router, metering.router, billing.router, devices.router, live.router):
        app.include_router(router)
    app.include_router(review.router)
    app.include_router(questions.router)
    app.include_router(offers.router)
    app.include_router(tariffs.router)
    app.include_router(ledger.router)
    app.include_router(corrections.router)
    app.include_router(settlement.router)
    for deals in (listings.router, rolling.router, negotiations.router, transfers.router):
        app.include_router(deals)
    app.include_router(tradingdesk.router)
    app.include_router(trading.router)
    app.include_router(stepup.router)
    app.include_router(credit.router)
    app.include_router(risk.router)
    app.include_router(notices.router)
    for oversight in (exchange.router, reports.router, regulator.router, policies.router):
        app.include_router(oversight)
    app.include_router(green.router)
    app.include_router(response.router)
    app.include_router(contracts.router)
    app.include_router(contractdesk.router)
    app.include_router(curve.router)
    app.include_router(entities.router)
    app.include_router(entitydesk.router)
    for money in (hooks.router, payments.router, receivables.router):
        app.include_router(money)
    _add_own_routes(app)
    app.mount("/static", StaticFiles(directory=str(resources.files("cloud.api") / "static")), name="static")
    app.add_middleware(_Headers, secure=config.http_secure_cookies)
    app.add_middleware(_BodyLimit, bytes_max=BODY_BYTES_MAX, routes=lambda: app.routes)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Unavailable, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _bug)
    return app


def serve(config: CloudConfig) -> None:
    """Serve pages and API until SIGINT or SIGTERM. Raises PortInUse."""
    listening = _listen(config.http_host, config.http_port)
    app = make_app(config)
    settings = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        # Who is not a proxy of ours could otherwise pass for any address and so evade, or fill, the sign-in limits.
        proxy_headers=bool(config.http_trusted_proxies),
        forwarded_allow_ips=config.http_trusted_proxies,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    with listening:
        _Server(settings, app.state.hub).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS_WAITING_MAX)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise PortInUse("port_in_use", host=host, port=port, problem=reason) from problem


class _Server(uvicorn.Server):
    """uvicorn that tells open event streams to end first; it would wait for them otherwise."""

    def __init__(self, config: uvicorn.Config, hub: live.Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams, then stop as uvicorn does."""
        self._hub.close()
        super().handle_exit(sig, frame)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = db.open_pool(app.state.config.dsn, size_max=app.state.config.pool_size_max)
    app.state.hub.open()
    app.state.intake.open(app.state.pool)
    try:
        yield
    finally:
        await run_in_threadpool(app.state.intake.close)
        app.state.hub.close()
        await run_in_threadpool(app.state.hub.wait_closed)
        await run_in_threadpool(app.state.pool.close)


def _add_own_routes(app: FastAPI) -> None:
    @app.get("/healthz", response_model=Health, tags=["health"])
    def healthz(request: Request, guest: Annotated[who.Guest, who.guests(Deed.READ_HEALTH)]) -> Response:
        """Whether this process answers and reaches its database."""
        try:
            with db.transaction(request.app.state.pool, who.nobody()):
                pass  # taking the scope has asked the server
        except Unavailable:
            return reply.as_json(Health(status="unavailable", database="down"), 503)
        return reply.as_json(Health(status="ok", database="up"))

    @app.get("/openapi.json", response_class=JSONResponse, tags=["api"])
    def openapi_text(guest: Annotated[who.Guest, who.guests(Deed.READ_API_TEXT)]) -> JSONResponse:
        """The description of this API."""
        return JSONResponse(app.openapi())

    @app.get("/docs", response_class=Response, tags=["api"])
    def docs(request: Request, guest: Annotated[who.Guest, who.guests(Deed.READ_API_TEXT)]) -> Response:
        """The description of this API as a page."""
        return reply.page(request, guest.language, "docs.html", api=app.openapi())


class _Headers:
    """Adds the security headers to every answer, and forbids caching of all but static files."""

    def __init__(self, app: ASGIApp, secure: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if secure:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                cache = "public, max-age=31536000, immutable" if is_static else "no-store"
                extra = self._headers | {"Cache-Control": cache}
                named = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in extra.items()
                        if name.lower().encode() not in named
                    ),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _BodyLimit:
    """Refuses bodies over the limit, declared or not, before anybody parses them.

    A route that declares that it takes files (upload.takes_files) has a limit of its own, for who is signed in.
    """

    def __init__(self, app: ASGIApp, bytes_max: int, routes: Callable[[], Iterable[object]]) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        bytes_max = self._bytes_max
        if scope["method"] == "POST" and who.SESSION_COOKIE.encode() in headers.get(b"cookie", b""):
            bytes_max = FILES_BYTES_MAX if self._takes_files(scope["path"]) else bytes_max
        if not declared.isdigit() or int(declared) > bytes_max:
            await PlainTooLarge(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > bytes_max:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)

    def _takes_files(self, path: str) -> bool:
        return any(pattern.match(path) for pattern in self._file_paths)

    @cached_property
    def _file_paths(self) -> tuple[re.Pattern[str], ...]:
        return tuple(
            route.path_regex
            for route in _routes_within(self._routes())
            if route.methods and "POST" in route.methods and upload.takes_files(route.dependant)
        )


def _routes_within(routes: Iterable[object]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            inner = getattr(route, "original_router", None)
            yield from _routes_within(getattr(inner, "routes", ()))


PlainTooLarge: Final = Response("413 Content Too Large\n", 413, media_type="text/plain")


def _status_of(problem: Exception) -> int:
    return next((STATUS[kind] for kind in type(problem).__mro__ if kind in STATUS), 400)


async def _refused(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, (Refused, Unavailable))
    status = _status_of(problem)
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
