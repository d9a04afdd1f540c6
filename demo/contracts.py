"""Contracts of the demonstration: approved templates, and one contract at each stage between the demo's parties.

Everything goes through the shells of the real system, as the people that `set_up` is told of; run again, it finds what
it did and changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud import db
from cloud.contracts.document import Changes
from cloud.contracts.run import texts as studio
from cloud.contracts.run.desk import deal, draft, sign, turn
from cloud.contracts.run.desk.ask import Ask
from cloud.contracts.store import life, papers, seals, texts
from cloud.files import Vault
from cloud.markettime import day_of, month_after, month_of
from cloud.paper.seals import make_authority
from cloud.security import sealing, store
from cloud.security.access import Actor, Role
from cloud.security.run import Session, actor_name

AUTHORITY = "冀北示范交易平台"
REASON = "法务审核通过 / legal review passed"
TERMS = ("parties", "volume", "price", "period", "deviation")
DEVICE = "Mozilla/5.0 (demo)"
ADDRESS = "192.0.2.20"


@dataclass(frozen=True, slots=True)
class People:
    """Who acts in the demonstration: two of the staff, and a seal holder of each party with the unit it trades as."""

    writer: Actor
    lawyer: Actor
    seller: Actor
    buyer: Actor
    seller_unit: str
    buyer_unit: str


@dataclass(frozen=True, slots=True)
class Means:
    """The database, the vault, the key that seals secrets, and the instant."""

    pool: db.Pool
    vault: Vault
    sealing_key: bytes
    now: datetime


def set_up(means: Means, people: People) -> str:
    """Approve the templates and leave contracts: effective, cooling, waiting for the buyer, disputed. Say what there is."""
    _authority(means)
    _templates(means, people)
    with db.transaction(means.pool, db.Scope(db.ProcessRole.OWNER)) as conn:
        if any(row.source == "studio" for row in life.of_parties(conn, people.seller.party_id)):
            return "合同已在 / contracts are there"
    ago = means.now - timedelta(days=12)
    first = _drawn(means, people, ago, "1200.000", Changes())
    _sign(means, people, first, ago)
    turn.look(means.pool, ago + timedelta(hours=73))
    cooling = _drawn(means, people, means.now - timedelta(hours=5), "800.000", Changes())
    _sign(means, people, cooling, means.now - timedelta(hours=5))
    changes = Changes(
        {"breach": "逾期付款的，按日计收未付金额千分之二的违约金；甲方迟延交割不承担违约责任。"},
        (),
        (("检修顺延", "甲方机组检修期间的电量顺延至次月交割。"),),
    )
    waiting = _drawn(means, people, means.now - timedelta(hours=2), "500.000", changes)
    _sign_one(means, people.seller, waiting, means.now - timedelta(hours=1))
    disputed = _drawn(means, people, means.now - timedelta(hours=30), "300.000", Changes())
    _sign(means, people, disputed, means.now - timedelta(hours=29))
    with _as(means, people.buyer) as conn:
        ask = _ask(means, conn, people.buyer, means.now - timedelta(hours=3))
        deal.dispute(conn, ask, disputed, "本单位没有授权签署这份合同，请核查")
    return f"合同 / contracts: {first}, {cooling}, {waiting}, {disputed}"


def _authority(means: Means) -> None:
    with db.transaction(means.pool, db.Scope(db.ProcessRole.OWNER)) as conn:
        if seals.authority(conn) is None:
            made = make_authority(AUTHORITY, means.now - timedelta(days=400))
            sealed = sealing.seal(
                means.sealing_key,
                made.key,
                sign.authority_place(made.sha256),
                secrets.token_bytes(sealing.NONCE_BYTES),
            )
            kept = (means.now - timedelta(days=400), "cli:demo")
            seals.insert_authority(conn, made.certificate, made.sha256, sealed, kept)


def _templates(means: Means, people: People) -> None:
    at = means.now - timedelta(days=60)
    with _as(means, people.writer) as conn:
        studio.enter_supplied(conn, actor_name(people.writer), at)
    with _as(means, people.lawyer) as conn:
        for kind in ("clause", "template"):
            for row in texts.all_of(conn, kind):
                if row.standing == "waiting":
                    studio.decide(conn, people.lawyer, row, ("approve", day_of(at), REASON), at)


def _drawn(means: Means, people: People, at: datetime, mwh: str, changes: Changes) -> str:
    months = [month_after(month_of(day_of(at)), number) for number in (1, 2, 3)]
    values: Mapping[str, str] = {
        "volumes": "\n".join(f"{month:%Y-%m} month {mwh} 398.50" for month in months),
        "cooling_hours": "72",
    }
    with _as(means, people.seller) as conn:
        ask = _ask(means, conn, people.seller, at)
        wish = draft.Wish("wholesale-bilateral", 1, values, changes)
        contract_id = draft.start(conn, ask, wish, (people.seller_unit, people.buyer_unit))
        draft.send(conn, ask, contract_id, 1)
    return contract_id


def _sign(means: Means, people: People, contract_id: str, at: datetime) -> None:
    _sign_one(means, people.seller, contract_id, at)
    _sign_one(means, people.buyer, contract_id, at + timedelta(minutes=20))


def _sign_one(means: Means, person: Actor, contract_id: str, at: datetime) -> None:
    with _as(means, person) as conn:
        ask = _ask(means, conn, person, at)
        paper = papers.find(conn, contract_id, 1)
        ticks = (*TERMS, *(each["key"] for each in paper.content["warnings"]))
        number = sign.confirm(conn, ask, contract_id, 1, sign.Told(paper.card_sha256, ticks))
        sign.sign(conn, ask, contract_id, 1, number)


def _as(means: Means, person: Actor) -> AbstractContextManager[db.Conn]:
    scope = db.Scope(db.ProcessRole.API, person.role.value, person.party_id, actor_name(person))
    return db.transaction(means.pool, scope)


def _ask(means: Means, conn: db.Conn, person: Actor, at: datetime) -> Ask:
    """A request of the person in a session that has just proven itself, and is over at once."""
    token = secrets.token_bytes(32)  # the hash of a token that nobody has
    assert person.role in (Role.STAFF, Role.CUSTOMER)
    store.insert_session(conn, token, person.user_id, "demo", at=at, expires_at=at + timedelta(minutes=30))
    store.mark_proven(conn, token, at)
    return Ask(Session(person, "demo", token, means.sealing_key), at, ADDRESS, DEVICE, means.vault)
