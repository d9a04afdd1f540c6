"""The demonstration's market: admitted parties, credit, sessions, contracts, deals, green certificates, demand response.

Each part is set up through the shells of the real system and finds what an earlier start left.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from cloud import db
from cloud.config import FilesConfig
from cloud.files import Vault, open_vault
from cloud.security import store as security
from cloud.security.access import Actor, Role
from demo import contracts, credit, deals, entities, green, oversight, trading

FACTORY_ACCOUNT = "130200020001"  # of the direct user
TRADERS = ("retail", "direct", "plant", "wind")  # buyers first, then sellers: the order of the sample bids


@dataclass(frozen=True, slots=True)
class Stall:
    """What setting up needs: the database, the documents, the key of secrets, the instant."""

    pool: db.Pool
    dsn: str
    vault: Vault
    sealing_key: bytes
    now: datetime

    def person(self, login: str) -> Actor:
        """Somebody who may sign in, as the one who acts."""
        with db.transaction(self.pool, db.Scope(db.ProcessRole.OWNER)) as conn:
            user = security.find_user(conn, login)
        assert user is not None, login
        return Actor(
            user.user_id, user.login, user.display_name, Role(user.role), user.party_id, user.language
        )


def environ_of(folder: Path) -> dict[str, str]:
    """Make the market's keys and the folder of documents once; what the cloud is told of them."""
    keys = folder / "market"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    sealing, receipts = keys / "sealing.key", keys / "receipts.pem"
    if not sealing.exists():
        _keep(sealing, secrets.token_hex(32).encode())
    if not receipts.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _keep(receipts, pem)
    return {
        "SHOUDIAN_FILES_FOLDER": str(folder / "documents"),
        "SHOUDIAN_SEALING_KEY_FILE": str(sealing),
        "SHOUDIAN_RECEIPT_KEY_FILE": str(receipts),
    }


def open_market(folder: Path, dsn: str, console: Console) -> None:
    """Admit the parties and let them trade, and say what was done."""
    key = bytes.fromhex((folder / "market" / "sealing.key").read_text("utf-8"))
    vault = open_vault(FilesConfig(folder / "documents", None))
    with db.open_pool(dsn, size_max=2) as pool:
        stall = Stall(pool, dsn, vault, key, datetime.now(UTC))  # noqa: TID251 - a composition root
        steps: tuple[tuple[str, Callable[[Stall], str]], ...] = (
            ("市场主体 / parties", _entities),
            ("信用、保函、风险 / credit, guarantees, risk", _credit),
            ("集中竞价 / auctions", _trading),
            ("合同 / contracts", _contracts),
            ("挂牌、滚动、协商 / listings, rolling, rooms", _deals),
            ("绿证与需求响应 / certificates, demand response", _green),
            ("政策与监管报表 / policies, reports", _oversight),
        )
        for title, step in steps:
            with console.status(title):
                done = step(stall)
            console.print(f"[green]✓[/] {title} [dim]{done}[/]")


def _entities(stall: Stall) -> str:
    reviewers = (f"user:{stall.person('staff').user_id}", f"user:{stall.person('finance').user_id}")
    return entities.set_up(stall.pool, stall.vault, reviewers, stall.now, {"示范风电场": "wind"})


def _credit(stall: Stall) -> str:
    with psycopg.connect(stall.dsn, autocommit=True) as conn:
        return credit.set_up(conn, stall.now)


def _trading(stall: Stall) -> str:
    staff = (stall.person("staff"), stall.person("finance"))
    made = trading.set_up(stall.pool, staff, [stall.person(login) for login in TRADERS], stall.now)
    return f"{len(made)} 场 / sessions"


def _contracts(stall: Stall) -> str:
    seller, buyer = stall.person("plant"), stall.person("retail")
    _seals(stall, (seller, buyer))
    means = contracts.Means(stall.pool, stall.vault, stall.sealing_key, stall.now)
    people = contracts.People(
        stall.person("staff"),
        stall.person("finance"),
        seller,
        buyer,
        f"party:{seller.party_id}",
        f"party:{buyer.party_id}",
    )
    return contracts.set_up(means, people)


def _seals(stall: Stall, holders: tuple[Actor, ...]) -> None:
    """The first holder of a party's seal is named by two of the staff."""
    first, second = stall.person("staff"), stall.person("finance")
    since = stall.now - timedelta(days=30)  # the sample contracts are dated back
    with db.transaction(stall.pool, db.Scope(db.ProcessRole.OWNER)) as conn:
        for who in holders:
            assert who.party_id is not None
            if not security.seals_of(conn, who.party_id):
                seal = security.insert_seal(conn, who.party_id, who.user_id, first.user_id, since)
                security.approve_seal(conn, seal, second.user_id, since)


def _deals(stall: Stall) -> str:
    return deals.set_up(stall.dsn, stall.now)


def _green(stall: Stall) -> str:
    wind = stall.person("wind")
    assert wind.party_id is not None
    green.set_up(stall.pool, wind.party_id, FACTORY_ACCOUNT, stall.now)
    return "示范风电场 / wind farm"


def _oversight(stall: Stall) -> str:
    return oversight.set_up(stall.pool, stall.vault, stall.now, secrets.token_urlsafe())


def _keep(path: Path, body: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(body)
