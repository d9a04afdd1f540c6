"""Every route x every role x own or foreign object. A route that declares no deed fails.

Routes are read from the application, so a new one is tested the moment it exists. What each role may do is written
down here a second time, by path and by hand; the code's table is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pages import world
from pages.site import Site
from starlette.routing import BaseRoute, Mount

from cloud.security.access import Deed

ROLES: Final = {
    "nobody": None,
    "customer": "yunling",
    "other_customer": "zhou",
    "technician": "tech",
    "staff": "staff",
}

# Answers by path and who asks. "own": the customer yunling, whose object it is. Everybody else is refused as said.
EVERYBODY: Final = {"/healthz", "/openapi.json", "/docs", "/login", "/green/check/{proof_no}"}
OWNED: Final = {
    "/accounts/{account_id}/live",
    "/accounts/{account_id}/live/now",
    "/accounts/{account_id}/live/events",
    "/accounts/{account_id}/usage",
    "/accounts/{account_id}/days/{day}",
    "/accounts/{account_id}/months/{month}",
    "/accounts/{account_id}/bills",
    "/bills/{bill_id}",
    "/bills/{bill_id}/json",
    "/bills/{bill_id}/pdf",
    "/bills/{bill_id}/questions",
    "/accounts/{account_id}/packages",
    "/accounts/{account_id}/payments",
}
BY_ROLE: Final = {
    "/": {"customer", "other_customer", "technician", "staff"},
    "/accounts": {"customer", "other_customer", "staff"},
    "/fleet": {"staff"},
    "/field": {"staff", "technician"},
    "/gateways/{gateway_id}": {"staff", "technician"},
    "/logout": {"customer", "other_customer", "technician", "staff"},
}
BY_ROLE |= {
    "/review": {"staff"},
    "/review/{bill_id}": {"staff"},
    "/review/approve": {"staff"},
    "/review/{bill_id}/{deed}": {"staff"},
    "/questions": {"staff"},
    "/questions/{question_id}/answer": {"staff"},
}
BY_ROLE |= {
    "/ledger": {"staff"},
    "/ledger/csv": {"staff"},
    "/ledger/statement": {"staff"},
    "/ledger/journals/{journal_id}": {"staff"},
    "/corrections": {"staff"},
    "/corrections/{correction_id}": {"staff"},
    "/corrections/{correction_id}/bills/{bill_id}": {"staff"},
    "/corrections/{correction_id}/{deed}": {"staff"},
}
BY_ROLE |= {
    "/tariffs": {"staff"},
    "/tariffs/files/{sheet_id}/{version}": {"staff"},
    "/tariffs/drafts": {"staff"},
    "/tariffs/drafts/{draft_id}": {"staff"},
    "/tariffs/drafts/{draft_id}/text": {"staff"},
    "/tariffs/drafts/{draft_id}/hours": {"staff"},
    "/tariffs/drafts/{draft_id}/bench": {"staff"},
    "/tariffs/drafts/{draft_id}/publish": {"staff"},
    "/tariffs/benches/{bench_id}": {"staff"},
    "/tariffs/benches/{bench_id}/accounts/{account_id}": {"staff"},
}
BY_ROLE |= {
    "/payments/{order_no}": {"customer", "other_customer", "staff"},
    "/receipts/{receipt_id}/{part_no}": {"customer", "other_customer", "staff"},
    "/receipts/{receipt_id}/{part_no}/pdf": {"customer", "other_customer", "staff"},
    "/receivables": {"staff"},
    "/receivables.csv": {"staff"},
    "/accounts/{account_id}/timeline": {"staff"},
    "/receivables/unplaced": {"staff"},
    "/receivables/unplaced/{receipt_id}/place": {"staff"},
    "/receivables/bank-files": {"staff"},
    "/receivables/statements": {"staff"},
    "/receivables/statements/resolve": {"staff"},
    "/receivables/requests": {"staff"},
    "/receivables/requests/{request_id}/{decision}": {"staff"},
    "/receivables/dunning": {"staff"},
    "/receivables/dunning/{notice_id}/{decision}": {"staff"},
}
BY_ROLE |= {
    "/trading": {"customer", "other_customer", "staff"},
    "/trading/sessions/{session_id}": {"customer", "other_customer", "staff"},
    "/trading/sessions/{session_id}/check": {"customer", "other_customer"},
    "/trading/sessions/{session_id}/orders": {"customer", "other_customer"},
    "/trading/sessions/{session_id}/disputes": {"customer", "other_customer"},
    "/trading/sessions/{session_id}/result": {"customer", "other_customer", "staff"},
    "/trading/sessions/{session_id}/book": {"customer", "other_customer", "staff"},
    "/trading/declarations/{seq}": {"customer", "other_customer", "staff"},
    "/trading/declarations/{seq}/receipt": {"customer", "other_customer", "staff"},
    "/trading/receipt-key": {"customer", "other_customer", "staff"},
    "/trading/desk": {"staff"},
    "/trading/desk/{session_id}": {"staff"},
    "/trading/desk/{session_id}/counts": {"staff"},
    "/trading/desk/{session_id}/{deed}": {"staff"},
    "/trading/desk/{session_id}/runs/{run_no}": {"staff"},
    "/trading/disputes/{dispute_id}/answer": {"staff"},
}
UPLOADS: Final = {"/receivables/bank-files", "/company/papers", "/company/changes"}
# A provider proves itself by its signature, not by a session: tests/integration/test_pay_calls.py. None is configured here.
HOOKS: Final = {"/hooks/{provider}"}
BY_ROLE |= {
    "/settlement": {"staff"},
    "/settlement/months/{month}/runs": {"staff"},
    "/settlement/runs/{run_id}/{deed}": {"staff"},
    "/settlement/runs/{run_id}/csv": {"staff"},
    "/settlement/queries/{query_id}/answer": {"staff"},
    "/settlement/statements/{statement_id}/check": {"staff"},
    "/statements": {"customer", "other_customer", "staff"},
    "/statements/{statement_id}": {"customer", "other_customer", "staff"},
    "/statements/{statement_id}/csv": {"customer", "other_customer", "staff"},
    "/statements/{statement_id}/json": {"customer", "other_customer", "staff"},
    "/statements/{statement_id}/{deed}": {"customer", "other_customer"},
}
BY_ROLE |= {
    "/notices": {"customer", "other_customer", "staff"},
    "/notices/read": {"customer", "other_customer", "staff"},
    "/notices/{notice_id}/open": {"customer", "other_customer", "staff"},
}
BY_ROLE |= {
    "/security": {"customer", "other_customer", "staff"},
    "/security/second-factor": {"customer", "other_customer", "staff"},
    "/security/second-factor/confirm": {"customer", "other_customer", "staff"},
    "/security/step-up": {"customer", "other_customer", "staff"},
    "/security/seals": {"customer", "other_customer", "staff"},
    "/security/seals/{holder_id}/{deed}": {"customer", "other_customer", "staff"},
    "/security/people/{user_id}/reset": {"staff"},
}
CURVES: Final = (
    "/trading/sessions/{session_id}/curve",
    "/trading/sessions/{session_id}/curve.svg",
    "/trading/sessions/{session_id}/curve/events",
)
BY_ROLE |= {path: {"customer", "other_customer", "staff"} for path in CURVES}
BY_ROLE |= {
    "/credit": {"customer", "other_customer", "staff"},
    "/credit/parties/{party_id}": {"customer", "other_customer", "staff"},
    "/credit/assess": {"staff"},
    "/credit/parties/{party_id}/facts": {"staff"},
    "/credit/facts/{entry_id}/{verdict}": {"staff"},
    "/credit/parties/{party_id}/overrides": {"staff"},
    "/credit/overrides/{override_id}/{verdict}": {"staff"},
    "/credit/rules": {"staff"},
    "/credit/rules/{entry_id}": {"staff"},
    "/credit/rules/{entry_id}/{verdict}": {"staff"},
    "/credit/parties/{party_id}/instruments": {"staff"},
    "/credit/instruments/{instrument_id}/{deed}": {"staff"},
}
COMPANY: Final = (
    "/company",
    "/company/form",
    "/company/papers",
    "/company/submit",
    "/company/withdraw",
    "/company/changes",
    "/company/changes/{change_id}/withdraw",
    "/company/leave",
    "/company/units",
    "/company/units/{unit_no}",
)
ENTITY_DESK: Final = (
    "/entities",
    "/entities/{party_id}",
    "/entities/{party_id}/{deed}",
    "/entity-review",
    "/entity-review/{party_id}",
    "/entity-review/{party_id}/findings",
    "/entity-changes/{change_id}",
    "/entity-changes/{change_id}/verdict",
    "/qualifications",
    "/objections/{objection_id}/answer",
)
BY_ROLE |= {path: {"customer", "other_customer"} for path in COMPANY}
BY_ROLE |= {path: {"staff"} for path in ENTITY_DESK}
BY_ROLE |= {
    "/papers/{paper_id}": {"customer", "other_customer", "staff"},
    "/papers/{paper_id}/view": {"customer", "other_customer", "staff"},
    "/publicity": {"customer", "other_customer", "staff"},
    "/publicity/{publicity_id}/objections": {"customer", "other_customer", "staff"},
}
BY_ROLE |= {
    "/risk": {"customer", "other_customer", "staff"},
    "/risk/parties/{party_id}": {"customer", "other_customer", "staff"},
    "/risk/parties/{party_id}/measure": {"staff"},
    "/risk/parties/{party_id}/plans": {"customer", "other_customer", "staff"},
    "/risk/plans/{plan_id}/{deed}": {"customer", "other_customer", "staff"},
}
BY_ROLE |= {
    "/green": {"customer", "other_customer", "staff"},
    "/green/sales": {"customer", "other_customer"},
    "/green/sales/{sale_id}/take": {"customer", "other_customer"},
    "/green/sales/{sale_id}/withdraw": {"customer", "other_customer"},
    "/green/uses": {"customer", "other_customer"},
    "/green/uses/{entry_id}/pdf": {"customer", "other_customer", "staff"},
    "/green/plants": {"staff"},
    "/green/months/{month}/{deed}": {"staff"},
    "/response": {"customer", "other_customer", "staff"},
    "/response/programmes": {"staff"},
    "/response/enrolments": {"customer", "other_customer", "staff"},
    "/response/enrolments/{enrolment_id}/leave": {"customer", "other_customer", "staff"},
    "/response/events": {"staff"},
    "/response/events/{event_id}": {"customer", "other_customer", "staff"},
    "/response/events/{event_id}/csv": {"customer", "other_customer", "staff"},
    "/response/events/{event_id}/answer": {"customer", "other_customer"},
    "/response/events/{event_id}/{deed}": {"staff"},
    "/response/results/{result_id}/decide": {"staff"},
    "/response/results/{result_id}/{deed}": {"customer", "other_customer"},
}
# What is asked of the person beyond the session: password and code, fresh (RFC 9470 answers 401).
PROVING: Final = {
    "/security/second-factor",
    "/security/second-factor/confirm",
    "/security/step-up",
    "/security/seals",
    "/security/seals/{holder_id}/{deed}",
    "/security/people/{user_id}/reset",
}
BY_ROLE |= {
    "/exchange": {"staff"},
    "/exchange/sessions/{session_id}": {"staff"},
    "/exchange/sessions/{session_id}/host": {"staff"},
    "/exchange/sessions/{session_id}/again": {"staff"},
    "/exchange/reconciliations/{reconciliation_id}": {"staff"},
    "/reports": {"staff"},
    "/reports/build": {"staff"},
    "/reports/{version_id}": {"staff"},
    "/reports/{version_id}/submit": {"staff"},
    "/reports/{version_id}/{form}": {"staff"},
    "/regulator": {"staff"},
    "/regulator/sessions/{session_id}": {"staff"},
    "/policies": {"customer", "other_customer", "staff"},
    "/policies/{policy_id}": {"customer", "other_customer", "staff"},
    "/policies/{policy_id}/read": {"customer", "other_customer", "staff"},
    "/policies/{policy_id}/file": {"customer", "other_customer", "staff"},
}
BY_ROLE |= {
    "/contracts": {"customer", "other_customer", "staff"},
    "/contracts/archive": {"customer", "other_customer", "staff"},
    "/contracts/seal-roots.pem": {"customer", "other_customer", "staff"},
    "/contracts/{contract_id}": {"customer", "other_customer", "staff"},
    "/contracts/{contract_id}/papers/{paper_no}/pdf": {"customer", "other_customer", "staff"},
    "/contracts/{contract_id}/papers/{paper_no}/confirm": {"customer", "other_customer"},
    "/contracts/{contract_id}/papers/{paper_no}/sign": {"customer", "other_customer"},
    "/contracts/{contract_id}/papers/{paper_no}/decline": {"customer", "other_customer"},
    "/contracts/{contract_id}/papers/{paper_no}/{deed}": {"customer", "other_customer", "staff"},
    "/contracts/{contract_id}/dispute": {"customer", "other_customer"},
    "/contracts/{contract_id}/retract": {"customer", "other_customer"},
    "/contracts/{contract_id}/cancel": {"customer", "other_customer", "staff"},
    "/contracts/{contract_id}/requests": {"customer", "other_customer"},
    "/contracts/{contract_id}/milestones": {"customer", "other_customer", "staff"},
    "/contracts/requests/{request_id}/{deed}": {"customer", "other_customer", "staff"},
    "/contracts/disputes/{dispute_id}/decide": {"staff"},
    "/contract-draft": {"customer", "other_customer", "staff"},
    "/contract-draft/preview": {"customer", "other_customer", "staff"},
    "/contract-texts": {"staff"},
    "/contract-texts/supplied": {"staff"},
    "/contract-texts/{kind}/{text_id}/{version}": {"staff"},
    "/contract-texts/{kind}/{text_id}/{version}/{deed}": {"staff"},
}
# Where a deed of the same path is for others than its page: by method, the roles that are not answered 403.
BY_METHOD: Final = {
    "POST /policies": {"staff"},
    "POST /bills/{bill_id}/questions": {"customer", "other_customer"},
}
# What else a form carries; and what a deed may be answered that is allowed but not possible on this object.
FORMS: Final = {
    "/bills/{bill_id}/questions": {"question": "为什么？"},
    "/review/approve": {"bill_id": "1"},
    "/review/{bill_id}/{deed}": {"reason": "reading"},
    "/questions/{question_id}/answer": {"answer": "因为夏季尖峰。"},
}
FORMS |= {
    "/ledger/journals/{journal_id}": {},
    "/corrections/{correction_id}": {},
    "/corrections/{correction_id}/bills/{bill_id}": {},
    "/corrections/{correction_id}/{deed}": {"reason": "重复"},
}
FORMS |= {
    "/accounts/{account_id}/payments": {"provider": "wechat", "purpose": "top_up", "amount_yuan": "1.00"},
    "/payments/{order_no}": {},
    "/receipts/{receipt_id}/{part_no}": {},
    "/receipts/{receipt_id}/{part_no}/pdf": {},
    "/receivables/unplaced/{receipt_id}/place": {"account_id": world.WORKSHOP, "amount_yuan": ""},
    "/receivables/bank-files": {},
    "/receivables/statements/resolve": {"provider": "wechat", "day": "2026-09-01", "resolution": "已核实"}
    | {"kind": "missing_here", "what": "payment", "reference": "nothing"},
    "/receivables/requests": {"kind": "waiver", "amount_yuan": "1", "reason": "试验"}
    | {"account_id": world.WORKSHOP, "item": f"{world.WORKSHOP}/2026-08"},
    "/receivables/requests/{request_id}/{decision}": {},
    "/receivables/dunning/{notice_id}/{decision}": {},
}
FORMS |= {
    "/tariffs/files/{sheet_id}/{version}": {},
    "/tariffs/drafts": {"title": "试验", "body": "kind"},
    "/tariffs/drafts/{draft_id}": {},
    "/tariffs/drafts/{draft_id}/text": {"revision": "1", "body": "kind"},
    "/tariffs/drafts/{draft_id}/hours": {"revision": "1", "hours": "00:00-24:00"},
    "/tariffs/drafts/{draft_id}/bench": {"first": "2026-08", "last": "2026-08"},
    "/tariffs/drafts/{draft_id}/publish": {"revision": "1"},
    "/tariffs/benches/{bench_id}": {},
    "/tariffs/benches/{bench_id}/accounts/{account_id}": {},
}
FORMS |= {
    "/settlement/months/{month}/runs": {"reason": "迟到的数据"},
    "/settlement/runs/{run_id}/{deed}": {"reason": "重来"},
    "/settlement/runs/{run_id}/csv": {},
    "/settlement/queries/{query_id}/answer": {"text": "因为。"},
    "/settlement/statements/{statement_id}/check": {"reason": "核对过"},
    "/statements/{statement_id}": {},
    "/statements/{statement_id}/csv": {},
    "/statements/{statement_id}/json": {},
    "/statements/{statement_id}/{deed}": {"reason": "为什么"},
}
FORMS |= {"/notices/read": {}, "/notices/{notice_id}/open": {}}
FORMS |= {
    "/credit/parties/{party_id}": {},
    "/credit/facts/{entry_id}/{verdict}": {},
    "/credit/parties/{party_id}/facts": {"day": "2026-08-01", "document": "通报"},
    "/credit/parties/{party_id}/overrides": {"reason": "担保", "until": "2026-12-31"},
    "/credit/overrides/{override_id}/{verdict}": {},
    "/credit/rules": {"body": "x", "reason": "试验"},
    "/credit/rules/{entry_id}": {},
    "/credit/rules/{entry_id}/{verdict}": {},
    "/credit/parties/{party_id}/instruments": {"form": "cash"},
    "/credit/instruments/{instrument_id}/{deed}": {"reason": "退还"},
}
UNREADABLE = {
    "/credit/rules",
    "/credit/instruments/{instrument_id}/{deed}",
    "/credit/parties/{party_id}/instruments",
}
FORMS |= {
    "/risk/parties/{party_id}": {},
    "/risk/parties/{party_id}/measure": {},
    "/risk/parties/{party_id}/plans": {"action": "买入", "owner_id": "1", "due_on": "2026-12-31"},
    "/risk/plans/{plan_id}/{deed}": {"outcome": "完成"},
}
UNREADABLE |= {"/risk/plans/{plan_id}/{deed}"}  # the deed of this test is none of a plan
FORMS |= {
    "/security/second-factor": {"password": world.PASSWORD},
    "/security/second-factor/confirm": {"code": "000000"},
    "/security/step-up": {"password": world.PASSWORD, "code": "000000"},
    "/security/seals": {"party_id": "999999", "user_id": "999999"},
    "/security/seals/{holder_id}/{deed}": {},
    "/security/people/{user_id}/reset": {"party_id": "999999"},
}
FORMS |= {path: {} for path in CURVES}
FORMS |= {
    path: {}
    for path in (*COMPANY, *ENTITY_DESK)
    if path not in ("/company", "/entity-review", "/qualifications")
}
FORMS |= {
    "/papers/{paper_id}": {},
    "/papers/{paper_id}/view": {},
    "/publicity/{publicity_id}/objections": {"grounds": "不实", "objector": "某人"},
    "/company/form": {"subkind": "industrial"},
    "/company/submit": {"promise": "yes"},
    "/company/leave": {"reason": "停业", "contracts": "无", "last_day": "2099-01-01"},
    "/company/units": {"name": "一号单元"},
    "/entities": {"kind": "user", "name": "试验用户", "login": "shiyan", "display_name": "试验"},
}
FORMS |= {
    "/exchange/sessions/{session_id}": {},
    "/exchange/sessions/{session_id}/host": {},
    "/exchange/sessions/{session_id}/again": {},
    "/exchange/reconciliations/{reconciliation_id}": {},
    "/reports/build": {"report_id": "trades-monthly", "first": "2026-08-01"},
    "/reports/{version_id}": {},
    "/reports/{version_id}/submit": {},
    "/reports/{version_id}/{form}": {},
    "/regulator/sessions/{session_id}": {},
    "/policies": {"number": "试验〔2026〕1号", "title": "试验", "issuer": "机关", "issued": "2026-08-01"}
    | {"effective": "2026-09-01"},
    "/policies/{policy_id}": {},
    "/policies/{policy_id}/read": {},
    "/policies/{policy_id}/file": {},
}
FORMS |= {path: {} for path in BY_ROLE if path.startswith("/contracts/{contract_id}")}
FORMS |= {
    "/contracts/{contract_id}/dispute": {"reason": "不是我签的"},
    "/contracts/requests/{request_id}/{deed}": {"note": "意见"},
    "/contracts/disputes/{dispute_id}/decide": {"reason": "核对过"},
    "/contract-draft": {
        "template": "wholesale-bilateral@1",
        "seller": "party:999999",
        "buyer": "party:999998",
    },
    "/contract-draft/preview": {"template": "none@1", "seller": "party:999999", "buyer": "party:999998"},
    "/contract-texts": {
        "kind": "clause",
        "body": 'id = "trial-text"\nversion = 1\ntitle = "试验"\nbody = "试验。"',
    },
    "/contract-texts/{kind}/{text_id}/{version}": {},
    "/contract-texts/{kind}/{text_id}/{version}/{deed}": {"reason": "核对过"},
}
DECLARED: Final = {"unit": "party:1", "side": "B", "client_key": "0f8fad5b-d9cb-469f-a165-70867728950e"}
PLANNED: Final = {
    "session_no": "TEST-01",
    "title": "试验场次",
    "rule": "none@1",
    "day": "2026-11-25",
    "months": "2026-12",
}
FORMS |= {
    "/trading/sessions/{session_id}": {},
    "/trading/sessions/{session_id}/check": DECLARED,
    "/trading/sessions/{session_id}/orders": DECLARED,
    "/trading/sessions/{session_id}/disputes": {"kind": "other", "body": "说明"},
    "/trading/sessions/{session_id}/result": {},
    "/trading/sessions/{session_id}/book": {},
    "/trading/declarations/{seq}": {},
    "/trading/declarations/{seq}/receipt": {},
    "/trading/desk": PLANNED,
    "/trading/desk/{session_id}": {},
    "/trading/desk/{session_id}/counts": {},
    "/trading/desk/{session_id}/{deed}": {"reason": "说明"},
    "/trading/desk/{session_id}/runs/{run_no}": {},
    "/trading/disputes/{dispute_id}/answer": {"body": "答复"},
}
BY_ROLE |= {
    "/listings": {"customer", "other_customer", "staff"},
    "/listings/csv": {"customer", "other_customer", "staff"},
    "/listings/new": {"customer", "other_customer"},
    "/listings/{listing_id}": {"customer", "other_customer", "staff"},
    "/listings/{listing_id}/now": {"customer", "other_customer", "staff"},
    "/listings/{listing_id}/takes": {"customer", "other_customer"},
    "/listings/{listing_id}/withdraw": {"customer", "other_customer"},
    "/listings/{listing_id}/reduce": {"customer", "other_customer"},
    "/rolling": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}/now": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}/orders": {"customer", "other_customer"},
    "/rolling/{rolling_id}/orders/{order_seq}/cancel": {"customer", "other_customer"},
    "/rolling/{rolling_id}/orders/{order_seq}/replace": {"customer", "other_customer"},
    "/rolling/{rolling_id}/call-off": {"staff"},
    "/negotiations": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/now": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/evidence": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/evidence.json": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/files/{document_id}": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/join": {"customer", "other_customer"},
    "/negotiations/{negotiation_id}/offers": {"customer", "other_customer"},
    "/negotiations/{negotiation_id}/accept": {"customer", "other_customer"},
    "/negotiations/{negotiation_id}/messages": {"customer", "other_customer"},
    "/negotiations/{negotiation_id}/files": {"customer", "other_customer"},
    "/negotiations/{negotiation_id}/reopen": {"customer", "other_customer"},
    "/negotiations/{negotiation_id}/refuse-change": {"staff"},
    "/negotiations/{negotiation_id}/{deed}": {"customer", "other_customer"},
    "/transfers": {"customer", "other_customer", "staff"},
    "/transfers/new": {"customer", "other_customer"},
    "/transfers/{transfer_id}": {"customer", "other_customer", "staff"},
    "/transfers/{transfer_id}/take-over": {"customer", "other_customer"},
    "/transfers/{transfer_id}/consent": {"customer", "other_customer"},
    "/transfers/{transfer_id}/{deed}": {"customer", "other_customer"},
}
UPLOADS |= {"/negotiations/{negotiation_id}/files"}
BY_METHOD |= {
    "POST /listings": {"customer", "other_customer"},
    "POST /rolling": {"staff"},
    "POST /negotiations": {"customer", "other_customer"},
    "POST /transfers": {"customer", "other_customer"},
}
_OFFERED: Final = {"month": "2030-01", "period": "month", "mwh": "1", "price": "380"}
_HASH: Final = {"sha256": "0" * 64}
FORMS |= {
    "/listings/{listing_id}": {},
    "/listings/{listing_id}/now": {},
    "/listings/{listing_id}/takes": {"mwh": "1"},
    "/listings/{listing_id}/withdraw": {},
    "/listings/{listing_id}/reduce": {"mwh": "1"},
    "/rolling/{rolling_id}": {},
    "/rolling/{rolling_id}/now": {},
    "/rolling/{rolling_id}/orders": {"side": "B", "price": "380", "mwh": "1"},
    "/rolling/{rolling_id}/orders/{order_seq}/cancel": {},
    "/rolling/{rolling_id}/orders/{order_seq}/replace": {"price": "380", "mwh": "1"},
    "/rolling/{rolling_id}/call-off": {},
    "/negotiations/{negotiation_id}": {},
    "/negotiations/{negotiation_id}/now": {},
    "/negotiations/{negotiation_id}/evidence": {},
    "/negotiations/{negotiation_id}/evidence.json": {},
    "/negotiations/{negotiation_id}/files": {},
    "/negotiations/{negotiation_id}/files/{document_id}": {},
    "/negotiations/{negotiation_id}/join": {},
    "/negotiations/{negotiation_id}/offers": _OFFERED,
    "/negotiations/{negotiation_id}/accept": _HASH | {"version": "1"},
    "/negotiations/{negotiation_id}/messages": {"text": "你好"},
    "/negotiations/{negotiation_id}/reopen": {"reason": "继续", "until": "2030-01-01T09:00"},
    "/negotiations/{negotiation_id}/refuse-change": {"reason": "太晚"},
    "/negotiations/{negotiation_id}/{deed}": {"reason": "说明"},
    "/transfers/new": {},
    "/transfers/{transfer_id}": {},
    "/transfers/{transfer_id}/take-over": _HASH,
    "/transfers/{transfer_id}/consent": _HASH,
    "/transfers/{transfer_id}/{deed}": {"reason": "说明"},
}
# Of the small world nobody is admitted, and no offer is made: the deed is allowed, what it asks for is not.
UNMADE: Final = {
    "POST /listings": {"side": "B", "ends": "2030-01-01T09:00"} | _OFFERED,
    "POST /rolling": {
        "title": "试验场次",
        "month": "2030-01",
        "opens": "2030-01-01T09:00",
        "closes": "2030-01-01T11:00",
    },
    "POST /negotiations": {"title": "试验", "side": "B", "invited": "2", "until": "2020-01-01T09:00"},
    "POST /transfers": {"contract": "NOTHING", "to": "2", "mwh": "1", "reason": "说明"},
}
FORMS |= {
    "/green/sales": {"mwh": "1", "price": "4.14", "key": "m"},
    "/green/sales/{sale_id}/take": {"mwh": "1", "key": "m"},
    "/green/sales/{sale_id}/withdraw": {},
    "/green/uses": {"mwh": "1", "used_by": "示范", "purpose": "示范", "key": "m"}
    | {"first_month": "2026-08", "last_month": "2026-08"},
    "/green/uses/{entry_id}/pdf": {},
    "/green/plants": {"unit": "party:1", "name": "示范风场", "document": "示范", "tradable": "yes"},
    "/green/months/{month}/{deed}": {},
    "/response/programmes": {"packaged": "jibei-peak-demo-1.toml"},
    "/response/enrolments": {"programme": "x", "account": world.WORKSHOP, "first_day": "2099-01-05"}
    | {"capacity_kw": "100", "resource": "空调", "agreement": "示范"},
    "/response/enrolments/{enrolment_id}/leave": {},
    "/response/events": {"programme": "x", "day": "2099-01-05", "start": "14:00", "end": "16:00"}
    | {"target_kw": "1", "price": "1", "reason": "示范"},
    "/response/events/{event_id}": {},
    "/response/events/{event_id}/csv": {},
    "/response/events/{event_id}/answer": {"enrolment": "1", "bid_kw": "1"},
    "/response/events/{event_id}/{deed}": {"reason": "示范"},
    "/response/results/{result_id}/decide": {"reason": "示范"},
    "/response/results/{result_id}/{deed}": {"reason": "示范"},
}
QUERIES: Final = {"/ledger/statement": "?account=revenue/energy", "/transfers/new": "?contract=NOTHING"}
NOT_POSSIBLE: Final = {404, 409}
GOOD: Final = {200, 201, 204, 303}


def routes_of(app: FastAPI) -> Iterator[BaseRoute]:
    """Every route, also those inside included routers."""
    pending: list[object] = list(app.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "routes", None) or getattr(
            getattr(route, "original_router", None), "routes", None
        )
        if isinstance(route, APIRoute | Mount) or inner is None:
            assert isinstance(route, BaseRoute)
            yield route
        else:
            pending.extend(inner)


def deeds_of(dependant: Dependant) -> set[Deed]:
    """The deeds that a route's dependencies declare."""
    found = {deed for each in dependant.dependencies for deed in deeds_of(each)}
    own = getattr(dependant.call, "deed", None)
    return found | ({own} if isinstance(own, Deed) else set())


