"""Nobody finishes another party's signature: not over HTTP by any route, not with stolen ids, and not by SQL of one's own.

Attackers: the counterparty with its own seal and a fresh proof, the market operator's staff, a stranger with a seal of
its own, and a colleague of the victim without the seal. The victim itself comes last, so that the door is seen to open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import contract_world as w
import httpx
import market_world
import psycopg
import pytest
import tsa_world
from contract_world import Person, World
from fastapi.routing import APIRoute
from pages import site as serving
from psycopg.conninfo import make_conninfo
from test_matrix import routes_of

from cloud.contracts.store import papers
from cloud.db import Conn, open_pool, transaction
from cloud.outside import timestamp

ATTACKERS = ("seller", "writer", "stranger", "buyer_clerk")
SIGNING = "/contracts/{contract_id}/papers/{paper_no}"


@dataclass
class Stand:
    """A server and its world."""

    base: str
    app: Any
    world: World
    owner: Conn

    @contextmanager
    def client(self, person: Person, *, proven: bool) -> Iterator[httpx.Client]:
        """Sign in over HTTP; `proven` as if password and code had just been given."""
        headers = {"accept": "application/json"}
        with httpx.Client(base_url=self.base, headers=headers, trust_env=False, timeout=30) as client:
            form = {"login": person.login, "password": market_world.PASSWORD}
            answer = client.post("/login", data=form)
            assert answer.status_code == 200, answer.text
            if proven:
                self.owner.execute(
                    "UPDATE user_session SET proven_at = now() WHERE user_id = %s", (person.user_id,)
                )
            yield client

    def half_signed(self) -> tuple[str, int]:
        """A contract that the seller has signed and the buyer has confirmed: one step is left. And that confirmation."""
        now = datetime.now(UTC)  # noqa: TID251  # the server's clock is the real one
        contract_id = w.drawn(self.world, now)
        w.signed(self.world, self.world.seller, contract_id, now)
        return contract_id, w.confirmed(self.world, self.world.buyer, contract_id, now)

    def is_untouched(self, contract_id: str) -> bool:
        row = self.owner.execute(
            """SELECT c.state NOT IN ('cooling', 'effective', 'executing') AND NOT EXISTS (
                   SELECT FROM contract_signature g WHERE g.contract_id = c.contract_id AND g.order_no = 2)
               FROM contract c WHERE c.contract_id = %s""",
            (contract_id,),
        ).fetchone()
        return bool(row and row[0])


@pytest.fixture(scope="module")
def stand(
    postgres_dsn: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    name = "shoudian_impersonation"
    serving._run(postgres_dsn, "CREATE DATABASE {} TEMPLATE {}", name, template_database)
    dsn = make_conninfo(postgres_dsn, dbname=name)
    try:
        with psycopg.connect(dsn, autocommit=True) as owner, open_pool(dsn, size_max=3) as pool:
            folder: Path = tmp_path_factory.mktemp("vault")
            world = w.build(owner, pool, folder)
            with serving._serving(dsn) as (base, app):
                app.state.vault = world.vault
                yield Stand(base, app, world, owner)
    finally:
        serving._run(postgres_dsn, "DROP DATABASE {} WITH (FORCE)", name)


def form_token(client: httpx.Client) -> str:
    page = client.get("/", headers={"accept": "text/html"}, follow_redirects=True).text
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found
    return found[1]


def payloads(stand: Stand, contract_id: str, confirmation: int) -> list[dict[str, Any]]:
    """What an attacker who has seen everything would send: the victim's confirmation, card, parties and ids."""
    paper = papers.find(stand.owner, contract_id, 1)
    buyer = stand.world.buyer
    everything = {
        "confirmation": str(confirmation),
        "card": paper.card_sha256,
        "tick": [*w.TERMS, *(each["key"] for each in paper.content["warnings"])],
        "party_id": str(buyer.party_id),
        "party": str(buyer.party_id),
        "user_id": str(buyer.user_id),
        "order_no": "2",
        "reason": "代签",
        "note": "代签",
        "wanted": "代签",
        "kind": "amend",
        "verdict": "reject",
        "decision": "approve",
        "contract": contract_id,
        "template": "wholesale-bilateral@1",
        "seller": stand.world.units()[0],
        "buyer": stand.world.units()[1],
        "text": "代签",
        "days": "10",
        "state": "effective",
    }
    return [everything, {"confirmation": str(confirmation + 1)}]


