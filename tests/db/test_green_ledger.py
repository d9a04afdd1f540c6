"""Green certificates against a model of single numbers: nothing is made, lost, sold twice or used twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import market_world
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import db
from cloud.billing.run import greenmoney
from cloud.billing.store import ledger
from cloud.db import Conn, ProcessRole, Scope
from cloud.errors import Refused
from cloud.market import certificates as gec
from cloud.market.run import green as run
from cloud.market.store import certificates as store
from cloud.market.store import greenaudit, greensales, greenuses
from cloud.market.store.certificates import PlantRow
from cloud.market.store.greensales import NewSale
from cloud.security.access import Actor, Role

NOW = datetime(2026, 9, 10, 2, tzinfo=UTC)
MAY = date(2026, 5, 1)
STAFF = Actor(1, "operator", "operator", Role.STAFF, None, "zh")


@dataclass
class World:
    """Two buyers and a wind farm, each with a scope of its own."""

    pool: db.Pool
    plant: PlantRow
    parties: list[int]
    months: int = 0
    keys: int = 0
    places: dict[int, str] = field(default_factory=dict)
    traded: set[int] = field(default_factory=set)
    born: dict[int, date] = field(default_factory=dict)
    owed_fen: dict[int, int] = field(default_factory=dict)  # + to the party, - by it

    def actor(self, number: int) -> Actor:
        party_id = self.parties[number]
        return Actor(100 + number, f"p{number}", f"p{number}", Role.CUSTOMER, party_id, "zh")

    def scope(self, number: int) -> Scope:
        return Scope(ProcessRole.API, "customer", self.parties[number], f"user:{100 + number}")

    def key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"


STAFF_SCOPE = Scope(ProcessRole.API, "staff", None, "user:1")
WORKER = Scope(ProcessRole.WORKER, actor="job:green")


@pytest.fixture
def pool(database: str) -> Iterator[db.Pool]:
    with db.open_pool(database, size_max=4) as pool:
        yield pool


def new_world(pool: db.Pool, name: str) -> World:
    with db.transaction(pool, Scope(ProcessRole.OWNER)) as conn:
        generator = market_world.admitted_party(conn, "generator", f"示范风电{name}", subkind="wind")
        users = [market_world.admitted_party(conn, "user", f"用户{number}{name}") for number in (1, 2)]
    plant = PlantRow(
        f"party:{generator}", generator, f"示范风电{name}", f"风场{name}", "wind", True, "示范备案"
    )
    with db.transaction(pool, STAFF_SCOPE) as conn:
        run.enter_plant(conn, STAFF, plant, NOW)
    return World(pool, plant, [generator, *users])


def enter_kwh(conn: Conn, unit_id: str, month: date, kwh: int, mechanism_kwh: int = 0) -> None:
    for item, quantity, price in (("generation", kwh, None), ("mechanism", mechanism_kwh, Decimal(300))):
        conn.execute(
            """INSERT INTO market_quantity (unit_id, month, item, mwh, yuan_per_mwh, source, entered_at, entered_by)
               VALUES (%s, %s, %s, %s, %s, 'test', %s, 'test')""",
            (unit_id, month, item, Decimal(quantity) / 1000, price, NOW),
        )


def issue(world: World, kwh: int, mechanism_kwh: int = 0) -> int:
    month = date(2026, 5 + world.months, 1)
    with db.transaction(world.pool, Scope(ProcessRole.OWNER)) as conn:
        enter_kwh(conn, world.plant.unit_id, month, kwh, mechanism_kwh)
    with db.transaction(world.pool, STAFF_SCOPE) as conn:
        row = run.issue_plant(conn, STAFF, world.plant.unit_id, month, NOW)
        again = run.issue_plant(conn, STAFF, world.plant.unit_id, month, NOW)
    assert row == again
    world.months += 1
    return row.issued_mwh


def actual_places(world: World) -> dict[int, str]:
    with db.transaction(world.pool, Scope(ProcessRole.OWNER)) as conn:
        rows = conn.execute(
            """SELECT lower(p.serials), upper(p.serials), p.account FROM green_place p
               JOIN green_batch b ON b.entry_id = p.batch_id WHERE b.unit_id = %s""",
            (world.plant.unit_id,),
        ).fetchall()
        assert {name: mwh for name, mwh in greenaudit.doubts(conn) if mwh} == {}
    return {serial: account for first, end, account in rows for serial in range(first, end)}


def first_of(world: World, account: str, mwh: int, untraded: bool) -> list[int] | None:
    """The model's own choice: by month of birth, then by number."""
    free = [
        serial
        for serial, place in world.places.items()
        if place == account and not (untraded and serial in world.traded)
    ]
    free.sort(key=lambda serial: (world.born[serial], serial))
    return free[:mwh] if len(free) >= mwh else None


