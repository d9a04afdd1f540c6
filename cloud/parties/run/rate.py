"""Shells: score parties, work out what they must lodge, put models in force, and let exceptions be made by two persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud import notices
from cloud.db import Conn
from cloud.errors import Invalid, NotFound
from cloud.notices import Notice
from cloud.parties.conduct import Conduct, Fact
from cloud.parties.credit import FactorScore, Model, Score, limit_kwh, score
from cloud.parties.creditfile import model_from
from cloud.parties.guarantee import Volumes
from cloud.parties.guaranteefile import GuaranteeRule, Traded, required, rule_from, with_forecast
from cloud.parties.ruletext import sha256_of
from cloud.parties.standing import Grade
from cloud.parties.store import conduct, credits, standings
from cloud.parties.store.credits import PartyRow
from cloud.security import run as security
from cloud.security.access import Actor, Deed, Subject

OVERRIDE_MAX: Final = timedelta(days=366)
REASON_MAX: Final = 1000
ENTERED: Final = frozenset(
    {Conduct.VIOLATION, Conduct.BREACH, Conduct.FINANCIAL}
)  # by persons; the rest is seen elsewhere
POINTS_MAX: Final = 100
DOCUMENT_MAX: Final = 500
NOTHING: Final = Traded(Volumes(Decimal(0), Decimal(0), Decimal(0)), 0)
Act = tuple[str, datetime]


class NoSuchProposal(NotFound):
    """There is no such rule or exception."""


class BadEntry(Invalid):
    """A fact that a person enters has a kind, a day that has been, points up to 100, and the document that says so."""


class BadException(Invalid):
    """An exception needs a reason and an end within a year."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The texts in force, read."""

    model: Model
    model_sha256: str
    guarantee: GuaranteeRule
    guarantee_sha256: str


def active_rules(conn: Conn) -> Rules:
    """Read the model and the rule in force."""
    credit, guarantee = credits.active_body(conn, "credit"), credits.active_body(conn, "guarantee")
    return Rules(model_from(credit), sha256_of(credit), rule_from(guarantee), sha256_of(guarantee))


def look(conn: Conn, facts: Sequence[Fact], traded: Mapping[int, Traded], act: Act) -> tuple[int, int]:
    """Note what is new of parties' conduct and assess all of them; say how many facts were new and how many are graded."""
    noted = conduct.note(conn, facts, *act)
    return noted, assess(conn, credits.parties(conn), traded, act)


def assess(conn: Conn, parties: Sequence[PartyRow], traded: Mapping[int, Traded], act: Act) -> int:
    """Score each party from its facts and work out what it must lodge; say how many are graded."""
    rules, graded = active_rules(conn), 0
    declared = credits.newcomers(conn, act[1])
    for party in parties:
        made = score(rules.model, conduct.of_party(conn, party.party_id, act[1]), act[1])
        if made is not None:
            graded += 1
            _keep_score(conn, party, rules, made, act)
        counted = traded.get(party.party_id, NOTHING)
        if party.party_id in declared and party.kind in standings.LODGING_KINDS:
            volumes = with_forecast(rules.guarantee, counted.volumes, declared[party.party_id])
            counted = Traded(volumes, counted.largest_month_kwh)
        _keep_requirement(conn, party, rules, made, counted, act)
    return graded


def simulate(conn: Conn, model: Model, at: datetime) -> tuple[dict[str, Any], ...]:
    """What a model would make of every party, beside what is in force; the ones that change come first."""
    found = []
    for party in credits.parties(conn):
        made = score(model, conduct.of_party(conn, party.party_id, at), at)
        before = standings.grade_of(conn, party.party_id, at)
        after = None if made is None else made.grade
        points = None if made is None else str(made.points)
        found.append(
            {
                "party_id": party.party_id,
                "name": party.name,
                "before": before,
                "after": after,
                "points": points,
            }
        )
    return tuple(sorted(found, key=lambda row: (row["before"] == row["after"], str(row["name"]))))


