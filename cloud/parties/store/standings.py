"""SQL: where a party stands at the gate, and the reserves of orders and contracts on its guarantee.

`reserve` and `release` are idempotent by their purpose; the database lets one entry of a party pass after the other and
never more than is free (cloud/schema/0027_credit.sql).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg.errors import CheckViolation

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Conflict, NotNow
from cloud.parties import checklist, expiry
from cloud.parties.guaranteefile import GuaranteeRule
from cloud.parties.guaranteefile import bond_fen as computed_bond_fen
from cloud.parties.party import EFFECTIVE, UNREGISTERED, Kind, may_trade
from cloud.parties.standing import Grade, NoParty, Standing, standing

SUSPENDED: Final = "suspended"
LODGING_KINDS: Final = frozenset({"retailer"})  # 售电公司管理办法: who must lodge a guarantee


class OverGuarantee(NotNow):
    """More than is free of the party's guarantee."""


class AnotherAmount(Conflict):
    """Another amount is reserved for this purpose already; release it first."""


def standing_of(conn: Conn, party_id: int, at: datetime) -> Standing:
    """Where the party stands at that instant. Raises NoParty."""
    row = conn.execute("SELECT kind, subkind, state FROM party WHERE party_id = %s", (party_id,)).fetchone()
    if row is None:
        raise NoParty("not_found", kind="party")
    kind, subkind, state = row
    return standing(
        party_id,
        kind,
        _state_at_the_gate(kind, subkind, state, has_expired=party_id in _expired(conn, [party_id], at)),
        grade=grade_of(conn, party_id, at),
        guarantee_free_fen=free_fen(conn, party_id, at) if kind in LODGING_KINDS else None,
        limit_kwh=_limit_kwh(conn, party_id, at),
    )


def standings_of(conn: Conn, party_ids: Sequence[int], at: datetime) -> dict[int, Standing]:
    """Where many parties stand, in one query; who is not there is left out."""
    rows = conn.execute(
        """SELECT p.party_id, p.kind, p.subkind, p.state, coalesce(o.grade, c.grade), r.limit_kwh,
                  CASE WHEN p.kind = ANY(%(lodging)s)
                       THEN guarantee_held_fen(p.party_id, %(day)s) - guarantee_reserved_fen(p.party_id) END
           FROM party p
           LEFT JOIN LATERAL (SELECT o.grade FROM credit_override o JOIN credit_override_verdict v USING (override_id)
                WHERE o.party_id = p.party_id AND v.verdict = 'accept' AND v.at <= %(at)s AND o.expires_at > %(at)s
                ORDER BY v.at DESC, o.override_id DESC LIMIT 1) o ON true
           LEFT JOIN LATERAL (SELECT s.grade FROM credit_score s WHERE s.party_id = p.party_id AND s.at <= %(at)s
                ORDER BY s.at DESC, s.score_id DESC LIMIT 1) c ON true
           LEFT JOIN LATERAL (SELECT g.limit_kwh FROM guarantee_requirement g
                WHERE g.party_id = p.party_id AND g.at <= %(at)s
                ORDER BY g.at DESC, g.requirement_id DESC LIMIT 1) r ON true
           WHERE p.party_id = ANY(%(parties)s)""",
        {
            "lodging": sorted(LODGING_KINDS),
            "day": markettime.day_of(at),
            "at": at,
            "parties": list(party_ids),
        },
    )
    expired = _expired(conn, party_ids, at)
    return {
        party_id: standing(
            party_id,
            kind,
            _state_at_the_gate(kind, subkind, state, has_expired=party_id in expired),
            grade=None if grade is None else Grade(grade),
            guarantee_free_fen=None if free is None else int(free),
            limit_kwh=None if limit is None else int(limit),
        )
        for party_id, kind, subkind, state, grade, limit, free in rows
    }


