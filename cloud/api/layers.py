"""What surrounds every answer: security headers, a limit of what is sent, and a short way for a gate's burst.

Pages may load scripts, styles and pictures from this host only and contain none inline
(Content-Security-Policy); every answer but static files is private and not kept by caches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api import intake, problems, upload, who

BODY_BYTES_MAX: Final = 64 * 1024
FILES_BYTES_MAX: Final = upload.FILE_BYTES_MAX + BODY_BYTES_MAX  # a file of the most, and its form

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


class ShortWay:
    """A route of a gate's burst, past the general machinery: that costs more than the route itself.

    Headers, limit of the body and answers to problems are the application's.
    """

    def __init__(self, route: intake.IntakeRoute, secure: bool) -> None:
        self._route = route
        self._handle = route.get_route_handler()
        self._whole = Headers(BodyLimit(self._answer, BODY_BYTES_MAX, lambda: ()), secure)

    def leads(self, scope: Scope) -> bool:
        """Whether this request goes this way."""
        if scope["type"] != "http" or scope["method"] not in (self._route.methods or ()):
            return False
        found = self._route.path_regex.fullmatch(scope["path"])
        if found is None:
            return False
        scope["path_params"] = found.groupdict()
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that this way leads."""
        await self._whole(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._handle(request)
        except ClientDisconnect:
            return  # there is nobody to answer
        except Exception as problem:
            response = await problems.answer(request, problem)
        await response(scope, receive, send)


def short_ways(routes: Iterable[BaseRoute], secure: bool) -> tuple[ShortWay, ...]:
    """The short ways of the routes that can be answered so."""
    return tuple(ShortWay(route, secure) for route in routes if isinstance(route, intake.IntakeRoute))


class Headers:
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


class BodyLimit:
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