def test_every_route_declares_exactly_one_deed(site: Site) -> None:
    api_routes = [route for route in routes_of(site.app) if isinstance(route, APIRoute)]
    others = [route for route in routes_of(site.app) if not isinstance(route, APIRoute)]

    assert len(api_routes) >= 18
    assert [getattr(route, "path", "?") for route in others] == ["/static"]
    assert {
        route.path: deeds_of(route.dependant) for route in api_routes if len(deeds_of(route.dependant)) != 1
    } == {}


def test_a_route_without_a_deed_would_be_seen() -> None:
    app = FastAPI(openapi_url=None)
    app.get("/forgotten")(lambda: None)

    (route,) = [each for each in app.routes if isinstance(each, APIRoute)]

    assert deeds_of(route.dependant) == set()


def test_the_table_of_this_test_names_every_route(site: Site) -> None:
    paths = {route.path for route in routes_of(site.app) if isinstance(route, APIRoute)}

    assert paths == EVERYBODY | HOOKS | OWNED | set(BY_ROLE)


def test_every_role_gets_what_is_its_own_and_nothing_else(site: Site) -> None:
    wrong = []
    for name, login in ROLES.items():
        with site.client(login) as client:  # signing out comes last
            for method, path in _asks(site):
                status = _status(client, method, path, site)
                expected = _expected(method, path, name)
                if status not in expected:
                    wrong.append(f"{name} {method} {path}: {status}, expected {sorted(expected)}")

    assert wrong == []


