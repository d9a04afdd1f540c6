"""The short way of a gate's burst answers as the whole machinery does: status, headers and text, whatever is sent."""

from __future__ import annotations

import json
from uuid import uuid4

import httpx
import pytest
from pages.site import Site

ORDERS = "/trading/sessions/1/orders"
SOUND = json.dumps(
    {"unit": "party:1", "side": "B", "client_key": str(uuid4()), "replaces": None, "entries": []}
)
JSON = {"content-type": "application/json", "accept": "application/json"}
HTML = {"accept": "text/html"}

REQUESTS = {
    "sound": (ORDERS, JSON, SOUND.encode(), 401),
    "no JSON": (ORDERS, JSON, b"{", 422),
    "no object": (ORDERS, JSON, b"[]", 422),
    "an entry of two": (
        ORDERS,
        JSON,
        b'{"unit": "u", "side": "B", "client_key": "k", "entries": [[1, "2"]]}',
        422,
    ),
    "half a character": (
        ORDERS,
        JSON,
        json.dumps({"unit": "\ud800", "side": "B", "client_key": str(uuid4()), "entries": None}).encode(),
        422,
    ),
    "too large": (ORDERS, JSON, b" " * 70_000, 413),
    "of another site": (ORDERS, JSON | {"origin": "https://elsewhere.example"}, SOUND.encode(), 403),
    "an empty form": (ORDERS, HTML, b"", 422),
    "a number that is none": ("/trading/sessions/a/orders", JSON, SOUND.encode(), 404),
    "a number that is too long": ("/trading/sessions/1234567890/orders", JSON, SOUND.encode(), 404),
    "a path below it": (f"{ORDERS}/1", JSON, SOUND.encode(), 404),
}


def asked(site: Site, request: tuple[str, dict[str, str], bytes, int], *, cookie: bool) -> httpx.Response:
    path, headers, body, _ = request
    with site.client() as client:
        if cookie:
            client.cookies["shoudian_session"] = "a" * 43
        return client.post(path, headers=headers, content=body)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("cookie", [True, False])
def test_it_answers_as_the_whole_machinery(site: Site, name: str, cookie: bool) -> None:
    assert site.app.ways
    short = asked(site, REQUESTS[name], cookie=cookie)
    ways, site.app.ways = site.app.ways, ()
    try:
        whole = asked(site, REQUESTS[name], cookie=cookie)
    finally:
        site.app.ways = ways

    assert short.status_code == whole.status_code
    assert short.text == whole.text
    assert {name: value for name, value in short.headers.items() if name != "date"} == {
        name: value for name, value in whole.headers.items() if name != "date"
    }
    assert short.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in short.headers["content-security-policy"]
    if cookie:
        assert short.status_code == REQUESTS[name][3]
