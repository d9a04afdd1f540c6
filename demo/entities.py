"""Market entities of the demonstration: its parties registered and reviewed, and others at each stage on the way.

Everything goes through the shells of the real system; run again, it finds what it did and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from cloud import db, files
from cloud.db import Conn
from cloud.files import NewDocument, Vault
from cloud.markettime import day_of
from cloud.parties import checklist as checklists
from cloud.parties import usci
from cloud.parties.checklist import Field
from cloud.parties.party import UNREGISTERED, Kind
from cloud.parties.registration import Verdict
from cloud.parties.run import change, register, review, watch
from cloud.parties.run.register import PaperText
from cloud.parties.store import entities, reviews
from cloud.parties.store.entities import PartyRow

REGISTERED_AT: Final = datetime(2026, 5, 6, 2, tzinfo=UTC)
EFFECTIVE_AT: Final = datetime(2026, 6, 8, 2, tzinfo=UTC)
PDF: Final = b"""%PDF-1.4
1 0 obj
<< /Type /Catalog /Pages 2 0 R >>
endobj
2 0 obj
<< /Type /Pages /Count 1 /Kids [3 0 R] >>
endobj
3 0 obj
<< /Type /Page /Parent 2 0 R /MediaBox [0 0 420 595] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>
endobj
4 0 obj
<< /Length 61 >>
stream
BT /F 20 Tf 60 480 Td (DEMONSTRATION DOCUMENT) Tj ET
endstream
endobj
5 0 obj
<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>
endobj
trailer
<< /Root 1 0 R >>
%%EOF
"""
_TEXTS: Final = {
    "legal_representative": "示范法人", "address": "示范园区 1 号", "supply_address": "示范园区 1 号",
    "contact_person": "市场部", "contact_phone": "0310-1000000", "unit_type": "300MW 亚临界", "industry": "制造业",
    "business_scope": "电力交易及相关服务", "premises": "示范园区 1 号楼", "system_name": "示范技术支持系统",
    "technology": "磷酸铁锂", "metering_point": "并网点 01", "platform_name": "示范聚合平台",
    "distribution_area": "示范增量配电区", "voltage": "1-10kV", "grid_voltage": "220kV",
}  # fmt: skip
_NUMBERS: Final = {
    "assets_yuan": "120000000", "registered_capital_yuan": "60000000", "staff_count": "24", "senior_titles": "2",
    "middle_titles": "6", "staff_years": "5", "annual_kwh": "9000000", "capacity_kva": "3150", "installed_kw": "600000",
    "unit_count": "2", "power_kw": "50000", "energy_kwh": "100000", "efficiency_percent": "87.5",
    "coal_g_per_kwh": "305.5", "so2_mg_per_m3": "35", "nox_mg_per_m3": "50", "dust_mg_per_m3": "10",
}  # fmt: skip
_NATURES: Final = {subkind: nature for nature, subkind in checklists.CLASS_OF.items()}


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A company on its way into the market."""

    kind: str
    subkind: str
    name: str
    stage: str  # 'draft', 'submitted', 'second', 'publicised'


NEWCOMERS: Final = (
    Newcomer("storage", "battery", "示范储能电站", "draft"),
    Newcomer("generator", "wind", "示范坝上风电场", "submitted"),
    Newcomer("generator", "solar", "示范光伏电站", "second"),
    Newcomer("vpp", "aggregator", "示范负荷聚合有限公司", "publicised"),
)


def set_up(
    pool: db.Pool,
    vault: Vault,
    reviewers: tuple[str, str],
    now: datetime,
    classes: Mapping[str, str] | None = None,
) -> str:
    """Register every party that the demonstration has, and leave newcomers at each stage; say what there is.

    `reviewers` are the names of two of the staff ('user:1'); `classes` give a party's class by its name.
    """
    sha256 = vault.put(PDF)
    with db.transaction(pool, db.Scope(db.ProcessRole.OWNER, actor="demo")) as conn:
        waiting = entities.listed(conn, state=UNREGISTERED)
        for party in waiting:
            chosen = (classes or {}).get(party.name) or _class_of(conn, party)
            _apply(
                conn,
                register.invite(conn, party.kind, party.name, None, (REGISTERED_AT, "demo")),
                chosen,
                sha256,
                REGISTERED_AT,
            )
            _review(conn, party.party_id, reviewers, REGISTERED_AT)
        if waiting:
            watch.watch(conn, EFFECTIVE_AT)
            _late_change(conn, waiting, sha256, now)
        made = [each for each in NEWCOMERS if _newcomer(conn, each, sha256, reviewers, now)]
    return f"{len(waiting)} 家主体已注册 / registered, {len(made)} 家在途 / on their way"


