"""The intake of declarations: what arrives together is committed together, and acknowledged after the commit.

A gate's burst is thousands of requests within a second. Each one by itself would cost a thread, ten round trips and a
commit; here one thread takes whatever waits, at most BATCH_MAX, and makes one transaction of it. Who waits, waits for
a commit that the others share. Several processes may do so at the same time: the locks are the database's.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from cloud import db
from cloud.api import who
from cloud.db import Pool, ProcessRole, Scope
from cloud.errors import NotFound, Refused, Unavailable
from cloud.market.declaration import Declaration
from cloud.market.receipt import Acknowledged, Signer, key_id, signer_from
from cloud.market.run import trade
from cloud.market.store import sessions
from cloud.security import run as security
from cloud.security.access import Deed, NotForRole, may

log = logging.getLogger(__name__)

BATCH_MAX: Final = 200
WAITING_MAX: Final = 20_000
DIGITS_MAX: Final = 9
INTAKE: Final = Scope(ProcessRole.WORKER, actor="api:intake")


class TooBusy(Unavailable):
    """More declarations wait than this process takes in."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says about who sends it; proved in the batch's own transaction."""

    token: str
    form_token: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A declaration on its way, and where its answer goes."""

    caller: Caller
    deed: Deed
    session_id: int
    sent: Declaration
    answer: asyncio.Future[Acknowledged]


_Answer = tuple[Waiting, Acknowledged | Exception]


class Intake:
    """One thread between the requests and the book; opened and closed with the application."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Waiting | None] = queue.Queue(WAITING_MAX)
        self._memory: dict[int, trade.Known] = {}
        self._pool: Pool | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, pool: Pool) -> None:
        """Begin to work."""
        self._pool = pool
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then stop."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    async def take(self, caller: Caller, deed: Deed, session_id: int, sent: Declaration) -> Acknowledged:
        """Have a declaration entered and say what stands, after it is committed. Raises what is wrong with it."""
        self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[Acknowledged] = self._loop.create_future()
        try:
            self._waiting.put_nowait(Waiting(caller, deed, session_id, sent, answer))
        except queue.Full as full:
            raise TooBusy("intake_busy") from full
        return await answer

    def _run(self) -> None:
        is_open = True
        aside: list[Waiting] = []
        while is_open or aside:
            batch, is_open = self._gather(aside, is_open)
            if batch:
                answers: list[_Answer] = []
                aside = self._settle(batch, answers)
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(_tell, answers)  # one wake-up for all of them

    def _gather(self, aside: Sequence[Waiting], is_open: bool) -> tuple[list[Waiting], bool]:
        batch = list(aside)
        while is_open and len(batch) < BATCH_MAX:
            try:
                one = self._waiting.get(block=not batch)
            except queue.Empty:
                break
            if one is None:
                return batch, False
            batch.append(one)
        return batch, is_open

    def _settle(self, batch: Sequence[Waiting], answers: list[_Answer]) -> list[Waiting]:
        """Answer a batch; return who must wait for the next one. One bad apple spoils nobody else's."""
        try:
            told, later = self._together(batch)
        except Exception as problem:
            if len(batch) > 1:
                return [each for one in batch for each in self._settle([one], answers)]
            told, later = [(batch[0], problem)], []
        answers.extend(told)
        return later

    def _together(self, batch: Sequence[Waiting]) -> tuple[list[_Answer], list[Waiting]]:
        assert self._pool is not None
        now = who.clock()
        with db.transaction(self._pool, who.nobody()) as conn:
            known = security.find_sessions(conn, [one.caller.token for one in batch], now)
            proved, answers, later = _proved(batch, known)
            arrivals = [arrival for _, arrival in proved]
            db.take_scope(conn, INTAKE)
            try:
                outcomes = trade.take_in(conn, arrivals, self._memory, now) if arrivals else ()
            except trade.NotRung:
                outcomes = None
        if outcomes is None:
            with db.transaction(self._pool, INTAKE) as conn:
                sessions.ring(conn, now)
            return answers, [one for one, _ in proved] + later
        answers += [(one, outcome) for (one, _), outcome in zip(proved, outcomes, strict=True)]
        return answers, later


def _proved(
    batch: Sequence[Waiting], known: dict[str, security.Session]
) -> tuple[list[tuple[Waiting, trade.Arrival]], list[_Answer], list[Waiting]]:
    """Who may send, and who may not; of a party's declarations the first now, the others with the next batch."""
    proved: list[tuple[Waiting, trade.Arrival]] = []
    failed: list[_Answer] = []
    later: list[Waiting] = []
    parties: set[int] = set()
    for one in batch:
        session = known.get(one.caller.token)
        if session is None:
            failed.append((one, security.NoSession("no_session")))
        elif not security.same(session.csrf_token, one.caller.form_token):
            failed.append((one, who.ForeignForm("foreign_form")))
        elif not may(session.actor, one.deed, None) or session.actor.party_id is None:
            failed.append((one, NotForRole("not_for_role", deed=one.deed.value)))
        elif session.actor.party_id in parties:
            later.append(one)
        else:
            parties.add(session.actor.party_id)
            proved.append((one, trade.Arrival(session.actor, one.session_id, one.sent)))
    return proved, failed, later


def _tell(answers: Sequence[_Answer]) -> None:
    """Hand the answers over, in the requests' own thread; who has gone away meanwhile is not there to be told."""
    for one, answer in answers:
        if not isinstance(answer, Acknowledged | Refused):
            log.warning("intake.failed session=%d problem=%r", one.session_id, answer)
        if one.answer.done():
            continue
        if isinstance(answer, Acknowledged):
            one.answer.set_result(answer)
        else:
            one.answer.set_exception(answer)


class _Sends:
    """A signed-in person sends a declaration: proved by the intake, in the transaction that enters it."""

    def __init__(self, deed: Deed) -> None:
        self.deed = deed

    async def __call__(self, request: Request) -> Caller:
        who.check_origin(request)
        token = request.cookies.get(who.SESSION_COOKIE)
        if not token:
            raise security.NoSession("no_session")
        return Caller(token, request.headers.get(who.FORM_HEADER, ""))


def signer(file: Path | None) -> Signer:
    """The key that signs receipts. Without a file one of this process alone: good for a trial, not for evidence."""
    if file is not None:
        return signer_from(file.read_bytes())
    log.warning("intake.receipts.trial_key set=SHOUDIAN_RECEIPT_KEY_FILE")
    key = Ed25519PrivateKey.generate()
    return Signer(key, key_id(key.public_key()))


class IntakeRoute(APIRoute):
    """A route whose handler gets the request as it is: a gate's burst pays for nothing that it does not use.

    Its dependencies are still declared and called by hand, so that the route says its deed like every other.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint, called with the request and with what its one dependency gives."""
        (proof,) = self.dependant.dependencies
        ask, endpoint = proof.call, self.endpoint
        assert ask is not None

        async def handle(request: Request) -> Response:
            asked = str(request.path_params["session_id"])
            if not (asked.isascii() and asked.isdecimal() and len(asked) <= DIGITS_MAX):
                raise NotFound("not_found", kind="trading_session")
            found: Response = await endpoint(request, int(asked), await ask(request))
            return found

        return handle


def sends(deed: Deed) -> Any:
    """The dependency of the routes whose requests go through the intake."""
    return Depends(_Sends(deed))
