"""The ledger and the corrections desk over HTTP: what staff see, what they decide, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import money_world as world
import psycopg
import pytest
from money_world import SHELLS, account_id
from pages.site import Site

from cloud.billing import correction, ledger
from cloud.billing.run import correct
from cloud.billing.store import ledger as books
from cloud.billing.store import touched

NUMBERS = (51, 52, 53)
NOW = datetime(2026, 11, 2, 3, tzinfo=UTC)


@dataclass(frozen=True)
class Desk:
    """A proposal over three bills, one that the staff user prepared, and a statement's account."""

    waiting: int
    own: int


@pytest.fixture(scope="module")
def desk(site: Site) -> Desk:
    with psycopg.connect(site.world.dsn) as conn:
        world.put_accounts(conn, NUMBERS)
        for number in NUMBERS:
            world.put_month(conn, number)
            world.bill_and_issue(conn, number)
            day = world.a_day(number, date(2026, 8, 20), 2, slot_40=1000 * number + 9000)
            world.put_revision(conn, day, NOW)
        touched.look(conn, NOW)
        row = conn.execute("SELECT user_id FROM app_user WHERE login = 'staff'").fetchone()
        assert row is not None
        first, *others = (
            each
            for each in correction.by_bill(touched.waiting(conn))
            if each.account_id in map(account_id, NUMBERS)
        )
        waiting = correct.prepare(
            conn, others, correct.Order("r1", "迟到数据", "job:corrections"), SHELLS, NOW
        )
        own = correct.prepare(conn, [first], correct.Order("desk", "本人提出", f"user:{row[0]}"), SHELLS, NOW)
    return Desk(waiting, own)


def test_the_trial_balance_balances_at_every_pair_of_dates(site: Site, desk: Desk) -> None:
    with site.client("staff") as client:
        whole = client.get("/ledger").json()
        before = client.get("/ledger", params={"effective": "2026-09-13"}).json()
        by_hour = client.get("/ledger", params={"booked": "2026-09-14T10:00"}).json()
        page = client.get("/ledger", headers={"accept": "text/html"}).text
        table = client.get("/ledger/csv")

    assert whole["debit_fen"] == whole["credit_fen"] > 0
    assert before["kinds"] == []  # the bills went out on the 14th
    assert by_hour["kinds"] == []  # at 10:00 market time, and "before" is exclusive
    assert "借贷平衡" in page
    rows = [line.split(",") for line in table.text.splitlines()]
    assert rows[0] == ["account", "debit_fen", "credit_fen", "balance_fen"]
    assert sum(int(row[3]) for row in rows[1:]) == 0
    assert table.headers["content-type"].startswith("text/csv")


def test_a_statement_leads_to_its_journal_and_the_journal_to_its_bill(site: Site, desk: Desk) -> None:
    account = ledger.receivable(account_id(52))
    with site.client("staff") as client:
        statement = client.get("/ledger/statement", params={"account": account}).json()
        journal = client.get(f"/ledger/journals/{statement['lines'][0]['journal_id']}").json()
        bill = client.get(f"/bills/{journal['facts']['bill']}").json()

    assert statement["closing_fen"] == statement["lines"][-1]["balance_fen"]
    assert bill["account_id"] == account_id(52)
    assert sum(each["amount_fen"] for each in journal["postings"]) == 0


@pytest.mark.parametrize(
    "query", [{"effective": "gestern"}, {"booked": "noon"}, {"effective": "2026-02-30"}, {"booked": "1"}]
)
def test_what_is_no_date_is_said_so(site: Site, desk: Desk, query: dict[str, str]) -> None:
    with site.client("staff") as client:
        answer = client.get("/ledger", params=query)

    assert answer.status_code == 422
    assert next(iter(query.values())) in answer.text


def test_the_desk_shows_more_and_less_line_by_line(site: Site, desk: Desk) -> None:
    with site.client("staff") as client:
        listed = client.get("/corrections").json()
        shown = client.get(f"/corrections/{desk.waiting}").json()
        page = client.get(f"/corrections/{desk.waiting}", headers={"accept": "text/html"}).text

    assert {each["correction_id"] for each in listed["waiting"]} >= {desk.waiting, desk.own}
    assert shown["proposal"]["differs"] == 2
    assert shown["proposal"]["more_fen"] == sum(item["change_fen"] for item in shown["items"]) > 0
    for item in shown["items"]:
        assert sum(change["change_fen"] for change in item["changes"]) == item["change_fen"]
        assert f"/bills/{item['bill_id']}" in page
    assert page.count("change-chart") == 2


def test_who_prepared_it_is_refused_and_another_person_is_not(site: Site, desk: Desk) -> None:
    with site.client("staff") as client:
        token = site.form_token(client)
        own = client.post(f"/corrections/{desk.own}/approve", data={"form_token": token})
        without_form = client.post(f"/corrections/{desk.waiting}/approve")
        approved = client.post(f"/corrections/{desk.waiting}/approve", data={"form_token": token})
        again = client.post(f"/corrections/{desk.waiting}/approve", data={"form_token": token})

    assert (own.status_code, without_form.status_code, again.status_code) == (403, 403, 409)
    assert approved.status_code in (200, 303), approved.text
    with psycopg.connect(site.world.dsn) as conn:
        assert sum(row.balance_fen for row in books.trial_balance(conn, None, None)) == 0
        states = conn.execute(
            "SELECT state, count(*)::int FROM bill WHERE account_id = ANY(%s) GROUP BY state ORDER BY state",
            ([account_id(number) for number in NUMBERS],),
        ).fetchall()
        decided = conn.execute(
            "SELECT decided_by FROM correction_decision WHERE correction_id = %s", (desk.waiting,)
        ).fetchone()
    assert states == [("issued", 3), ("superseded", 2)]
    assert decided is not None
    assert str(decided[0]).startswith("user:")


def test_declining_takes_a_reason(site: Site, desk: Desk) -> None:
    with site.client("staff") as client:
        token = site.form_token(client)
        silent = client.post(f"/corrections/{desk.own}/decline", data={"form_token": token})
        told = client.post(
            f"/corrections/{desk.own}/decline", data={"form_token": token, "reason": "读数已核实"}
        )
        shown = client.get(f"/corrections/{desk.own}").json()

    assert silent.status_code == 422
    assert told.status_code in (200, 303)
    assert (shown["proposal"]["deed"], shown["proposal"]["decision_reason"]) == ("decline", "读数已核实")


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(
    "path", ["/ledger", "/ledger/statement?account=revenue/energy", "/ledger/journals/1", "/corrections"]
)
def test_every_page_speaks_both_languages(site: Site, desk: Desk, path: str, language: str) -> None:
    joint = "&" if "?" in path else "?"
    with site.client("staff") as client:
        answer = client.get(f"{path}{joint}lang={language}", headers={"accept": "text/html"})

    assert answer.status_code == 200
    assert f'lang="{"zh-Hans" if language == "zh" else "en"}"' in answer.text
