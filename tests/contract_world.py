"""Parties with seals, approved templates and a contract at any stage: what the tests of contracts start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from secrets import token_bytes

import market_world
import psycopg
import pytest
import stepup_world

from cloud.contracts.document import Changes
from cloud.contracts.run import texts as studio
from cloud.contracts.run.desk import deal, draft, sign
from cloud.contracts.run.desk.ask import Ask
from cloud.contracts.store import papers, seals, texts
from cloud.contracts.store.texts import Decision
from cloud.db import Conn, Pool, ProcessRole, Scope, open_pool, transaction
from cloud.files import FolderVault
from cloud.markettime import day_of, month_after, month_of
from cloud.paper.seals import Keys, make_authority
from cloud.security import sealing, store
from cloud.security.access import Actor, Role
from cloud.security.run import Session

NOW = datetime(2026, 8, 20, 2, tzinfo=UTC)
COOLED = NOW + timedelta(hours=73)
SELLER, BUYER = "䶮㙦𠮷示范热电厂", "示范铸造厂"
VOLUMES = "2026-09 month 1200.000 398.50\n2026-10 month 1000.000 401.20"
TERMS = ("parties", "volume", "price", "period", "deviation")
DEVICE = "Mozilla/5.0 (test)"


@dataclass(frozen=True)
class Person:
    """Somebody who asks: user, party and role."""

    user_id: int
    party_id: int | None
    login: str


@dataclass(frozen=True)
class World:
    """Two parties, each with a seal holder and somebody without; two of the staff; a stranger with a seal of its own."""

    seller: Person
    seller_clerk: Person
    buyer: Person
    buyer_clerk: Person
    stranger: Person
    writer: Person
    lawyer: Person
    vault: FolderVault
    pool: Pool

    def units(self) -> tuple[str, str]:
        """The units of both parties."""
        return f"party:{self.seller.party_id}", f"party:{self.buyer.party_id}"

    def ask(self, conn: Conn, person: Person, now: datetime, *, proven: bool = True) -> Ask:
        """A request of a person in a session of its own, just proven or not."""
        token = f"{person.login}{now.isoformat()}{proven}".encode().ljust(32, b".")[-32:]
        conn.execute("DELETE FROM user_session WHERE token_sha256 = %s", (token,))
        store.insert_session(conn, token, person.user_id, "form", at=now, expires_at=now + timedelta(hours=8))
        if proven:
            store.mark_proven(conn, token, now)
        role = Role.CUSTOMER if person.party_id else Role.STAFF
        actor = Actor(person.user_id, person.login, person.login, role, person.party_id, "zh")
        session = Session(actor, "form", token, stepup_world.SEALING_KEY)
        return Ask(session, now, "192.0.2.7", DEVICE, self.vault)

    def scope(self, person: Person) -> Scope:
        """The scope of a request of the person."""
        role = "customer" if person.party_id else "staff"
        return Scope(ProcessRole.API, role, person.party_id, f"user:{person.user_id}")


def build(conn: Conn, pool: Pool, folder: Path) -> World:
    """Make the world as the owner."""
    people = []
    for kind, name, login in (
        ("generator", SELLER, "seller"),
        ("user", BUYER, "buyer"),
        ("retailer", "旁观售电", "stranger"),
    ):
        party_id = market_world.admitted_party(conn, kind, name)
        for suffix in ("", "_clerk"):
            user_id = market_world.person(conn, party_id, f"{login}{suffix}")
            people.append(Person(user_id, party_id, f"{login}{suffix}"))
            if not suffix:
                stepup_world.seal_holder(conn, party_id, user_id)
    staff = [Person(market_world.operator(conn, login), None, login) for login in ("writer", "lawyer")]
    enter_texts(conn, staff[0], staff[1])
    root = authority()
    place = sign.authority_place(root.sha256)
    sealed = sealing.seal(stepup_world.SEALING_KEY, root.key, place, token_bytes(sealing.NONCE_BYTES))
    seals.insert_authority(conn, root.certificate, root.sha256, sealed, (NOW - timedelta(days=10), "test"))
    return World(*people[:5], *staff, FolderVault(folder), pool)


@lru_cache(maxsize=1)
def authority() -> Keys:
    """The authority of the tests, made once: a key takes its time."""
    return make_authority("测试平台", NOW - timedelta(days=10), key_bits=2048)


def enter_texts(conn: Conn, writer: Person, lawyer: Person) -> None:
    """Enter the supplied texts in one person's name and approve them in another's."""
    at = NOW - timedelta(days=9)
    studio.enter_supplied(conn, f"user:{writer.user_id}", at)
    for kind in ("clause", "template"):
        for row in texts.all_of(conn, kind):
            texts.decide(conn, row, Decision("approve", at.date(), "合规", f"user:{lawyer.user_id}", at))


def wish(**changed: str) -> draft.Wish:
    """A wholesale contract as it is usually filled in."""
    values = {
        "volumes": VOLUMES,
        "shape": "平均分解",
        "deviation_percent": "5",
        "notice_days": "10",
        "exit_fee_yuan_per_mwh": "10.00",
        "late_permille": "0.5",
        "dispute_place": "向人民法院提起诉讼",
        "cooling_hours": "72",
    }
    return draft.Wish("wholesale-bilateral", 1, values | changed, Changes())


def volumes_after(at: datetime) -> str:
    """The usual volumes, of the two months after an instant: VOLUMES at NOW."""
    first, second = (f"{month_after(month_of(day_of(at)), number):%Y-%m}" for number in (1, 2))
    return VOLUMES.replace("2026-09", first).replace("2026-10", second)


def drawn(world: World, at: datetime = NOW, *, wished: draft.Wish | None = None) -> str:
    """Draw up and send the usual contract for the seller; return its number."""
    person = world.seller
    with transaction(world.pool, world.scope(person)) as conn:
        ask = world.ask(conn, person, at)
        contract_id = draft.start(conn, ask, wished or wish(volumes=volumes_after(at)), world.units())
        draft.send(conn, ask, contract_id, 1)
    return contract_id


def confirmed(world: World, person: Person, contract_id: str, at: datetime, paper_no: int = 1) -> int:
    """Confirm all key terms; return the confirmation's number."""
    with transaction(world.pool, world.scope(person)) as conn:
        paper = papers.find(conn, contract_id, paper_no)
        ticks = (*TERMS, *(each["key"] for each in paper.content["warnings"]))
        told = sign.Told(paper.card_sha256, ticks)
        return sign.confirm(conn, world.ask(conn, person, at), contract_id, paper_no, told)