def propose_rule(conn: Conn, actor: Actor, text: tuple[str, str, str], now: datetime) -> int:
    """Propose a model (subject credit) or a rule of the guarantee, simulated over all parties.

    `text` is subject, body and reason. Raises BadRule, RuleKnown, NotForRole.
    """
    subject, body, reason = text
    security.allow(conn, actor, Deed.RATE_CREDIT, Subject("party_rule", subject), now)
    if subject == "credit":
        model = model_from(body)
        name, simulation = (model.model_id, model.version), list(simulate(conn, model, now))
    else:
        rule = rule_from(body)
        name, simulation = (rule.rule_id, rule.version), list(_simulate_guarantee(conn, rule, now))
    facts = {
        "subject": subject,
        "rule_id": name[0],
        "version": name[1],
        "body": body,
        "sha256": sha256_of(body),
    }
    facts |= {
        "simulation": simulation,
        "reason": _reason(reason),
        "at": now,
        "by": security.actor_name(actor),
    }
    return credits.insert_rule(conn, facts)


def decide_rule(conn: Conn, actor: Actor, entry_id: int, verdict: str, now: datetime) -> None:
    """Put a proposed rule in force, or reject it: a second person. Raises SecondPersonNeeded, DecidedAlready."""
    security.allow(conn, actor, Deed.RATE_CREDIT, Subject("party_rule", str(entry_id)), now)
    if credits.find_rule(conn, entry_id) is None:
        raise NoSuchProposal("not_found", kind="party_rule")
    credits.decide(conn, "party_rule", entry_id, verdict, (security.actor_name(actor), now))


def propose_override(
    conn: Conn, actor: Actor, party_id: int, exception: tuple[Grade, str, datetime], now: datetime
) -> int:
    """Propose another grade for a party, with a reason and an end. Raises BadException."""
    grade, reason, expires_at = exception
    security.allow(conn, actor, Deed.RATE_CREDIT, Subject("party", str(party_id), party_id), now)
    if credits.find_party(conn, party_id) is None:
        raise NoSuchProposal("not_found", kind="party")
    if not now < expires_at <= now + OVERRIDE_MAX:
        raise BadException("override_expiry", days=OVERRIDE_MAX.days)
    kept = (grade.value, _reason(reason), expires_at)
    return credits.insert_override(conn, party_id, kept, (security.actor_name(actor), now))


def decide_override(conn: Conn, actor: Actor, override_id: int, verdict: str, now: datetime) -> None:
    """Let an exception take effect, or reject it: a second person; the party is told."""
    found = next((each for each in credits.overrides(conn) if each.override_id == override_id), None)
    if found is None:
        raise NoSuchProposal("not_found", kind="credit_override")
    subject = Subject("party", str(found.party_id), found.party_id)
    security.allow(conn, actor, Deed.RATE_CREDIT, subject, now)
    credits.decide(conn, "credit_override", override_id, verdict, (security.actor_name(actor), now))
    if verdict == "accept":
        facts = {"grade": found.grade, "until": f"{found.expires_at:%Y-%m-%d}"}
        told = Notice(found.party_id, "credit_override", facts, "/credit", f"credit_override:{override_id}")
        notices.post(conn, told, now)


def enter_fact(conn: Conn, actor: Actor, fact: Fact, now: datetime) -> int:
    """Enter a violation, a breach of contract or points of audited accounts; it counts once a second person accepts it.

    Raises BadEntry.
    """
    security.allow(conn, actor, Deed.RATE_CREDIT, Subject("party", str(fact.party_id), fact.party_id), now)
    is_worded = 0 < len(fact.document.strip()) <= DOCUMENT_MAX and "\0" not in fact.document
    if fact.kind not in ENTERED or not is_worded or fact.magnitude > POINTS_MAX or fact.at > now:
        raise BadEntry("bad_credit_entry")
    return conduct.enter(conn, fact, security.actor_name(actor), now)


def decide_fact(conn: Conn, actor: Actor, entry_id: int, verdict: str, now: datetime) -> int:
    """Let what somebody entered become a fact, or reject it: a second person. Returns the party.

    Raises SecondPersonNeeded, DecidedAlready.
    """
    found = conduct.find_entry(conn, entry_id)
    if found is None:
        raise NoSuchProposal("not_found", kind="conduct_entry")
    security.allow(conn, actor, Deed.RATE_CREDIT, Subject("party", str(found.party_id), found.party_id), now)
    credits.decide(conn, "conduct_entry", entry_id, verdict, (security.actor_name(actor), now))
    if verdict == "accept":
        conduct.note(conn, (found.fact,), security.actor_name(actor), now)
    return found.party_id


