"""Signing in and out, sessions, form tokens, limits, headers: over real HTTP against the real database."""

from __future__ import annotations

import hashlib
import re
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from pages import world
from pages.site import Site

from cloud.security import run, store
from cloud.security.access import Actor, Deed, NotForRole, NotYours, Role, Subject

HTML = {"accept": "text/html"}


def token_of(client: httpx.Client) -> str:
    return client.cookies["shoudian_session"]


def test_the_cookie_is_closed_to_scripts_and_the_database_knows_only_its_hash(site: Site) -> None:
    with site.client() as client:
        answer = client.post("/login", data={"login": "yunling", "password": world.PASSWORD})
        cookie = answer.headers["set-cookie"].split(";")
        token = token_of(client)

    assert {part.strip().lower() for part in cookie[1:]} >= {"httponly", "samesite=lax", "path=/"}
    with psycopg.connect(site.world.dsn) as conn:
        rows = conn.execute("SELECT token_sha256, row_to_json(s)::text FROM user_session s").fetchall()
    assert hashlib.sha256(token.encode()).digest() in {bytes(row[0]) for row in rows}
    assert all(token not in row[1] for row in rows)


def test_behind_tls_the_cookie_is_for_tls_only(site: Site) -> None:
    plain = site.app.state.config
    site.app.state.config = replace(plain, http_secure_cookies=True)
    try:
        with site.client() as client:
            answer = client.post("/login", data={"login": "zhou", "password": world.PASSWORD})
    finally:
        site.app.state.config = plain

    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("zhou", "wrong"),
        ("nobody-here", world.PASSWORD),
        ("", ""),
        ("zhou\0", "x"),
        ("z" * 190, "x" * 900),
        ("𠮷", "䶮"),
    ],
)
def test_wrong_logins_and_wrong_passwords_get_one_and_the_same_answer(
    site: Site, login: str, password: str
) -> None:
    with site.client() as client:
        answer = client.post("/login", data={"login": login, "password": password})

    assert answer.status_code in ((401,) if login else (401, 422))
    if answer.status_code == 401:
        assert answer.json() == {
            "status": 401,
            "problem": "wrong_password",
            "text": "账号或密码不对，请再试一次。",
            "facts": {},
        }


def test_an_unknown_login_takes_as_long_as_a_known_one() -> None:
    at = datetime(2026, 8, 1, tzinfo=UTC)
    user = store.UserRow(1, "a", run._HASHER.hash("another password"), "A", "staff", None, "zh")
    known, unknown = run.Knock(1, "a", "::1", user), run.Knock(2, "b", "::1", None)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(5):
        for tried in (known, unknown):
            started = time.perf_counter()
            assert not run.is_right(tried, "a wrong password")
            times[tried.user is not None].append(time.perf_counter() - started)

    assert at.tzinfo
    assert statistics.median(times[False]) > 0.5 * statistics.median(times[True])


def test_after_five_failures_even_the_right_password_must_wait(site: Site) -> None:
    with site.client() as client:
        answers = [client.post("/login", data={"login": "linjia", "password": "no"}) for _ in range(5)]
        late = client.post("/login", data={"login": "linjia", "password": world.PASSWORD})

    assert [answer.status_code for answer in answers] == [401] * 5
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) == 900
    with psycopg.connect(site.world.dsn) as conn:  # the window passes: the attempts are now older than it
        conn.execute("UPDATE sign_in_attempt SET at = at - interval '16 minutes' WHERE login = 'linjia'")
    with site.client("linjia") as client:
        assert client.get("/").status_code == 200


def test_a_disabled_user_is_out_at_once(site: Site) -> None:
    with psycopg.connect(site.world.dsn) as conn:
        conn.execute(
            "INSERT INTO app_user (login, password_hash, display_name, role) SELECT 'temp', password_hash, 't', 'staff' FROM app_user WHERE login = 'staff'"
        )
    with site.client("temp") as client:
        assert client.get("/fleet").status_code == 200
        with psycopg.connect(site.world.dsn) as conn:
            conn.execute("UPDATE app_user SET disabled_at = now() WHERE login = 'temp'")

        assert client.get("/fleet").status_code == 401
        assert client.post("/login", data={"login": "temp", "password": world.PASSWORD}).status_code == 401


@pytest.mark.parametrize(
    "past",
    [
        "expires_at = now() - interval '1 second', created_at = now() - interval '13 hours'",
        "seen_at = now() - interval '121 minutes'",
    ],
)
def test_a_session_ends_by_age_and_by_idleness(site: Site, past: str) -> None:
    with site.client("zhou") as client, psycopg.connect(site.world.dsn) as conn:
        assert client.get("/").status_code == 200
        token_sha256 = hashlib.sha256(token_of(client).encode()).digest()

        conn.execute(f"UPDATE user_session SET {past} WHERE token_sha256 = %s", (token_sha256,))
        conn.commit()

        assert client.get("/").status_code == 401