def test_a_foreign_object_is_answered_exactly_like_one_that_does_not_exist(site: Site) -> None:
    pairs = [
        (f"/accounts/{world.STRANGER}/live", "/accounts/9999999999999/live"),
        (f"/accounts/{world.STRANGER}/bills", "/accounts/9999999999999/bills"),
        (f"/accounts/{world.STRANGER}/live/events", "/accounts/9999999999999/live/events"),
        (f"/bills/{site.world.foreign_bill_id}", "/bills/999999"),
        (f"/bills/{site.world.foreign_bill_id}/pdf", "/bills/999999/pdf"),
    ]
    with site.client("yunling") as client:
        for foreign, absent in pairs:
            there, nowhere = client.get(foreign), client.get(absent)
            assert (there.status_code, there.json()) == (nowhere.status_code, nowhere.json())
            assert there.status_code == 404


def test_a_draft_bill_is_for_staff_only(site: Site) -> None:
    path = f"/bills/{site.world.draft_bill_id}"

    with site.client("yunling") as owner, site.client("staff") as staff:
        assert owner.get(path).status_code == 404
        assert owner.get(f"{path}/pdf").status_code == 404
        assert staff.get(path).status_code == 200
        assert owner.get(f"/accounts/{world.SHOP}/bills").json()["bills"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/1'--/live",
        "/bills/-1",
        "/bills/99999999999999999999",
        "/bills/abc",
        "/gateways/a%00b",
        "/accounts/1300000000001/days/2026-02-30",
        "/accounts/1300000000001/days/0000-01-01",
        "/nowhere",
    ],
)
def test_paths_that_cannot_exist_are_not_found_and_break_nothing(site: Site, path: str) -> None:
    with site.client("staff") as client:
        assert client.get(path).status_code == 404


