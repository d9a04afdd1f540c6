"""Review and questions over HTTP: what is decided is done and recorded, and only by those who may."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from argon2 import PasswordHasher
from pages import world
from pages.site import Site

from cloud.billing.run import review
from cloud.billing.store import published

OTHER = "second"


@pytest.fixture(scope="module")
def desk(site: Site) -> Site:
    """A site with a second member of staff and the draft assessed."""
    with psycopg.connect(site.world.dsn) as conn:
        password = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(world.PASSWORD)
        conn.execute(
            "INSERT INTO app_user (login, password_hash, display_name, role) VALUES (%s, %s, '审核员', 'staff')",
            (OTHER, password),
        )
        published.keep(conn, published.packaged_texts(), datetime(2026, 9, 2, tzinfo=UTC))
        review.assess_drafts(conn, "job:bill", datetime(2026, 9, 2, tzinfo=UTC))
    return site


def a_draft(site: Site, factor: int = 1) -> int:
    """Another draft: the issued bill's lines as a bill of a later month, `factor` times as much."""
    with psycopg.connect(site.world.dsn) as conn:
        row = conn.execute(
            """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at)
               SELECT account_id, (SELECT max(month) + interval '1 month' FROM bill WHERE account_id = b.account_id),
                      1, total_fen * %s, import_wh, 'draft', facts, input_sha256, made_at
               FROM bill b WHERE bill_id = %s RETURNING bill_id""",
            (factor, site.world.bill_id),
        ).fetchone()
        assert row is not None
        conn.execute(
            """INSERT INTO bill_line SELECT %s, line_no, section, item, period, quantity, unit, price_yuan_per_unit,
                                            amount_fen * %s, derivation, items
               FROM bill_line WHERE bill_id = %s""",
            (row[0], factor, site.world.bill_id),
        )
        review.assess_drafts(conn, "job:bill", datetime(2026, 9, 2, tzinfo=UTC))
    return int(row[0])


def decide(site: Site, client: httpx.Client, bill_id: int, deed: str, **form: str) -> httpx.Response:
    return client.post(f"/review/{bill_id}/{deed}", data={"form_token": site.form_token(client), **form})


