"""Shells: enter a policy, take one that the regulator published, tell staff what is about to change."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cloud import notices
from cloud.db import Conn
from cloud.market.policy import NewPolicy, Standing, standing
from cloud.market.store import policies as store
from cloud.markettime import day_of
from cloud.notices import Notice

NOBODY: Final = 0  # no person: for the columns that tell whether somebody has read


def enter(conn: Conn, new: NewPolicy, document_id: int | None, by: str, now: datetime) -> int:
    """Enter a policy and tell staff of it. Raises PolicyKept."""
    policy_id = store.insert(conn, new, document_id, ("staff", by), now)
    _tell(conn, "policy.entered", policy_id, f"entered:{policy_id}", now, number=new.number, title=new.title)
    return policy_id


def take(conn: Conn, new: NewPolicy, now: datetime) -> bool:
    """Take a policy that the regulator published; False when its number is entered already."""
    if store.is_kept(conn, new.number):
        return False
    policy_id = store.insert(conn, new, None, ("regulator", "job:regulator"), now)
    _tell(
        conn, "policy.published", policy_id, f"entered:{policy_id}", now, number=new.number, title=new.title
    )
    return True


def tell_changes(conn: Conn, now: datetime) -> int:
    """Tell staff, once each, of policies that come into force, expire or are repealed; return how many hold no more."""
    today, over = day_of(now), 0
    for row in store.listed(conn, NOBODY, most=1000):
        found = standing(row.effective, row.expires, row.repealed, today)
        over += found in (Standing.EXPIRED, Standing.REPEALED)
        if found is Standing.IN_FORCE or (found is Standing.EXPIRED and not row.rules):
            continue
        facts = {"number": row.number, "title": row.title, "rules": "、".join(row.rules) or "—"}
        _tell(conn, f"policy.{found}", row.policy_id, f"{found}:{row.policy_id}", now, **facts)
    return over


def _tell(conn: Conn, topic: str, policy_id: int, idem_key: str, now: datetime, **facts: str) -> None:
    path = f"/policies/{policy_id}"
    notices.post(conn, Notice(None, topic, facts, path, f"policy:{idem_key}"[:200]), now)
