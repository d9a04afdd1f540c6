"""Who may do what: one table role x deed -> reach. Pure; knows no HTTP, no SQL.

A deed without a row in the table is allowed to nobody. Reach OWN means the subject must belong to the
actor's party; what a person may not reach is answered as if it did not exist (see run.allow).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final

from cloud.errors import Forbidden, NotFound


class Role(StrEnum):
    """What a signed-in person is to us."""

    STAFF = "staff"
    TECHNICIAN = "technician"
    CUSTOMER = "customer"
    REGULATOR = "regulator"  # reads what the market did, and nobody's accounts, bills or readings


class Deed(StrEnum):
    """Everything a person can ask of the system. Each HTTP route declares exactly one."""

    SIGN_IN = "sign_in"
    READ_HEALTH = "read_health"
    READ_API_TEXT = "read_api_text"
    SIGN_OUT = "sign_out"
    SEE_HOME = "see_home"
    LIST_ACCOUNTS = "list_accounts"
    SEE_USAGE = "see_usage"
    SEE_BILLS = "see_bills"
    TAKE_BILL = "take_bill"
    ASK_ABOUT_BILL = "ask_about_bill"
    ANSWER_QUESTIONS = "answer_questions"
    REVIEW_BILLS = "review_bills"
    DECIDE_BILL = "decide_bill"
    COMPARE_PACKAGES = "compare_packages"
    SEE_TARIFFS = "see_tariffs"
    WRITE_TARIFF = "write_tariff"
    BENCH_TARIFF = "bench_tariff"
    PUBLISH_TARIFF = "publish_tariff"
    SEE_FLEET = "see_fleet"
    SEE_FIELD = "see_field"
    SEE_GATEWAY = "see_gateway"
    SEE_LEDGER = "see_ledger"
    SEE_CORRECTIONS = "see_corrections"
    DECIDE_CORRECTION = "decide_correction"
    CALL_BACK = "call_back"
    SEE_PAYMENTS = "see_payments"
    PAY = "pay"
    SEE_RECEIVABLES = "see_receivables"
    PLACE_MONEY = "place_money"
    DECIDE_MONEY = "decide_money"
    SEE_SETTLEMENT = "see_settlement"
    DIRECT_SETTLEMENT = "direct_settlement"
    SEE_STATEMENTS = "see_statements"
    ANSWER_STATEMENT = "answer_statement"
    SEE_COMPANY = "see_company"
    EDIT_COMPANY = "edit_company"
    SEE_PAPER = "see_paper"
    SEE_ENTITIES = "see_entities"
    REVIEW_ENTITY = "review_entity"
    INVITE_PARTY = "invite_party"
    SEE_PUBLICITY = "see_publicity"
    RAISE_OBJECTION = "raise_objection"
    SEE_CONTRACTS = "see_contracts"
    DRAW_CONTRACT = "draw_contract"
    SIGN_CONTRACT = "sign_contract"
    DISPUTE_CONTRACT = "dispute_contract"
    DIRECT_CONTRACTS = "direct_contracts"
    SEE_CONTRACT_TEXTS = "see_contract_texts"
    WRITE_CONTRACT_TEXT = "write_contract_text"
    APPROVE_CONTRACT_TEXT = "approve_contract_text"
    SEE_TRADING = "see_trading"
    TRADE = "trade"
    DIRECT_TRADING = "direct_trading"
    SEE_NOTICES = "see_notices"
    MARK_NOTICES = "mark_notices"
    SEE_EXCHANGE = "see_exchange"
    DIRECT_EXCHANGE = "direct_exchange"
    SEE_REPORTS = "see_reports"
    DIRECT_REPORTS = "direct_reports"
    SEE_REGULATOR = "see_regulator"
    SEE_POLICIES = "see_policies"
    ENTER_POLICY = "enter_policy"
    SEE_OWN_SECURITY = "see_own_security"
    PROVE_SELF = "prove_self"
    GRANT_SEAL = "grant_seal"
    RESET_FACTOR = "reset_factor"
    SEE_CREDIT = "see_credit"
    RATE_CREDIT = "rate_credit"
    KEEP_GUARANTEE = "keep_guarantee"
    SEE_RISK = "see_risk"
    MANAGE_RISK = "manage_risk"
    MEASURE_RISK = "measure_risk"
    SEE_GREEN = "see_green"
    TRADE_GREEN = "trade_green"
    DIRECT_GREEN = "direct_green"
    CHECK_PROOF = "check_proof"
    SEE_RESPONSE = "see_response"
    ANSWER_RESPONSE = "answer_response"
    DIRECT_RESPONSE = "direct_response"
    SEE_LISTINGS = "see_listings"
    TRADE_LISTINGS = "trade_listings"
    SEE_ROLLING = "see_rolling"
    TRADE_ROLLING = "trade_rolling"
    DIRECT_ROLLING = "direct_rolling"
    SEE_NEGOTIATIONS = "see_negotiations"
    NEGOTIATE = "negotiate"
    DIRECT_NEGOTIATIONS = "direct_negotiations"


class Reach(IntEnum):
    """How far a right goes."""

    NONE = 0
    OWN = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in person. A customer acts for exactly one party; others for none."""

    user_id: int
    login: str
    display_name: str
    role: Role
    party_id: int | None
    language: str

    def __post_init__(self) -> None:
        if (self.role is Role.CUSTOMER) != (self.party_id is not None):
            raise ValueError("a customer acts for one party, others for none")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a deed is done to, and whose it is (None: nobody's in particular, e.g. a gateway)."""

    kind: str
    key: str
    party_id: int | None = None


class NotYours(NotFound):
    """The subject exists but is outside the actor's reach; answered exactly as if it did not exist."""


class NotForRole(Forbidden):
    """The actor's role has no right to this deed at all."""


_ALL: Final = Reach.ALL
_OWN: Final = Reach.OWN
_EVERYBODY: Final = frozenset(
    {Deed.SIGN_IN, Deed.READ_HEALTH, Deed.READ_API_TEXT, Deed.CALL_BACK, Deed.CHECK_PROOF}
)

RIGHTS: Final[Mapping[Role, Mapping[Deed, Reach]]] = MappingProxyType(
    {
        Role.STAFF: {
            Deed.SEE_ENTITIES: _ALL,
            Deed.REVIEW_ENTITY: _ALL,
            Deed.INVITE_PARTY: _ALL,
            Deed.SEE_PAPER: _ALL,
            Deed.SEE_PUBLICITY: _ALL,
            Deed.RAISE_OBJECTION: _ALL,
            Deed.SIGN_OUT: _ALL,
            Deed.SEE_HOME: _ALL,
            Deed.LIST_ACCOUNTS: _ALL,
            Deed.SEE_USAGE: _ALL,
            Deed.SEE_BILLS: _ALL,
            Deed.TAKE_BILL: _ALL,
            Deed.ANSWER_QUESTIONS: _ALL,
            Deed.REVIEW_BILLS: _ALL,
            Deed.DECIDE_BILL: _ALL,
            Deed.COMPARE_PACKAGES: _ALL,
            Deed.SEE_TARIFFS: _ALL,
            Deed.WRITE_TARIFF: _ALL,
            Deed.BENCH_TARIFF: _ALL,
            Deed.PUBLISH_TARIFF: _ALL,
            Deed.SEE_FLEET: _ALL,
            Deed.SEE_FIELD: _ALL,
            Deed.SEE_GATEWAY: _ALL,
            Deed.SEE_LEDGER: _ALL,
            Deed.SEE_CORRECTIONS: _ALL,
            Deed.DECIDE_CORRECTION: _ALL,
            Deed.SEE_PAYMENTS: _ALL,
            Deed.PAY: _ALL,
            Deed.SEE_RECEIVABLES: _ALL,
            Deed.PLACE_MONEY: _ALL,
            Deed.DECIDE_MONEY: _ALL,
            Deed.SEE_SETTLEMENT: _ALL,
            Deed.DIRECT_SETTLEMENT: _ALL,
            Deed.SEE_LISTINGS: _ALL,
            Deed.SEE_ROLLING: _ALL,
            Deed.DIRECT_ROLLING: _ALL,
            Deed.SEE_NEGOTIATIONS: _ALL,
            Deed.DIRECT_NEGOTIATIONS: _ALL,
            Deed.SEE_STATEMENTS: _ALL,
            Deed.SEE_TRADING: _ALL,
            Deed.DIRECT_TRADING: _ALL,
            Deed.SEE_CONTRACTS: _ALL,
            Deed.DRAW_CONTRACT: _ALL,
            Deed.DIRECT_CONTRACTS: _ALL,
            Deed.SEE_CONTRACT_TEXTS: _ALL,
            Deed.WRITE_CONTRACT_TEXT: _ALL,
            Deed.APPROVE_CONTRACT_TEXT: _ALL,
            Deed.SEE_OWN_SECURITY: _ALL,
            Deed.PROVE_SELF: _ALL,
            Deed.GRANT_SEAL: _ALL,
            Deed.RESET_FACTOR: _ALL,
            Deed.SEE_CREDIT: _ALL,
            Deed.RATE_CREDIT: _ALL,
            Deed.KEEP_GUARANTEE: _ALL,
            Deed.SEE_RISK: _ALL,
            Deed.MANAGE_RISK: _ALL,
            Deed.MEASURE_RISK: _ALL,
            Deed.SEE_NOTICES: _ALL,
            Deed.MARK_NOTICES: _ALL,
            Deed.SEE_EXCHANGE: _ALL,
            Deed.DIRECT_EXCHANGE: _ALL,
            Deed.SEE_REPORTS: _ALL,
            Deed.DIRECT_REPORTS: _ALL,
            Deed.SEE_REGULATOR: _ALL,
            Deed.SEE_POLICIES: _ALL,
            Deed.ENTER_POLICY: _ALL,
            Deed.SEE_GREEN: _ALL,
            Deed.DIRECT_GREEN: _ALL,
            Deed.SEE_RESPONSE: _ALL,
            Deed.DIRECT_RESPONSE: _ALL,
        },
        Role.TECHNICIAN: {
            Deed.SIGN_OUT: _ALL,
            Deed.SEE_HOME: _ALL,
            Deed.SEE_FIELD: _ALL,
            Deed.SEE_GATEWAY: _ALL,
        },
        Role.CUSTOMER: {
            Deed.SEE_COMPANY: _OWN,
            Deed.EDIT_COMPANY: _OWN,
            Deed.SEE_PAPER: _OWN,
            Deed.SEE_PUBLICITY: _ALL,
            Deed.RAISE_OBJECTION: _ALL,
            Deed.SIGN_OUT: _OWN,
            Deed.SEE_HOME: _OWN,
            Deed.LIST_ACCOUNTS: _OWN,
            Deed.SEE_USAGE: _OWN,
            Deed.SEE_BILLS: _OWN,
            Deed.TAKE_BILL: _OWN,
            Deed.ASK_ABOUT_BILL: _OWN,
            Deed.COMPARE_PACKAGES: _OWN,
            Deed.SEE_PAYMENTS: _OWN,
            Deed.PAY: _OWN,
            Deed.SEE_STATEMENTS: _OWN,
            Deed.SEE_LISTINGS: _OWN,
            Deed.TRADE_LISTINGS: _OWN,
            Deed.SEE_ROLLING: _OWN,
            Deed.TRADE_ROLLING: _OWN,
            Deed.SEE_NEGOTIATIONS: _OWN,
            Deed.NEGOTIATE: _OWN,
            Deed.ANSWER_STATEMENT: _OWN,
            Deed.SEE_TRADING: _OWN,
            Deed.TRADE: _OWN,
            Deed.SEE_CONTRACTS: _OWN,
            Deed.DRAW_CONTRACT: _OWN,
            Deed.SIGN_CONTRACT: _OWN,
            Deed.DISPUTE_CONTRACT: _OWN,
            Deed.SEE_OWN_SECURITY: _OWN,
            Deed.PROVE_SELF: _OWN,
            Deed.GRANT_SEAL: _OWN,
            Deed.SEE_CREDIT: _OWN,
            Deed.SEE_RISK: _OWN,
            Deed.MANAGE_RISK: _OWN,
            Deed.SEE_NOTICES: _OWN,
            Deed.MARK_NOTICES: _OWN,
            Deed.SEE_GREEN: _OWN,
            Deed.TRADE_GREEN: _OWN,
            Deed.SEE_RESPONSE: _OWN,
            Deed.ANSWER_RESPONSE: _OWN,
            Deed.SEE_POLICIES: _OWN,
        },
        Role.REGULATOR: {
            Deed.SEE_PUBLICITY: _ALL,
            Deed.SEE_LISTINGS: _ALL,
            Deed.SEE_ROLLING: _ALL,
            Deed.SIGN_OUT: _ALL,
            Deed.SEE_HOME: _ALL,
            Deed.SEE_REGULATOR: _ALL,
            Deed.SEE_POLICIES: _ALL,
        },
    }
)

# Another person's data read by somebody who is not its owner is always recorded, and so are these.
RECORDED: Final = frozenset(
    {Deed.SIGN_IN, Deed.SIGN_OUT, Deed.TAKE_BILL, Deed.WRITE_TARIFF, Deed.BENCH_TARIFF, Deed.PUBLISH_TARIFF}
    | {Deed.DECIDE_CORRECTION, Deed.DECIDE_BILL, Deed.ANSWER_QUESTIONS}
    | {Deed.EDIT_COMPANY, Deed.REVIEW_ENTITY, Deed.INVITE_PARTY, Deed.RAISE_OBJECTION}
    | {Deed.PAY, Deed.PLACE_MONEY, Deed.DECIDE_MONEY}
    | {Deed.DIRECT_SETTLEMENT, Deed.ANSWER_STATEMENT}
    | {Deed.TRADE_LISTINGS, Deed.DIRECT_ROLLING, Deed.NEGOTIATE, Deed.DIRECT_NEGOTIATIONS}
    | {Deed.DIRECT_TRADING}
    | {Deed.DRAW_CONTRACT, Deed.SIGN_CONTRACT, Deed.DISPUTE_CONTRACT, Deed.DIRECT_CONTRACTS}
    | {Deed.WRITE_CONTRACT_TEXT, Deed.APPROVE_CONTRACT_TEXT}
    | {Deed.DIRECT_EXCHANGE, Deed.DIRECT_REPORTS, Deed.ENTER_POLICY}
    | {Deed.PROVE_SELF, Deed.GRANT_SEAL, Deed.RESET_FACTOR}
    | {Deed.RATE_CREDIT, Deed.KEEP_GUARANTEE, Deed.MANAGE_RISK}
    | {Deed.TRADE_GREEN, Deed.DIRECT_GREEN, Deed.ANSWER_RESPONSE, Deed.DIRECT_RESPONSE}
)


def reach(actor: Actor | None, deed: Deed) -> Reach:
    """How far the actor's right to the deed goes. Nobody (None) may do only what everybody may."""
    if deed in _EVERYBODY:
        return Reach.ALL
    return Reach.NONE if actor is None else RIGHTS[actor.role].get(deed, Reach.NONE)


def may(actor: Actor | None, deed: Deed, subject: Subject | None) -> bool:
    """Whether the actor may do the deed to the subject; without a subject: to anything at all."""
    far = reach(actor, deed)
    if subject is None or far is not Reach.OWN:
        return far is not Reach.NONE
    return actor is not None and subject.party_id is not None and subject.party_id == actor.party_id


def is_recorded(actor: Actor, deed: Deed, subject: Subject) -> bool:
    """Whether this deed leaves an audit row: see RECORDED, and every look at somebody else's data."""
    return deed in RECORDED or (subject.party_id is not None and subject.party_id != actor.party_id)
