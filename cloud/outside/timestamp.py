"""A time-stamp authority (RFC 3161 over HTTP): it says when a signature existed, whatever our own clock says.

One request per signature, in no transaction. What does not answer, or answers something else, is Unavailable: a
signature that was to carry a time stamp is not made without one.
"""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request

from asn1crypto import tsp

from cloud.errors import Unavailable
from cloud.paper.cosign import Authority

TIMEOUT_S = 10
RESPONSE_BYTES_MAX = 100_000
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"


class NoTimeStamp(Unavailable):
    """The time-stamp authority does not answer, or refuses; `facts` say what it said."""


class TimestampAuthority(Authority):
    """The authority at a URL."""

    def __init__(self, url: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # comes without types
        self.url = url

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        """Ask for a token. Raises NoTimeStamp."""
        response = await asyncio.to_thread(self._asked, req.dump())
        try:
            told = response["time_stamp_token"]["content"]["encap_content_info"]["content"].parsed
            is_ours = all(told[name].native == req[name].native for name in ("nonce", "message_imprint"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NoTimeStamp("no_time_stamp", problem=f"{type(error).__name__}: {error}"[:200]) from error
        if not is_ours:
            raise NoTimeStamp("no_time_stamp", problem="a token of something else")
        return response

    def _asked(self, query: bytes) -> tsp.TimeStampResp:
        request = urllib.request.Request(self.url, query, {"Content-Type": QUERY, "Accept": REPLY})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                kind = answer.headers.get_content_type()
                body = answer.read(RESPONSE_BYTES_MAX + 1)
            if kind != REPLY or len(body) > RESPONSE_BYTES_MAX:
                raise NoTimeStamp("no_time_stamp", problem=f"{kind}, {len(body)} bytes")
            response = tsp.TimeStampResp.load(body, strict=True)
            status = response["status"]["status"].native
            if status not in ("granted", "granted_with_mods"):
                raise NoTimeStamp("no_time_stamp", problem=str(status))
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise NoTimeStamp("no_time_stamp", problem=f"{type(error).__name__}: {error}"[:200]) from error
        return response


def authority(url: str) -> TimestampAuthority | None:
    """The authority that is configured; None: signatures carry our own time alone."""
    return TimestampAuthority(url) if url else None