def filled(path: str, contract_id: str, method_no: int) -> str:
    known = {
        "contract_id": contract_id,
        "paper_no": "1",
        "kind": "clause",
        "text_id": "breach",
        "version": "1",
    }
    known |= {"deed": ("send", "extend", "agree", "approve")[method_no % 4], "decision": "approve"}
    return re.sub(r"{([a-z_]+)(:[a-z]+)?}", lambda found: known.get(found[1], "1"), path)


@pytest.mark.parametrize("name", ATTACKERS)
def test_no_route_lets_another_finish_the_signature(stand: Stand, name: str) -> None:
    attacker: Person = getattr(stand.world, name)
    contract_id, confirmation = stand.half_signed()
    posts = sorted(
        {
            route.path
            for route in routes_of(stand.app)
            if isinstance(route, APIRoute)
            and "POST" in (route.methods or ())
            and route.path not in ("/logout", "/login")
        },
        key=lambda path: (
            not path.startswith(SIGNING),
            path,
        ),  # what can sign comes first, while all is still open
    )
    if (
        name != "seller"
    ):  # who gains most tries every route there is; the others those of contracts and of proving oneself
        posts = [path for path in posts if "contract" in path or "security" in path or "notices" in path]
    answers = {}
    with stand.client(attacker, proven=True) as client:
        token = form_token(client)
        for path in posts:
            is_near = "contract" in path
            for number in range(4 if "{deed}" in path and is_near else 1):
                for form in payloads(stand, contract_id, confirmation)[: 2 if is_near else 1]:
                    asked = filled(path, contract_id, number)
                    answers[path] = client.post(asked, data={"form_token": token, **form}).status_code
            if is_near:
                assert stand.is_untouched(contract_id), path
    assert stand.is_untouched(contract_id)

    assert len(posts) > 15
    for way in ("confirm", "sign"):
        assert answers[f"{SIGNING}/{way}"] in (401, 403, 404, 409), way
    assert {path: code for path, code in answers.items() if "contract" in path and code >= 500} == {}


def test_the_victim_itself_can_sign_so_the_door_is_there(stand: Stand) -> None:
    contract_id, confirmation = stand.half_signed()
    with stand.client(stand.world.buyer, proven=True) as client:
        form = {"form_token": form_token(client), "confirmation": str(confirmation)}

        assert client.post(f"/contracts/{contract_id}/papers/1/sign", data=form).status_code == 303
    assert not stand.is_untouched(contract_id)


def test_no_contract_is_held_while_a_time_stamp_authority_is_asked(stand: Stand, tmp_path: Path) -> None:
    contract_id, confirmation = stand.half_signed()
    free: list[str] = []

    def asked() -> None:
        with stand.owner.transaction():  # fails at once where somebody holds it
            row = stand.owner.execute(
                "SELECT state FROM contract WHERE contract_id = %s FOR UPDATE NOWAIT", (contract_id,)
            ).fetchone()
            free.append(str(row and row[0]))

    with (
        tsa_world.authority(tmp_path, asked) as tsa,
        stand.client(stand.world.buyer, proven=True) as client,
    ):
        form = {"form_token": form_token(client), "confirmation": str(confirmation)}
        stand.app.state.timestamps = timestamp.authority(tsa.url)
        try:
            answer = client.post(f"/contracts/{contract_id}/papers/1/sign", data=form)
        finally:
            stand.app.state.timestamps = None

    assert (answer.status_code, free) == (303, ["signing"])
    last = papers.signers_of(stand.owner, contract_id, 1)[-1]
    assert last.stamp_authority == tsa_world.NAME


