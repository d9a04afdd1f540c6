"""Who asks at the desk and from where; finding a contract for them; telling both sides what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cloud.contracts.store import life
from cloud.contracts.store.life import ContractRow, Event
from cloud.db import Conn
from cloud.errors import Invalid
from cloud.files import Vault
from cloud.notices import Notice, post
from cloud.paper.cosign import Authority
from cloud.security.access import Actor, Deed, Role, Subject
from cloud.security.run import Session, actor_name, allow

REASON_MAX = 1000
DEVICE_LENGTH_MAX = 300


class ReasonMissing(Invalid):
    """Whoever declines, disputes, ends or decides says why."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of a signed-in person: session, instant, address and device it came from, and where files are kept.

    `timestamps` attests when something was signed, where the installation has such an authority.
    """

    session: Session
    now: datetime
    address: str
    device: str
    vault: Vault
    timestamps: Authority | None = None

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return self.session.actor

    @property
    def name(self) -> str:
        """How events name the person."""
        return actor_name(self.actor)

    @property
    def where(self) -> tuple[str, str]:
        """Address and device, as they are kept."""
        return self.address[:100], self.device[:DEVICE_LENGTH_MAX]

    @property
    def is_staff(self) -> bool:
        """Whether the market operator asks."""
        return self.actor.role is Role.STAFF


def contract_for(
    conn: Conn, ask: Ask, deed: Deed, contract_id: str, *, is_locked: bool = False
) -> ContractRow:
    """Find a contract for a deed of this person. Raises NoContract, NotYours, NotForRole."""
    row = life.find(conn, contract_id, is_locked=is_locked)
    side = row.side_of(ask.actor.party_id)
    own = ask.actor.party_id if side else row.seller_id
    allow(conn, ask.actor, deed, Subject("contract", contract_id, own), ask.now)
    return row


def event(ask: Ask, deed: str, reason: str = "", **facts: object) -> Event:
    """Make an event of this person's deed; `facts` may name paper_no and document."""
    paper_no, document = facts.pop("paper_no", None), facts.pop("document", "")
    assert paper_no is None or isinstance(paper_no, int)
    return Event(deed, ask.now, ask.name, reason.strip(), paper_no, str(document), facts)


def reason_of(text: str) -> str:
    """Check a reason. Raises ReasonMissing."""
    if not 0 < len(text.strip()) <= REASON_MAX or "\0" in text:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    return text.strip()


def tell(
    conn: Conn,
    row: ContractRow,
    key: str,
    told: tuple[str, datetime],
    facts: Mapping[str, str],
    *,
    staff: bool = False,
) -> None:
    """Tell all people of both sides, and the operator if asked for; `told` is (what makes it this one notice, when)."""
    unique, at = told
    everything = {"contract": row.contract_id, "seller": row.seller_name, "buyer": row.buyer_name} | dict(
        facts
    )
    for party_id in (*row.parties, *((None,) if staff else ())):
        post(
            conn,
            Notice(
                party_id,
                f"contract.{key}",
                everything,
                f"/contracts/{row.contract_id}",
                f"contract:{row.contract_id}:{key}:{unique}:{party_id or 'staff'}"[:200],
            ),
            at,
        )
