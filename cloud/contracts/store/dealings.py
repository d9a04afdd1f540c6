"""SQL: disputes about a contract, requests to change or end it, accounts it supplies, deviations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.errors import ExclusionViolation, UniqueViolation
from psycopg.rows import class_row

from cloud.db import Conn
from cloud.errors import Conflict, NotFound

LIST_MAX = 300


class SuppliedAlready(Conflict):
    """Another retailer's contract holds the account in that period (国能发监管规〔2024〕76号 art. 23)."""


class NoDealing(NotFound):
    """There is no such dispute or request, or this person does not see it."""


class DecidedAlready(Conflict):
    """Somebody else has decided it meanwhile."""


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute, with its decision once there is one."""

    dispute_id: int
    contract_id: str
    party_id: int
    party_name: str
    reason: str
    opened_by: str
    address: str
    device: str
    at: datetime
    verdict: str | None
    decision: str | None
    decided_by: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request and where it stands."""

    request_id: int
    contract_id: str
    kind: str
    party_id: int
    party_name: str
    wanted: str
    asked_by: str
    at: datetime
    state: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a request; the party is None for the operator."""

    deed: str
    after: str
    note: str
    party_id: int | None
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DeviationRow:
    """A month's volume beside energy."""

    contract_id: str
    side: str
    month: date
    promised_kwh: int
    all_promised_kwh: int
    actual_kwh: int
    is_whole_month: bool
    source: str
    at: datetime


_DISPUTE = """SELECT d.dispute_id, d.contract_id, d.party_id, p.name AS party_name, d.reason, d.opened_by, d.address, d.device,
       d.at, v.verdict, v.reason AS decision, v.actor AS decided_by, v.at AS decided_at
    FROM contract_dispute d JOIN party p USING (party_id) LEFT JOIN contract_dispute_decision v USING (dispute_id)"""
_REQUEST = """SELECT r.request_id, r.contract_id, r.kind, r.party_id, p.name AS party_name, r.wanted, r.asked_by, r.at,
       coalesce((SELECT s.after FROM contract_request_step s WHERE s.request_id = r.request_id
                 ORDER BY s.step_id DESC LIMIT 1), 'open') AS state
    FROM contract_request r JOIN party p USING (party_id)"""


def insert_dispute(
    conn: Conn, contract_id: str, party_id: int, reason: str, told: tuple[str, str, str, datetime]
) -> int:
    """Keep a dispute; `told` is (by whom, address, device, when). The contract is frozen by this row."""
    row = conn.execute(
        """INSERT INTO contract_dispute (contract_id, party_id, reason, opened_by, address, device, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING dispute_id""",
        (contract_id, party_id, reason, *told),
    ).fetchone()
    assert row is not None
    return int(row[0])


def decide_dispute(
    conn: Conn, dispute_id: int, verdict: str, reason: str, told: tuple[str, datetime]
) -> None:
    """Keep the decision; `told` is (by whom, when). Raises DecidedAlready."""
    try:
        with conn.transaction():
            conn.execute(
                """INSERT INTO contract_dispute_decision (dispute_id, verdict, reason, actor, at)
                   VALUES (%s, %s, %s, %s, %s)""",
                (dispute_id, verdict, reason, *told),
            )
    except UniqueViolation as twice:
        raise DecidedAlready("dispute_decided") from twice


def find_dispute(conn: Conn, dispute_id: int) -> DisputeRow:
    """Load a dispute. Raises NoDealing."""
    found = _disputes(conn, "WHERE d.dispute_id = %s", (dispute_id,))
    if not found:
        raise NoDealing("not_found", kind="dispute")
    return found[0]


def disputes_of(conn: Conn, contract_id: str) -> tuple[DisputeRow, ...]:
    """The disputes about a contract, in order."""
    return _disputes(conn, "WHERE d.contract_id = %s ORDER BY d.dispute_id", (contract_id,))


def open_disputes(conn: Conn) -> tuple[DisputeRow, ...]:
    """What waits for a decision, oldest first."""
    return _disputes(conn, "WHERE v.verdict IS NULL ORDER BY d.dispute_id LIMIT %s", (LIST_MAX,))