def factor_json(made: FactorScore) -> dict[str, Any]:
    """Write a factor's score with its evidence as plain values."""
    facts = [
        {**asdict(fact), "kind": fact.kind.value, "at": fact.at.isoformat(), "fact_id": fact.fact_id}
        for fact in made.facts
    ]
    return {
        "key": made.key,
        "weight": made.weight,
        "points": str(made.points),
        "lost": str(made.lost),
        "facts": facts,
    }


def _simulate_guarantee(conn: Conn, rule: GuaranteeRule, at: datetime) -> Sequence[dict[str, Any]]:
    found = []
    for party in credits.parties(conn):
        kept = credits.requirement(conn, party.party_id, at)
        if kept is None or party.kind not in standings.LODGING_KINDS:
            continue
        volumes = Volumes(*(Decimal(kept.volumes[key]) for key in _VOLUME_KEYS))
        grade = standings.grade_of(conn, party.party_id, at)
        after = required(rule, volumes, grade, has_unsecured=bool(kept.volumes["has_unsecured"]))
        amounts = {"before": kept.required_fen, "after": after.required_fen}
        found.append({"party_id": party.party_id, "name": party.name, **amounts, "points": None})
    return found


_VOLUME_KEYS: Final = ("wholesale_12_months_kwh", "wholesale_2_months_kwh", "retail_2_months_kwh")


def _keep_score(conn: Conn, party: PartyRow, rules: Rules, made: Score, act: Act) -> None:
    by, at = act
    taken = [
        {"key": each.rule.key, "cap": each.rule.cap, "no_unsecured": each.rule.no_unsecured}
        | {"fact_ids": [fact.fact_id for fact in each.facts]}
        for each in made.rules
    ]
    facts = {
        "party_id": party.party_id,
        "model": made.model,
        "sha256": rules.model_sha256,
        "at": at,
        "by": by,
    }
    facts |= {"points": made.points, "grade": made.grade.value, "rules": taken}
    before = credits.scores(conn, party.party_id)
    score_id = credits.insert_score(conn, facts | {"factors": [factor_json(each) for each in made.factors]})
    if before and before[0].grade != made.grade:
        changed = {"before": before[0].grade, "after": made.grade.value}
        told = Notice(party.party_id, "credit_grade", changed, "/credit", f"credit_score:{score_id}")
        notices.post(conn, told, at)


def _keep_requirement(
    conn: Conn, party: PartyRow, rules: Rules, made: Score | None, traded: Traded, act: Act
) -> None:
    by, at = act
    grade = standings.grade_of(conn, party.party_id, at)
    has_unsecured = made is None or made.has_unsecured
    volumes = {key: str(getattr(traded.volumes, key)) for key in _VOLUME_KEYS}
    limit = None
    if grade is not None and traded.largest_month_kwh > 0:
        limit = limit_kwh(rules.model, grade, traded.largest_month_kwh)
    facts = {"party_id": party.party_id, "at": at, "by": by, "grade": grade, "limit_kwh": limit}
    facts |= {
        "volumes": volumes | {"has_unsecured": has_unsecured, "largest_month_kwh": traded.largest_month_kwh}
    }
    facts |= {"rule": rules.guarantee.name, "sha256": rules.guarantee_sha256}
    if party.kind in standings.LODGING_KINDS:
        amount = required(rules.guarantee, traded.volumes, grade, has_unsecured=has_unsecured)
        facts |= {"base_fen": amount.base_fen, "required_fen": amount.required_fen}
    else:
        facts |= {"base_fen": 0, "required_fen": 0}
    credits.insert_requirement(conn, facts)


def _reason(text: str) -> str:
    reason = text.strip()
    if not 0 < len(reason) <= REASON_MAX:
        raise BadException("reason_missing", longest=REASON_MAX)
    return reason
