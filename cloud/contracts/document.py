"""A contract's paper: template, variables and clauses composed into everything that is printed, signed and hashed. Pure.

`content` is plain JSON values; its canonical text has a hash, which the printed file, the key-terms card and every
confirmation carry. Nothing else is printed, so the same content is the same page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from cloud.contracts.clause import Clause, filled
from cloud.contracts.contract import Kind, Purpose
from cloud.contracts.template import BadValue, Template, volumes_from
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.errors import Invalid
from cloud.markettime import month_after
from cloud.money import EXACT, fen_of, quotient, total, yuan

SCHEMA = "shoudian-contract/1"
SHAPES = {"平均分解": Shape.FLAT, "按实际用电负荷分解": Shape.LOAD, "按约定典型曲线分解": Shape.CURVE}
SPECIAL_MAX = 10
SPECIAL_TEXT_MAX = 4000
CENT = Decimal("0.01")
CONFIRMATION_TITLE = "电子交易确认单"
CONFIRMATION_BASIS = "发改能源规〔2025〕1656号 第六十五条"
CONFIRMATION_TEXT = """{seller_name} 与 {buyer_name} 于 {signed} 在电力交易平台成交（{source}），成交电量、电价见附表。
按照{basis}，本确认单与合同具有同等效力，由平台按成交结果生成，无需签署。""".replace(
    "{basis}", CONFIRMATION_BASIS
)
CONFIRMATION_CARD = {
    "parties": "{seller_name}（售电方）与 {buyer_name}（购电方）",
    "volume": "合计 {volume_mwh} 兆瓦时，分 {rows} 行，按附表",
    "price": "加权平均 {price_yuan_per_mwh} 元/兆瓦时，电费约 {amount_yuan} 元",
    "period": "{term_first_day} 至 {term_last_day}",
    "deviation": "按市场规则结算偏差",
}
VOLUMES, SHAPE, FIRST_DAY, LAST_DAY = "volumes", "shape", "first_day", "last_day"


class LockedClause(Invalid):
    """A clause that law or the market's rules ask for was to be changed or left out."""


class NoTerm(Invalid):
    """Neither volumes nor days say from when to when the contract runs."""


@dataclass(frozen=True, slots=True)
class PartyFacts:
    """A party as it is named in the paper; `identifier` is its 统一社会信用代码, if known."""

    side: str
    party_id: int
    name: str
    unit_id: str
    identifier: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the parties agree beside the standard text: other texts by clause, clauses left out, special clauses."""

    texts: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    special: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Heading:
    """Which paper of which contract this is; for a supplement or termination, what it belongs to."""

    contract_id: str
    paper_no: int
    kind: Kind
    parties: tuple[PartyFacts, PartyFacts]
    main_title: str = ""
    main_signed: date | None = None


def compose(
    template: Template,
    clauses: Sequence[Clause],
    heading: Heading,
    values: Mapping[str, str],
    changes: Changes,
) -> dict[str, Any]:
    """Put a paper together; `values` are those of template.values_of, `clauses` the template's in its order.

    Raises LockedClause, NoTerm, BadValue, UnknownVariable.
    """
    volumes = volumes_from(VOLUMES, values[VOLUMES]) if values.get(VOLUMES) else ()
    if heading.kind is not Kind.GREEN and any(each.environment_yuan_per_mwh for each in volumes):
        raise BadValue(
            "bad_value",
            name=VOLUMES,
            found=values[VOLUMES][:100],
            allowed="只有绿电合同有环境价值 / no price of environmental value but in green contracts",
        )
    first, end = _term(values, volumes)
    texts = {**values, **_given(heading, volumes, (first, end))}
    return {
        "schema": SCHEMA,
        "contract_id": heading.contract_id,
        "paper_no": heading.paper_no,
        "kind": heading.kind.value,
        "purpose": template.purpose.value,
        "title": template.title,
        "template": template.origin,
        "basis": list(template.basis),
        "parties": [_party(each) for each in heading.parties],
        "order": list(template.order),
        "first_day": first.isoformat(),
        "end_day": end.isoformat(),
        "values": dict(values),
        "volumes": [_row(each) for each in volumes],
        "totals": {name: texts[name] for name in ("volume_mwh", "price_yuan_per_mwh", "amount_yuan")},
        "clauses": _clauses(clauses, texts, changes),
        "card": [{"term": term, "text": filled(text, texts)} for term, text in template.card.items()],
    }


def standard_clauses(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the clauses as the template has them, with this paper's variables: what a comparison starts from."""
    return [
        {"clause_id": each["clause_id"], "title": each["title"], "text": each["standard"]}
        for each in content["clauses"]
        if each["standard"] is not None
    ]