def test_a_session_that_has_not_proven_itself_signs_nothing(stand: Stand) -> None:
    contract_id, confirmation = stand.half_signed()
    with (
        stand.client(stand.world.seller, proven=True),
        stand.client(stand.world.buyer, proven=False) as client,
    ):
        stand.owner.execute(
            "UPDATE user_session SET proven_at = NULL WHERE user_id = %s", (stand.world.buyer.user_id,)
        )
        form = {"form_token": form_token(client), "confirmation": str(confirmation)}

        assert client.post(f"/contracts/{contract_id}/papers/1/sign", data=form).status_code == 401
        stand.owner.execute(
            "UPDATE user_session SET proven_at = now() - interval '6 minutes' WHERE user_id = %s",
            (stand.world.buyer.user_id,),
        )
        assert client.post(f"/contracts/{contract_id}/papers/1/sign", data=form).status_code == 401
    assert stand.is_untouched(contract_id)


def test_a_confirmation_signs_once_and_one_paper_only(stand: Stand) -> None:
    first, used = stand.half_signed()
    second, _ = stand.half_signed()
    with stand.client(stand.world.buyer, proven=True) as client:
        token = form_token(client)
        of_first = {"form_token": token, "confirmation": str(used)}

        assert client.post(f"/contracts/{second}/papers/1/sign", data=of_first).status_code == 409
        assert client.post(f"/contracts/{first}/papers/1/sign", data=of_first).status_code == 303
        assert client.post(f"/contracts/{first}/papers/1/sign", data=of_first).status_code == 409
    assert stand.is_untouched(second)


def test_a_term_not_ticked_or_another_card_is_no_confirmation(stand: Stand) -> None:
    contract_id, _ = stand.half_signed()
    paper = papers.find(stand.owner, contract_id, 1)
    with stand.client(stand.world.buyer, proven=True) as client:
        token = form_token(client)
        for card, ticks in ((paper.card_sha256, list(w.TERMS[:4])), ("0" * 64, list(w.TERMS))):
            form = {"form_token": token, "card": card, "tick": ticks}
            assert client.post(f"/contracts/{contract_id}/papers/1/confirm", data=form).status_code == 422


def test_what_is_over_unknown_or_swapped_is_refused_in_words(stand: Stand) -> None:
    seller, buyer = stand.world.units()
    now = datetime.now(UTC)  # noqa: TID251  # the server's clock is the real one
    good = w.volumes_after(now)
    wrong = (
        ((seller, buyer), "2026-01 month 1 400", "2026-01 的交割在合同最早可能生效的日子"),
        ((seller, buyer), good.replace("month", "tip"), "没有“tip”这个时段"),
        ((buyer, seller), good, "买卖双方填反了"),
    )
    with stand.client(stand.world.seller, proven=True) as client:
        token = form_token(client)
        values = {f"v.{name}": text for name, text in w.wish().values.items()}
        for units, volumes, told in wrong:
            for path in ("/contract-draft", "/contract-draft/preview"):
                form = {"form_token": token, "template": "wholesale-bilateral@1", **values}
                sent = form | {"seller": units[0], "buyer": units[1], "v.volumes": volumes}
                answer = client.post(path, data=sent, headers={"accept-language": "zh"})
                assert (answer.status_code, told in answer.text) == (422, True), answer.text


def test_the_archive_finds_by_state_and_says_which_day_there_is_not(stand: Stand) -> None:
    contract_id, _ = stand.half_signed()
    with stand.client(stand.world.buyer, proven=False) as client:
        found = {
            state: [
                each["contract_id"]
                for each in client.get(f"/contracts/archive?state={state}").json()["found"]
            ]
            for state in ("signing", "void")
        }
        page = client.get("/contracts/archive?state=signing", headers={"accept": "text/html"}).text
        wrong = client.get("/contracts/archive?first=2026-02-30")
    assert contract_id in found["signing"]
    assert contract_id not in found["void"]
    assert '<option value="signing" selected>' in page
    assert (wrong.status_code, "2026-02-30" in wrong.text) == (422, True)


# ---- the second wall: SQL with another's scope ---------------------------------------------------------------------

CONFIRM = """INSERT INTO contract_confirmation (contract_id, paper_no, party_id, user_id, content_sha256, card_sha256,
                                                shown, acknowledged, address, device, at)
             SELECT contract_id, paper_no, %(party)s, %(user)s, content_sha256, card_sha256, '{}', '{}', '', '', %(at)s
             FROM contract_paper WHERE contract_id = %(contract)s AND paper_no = 1"""