def insert_request(
    conn: Conn, contract_id: str, kind: str, wanted: str, told: tuple[int, str, datetime]
) -> int:
    """Keep a request; `told` is (party, by whom, when)."""
    party_id, actor, at = told
    row = conn.execute(
        """INSERT INTO contract_request (contract_id, kind, party_id, wanted, asked_by, at)
           VALUES (%s, %s, %s, %s, %s, %s) RETURNING request_id""",
        (contract_id, kind, party_id, wanted, actor, at),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_step(conn: Conn, request_id: int, step: StepRow) -> None:
    """Keep a step of a request."""
    conn.execute(
        """INSERT INTO contract_request_step (request_id, deed, after, note, party_id, actor, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (request_id, step.deed, step.after, step.note, step.party_id, step.actor, step.at),
    )


def find_request(conn: Conn, request_id: int) -> RequestRow:
    """Load a request, holding it against another step until the transaction's end. Raises NoDealing."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 30))", (f"request {request_id}",))
    found = _requests(conn, "WHERE r.request_id = %s", (request_id,))
    if not found:
        raise NoDealing("not_found", kind="request")
    return found[0]


def requests_of(conn: Conn, contract_id: str) -> tuple[RequestRow, ...]:
    """The requests about a contract, in order."""
    return _requests(conn, "WHERE r.contract_id = %s ORDER BY r.request_id", (contract_id,))


def open_requests(conn: Conn) -> tuple[RequestRow, ...]:
    """What waits for the operator or the parties, oldest first."""
    rows = _requests(conn, "ORDER BY r.request_id DESC LIMIT %s", (LIST_MAX,))
    return tuple(row for row in reversed(rows) if row.state in ("open", "negotiating", "agreed"))


def steps_of(conn: Conn, request_id: int) -> tuple[StepRow, ...]:
    """The steps of a request, in order."""
    with conn.cursor(row_factory=class_row(StepRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT deed, after, note, party_id, actor, at FROM contract_request_step
                   WHERE request_id = %s ORDER BY step_id""",
                (request_id,),
            )
        )


def hold_accounts(
    conn: Conn, contract_id: str, account_ids: tuple[str, ...], term: tuple[date, date]
) -> None:
    """Let a contract hold its accounts in `[first, end)`. Raises SuppliedAlready."""
    for account_id in account_ids:
        try:
            with conn.transaction():
                conn.execute(
                    """INSERT INTO contract_supply (contract_id, account_id, effective)
                       VALUES (%s, %s, daterange(%s, %s)) ON CONFLICT (contract_id, account_id) DO NOTHING""",
                    (contract_id, account_id, *term),
                )
        except ExclusionViolation as overlap:
            raise SuppliedAlready("supplied_already", account=account_id) from overlap


def is_held(conn: Conn, contract_id: str, account_id: str, term: tuple[date, date]) -> bool:
    """Whether another contract holds the account in some part of `[first, end)`."""
    row = conn.execute("SELECT contract_held(%s, %s, %s, %s)", (contract_id, account_id, *term)).fetchone()
    return bool(row and row[0])


def are_accounts_of(conn: Conn, party_id: int, account_ids: tuple[str, ...]) -> bool:
    """Whether all the accounts are the party's."""
    row = conn.execute("SELECT contract_accounts_of(%s, %s)", (party_id, list(account_ids))).fetchone()
    return bool(row and row[0])


def release_accounts(conn: Conn, contract_id: str, now: datetime) -> None:
    """Give the accounts of a contract free again, as if it had never held them."""
    conn.execute(
        "UPDATE contract_supply SET released_at = %s WHERE contract_id = %s AND released_at IS NULL",
        (now, contract_id),
    )


def end_accounts(conn: Conn, contract_id: str, end: date) -> None:
    """End what a contract holds at a day; what would begin after it is not held at all."""
    conn.execute(
        """UPDATE contract_supply SET effective = daterange(lower(effective), %(end)s)
           WHERE contract_id = %(id)s AND released_at IS NULL AND lower(effective) < %(end)s AND upper(effective) > %(end)s""",
        {"end": end, "id": contract_id},
    )


def accounts_of(conn: Conn, contract_id: str) -> tuple[str, ...]:
    """The accounts that a contract holds."""
    rows = conn.execute(
        "SELECT account_id FROM contract_supply WHERE contract_id = %s AND released_at IS NULL ORDER BY 1",
        (contract_id,),
    )
    return tuple(str(row[0]) for row in rows)


def put_deviation(conn: Conn, row: DeviationRow) -> bool:
    """Keep a deviation; False when the same energy and promise are kept as the last."""
    last = next(
        (
            each
            for each in reversed(deviations_of(conn, row.contract_id))
            if (each.side, each.month) == (row.side, row.month)
        ),
        None,
    )
    facts = (row.promised_kwh, row.all_promised_kwh, row.actual_kwh, row.is_whole_month)
    if last is not None and facts == (
        last.promised_kwh,
        last.all_promised_kwh,
        last.actual_kwh,
        last.is_whole_month,
    ):
        return False
    conn.execute(
        """INSERT INTO contract_deviation (contract_id, side, month, promised_kwh, all_promised_kwh, actual_kwh,
                                           is_whole_month, source, at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (row.contract_id, row.side, row.month, *facts, row.source, row.at),
    )
    return True


def deviations_of(conn: Conn, contract_id: str) -> tuple[DeviationRow, ...]:
    """What was found about a contract, in order."""
    with conn.cursor(row_factory=class_row(DeviationRow)) as cursor:
        return tuple(
            cursor.execute(
                """SELECT contract_id, side, month, promised_kwh, all_promised_kwh, actual_kwh, is_whole_month, source, at
                   FROM contract_deviation WHERE contract_id = %s ORDER BY deviation_id""",
                (contract_id,),
            )
        )


def _disputes(conn: Conn, rest: str, parameters: tuple[object, ...]) -> tuple[DisputeRow, ...]:
    with conn.cursor(row_factory=class_row(DisputeRow)) as cursor:
        return tuple(cursor.execute(f"{_DISPUTE} {rest}", parameters))


def _requests(conn: Conn, rest: str, parameters: tuple[object, ...]) -> tuple[RequestRow, ...]:
    with conn.cursor(row_factory=class_row(RequestRow)) as cursor:
        return tuple(cursor.execute(f"{_REQUEST} {rest}", parameters))