def rows(site: Site, query: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(site.world.dsn) as conn:
        return conn.execute(query, values).fetchall()


def test_the_queue_tells_score_and_reasons(desk: Site) -> None:
    with desk.client("staff") as client:
        waiting = client.get("/review").json()["waiting"]

    (shop,) = [each for each in waiting if each["bill_id"] == desk.world.draft_bill_id]
    assert shop["reasons"] == [{"key": "first_bill", "weight": 10, "facts": {}}]
    assert (shop["score"], shop["is_low"], shop["needs_second"]) == (10, True, False)


def test_held_released_and_approved_is_recorded_and_issued(desk: Site) -> None:
    bill_id = a_draft(desk)
    with desk.client("staff") as client:
        assert decide(desk, client, bill_id, "hold").status_code == 422
        assert (
            decide(desk, client, bill_id, "hold", reason="reading", note="对一下示数").json()["state"]
            == "held"
        )
        assert decide(desk, client, bill_id, "approve").status_code == 409
        assert decide(desk, client, bill_id, "release").json()["state"] == "draft"
        assert decide(desk, client, bill_id, "approve").json()["state"] == "issued"
        assert decide(desk, client, bill_id, "hold", reason="other").status_code == 409
        page = client.get(f"/review/{bill_id}").json()

    assert [(each["deed"], each["reason"], each["note"]) for each in page["decisions"]] == [
        ("hold", "reading", "对一下示数"),
        ("release", "", ""),
        ("approve", "", ""),
    ]
    (booked,) = rows(desk, "SELECT count(*) FROM journal WHERE idem_key = %s", f"bill:{bill_id}")
    assert booked == (1,)


def test_a_large_bill_needs_a_second_person(desk: Site) -> None:
    bill_id = a_draft(desk, factor=20)
    with desk.client("staff") as client:
        decide(desk, client, bill_id, "hold", reason="customer")
        decide(desk, client, bill_id, "release")
        refused = decide(desk, client, bill_id, "approve")
    with desk.client(OTHER) as client:
        approved = decide(desk, client, bill_id, "approve")

    assert (refused.status_code, refused.json()["problem"]) == (403, "same_person")
    assert approved.json()["state"] == "issued"


def test_bills_approved_together_are_the_low_ones_only(desk: Site) -> None:
    a_draft(desk)  # the month that both are compared with is of their own size
    low, high = a_draft(desk), a_draft(desk, factor=3)
    with desk.client("staff") as client:
        answer = client.post(
            "/review/approve", data={"form_token": desk.form_token(client), "bill_id": [str(low), str(high)]}
        ).json()

    assert answer["approved"] == [low]
    assert answer["refused"] == [{"bill_id": high, "problem": "bill_not_low"}]
    assert rows(desk, "SELECT state FROM bill WHERE bill_id = ANY(%s) ORDER BY bill_id", [low, high]) == [
        ("issued",),
        ("draft",),
    ]


def test_a_bill_that_nobody_assessed_is_not_approved(desk: Site) -> None:
    bill_id = a_draft(desk)
    with psycopg.connect(desk.world.dsn) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("DELETE FROM bill_assessment WHERE bill_id = %s", (bill_id,))
    with desk.client("staff") as client:
        assert decide(desk, client, bill_id, "approve").json()["problem"] == "bill_not_assessed"


@pytest.mark.parametrize("table", ["bill_review", "bill_assessment", "bill_question", "bill_answer"])
def test_what_was_said_cannot_be_taken_back(desk: Site, table: str) -> None:
    bill_id = a_draft(desk)
    with psycopg.connect(desk.world.dsn) as conn:
        conn.execute(
            "INSERT INTO bill_review (bill_id, deed, actor, at) VALUES (%s, 'rerate', 'user:1', now())",
            (bill_id,),
        )
        conn.execute(
            """WITH asked AS (INSERT INTO bill_question (bill_id, question, asked_by, asked_at)
                              VALUES (%s, 'why', 'user:1', now()) RETURNING question_id)
               INSERT INTO bill_answer (question_id, answer, answered_by, answered_at)
               SELECT question_id, 'so', 'user:1', now() FROM asked""",
            (bill_id,),
        )
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            conn.execute(f"DELETE FROM {table}")


def test_a_customer_asks_about_a_line_and_sees_the_answer(desk: Site) -> None:
    path = f"/bills/{desk.world.bill_id}/questions"
    with desk.client("yunling") as client:
        token = desk.form_token(client)
        asked = client.post(path, data={"form_token": token, "line": "1", "question": " 尖峰为什么贵？ "})
        assert asked.status_code == 201
        assert (
            client.post(path, data={"form_token": token, "line": "999", "question": "没有这行"}).status_code
            == 404
        )
        assert client.post(path, data={"form_token": token, "question": " "}).status_code == 422
        assert client.post(path, data={"form_token": token, "question": "a\0b"}).status_code == 422
        assert client.post(path, data={"question": "没有令牌"}).status_code == 403
    with desk.client("zhou") as stranger:
        data = {"form_token": desk.form_token(stranger), "question": "别人的账单"}
        assert stranger.get(path).status_code == 404
        assert stranger.post(path, data=data).status_code == 404
    with desk.client("staff") as client:
        question = client.get("/questions").json()["questions"][0]
        assert question["question"] == "尖峰为什么贵？"
        assert question["context"]["label"] == "代理购电电费 尖峰"
        assert question["context"]["amount"] == "16,005.10"
        answered = client.post(
            f"/questions/{question['question_id']}/answer",
            data={"form_token": desk.form_token(client), "answer": "18 点到 21 点为尖峰，系数 2.04。"},
        )
        assert answered.status_code == 204
    with desk.client("yunling") as client:
        assert client.get(path).json()["questions"][0]["answer"] == "18 点到 21 点为尖峰，系数 2.04。"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_of_review_renders(desk: Site, language: str) -> None:
    bill_id = a_draft(desk)
    with desk.client("staff") as client, desk.client("yunling") as customer:
        for each in (client, customer):
            each.headers["accept"] = "text/html"
        for path in ("/review", f"/review/{bill_id}", f"/review/{desk.world.bill_id}", "/questions"):
            answer = client.get(path, params={"lang": language})
            assert (answer.status_code, "<h1>" in answer.text) == (200, True), path
        asked = customer.get(f"/bills/{desk.world.bill_id}/questions", params={"lang": language, "line": 1})
        assert "16,005.10" in asked.text


def test_a_page_of_a_bill_shows_how_and_the_marks_it_speaks_of(desk: Site) -> None:
    with desk.client("yunling") as client:
        client.headers["accept"] = "text/html"
        page = client.get(f"/bills/{desk.world.bill_id}", params={"lang": "zh"}).text

    assert "标 * 的价格文件" in page
    assert '<b aria-hidden="true">*</b>' in page
    assert 'id="line-1"' in page
    assert f"/bills/{desk.world.bill_id}/questions?line=1" in page
    assert "jibei-agency-2026-08@1" in page