SIGN = """INSERT INTO contract_signature (contract_id, paper_no, order_no, party_id, user_id, confirmation_id,
              certificate_sha256, before_sha256, after_sha256, address, device, at)
          VALUES (%(contract)s, 1, 2, %(party)s, %(user)s, %(confirmation)s, repeat('a', 64), repeat('b', 64), repeat('c', 64),
                  '', '', %(at)s)"""


@pytest.mark.parametrize("name", ATTACKERS)
@pytest.mark.parametrize("statement", [CONFIRM, SIGN])
def test_sql_in_ones_own_scope_signs_for_nobody_else(stand: Stand, name: str, statement: str) -> None:
    attacker: Person = getattr(stand.world, name)
    contract_id, confirmation = stand.half_signed()
    now = datetime.now(UTC)  # noqa: TID251
    for user_id in (stand.world.buyer.user_id, attacker.user_id):
        facts = {"contract": contract_id, "party": stand.world.buyer.party_id, "user": user_id}
        stand.world.ask(stand.owner, attacker, now)  # a session that has just proven itself
        facts |= {"confirmation": confirmation, "at": now}
        assert _is_refused(stand, attacker, statement, facts)
    assert stand.is_untouched(contract_id)


def _is_refused(stand: Stand, person: Person, statement: str, facts: dict[str, Any]) -> bool:
    """Whether the database refuses, or hides the paper so that nothing is inserted."""
    try:
        with transaction(stand.world.pool, stand.world.scope(person)) as conn:
            return conn.execute(statement, facts).rowcount == 0
    except psycopg.errors.InsufficientPrivilege:
        return True


@pytest.mark.parametrize("name", ["seller", "writer", "buyer_clerk", "buyer"])
def test_no_state_moves_past_a_missing_signature(stand: Stand, name: str) -> None:
    contract_id, _ = stand.half_signed()
    person: Person = getattr(stand.world, name)
    for statement in (
        "UPDATE contract_paper SET state = 'signed' WHERE contract_id = %s",
        "UPDATE contract SET state = 'cooling', cooling_until = now() WHERE contract_id = %s",
        "UPDATE contract SET state = 'effective', effective_at = now() WHERE contract_id = %s",
        "DELETE FROM contract_signer WHERE contract_id = %s AND order_no = 2",
        "UPDATE contract_signer SET party_id = 1 WHERE contract_id = %s",
    ):
        with pytest.raises(psycopg.Error), transaction(stand.world.pool, stand.world.scope(person)) as conn:
            conn.execute(statement, (contract_id,))
    assert stand.is_untouched(contract_id)


def test_a_party_alone_cannot_enter_a_contract_as_effective(stand: Stand) -> None:
    seller, buyer = stand.world.seller, stand.world.buyer
    with pytest.raises(psycopg.Error), transaction(stand.world.pool, stand.world.scope(seller)) as conn:
        conn.execute(
            """INSERT INTO contract (contract_id, kind, source, seller_id, buyer_id, seller_unit, buyer_unit, start_day,
                                     end_day, state, entered_at, entered_by)
               VALUES ('FORGED', 'wholesale', 'studio', %s, %s, 'party:1', 'party:2', '2026-12-01', '2027-01-01',
                       'effective', now(), 'x')""",
            (seller.party_id, buyer.party_id),
        )


FORGED_CONFIRMATION = """INSERT INTO contract (contract_id, kind, source, seller_id, buyer_id, seller_unit, buyer_unit,
                             start_day, end_day, state, entered_at, entered_by)
                         VALUES ('GP-000001-1', 'confirmation', 'listing:1', %(seller)s, %(buyer)s, %(units)s, %(unitb)s,
                                 '2026-12-01', '2027-01-01', 'effective', now(), 'x')"""
FORGED_TERMS = """INSERT INTO wholesale_contract (contract_id, version, kind, seller, buyer, signed, document, shape, curve,
                      green_users, entered_at, entered_by)
                  VALUES ('GP-000001-1', 1, 'listing', %(units)s, %(unitb)s, '2026-11-01', 'x', 'flat', '{}', '{}', now(), 'x')"""


