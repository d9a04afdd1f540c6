"""Negotiation and transfer over real HTTP: from invitation to contract, what nobody may do, evidence, conserved volumes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import deal_world
import psycopg
import pypdfium2
import pytest
from deal_world import Deals, Desk, next_month

from cloud.db import transaction
from cloud.market.run import handover, negotiate
from cloud.market.store import negotiations
from cloud.paper.attached import attached_json, page_text

MONTHS = [f"{next_month(number):%Y-%m}" for number in (1, 2)]
PDF = b"%PDF-1.7\n1 0 obj <<>> endobj\ntrailer <<>>\n%%EOF\n"


@pytest.fixture(scope="module")
def deals(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deals]:
    with deal_world.market(postgres_dsn, template_database, tmp_path_factory.mktemp("rooms")) as found:
        yield found


def until(**later: float) -> str:
    return (datetime.now(UTC) + timedelta(**later)).isoformat()  # noqa: TID251


def opened(deals: Deals, opener: Desk, invited: str, **changed: object) -> int:
    form = {"title": "年度电能量", "side": "S", "invited": deals.parties[invited], "until": until(days=3)}
    answer = opener.post("/negotiations", form | changed)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["negotiation_id"])


def offer(desk: Desk, room: int, mwh: str, price: str, **changed: object) -> dict[str, object]:
    form = {"month": MONTHS, "period": ["peak", "peak"], "mwh": [mwh, mwh], "price": [price, price]}
    answer = desk.post(f"/negotiations/{room}/offers", form | changed)
    return {"status": answer.status_code, **answer.json()}


def standing(desk: Desk, room: int) -> dict[str, object]:
    view = desk.get(f"/negotiations/{room}").json()
    return {"version": view["standing_no"], "sha256": view["versions"][view["standing_no"] - 1]["sha256"]}


def agree(deals: Deals, seller: Desk, buyer: Desk, room: int, who: str) -> str:
    assert offer(seller, room, "100", "395")["status"] == 201
    deals.prove(who)
    answer = buyer.post(f"/negotiations/{room}/accept", standing(buyer, room))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["contract_id"])


def test_from_an_invitation_to_a_frozen_version_and_the_draft_of_its_contract(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill, deals.client("shop") as stranger:
        room = opened(deals, coal, "mill")
        assert offer(coal, room, "100", "395")["problem"] == "no_such_move"  # nobody is there yet
        assert coal.post(f"/negotiations/{room}/join").status_code == 403
        assert mill.post(f"/negotiations/{room}/join").status_code == 303
        first = offer(coal, room, "100", "400", settlement="physical", deviation="band", band_pct="5")
        mill.post(f"/negotiations/{room}/messages", {"text": "谷段能否再低一些？"})
        given = mill.post(
            f"/negotiations/{room}/files", files={"file": ("合同草案.pdf", PDF, "application/pdf")}
        )
        second = offer(mill, room, "100", "395", deviation="band", band_pct="3.5")
        view = coal.get(f"/negotiations/{room}").json()

        assert (first["status"], second["status"], given.status_code) == (201, 201, 303)
        changes = {(what, place): (old, new) for what, place, old, new in view["versions"][1]["changes"]}
        assert changes == {
            ("price", f"{MONTHS[0]} peak"): ("400.00", "395.00"),
            ("price", f"{MONTHS[1]} peak"): ("400.00", "395.00"),
            ("band_permille", ""): ("50", "35"),
        }
        document = next(each["document_id"] for each in view["talk"] if each["document_id"])
        taken = coal.get(f"/negotiations/{room}/files/{document}")
        assert (taken.status_code, taken.content) == (200, PDF)
        assert stranger.get(f"/negotiations/{room}/files/{document}").status_code == 404
        assert stranger.get(f"/negotiations/{room}").status_code == 404
        assert stranger.get(f"/negotiations/{room}/evidence.pdf").status_code == 404

        seen = standing(coal, room)
        unproven = coal.post(f"/negotiations/{room}/accept", seen)
        deals.prove("coal")
        deals.prove("mill")
        own = mill.post(f"/negotiations/{room}/accept", seen)
        other_hash = coal.post(f"/negotiations/{room}/accept", seen | {"sha256": "0" * 64})
        older = coal.post(
            f"/negotiations/{room}/accept", {"version": 1, "sha256": view["versions"][0]["sha256"]}
        )
        agreed = coal.post(f"/negotiations/{room}/accept", seen)

        assert (unproven.status_code, own.status_code) == (401, 403)
        assert [each.json()["problem"] for each in (other_hash, older)] == ["stale_version", "stale_version"]
        assert agreed.status_code == 201, agreed.text
        contract_id = agreed.json()["contract_id"]
        assert offer(mill, room, "100", "390")["problem"] == "no_such_move"  # what is agreed nobody edits
        kept = deals.rows(
            "SELECT state, kind, seller_id, buyer_id, agreed FROM contract WHERE contract_id = %s",
            contract_id,
        )
        assert kept[0][:4] == ("draft", "wholesale", deals.parties["coal"], deals.parties["mill"])
        volumes = kept[0][4]["volumes"]  # type: ignore[index, call-overload]
        assert [(each["month"], each["period"], each["mwh"], each["price"]) for each in volumes] == [
            (month, "peak", "100.000", "395.00") for month in MONTHS
        ]
        assert seen["sha256"] in kept[0][4]["document"]  # type: ignore[index, call-overload, operator]
        _evidence_proves_itself(coal, room)


def _evidence_proves_itself(desk: Desk, room: int) -> None:
    chain = desk.get(f"/negotiations/{room}/evidence.json").json()
    before = "0" * 64
    for number, event in enumerate(chain["events"], start=1):  # as a court's expert would, with SHA-256 alone
        assert event["before_sha256"] == before
        assert hashlib.sha256((before + event["text"]).encode()).hexdigest() == event["sha256"]
        assert json.loads(event["text"])["number"] == number
        before = event["sha256"]
    assert chain["last_sha256"] == before
    assert [json.loads(event["text"])["deed"] for event in chain["events"]] == [
        *("open", "join", "offer", "say", "file", "offer", "accept")
    ]
    page = desk.http.get(f"/negotiations/{room}/evidence", headers={"accept": "text/html"})
    assert before in page.text
    _paper_says_it_all(desk, room, chain)


def _paper_says_it_all(desk: Desk, room: int, chain: dict[str, object]) -> None:
    first, again = (desk.get(f"/negotiations/{room}/evidence.pdf") for _ in range(2))
    assert (first.status_code, first.headers["content-type"]) == (200, "application/pdf")
    assert first.content == again.content  # the same room is the same bytes
    assert json.loads(attached_json(first.content)) == chain
    text = "".join(page_text(first.content).split())
    versions = [json.loads(event["text"])["body"] for event in chain["events"]]  # type: ignore[attr-defined]
    said = ("示范热电厂", "示范轧钢厂", "谷段能否再低一些？", "合同草案.pdf", hashlib.sha256(PDF).hexdigest())
    hashes = [body["sha256"] for body in versions if "terms" in body]
    for told in (
        *said,
        *hashes,
        str(chain["last_sha256"]),
        "400.00",
        "395.00",
        "±3.5%",
        f"NEG-{room:06d}-V2",
    ):
        assert "".join(told.split()) in text, told


def test_what_was_said_runs_off_no_paper(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill:
        room = opened(deals, coal, "mill")
        mill.post(f"/negotiations/{room}/messages", {"text": "https://" + "x" * 600 + " 😀 \x01"})
        paper = coal.get(f"/negotiations/{room}/evidence.pdf").content
    with pypdfium2.PdfDocument(paper) as document:
        page = document[0]
        text = page.get_textpage()
        right = max(text.get_charbox(number)[2] for number in range(text.count_chars()))
        assert text.get_text_range().count("x") == 600
        assert right <= page.get_width()


def test_what_one_side_does_appears_at_the_other_and_a_broken_line_loses_nothing(deals: Deals) -> None:
    with (
        deals.client("coal") as coal,
        deals.client("mill") as mill,
        deals.client("shop") as stranger,
        deals.client("operator") as operator,
    ):
        room = opened(deals, coal, "mill", title="看得见的协商")
        path = f"/negotiations/{room}/events"
        with stranger.listening(path) as foreign:
            assert foreign.status == 404
        with coal.listening(f"{path}?after=1") as heard, operator.listening(f"{path}?after=1") as overseen:
            mill.post(f"/negotiations/{room}/join")
            joined = json.loads(heard.wait("happened"))
            heard.wait("seen")
            assert (joined["number"], joined["deed"], joined["is_mine"]) == (2, "join", False)
            assert 'name="mwh"' in heard.wait("making")  # now that somebody is there, an offer may be made
            overseen.wait("seen")
            assert "<form" not in "".join(
                overseen.named("making") + overseen.named("deeds")
            )  # who oversees acts not
        number = heard.last_id
        offer(mill, room, "100", "395")  # while the line is broken
        mill.post(f"/negotiations/{room}/messages", {"text": "价格含<辅助服务>"})
        with coal.listening(f"{path}?after=1", number) as again:
            assert "395.00" in again.wait("offers")
            assert "价格含&lt;辅助服务&gt;" in again.wait("talk")
            again.wait("seen")
            missed = [json.loads(each) for each in again.named("happened")]
            unread = deals.rows(
                "SELECT number FROM negotiation_read WHERE negotiation_id = %s AND user_id = %s",
                *(room, deals.users["coal"]),
            )
        with coal.listening(f"{path}?after=4") as current:
            deals.rows("SELECT pg_sleep(1)")
            assert current.messages == []  # who has everything hears nothing
            with psycopg.connect(deals.dsn) as conn:
                conn.execute("DELETE FROM user_session WHERE user_id = %s", (deals.users["coal"],))
            mill.post(f"/negotiations/{room}/messages", {"text": "在吗"})
            current.wait("over")  # whose session is over reads no further

    assert number == "2"
    assert [(each["number"], each["deed"]) for each in missed] == [(3, "offer"), (4, "say")]
    assert unread == [(4,)]
    assert current.named("happened") == []


def test_a_change_after_agreement_needs_a_reason_and_the_other_side(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("shop") as shop, deals.client("operator") as operator:
        room = opened(deals, coal, "shop")
        shop.post(f"/negotiations/{room}/join")
        contract_id = agree(deals, coal, shop, room, "shop")

        assert coal.post(f"/negotiations/{room}/ask_change", {"reason": " "}).status_code == 422
        assert coal.post(f"/negotiations/{room}/ask_change", {"reason": "机组检修推迟"}).status_code == 303
        assert coal.post(f"/negotiations/{room}/allow_change", {"reason": "同意"}).status_code == 403
        refused = operator.post(f"/negotiations/{room}/refuse-change", {"reason": "已过申报截止"})
        assert (refused.status_code, operator.get(f"/negotiations/{room}").status_code) == (303, 200)
        assert coal.post(f"/negotiations/{room}/ask_change", {"reason": "机组检修推迟"}).status_code == 303
        assert shop.post(f"/negotiations/{room}/allow_change", {"reason": "可以"}).status_code == 303
        states = deals.rows("SELECT state FROM contract WHERE contract_id = %s", contract_id)
        assert states == [("cancelled",)]
        assert offer(coal, room, "90", "396")["version"] == 2
        deals.prove("shop")
        again = shop.post(f"/negotiations/{room}/accept", standing(shop, room))
        assert again.json()["contract_id"] == f"NEG-{room:06d}-V2"


def test_rooms_end_by_their_clock_and_are_opened_again(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill:
        room = opened(deals, coal, "mill")
        mill.post(f"/negotiations/{room}/join")
        pool = deal_world.worker(deals.dsn)
        with pool, transaction(pool, negotiate.CLOCK) as conn:
            negotiate.expire(conn, room, datetime.now(UTC) + timedelta(days=4))  # noqa: TID251
        late = offer(coal, room, "100", "395")
        again = coal.post(f"/negotiations/{room}/reopen", {"reason": "继续谈", "until": until(days=2)})
        joined = mill.post(f"/negotiations/{room}/join")
        declined = opened(deals, coal, "mill")
        mill.post(f"/negotiations/{declined}/decline", {"reason": "暂不需要"})

    assert late["problem"] == "no_such_move"
    assert (again.status_code, joined.status_code) == (303, 303)
    assert mill is not None
    states = dict(
        deals.rows("SELECT negotiation_id, state FROM negotiation WHERE negotiation_id >= %s", room)  # type: ignore[arg-type]
    )
    assert (states[room], states[declined]) == ("negotiating", "declined")


@pytest.mark.parametrize(
    ("mwh", "price", "problem"),
    [
        ("100", "0.395", "price_form"),
        ("100", "0.39", "precheck_price_unit"),
        ("100", "500", "precheck_price_band"),
        ("0.0001", "395", "quantity_form"),
        ("-1", "395", "negotiation_volume"),
    ],
)
def test_the_preliminary_check_refuses_with_its_reason(
    deals: Deals, mwh: str, price: str, problem: str
) -> None:
    with deals.client("wind") as wind, deals.client("shop") as shop:
        room = opened(deals, wind, "shop")
        shop.post(f"/negotiations/{room}/join")

        answer = offer(wind, room, mwh, price)

    assert (answer["status"], answer["problem"]) == (422, problem)


def test_a_quantity_in_the_wrong_unit_and_a_duplicate_are_warned_of(deals: Deals) -> None:
    with deals.client("wind") as wind, deals.client("trade") as trade:
        room = opened(deals, wind, "trade")
        trade.post(f"/negotiations/{room}/join")
        agree(deals, wind, trade, room, "trade")
        other = opened(deals, wind, "trade")
        trade.post(f"/negotiations/{other}/join")

        answer = offer(wind, other, "100", "395")

    assert answer["status"] == 201
    assert "相同月份、时段和电量" in str(answer["warnings"])


def test_the_database_keeps_the_chain_against_whoever_writes(deals: Deals) -> None:
    with deals.client("coal") as coal:
        room = opened(deals, coal, "mill")
    with psycopg.connect(deals.dsn) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute("UPDATE negotiation_event SET body = '{}' WHERE negotiation_id = %s", (room,))
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute(
                """INSERT INTO negotiation_event (negotiation_id, number, deed, actor, at, body, body_text, before_sha256,
                       sha256) VALUES (%s, 2, 'accept', 'x', now(), '{}', '{"body": {}}', repeat('0', 64), repeat('1', 64))""",
                (room,),
            )
        with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
            conn.execute("UPDATE negotiation SET state = 'agreed' WHERE negotiation_id = %s", (room,))


def effective(deals: Deals, coal: Desk, mill: Desk) -> str:
    """A contract in force between coal and mill, of two months, by way of a listing."""
    ends = until(hours=1)
    form = {
        "side": "S",
        "month": MONTHS,
        "period": ["month"] * 2,
        "mwh": ["300", "200"],
        "price": ["380", "381"],
    }
    listing = coal.post("/listings", form | {"ends": ends}).json()["listing_id"]
    return str(mill.post(f"/listings/{listing}/takes", {"mwh": ["300", "200"]}).json()["contract_id"])


def test_a_transfer_parts_a_contract_by_the_consent_of_all_three(deals: Deals) -> None:
    with (
        deals.client("coal") as coal,
        deals.client("mill") as mill,
        deals.client("shop") as shop,
        deals.client("trade") as stranger,
    ):
        contract_id = effective(deals, coal, mill)
        form = {
            "contract": contract_id,
            "to": deals.parties["shop"],
            "mwh": ["120.5", "200"],
            "reason": "停产检修",
        }
        assert mill.post("/transfers", form).status_code == 401
        for name in ("mill", "shop", "coal"):
            deals.prove(name)
        too_much = mill.post("/transfers", form | {"mwh": ["300.001", ""]})
        foreign = stranger.post("/transfers", form)
        proposed = mill.post("/transfers", form)
        assert (too_much.status_code, too_much.json()["problem"]) == (422, "transfer_too_much")
        assert (foreign.status_code, proposed.status_code) == (404, 201)
        path = f"/transfers/{proposed.json()['transfer_id']}"
        view = shop.get(path).json()
        figures = {"sha256": view["terms_sha256"]}
        assert view["kwh"] == [120_500, 200_000]
        assert len(view["lines"]) == 2  # the transferee sees what it is
        assert stranger.get(path).status_code == 404
        assert coal.post(f"{path}/consent", figures).status_code == 409  # the transferee goes first
        assert coal.post(f"{path}/take-over", figures).status_code == 403
        assert shop.post(f"{path}/take-over", {"sha256": "0" * 64}).status_code == 409
        assert shop.post(f"{path}/take-over", figures).status_code == 303
        assert shop.post(f"{path}/consent", figures).status_code == 403
        done = coal.post(f"{path}/consent", figures)

        assert done.status_code == 201, done.text
        new_id = done.json()["contract_id"]
        rows = deals.rows(
            """SELECT c.contract_id = %s, c.version, c.buyer, array_agg(v.mwh::text ORDER BY v.month) FROM wholesale_contract c
               JOIN wholesale_volume v USING (contract_id, version) WHERE c.contract_id IN (%s, %s)
               GROUP BY 1, 2, 3 ORDER BY 1, 2""",
            *(new_id, contract_id, new_id),
        )
        mill_unit, shop_unit = f"party:{deals.parties['mill']}", f"party:{deals.parties['shop']}"
        assert rows == [
            (False, 1, mill_unit, ["300.000", "200.000"]),
            (False, 2, mill_unit, ["179.500", "0.000"]),
            (True, 1, shop_unit, ["120.500", "200.000"]),
        ]
        assert deals.rows("SELECT version, state FROM contract WHERE contract_id = %s", contract_id) == [
            (2, "effective")
        ]
        assert deals.rows("SELECT state FROM contract WHERE contract_id = %s", new_id) == [("effective",)]
        assert coal.post(f"{path}/consent", figures).status_code == 409


def test_a_transfer_ends_by_refusal_or_time_and_frees_what_was_bound(deals: Deals) -> None:
    with deals.client("coal") as coal, deals.client("mill") as mill, deals.client("shop") as shop:
        contract_id = effective(deals, coal, mill)
        for name in ("mill", "shop", "coal"):
            deals.prove(name)
        reserved = deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"])[0][0]
        form = {"contract": contract_id, "to": deals.parties["shop"], "mwh": ["10", ""], "reason": "停产检修"}
        number = mill.post("/transfers", form).json()["transfer_id"]
        figures = {"sha256": shop.get(f"/transfers/{number}").json()["terms_sha256"]}
        shop.post(f"/transfers/{number}/take-over", figures)
        bound = deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"])[0][0]
        declined = coal.post(f"/transfers/{number}/decline", {"reason": "不同意更换购方"})
        with deal_world.worker(deals.dsn) as pool:
            handover.ring(pool, datetime.now(UTC))  # noqa: TID251
        freed = deals.rows("SELECT guarantee_reserved_fen(%s)", deals.parties["shop"])[0][0]
        other = mill.post("/transfers", form).json()["transfer_id"]
        with deal_world.worker(deals.dsn) as pool:
            handover.ring(pool, datetime.now(UTC) + timedelta(days=15))  # noqa: TID251
            with transaction(pool, handover.CLOCK) as conn:
                state = negotiations.find_transfer(conn, other).state

    assert declined.status_code == 303
    assert int(str(bound)) - int(str(reserved)) == 8_000  # 0.8 分 for each of 10 000 kWh
    assert (freed, state) == (reserved, "expired")
