"""What every deed with certificates needs: who may trade, what is too old, who is told."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cloud import markettime
from cloud.db import Conn
from cloud.errors import NotNow
from cloud.market import certificates as gec
from cloud.market.store.certificates import PlaceRow
from cloud.notices import Notice, post
from cloud.parties.store import standings

CLOCK: Final = "job:green"
PAGE: Final = "/green"


class NotAdmitted(NotNow):
    """Only a party whose registration is in force may trade certificates."""


def check_admitted(conn: Conn, party_id: int, now: datetime) -> None:
    """Refuse who may not trade now. Raises NotAdmitted."""
    if not standings.standing_of(conn, party_id, now).is_admitted:
        raise NotAdmitted("green_not_admitted")


def is_old(place: PlaceRow, now: datetime) -> bool:
    """Whether the 24 months of what lies there are over."""
    return gec.is_expired(place.month, markettime.day_of(now))


def tell(conn: Conn, party_id: int, key: str, idem_key: str, at: datetime, **facts: str) -> None:
    """Tell a party, once."""
    post(conn, Notice(party_id, key, facts, PAGE, f"notice:{idem_key}"[:200]), at)
