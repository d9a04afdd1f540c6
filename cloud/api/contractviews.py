"""What the pages of contracts show: views of a contract, its papers, its archive, texts of the studio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from cloud.api.masking import address_hint, device_hint
from cloud.api.reply import View
from cloud.contracts import difference, execution
from cloud.contracts.contract import IN_FORCE
from cloud.contracts.document import agreed_clauses, standard_clauses
from cloud.contracts.store.archive import Found
from cloud.contracts.store.dealings import DeviationRow, DisputeRow, RequestRow, StepRow
from cloud.contracts.store.life import ContractRow, EventRow
from cloud.contracts.store.papers import ConfirmationRow, PaperRow, SignerRow
from cloud.contracts.store.texts import TextRow
from cloud.contracts.template import Template

ENTERING = ("draw", "trade")  # their reason is a source: studio, session:17


class HeadView(View):
    """A contract in one line."""

    contract_id: str
    kind: str
    state: str
    is_frozen: bool
    seller: str
    buyer: str
    first_day: date
    last_day: date
    signed_at: datetime | None


class PaperView(View):
    """A paper of a contract: what it says, who signed it, what it differs in from the standard text.

    `prices` compare its price with published averages; none to compare with is empty, no price of its own None.
    """

    paper_no: int
    purpose: str
    state: str
    title: str
    template: str
    content_sha256: str
    card_sha256: str
    file_sha256: str
    expires_at: datetime | None
    card: tuple[dict[str, str], ...]
    prices: tuple[dict[str, str], ...] | None
    warnings: tuple[dict[str, str], ...]
    changes: tuple[dict[str, Any], ...]
    volumes: tuple[dict[str, str], ...]
    signers: tuple[dict[str, Any], ...]
    confirmations: tuple[dict[str, Any], ...]


class ContractView(View):
    """One contract with everything that is known of it, and what this person may do."""

    head: HeadView
    source: str
    units: tuple[str, str]
    version: int
    cooling_until: datetime | None
    effective_at: datetime | None
    papers: tuple[PaperView, ...]
    last_together: str
    last_changes: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]
    disputes: tuple[dict[str, Any], ...]
    requests: tuple[dict[str, Any], ...]
    milestones: tuple[dict[str, Any], ...]
    deviations: tuple[dict[str, Any], ...]
    may: dict[str, bool]


class ContractsView(View):
    """Contracts by the last entered, and what waits for this person."""

    contracts: tuple[HeadView, ...]
    waiting: tuple[str, ...]
    disputes: tuple[dict[str, Any], ...]
    requests: tuple[dict[str, Any], ...]


class ArchiveView(View):
    """A page of what was found; `shelves` count by kind and year of signing (0: not signed)."""

    found: tuple[dict[str, Any], ...]
    has_more: bool
    asked: dict[str, str]
    page: int
    shelves: tuple[tuple[str, int, int], ...]


class TemplateView(View):
    """A template to fill in; `clauses` with their standard text."""

    template_id: str
    version: int
    kind: str
    purpose: str
    title: str
    variables: tuple[dict[str, Any], ...]
    clauses: tuple[dict[str, Any], ...]


class DraftView(View):
    """The form that draws a contract up: templates in force, and the chosen one.

    `side` is the own one, of the `sides` that the own kind of party can take; empty for the operator. `others` are who
    can stand on each side: unit, name, kind of party.
    """

    templates: tuple[dict[str, Any], ...]
    template: TemplateView | None
    values: dict[str, str]
    seller: str
    buyer: str
    side: str
    sides: tuple[str, ...]
    own_units: tuple[str, ...]
    others: dict[str, tuple[tuple[str, str, str], ...]]
    contract: str
    request: int
    is_agreed: bool


class TextsView(View):
    """The clause library and the templates, every version with its standing."""

    clauses: tuple[dict[str, Any], ...]
    templates: tuple[dict[str, Any], ...]


class TextView(View):
    """One version of a clause or template."""

    text: dict[str, Any]
    used_in: tuple[str, ...]
    clauses_of: tuple[str, ...]
    before: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PageDrawing:
    """What a contract's page needs besides: where this request comes from, as a confirmation would keep it."""

    address: str
    device: str
    is_proven: bool
    confirmation: int
    confirmed_at: datetime | None


def head_view(row: ContractRow) -> HeadView:
    """Show a contract in one line."""
    return HeadView(
        contract_id=row.contract_id,
        kind=row.kind,
        state=row.state,
        is_frozen=row.is_frozen,
        seller=row.seller_name,
        buyer=row.buyer_name,
        first_day=row.start_day,
        last_day=date.fromordinal(row.end_day.toordinal() - 1),
        signed_at=row.signed_at,
    )


def paper_view(
    paper: PaperRow,
    signers: Sequence[SignerRow],
    confirmations: Sequence[ConfirmationRow],
    file_sha256: str,
    viewer_id: int | None,
) -> PaperView:
    """Show a paper to somebody of a party, or to who oversees (None): where the other side acted from is only hinted at."""
    found = difference.changes(standard_clauses(paper.content), agreed_clauses(paper.content))
    return PaperView(
        paper_no=paper.paper_no,
        purpose=paper.purpose,
        state=paper.state,
        title=paper.content["title"],
        template=paper.content["template"],
        content_sha256=paper.content_sha256,
        card_sha256=paper.card_sha256,
        file_sha256=file_sha256,
        expires_at=paper.expires_at,
        card=tuple(paper.card["terms"]),
        prices=tuple(paper.content["prices"]) if "prices" in paper.content else None,
        warnings=tuple(paper.content["warnings"]),
        changes=tuple(each for each in difference.changes_json(found) if each["how"] != difference.SAME),
        volumes=tuple(paper.content["volumes"]),
        signers=tuple(_signer(each) | _where(each, viewer_id) for each in signers),
        confirmations=tuple(
            _told(each, "party_id at card_sha256") | _where(each, viewer_id) | {"by": each.display_name}
            for each in confirmations
        ),
    )


