"""What the clock does: papers expire, contracts that have cooled become effective, begin, end, are archived; reminders.

Safe to repeat and to run twice at once: every step holds its contract, and looks at its state again. A contract that
cannot become effective (another retailer has the account, a package is gone) says so to the operator and stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from cloud.contracts import delivery, document, execution
from cloud.contracts.contract import IN_FORCE, SOLD_TO_USERS, Kind, Purpose, terms_from_json
from cloud.contracts.run.desk import bond
from cloud.contracts.run.desk.ask import tell
from cloud.contracts.run.desk.check import NotAdmitted, accounts_in, cooling_hours, latest_terms
from cloud.contracts.store import calendar, dealings, life, papers, retail, wholesale
from cloud.contracts.store.dealings import StepRow
from cloud.contracts.store.life import ContractRow, Event
from cloud.contracts.store.papers import PaperRow
from cloud.contracts.store.retail import DatedPackage
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn, Pool, ProcessRole, Scope, transaction
from cloud.errors import Invalid, Refused
from cloud.markettime import day_bounds, day_of
from cloud.parties.store import standings

log = logging.getLogger(__name__)

ACTOR = "job:contracts"
WORKER = Scope(ProcessRole.WORKER, actor=ACTOR)
STEPS_MAX = 2000
REMINDED_AT_ONCE = 200
LATE = timedelta(days=1)  # how much later than due the clock may do it, as if it were then


class NoSuchPackage(Invalid):
    """The contract names a package that there is not."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How many papers expired, contracts became effective, papers were applied, contracts moved on or were refused."""

    expired: tuple[str, ...]
    effective: tuple[str, ...]
    applied: tuple[str, ...]
    moved: tuple[str, ...]
    refused: tuple[str, ...]


def look(pool: Pool, now: datetime) -> Turn:
    """Look at every contract that something is due for; at most STEPS_MAX, the next look goes on."""
    with transaction(pool, WORKER) as conn:
        past = papers.open_past(conn, now)[:STEPS_MAX]
        standing = life.due(conn, now, day_of(now), STEPS_MAX)
    expired = [paper.contract_id for paper in past if _once(pool, now, paper.contract_id, _expire(paper)) > 0]
    done: dict[str, list[str]] = {"effective": [], "applied": [], "moved": [], "refused": []}
    for contract_id in standing:
        for name, work in (("effective", _mature), ("applied", _apply), ("moved", _move_on)):
            result = _once(pool, now, contract_id, work)
            if result:
                done[name if result > 0 else "refused"].append(contract_id)
    return Turn(tuple(expired), **{name: tuple(numbers) for name, numbers in done.items()})


def remind(pool: Pool, now: datetime) -> int:
    """Remind both sides of what is ahead, each reminder once; return how many contracts there was something to say about."""
    reminded, past = 0, ""
    while True:
        with transaction(pool, WORKER) as conn:
            rows = life.running(conn, past, REMINDED_AT_ONCE)
            reminded += sum(_remind(conn, row, now) for row in rows)
        if len(rows) < REMINDED_AT_ONCE:
            return reminded
        past = rows[-1].contract_id


Work = Callable[[Conn, ContractRow, datetime], int]


def _once(pool: Pool, now: datetime, contract_id: str, work: Work) -> int:
    """Do one thing to one contract; -1 when it was refused, and the operator told."""
    try:
        with transaction(pool, WORKER) as conn:
            row = life.find(conn, contract_id, is_locked=True)
            return 0 if row.is_frozen else work(conn, row, now)
    except Refused as refused:
        log.warning("contracts.refused contract=%s %s", contract_id, refused)
        with transaction(pool, WORKER) as conn:
            row = life.find(conn, contract_id)
            day = day_of(now).isoformat()
            tell(
                conn,
                row,
                "blocked",
                (f"{day}.{refused.key}", now),
                {"problem": str(refused)[:200]},
                staff=True,
            )
        return -1


