"""The risk desk on real rows: what is measured, alarms told once, responses with owner and outcome."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import market_world
import psycopg
import pytest
import risk_world

from cloud import db
from cloud.contracts.store import wholesale
from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.lives import NoSuchMove
from cloud.market.policy import NewPolicy
from cloud.market.run import risk as desk
from cloud.market.store import policies, risks
from cloud.security.access import Actor, NotYours, Role

NOW = datetime(2026, 9, 10, 2, tzinfo=UTC)
TODAY = date(2026, 9, 10)
DAYS = risk_world.DAYS


@pytest.fixture
def conn(database: str) -> Iterator[db.Conn]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def retailer(conn: db.Conn) -> int:
    return risk_world.retailer(conn, NOW)


def buy(conn: db.Conn, party_id: int, contract_id: str, kind: ContractKind, mwh: str) -> None:
    risk_world.buy(conn, party_id, contract_id, kind, mwh, date(2026, 9, 1))


def measured(conn: db.Conn, party_id: int) -> risks.MeasurementRow:
    desk.measure(conn, party_id, ("job:risk", NOW))
    found = risks.last_measurement(conn, party_id)
    assert found is not None
    return found


def test_a_position_is_what_was_bought_against_the_load_expected(conn: db.Conn, retailer: int) -> None:
    buy(conn, retailer, "L1", ContractKind.LISTING, "40.5")
    buy(conn, retailer, "R1", ContractKind.ROLLING, "20")
    buy(conn, retailer, "G1", ContractKind.GREEN, "9.001")

    rows = measured(conn, retailer).positions

    assert rows[0] == {
        "month": "2026-09",
        "period": "month",
        "contracted_kwh": 600_000,
        "listed_kwh": 40_500,
        "rolling_kwh": 20_000,
        "green_kwh": 9_001,
        "load_kwh": 720_000,  # 24 MWh x 30 days
    }
    assert [row["month"] for row in rows] == [
        "2026-09",
        "2026-10",
        "2026-11",
        "2026-12",
        "2027-01",
        "2027-02",
    ]
    assert rows[1]["load_kwh"] == 744_000
    assert rows[1]["contracted_kwh"] == 0


def test_the_portfolio_is_measured_with_its_method(conn: db.Conn, retailer: int) -> None:
    """Exposed: 720 − 600 = 120 MWh a month, 4 MWh a day at a price of mean 395: the mean is −(20·400 + 4·395)·30."""
    value = measured(conn, retailer).portfolio

    assert (value["method"], value["days"], value["horizon_days"]) == ("historical-blocks@1", DAYS, 30)
    assert value["expected_yuan"] == pytest.approx(-(20 * 400 + 4 * 395) * 30, rel=0.002)
    low, high = value["measures"]
    assert 0 < low["var_yuan"] <= low["cvar_yuan"] <= high["cvar_yuan"]
    assert high["cvar_yuan"] <= 4 * 45 * 30  # no day is further from the mean than 45 yuan
    assert {each["name"] for each in value["stresses"]} == {"floor_100", "floor_80", "cap_100", "cap_80"}
    assert value["backtest"]["days"] == 30
    assert measured(conn, retailer).portfolio == value  # the same seed draws the same


def test_an_alarm_is_told_once_and_ends(conn: db.Conn, retailer: int) -> None:
    measured(conn, retailer)
    measured(conn, retailer)
    (alarm,) = [each for each in risks.alarms(conn, retailer) if each.indicator == "exposure"]
    assert (alarm.level, alarm.value_ppm, alarm.ended_at) == (
        "stop",
        1_000_000,
        None,
    )  # October: nothing is bought
    told = "SELECT count(*) FROM notice WHERE key = 'risk_exposure_stop'"
    assert conn.execute(told).fetchone() == (2,)  # the party and the staff

    for number, month in enumerate(
        (date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1))
    ):
        volume = Volume(month, "month", Decimal(700), Decimal(400), Decimal(0))
        terms = WholesaleTerms(
            f"C{number + 2}",
            1,
            ContractKind.AUCTION,
            "grid",
            f"party:{retailer}",
            TODAY,
            "合同",
            Shape.FLAT,
            (),
            (volume,),
        )
        wholesale.put(conn, terms, "test", NOW)
    measured(conn, retailer)

    assert [
        each for each in risks.alarms(conn, retailer, only_open=True) if each.indicator == "exposure"
    ] == []


def test_what_is_agreed_behind_a_change_of_rules_is_a_risk_and_what_is_unlodged_has_no_share(
    conn: db.Conn, retailer: int
) -> None:
    risk_world.buy(conn, retailer, "C2", ContractKind.AUCTION, "200", date(2026, 11, 1))
    before = {each["indicator"]: each for each in measured(conn, retailer).readings}["policy"]
    for number, effective, rules in (
        ("发改〔2026〕1 号", "2026-11-15", ["two-settlement"]),
        ("发改〔2026〕2 号", "2026-10-01", []),
    ):
        policies.insert(
            conn, policy(number, date.fromisoformat(effective), tuple(rules)), None, ("staff", "test"), NOW
        )
    after = {each["indicator"]: each for each in measured(conn, retailer).readings}["policy"]
    told = conn.execute(
        "SELECT key, facts FROM notice WHERE party_id IS NULL AND key LIKE 'risk_policy%' OR key LIKE 'risk_unlodged%'"
    ).fetchall()

    assert (before["value_ppm"], before["level"]) == (0, None)
    assert (after["value_ppm"], after["level"]) == (
        250_000,
        "watch",
    )  # 200 of 800 MWh; the second touches no rule of ours
    assert after["facts"] == {"changes": "发改〔2026〕1 号（2026-11-15）"}
    keys = {key for key, _ in told}
    assert "risk_policy_watch" in keys
    assert "risk_unlodged_credit" in keys
    assert all("percent" not in facts for key, facts in told if key.startswith("risk_unlodged"))


def policy(number: str, effective: date, rules: tuple[str, ...]) -> NewPolicy:
    return NewPolicy(
        number, "关于中长期交易的通知", "国家发展改革委", date(2026, 9, 1), effective, None, "", (), rules, ()
    )


def test_a_response_has_an_owner_a_day_and_an_outcome(conn: db.Conn, retailer: int) -> None:
    measured(conn, retailer)
    user = market_world.person(conn, retailer, "desk")
    other = market_world.admitted_party(conn, "retailer", "另一家售电")
    stranger = Actor(market_world.person(conn, other, "stranger"), "s", "s", Role.CUSTOMER, other, "zh")
    actor = Actor(user, "desk", "desk", Role.CUSTOMER, retailer, "zh")
    alarm = risks.alarms(conn, retailer)[0]
    plan = {
        "alarm_id": alarm.alarm_id,
        "measure": "hedge",
        "action": "买入十月合同",
        "owner_id": user,
        "due_on": TODAY,
    }
    for wrong in (
        {"owner_id": stranger.user_id},
        {"action": " "},
        {"due_on": date(2026, 9, 9)},
        {"alarm_id": 10**9},
    ):
        with pytest.raises(desk.BadPlan):
            desk.propose(conn, actor, retailer, plan | wrong, NOW)
    with pytest.raises(NotYours):
        desk.propose(conn, stranger, retailer, plan, NOW)

    plan_id = desk.propose(conn, actor, retailer, plan, NOW)
    with pytest.raises(NoSuchMove):
        desk.move(conn, actor, plan_id, "finish", "太早", NOW)
    desk.move(conn, actor, plan_id, "start", "", NOW)
    with pytest.raises(desk.BadPlan):
        desk.move(conn, actor, plan_id, "finish", "  ", NOW)
    with pytest.raises(NotYours):
        desk.move(conn, stranger, plan_id, "finish", "别人", NOW)
    desk.move(conn, actor, plan_id, "finish", "买入 700 MWh", NOW)

    (kept,) = risks.plans(conn, retailer)
    assert (kept.state, kept.outcome, kept.owner) == ("done", "买入 700 MWh", "desk")
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("UPDATE risk_plan SET state = 'open'")


def test_little_history_is_said_and_not_measured(conn: db.Conn, retailer: int) -> None:
    other = market_world.admitted_party(conn, "retailer", "新售电")

    found = measured(conn, other)

    assert found.portfolio["problem"] == "too_little_history"
    assert {each["indicator"]: each["value_ppm"] for each in found.readings}["cvar"] is None


def test_the_worker_measures_all_and_a_party_sees_its_own(
    database: str, conn: db.Conn, retailer: int
) -> None:
    other = market_world.admitted_party(conn, "retailer", "另一家售电")
    with db.open_pool(database, size_max=1) as pool:
        assert desk.look(pool, NOW) == 2
        for party_id, seen in ((retailer, True), (other, False)):
            with db.transaction(pool, db.Scope(db.ProcessRole.API, "customer", party_id, "user:1")) as visit:
                assert (risks.last_measurement(visit, retailer) is not None) == seen
                assert bool(risks.alarms(visit, retailer)) == seen