def agreed_clauses(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the clauses as they were agreed; those left out are not in it."""
    return [each for each in content["clauses"] if each["text"] is not None]


def canonical(content: Mapping[str, Any]) -> str:
    """Write plain values in the one form that is hashed."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def sha256_of(content: Mapping[str, Any]) -> str:
    """Hash plain values."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def volumes_in(content: Mapping[str, Any]) -> tuple[Volume, ...]:
    """Read the volumes of a paper."""
    return tuple(_volume(row) for row in content["volumes"])


def body_of(content: Mapping[str, Any]) -> str:
    """Write a paper as text: what search reads."""
    lines = [content["title"], content["contract_id"]]
    lines += [f"{each['name']} {each['unit_id']} {each['identifier']}" for each in content["parties"]]
    for each in agreed_clauses(content):
        lines += [each["title"], each["text"]]
    lines += [f"{row['month']} {row['period']} {row['mwh']} {row['price']}" for row in content["volumes"]]
    return "\n".join(lines)


def wholesale_terms(
    content: Mapping[str, Any], agreed: WholesaleTerms | None, version: int, signed: date
) -> WholesaleTerms:
    """Read the terms that settlement needs out of a signed paper; what a negotiation agreed stays as it was agreed."""
    document = (
        f"{content['title']} {content['contract_id']}/{content['paper_no']} sha256:{sha256_of(content)[:16]}"
    )
    parties = {each["side"]: each["unit_id"] for each in content["parties"]}
    volumes = volumes_in(content)
    is_green = content["kind"] == "green"
    if agreed is None:
        shape = SHAPES.get(content["values"].get(SHAPE, ""), Shape.FLAT)
        if shape is Shape.CURVE:  # a curve comes with a negotiation alone
            raise NoTerm("contract_no_curve", found=content["values"][SHAPE])
        kind = ContractKind.GREEN if is_green else ContractKind.BILATERAL
        users = (parties["buyer"],) if is_green and not parties["buyer"].startswith("party:") else ()
        return WholesaleTerms(
            *(content["contract_id"], version, kind, parties["seller"], parties["buyer"], signed, document),
            *(shape, (), volumes, users),
        )
    return WholesaleTerms(
        *(agreed.contract_id, version, agreed.kind, agreed.seller, agreed.buyer, signed, document),
        *(agreed.shape, agreed.curve, volumes, agreed.green_users),
    )


def ended(terms: WholesaleTerms, version: int, end_month: date, document: str) -> WholesaleTerms:
    """The terms after an end: nothing is promised from `end_month` on."""
    return WholesaleTerms(
        *(terms.contract_id, version, terms.kind, terms.seller, terms.buyer, terms.signed, document),
        *(terms.shape, terms.curve, tuple(each for each in terms.volumes if each.month < end_month)),
        terms.green_users,
    )


def _term(values: Mapping[str, str], volumes: Sequence[Volume]) -> tuple[date, date]:
    if values.get(FIRST_DAY) and values.get(LAST_DAY):
        first, last = date.fromisoformat(values[FIRST_DAY]), date.fromisoformat(values[LAST_DAY])
        if last < first:
            raise NoTerm("contract_no_term", found=f"{first} … {last}")
        return first, last + timedelta(days=1)
    if values.get(FIRST_DAY):
        first = date.fromisoformat(values[FIRST_DAY])
        return first, first + timedelta(days=1)
    if not volumes:
        raise NoTerm("contract_no_term", found="")
    return volumes[0].month, month_after(volumes[-1].month)


def _given(heading: Heading, volumes: Sequence[Volume], term: tuple[date, date]) -> dict[str, str]:
    names = {each.side: each for each in heading.parties}
    mwh = total(volume.mwh for volume in volumes)
    amount = total(EXACT.multiply(volume.mwh, volume.price_yuan_per_mwh) for volume in volumes)
    green = total(EXACT.multiply(volume.mwh, volume.environment_yuan_per_mwh) for volume in volumes)
    return {
        "contract_no": heading.contract_id,
        "seller_name": names["seller"].name,
        "buyer_name": names["buyer"].name,
        "seller_unit": names["seller"].unit_id,
        "buyer_unit": names["buyer"].unit_id,
        "term_first_day": term[0].isoformat(),
        "term_last_day": (term[1] - timedelta(days=1)).isoformat(),
        "volume_mwh": format(mwh, "f"),
        "price_yuan_per_mwh": format(quotient(amount, mwh, CENT), "f") if mwh else "",
        "environment_yuan_per_mwh": format(quotient(green, mwh, CENT), "f") if mwh else "",
        "amount_yuan": format(yuan(fen_of(EXACT.add(amount, green))), "f"),
        "rows": str(len(volumes)),
        "main_title": heading.main_title,
        "main_signed_day": "" if heading.main_signed is None else heading.main_signed.isoformat(),
    }


def _clauses(clauses: Sequence[Clause], texts: Mapping[str, str], changes: Changes) -> list[dict[str, Any]]:
    known = {clause.clause_id: clause for clause in clauses}
    for clause_id in (*changes.texts, *changes.left_out):
        if clause_id not in known or known[clause_id].is_locked:
            raise LockedClause(
                "clause_locked", clause=known[clause_id].title if clause_id in known else clause_id
            )
    found = [_clause(clause, texts, changes) for clause in clauses]
    if len(changes.special) > SPECIAL_MAX:
        raise LockedClause("too_many_clauses", most=SPECIAL_MAX)
    for number, (title, text) in enumerate(changes.special, start=1):
        if not 0 < len(title) <= 100 or not 0 < len(text) <= SPECIAL_TEXT_MAX:
            raise LockedClause("bad_clause", most=SPECIAL_TEXT_MAX)
        found.append(
            {"clause_id": f"special-{number}", "version": 0, "title": title, "standard": None, "text": text}
        )
    return found


def _clause(clause: Clause, texts: Mapping[str, str], changes: Changes) -> dict[str, Any]:
    standard = filled(clause.body, texts)
    text: str | None = changes.texts.get(clause.clause_id, standard)
    if clause.clause_id in changes.left_out:
        text = None
    elif not text or len(text) > SPECIAL_TEXT_MAX:
        raise LockedClause("bad_clause", most=SPECIAL_TEXT_MAX)
    return {
        "clause_id": clause.clause_id,
        "version": clause.version,
        "title": clause.title,
        "standard": standard,
        "text": text,
    }


def _party(party: PartyFacts) -> dict[str, Any]:
    return {
        "side": party.side,
        "party_id": party.party_id,
        "name": party.name,
        "unit_id": party.unit_id,
        "identifier": party.identifier,
    }


def _row(volume: Volume) -> dict[str, str]:
    return {
        "month": f"{volume.month:%Y-%m}",
        "period": volume.period,
        "mwh": format(volume.mwh, "f"),
        "price": format(volume.price_yuan_per_mwh, "f"),
        "environment": format(volume.environment_yuan_per_mwh, "f"),
    }


def _volume(row: Mapping[str, str]) -> Volume:
    return Volume(
        date.fromisoformat(f"{row['month']}-01"),
        row["period"],
        Decimal(row["mwh"]),
        Decimal(row["price"]),
        Decimal(row["environment"]),
    )


def confirmation(
    terms: WholesaleTerms, parties: tuple[PartyFacts, PartyFacts], source: str
) -> dict[str, Any]:
    """Put the 电子交易确认单 of a trade together: by 1656号 art. 65 it is the contract, and nobody signs it."""
    months = sorted({volume.month for volume in terms.volumes})
    term = (months[0], month_after(months[-1]))
    texts = _given(Heading(terms.contract_id, 1, Kind.CONFIRMATION, parties), terms.volumes, term)
    text = filled(CONFIRMATION_TEXT, texts | {"source": source, "signed": terms.signed.isoformat()})
    return {
        "schema": SCHEMA,
        "contract_id": terms.contract_id,
        "paper_no": 1,
        "kind": Kind.CONFIRMATION.value,
        "purpose": Purpose.CONFIRMATION.value,
        "title": CONFIRMATION_TITLE,
        "template": "",
        "basis": [CONFIRMATION_BASIS],
        "parties": [_party(each) for each in parties],
        "order": [],
        "first_day": term[0].isoformat(),
        "end_day": term[1].isoformat(),
        "values": {},
        "volumes": [_row(each) for each in terms.volumes],
        "totals": {name: texts[name] for name in ("volume_mwh", "price_yuan_per_mwh", "amount_yuan")},
        "clauses": [
            {"clause_id": "trade", "version": 1, "title": "成交", "standard": text, "text": text},
        ],
        "card": [{"term": name, "text": filled(line, texts)} for name, line in CONFIRMATION_CARD.items()],
        "warnings": [],
    }


def is_wholesale(content: Mapping[str, Any]) -> bool:
    """Whether a paper changes what is promised in the wholesale market."""
    return content["kind"] in ("wholesale", "green") and content["purpose"] in (
        Purpose.MAIN,
        Purpose.SUPPLEMENT,
    )
