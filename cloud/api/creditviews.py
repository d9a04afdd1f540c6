"""Views of credit and guarantee: what the pages show and the API says."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from cloud.api.reply import View
from cloud.db import Conn
from cloud.markettime import day_of
from cloud.parties.credit import Model
from cloud.parties.guaranteefile import GuaranteeRule, Scaling
from cloud.parties.run.rate import Rules
from cloud.parties.standing import Grade
from cloud.parties.store import conduct, credits, guarantees, standings
from cloud.parties.store.credits import OverrideRow, PartyRow, RuleRow
from cloud.parties.store.guarantees import EntryRow, InstrumentRow


class EffectView(View):
    """What a grade means for guarantee and limits."""

    grade: str
    user_class: str
    at_least: str
    guarantee: str | None  # factor or unsecured ratio of the rule in force
    limit_percent: int | None


class ModelView(View):
    """The texts in force: factors with their weights, and what each grade means."""

    model: str
    guarantee_rule: str
    scaling: str
    factors: tuple[tuple[str, int], ...]
    effects: tuple[EffectView, ...]


class HeadView(View):
    """A party in the list."""

    party_id: int
    kind: str
    name: str
    state: str
    grade: str | None
    user_class: str | None
    points: str | None
    required_fen: int
    held_fen: int
    reserved_fen: int
    limit_kwh: int | None
    must_lodge: bool

    @property
    def short_fen(self) -> int:
        """How much is lodged too little."""
        return max(0, self.required_fen - self.held_fen)


class OverrideView(View):
    """An exception."""

    override_id: int
    party_id: int
    name: str
    grade: str
    reason: str
    expires_at: datetime
    proposed_at: datetime
    verdict: str | None
    may_decide: bool


class RuleView(View):
    """A rule proposed."""

    entry_id: int
    subject: str
    name: str
    reason: str
    proposed_at: datetime
    verdict: str | None
    may_decide: bool
    body: str
    simulation: list[dict[str, Any]]


class InstrumentView(View):
    """An instrument lodged."""

    instrument_id: int
    party_id: int
    name: str
    form: str
    issuer: str
    reference: str
    amount_fen: int
    left_fen: int
    valid_from: date
    expires_on: date | None
    verdict: str | None
    days_left: int | None
    may_decide: bool


class EntryView(View):
    """A row of the guarantee's ledger."""

    kind: str
    amount_fen: int
    purpose_key: str
    at: datetime
    reason: str


class EnteredView(View):
    """A fact that somebody entered and that waits for a second person."""

    entry_id: int
    party_id: int
    name: str
    kind: str
    at: datetime
    magnitude: int
    document: str
    verdict: str | None
    may_decide: bool


class CreditView(View):
    """All parties, what waits for a second person, and the texts in force."""

    model: ModelView
    parties: tuple[HeadView, ...]
    entered: tuple[EnteredView, ...]
    overrides: tuple[OverrideView, ...]
    rules: tuple[RuleView, ...]
    instruments: tuple[InstrumentView, ...]


class PartyCreditView(View):
    """A party's credit with its reasons, and its guarantee."""

    head: HeadView
    model: ModelView
    scored_by: str | None
    scored_at: datetime | None
    factors: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    hints: tuple[str, ...]
    requirement_rule: str | None
    base_fen: int
    volumes: dict[str, Any]
    overrides: tuple[OverrideView, ...]
    instruments: tuple[InstrumentView, ...]
    entries: tuple[EntryView, ...]
    may_rate: bool


def model_view(rules: Rules) -> ModelView:
    """The texts in force."""
    return ModelView(
        model=rules.model.name,
        guarantee_rule=rules.guarantee.name,
        scaling=rules.guarantee.scaling.value,
        factors=tuple((each.key, each.weight) for each in rules.model.factors),
        effects=tuple(
            EffectView(
                grade=each.grade.value,
                user_class=each.user_class.value,
                at_least=str(each.at_least),
                guarantee=_effect(rules.guarantee, each.grade),
                limit_percent=each.limit_percent,
            )
            for each in rules.model.grades
        ),
    )


def head_view(conn: Conn, party: PartyRow, model: Model, now: datetime) -> HeadView:
    """A party with its grade and its guarantee."""
    grade = standings.grade_of(conn, party.party_id, now)
    scored = credits.scores(conn, party.party_id)
    needed = credits.requirement(conn, party.party_id, now)
    held_fen, reserved_fen = guarantees.balances(conn, party.party_id, day_of(now))
    return HeadView(
        party_id=party.party_id,
        kind=party.kind,
        name=party.name,
        state=party.state,
        grade=grade,
        user_class=None if grade is None else model.rule_of(grade).user_class.value,
        points=str(scored[0].points) if scored else None,
        required_fen=0 if needed is None else needed.required_fen,
        held_fen=held_fen,
        reserved_fen=reserved_fen,
        limit_kwh=None if needed is None else needed.limit_kwh,
        must_lodge=party.kind in standings.LODGING_KINDS,
    )


def entered_view(row: conduct.EntryRow, actor: str) -> EnteredView:
    """What was entered of a party's conduct, and whether this person may decide it."""
    return EnteredView(
        entry_id=row.entry_id,
        party_id=row.party_id,
        name=row.name,
        kind=row.kind,
        at=row.at,
        magnitude=row.magnitude,
        document=row.document,
        verdict=row.verdict,
        may_decide=row.verdict is None and row.proposed_by != actor,
    )


def override_view(row: OverrideRow, actor: str, *, is_staff: bool) -> OverrideView:
    """An exception, and whether this person may decide it."""
    return OverrideView(
        override_id=row.override_id,
        party_id=row.party_id,
        name=row.name,
        grade=row.grade,
        reason=row.reason,
        expires_at=row.expires_at,
        proposed_at=row.proposed_at,
        verdict=row.verdict,
        may_decide=is_staff and row.verdict is None and row.proposed_by != actor,
    )


def rule_view(row: RuleRow, actor: str) -> RuleView:
    """A rule proposed, and whether this person may decide it."""
    return RuleView(
        entry_id=row.entry_id,
        subject=row.subject,
        name=f"{row.rule_id}@{row.version}",
        reason=row.reason,
        proposed_at=row.proposed_at,
        verdict=row.verdict,
        may_decide=row.verdict is None and row.proposed_by != actor,
        body=row.body,
        simulation=row.simulation,
    )


def instrument_view(row: InstrumentRow, actor: str, today: date, *, is_staff: bool) -> InstrumentView:
    """An instrument, and whether this person may decide it."""
    return InstrumentView(
        instrument_id=row.instrument_id,
        party_id=row.party_id,
        name=row.name,
        form=row.form,
        issuer=row.issuer,
        reference=row.reference,
        amount_fen=row.amount_fen,
        left_fen=row.left_fen,
        valid_from=row.valid_from,
        expires_on=row.expires_on,
        verdict=row.verdict,
        days_left=None if row.expires_on is None else (row.expires_on - today).days,
        may_decide=is_staff and row.verdict is None and row.lodged_by != actor,
    )


def entry_view(row: EntryRow) -> EntryView:
    """A row of the ledger."""
    return EntryView(
        kind=row.kind, amount_fen=row.amount_fen, purpose_key=row.purpose_key, at=row.at, reason=row.reason
    )


def _effect(rule: GuaranteeRule, grade: Grade) -> str | None:
    return None if rule.scaling is Scaling.NONE else str(rule.by_grade[grade])