def grade_of(conn: Conn, party_id: int, at: datetime) -> Grade | None:
    """The grade in force: an accepted exception that has not expired, else the last score's."""
    row = conn.execute(
        """SELECT coalesce(
               (SELECT o.grade FROM credit_override o JOIN credit_override_verdict v USING (override_id)
                WHERE o.party_id = %(party)s AND v.verdict = 'accept' AND v.at <= %(at)s AND o.expires_at > %(at)s
                ORDER BY v.at DESC, o.override_id DESC LIMIT 1),
               (SELECT grade FROM credit_score WHERE party_id = %(party)s AND at <= %(at)s
                ORDER BY at DESC, score_id DESC LIMIT 1))""",
        {"party": party_id, "at": at},
    ).fetchone()
    return None if row is None or row[0] is None else Grade(row[0])


def free_fen(conn: Conn, party_id: int, at: datetime) -> int:
    """What is lodged and in force on that day and neither drawn nor reserved; negative after a draw or an expiry."""
    row = conn.execute(
        "SELECT guarantee_held_fen(%s, %s) - guarantee_reserved_fen(%s)",
        (party_id, markettime.day_of(at), party_id),
    ).fetchone()
    assert row is not None
    return int(row[0])


def reserve(conn: Conn, party_id: int, amount_fen: int, purpose_key: str, at: datetime) -> None:
    """Reserve an amount of the party's guarantee for a purpose, once. Raises OverGuarantee, AnotherAmount."""
    if amount_fen < 0:
        raise ValueError(f"a reserve of {amount_fen} fen")
    if amount_fen == 0:
        return
    _lock(conn, party_id)
    kept = _amount(conn, "reserve", purpose_key)
    if kept is not None:
        if kept != (party_id, amount_fen):
            raise AnotherAmount("guarantee_another_amount", purpose=purpose_key)
        return
    try:
        with conn.transaction():
            _insert(conn, "reserve", party_id, amount_fen, purpose_key, at)
    except CheckViolation as problem:
        raise OverGuarantee(
            "over_guarantee", amount_fen=amount_fen, free_fen=free_fen(conn, party_id, at)
        ) from problem


def reserve_new(conn: Conn, reserves: Sequence[tuple[int, int, str]], at: datetime) -> None:
    """Reserve (party, fen above 0, purpose) for purposes that were never reserved for, all or none. Raises OverGuarantee.

    The rows' trigger locks the parties' ledgers in the order given; give them in order of the party.
    """
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO guarantee_entry (party_id, kind, amount_fen, purpose_key, at, actor)
                   SELECT w.party, 'reserve', w.fen, w.purpose, %s,
                          coalesce(nullif(current_setting('app.actor', true), ''), 'system')
                   FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) WITH ORDINALITY AS w (party, fen, purpose, no)
                   ORDER BY w.no""",
                (at, *([each[place] for each in reserves] for place in range(3))),
            )
    except CheckViolation as problem:
        raise OverGuarantee("over_guarantee", amount_fen=0, free_fen=0) from problem


def carry(conn: Conn, party_id: int, amount_fen: int, purpose_key: str, at: datetime) -> int:
    """Reserve for what an order or a contract has become, once, in the transaction that released its own reserve.

    What is free is asked first; a party whose guarantee has shrunk meanwhile keeps bound what was given back, no more.
    Returns the fen that are bound now.
    """
    try:
        with conn.transaction():
            reserve(conn, party_id, amount_fen, purpose_key, at)
            return amount_fen
    except OverGuarantee:
        row = conn.execute("SELECT guarantee_carriable_fen(%s)", (party_id,)).fetchone()
        assert row is not None
        bound_fen = min(amount_fen, int(row[0]))
        if bound_fen:
            _insert(conn, "reserve", party_id, bound_fen, purpose_key, at, is_carried=True)
        return bound_fen


def bond_fen(conn: Conn, rule: GuaranteeRule, party_id: int, kwh: int, at: datetime) -> int:
    """What a contract of so much energy binds of its buyer's guarantee, by the rule in force; 0 for who need not lodge any."""
    row = conn.execute(
        """SELECT p.kind, coalesce((SELECT (g.volumes->>'has_unsecured')::boolean FROM guarantee_requirement g
                                    WHERE g.party_id = p.party_id AND g.at <= %s
                                    ORDER BY g.at DESC, g.requirement_id DESC LIMIT 1), true)
           FROM party p WHERE p.party_id = %s""",
        (at, party_id),
    ).fetchone()
    if row is None or row[0] not in LODGING_KINDS:
        return 0
    return computed_bond_fen(rule, kwh, grade_of(conn, party_id, at), has_unsecured=bool(row[1]))


