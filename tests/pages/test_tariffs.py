"""Comparing packages, the test bench and two-person publishing, over HTTP and by the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any, Final

import httpx
import psycopg
import pytest
from pages import tariff_world, world
from pages.site import Site
from pages.tariff_world import AUGUST, NOW, WORKER

from cloud.billing.bill import rate
from cloud.billing.run import bench
from cloud.billing.run import bill as billing
from cloud.billing.store import published
from cloud.db import Conn, ProcessRole, Scope, open_pool, transaction

TRANSMISSION: Final = "jibei-transmission"
# The workshop pays for 800 kVA; its agency price is printed all-in, so only what stands beside it can change the total.
DEARER: Final = ('capacity_yuan_per_kva_month = "23.6"', 'capacity_yuan_per_kva_month = "24.6"')
MONTHS: Final = {"first": "2026-08", "last": "2026-08"}


@pytest.fixture(scope="module", autouse=True)
def tariffs(site: Site) -> None:
    tariff_world.add(site.world.dsn)


@pytest.fixture
def worker(site: Site) -> Iterator[Conn]:
    """A worker's transaction that leaves nothing behind."""
    with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, WORKER) as conn:
        yield conn
        conn.rollback()


class Staff:
    """A member of the staff at work, as a program."""

    def __init__(self, site: Site, client: httpx.Client) -> None:
        self.client = client
        self.token = site.form_token(client)

    def post(self, path: str, **fields: object) -> httpx.Response:
        return self.client.post(path, data={"form_token": self.token, **fields})

    def draft(self, copy: str, *change: tuple[str, str], title: str = "试验") -> dict[str, Any]:
        """Start a draft as the next version of a published file, with words replaced."""
        started = self.post("/tariffs/drafts", title=title, origin=copy)
        assert started.status_code == 200, started.text
        view: dict[str, Any] = started.json()
        body = view["body"]
        for old, new in change:
            assert old in body
            body = body.replace(old, new)
        return self.save(view, body) if change else view

    def save(self, view: dict[str, Any], body: str) -> dict[str, Any]:
        head = view["head"]
        saved = self.post(f"/tariffs/drafts/{head['draft_id']}/text", revision=head["revision"], body=body)
        assert saved.status_code == 200, saved.text
        result: dict[str, Any] = saved.json()
        return result

    def bench(self, site: Site, view: dict[str, Any], **fields: object) -> dict[str, Any]:
        """Run a draft on the bench to its end."""
        asked = self.post(f"/tariffs/drafts/{view['head']['draft_id']}/bench", **(MONTHS | fields))
        assert asked.status_code == 200, asked.text
        tariff_world.work(site.world.dsn)
        result: dict[str, Any] = self.client.get(f"/tariffs/benches/{asked.json()['bench_id']}").json()
        return result

    def publish(self, view: dict[str, Any]) -> httpx.Response:
        head = view["head"]
        return self.post(f"/tariffs/drafts/{head['draft_id']}/publish", revision=head["revision"])


@pytest.fixture
def staff(site: Site) -> Iterator[Staff]:
    with site.client("staff") as client:
        yield Staff(site, client)


@pytest.fixture
def second(site: Site) -> Iterator[Staff]:
    with site.client("second") as client:
        yield Staff(site, client)


# ---- bench -----------------------------------------------------------------------------------------------


def test_a_bench_run_is_the_sum_of_its_accounts_rated_one_by_one(
    site: Site, staff: Staff, worker: Conn
) -> None:
    view = staff.draft(TRANSMISSION, DEARER)

    result = staff.bench(site, view, category="commercial")

    expected = 0
    with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, WORKER) as conn:
        for account in (world.WORKSHOP, world.SHOP, world.STRANGER):
            lines = billing.inputs(conn, account, AUGUST, NOW)
            expected += sum(line.amount_fen for line in rate(lines.segments, AUGUST))
    (category,) = result["categories"]
    assert (category["accounts"], category["before_fen"]) == (3, expected)
    assert category["after_fen"] - expected == sum(each["change_fen"] for each in result["accounts"])
    assert sum(bar["accounts"] for bar in result["bars"]) == 3
    # Only the workshop pays for capacity.
    assert [each["account_id"] for each in result["worst"]] == [world.WORKSHOP]
    assert (result["winners"], result["losers"]) == (0, 1)