def test_signing_out_needs_the_forms_token_and_then_the_cookie_opens_nothing(site: Site) -> None:
    with site.client("zhou") as client:
        kept = token_of(client)
        assert client.post("/logout").status_code == 403
        assert client.post("/logout", data={"form_token": "x" * 32}).status_code == 403
        assert client.get("/").status_code == 200
        form_token = site.form_token(client)

        assert client.post("/logout", data={"form_token": form_token}).status_code == 204

        client.cookies.set("shoudian_session", kept)
        assert client.get("/").status_code == 401


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "://", ""])
def test_another_sites_form_is_refused_even_with_the_right_token(site: Site, origin: str) -> None:
    with site.client("zhou") as client:
        form_token = site.form_token(client)

        answer = client.post("/logout", data={"form_token": form_token}, headers={"origin": origin})

    assert answer.status_code == 403


def test_a_browser_signs_in_only_with_our_own_form(site: Site) -> None:
    fields = {"login": "zhou", "password": world.PASSWORD}
    with site.client(accept="text/html") as client:
        page = client.get("/login").text
        form_token = re.search(r'name="form_token" value="([^"]+)"', page)
        assert form_token

        without = client.post("/login", data=fields)
        with_it = client.post("/login", data={**fields, "form_token": form_token[1], "next": "/accounts"})

    assert without.status_code == 403
    assert (with_it.status_code, with_it.headers["location"]) == (303, "/accounts")


@pytest.mark.parametrize(
    "away",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)"],
)
def test_nobody_is_sent_to_another_site_after_signing_in(site: Site, away: str) -> None:
    with site.client(accept="text/html") as client:
        form_token = re.search(r'name="form_token" value="([^"]+)"', client.get("/login").text)
        assert form_token
        answer = client.post(
            "/login",
            data={"login": "zhou", "password": world.PASSWORD, "form_token": form_token[1], "next": away},
        )

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_browser_that_is_not_signed_in_is_sent_to_the_form_and_back(site: Site) -> None:
    with site.client(accept="text/html") as client:
        answer = client.get(f"/accounts/{world.HOME}/live")

    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/login?next=/accounts/{world.HOME}/live",
    )


def test_every_answer_carries_the_security_headers(site: Site) -> None:
    with site.client() as client:
        for path in ("/login", "/healthz", "/nowhere", "/static/app.css", "/fleet"):
            headers = client.get(path, headers=HTML).headers
            policy = headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert ("immutable" in headers["cache-control"]) == path.startswith("/static/")
            assert "server" not in headers


def test_a_body_over_the_limit_is_refused_declared_or_not(site: Site) -> None:
    big = b"a" * 70_000
    with site.client() as client:
        assert client.post("/login", content=big).status_code == 413
        chunked = client.post(
            "/login",
            content=iter([big]),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )

    assert chunked.status_code == 413


def test_staff_looking_at_a_customer_leave_a_trace_and_the_customer_leaves_none(site: Site) -> None:
    path = f"/accounts/{world.HOME}/live"
    count = "SELECT count(*) FROM audit_event WHERE deed = 'see_usage' AND subject = %s"
    with psycopg.connect(site.world.dsn, autocommit=True) as conn, site.client("zhou") as own:
        before = conn.execute(count, (f"account:{world.HOME}",)).fetchone()
        own.get(path).raise_for_status()
        assert conn.execute(count, (f"account:{world.HOME}",)).fetchone() == before

        with site.client("staff") as staff:
            staff.get(path).raise_for_status()

        assert before
        assert conn.execute(count, (f"account:{world.HOME}",)).fetchone() == (before[0] + 1,)


def test_the_first_wall_stands_without_the_second(site: Site) -> None:
    """allow() refuses another party's thing even in a transaction that row-level security does not bind."""
    actor = Actor(1, "yunling", "云岭", Role.CUSTOMER, 1, "zh")
    now = datetime(2026, 8, 1, tzinfo=UTC)
    with psycopg.connect(site.world.dsn) as conn:
        with pytest.raises(NotYours):
            run.allow(conn, actor, Deed.SEE_BILLS, Subject("bill", "2", 3), now)
        with pytest.raises(NotForRole):
            run.allow(conn, actor, Deed.SEE_FLEET, Subject("fleet", "", None), now)
        run.allow(conn, actor, Deed.SEE_BILLS, Subject("bill", "1", 1), now)


def test_users_are_added_with_a_good_password_a_free_login_and_the_right_party(database: str) -> None:
    def user(login: str, role: str, party_id: int | None) -> store.UserRow:
        return store.UserRow(0, login, "", "新用户", role, party_id, "zh")

    with psycopg.connect(database) as conn:
        user_id = run.add_user(conn, user(" Wang.Staff ", "staff", None), "long enough password")

        kept = store.find_user(conn, "wang.staff")
        assert kept is not None
        assert kept.user_id == user_id
        assert kept.password_hash.startswith("$argon2id$")
        knocked = run.knock(conn, "WANG.staff", "::1", datetime(2026, 8, 1, tzinfo=UTC))
        assert run.is_right(knocked, "long enough password")
        assert not run.is_right(knocked, "long enough passwore")
        for bad, password in (
            (user("wang.staff", "staff", None), "long enough password"),
            (user("li", "staff", None), "long enough password"),
            (user("li si", "staff", None), "long enough password"),
            (user("lisi", "staff", None), "short"),
            (user("lisi", "customer", None), "long enough password"),
            (user("lisi", "staff", 1), "long enough password"),
        ):
            with pytest.raises((run.BadUser, store.LoginTaken)):
                run.add_user(conn, bad, password)