def bound_for(conn: Conn, party_id: int, contract_id: str) -> dict[str, int]:
    """What is bound of a party's guarantee for a contract, fen by name: of its versions, and of what was agreed before."""
    rows = conn.execute(
        """SELECT purpose_key, amount_fen FROM guarantee_entry e
           WHERE party_id = %s AND kind = 'reserve' AND split_part(purpose_key, ':', 1) IN ('contract', 'agreed')
             AND split_part(purpose_key, ':', 2) = %s
             AND NOT EXISTS (SELECT FROM guarantee_entry r WHERE r.kind = 'release' AND r.purpose_key = e.purpose_key)
           ORDER BY purpose_key""",
        (party_id, contract_id),
    )
    return {str(key): int(fen) for key, fen in rows}


def lock_limit(conn: Conn, party_id: int) -> None:
    """Let one trade of a party be held against its limit after the other, until the transaction's end."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('limit:' || %s, 0))", (party_id,))


def release(conn: Conn, purpose_key: str, at: datetime) -> int:
    """Give back what was reserved for a purpose, once; say how much was given back now."""
    kept = _amount(conn, "reserve", purpose_key)
    if kept is None:
        return 0
    party_id, amount_fen = kept
    _lock(conn, party_id)
    if _amount(conn, "release", purpose_key) is not None:
        return 0
    _insert(conn, "release", party_id, amount_fen, purpose_key, at)
    return amount_fen


def _state_at_the_gate(kind: str, subkind: str, state: str, *, has_expired: bool) -> str:
    """The state that the gate sees: nobody trades by an expired document, nor of a class that is in no market."""
    if state == EFFECTIVE and not may_trade(kind, subkind, state):
        return UNREGISTERED  # households, farms
    return SUSPENDED if state == EFFECTIVE and has_expired else state


def _expired(conn: Conn, party_ids: Sequence[int], at: datetime) -> frozenset[int]:
    """Who holds an expired document without which it may not trade: the gate does not wait for the timetable's look."""
    today = markettime.day_of(at)
    rows = conn.execute(
        """SELECT DISTINCT p.party_id, p.kind, p.subkind FROM party_document e JOIN party p USING (party_id)
           WHERE e.party_id = ANY(%s) AND e.valid_until <= %s""",
        (list(party_ids), today),
    ).fetchall()
    found = set()
    for party_id, kind, subkind in rows:
        speaking = conn.execute(
            """SELECT DISTINCT ON (item) item, valid_until FROM party_document WHERE party_id = %s
               ORDER BY item, paper_id DESC""",
            (party_id,),
        )
        held = [checklist.HeldPaper(item, valid_until) for item, valid_until in speaking]
        if expiry.stopping(checklist.in_force(Kind(kind), today), subkind, held, today):
            found.add(party_id)
    return frozenset(found)


def _limit_kwh(conn: Conn, party_id: int, at: datetime) -> int | None:
    row = conn.execute(
        """SELECT limit_kwh FROM guarantee_requirement WHERE party_id = %s AND at <= %s
           ORDER BY at DESC, requirement_id DESC LIMIT 1""",
        (party_id, at),
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _lock(conn: Conn, party_id: int) -> None:
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('guarantee:' || %s, 0))", (party_id,))


def _amount(conn: Conn, kind: str, purpose_key: str) -> tuple[int, int] | None:
    row = conn.execute(
        "SELECT party_id, amount_fen FROM guarantee_entry WHERE kind = %s AND purpose_key = %s",
        (kind, purpose_key),
    ).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def _insert(
    conn: Conn,
    kind: str,
    party_id: int,
    amount_fen: int,
    purpose_key: str,
    at: datetime,
    *,
    is_carried: bool = False,
) -> None:
    conn.execute(
        """INSERT INTO guarantee_entry (party_id, kind, amount_fen, purpose_key, at, actor, is_carried)
           VALUES (%s, %s, %s, %s, %s, coalesce(nullif(current_setting('app.actor', true), ''), 'system'), %s)""",
        (party_id, kind, amount_fen, purpose_key, at, is_carried),
    )