def _signer(row: SignerRow) -> dict[str, Any]:
    return _told(row, "order_no party_id side name") | {
        "by": row.signed_by,
        "at": row.signed_at,
        **_told(row, "certificate_sha256 stamped_at stamp_authority"),
    }


def event_view(row: EventRow, names: Mapping[int | None, str]) -> dict[str, Any]:
    """Show an event; `names` are those of the parties. From where a contract came is no reason of anybody's."""
    told = _told(row, "deed before after at actor reason paper_no document")
    reason = "" if row.deed in ENTERING else row.reason
    is_clock = row.actor.startswith("job:")
    return told | {"reason": reason, "who": names.get(row.party_id, ""), "is_clock": is_clock}


def _where(row: SignerRow | ConfirmationRow | DisputeRow, viewer_id: int | None) -> dict[str, Any]:
    """Where somebody acted from: whole for the own party and who oversees, a hint for the other side."""
    if viewer_id in (None, row.party_id):
        return _told(row, "address device")
    return {"address": address_hint(row.address), "device": device_hint(row.device)}


def dispute_view(row: DisputeRow, viewer_id: int | None) -> dict[str, Any]:
    """Show a dispute."""
    told = _told(row, "dispute_id contract_id reason at verdict decision")
    return told | _where(row, viewer_id) | {"party": row.party_name, "by": row.opened_by}


def request_view(row: RequestRow, steps: Sequence[StepRow] = ()) -> dict[str, Any]:
    """Show a request with its steps."""
    told = _told(row, "request_id contract_id kind party_id wanted at state")
    shown = tuple(_told(each, "deed after note actor at") for each in steps)
    return told | {"party": row.party_name, "steps": shown}


def milestone_views(
    dates: execution.Dates, events: Sequence[EventRow], today: date
) -> tuple[dict[str, Any], ...]:
    """Show the timetable, with what was noted as done."""
    done = {str(each.facts.get("milestone")): each.reason for each in events if each.deed == "milestone"}
    return tuple(
        {
            "name": each.name,
            "key": each.key,
            "due": each.due,
            "month": each.month,
            "is_past": each.due < today,
            "done": done.get(each.name, ""),
        }
        for each in execution.milestones(dates)
    )


def deviation_views(rows: Sequence[DeviationRow]) -> tuple[dict[str, Any], ...]:
    """Show the last deviation of each month and side."""
    latest = {(row.month, row.side): row for row in rows}
    found = []
    for (month, side), row in sorted(latest.items()):
        deviation = execution.Deviation(row.promised_kwh, row.all_promised_kwh, row.actual_kwh)
        found.append(
            {
                "month": month,
                "side": side,
                "percent": deviation.percent,
                "share_kwh": deviation.share_kwh,
                **_told(row, "promised_kwh all_promised_kwh actual_kwh is_whole_month source"),
            }
        )
    return tuple(found)


def found_view(row: Found) -> dict[str, Any]:
    """Show a contract of the archive."""
    return {
        "contract_id": row.contract_id,
        "kind": row.kind,
        "state": row.state,
        "seller": row.seller_name,
        "buyer": row.buyer_name,
        "first_day": row.start_day,
        "last_day": date.fromordinal(row.end_day.toordinal() - 1),
        "signed_at": row.signed_at,
    }


def text_view(row: TextRow) -> dict[str, Any]:
    """Show a version of a text."""
    names = "kind text_id version title body sha256 written_by written_at standing from_day decided_by reason"
    return _told(row, names)


def template_view(template: Template, clauses: Sequence[Any]) -> TemplateView:
    """Show a template to fill in."""
    return TemplateView(
        template_id=template.template_id,
        version=template.version,
        kind=template.kind.value,
        purpose=template.purpose.value,
        title=template.title,
        variables=tuple(
            _told(each, "name label type help is_required default unit choices")
            for each in template.variables
        ),
        clauses=tuple(_told(each, "clause_id title body is_locked") for each in clauses),
    )


def _told(row: object, names: str) -> dict[str, Any]:
    """Show some columns of a row as they are."""
    return {name: getattr(row, name) for name in names.split()}


def may_of(row: ContractRow, party_id: int | None, *, is_staff: bool) -> dict[str, bool]:
    """Say what this person may do with a contract as it stands; the shells decide again."""
    is_party = row.side_of(party_id) != ""
    is_drafter = is_staff or (is_party and row.drafter_id in (None, party_id))
    return {
        "draw": is_drafter and row.state in ("draft", "declined", "expired") and not row.is_frozen,
        "cancel": is_drafter and row.state in ("draft", "declined", "expired"),
        "drafter": is_drafter,
        "dispute": is_party
        and row.state in ("signing", "cooling", "effective", "executing")
        and not row.is_frozen,
        "retract": is_party and row.state == "cooling" and not row.is_frozen,
        "request": is_party and row.state in IN_FORCE and not row.is_frozen,
        "sign": is_party and not row.is_frozen,
        "direct": is_staff,
    }
