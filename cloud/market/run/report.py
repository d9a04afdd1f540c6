"""Shells: build a report from the tables and check it, correct it, hand it in. One revision is never edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Final

from cloud import notices
from cloud.db import Conn
from cloud.errors import Conflict, Invalid
from cloud.files import Vault
from cloud.lives import step
from cloud.market import report, reportrule
from cloud.market.report import REPORT, Control, Head
from cloud.market.reportrule import Definition, Due
from cloud.market.store import reports as store
from cloud.market.store.reports import ReportRow
from cloud.markettime import day_of
from cloud.notices import Notice

REASON_MAX: Final = 1000
WARN_DAYS: Final = 5
LATE_LOOKED_DAYS: Final = 60


class NotSound(Conflict):
    """A check of the report has not passed, so it may not be handed in."""


class NotOver(Conflict):
    """The period of the report is not over yet."""


class ReasonMissing(Invalid):
    """Whoever makes a further revision says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which report for which period, and, from the second revision on, why."""

    report_id: str
    first: date
    reason: str = ""


def build(conn: Conn, vault: Vault, wanted: Wanted, by: str, now: datetime) -> ReportRow:
    """Build the next revision from the tables and run its checks.

    A revision that was not handed in, or was returned, is replaced; one that was accepted stays in force until the
    correction is accepted too. Raises NoReport, NotOver, ReasonMissing.
    """
    definition = reportrule.find(reportrule.packaged(), wanted.report_id)
    version = definition.version_for(wanted.first)
    first, end = reportrule.period_of(version, wanted.first)
    if day_of(now) < end:
        raise NotOver("report_not_over", period=reportrule.period_name(first, end), day=end.isoformat())
    store.lock_period(conn, wanted.report_id, first)
    before = store.revisions(conn, wanted.report_id, first)
    reason = wanted.reason.strip()
    if (before and not reason) or len(reason) > REASON_MAX:
        raise ReasonMissing("reason_missing", longest=REASON_MAX)
    if before and before[0].state == "submitted":
        step(REPORT, "submitted", "replace")  # it is on its way: first its answer
    rows, control = _SOURCES[definition.kind](conn, first, end)
    name = reportrule.period_name(first, end)
    head = Head(
        *(wanted.report_id, version.version, definition.kind, name, first, end),
        *(len(before) + 1, reason if before else "", version.columns),
    )
    body = report.document(head, rows)
    findings = report.verified(definition.kind, version.checks, rows, control)
    new = store.NewReport(
        *(wanted.report_id, version.version, definition.kind, first, end, reportrule.due_day(version, end)),
        *(head.revision, head.reason, vault.put(body), len(body), len(rows), findings),
    )
    version_id = store.insert(conn, new, by, now)
    failed = ", ".join(each.check for each in findings if not each.is_passed)
    store.move(conn, version_id, step(REPORT, None, "build"), ("build", by, failed or head.reason), now)
    if before and before[0].state in ("built", "returned"):
        state = step(REPORT, before[0].state, "replace")
        store.move(conn, before[0].version_id, state, ("replace", by, head.reason), now)
    found = store.find(conn, version_id)
    assert found is not None
    return found


def sending(conn: Conn, version_id: int, by: str, now: datetime) -> ReportRow:
    """Note that a report is handed in; the caller then sends its bytes. Raises NoReport, NotSound, NoSuchMove."""
    row = store.find(conn, version_id, is_locked=True)
    if row is None:
        raise reportrule.NoReport("not_found", kind="report")
    if not row.is_sound:
        names = ", ".join(str(each["check"]) for each in row.findings if not each["is_passed"])
        raise NotSound("report_not_sound", checks=names)
    state = step(REPORT, row.state, "submit")
    store.submitted(conn, version_id, by, now)
    store.move(conn, version_id, state, ("submit", by, ""), now)
    return row


def answered(conn: Conn, version_id: int, answer: tuple[bool, str, str, str], by: str, now: datetime) -> None:
    """Note the answer: accepted or not, document's hash, receipt number, words. An accepted correction replaces its forerunner."""
    is_accepted, sha256, receipt_no, words = answer
    row = store.find(conn, version_id, is_locked=True)
    assert row is not None
    deed = "accept" if is_accepted else "return"
    state = step(REPORT, row.state, deed)
    store.answered(conn, version_id, (sha256, receipt_no, words), now)
    store.move(conn, version_id, state, (deed, by, words or receipt_no), now)
    if is_accepted:
        for each in store.revisions(conn, row.report_id, row.first_day):
            if each.revision < row.revision and each.state == "accepted":
                store.move(
                    conn,
                    each.version_id,
                    step(REPORT, "accepted", "replace"),
                    ("replace", by, row.reason),
                    now,
                )
    else:
        name = reportrule.period_name(row.first_day, row.end_day)
        _tell(conn, "report.returned", f"{version_id}", now, report=row.report_id, period=name, why=words)


def failed(conn: Conn, version_id: int, problem: str) -> None:
    """Note why there is no credible answer."""
    store.failed(conn, version_id, problem)


def remind(conn: Conn, now: datetime) -> tuple[Due, ...]:
    """Tell staff what is due within WARN_DAYS or late and not handed in; each is told once. Raises NoCalendar."""
    today = day_of(now)
    definitions = reportrule.packaged()
    open_ = tuple(
        due
        for due in reportrule.calendar(
            definitions, today - timedelta(days=LATE_LOOKED_DAYS), today + timedelta(days=WARN_DAYS)
        )
        if not any(
            each.state in ("submitted", "accepted", "replaced") and (each.submitted_at is not None)
            for each in store.revisions(conn, due.report_id, due.first)
        )
    )
    for due in open_:
        topic = "report.late" if due.due < today else "report.due"
        facts = {"report": due.report_id, "period": due.name, "due": due.due.isoformat()}
        _tell(conn, topic, f"{topic}:{due.report_id}:{due.first}", now, **facts)
    return open_


def definitions() -> tuple[Definition, ...]:
    """The reports that there are."""
    return reportrule.packaged()


def _tell(conn: Conn, topic: str, idem_key: str, now: datetime, **facts: str) -> None:
    notices.post(conn, Notice(None, topic, facts, "/reports", f"report:{idem_key}"[:200]), now)


def _trades(conn: Conn, first: date, end: date) -> tuple[list[dict[str, str]], Control]:
    return store.trade_rows(conn, first, end), store.trade_control(conn, first, end)


def _entities(conn: Conn, first: date, end: date) -> tuple[list[dict[str, str]], Control]:
    return store.entity_rows(conn), store.entity_control(conn, first, end)


def _settlement(conn: Conn, first: date, end: date) -> tuple[list[dict[str, str]], Control]:
    return store.settlement_rows(conn, first, end), store.settlement_control(conn, first, end)


_SOURCES: Final[Mapping[str, Callable[[Conn, date, date], tuple[list[dict[str, str]], Control]]]] = (
    MappingProxyType({"trades": _trades, "entities": _entities, "settlement": _settlement})
)