def _expire(paper: PaperRow) -> Work:
    def work(conn: Conn, row: ContractRow, now: datetime) -> int:
        current = papers.find(conn, paper.contract_id, paper.paper_no)
        if current.state != "signing" or current.expires_at is None or current.expires_at > now:
            return 0
        papers.move(conn, current, "expire")
        told = Event("expire", now, ACTOR, "", paper.paper_no, current.pdf_sha256)
        if current.purpose == Purpose.MAIN:
            life.move(conn, row, told)
        else:
            life.note(conn, row.contract_id, told, (row.state, row.state))
        tell(conn, row, "expired", (f"{paper.paper_no}.{current.expires_at.isoformat()}", now), {})
        return 1

    return work


def _mature(conn: Conn, row: ContractRow, now: datetime) -> int:
    """Make a cooled contract effective: its wholesale rows, or its accounts' package, appear with it."""
    if row.state != "cooling" or row.cooling_until is None or row.cooling_until > now:
        return 0
    for party_id in row.parties:
        if not standings.standing_of(conn, party_id, now).is_admitted:
            raise NotAdmitted("party_not_admitted", party=life.party_facts(conn, party_id)[0])
    paper = _signed(conn, row, Purpose.MAIN)[-1]
    if document.is_wholesale(paper.content):
        _check_not_over(conn, paper, None, row.cooling_until, now)
        agreed = None if row.agreed is None else terms_from_json(row.agreed)
        signed = day_of(row.signed_at or now)
        terms = document.wholesale_terms(paper.content, agreed, row.version, signed)
        wholesale.put(conn, terms, ACTOR, now)
        bond.bind(conn, row, terms, now)
    if Kind(row.kind) in SOLD_TO_USERS:
        _assign(conn, row, paper, now)
    told = Event("mature", now, ACTOR, "", paper.paper_no, _file(conn, paper))
    life.move(conn, row, told, effective_at=now)
    tell(conn, row, "effective", ("", now), {"title": paper.content["title"]})
    return 1


def _assign(conn: Conn, row: ContractRow, paper: PaperRow, now: datetime) -> None:
    named = paper.content["values"].get("package", "")
    if not named:
        return
    package_id, _, version = named.partition("@")
    if (
        not version.isascii()
        or not version.isdecimal()
        or not retail.is_package(conn, package_id, int(version))
    ):
        raise NoSuchPackage("no_such_package", package=named)
    start, end = day_bounds(row.start_day)[0], day_bounds(row.end_day)[0]
    for account_id in accounts_in(paper.content):
        package = DatedPackage(start, end, package_id, int(version), row.seller_id)
        if package not in retail.packages_between(conn, account_id, start, end):
            retail.assign(conn, account_id, package, ACTOR, now)


def _apply(conn: Conn, row: ContractRow, now: datetime) -> int:
    """Let a supplement or an agreement to end take effect, once all have signed it and it has cooled."""
    if row.state not in IN_FORCE:
        return 0
    done = {
        each.paper_no for each in life.events_of(conn, row.contract_id) if each.deed in ("amend", "terminate")
    }
    for paper in _signed(conn, row, Purpose.SUPPLEMENT, Purpose.TERMINATION):
        last = max(at for at, _ in papers.signings_of(conn, row.contract_id, paper.paper_no))
        due_at = last + timedelta(hours=cooling_hours(paper.content))
        if paper.paper_no not in done and due_at <= now:
            if paper.purpose == Purpose.TERMINATION:
                _terminate(conn, row, paper, now)
            else:
                _check_not_over(conn, paper, latest_terms(conn, row), due_at, now)
                _amend(conn, row, paper, now)
            _finish_request(conn, row, paper, now)
            return 1
    return 0


def _check_not_over(
    conn: Conn, paper: PaperRow, kept: WholesaleTerms | None, due_at: datetime, now: datetime
) -> None:
    """Let nothing that was held promise a month that is over meanwhile, and settled without it. Raises DeliveryOver."""
    promised = () if kept is None else kept.volumes
    delivery.check(
        paper.content, promised, max(due_at, now - LATE), lambda month: calendar.labels_of(conn, month)
    )


