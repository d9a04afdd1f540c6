"""The enrolment server: its own small process, because it holds the CA key and the public API must not.

GET  /prov/v1/hello   a nonce, our CA and our clock      GET /prov/v1/crl      the revocation list
POST /prov/v1/enroll  claim code + request -> identity   GET /prov/v1/health   503 when the list runs out within 48 h

For now the claim code alone lets a technician enrol a gateway (single use, 5 wrong codes an hour and 10 in all);
signing in and work orders come with the technician's pages.
"""

from __future__ import annotations

import datetime as dt
import logging
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fastapi
import uvicorn
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from cloud.db import Pool
from cloud.errors import Conflict, Forbidden, Invalid, NotFound, NotNow, Refused, Unavailable
from provisioning import enroll
from provisioning.ca import CRL_ALARM, Authority, crl_time_left
from provisioning.handout import publish_crl
from provisioning.identity import nonce_from
from provisioning.words import sentence

log = logging.getLogger(__name__)

CRL_EVERY_S = 3600.0
REQUESTS_PER_HOUR_MAX = 60  # of one address
ADDRESSES_MAX = 10_000
STATUS: dict[type[Exception], int] = {
    NotFound: 404, Conflict: 409, Invalid: 422, Forbidden: 403, NotNow: 429, Unavailable: 503,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """What an enrolled gateway is told about its cloud."""

    broker_host: str
    broker_port: int
    cloud_public_key_pem: str


class EnrolIn(BaseModel):
    """What a gateway sends; hexadecimal where bytes are meant."""

    model_config = ConfigDict(extra="forbid")
    serial: str = Field(min_length=1, max_length=32)
    claim: str = Field(min_length=1, max_length=40)
    nonce: str = Field(min_length=80, max_length=80)
    csr: str = Field(min_length=1, max_length=4096)
    sign_pub: str = Field(pattern=r"^[0-9a-f]{64}$")
    proof: str = Field(pattern=r"^[0-9a-f]{128}$")


class BrokerOut(BaseModel):
    host: str
    port: int


class EnrolOut(BaseModel):
    """The identity, and where to go with it."""

    gateway_id: str
    certificate: str
    ca: str
    epoch: int
    brokers: list[BrokerOut]
    cloud_public_key: str
    key_words: str


class HelloOut(BaseModel):
    nonce: str
    ca: str
    now: dt.datetime


@dataclass(slots=True)
class Visitors:
    """Counts requests by address, so that nobody asks for ever; forgets the least recent address."""

    seen: OrderedDict[str, deque[dt.datetime]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_too_many(self, address: str, now: dt.datetime) -> bool:
        with self.lock:
            times = self.seen.setdefault(address, deque())
            self.seen.move_to_end(address)
            while len(self.seen) > ADDRESSES_MAX:
                self.seen.popitem(last=False)
            while times and now - times[0] > dt.timedelta(hours=1):
                times.popleft()
            if len(times) >= REQUESTS_PER_HOUR_MAX:
                return True
            times.append(now)
            return False


def build_app(
    pool: Pool, authority: Authority, site: Site, clock: Callable[[], dt.datetime]
) -> fastapi.FastAPI:
    """Build the HTTP application; the clock is a parameter."""
    app = fastapi.FastAPI(title="Shoudian provisioning", docs_url=None, redoc_url=None)
    visitors = Visitors()

    _speak_of_refusals(app)

    @app.get("/prov/v1/hello")
    def hello() -> HelloOut:
        now = clock()
        nonce = nonce_from(authority.pepper, int(now.timestamp()), secrets.token_bytes(16))
        return HelloOut(nonce=nonce, ca=authority.pem, now=now)

    @app.post("/prov/v1/enroll")
    def enrol(body: EnrolIn, request: fastapi.Request) -> EnrolOut:
        now = clock()
        address = request.client.host if request.client else "?"
        if visitors.is_too_many(address, now):
            raise NotNow("too_many_requests")
        asked = enroll.Request(
            body.serial,
            body.claim,
            body.nonce,
            body.csr.encode(),
            bytes.fromhex(body.sign_pub),
            bytes.fromhex(body.proof),
        )
        identity = enroll.enrol(pool, authority, asked, actor=f"address:{address}", now=now)
        log.info("provisioning.enrolled gateway=%s epoch=%d", identity.gateway_id, identity.epoch)
        return EnrolOut(
            gateway_id=identity.gateway_id,
            certificate=identity.certificate_pem,
            ca=authority.pem,
            epoch=identity.epoch,
            brokers=[BrokerOut(host=site.broker_host, port=site.broker_port)],
            cloud_public_key=site.cloud_public_key_pem,
            key_words=identity.key_words,
        )

    @app.get("/prov/v1/crl", response_class=PlainTextResponse)
    def crl() -> str:
        return (authority.folder / "crl.pem").read_text(encoding="ascii")

    @app.get("/prov/v1/health")
    def health() -> JSONResponse:
        left = crl_time_left(authority.folder, clock())
        good = left >= CRL_ALARM
        return JSONResponse(
            {"ok": good, "crl_hours_left": int(left.total_seconds() // 3600)}, 200 if good else 503
        )

    return app


def _speak_of_refusals(app: fastapi.FastAPI) -> None:
    """Answer every expected failure with its key and a sentence in both languages."""

    @app.exception_handler(Refused)
    @app.exception_handler(Unavailable)
    def refused(request: fastapi.Request, problem: Refused | Unavailable) -> JSONResponse:
        zh, en = sentence(problem.key, problem.facts)
        status = next(code for kind, code in STATUS.items() if isinstance(problem, kind))
        log.info("provisioning.refused key=%s", problem.key)
        return JSONResponse({"error": problem.key, "zh": zh, "en": en}, status)

    @app.exception_handler(RequestValidationError)
    def malformed(request: fastapi.Request, problem: RequestValidationError) -> JSONResponse:
        fields = ", ".join(sorted({str(error["loc"][-1]) for error in problem.errors()}))
        zh, en = sentence("bad_form", {"fields": fields})
        return JSONResponse({"error": "bad_form", "zh": zh, "en": en}, 422)


def serve(
    pool: Pool,
    authority: Authority,
    site: Site,
    address: tuple[str, int],
    crl_copy: Path | None,
    clock: Callable[[], dt.datetime],
) -> None:
    """Serve over TLS with the CA's server certificate until told to stop; renew the revocation list every hour."""
    done = threading.Event()
    renewer = threading.Thread(
        target=_keep_crl_fresh, args=(pool, authority, crl_copy, clock, done), name="crl"
    )
    renewer.start()
    try:
        uvicorn.run(
            build_app(pool, authority, site, clock),
            host=address[0],
            port=address[1],
            ssl_certfile=str(authority.folder / "server.crt"),
            ssl_keyfile=str(authority.folder / "server.key"),
            log_level="warning",
            h11_max_incomplete_event_size=16_384,
        )
    finally:
        done.set()
        renewer.join()


def _keep_crl_fresh(
    pool: Pool,
    authority: Authority,
    copy: Path | None,
    clock: Callable[[], dt.datetime],
    done: threading.Event,
) -> None:
    while True:
        try:
            revoked = enroll.revoked_now(pool, clock())
            publish_crl(authority, revoked, copy, clock())
            log.info("provisioning.crl.renewed revoked=%d", len(revoked))
        except (Unavailable, OSError) as problem:
            left = crl_time_left(authority.folder, clock())
            level = logging.ERROR if left < CRL_ALARM else logging.WARNING
            log.log(level, "provisioning.crl.not_renewed left=%s problem=%s", left, problem)
        if done.wait(CRL_EVERY_S):
            return
