"""The live curve on a real server: what everybody sees of a book, what only its owner sees, and what nobody sees yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pages.site import Site
from playwright.sync_api import sync_playwright

from cloud import db
from cloud.market.run import convene
from cloud.market.session import Hours
from cloud.market.store import orders
from cloud.security.access import Actor, Role

NOW = datetime.now(UTC)  # noqa: TID251  # the server answers by the real clock
YUNLING, ZHOU, LINJIA = 1, 2, 3
Bid = tuple[int, str, Sequence[tuple[int, int, int]]]  # party, side, (period, price, kWh)


@dataclass(frozen=True)
class Book:
    """A database with an open session that shows its curve and one that hides it."""

    dsn: str
    shown: int
    hidden: int
    past: tuple[int, int]

    def append(self, session_id: int, *bids: Bid, replaces: int | None = None) -> list[int]:
        with (
            db.open_pool(self.dsn, size_max=1) as pool,
            db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn,
        ):
            orders.gates(conn, [session_id], NOW)
            new = [
                orders.NewBid(
                    session_id,
                    "SUBMIT" if replaces is None else "REPLACE",
                    party_id,
                    f"party:{party_id}",
                    side,
                    replaces,
                    *(tuple(row[place] for row in rows) for place in range(3)),
                    0,
                    uuid4(),
                    bytes(32),
                    "test",
                )
                for party_id, side, rows in bids
            ]
            return list(orders.append(conn, new, NOW))


@pytest.fixture(scope="module")
def book(site: Site) -> Book:
    dsn = site.world.dsn
    people = [Actor(number, f"op{number}", "值班", Role.STAFF, None, "zh") for number in (901, 902)]
    found = []
    with (
        db.open_pool(dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.OWNER)) as conn,
    ):
        for number, rule in enumerate(
            ("jibei-multiday-24@1", "jibei-curve-96@1", "jibei-multiday-24@1", "jibei-multiday-24@1")
        ):
            hours = Hours(
                NOW - timedelta(minutes=1), NOW + timedelta(hours=1), NOW + timedelta(hours=2), None
            )
            month = date(NOW.year + (NOW.month == 12), NOW.month % 12 + 1, 1)
            plan = convene.Plan(f"CURVE-{number}", "示范场次", "公告", rule, (month,), NOW.date(), hours)
            before = NOW - timedelta(minutes=2)
            session_id = convene.draft(conn, people[0], plan, before)
            convene.announce(conn, people[1], session_id, before)
            found.append(session_id)
        convene.look(conn, NOW)
    made = Book(dsn, found[0], found[1], (found[2], found[3]))
    made.append(
        made.shown,
        (YUNLING, "B", [(1, 40000, 10_000), (1, 39000, 20_000), (2, 38000, 5_000)]),
        (ZHOU, "S", [(1, 36000, 15_000), (1, 39500, 9_000)]),
        (LINJIA, "B", [(1, 39000, 4_000)]),
    )
    made.append(made.hidden, (YUNLING, "B", [(1, 40000, 10_000)]))
    return made


def seen(client: httpx.Client, session_id: int, period: int = 1) -> dict[str, object]:
    answer = client.get(f"/trading/sessions/{session_id}/curve", params={"period": period})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_everybody_sees_the_sum_and_only_the_owner_what_is_own(site: Site, book: Book) -> None:
    with site.client("yunling") as buyer, site.client("zhou") as seller, site.client("staff") as staff:
        views = [seen(client, book.shown) for client in (buyer, seller, staff)]

    for view in views:
        assert view["demand"] == [
            {"price_ticks": 40000, "start_kwh": 0, "end_kwh": 10_000},
            {"price_ticks": 39000, "start_kwh": 10_000, "end_kwh": 34_000},
        ]
        assert [step["price_ticks"] for step in view["supply"]] == [36000, 39500]  # type: ignore[index, attr-defined]
        assert (view["volume_kwh"], view["price_ticks"]) == (15_000, 39000)
    assert views[0]["own"] == [
        {
            "side": "B",
            "levels": [[40000, 10_000], [39000, 20_000]],
            "certain_kwh": 10_000,
            "marginal_kwh": 20_000,
        }
    ]
    assert views[1]["own"] == [
        {
            "side": "S",
            "levels": [[36000, 15_000], [39500, 9_000]],
            "certain_kwh": 0,
            "marginal_kwh": 15_000,
        }
    ]
    assert views[2]["own"] == []
    assert "party" not in str(views[2])


def test_a_session_that_hides_its_curve_shows_nothing_but_the_own(site: Site, book: Book) -> None:
    with site.client("zhou") as other, site.client("staff") as staff, site.client("yunling") as owner:
        for client in (other, staff):
            view = seen(client, book.hidden)
            assert (view["is_shown"], view["demand"], view["own"], view["seq"]) == (False, [], [], 0)
            drawn = client.get(f"/trading/sessions/{book.hidden}/curve.svg").text
            assert "<path" not in drawn
        assert seen(owner, book.hidden)["own"] != []


def test_a_slip_of_the_unit_is_told_to_its_owner_alone(site: Site, book: Book) -> None:
    for session_id, kwh in ((book.past[0], 9_000), (book.past[1], 8_000), (book.shown, 8_500_000)):
        book.append(session_id, (LINJIA, "B", [(9, 37000, kwh)]))

    with site.client("linjia") as owner, site.client("yunling") as other:
        (doubt,) = [
            each for each in seen(owner, book.shown, 9)["doubts"] if each["declared_kwh"] == 8_500_000
        ]  # type: ignore[attr-defined]
        assert (doubt["kind"], doubt["factor"], doubt["usual_kwh"]) == ("factor", "1000", 8_000)
        assert seen(other, book.shown, 9)["doubts"] == []
        page = owner.get(
            f"/trading/sessions/{book.shown}/curve?period=9", headers={"accept": "text/html"}
        ).text
        assert "请核对单位" in page


def test_what_is_not_there_is_not_found(site: Site, book: Book) -> None:
    with site.client("yunling") as client:
        assert client.get("/trading/sessions/99999/curve").status_code == 404
        assert client.get(f"/trading/sessions/{book.shown}/curve?period=25").status_code == 404
        assert client.get(f"/trading/sessions/{book.shown}/curve?period=0").status_code == 422
        assert client.get("/trading/sessions/99999/curve/events").status_code == 404


def test_what_did_not_change_is_not_sent_again(site: Site, book: Book) -> None:
    path = f"/trading/sessions/{book.shown}/curve?period=2"
    with site.client("linjia") as client:
        tag = client.get(path).headers["etag"]
        again = client.get(path, headers={"if-none-match": tag})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.timeout(60)
def test_a_declaration_is_in_every_open_page_within_two_seconds(site: Site, book: Book) -> None:
    path = f"/trading/sessions/{book.shown}/curve?period=7"
    with (
        site.client("zhou") as client,
        client.stream("GET", path, headers={"accept": "text/event-stream"}) as s,
    ):
        lines = s.iter_lines()
        first = until_event(lines)
        (seq,) = book.append(book.shown, (ZHOU, "S", [(7, 36000, 8_000)]))
        book.append(book.shown, (YUNLING, "B", [(7, 38000, 3_000)]))
        second = until_event(lines)
        while "3.000" not in second:
            second = until_event(lines)
        book.append(book.shown, (ZHOU, "S", [(7, 37000, 2_000)]), replaces=seq)
        third = until_event(lines)

    assert "还没有申报" in first
    assert "370.00" in second
    assert "2.000" in third
    assert "375.00" in third


def until_event(lines: Iterator[str]) -> str:
    """The data of the next event `curve`."""
    found: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            found.append(line)
        elif not line and found:
            return "\n".join(found)
    raise AssertionError("the stream ended")


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_the_page_draws_and_goes_on_by_itself(
    site: Site, book: Book, program: Callable[[str], Path], tmp_path: Path
) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program("chromium")), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for language, size in (("zh", (1280, 860)), ("en", (390, 844))):
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.goto(f"{site.base}/login?lang={language}")
            page.fill("[name=login]", "yunling")
            page.fill("[name=password]", "correct horse battery")
            page.press("[name=password]", "Enter")
            page.wait_for_url(lambda url: "/login" not in url)
            page.goto(f"{site.base}/trading/sessions/{book.shown}/curve?period=1&lang={language}")
            page.wait_for_selector("svg.market-curve path.own", state="attached")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            before = page.inner_text(".summary")
            price = 36000 if language == "zh" else 35000
            book.append(book.shown, (ZHOU, "S", [(1, price, 1_000)]))
            page.wait_for_function("old => document.querySelector('.summary').innerText !== old", arg=before)
            page.screenshot(path=str(tmp_path / f"curve-{language}.png"))
            assert said == []
            page.close()
        browser.close()