@pytest.mark.parametrize("statement", [FORGED_CONFIRMATION, FORGED_TERMS])
def test_a_party_alone_confirms_no_trade(stand: Stand, statement: str) -> None:
    seller, buyer = stand.world.seller, stand.world.buyer
    units, unitb = stand.world.units()
    facts = {"seller": seller.party_id, "buyer": buyer.party_id, "units": units, "unitb": unitb}

    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        transaction(stand.world.pool, stand.world.scope(seller)) as conn,
    ):
        conn.execute(statement, facts)


def test_nobody_takes_a_seal_in_the_name_of_who_holds_one(stand: Stand) -> None:
    holder, clerk = stand.world.buyer, stand.world.buyer_clerk

    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        transaction(stand.world.pool, stand.world.scope(clerk)) as conn,
    ):
        conn.execute(
            """INSERT INTO seal_holder (party_id, user_id, proposed_at, proposed_by, approved_at, approved_by)
               VALUES (%s, %s, now(), %s, now(), %s)""",
            (clerk.party_id, clerk.user_id, clerk.user_id, holder.user_id),
        )


@pytest.mark.parametrize("name", ["seller", "writer", "stranger"])
def test_the_key_of_a_seal_is_seen_by_its_own_party_alone(stand: Stand, name: str) -> None:
    contract_id, confirmation = stand.half_signed()
    with stand.client(stand.world.buyer, proven=True) as client:
        form = {"form_token": form_token(client), "confirmation": str(confirmation)}
        assert client.post(f"/contracts/{contract_id}/papers/1/sign", data=form).status_code == 303
    query = "SELECT count(*) FROM party_seal_key WHERE party_id = %s"
    party_id = stand.world.buyer.party_id

    with transaction(stand.world.pool, stand.world.scope(getattr(stand.world, name))) as conn:
        assert conn.execute(query, (party_id,)).fetchone() == (0,)
    with transaction(stand.world.pool, stand.world.scope(stand.world.buyer)) as conn:
        assert conn.execute(query, (party_id,)).fetchone() == (1,)


def test_where_a_party_acted_from_is_whole_for_itself_and_staff_and_a_hint_for_the_other_side(
    stand: Stand,
) -> None:
    contract_id, confirmation = stand.half_signed()
    buyer, seller, writer = stand.world.buyer, stand.world.seller, stand.world.writer
    kept = stand.owner.execute(
        "SELECT address, device FROM contract_confirmation WHERE confirmation_id = %s", (confirmation,)
    ).fetchone()
    assert kept is not None
    seen = {}
    for person in (buyer, seller, writer):
        with stand.client(person, proven=False) as client:
            answer = client.get(f"/contracts/{contract_id}").json()
            page = client.get(f"/contracts/{contract_id}", headers={"accept": "text/html"}).text
        paper = answer["papers"][0]
        rows = [*paper["confirmations"], *(each for each in paper["signers"] if each["at"])]
        seen[person.login] = {
            (row["party_id"] == buyer.party_id, row["address"], row["device"]) for row in rows
        }
        assert (kept[0] in str(seen[person.login])) == (kept[0] in page)

    whole = {True: kept, False: kept}  # both act from the same address in this world
    assert seen[writer.login] == {(is_buyer, *whole[is_buyer]) for is_buyer in (True, False)}
    for person, own in ((buyer, True), (seller, False)):
        assert (own, *kept) in seen[person.login]
        [(_, address, device)] = [each for each in seen[person.login] if each[0] is not own]
        assert (address, device) != kept
        assert str(kept[0]).rsplit(".", 2)[0] + ".…" == address


def test_another_partys_contract_is_answered_like_one_that_does_not_exist(stand: Stand) -> None:
    contract_id, _ = stand.half_signed()
    with stand.client(stand.world.stranger, proven=True) as client:
        for path in ("", "/papers/1/pdf"):
            there, nowhere = (
                client.get(f"/contracts/{contract_id}{path}"),
                client.get(f"/contracts/NO-SUCH{path}"),
            )
            assert (there.status_code, there.json()) == (404, nowhere.json())
