"""What is sent to a route that takes a form, and which routes a small world cannot answer well."""

from __future__ import annotations

from typing import Final

from pages import world
from route_roles import BY_ROLE, COMPANY, CURVES, ENTITY_DESK

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
OFFERED: Final = {"month": "2030-01", "period": "month", "mwh": "1", "price": "380"}
HASH: Final = {"sha256": "0" * 64}
FORMS |= {
    "/listings/{listing_id}": {},
    "/listings/{listing_id}/now": {},
    "/listings/{listing_id}/events": {},
    "/listings/{listing_id}/takes": {"mwh": "1"},
    "/listings/{listing_id}/withdraw": {},
    "/listings/{listing_id}/reduce": {"mwh": "1"},
    "/rolling/{rolling_id}": {},
    "/rolling/{rolling_id}/now": {},
    "/rolling/{rolling_id}/events": {},
    "/rolling/{rolling_id}/orders": {"side": "B", "price": "380", "mwh": "1"},
    "/rolling/{rolling_id}/orders/{order_seq}/cancel": {},
    "/rolling/{rolling_id}/orders/{order_seq}/replace": {"price": "380", "mwh": "1"},
    "/rolling/{rolling_id}/call-off": {},
    "/negotiations/{negotiation_id}": {},
    "/negotiations/{negotiation_id}/now": {},
    "/negotiations/{negotiation_id}/events": {},
    "/negotiations/{negotiation_id}/evidence": {},
    "/negotiations/{negotiation_id}/evidence.json": {},
    "/negotiations/{negotiation_id}/evidence.pdf": {},
    "/negotiations/{negotiation_id}/files": {},
    "/negotiations/{negotiation_id}/files/{document_id}": {},
    "/negotiations/{negotiation_id}/join": {},
    "/negotiations/{negotiation_id}/offers": OFFERED,
    "/negotiations/{negotiation_id}/accept": HASH | {"version": "1"},
    "/negotiations/{negotiation_id}/messages": {"text": "你好"},
    "/negotiations/{negotiation_id}/reopen": {"reason": "继续", "until": "2030-01-01T09:00"},
    "/negotiations/{negotiation_id}/refuse-change": {"reason": "太晚"},
    "/negotiations/{negotiation_id}/{deed}": {"reason": "说明"},
    "/transfers/new": {},
    "/transfers/{transfer_id}": {},
    "/transfers/{transfer_id}/take-over": HASH,
    "/transfers/{transfer_id}/consent": HASH,
    "/transfers/{transfer_id}/{deed}": {"reason": "说明"},
}
# Of the small world nobody is admitted, and no offer is made: the deed is allowed, what it asks for is not.
UNMADE: Final = {
    "POST /listings": {"side": "B", "ends": "2030-01-01T09:00"} | OFFERED,
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
    "/response/splits": {"aggregator": "1", "first_day": "2099-01-05", "keep_percent": "20", "by": "bid"}
    | {"charges": "members", "document": "示范协议"},
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

# What a path names, where it is no object of the world: nothing of that number is there.
NAMED: Final[dict[str, str | int]] = {
    "gateway_id": "GW001",
    "day": "2026-08-11",
    "month": "2026-08",
    "deed": "hold",
    "question_id": 999_999,
    "journal_id": 999_999,
    "run_id": 999_999,
    "seq": 999_999,
    "run_no": 1,
    "dispute_id": 999_999,
    "query_id": 999_999,
    "statement_id": 999_999,
    "correction_id": 999_999,
    "draft_id": 999_999,
    "bench_id": 999_999,
    "sheet_id": "nothing",
    "provider": "wechat",
    "order_no": "P00000000X",
    "receipt_id": 999_999,
    "part_no": 1,
    "request_id": 999_999,
    "notice_id": 999_999,
    "version_id": 999_999,
    "reconciliation_id": 999_999,
    "policy_id": 999_999,
    "form": "csv",
    "change_id": 999_999,
    "unit_no": 999_999,
    "paper_id": 999_999,
    "publicity_id": 999_999,
    "objection_id": 999_999,
    "session_id": 999_999,
    "listing_id": 999_999,
    "document_id": 999_999,
    "rolling_id": 999_999,
    "order_seq": 999_999,
    "negotiation_id": 999_999,
    "transfer_id": 999_999,
    "sale_id": 999_999,
    "proof_no": "GR-000001-0000000000000000",
    "event_id": 999_999,
    "enrolment_id": 999_999,
    "result_id": 999_999,
    "holder_id": 999_999,
    "plan_id": 999_999,
    "verdict": "reject",
    "instrument_id": 999_999,
    "entry_id": 999_999,
    "override_id": 999_999,
    "party_id": 999_999,
    "user_id": 999_999,
    "decision": "approve",
    "version": 1,
    "contract_id": "NO-SUCH",
    "paper_no": 1,
    "kind": "clause",
    "text_id": "nothing",
}
