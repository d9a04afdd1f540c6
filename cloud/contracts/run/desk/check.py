"""What is checked before a contract is drawn up, sent, confirmed, signed: who draws it up, whether both are admitted and on
their sides, whose the accounts are, and whether its months and periods can still be delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from cloud.contracts import delivery
from cloud.contracts.contract import SOLD_TO_USERS, Kind, sides_problem, terms_from_json
from cloud.contracts.run.desk.ask import Ask
from cloud.contracts.store import calendar, dealings, life, wholesale
from cloud.contracts.store.life import ContractRow
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn
from cloud.errors import Forbidden, Invalid, NotNow


class NotDrafter(Forbidden):
    """Only who draws a contract up may change or send it."""


class NotAdmitted(NotNow):
    """A party is not registered in force, so it makes no contract."""


class WrongSides(Invalid):
    """A contract of this kind is not made between these kinds of parties, or they are swapped."""


class WrongAccounts(Invalid):
    """An account of the contract is not the buyer's, or another retailer has it in that time."""


def check_drafter(ask: Ask, row: ContractRow) -> None:
    """Check that this person draws the contract up: its drafter's, either side's where both do, or the operator's.

    Raises NotDrafter.
    """
    if not ask.is_staff and row.drafter_id not in (None, ask.actor.party_id):
        raise NotDrafter("not_drafter", contract=row.contract_id)


def check_admitted(conn: Conn, row: ContractRow) -> None:
    """Check that both parties are registered in force. Raises NotAdmitted."""
    for party_id in row.parties:
        name, state, _ = life.party_facts(conn, party_id)
        if state != "effective":
            raise NotAdmitted("party_not_admitted", party=name)


def check_delivery(
    conn: Conn, content: Mapping[str, Any], kept: WholesaleTerms | None, now: datetime
) -> None:
    """Check that the months of a paper are not over when it has cooled, and that its periods are the market's.

    Raises DeliveryOver, UnknownPeriod.
    """
    effect_at = now + timedelta(hours=cooling_hours(content))
    promised = () if kept is None else kept.volumes
    delivery.check(content, promised, effect_at, lambda month: calendar.labels_of(conn, month))


def cooling_hours(content: Mapping[str, Any]) -> int:
    """How long a paper cools after its last signature."""
    return int(content["values"].get("cooling_hours") or 0)


def check_kinds(conn: Conn, kind: Kind, parties: tuple[int, int]) -> None:
    """Check that the party that sells and the one that buys are of kinds that do so here. Raises WrongSides."""
    seller, buyer = parties
    problem = sides_problem(kind, (life.kind_of(conn, seller), life.kind_of(conn, buyer)))
    if problem:
        names = [life.party_facts(conn, party_id)[0] for party_id in parties]
        raise WrongSides(problem, seller=names[0], buyer=names[1])


def accounts_in(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The accounts that a paper names."""
    return tuple(content["values"].get("accounts", "").split())


def check_accounts(conn: Conn, content: Mapping[str, Any], buyer_id: int) -> None:
    """Check that the accounts of a paper are the buyer's. Raises WrongAccounts."""
    if not dealings.are_accounts_of(conn, buyer_id, accounts_in(content)):
        raise WrongAccounts("not_their_accounts")


def check_free(conn: Conn, row: ContractRow, content: Mapping[str, Any]) -> None:
    """Check that no other retailer holds the accounts of a retail contract in its time. Raises WrongAccounts."""
    if Kind(row.kind) not in SOLD_TO_USERS:
        return
    term = (date.fromisoformat(content["first_day"]), date.fromisoformat(content["end_day"]))
    for account_id in accounts_in(content):
        if dealings.is_held(conn, row.contract_id, account_id, term):
            raise WrongAccounts("supplied_already", account=account_id)


def latest_terms(conn: Conn, row: ContractRow) -> WholesaleTerms | None:
    """The wholesale terms of a contract as they stand in the market, if it has any there."""
    kept = wholesale.find(conn, row.contract_id, row.version)
    if kept is None and row.agreed is not None and row.kind == "confirmation":
        return terms_from_json(row.agreed)
    return kept