def test_methods_that_a_route_does_not_have_are_refused(site: Site) -> None:
    with site.client("staff") as client:
        assert client.post("/fleet").status_code == 405
        assert client.delete(f"/bills/{site.world.bill_id}").status_code == 405


def _asks(site: Site) -> list[tuple[str, str]]:
    asks = [
        (method, route.path)
        for route in routes_of(site.app)
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    return sorted(asks, key=lambda ask: ask[1] == "/logout")


def _expected(method: str, path: str, name: str) -> set[int]:
    if path in EVERYBODY:
        return GOOD | {422}  # POST /login without a form
    if path in HOOKS:
        return {404}
    if name == "nobody":
        return {401}
    if name not in BY_METHOD.get(f"{method} {path}", ROLES):
        return {403}
    if path in OWNED:
        return GOOD if name in ("customer", "staff") else {403} if name == "technician" else {404}
    possible = GOOD | NOT_POSSIBLE if path in FORMS else GOOD
    if path in PROVING:
        possible |= {401}
    if path in UPLOADS | UNREADABLE:
        possible |= {422}  # without its file
    if f"{method} {path}" in UNMADE:
        possible |= {403, 404, 409, 422}
    return possible if name in BY_ROLE[path] else {403}


def _status(client: httpx.Client, method: str, path: str, site: Site) -> int:
    asked = path.format(
        account_id=world.WORKSHOP,
        bill_id=site.world.bill_id,
        gateway_id="GW001",
        day="2026-08-11",
        month="2026-08",
        deed="hold",
        question_id=999_999,
        journal_id=999_999,
        run_id=999_999,
        seq=999_999,
        run_no=1,
        dispute_id=999_999,
        query_id=999_999,
        statement_id=999_999,
        correction_id=999_999,
        draft_id=999_999,
        bench_id=999_999,
        sheet_id="nothing",
        provider="wechat",
        order_no="P00000000X",
        receipt_id=999_999,
        part_no=1,
        request_id=999_999,
        notice_id=999_999,
        version_id=999_999,
        reconciliation_id=999_999,
        policy_id=999_999,
        form="csv",
        change_id=999_999,
        unit_no=999_999,
        paper_id=999_999,
        publicity_id=999_999,
        objection_id=999_999,
        session_id=999_999,
        listing_id=999_999,
        document_id=999_999,
        rolling_id=999_999,
        order_seq=999_999,
        negotiation_id=999_999,
        transfer_id=999_999,
        sale_id=999_999,
        proof_no="GR-000001-0000000000000000",
        event_id=999_999,
        enrolment_id=999_999,
        result_id=999_999,
        holder_id=999_999,
        plan_id=999_999,
        verdict="reject",
        instrument_id=999_999,
        entry_id=999_999,
        override_id=999_999,
        party_id=999_999,
        user_id=999_999,
        decision="approve",
        version=1,
        contract_id="NO-SUCH",
        paper_no=1,
        kind="clause",
        text_id="nothing",
    )
    form = dict(FORMS.get(path, UNMADE.get(f"{method} {path}", {}))) if method == "POST" else {}
    if method == "POST" and client.cookies:
        form["form_token"] = _form_token(client)
    with client.stream(method, asked + QUERIES.get(path, ""), data=form or None) as answer:
        return answer.status_code


def _form_token(client: httpx.Client) -> str:
    page = client.get("/", headers={"accept": "text/html"}, follow_redirects=True).text
    return page.split('name="form_token" value="')[1].split('"')[0]
