"""Where payment providers call. No session, no form token: a call proves itself by its signature, or gets 401.

The body is taken raw and bounded; everything else is cloud.outside.payments.errands.take_call.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from cloud.api import who
from cloud.billing.payment import Provider
from cloud.errors import NotFound
from cloud.outside.payments import errands
from cloud.security.access import Deed

router = APIRouter(tags=["hooks"])

BODY_BYTES_MAX: Final = 16 * 1024


class NotOffered(NotFound):
    """This provider is not configured here."""


@router.post("/hooks/{provider}", response_class=Response)
async def hook(
    request: Request, provider: Provider, guest: Annotated[who.Guest, who.guests(Deed.CALL_BACK)]
) -> Response:
    """A provider's report. 200 once it is booked (or known), 401 when it is not to be believed."""
    adapter = request.app.state.payments.get(provider)
    if adapter is None:
        raise NotOffered("not_found", kind="provider")
    body = await request.body()
    if len(body) > BODY_BYTES_MAX:
        raise HTTPException(413)
    headers = dict(request.headers)
    answer = await run_in_threadpool(
        errands.take_call, request.app.state.pool, adapter, headers, body, guest.now
    )
    return Response(answer.body, answer.status, media_type=answer.media_type)