def test_the_changed_line_is_the_capacity_times_the_price_difference(site: Site, staff: Staff) -> None:
    view = staff.draft(TRANSMISSION, DEARER)
    result = staff.bench(site, view, accounts=world.WORKSHOP)

    path = f"/tariffs/benches/{result['bench']['bench_id']}/accounts/{world.WORKSHOP}"
    (month,) = staff.client.get(path).json()["months"]

    (line,) = (each for each in month["changes"] if each["section"] == "basic")
    assert line["after_fen"] - line["before_fen"] == 80_000  # 800 kVA x 1 yuan
    assert month["after_fen"] - month["before_fen"] == sum(
        each["after_fen"] - each["before_fen"] for each in month["changes"]
    )
    assert {each["section"] for each in month["changes"]} <= {"basic", "power_factor"}


def test_next_months_price_sheet_is_tried_on_last_months_energy(site: Site, staff: Staff) -> None:
    """Another id and other days: it stands in the place of the sheet in force then."""
    view = staff.draft("jibei-agency-2026-08")
    body = view["body"].partition("[[printed]]")[0]
    for old, new in (
        ('id = "jibei-agency-2026-08"', 'id = "jibei-agency-2026-09"'),
        ("effective_from = 2026-08-01", "effective_from = 2026-09-01"),
        ("effective_to = 2026-09-01", "effective_to = 2026-10-01"),
    ):
        body = body.replace(old, new)
    start, end = body.index('section = "system_operation"'), len(body)
    body = body[:start] + body[start:end].replace('price_yuan_per_kwh = "0.0', 'price_yuan_per_kwh = "0.1', 1)
    view = staff.save(view, body)
    assert view["problems"] == []

    result = staff.bench(site, view, accounts=world.SHOP)

    with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, WORKER) as conn:
        segments = billing.inputs(conn, world.SHOP, AUGUST, NOW).segments
    (account,) = result["accounts"]
    assert account["change_fen"] == 10 * sum(each.energy.total_kwh for each in segments)  # 0.1 yuan a kWh


def test_an_unchanged_draft_changes_nobody(site: Site, staff: Staff) -> None:
    result = staff.bench(site, staff.draft(TRANSMISSION), category="commercial")

    assert (result["winners"], result["losers"]) == (0, 0)
    assert all(each["before_fen"] == each["after_fen"] for each in result["accounts"])


def test_printed_prices_follow_what_a_draft_beside_them_changes(site: Site, staff: Staff) -> None:
    """The agency sheet prints all-in prices; a dearer T&D price would otherwise be taken back by them."""
    view = staff.draft(TRANSMISSION, ('energy_yuan_per_kwh = "0.1365"', 'energy_yuan_per_kwh = "0.1465"'))

    result = staff.bench(site, view, accounts=world.WORKSHOP)

    path = f"/tariffs/benches/{result['bench']['bench_id']}/accounts/{world.WORKSHOP}"
    (month,) = staff.client.get(path).json()["months"]
    with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, WORKER) as conn:
        segments = billing.inputs(conn, world.WORKSHOP, AUGUST, NOW).segments
    kwh = sum(each.energy.total_kwh for each in segments)
    changes = {each["section"]: each["after_fen"] - each["before_fen"] for each in month["changes"]}
    assert changes.pop("transmission") == kwh  # 0.01 yuan, one fen, for each kWh
    assert set(changes) <= {"power_factor"}


def test_an_account_that_is_not_there_is_named_not_left_out(staff: Staff) -> None:
    path = f"/tariffs/drafts/{staff.draft(TRANSMISSION)['head']['draft_id']}/bench"

    answer = staff.post(path, **(MONTHS | {"accounts": f"{world.WORKSHOP} 9999999999999"}))

    assert (answer.status_code, answer.json()["facts"]["accounts"]) == (422, "9999999999999")


def test_a_draft_of_a_package_puts_the_accounts_on_it(site: Site, staff: Staff, worker: Conn) -> None:
    view = staff.draft("demo-tou")

    result = staff.bench(site, view, accounts=world.WORKSHOP)

    compared = bench.compare(worker, world.WORKSHOP, NOW).result
    assert compared is not None
    (tou,) = (each for each in compared.candidates if each.package and each.package.head.id == "demo-tou")
    assert [each["after_fen"] for each in result["accounts"]] == [tou.total_fen]


