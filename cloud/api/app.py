"""Composition root of the HTTP process: pool, routers, what surrounds them, `serve(config)`."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from types import FrameType
from typing import Annotated, Final

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from cloud import db
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
    hub,
    intake,
    layers,
    ledger,
    listings,
    live,
    metering,
    negotiations,
    notices,
    offers,
    payments,
    policies,
    problems,
    questions,
    receivables,
    regulator,
    reply,
    reports,
    response,
    responseportfolio,
    review,
    risk,
    rolling,
    roomevidence,
    security,
    settlement,
    stepup,
    tariffs,
    trading,
    tradingdesk,
    transfers,
    who,
)
from cloud.billing.store.published import packaged_catalogue
from cloud.config import CloudConfig
from cloud.errors import Unavailable
from cloud.files import open_vault
from cloud.outside import timestamp
from cloud.outside.payments import offered
from cloud.security.access import Deed

log = logging.getLogger(__name__)

SHUTDOWN_S: Final = 5
GARBAGE: Final = (20_000, 20, 100)
CONNECTIONS_WAITING_MAX: Final = 4096  # a gate's burst; the kernel may allow fewer


class PortInUse(Unavailable):
    """The address cannot be listened on: somebody else does, or this process may not."""


class Health(reply.View):
    """Whether this process can answer."""

    status: str
    database: str


def make_app(config: CloudConfig) -> FastAPI:
    """Compose the application; the pool opens with its lifespan."""
    app = _App(
        title="售电 Shoudian",
        description="用电、账单与采集。Usage, bills and metering. 程序请带 Accept: application/json。",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.config = config
    app.state.hub = hub.Hub(config.dsn)
    app.state.curves = curve.Curves()
    app.state.catalogue = packaged_catalogue()
    app.state.payments = offered(config)
    app.state.intake = intake.Intake()
    app.state.receipt_signer = intake.signer(config.receipt_key_file)
    app.state.vault = open_vault(config.files)
    app.state.timestamps = timestamp.authority(config.timestamp_url)
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
    for deals in (listings, rolling, negotiations, roomevidence, transfers):
        app.include_router(deals.router)
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
    app.include_router(responseportfolio.router)
    app.include_router(contracts.router)
    app.include_router(contractdesk.router)
    app.include_router(curve.router)
    app.include_router(entities.router)
    app.include_router(entitydesk.router)
    for money in (hooks.router, payments.router, receivables.router):
        app.include_router(money)
    _add_own_routes(app)
    app.mount("/static", StaticFiles(directory=str(resources.files("cloud.api") / "static")), name="static")
    app.add_middleware(layers.BodyLimit, bytes_max=layers.BODY_BYTES_MAX, routes=lambda: app.routes)
    app.add_middleware(layers.Headers, secure=config.http_secure_cookies)  # last, so outermost
    problems.handle_in(app)
    app.ways = layers.short_ways(trading.gate.routes, config.http_secure_cookies)
    return app


class _App(FastAPI):
    """The application, and the short ways past its machinery."""

    ways: tuple[layers.ShortWay, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by a short way where there is one."""
        for way in self.ways:
            if way.leads(scope):
                scope["app"] = self
                await way(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def serve(config: CloudConfig) -> None:
    """Serve pages and API until SIGINT or SIGTERM. Raises PortInUse."""
    listening = _listen(config.http_host, config.http_port)
    app = make_app(config)
    # What is loaded stays: a gate's burst makes a million small objects, and each look through all others costs a third.
    gc.freeze()
    gc.set_threshold(*GARBAGE)
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

    def __init__(self, config: uvicorn.Config, hub: hub.Hub) -> None:
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