def _amend(conn: Conn, row: ContractRow, paper: PaperRow, now: datetime) -> None:
    kept = latest_terms(conn, row)
    version, end_day = row.version, row.end_day
    if kept is not None and paper.content["volumes"]:
        version = kept.version + 1
        named = document.wholesale_terms(paper.content, kept, version, kept.signed)
        new = replace(named, volumes=delivery.merged(kept.volumes, named.volumes, now))
        wholesale.put(conn, new, ACTOR, now)
        bond.bind(conn, row, new, now)
        end_day = date.fromisoformat(paper.content["end_day"])
    told = Event("amend", now, ACTOR, "", paper.paper_no, _file(conn, paper))
    life.move(conn, row, told, version=version, end_day=end_day)
    tell(conn, row, "amended", (str(paper.paper_no), now), {"title": paper.content["title"]})


def _terminate(conn: Conn, row: ContractRow, paper: PaperRow, now: datetime) -> None:
    end_day = max(date.fromisoformat(paper.content["first_day"]), row.start_day + timedelta(days=1))
    kept = latest_terms(conn, row)
    version = row.version + 1
    if kept is not None:
        version = kept.version + 1
        ended = document.ended(kept, version, end_day, f"terminated {paper.content_sha256[:16]}")
        wholesale.put(conn, ended, ACTOR, now)
    for account_id in dealings.accounts_of(conn, row.contract_id):
        retail.end_at(conn, account_id, day_bounds(end_day)[0])
    dealings.end_accounts(conn, row.contract_id, end_day)
    told = Event(
        "terminate", now, ACTOR, str(paper.content["values"].get("termination_reason", "")), paper.paper_no
    )
    life.move(conn, row, told, version=version, end_day=end_day)
    tell(conn, row, "terminated", ("", now), {"day": end_day.isoformat()})


def _finish_request(conn: Conn, row: ContractRow, paper: PaperRow, now: datetime) -> None:
    for request in dealings.requests_of(conn, row.contract_id):
        drawn = [each.note for each in dealings.steps_of(conn, request.request_id) if each.deed == "draw"]
        if request.state == "agreed" and str(paper.paper_no) in drawn:
            dealings.add_step(
                conn, request.request_id, StepRow("done", "done", str(paper.paper_no), None, ACTOR, now)
            )


def _move_on(conn: Conn, row: ContractRow, now: datetime) -> int:
    """Begin, complete and archive by the calendar."""
    today = day_of(now)
    deed = {
        "effective": "begin" if row.start_day <= today else "",
        "executing": "complete" if row.end_day <= today else "",
    }.get(row.state, "")
    if row.state in ("completed", "terminated", "void"):
        deed = "archive" if row.end_day + timedelta(days=execution.ARCHIVE_DAYS) <= today else ""
    if not deed:
        return 0
    life.move(conn, row, Event(deed, now, ACTOR))
    tell(conn, row, f"moved_{deed}", ("", now), {})
    return 1


def _remind(conn: Conn, row: ContractRow, now: datetime) -> int:
    today = day_of(now)
    due = execution.reminders(execution.milestones(dates_of(conn, row)), today)
    for milestone, days in due:
        facts = {"day": milestone.due.isoformat(), "days": str((milestone.due - today).days)}
        tell(conn, row, f"remind_{milestone.key}", (f"{milestone.name}.{days}", now), facts)
    return 1 if due else 0


def dates_of(conn: Conn, row: ContractRow) -> execution.Dates:
    """What the timetable of a contract is made of."""
    waiting = [paper for paper in papers.of_contract(conn, row.contract_id) if paper.state == "signing"]
    expires_at = waiting[-1].expires_at if waiting else None
    state = "signing" if waiting and row.state == "signing" else row.state
    return execution.Dates(state, expires_at, row.cooling_until, row.start_day, row.end_day)


def _signed(conn: Conn, row: ContractRow, *purposes: Purpose) -> tuple[PaperRow, ...]:
    found = papers.of_contract(conn, row.contract_id)
    return tuple(paper for paper in found if paper.state == "signed" and paper.purpose in purposes)


def _file(conn: Conn, paper: PaperRow) -> str:
    signings = papers.signings_of(conn, paper.contract_id, paper.paper_no)
    return signings[-1][1] if signings else paper.pdf_sha256