def test_a_run_that_was_stopped_goes_on_and_rates_nobody_twice(site: Site, staff: Staff) -> None:
    view = staff.draft(TRANSMISSION, DEARER)
    path = f"/tariffs/drafts/{view['head']['draft_id']}/bench"
    bench_id = staff.post(path, **MONTHS).json()["bench_id"]
    assert tariff_world.work(site.world.dsn, 1) == 1
    halfway = staff.client.get(f"/tariffs/benches/{bench_id}").json()["bench"]

    workers = [Thread(target=tariff_world.work, args=(site.world.dsn,)) for _ in range(3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()

    done = staff.client.get(f"/tariffs/benches/{bench_id}").json()["bench"]
    assert (halfway["done"], halfway["is_done"]) == (1, False)
    assert (done["done"], done["is_done"]) == (done["units"], True)
    with psycopg.connect(site.world.dsn) as conn:
        rows = conn.execute("SELECT count(*) FROM bench_result WHERE bench_id = %s", (bench_id,)).fetchone()
    assert rows == (done["units"],)


# ---- writing ---------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_its_line(staff: Staff) -> None:
    view = staff.draft(TRANSMISSION, ('energy_yuan_per_kwh = "0.1365"', "energy_yuan_per_kwh = 0.1365"))

    (problem,) = view["problems"]
    assert view["body"].splitlines()[problem["line"] - 1] == "energy_yuan_per_kwh = 0.1365"
    assert problem["key"].endswith("energy_yuan_per_kwh")
    assert view["publish_hint"] == "not_valid"
    assert staff.post(f"/tariffs/drafts/{view['head']['draft_id']}/bench", **MONTHS).status_code == 422


def test_a_version_that_is_taken_is_said_at_its_line(staff: Staff) -> None:
    view = staff.draft(TRANSMISSION, ("version = 2", "version = 1"))

    (problem,) = view["problems"]
    assert (problem["key"], view["body"].splitlines()[problem["line"] - 1]) == ("version", "version = 1")


def test_a_text_written_on_an_older_revision_is_refused(staff: Staff) -> None:
    view = staff.draft(TRANSMISSION)
    staff.save(view, view["body"] + "# one\n")

    late = staff.post(
        f"/tariffs/drafts/{view['head']['draft_id']}/text", revision=1, body=view["body"] + "# two\n"
    )

    assert late.status_code == 409


def test_painted_hours_are_written_into_the_text_and_nothing_else_is_touched(staff: Staff) -> None:
    view = staff.draft("jibei-tou")
    head = view["head"]
    before = view["body"]
    fields = []
    for block in before.split("[[season]]")[1:]:
        for period in ("tip", "peak", "flat", "valley", "deep"):
            (line,) = [each for each in block.splitlines() if each.startswith(f"{period} = ")] or [""]
            fields.append(", ".join(line.partition("[")[2].rstrip("]").replace('"', "").split(", ")))
    same = staff.post(f"/tariffs/drafts/{head['draft_id']}/hours", revision=head["revision"], hours=fields)
    fields[0], fields[1] = "17:00-21:00", "10:00-12:00, 16:00-17:00, 21:00-22:00"
    changed = staff.post(
        f"/tariffs/drafts/{head['draft_id']}/hours", revision=same.json()["head"]["revision"], hours=fields
    ).json()

    assert same.json()["problems"] == []
    assert changed["problems"] == []
    assert 'tip = ["17:00-21:00"]' in changed["body"]
    gone = [line for line in changed["difference"] if line[0] in "+-"]
    assert gone == [
        *("-version = 2", "+version = 3"),
        *('-tip = ["18:00-21:00"]', '-peak = ["10:00-12:00", "16:00-18:00", "21:00-22:00"]'),
        *('+tip = ["17:00-21:00"]', '+peak = ["10:00-12:00", "16:00-17:00", "21:00-22:00"]'),
    ]


# ---- two persons -----------------------------------------------------------------------------------------


def test_a_draft_is_published_by_a_second_person_and_prices_at_once(
    site: Site, staff: Staff, second: Staff
) -> None:
    view = staff.draft("demo-fixed", ('fixed_price = "0.4120"', 'fixed_price = "0.4110"'))
    unbenched = second.publish(view)
    staff.bench(site, view)
    own = staff.publish(view)
    done = second.publish(view)

    assert (unbenched.status_code, unbenched.json()["problem"]) == (409, "not_benched")
    assert (own.status_code, own.json()["problem"]) == (403, "own_draft")
    assert done.status_code == 200
    assert second.publish(view).status_code == 409
    with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, WORKER) as conn:
        result = bench.compare(conn, world.WORKSHOP, NOW).result
    assert result is not None
    assert "demo-fixed@2" in [each.package.head.origin for each in result.candidates if each.package]


def test_whoever_wrote_any_of_it_cannot_publish_it(site: Site, staff: Staff, second: Staff) -> None:
    view = staff.draft("demo-ladder", ('"0.3950"', '"0.3940"'))
    view = second.save(view, view["body"] + "# looked at\n")
    staff.bench(site, view)

    assert second.publish(view).status_code == 403
    assert staff.publish(view).status_code == 403


def test_the_database_itself_refuses_every_other_way(site: Site, staff: Staff) -> None:
    view = staff.draft("demo-share", ('"0.7"', '"0.6"'))
    staff.bench(site, view)
    draft_id, revision = view["head"]["draft_id"], view["head"]["revision"]
    with psycopg.connect(site.world.dsn) as conn:
        author = conn.execute("SELECT 'user:' || user_id FROM app_user WHERE login = 'staff'").fetchone()
    assert author is not None
    api = Scope(ProcessRole.API, "staff", actor=author[0])

    def answer(scope: Scope, statement: str, *values: object) -> object:
        with open_pool(site.world.dsn, size_max=1) as pool, transaction(pool, scope) as conn:
            row = conn.execute(statement, values).fetchone()
            return row and row[0]

    publish = "SELECT publish_draft(%s, %s, now())"
    assert answer(api, publish, draft_id, revision) == "own_draft"
    assert (
        answer(replace(api, person_role="customer", party_id=1), publish, draft_id, revision) == "not_staff"
    )
    assert answer(replace(api, actor=""), publish, draft_id, revision) == "not_staff"
    for scope, statement in (
        (api, "INSERT INTO price_sheet SELECT * FROM price_sheet LIMIT 1 RETURNING 1"),
        (api, "UPDATE tariff_draft_text SET author = 'user:1' RETURNING 1"),
        (
            api,
            "INSERT INTO tariff_draft (title, started_by, started_at) VALUES ('x', 'user:0', now()) RETURNING 1",
        ),
        (api, "INSERT INTO tariff_publication SELECT * FROM tariff_publication RETURNING 1"),
        (api, "INSERT INTO bench_result SELECT * FROM bench_result RETURNING 1"),
        (WORKER, "SELECT publish_draft(1, 1, now())"),
        (Scope(ProcessRole.OWNER), "UPDATE price_sheet SET body = '' RETURNING 1"),
        (Scope(ProcessRole.OWNER), "DELETE FROM tariff_publication RETURNING 1"),
    ):
        if scope.process is ProcessRole.OWNER and "publication" in statement:
            with psycopg.connect(site.world.dsn) as conn:
                if conn.execute("SELECT 1 FROM tariff_publication").fetchone() is None:
                    continue
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            answer(scope, statement)


def test_customers_and_technicians_have_no_part_in_tariffs(site: Site) -> None:
    for login in ("yunling", "tech"):
        with site.client(login) as client:
            token = site.form_token(client) if login == "yunling" else ""
            for path in (
                "/tariffs",
                "/tariffs/drafts/1",
                "/tariffs/benches/1",
                f"/tariffs/files/{TRANSMISSION}/1",
            ):
                assert client.get(path).status_code == 403
            for path in ("/tariffs/drafts", "/tariffs/drafts/1/publish", "/tariffs/drafts/1/bench"):
                assert client.post(path, data={"form_token": token}).status_code in (403, 422)


def test_published_files_are_shown_with_their_text(staff: Staff, worker: Conn) -> None:
    shown = staff.client.get(f"/tariffs/files/{TRANSMISSION}/1").json()
    listed = staff.client.get("/tariffs").json()

    assert shown["body"] == published.text_of(worker, TRANSMISSION, 1)
    assert TRANSMISSION in {each["id"] for each in listed["files"]}
    assert staff.client.get("/tariffs/files/nothing/1").status_code == 404


def test_the_price_table_is_rebuilt_row_by_row(staff: Staff) -> None:
    rows = staff.client.get("/tariffs/files/jibei-agency-2026-08/1").json()["rows"]

    # tariffs-and-settlement 5.3, first row: < 1 kV single-part.
    (first,) = [row for row in rows if (row["structure"], row["voltage"]) == ("single_part", "lt1kV")]
    assert [str(price) for price in first["prices"]] == [
        *("1.02948967", "0.89396635", "0.61494775", "0.33592915", "0.31201327")
    ]
    assert len(rows) == 10
    assert not any(any(row["differs"]) for row in rows)
