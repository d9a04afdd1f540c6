"""Errands to the regulator: hand in a report and take its receipt, fetch what was published. Each may run twice or die.

A report is noted as handed in before it goes; its hash is its name there, so handing it in again is the same deed.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from cloud import db
from cloud.db import Pool, ProcessRole, Scope
from cloud.errors import Refused, Unavailable
from cloud.files import Vault
from cloud.market.policy import NewPolicy, Relation
from cloud.market.run import policies as policy_run
from cloud.market.run import report as report_run
from cloud.market.store import reports as store
from cloud.outside.regulator.client import BadAnswer, HttpRegulator, Published

log = logging.getLogger(__name__)

SCOPE: Final = Scope(ProcessRole.WORKER, actor="job:regulator")


def submit(
    pool: Pool, vault: Vault, regulator: HttpRegulator, version_id: int, by: str, now: datetime
) -> bool:
    """Hand in one report; say whether the regulator answered. Raises NoReport, NotSound, NoSuchMove."""
    with db.transaction(pool, SCOPE) as conn:
        row = report_run.sending(conn, version_id, by, now)
    return _send(pool, vault, regulator, row, now)


def look(pool: Pool, vault: Vault, regulator: HttpRegulator | None, now: datetime) -> None:
    """One round: remind of what is due, send again what has no answer, fetch policies."""
    with db.transaction(pool, SCOPE) as conn:
        report_run.remind(conn, now)
        policy_run.tell_changes(conn, now)
        waiting = store.unanswered(conn)
    if regulator is None:
        return
    for row in waiting:
        if not _send(pool, vault, regulator, row, now):
            return
    fetch_policies(pool, regulator, now)


def fetch_policies(pool: Pool, regulator: HttpRegulator, now: datetime) -> int:
    """Enter what the regulator has published and we have not; tell how many."""
    try:
        published = regulator.policies(now)
    except (Unavailable, BadAnswer) as problem:
        log.warning("regulator.policies.missing problem=%s", problem)
        return 0
    entered = 0
    for each in published:
        try:
            with db.transaction(pool, SCOPE) as conn:
                entered += policy_run.take(conn, _policy(each), now)
        except Refused as problem:
            log.error("regulator.policy.refused number=%s problem=%s", each.number, problem)
    return entered


def _send(pool: Pool, vault: Vault, regulator: HttpRegulator, row: store.ReportRow, now: datetime) -> bool:
    try:
        receipt = regulator.submit(vault.get(row.sha256), now)
    except (Unavailable, BadAnswer) as problem:
        log.warning("regulator.away report=%s problem=%s", row.report_id, problem)
        with db.transaction(pool, SCOPE) as conn:
            report_run.failed(conn, row.version_id, str(problem))
        return False
    document = vault.put(receipt.body)
    with db.transaction(pool, SCOPE) as conn:
        answer = (receipt.is_accepted, document, receipt.receipt_no, receipt.words)
        report_run.answered(conn, row.version_id, answer, SCOPE.actor, now)
    return True


def _policy(found: Published) -> NewPolicy:
    return NewPolicy(
        number=found.number,
        title=found.title,
        issuer=found.issuer,
        issued=found.issued,
        effective=found.effective,
        expires=found.expires,
        summary=found.summary,
        tags=found.tags,
        rules=(),
        relations=tuple(Relation(kind, number, found.effective) for kind, number in found.relations),
    )