def signed(world: World, person: Person, contract_id: str, at: datetime, paper_no: int = 1) -> bool:
    """Confirm and sign; tell whether all have signed."""
    number = confirmed(world, person, contract_id, at, paper_no)
    with transaction(world.pool, world.scope(person)) as conn:
        return sign.sign(conn, world.ask(conn, person, at), contract_id, paper_no, number)


def signed_by_both(world: World, contract_id: str, at: datetime = NOW, paper_no: int = 1) -> None:
    """Sign for both sides, the seller first."""
    assert not signed(world, world.seller, contract_id, at, paper_no)
    assert signed(world, world.buyer, contract_id, at + timedelta(minutes=1), paper_no)


def with_changes(wished: draft.Wish, changes: Changes) -> draft.Wish:
    """The wish with other clauses."""
    return replace(wished, changes=changes)


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    """The world in a database of its own."""
    with open_pool(database, size_max=4) as pool:
        with psycopg.connect(database, autocommit=True) as conn:
            made = build(conn, pool, tmp_path / "vault")
        yield made


@pytest.fixture
def owner(database: str) -> Iterator[Conn]:
    """The database as its owner sees it."""
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


def agreed_request(world: World, contract_id: str, kind: str) -> int:
    """A request of the buyer, organised and agreed by the seller; return its number."""
    at = COOLED + timedelta(hours=1)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        number = deal.request(conn, world.ask(conn, world.buyer, at), contract_id, kind, "产量下降")
    with transaction(world.pool, world.scope(world.lawyer)) as conn:
        deal.answer(conn, world.ask(conn, world.lawyer, at), number, "organise", "请双方协商")
    with transaction(world.pool, world.scope(world.buyer)) as conn, pytest.raises(deal.NotForYou):
        deal.answer(conn, world.ask(conn, world.buyer, at), number, "agree", "自己同意自己")
    with transaction(world.pool, world.scope(world.seller)) as conn:
        assert deal.answer(conn, world.ask(conn, world.seller, at), number, "agree", "同意") == "agreed"
    return number
