"""A party's way into the market and out of it, on a real database with the roles of the real processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from market_world import admitted_party, operator, person

from cloud import db, files
from cloud.db import Conn, ProcessRole, Scope
from cloud.errors import Refused
from cloud.files import NewDocument
from cloud.lives import NoSuchMove
from cloud.parties import checklist as checklists
from cloud.parties.party import PARTY, Kind
from cloud.parties.registration import OwnWork, Rejected, Unchecked, Verdict
from cloud.parties.run import change, group, leave, register, review, watch
from cloud.parties.run.register import PaperText
from cloud.parties.store import entities, obstacles, reviews, standings, state_of, units
from cloud.parties.store.entities import PartyRow

MONDAY = datetime(2026, 3, 2, 2, tzinfo=UTC)  # a working day
CODE = "914403001922038216"  # 国家企业信用信息公示系统
RETAILER = {
    "name": "示范售电有限公司", "usci": CODE, "legal_representative": "法定代表人甲", "address": "示范路 1 号",
    "contact_person": "联系人乙", "contact_phone": "0310-1234567", "registered_capital_yuan": "50000000",
    "assets_yuan": "80000000", "staff_count": "12", "senior_titles": "1", "middle_titles": "3", "staff_years": "3",
    "business_scope": "售电", "premises": "示范路 1 号 3 层", "system_name": "示范系统",
}  # fmt: skip


class Market:
    """A database with two reviewers and one applicant, each in transactions of its own scope."""

    def __init__(self, dsn: str, kind: str = "retailer") -> None:
        self.dsn = dsn
        with psycopg.connect(dsn) as conn:
            self.staff = tuple(operator(conn, login) for login in ("reviewer1", "reviewer2"))
        with self.by_staff(0) as conn:
            self.party_id = register.invite(conn, kind, RETAILER["name"], None, (MONDAY, self.name(0)))
        with psycopg.connect(dsn) as conn:
            self.person = person(conn, self.party_id, "applicant")

    def name(self, number: int) -> str:
        return f"user:{self.staff[number]}"

    @contextmanager
    def _as(self, scope: Scope) -> Iterator[Conn]:
        with psycopg.connect(self.dsn) as conn:
            db.take_scope(conn, scope)
            yield conn

    def by_staff(self, number: int) -> AbstractContextManager[Conn]:
        return self._as(Scope(ProcessRole.API, "staff", None, self.name(number)))

    def by_applicant(self) -> AbstractContextManager[Conn]:
        return self._as(Scope(ProcessRole.API, "customer", self.party_id, f"user:{self.person}"))

    def by_worker(self) -> AbstractContextManager[Conn]:
        return self._as(Scope(ProcessRole.WORKER, actor="job:entities"))

    def party(self, conn: Conn) -> PartyRow:
        found = entities.find(conn, self.party_id)
        assert found is not None
        return found

    def state(self) -> str | None:
        with psycopg.connect(self.dsn) as conn:
            return state_of(conn, self.party_id)

    def apply(self, facts: Mapping[str, str], subkind: str, at: datetime, until: date) -> None:
        """Fill in, add every document owed and send."""
        act = (at, f"user:{self.person}")
        with self.by_applicant() as conn:
            register.save(conn, self.party(conn), subkind, facts, act)
            wanted = checklists.in_force(Kind(self.party(conn).kind), at.date())
            for paper in checklists.papers_of(wanted, subkind):
                if not paper.is_optional:
                    self.add_paper(conn, paper.key, until if paper.is_dated else None, at)
            register.submit(conn, self.party(conn), True, act)

    def add_paper(self, conn: Conn, item: str, until: date | None, at: datetime) -> int:
        new = NewDocument("a" * 64, f"{item}.pdf", "application/pdf", 9, self.party_id, "qualification")
        document_id = files.note(conn, new, at, f"user:{self.person}")
        text = PaperText(item, document_id, "1", "示范机关", None, until)
        return register.add_paper(conn, self.party(conn), text, (at, f"user:{self.person}"))

    def accept(self, number: int, at: datetime) -> None:
        act = (at, self.name(number))
        with self.by_staff(number) as conn:
            items = review.case_of(conn, self.party(conn)).items
            review.find(conn, self.party(conn), dict.fromkeys(items, (True, "")), act)
            review.decide(conn, self.party(conn), Verdict.ACCEPT, "", act)

    def watch(self, at: datetime) -> watch.Seen:
        with self.by_worker() as conn:
            return watch.watch(conn, at)

    def admit(self, until: date = date(2027, 12, 31)) -> None:
        self.apply(RETAILER, "independent", MONDAY, until)
        self.accept(0, MONDAY)
        self.accept(1, MONDAY)
        self.watch(datetime(2026, 4, 3, 2, tzinfo=UTC))
        assert self.state() == "effective"


@pytest.fixture
def market(database: str) -> Market:
    return Market(database)


def test_the_database_knows_the_same_life(database: str) -> None:
    with psycopg.connect(database) as conn:
        moves = conn.execute("SELECT before, deed, after FROM party_move").fetchall()

    assert {(before, deed): after for before, deed, after in moves} == dict(PARTY.moves)


def test_a_retailer_is_reviewed_by_two_publicised_a_month_and_then_effective(market: Market) -> None:
    market.apply(RETAILER, "independent", MONDAY, date(2027, 12, 31))
    with market.by_staff(0) as conn:
        sent = reviews.last_submission(conn, market.party_id)
        assert sent is not None
        assert sent.due == date(2026, 3, 9)  # five working days after Monday
    market.accept(0, MONDAY)
    assert market.state() == "reviewing"
    market.accept(1, MONDAY)
    assert market.state() == "publicised"

    with market.by_staff(0) as conn:
        publicity = reviews.publicity_of(conn, market.party_id)
        assert publicity is not None
        assert (publicity.starts, publicity.ends) == (date(2026, 3, 3), date(2026, 4, 3))
    market.watch(datetime(2026, 4, 2, 2, tzinfo=UTC))
    assert market.state() == "publicised"
    market.watch(datetime(2026, 4, 3, 2, tzinfo=UTC))
    assert market.state() == "effective"
    with market.by_applicant() as conn:
        (profile,) = entities.profiles(conn, market.party_id)
        assert profile.facts["usci"] == CODE


def test_one_person_cannot_accept_twice_nor_without_looking_nor_against_the_own_word(market: Market) -> None:
    market.apply(RETAILER, "independent", MONDAY, date(2027, 12, 31))
    act = (MONDAY, market.name(0))
    with market.by_staff(0) as conn, pytest.raises(Unchecked):
        review.decide(conn, market.party(conn), Verdict.ACCEPT, "", act)
    market.accept(0, MONDAY)
    with market.by_staff(0) as conn, pytest.raises(OwnWork):
        review.decide(conn, market.party(conn), Verdict.ACCEPT, "", act)
    with market.by_staff(1) as conn:
        mine = (MONDAY, market.name(1))
        items = review.case_of(conn, market.party(conn)).items
        words = dict.fromkeys(items, (True, "")) | {"paper.staff_proof": (False, "名单与社保不符")}
        review.find(conn, market.party(conn), words, mine)
        with pytest.raises(Rejected):
            review.decide(conn, market.party(conn), Verdict.ACCEPT, "", mine)
        review.decide(conn, market.party(conn), Verdict.RETURN, "", mine)
    assert market.state() == "returned"
    with market.by_applicant() as conn:
        last = entities.events(conn, market.party_id)[-1]
        assert "名单与社保不符" in last.reason


def test_the_database_admits_nobody_whom_two_did_not_accept(market: Market) -> None:
    market.apply(RETAILER, "independent", MONDAY, date(2027, 12, 31))
    market.accept(0, MONDAY)
    with market.by_staff(0) as conn, pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("UPDATE party SET state = 'publicised' WHERE party_id = %s", (market.party_id,))
    with market.by_staff(0) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(
            """INSERT INTO submission_verdict SELECT submission_id, %s, 'accept', '', now() FROM party_submission""",
            (market.name(1),),
        )
    with market.by_applicant() as conn:
        moved = conn.execute("UPDATE party SET state = 'publicised' WHERE party_id = %s", (market.party_id,))
        assert moved.rowcount == 0


def test_an_open_objection_holds_the_registration_and_an_upheld_one_returns_it(market: Market) -> None:
    market.apply(RETAILER, "independent", MONDAY, date(2027, 12, 31))
    market.accept(0, MONDAY)
    market.accept(1, MONDAY)
    with psycopg.connect(market.dsn) as conn:
        rival = admitted_party(conn, "retailer", "另一家售电公司")
    during, after = MONDAY + timedelta(days=3), datetime(2026, 4, 10, 2, tzinfo=UTC)
    with market._as(Scope(ProcessRole.API, "customer", rival, "user:99")) as conn:
        publicity = reviews.publicised(conn, during.date())[0]
        review.object_to(
            conn, publicity, (rival, "另一家售电公司", "人员同时任职于两家公司"), (during, "user:99")
        )
    assert market.watch(after).took_effect == 0
    with market.by_staff(0) as conn:
        (objection,) = reviews.objections(conn, publicity.publicity_id)
        review.answer_objection(conn, objection, True, "属实", (after, market.name(0)))
    assert market.state() == "returned"


def test_what_expires_is_told_at_60_30_7_days_once_and_then_stops_trading(market: Market) -> None:
    market.admit(until=date(2026, 8, 31))
    days = ((7, 1), (7, 2), (7, 3), (8, 1), (8, 24), (8, 25))
    told = [market.watch(datetime(2026, month, day, 2, tzinfo=UTC)).reminded for month, day in days]
    assert told == [
        0,
        4,
        0,
        4,
        4,
        0,
    ]  # assets, staff, premises, credit report: 60, 30 and 7 days before 31 August
    assert market.watch(datetime(2026, 8, 31, 2, tzinfo=UTC)).suspended == 0  # the last day on which it holds
    with market.by_applicant() as conn:  # the gate knows it before anybody has looked
        for day, is_admitted in (
            (datetime(2026, 8, 31, 15, 59, tzinfo=UTC), True),
            (datetime(2026, 8, 31, 16, tzinfo=UTC), False),
        ):
            assert standings.standing_of(conn, market.party_id, day).is_admitted is is_admitted
            assert (
                standings.standings_of(conn, [market.party_id], day)[market.party_id].is_admitted
                is is_admitted
            )
    assert market.watch(datetime(2026, 9, 1, 2, tzinfo=UTC)).suspended == 1
    assert market.state() == "suspended"

    renewed = datetime(2026, 9, 2, 2, tzinfo=UTC)
    with market.by_applicant() as conn:
        for item in ("assets_proof", "staff_proof"):
            market.add_paper(conn, item, date(2027, 8, 31), renewed)
    assert market.watch(renewed).restored == 1
    assert market.state() == "effective"


def test_staff_suspension_is_not_lifted_by_the_timetable(market: Market) -> None:
    market.admit()
    at = datetime(2026, 5, 6, 2, tzinfo=UTC)
    with market.by_staff(0) as conn:
        review.suspend(conn, market.party(conn), "违规", (at, market.name(0)))
    market.watch(at + timedelta(days=1))
    assert market.state() == "suspended"


def test_a_change_holds_from_the_second_acceptance_and_its_history_stays(market: Market) -> None:
    market.admit()
    at = datetime(2026, 5, 20, 2, tzinfo=UTC)
    with market.by_applicant() as conn:
        proof = market.add_paper(conn, "change_proof", date(2030, 1, 1), at)
        texts = {"name": "示范新售电有限公司", "legal_representative": "法定代表人丙", "staff_count": "12"}
        wish = change.Wish(texts, "", date(2026, 5, 12), "更名", [proof])
        change_id = change.ask(conn, market.party(conn), wish, (at, f"user:{market.person}"))
        asked = reviews.find_change(conn, change_id)
        assert asked is not None
        assert asked.is_late  # 5-12 plus five working days is 5-19
        assert set(asked.facts) == {"name", "legal_representative"}
    for number, expected in ((0, "asked"), (1, "accepted")):
        with market.by_staff(number) as conn:
            assert change.decide(conn, asked, (True, ""), (at, market.name(number))) == expected
    with market.by_applicant() as conn:
        before = entities.profile_at(conn, market.party_id, at - timedelta(seconds=1))
        after = entities.profile_at(conn, market.party_id, at)
        assert before is not None
        assert after is not None
        assert (before.facts["name"], after.facts["name"]) == ("示范售电有限公司", "示范新售电有限公司")
        assert market.party(conn).name == "示范新售电有限公司"


def test_a_change_that_would_not_be_admitted_is_refused_at_once(market: Market) -> None:
    market.admit()
    at = datetime(2026, 5, 20, 2, tzinfo=UTC)
    with market.by_applicant() as conn:
        proof = market.add_paper(conn, "change_proof", date(2030, 1, 1), at)
        for texts in ({"staff_count": "9"}, {"assets_yuan": "19999999.99"}, {"usci": ""}):
            wish = change.Wish(texts, "", date(2026, 5, 19), "原因", [proof])
            with pytest.raises(change.BadChange):
                change.ask(conn, market.party(conn), wish, (at, f"user:{market.person}"))


def test_who_leaves_is_publicised_ten_working_days_and_struck_off_on_its_last_day(market: Market) -> None:
    market.admit()
    at = datetime(2026, 5, 20, 2, tzinfo=UTC)
    act = (at, f"user:{market.person}")
    with market.by_applicant() as conn:
        with pytest.raises(leave.BadLeave) as told:
            leave.ask(conn, market.party(conn), ("不再经营", "合同转让"), date(2026, 6, 1), act)
        assert told.value.facts["earliest"] == "2026-07-01"
        leave.ask(conn, market.party(conn), ("不再经营", "合同转让"), date(2026, 7, 1), act)
    market.watch(at)
    with market.by_staff(0) as conn:
        publicity = reviews.publicity_of(conn, market.party_id)
        assert publicity is not None
        assert (publicity.starts, publicity.ends) == (date(2026, 5, 21), date(2026, 6, 4))
    market.watch(datetime(2026, 6, 30, 2, tzinfo=UTC))
    assert market.state() == "deregistering"
    market.watch(datetime(2026, 7, 1, 2, tzinfo=UTC))
    assert market.state() == "deregistered"
    with market.by_staff(0) as conn:
        kept = reviews.leave_of(conn, market.party_id)
        assert kept is not None
        assert kept.keep_until == date(2031, 7, 1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM party_profile")


def test_nobody_is_struck_off_while_a_contract_is_performed(market: Market) -> None:
    market.admit()
    at = datetime(2026, 5, 20, 2, tzinfo=UTC)
    with market.by_applicant() as conn:
        leave.ask(
            conn,
            market.party(conn),
            ("不再经营", "合同转让"),
            date(2026, 7, 1),
            (at, f"user:{market.person}"),
        )
    market.watch(at)
    with psycopg.connect(market.dsn) as conn:
        other = admitted_party(conn, "generator", "示范电厂")
        conn.execute(
            """INSERT INTO contract (contract_id, kind, source, seller_id, buyer_id, seller_unit, buyer_unit, start_day,
                                     end_day, state, version, entered_at, entered_by)
               VALUES ('C9', 'confirmation', 'test', %s, %s, 'party:1', 'party:2', '2026-06-01', '2026-08-01', 'effective', 1,
                       %s, 'test')""",
            (other, market.party_id, at),
        )

    market.watch(datetime(2026, 7, 1, 2, tzinfo=UTC))
    assert market.state() == "deregistering"
    with psycopg.connect(market.dsn) as conn:
        told = "SELECT facts->>'count', party_id FROM notice WHERE key = 'entity.leave_obstacles' ORDER BY party_id"
        assert conn.execute(told).fetchall() == [("1", market.party_id), ("1", None)]
    market.watch(datetime(2026, 8, 1, 2, tzinfo=UTC))
    assert market.state() == "deregistered"


def test_each_thing_that_is_open_stands_in_the_way_and_is_named(market: Market) -> None:
    market.admit()
    day = date(2026, 7, 1)
    with psycopg.connect(market.dsn) as conn:
        assert obstacles.of_party(conn, market.party_id, day) == ()
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "INSERT INTO account VALUES ('1302000300099', %s, '示范用户', '园区')", (market.party_id,)
        )
        for statement in OPEN_THINGS:
            conn.execute(statement, {"party": market.party_id})
        conn.execute("SET session_replication_role = origin")
        db.take_scope(conn, Scope(ProcessRole.WORKER, actor="test"))
        found = obstacles.of_party(conn, market.party_id, day)
    with market.by_staff(0) as conn:
        seen = obstacles.of_party(conn, market.party_id, day)
    with market.by_applicant() as conn:
        own = obstacles.of_party(conn, market.party_id, day)

    assert [(each.kind, each.amount_fen) for each in found] == [
        ("bill", 700),
        ("declaration", None),
        ("guarantee", 500),
        ("listing", None),
        ("negotiation", None),
        ("order", None),
        ("receivable", 900),
        ("statement", 300),
        ("transfer", None),
    ]
    assert {each.kind for each in found} - {each.kind for each in seen} == {
        "declaration"
    }  # its book is sealed
    assert {each.kind for each in found} - {each.kind for each in own} <= {"bill"}


OPEN_THINGS = (
    """INSERT INTO statement (run_id, unit_id, side, party_id, name, month, revision, state, quantity_kwh, total_fen, change_fen,
                              input_sha256, facts, made_at)
       VALUES (1, 'party:1', 'user', %(party)s, 'x', '2026-06-01', 1, 'draft', 0, 300, 0, repeat('0', 64), '{}', now())""",
    """INSERT INTO bill (account_id, month, revision, total_fen, import_wh, state, facts, input_sha256, made_at)
       VALUES ('1302000300099', '2026-06-01', 1, 700, 0, 'draft', '{}', decode(repeat('00', 32), 'hex'), now())""",
    "INSERT INTO ledger_account (account_code) VALUES ('receivable/1302000300099')",
    """INSERT INTO posting (journal_id, posting_no, posting_count, account_code, amount_fen, item)
       VALUES (1, 1, 2, 'receivable/1302000300099', 900, '1302000300099/2026-05')""",
    """INSERT INTO guarantee_entry (party_id, kind, amount_fen, purpose_key, at, actor)
       VALUES (%(party)s, 'reserve', 500, 'contract:C1', now(), 'test')""",
    """INSERT INTO trading_session (session_no, title, announcement, rule_id, rule_version, rule_sha256, rule_body, product,
                                    is_sealed, shows_curve, period_month, period_label, opens_at, freezes_at, publishes_at,
                                    state, drafted_at, drafted_by)
       VALUES ('SESSION-1', '场次', '', 'r', 1, repeat('0', 64), 'x', 'energy', true, true, '{2026-08-01}', '{peak}', now(),
               now() + interval '1 hour', now() + interval '1 hour', 'open', now(), 'test')""",
    """INSERT INTO bid_event (session_id, kind, party_id, unit_id, side, period, price_ticks, quantity_kwh, margin_fen,
                              client_key, content_sha256, at, actor)
       SELECT session_id, 'SUBMIT', %(party)s, 'party:1', 'B', '{1}', '{38000}', '{1000}', 0, gen_random_uuid(),
              decode(repeat('00', 32), 'hex'), now(), 'test' FROM trading_session""",
    """INSERT INTO listing (party_id, unit_id, side, is_green, sharing, remainder, is_clipped, all_or_none, min_take_kwh,
                            eligible_kinds, eligible_ids, note, starts_at, ends_at, published_at, published_by)
       VALUES (%(party)s, 'party:1', 'S', false, 'time', 'last', true, false, 0, '{}', '{}', '', now(),
               now() + interval '1 day', now(), 'test')""",
    """INSERT INTO rolling_session (title, period_month, period_label, trade_price, tick, lot_kwh, margin_rate_pct, opens_at,
                                    closes_at, announced_at, announced_by)
       VALUES ('滚动', '{2026-08-01}', '{month}', 'resting', 1, 1, 5, now(), now() + interval '1 hour', now(), 'test')""",
    """INSERT INTO rolling_event (rolling_id, period_no, op, party_id, unit_id, side, terms, price_ticks, quantity_kwh, at,
                                  actor)
       SELECT rolling_id, 1, 'add', %(party)s, 'party:1', 'S', 'day', 38000, 1000, now(), 'test' FROM rolling_session""",
    """INSERT INTO negotiation (title, is_green, seller_id, buyer_id, opener_id, seller_unit, buyer_unit, state, expires_at,
                                opened_at, opened_by)
       VALUES ('双边', false, %(party)s, 999, %(party)s, 'party:1', '', 'invited', now(), now(), 'test')""",
    """INSERT INTO contract_transfer (contract_id, from_version, side, from_id, to_id, other_id, kwh, reason, terms_sha256,
                                      state, expires_at, asked_at, asked_by)
       VALUES ('C1', 1, 'seller', %(party)s, 998, 999, '{1}', '减产', repeat('0', 64), 'proposed', now(), now(), 'test')""",
)


def test_one_retailer_per_user_per_period_whatever_it_rests_on(database: str) -> None:
    with psycopg.connect(database) as conn:
        user = admitted_party(conn, "user", "示范用户")
        one, other = (admitted_party(conn, "retailer", name) for name in ("售电一", "售电二"))
        january, july, next_year = (
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2026, 7, 1, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
        )
        units.serve(conn, "contract:1", (user, one), january, july)
        units.serve(conn, "contract:2", (user, one), january, next_year)  # the same retailer may have two
        with pytest.raises(units.OtherRetailer):
            units.serve(conn, "contract:3", (user, other), july, None)
        assert units.end_service(conn, "contract:2", july)
        units.serve(conn, "contract:3", (user, other), july, None)
        assert units.retailer_of(conn, user, july - timedelta(seconds=1)) == one
        assert units.retailer_of(conn, user, july) == other
        assert [row.retailer_id for row in units.relations(conn, user)] == [other, one]


def test_two_at_once_give_a_user_one_retailer(database: str) -> None:
    with psycopg.connect(database) as conn:
        user = admitted_party(conn, "user", "示范用户")
        one, other = (admitted_party(conn, "retailer", name) for name in ("售电一", "售电二"))
    with psycopg.connect(database) as first, psycopg.connect(database) as second:
        second.execute("SET lock_timeout = '200ms'")
        units.serve(first, "contract:1", (user, one), MONDAY, None)
        with pytest.raises((units.OtherRetailer, psycopg.errors.LockNotAvailable)):
            units.serve(second, "contract:2", (user, other), MONDAY, None)
        first.commit()
        second.rollback()
        with pytest.raises(units.OtherRetailer):
            units.serve(second, "contract:2", (user, other), MONDAY, None)


def test_a_supply_point_is_in_one_unit_at_a_time_and_only_its_partys(database: str) -> None:
    with psycopg.connect(database) as conn:
        user, stranger = (admitted_party(conn, "user", name) for name in ("示范用户", "别的用户"))
        for party_id, account_id in ((user, "1300000000001"), (stranger, "1300000000002")):
            conn.execute(
                "INSERT INTO account (account_id, party_id, name, address) VALUES (%s, %s, '示范', '示范')",
                (account_id, party_id),
            )
        for point, account_id in (("A", "1300000000001"), ("B", "1300000000001"), ("X", "1300000000002")):
            conn.execute("INSERT INTO supply_point VALUES (%s, %s, '表')", (point, account_id))
        act = (MONDAY, "user:1")
        east = group.make(conn, user, "东厂", ["A", "B"], act)
        with pytest.raises(units.ForeignPoint):
            group.make(conn, user, "别家", ["X"], act)
        west = group.make(conn, user, "西厂", ["B"], (MONDAY + timedelta(days=1), "user:1"))
        later = {
            row.supply_point_id: row.unit_no for row in units.points(conn, user, MONDAY + timedelta(days=2))
        }
        sooner = {row.supply_point_id: row.unit_no for row in units.points(conn, user, MONDAY)}
        assert (later, sooner) == ({"A": east, "B": west}, {"A": east, "B": east})
        foreign = "INSERT INTO consumption_unit_point VALUES (%s, 'X', tstzrange(now(), NULL), now(), 'x')"
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(foreign, (east,))


def test_applications_and_papers_are_seen_by_their_party_and_staff_only(market: Market) -> None:
    market.admit()
    with psycopg.connect(market.dsn) as conn:
        rival = admitted_party(conn, "retailer", "另一家售电公司")
    with market._as(Scope(ProcessRole.API, "customer", rival, "user:99")) as conn:
        assert entities.papers(conn, market.party_id) == ()
        assert entities.profiles(conn, market.party_id) == ()
        assert entities.form_of(conn, market.party_id) is None
        with pytest.raises(Refused):
            leave.ask(conn, market.party(conn), ("原因", "合同"), date(2026, 8, 1), (MONDAY, "user:99"))


def test_a_decided_application_is_not_decided_again(market: Market) -> None:
    market.admit()
    with market.by_staff(0) as conn:
        with pytest.raises(review.NotInReview):
            review.decide(conn, market.party(conn), Verdict.RETURN, "再看", (MONDAY, market.name(0)))
        with pytest.raises(NoSuchMove):
            entities.move(conn, market.party(conn), "admit", (MONDAY, market.name(0), ""))
