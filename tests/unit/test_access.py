"""Laws of the table of rights: who may do what, how far it reaches, what is recorded."""

from __future__ import annotations

import pytest

from cloud.security.access import RIGHTS, Actor, Deed, Reach, Role, Subject, is_recorded, may, reach

OWN, OTHER = 11, 22
CUSTOMER = Actor(1, "yunling", "云岭", Role.CUSTOMER, OWN, "zh")
STAFF = Actor(2, "staff", "值班员", Role.STAFF, None, "zh")
TECHNICIAN = Actor(3, "tech", "现场班", Role.TECHNICIAN, None, "zh")
REGULATOR = Actor(4, "regulator", "监管处", Role.REGULATOR, None, "zh")

FOR_EVERYBODY = {Deed.SIGN_IN, Deed.READ_HEALTH, Deed.READ_API_TEXT, Deed.CALL_BACK, Deed.CHECK_PROOF}
# The rights as the product means them, written down a second time and by hand.
FOR_CUSTOMERS = {
    Deed.SIGN_OUT,
    Deed.SEE_HOME,
    Deed.LIST_ACCOUNTS,
    Deed.SEE_USAGE,
    Deed.SEE_BILLS,
    Deed.TAKE_BILL,
    Deed.ASK_ABOUT_BILL,
    Deed.COMPARE_PACKAGES,
    Deed.SEE_PAYMENTS,
    Deed.PAY,
    Deed.SEE_STATEMENTS,
    Deed.ANSWER_STATEMENT,
    Deed.SEE_NOTICES,
    Deed.MARK_NOTICES,
    Deed.SEE_POLICIES,
    Deed.SEE_OWN_SECURITY,
    Deed.PROVE_SELF,
    Deed.GRANT_SEAL,
    Deed.SEE_CREDIT,
    Deed.SEE_RISK,
    Deed.MANAGE_RISK,
    Deed.SEE_COMPANY,
    Deed.EDIT_COMPANY,
    Deed.SEE_PAPER,
    Deed.SEE_TRADING,
    Deed.TRADE,
    Deed.SEE_LISTINGS,
    Deed.TRADE_LISTINGS,
    Deed.SEE_ROLLING,
    Deed.TRADE_ROLLING,
    Deed.SEE_NEGOTIATIONS,
    Deed.NEGOTIATE,
    Deed.SEE_CONTRACTS,
    Deed.DRAW_CONTRACT,
    Deed.SIGN_CONTRACT,
    Deed.DISPUTE_CONTRACT,
    Deed.SEE_GREEN,
    Deed.TRADE_GREEN,
    Deed.SEE_RESPONSE,
    Deed.ANSWER_RESPONSE,
}
# Publicity is for objections: every party sees who wants to come in, and may object.
FOR_EVERY_PARTY = {Deed.SEE_PUBLICITY, Deed.RAISE_OBJECTION}
# What is a customer's own word: nobody else may say it for them.
FOR_CUSTOMERS_ALONE = {
    Deed.ASK_ABOUT_BILL,
    Deed.ANSWER_STATEMENT,
    Deed.SEE_COMPANY,
    Deed.EDIT_COMPANY,
    Deed.TRADE,
    Deed.TRADE_LISTINGS,
    Deed.TRADE_ROLLING,
    Deed.NEGOTIATE,
    Deed.SIGN_CONTRACT,
    Deed.DISPUTE_CONTRACT,
    Deed.TRADE_GREEN,
    Deed.ANSWER_RESPONSE,
}
FOR_TECHNICIANS = {Deed.SIGN_OUT, Deed.SEE_HOME, Deed.SEE_FIELD, Deed.SEE_GATEWAY}
FOR_REGULATORS = {
    Deed.SIGN_OUT,
    Deed.SEE_HOME,
    Deed.SEE_REGULATOR,
    Deed.SEE_POLICIES,
    Deed.SEE_PUBLICITY,
    Deed.SEE_LISTINGS,
    Deed.SEE_ROLLING,
}


@pytest.mark.parametrize("deed", Deed)
def test_nobody_may_only_what_everybody_may(deed: Deed) -> None:
    assert may(None, deed, None) == (deed in FOR_EVERYBODY)


@pytest.mark.parametrize("deed", Deed)
def test_a_customer_reaches_own_things_and_never_others(deed: Deed) -> None:
    own, other, nobodys = (Subject("bill", "1", party) for party in (OWN, OTHER, None))

    assert may(CUSTOMER, deed, own) == (deed in FOR_CUSTOMERS | FOR_EVERY_PARTY | FOR_EVERYBODY)
    assert may(CUSTOMER, deed, other) == (deed in FOR_EVERY_PARTY | FOR_EVERYBODY)
    assert may(CUSTOMER, deed, nobodys) == (deed in FOR_EVERY_PARTY | FOR_EVERYBODY)


@pytest.mark.parametrize("deed", Deed)
def test_a_technician_sees_devices_and_no_customers(deed: Deed) -> None:
    assert may(TECHNICIAN, deed, Subject("account", "1", OTHER)) == (deed in FOR_TECHNICIANS | FOR_EVERYBODY)


@pytest.mark.parametrize("deed", Deed)
def test_a_regulator_sees_the_market_and_nobodys_bills(deed: Deed) -> None:
    assert may(REGULATOR, deed, Subject("market", "1")) == (deed in FOR_REGULATORS | FOR_EVERYBODY)


@pytest.mark.parametrize("deed", Deed)
def test_staff_may_every_deed_but_a_customers_own_word(deed: Deed) -> None:
    assert may(STAFF, deed, Subject("account", "1", OTHER)) == (deed not in FOR_CUSTOMERS_ALONE)


def test_every_role_has_a_row() -> None:
    assert set(RIGHTS) == set(Role)


def test_no_customer_right_reaches_everybody() -> None:
    assert {reach(CUSTOMER, deed) for deed in FOR_CUSTOMERS} == {Reach.OWN}


def test_a_look_at_somebody_elses_data_is_recorded_and_at_ones_own_is_not() -> None:
    subject = Subject("account", "1", OWN)

    assert is_recorded(STAFF, Deed.SEE_USAGE, subject)
    assert not is_recorded(CUSTOMER, Deed.SEE_USAGE, subject)
    assert is_recorded(CUSTOMER, Deed.TAKE_BILL, subject)


@pytest.mark.parametrize(
    ("role", "party_id"),
    [(Role.CUSTOMER, None), (Role.STAFF, OWN), (Role.TECHNICIAN, OWN), (Role.REGULATOR, OWN)],
)
def test_an_actor_with_the_wrong_party_cannot_be(role: Role, party_id: int | None) -> None:
    with pytest.raises(ValueError, match="party"):
        Actor(1, "x", "x", role, party_id, "zh")