DEEDS = st.one_of(
    st.tuples(st.just("issue"), st.integers(0, 4200), st.integers(0, 1500)),
    st.tuples(st.just("offer"), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just("take"), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just("withdraw"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("retire"), st.integers(0, 2), st.integers(1, 3)),
)


def test_the_ledger_is_that_of_single_numbers(pool: db.Pool) -> None:
    examples = iter(range(10_000))

    @settings(max_examples=40)
    @given(st.lists(DEEDS, min_size=4, max_size=16))
    def law(deeds: list[tuple[str, int, int]]) -> None:
        world = new_world(pool, f"-{next(examples)}")
        sales: list[tuple[int, int]] = []
        carry = 0
        for deed, number, quantity in [("issue", 3600, 0), ("issue", 2500, 0), *deeds]:
            if deed == "issue" and world.months < 4:
                issued = issue(world, number, quantity)
                whole, carry = divmod(carry + max(0, number - quantity), 1000)
                assert issued == whole
                for serial in set(actual_places(world)) - set(world.places):
                    world.places[serial] = f"held/{world.parties[0]}"
                    world.born[serial] = date(2026, 4 + world.months, 1)
            elif deed == "offer":
                held = f"held/{world.parties[number]}"
                chosen = first_of(world, held, quantity, untraded=True)
                sale = NewSale(
                    world.parties[number], None, quantity, 414, NOW + timedelta(days=1), world.key()
                )
                sale_id = done(world, number, chosen, run.offer, sale, NOW)
                if sale_id is not None:
                    sales.append((sale_id.sale_id, number))
                    for serial in chosen or ():
                        world.places[serial] = f"locked/{world.parties[number]}/{sale_id.sale_id}"
            elif deed == "take" and sales:
                sale_id, seller = sales[-1]
                locked = f"locked/{world.parties[seller]}/{sale_id}"
                chosen = None if number == seller else first_of(world, locked, quantity, untraded=False)
                if done(world, number, chosen, run.take, sale_id, quantity, world.key(), NOW) is not None:
                    for serial in chosen or ():
                        world.places[serial] = f"held/{world.parties[number]}"
                        world.traded.add(serial)
                    for party, sign in ((seller, 1), (number, -1)):
                        world.owed_fen[party] = world.owed_fen.get(party, 0) + sign * 414 * quantity
            elif deed == "withdraw" and sales:
                sale_id, seller = sales[-1]
                locked = f"locked/{world.parties[seller]}/{sale_id}"
                left = [serial for serial, place in world.places.items() if place == locked]
                possible = left if number == seller and left else None
                if withdrawn(world, number, possible, sale_id):
                    for serial in left:
                        world.places[serial] = f"held/{world.parties[seller]}"
            elif deed == "retire":
                held = f"held/{world.parties[number]}"
                use = run.Use("示范用户", "年度碳报告", date(2026, 9, 1), date(2026, 9, 1))
                chosen = first_of(world, held, quantity, untraded=False)
                if done(world, number, chosen, run.retire, quantity, use, world.key(), NOW) is not None:
                    for serial in chosen or ():
                        world.places[serial] = f"retired/{world.parties[number]}"
            assert actual_places(world) == world.places
            assert booked_fen(world) == world.owed_fen

    law()


def booked_fen(world: World) -> dict[int, int]:
    """Book what was sold, twice, and read what each party is owed (+) or owes (-) from the ledger of money."""
    with db.transaction(world.pool, WORKER) as conn:
        greenmoney.book_sales(conn, NOW)
        assert greenmoney.book_sales(conn, NOW) == 0
        rows = conn.execute(
            """SELECT split_part(account_code, '/', 3)::bigint, -sum(amount_fen)::bigint FROM posting
               WHERE account_code ~ '^(receivable|payable)/party/' GROUP BY 1"""
        ).fetchall()
    found = dict(rows)
    assert sum(found.values()) == 0
    return {number: found[party] for number, party in enumerate(world.parties) if party in found}


def done(world: World, number: int, chosen: list[int] | None, deed, *what):  # type: ignore[no-untyped-def]
    """Do it as the party; it is refused exactly when the model has not enough to choose from."""
    try:
        with db.transaction(world.pool, world.scope(number)) as conn:
            found = deed(conn, world.actor(number), *what)
    except Refused:
        assert chosen is None
        return None
    assert chosen is not None
    return found


def withdrawn(world: World, number: int, possible: list[int] | None, sale_id: int) -> bool:
    try:
        with db.transaction(world.pool, world.scope(number)) as conn:
            run.withdraw(conn, world.actor(number), sale_id, NOW)
    except Refused:
        assert possible is None
        return False
    assert possible is not None
    return True


def test_of_takers_at_one_instant_one_wins(pool: db.Pool) -> None:
    world = new_world(pool, "")
    assert issue(world, 1000) == 1
    with db.transaction(pool, world.scope(0)) as conn:
        sale = NewSale(world.parties[0], None, 1, 414, NOW + timedelta(days=1), "one")
        sale_id = run.offer(conn, world.actor(0), sale, NOW).sale_id
    outcomes: list[str] = []
    gate = threading.Barrier(4)

    def attempt(number: int, key: str) -> None:
        gate.wait()
        try:
            with db.transaction(pool, world.scope(number)) as conn:
                run.take(conn, world.actor(number), sale_id, 1, key, NOW)
            outcomes.append("won")
        except Refused:
            outcomes.append("refused")

    threads = [
        threading.Thread(target=attempt, args=(number, key)) for number in (1, 2) for key in ("a", "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused", "refused", "refused", "won"]
    assert len(actual_places(world)) == 1


def test_a_deed_done_twice_is_done_once(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 5000)
    with db.transaction(pool, world.scope(0)) as conn:
        sale = NewSale(world.parties[0], world.parties[1], 3, 414, NOW + timedelta(days=1), "one")
        first = run.offer(conn, world.actor(0), sale, NOW)
        second = run.offer(conn, world.actor(0), sale, NOW)
    with db.transaction(pool, world.scope(1)) as conn:
        taken = [run.take(conn, world.actor(1), first.sale_id, 2, "once", NOW) for _ in range(3)]
        use = run.Use("用户1", "产品碳足迹", MAY, MAY)
        used = [run.retire(conn, world.actor(1), 1, use, "once", NOW) for _ in range(3)]

    places = list(actual_places(world).values())
    assert first == second
    assert len(set(taken)) == len(set(used)) == 1
    assert sorted(places.count(account) for account in set(places)) == [1, 1, 1, 2]


def test_a_certificate_is_traded_once(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 1000)
    with db.transaction(pool, world.scope(0)) as conn:
        sale = NewSale(world.parties[0], None, 1, 0, NOW + timedelta(days=1), "one")
        sale_id = run.offer(conn, world.actor(0), sale, NOW).sale_id
    with db.transaction(pool, world.scope(1)) as conn:
        run.take(conn, world.actor(1), sale_id, 1, "one", NOW)

    resale = NewSale(world.parties[1], None, 1, 0, NOW + timedelta(days=1), "again")
    with pytest.raises(gec.NotEnough), db.transaction(pool, world.scope(1)) as conn:
        run.offer(conn, world.actor(1), resale, NOW)


def test_a_purchase_is_owed_to_the_seller_by_the_buyer_and_seen_by_both(pool: db.Pool) -> None:
    """3 certificates at 4.14 and 2 more: 12.42 and 8.28 yuan; the third party sees nothing of it."""
    world = new_world(pool, "")
    issue(world, 6000)
    with db.transaction(pool, world.scope(0)) as conn:
        sale = NewSale(world.parties[0], None, 6, 414, NOW + timedelta(days=1), "one")
        sale_id = run.offer(conn, world.actor(0), sale, NOW).sale_id
    with db.transaction(pool, world.scope(1)) as conn:
        for key, mwh in (("a", 3), ("b", 2), ("a", 3)):
            run.take(conn, world.actor(1), sale_id, mwh, key, NOW)

    seen = []
    for number in range(3):
        with db.transaction(pool, world.scope(number)) as conn:
            seen.append([each.amount_fen for each in greensales.claims(conn, world.parties[number])])
    with db.transaction(pool, world.scope(2)) as conn:
        foreign = greensales.claims(conn, None)
    assert seen == [[828, 1242], [828, 1242], []]
    assert foreign == ()
    assert booked_fen(world) == {0: 2070, 1: -2070}
    with db.transaction(pool, world.scope(1)) as conn:  # the journal too
        assert conn.execute("SELECT count(*) FROM journal").fetchone() == (2,)
    with db.transaction(pool, world.scope(2)) as conn:
        assert conn.execute("SELECT count(*) FROM journal").fetchone() == (0,)


@pytest.mark.parametrize(("mwh", "price_ticks"), [(1, 414), (2, 413), (None, 0)])
def test_certificates_and_their_money_move_together_or_not_at_all(
    pool: db.Pool, mwh: int | None, price_ticks: int
) -> None:
    """A claim on less than was taken, at another price, or none at all: the purchase does not commit."""
    world = new_world(pool, "")
    issue(world, 2000)
    with db.transaction(pool, world.scope(0)) as conn:
        sale = NewSale(world.parties[0], None, 2, 414, NOW + timedelta(days=1), "one")
        sale_id = run.offer(conn, world.actor(0), sale, NOW).sale_id
    before = actual_places(world)
    claim = greensales.insert_claim

    def forged(conn: Conn, made: greensales.NewClaim, day: date, at: datetime) -> None:
        if mwh is not None:
            wrong = replace(made, mwh=mwh, price_ticks=price_ticks, amount_fen=mwh * price_ticks)
            claim(conn, wrong, day, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greensales, "insert_claim", forged)
        with pytest.raises(psycopg.errors.CheckViolation), db.transaction(pool, world.scope(1)) as conn:
            run.take(conn, world.actor(1), sale_id, 2, "one", NOW)

    assert actual_places(world) == before


def test_a_sale_of_a_closed_month_is_booked_in_the_first_open_one(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 1000)
    with db.transaction(pool, world.scope(0)) as conn:
        sale = NewSale(world.parties[0], None, 1, 414, NOW + timedelta(days=1), "one")
        sale_id = run.offer(conn, world.actor(0), sale, NOW).sale_id
    with db.transaction(pool, world.scope(1)) as conn:
        run.take(conn, world.actor(1), sale_id, 1, "one", NOW)
    october = datetime(2026, 10, 3, tzinfo=UTC)
    with db.transaction(pool, Scope(ProcessRole.OWNER)) as conn:
        ledger.lock_period(conn, date(2026, 9, 1), "test", october)
    with db.transaction(pool, WORKER) as conn:
        greenmoney.book_sales(conn, october)
        row = conn.execute("SELECT event_date, effective_date FROM journal").fetchone()

    assert row == (date(2026, 9, 10), date(2026, 10, 1))


@pytest.mark.parametrize(
    ("kind", "source", "target"),
    [
        ("transfer", "held/{0}", "held/{1}"),  # another's certificates, without a sale
        ("retire", "held/{0}", "retired/{1}"),
        ("issue", "issued/{1}", "held/{1}"),
        ("expire", "held/{1}", "expired"),
        ("release", "locked/{0}/1", "held/{1}"),
    ],
)
def test_the_database_refuses_moves_that_no_deed_makes(
    pool: db.Pool, kind: str, source: str, target: str
) -> None:
    world = new_world(pool, "")
    issue(world, 2000)
    serial = min(actual_places(world))
    before = actual_places(world)
    accounts = [account.format(*world.parties) for account in (source, target)]

    with pytest.raises(psycopg.IntegrityError), db.transaction(pool, world.scope(1)) as conn:
        forge(conn, kind, accounts, serial)

    assert actual_places(world) == before


def forge(conn: Conn, kind: str, accounts: list[str], serial: int) -> None:
    row = conn.execute(
        """INSERT INTO green_entry (kind, idem_key, content_sha256, contract_id, at, actor)
           VALUES (%s, %s, %s, 'X', %s, 'user:101') RETURNING entry_id""",
        (kind, "/".join(accounts), "0" * 64, NOW),
    ).fetchone()
    assert row is not None
    for no, (account, mwh) in enumerate(zip(accounts, (-1, 1), strict=False), start=1):
        conn.execute(
            """INSERT INTO green_posting (entry_id, posting_no, kind, account, party_id, serials, mwh)
               VALUES (%s, %s, %s, %s, nullif(split_part(%s, '/', 2), '')::bigint, int8range(%s, %s), %s)""",
            (row[0], no, kind, account, account, serial, serial + 1, mwh),
        )


def test_overlapping_numbers_are_refused_whoever_writes(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 2000)
    serial = min(actual_places(world))
    account = f"issued/{world.parties[0]}", f"held/{world.parties[0]}"

    with (
        pytest.raises(psycopg.errors.ExclusionViolation),
        db.transaction(pool, Scope(ProcessRole.OWNER)) as conn,
    ):
        forge(conn, "issue", list(account), serial)


def test_the_database_lets_no_number_be_traded_twice(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 1000)
    serial = min(actual_places(world))
    first, second, third = (f"held/{party_id}" for party_id in world.parties)
    with db.transaction(pool, WORKER) as conn:
        forge(conn, "transfer", [first, second], serial)

    with pytest.raises(psycopg.errors.ExclusionViolation), db.transaction(pool, WORKER) as conn:
        forge(conn, "transfer", [second, third], serial)

    assert set(actual_places(world).values()) == {second}


def test_an_unbalanced_entry_never_commits(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 1000)
    serial = min(actual_places(world))
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction(pool, WORKER) as conn:
        forge(conn, "expire", [f"held/{world.parties[0]}"], serial)


def test_certificates_end_after_their_24th_month(pool: db.Pool) -> None:
    """1044号: 24 calendar months that begin with the month of production; May 2026 counts up to April 2028."""
    world = new_world(pool, "")
    issue(world, 2000)

    with db.transaction(pool, WORKER) as conn:
        on_last_day = run.expire(conn, datetime(2028, 4, 30, 15, 59, tzinfo=UTC))
        after = run.expire(conn, datetime(2028, 4, 30, 16, 1, tzinfo=UTC))
        again = run.expire(conn, datetime(2028, 5, 2, tzinfo=UTC))

    assert (on_last_day, after, again) == (0, 2, 0)
    assert set(actual_places(world).values()) == {"expired"}


def test_existing_hydro_is_used_but_not_sold(pool: db.Pool) -> None:
    world = new_world(pool, "")
    hydro = PlantRow(world.plant.unit_id, world.parties[0], "x", "水电", "hydro", False, "存量常规水电")
    with db.transaction(pool, STAFF_SCOPE) as conn:
        run.enter_plant(conn, STAFF, hydro, NOW)
    issue(world, 2000)

    with pytest.raises(gec.NotEnough), db.transaction(pool, world.scope(0)) as conn:
        run.offer(
            conn, world.actor(0), NewSale(world.parties[0], None, 1, 0, NOW + timedelta(days=1), "a"), NOW
        )
    with db.transaction(pool, world.scope(0)) as conn:
        run.retire(conn, world.actor(0), 1, run.Use("示范电厂", "厂用", MAY, MAY), "a", NOW)


def test_a_party_sees_its_own_and_anybody_a_proof(pool: db.Pool) -> None:
    world = new_world(pool, "")
    issue(world, 3000)
    with db.transaction(pool, world.scope(0)) as conn:
        entry_id = run.retire(conn, world.actor(0), 2, run.Use("示范电厂", "厂用", MAY, MAY), "a", NOW)
        own = greenuses.retirement(conn, entry_id)
    with db.transaction(pool, world.scope(1)) as conn:
        foreign = (greenuses.retirement(conn, entry_id), store.places_of(conn, world.parties[0]))
        entries = store.entries_of(conn, None)
    assert own is not None
    with db.transaction(pool, Scope(ProcessRole.API)) as conn:
        found = greenuses.proof(conn, own.proof_no)
        unknown = greenuses.proof(conn, "GR-000001-0000000000000000")

    assert foreign == (None, ())
    assert entries == ()
    assert found == (2, MAY, MAY, date(2026, 9, 10))
    assert unknown is None