def _class_of(conn: Conn, party: PartyRow) -> str:
    if party.kind != "user":
        return {"retailer": "independent", "generator": "coal", "storage": "battery", "vpp": "vpp"}[
            party.kind
        ]
    row = conn.execute(
        """SELECT t.category FROM account a JOIN account_terms t USING (account_id) WHERE a.party_id = %s
           ORDER BY lower(t.effective) DESC LIMIT 1""",
        (party.party_id,),
    ).fetchone()
    category = "commercial" if row is None else str(row[0])
    return {"residential": "residential", "agricultural": "agricultural"}.get(category, "commercial")


def _apply(conn: Conn, party_id: int, subkind: str, sha256: str, at: datetime) -> None:
    """Fill in, hand in every document owed and send."""
    party = _party(conn, party_id)
    act = (at, "demo")
    wanted = checklists.in_force(Kind(party.kind), day_of(at))
    fields = checklists.fields_of(wanted, subkind)
    register.save(conn, party, subkind, _facts(party, subkind, fields), act)
    until = date(day_of(at).year + 1, 12, 31)
    for paper in checklists.papers_of(wanted, subkind):
        if not paper.is_optional:
            _hand_in(conn, party_id, paper.key, sha256, until if paper.is_dated else None, at)
    register.submit(conn, _party(conn, party_id), True, act)


def _facts(party: PartyRow, subkind: str, fields: Sequence[Field]) -> dict[str, str]:
    first = f"91130200MA{party.party_id:07d}"
    facts = {"name": party.name, "usci": first + usci.check_character(first)}
    facts["nature"] = _NATURES.get(subkind, "production")
    for field in fields:
        if field.is_optional or field.key in facts:
            continue
        if field.type == "whole":
            facts[field.key] = _NUMBERS.get(field.key, "20")
        elif field.type == "day":
            facts[field.key] = "2018-06-30"
        else:
            facts[field.key] = (
                _TEXTS.get(field.key) or _NUMBERS.get(field.key) or (field.options or ("示范",))[-1]
            )
    return facts


def _hand_in(conn: Conn, party_id: int, item: str, sha256: str, until: date | None, at: datetime) -> int:
    new = NewDocument(sha256, f"{item}.pdf", "application/pdf", len(PDF), party_id, "qualification")
    document_id = files.note(conn, new, at, "demo")
    text = PaperText(item, document_id, "示范第 1 号", "示范机关", None, until)
    return register.add_paper(conn, _party(conn, party_id), text, (at, "demo"))


def _review(conn: Conn, party_id: int, reviewers: Sequence[str], at: datetime) -> None:
    for reviewer in reviewers:
        items = review.case_of(conn, _party(conn, party_id)).items
        review.find(conn, _party(conn, party_id), dict.fromkeys(items, (True, "")), (at, reviewer))
        review.decide(conn, _party(conn, party_id), Verdict.ACCEPT, "", (at, reviewer))


def _late_change(conn: Conn, parties: Sequence[PartyRow], sha256: str, now: datetime) -> None:
    """One registered company has reported another legal representative, and one of its documents ends soon."""
    party = next((each for each in parties if each.kind in ("retailer", "user")), None)
    if party is None:
        return
    proof = _hand_in(conn, party.party_id, "change_proof", sha256, None, now)
    happened = day_of(now) - timedelta(days=2)
    texts = {"contact_person": "交易部", "contact_phone": "0310-1000001"}
    wish = change.Wish(texts, "", happened, "联系人变更", (proof,))
    change.ask(conn, _party(conn, party.party_id), wish, (now, "demo"))
    retailer = next((each for each in parties if each.kind == "retailer"), None)
    if retailer is not None:
        _hand_in(conn, retailer.party_id, "premises_proof", sha256, day_of(now) + timedelta(days=25), now)


def _newcomer(conn: Conn, new: Newcomer, sha256: str, reviewers: tuple[str, str], now: datetime) -> bool:
    if any(each.name == new.name for each in entities.listed(conn, text=new.name)):
        return False
    party_id = register.invite(conn, new.kind, new.name, None, (now, reviewers[0]))
    if new.stage == "draft":
        return True
    at = now - timedelta(days=1)
    _apply(conn, party_id, new.subkind, sha256, at)
    if new.stage != "submitted":
        _review(conn, party_id, reviewers if new.stage == "publicised" else reviewers[:1], at)
    if new.stage == "publicised":
        publicity = reviews.publicity_of(conn, party_id)
        assert publicity is not None
        facts = (None, "示范行业协会", "聚合协议所列资源与另一聚合商重复")
        review.object_to(conn, publicity, facts, (now, reviewers[0]))
    return True


def _party(conn: Conn, party_id: int) -> PartyRow:
    found = entities.find(conn, party_id)
    assert found is not None
    return found
