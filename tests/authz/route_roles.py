"""Who may ask which route, by path and by hand: the code's own table is not asked."""

from __future__ import annotations

from typing import Final

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
    "/green/statements/{month}": {"customer", "other_customer", "staff"},
    "/green/statements/{month}/csv": {"customer", "other_customer", "staff"},
    "/green/sales": {"customer", "other_customer"},
    "/green/sales/{sale_id}/take": {"customer", "other_customer"},
    "/green/sales/{sale_id}/withdraw": {"customer", "other_customer"},
    "/green/uses": {"customer", "other_customer"},
    "/green/uses/{entry_id}/pdf": {"customer", "other_customer", "staff"},
    "/green/plants": {"staff"},
    "/green/months/{month}/{deed}": {"staff"},
    "/response": {"customer", "other_customer", "staff"},
    "/response/programmes": {"staff"},
    "/response/portfolio": {"customer", "other_customer", "staff"},
    "/response/splits": {"staff"},
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
BY_ROLE |= {
    "/listings": {"customer", "other_customer", "staff"},
    "/listings/csv": {"customer", "other_customer", "staff"},
    "/listings/new": {"customer", "other_customer"},
    "/listings/parties": {"customer", "other_customer"},
    "/listings/{listing_id}": {"customer", "other_customer", "staff"},
    "/listings/{listing_id}/now": {"customer", "other_customer", "staff"},
    "/listings/{listing_id}/events": {"customer", "other_customer", "staff"},
    "/listings/{listing_id}/takes": {"customer", "other_customer"},
    "/listings/{listing_id}/withdraw": {"customer", "other_customer"},
    "/listings/{listing_id}/reduce": {"customer", "other_customer"},
    "/rolling": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}/now": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}/events": {"customer", "other_customer", "staff"},
    "/rolling/{rolling_id}/orders": {"customer", "other_customer"},
    "/rolling/{rolling_id}/orders/{order_seq}/cancel": {"customer", "other_customer"},
    "/rolling/{rolling_id}/orders/{order_seq}/replace": {"customer", "other_customer"},
    "/rolling/{rolling_id}/call-off": {"staff"},
    "/negotiations": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/now": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/events": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/evidence": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/evidence.json": {"customer", "other_customer", "staff"},
    "/negotiations/{negotiation_id}/evidence.pdf": {"customer", "other_customer", "staff"},
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
# A regulator reads what the market did and what is published, and changes nothing.
REGULATOR: Final = (
    "/",
    "/logout",
    "/publicity",
    "/listings",
    "/listings/csv",
    "/listings/{listing_id}",
    "/listings/{listing_id}/now",
    "/listings/{listing_id}/events",
    "/rolling",
    "/rolling/{rolling_id}",
    "/rolling/{rolling_id}/now",
    "/rolling/{rolling_id}/events",
    "/regulator",
    "/regulator/sessions/{session_id}",
    "/policies",
    "/policies/{policy_id}",
    "/policies/{policy_id}/read",
    "/policies/{policy_id}/file",
)
BY_ROLE |= {path: BY_ROLE[path] | {"regulator"} for path in REGULATOR}
