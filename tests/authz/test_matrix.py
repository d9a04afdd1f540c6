"""Every route x every role x own or foreign object. A route that declares no deed fails.

Routes are read from the application, so a new one is tested the moment it exists. What each role may do is written
down here a second time, by path and by hand; the code's table is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pages import world
from pages.site import Site
from route_forms import FORMS, NAMED, QUERIES, UNMADE, UNREADABLE
from route_roles import BY_METHOD, BY_ROLE, EVERYBODY, HOOKS, OWNED, PROVING, UPLOADS
from starlette.routing import BaseRoute, Mount

from cloud.security.access import Deed

ROLES: Final = {
    "nobody": None,
    "customer": "yunling",
    "other_customer": "zhou",
    "technician": "tech",
    "staff": "staff",
    "regulator": "regulator",
}
NOT_POSSIBLE: Final = {404, 409}
GOOD: Final = {200, 201, 204, 303}


def routes_of(app: FastAPI) -> Iterator[BaseRoute]:
    """Every route, also those inside included routers."""
    pending: list[object] = list(app.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", None
        )
        if isinstance(route, APIRoute | Mount) or inner is None:
            assert isinstance(route, BaseRoute)
            yield route
        else:
            pending.extend(inner)


def deeds_of(dependant: Dependant) -> set[Deed]:
    """The deeds that a route's dependencies declare."""
    found = {deed for each in dependant.dependencies for deed in deeds_of(each)}
    own = getattr(dependant.call, "deed", None)
    return found | ({own} if isinstance(own, Deed) else set())


def test_every_route_declares_exactly_one_deed(site: Site) -> None:
    api_routes = [route for route in routes_of(site.app) if isinstance(route, APIRoute)]
    others = [route for route in routes_of(site.app) if not isinstance(route, APIRoute)]

    assert len(api_routes) >= 18
    assert [getattr(route, "path", "?") for route in others] == ["/static"]
    assert {
        route.path: deeds_of(route.dependant) for route in api_routes if len(deeds_of(route.dependant)) != 1
    } == {}


def test_a_route_without_a_deed_would_be_seen() -> None:
    app = FastAPI(openapi_url=None)
    app.get("/forgotten")(lambda: None)

    (route,) = [each for each in app.routes if isinstance(each, APIRoute)]

    assert deeds_of(route.dependant) == set()


def test_the_table_of_this_test_names_every_route(site: Site) -> None:
    paths = {route.path for route in routes_of(site.app) if isinstance(route, APIRoute)}

    assert paths == EVERYBODY | HOOKS | OWNED | set(BY_ROLE)


@pytest.mark.parametrize("name", ROLES)
def test_every_role_gets_what_is_its_own_and_nothing_else(site: Site, name: str) -> None:
    wrong = []
    with site.client(ROLES[name]) as client:  # signing out comes last
        for method, path in _asks(site):
            status = _status(client, method, path, site)
            expected = _expected(method, path, name)
            if status not in expected:
                wrong.append(f"{method} {path}: {status}, expected {sorted(expected)}")

    assert wrong == []


def test_a_foreign_object_is_answered_exactly_like_one_that_does_not_exist(site: Site) -> None:
    pairs = [
        (f"/accounts/{world.STRANGER}/live", "/accounts/9999999999999/live"),
        (f"/accounts/{world.STRANGER}/bills", "/accounts/9999999999999/bills"),
        (f"/accounts/{world.STRANGER}/live/events", "/accounts/9999999999999/live/events"),
        (f"/bills/{site.world.foreign_bill_id}", "/bills/999999"),
        (f"/bills/{site.world.foreign_bill_id}/pdf", "/bills/999999/pdf"),
    ]
    with site.client("yunling") as client:
        for foreign, absent in pairs:
            there, nowhere = client.get(foreign), client.get(absent)
            assert (there.status_code, there.json()) == (nowhere.status_code, nowhere.json())
            assert there.status_code == 404


def test_a_draft_bill_is_for_staff_only(site: Site) -> None:
    path = f"/bills/{site.world.draft_bill_id}"

    with site.client("yunling") as owner, site.client("staff") as staff:
        assert owner.get(path).status_code == 404
        assert owner.get(f"{path}/pdf").status_code == 404
        assert staff.get(path).status_code == 200
        assert owner.get(f"/accounts/{world.SHOP}/bills").json()["bills"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/1'--/live",
        "/bills/-1",
        "/bills/99999999999999999999",
        "/bills/abc",
        "/gateways/a%00b",
        "/accounts/1300000000001/days/2026-02-30",
        "/accounts/1300000000001/days/0000-01-01",
        "/nowhere",
    ],
)
def test_paths_that_cannot_exist_are_not_found_and_break_nothing(site: Site, path: str) -> None:
    with site.client("staff") as client:
        assert client.get(path).status_code == 404


def test_methods_that_a_route_does_not_have_are_refused(site: Site) -> None:
    with site.client("staff") as client:
        assert client.post("/fleet").status_code == 405
        assert client.delete(f"/bills/{site.world.bill_id}").status_code == 405


def _asks(site: Site) -> list[tuple[str, str]]:
    asks = [
        (method, route.path)
        for route in routes_of(site.app)
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    return sorted(asks, key=lambda ask: ask[1] == "/logout")


def _expected(method: str, path: str, name: str) -> set[int]:
    if path in EVERYBODY:
        return GOOD | {422}  # POST /login without a form
    if path in HOOKS:
        return {404}
    if name == "nobody":
        return {401}
    if name not in BY_METHOD.get(f"{method} {path}", ROLES):
        return {403}
    if path in OWNED:
        return (
            GOOD if name in ("customer", "staff") else {403} if name in ("technician", "regulator") else {404}
        )
    possible = GOOD | NOT_POSSIBLE if path in FORMS else GOOD
    if path in PROVING:
        possible |= {401}
    if path in UPLOADS | UNREADABLE:
        possible |= {422}  # without its file
    if f"{method} {path}" in UNMADE:
        possible |= {403, 404, 409, 422}
    return possible if name in BY_ROLE[path] else {403}


def _status(client: httpx.Client, method: str, path: str, site: Site) -> int:
    asked = path.format(**NAMED, account_id=world.WORKSHOP, bill_id=site.world.bill_id)
    form = dict(FORMS.get(path, UNMADE.get(f"{method} {path}", {}))) if method == "POST" else {}
    if method == "POST" and client.cookies:
        form["form_token"] = _form_token(client)
    with client.stream(method, asked + QUERIES.get(path, ""), data=form or None) as answer:
        return answer.status_code


def _form_token(client: httpx.Client) -> str:
    page = client.get("/", headers={"accept": "text/html"}, follow_redirects=True).text
    return page.split('name="form_token" value="')[1].split('"')[0]
