"""Groups of sealed batches into a real PostgreSQL: what is stored, counted, kept aside and acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ingest_world import CLOUD_KEY, NOON, NOON_MS, QUARTER_MS, FakeGateway, build, reading, readings_of

from cloud.db import open_pool
from cloud.errors import Unavailable
from cloud.metering.intake import Arrived, Verdict
from cloud.metering.run.gateways import greet
from cloud.metering.run.intake import Intake, Taken
from edge_agent.wire import control, cose
from edge_agent.wire.batch import Reading
from edge_agent.wire.event import Event


class World:
    """An intake on a database with two gateways of two meters each."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.gateways = build(dsn)
        self.one, self.two = self.gateways["GW1"], self.gateways["GW2"]
        self.pool = open_pool(dsn, size_max=4)
        self.intake = Intake(self.pool, CLOUD_KEY, generation=1, partition_days=7)

    def take(self, *messages: Arrived) -> Taken:
        return self.intake.take(messages, NOON)

    def rows(self, query: str) -> list[tuple]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query).fetchall()

    def counts(self, gateway_id: str) -> dict[str, int]:
        return dict(
            self.rows(f"SELECT verdict, messages FROM intake_count WHERE gateway_id = '{gateway_id}'")
        )


@pytest.fixture
def world(database: str) -> Iterator[World]:
    world = World(database)
    with world.pool:
        yield world


def sent(gateway: FakeGateway, body: bytes, stream: int = 0) -> Arrived:
    return Arrived(control.batch_topic(gateway.gateway_id, stream), gateway.gateway_id, body)


def ack_in(taken: Taken, gateway_id: str) -> control.Ack:
    return control.ack_of(cose.open_sealed(taken.acks[gateway_id], CLOUD_KEY.public_key(), control.ACK_AAD))


def test_a_batch_is_stored_once_and_acknowledged_by_the_cloud_key(world: World) -> None:
    sealed = world.one.seal(readings_of(world.one, NOON_MS - 4 * QUARTER_MS, 4))
    taken = world.take(sent(world.one, sealed))
    assert taken.verdicts == (Verdict.ACCEPTED,)
    ack = ack_in(taken, "GW1")
    assert (ack.epoch, ack.generation, ack.store_uuid) == (1, 1, world.one.store_uuid)
    assert [(s.stream, s.upto, s.have, s.rejected) for s in ack.streams] == [(0, 1, (), ())]
    assert world.rows("SELECT count(*), sum(c0), sum(c4), count(c1) FROM reading") == [
        (8, 2 * (1000 + 1250 + 1500 + 1750), 8 * 12_000, 0)
    ]
    assert world.rows("SELECT body, verdict, readings FROM sealed_batch") == [(sealed, "accepted", 24)]
    assert world.rows("SELECT state FROM gateway WHERE gateway_id = 'GW1'") == [("active",)]
    assert world.rows("SELECT count(*), min(day)::text FROM stale_day") == [(2, "2026-08-03")]

    again = world.take(sent(world.one, sealed), sent(world.one, sealed))
    assert again.verdicts == (Verdict.DUPLICATE, Verdict.DUPLICATE)
    assert ack_in(again, "GW1") == ack
    assert world.rows("SELECT (SELECT count(*) FROM reading), (SELECT count(*) FROM sealed_batch)") == [
        (8, 1)
    ]
    assert world.counts("GW1") == {"accepted": 1, "duplicate": 2}


def test_the_stored_values_are_those_of_each_reading(world: World) -> None:
    whole = tuple(1000 + channel for channel in range(16))
    holes = tuple(None if channel % 3 == 0 else 7 * channel for channel in range(16))
    readings = [
        Reading("GW1M1", NOON_MS - QUARTER_MS, 0, whole),
        Reading("GW1M1", NOON_MS, 4, holes),  # stamped by the meter: source 1
        Reading("GW1M2", NOON_MS - QUARTER_MS, 2, holes),
    ]
    world.take(sent(world.one, world.one.seal(readings)))
    columns = ", ".join(f"c{n}" for n in range(16))
    stored = world.rows(
        f"""SELECT m.meter_id, (extract(epoch FROM taken_at) * 1000)::bigint, quality, source, {columns}
            FROM reading JOIN meter m USING (meter_key) ORDER BY 1, 2"""
    )
    assert stored == [
        ("GW1M1", NOON_MS - QUARTER_MS, 0, 0, *whole),
        ("GW1M1", NOON_MS, 4, 1, *holes),
        ("GW1M2", NOON_MS - QUARTER_MS, 2, 0, *holes),
    ]


def test_batches_out_of_order_are_acknowledged_as_ranges(world: World) -> None:
    sealed = [world.one.seal([reading("GW1M1", NOON_MS + at, 1000 + at)]) for at in range(5)]
    taken = world.take(sent(world.one, sealed[0]), sent(world.one, sealed[2]), sent(world.one, sealed[4]))
    (stream,) = ack_in(taken, "GW1").streams
    assert (stream.upto, stream.have) == (1, ((3, 3), (5, 5)))
    (stream,) = ack_in(world.take(sent(world.one, sealed[3])), "GW1").streams
    assert (stream.upto, stream.have) == (1, ((3, 5),))
    (stream,) = ack_in(world.take(sent(world.one, sealed[1])), "GW1").streams
    assert (stream.upto, stream.have) == (5, ())


def bomb() -> bytes:
    """A zstd frame of a few bytes that unpacks to 64 MiB."""
    return zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))


def damaged(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes((sealed[-1] ^ 1,))


def test_every_refusal_has_its_verdict_is_counted_and_kept_and_blocks_nobody(world: World) -> None:
    one, two = world.one, world.two
    stranger = FakeGateway("GW1", one.meters, Ed25519PrivateKey.generate(), one.store_uuid)
    good = two.seal(readings_of(two, NOON_MS - QUARTER_MS, 2))
    first = one.seal([reading("GW1M1", NOON_MS, 1000)])
    world.take(sent(one, first))
    replayed = FakeGateway("GW1", one.meters, one.key, one.store_uuid).seal([reading("GW1M1", NOON_MS, 9999)])
    cases = {
        Verdict.BAD_SIGNATURE: [sent(one, damaged(one.seal([reading("GW1M1", NOON_MS + 1, 1)], seq=90)))],
        Verdict.UNKNOWN_KEY: [sent(one, stranger.seal([reading("GW1M1", NOON_MS + 2, 1)], seq=91))],
        Verdict.SPOOF: [sent(two, one.seal([reading("GW1M1", NOON_MS + 3, 1)], seq=92))],
        Verdict.EQUIVOCATION: [sent(one, replayed)],
        Verdict.UNKNOWN_EPOCH: [sent(one, one.seal([reading("GW1M1", NOON_MS + 4, 1)], seq=93, epoch=9))],
        Verdict.FOREIGN_STORE: [
            sent(one, one.seal([reading("GW1M1", NOON_MS + 5, 1)], seq=94, store_uuid=bytes(16)))
        ],
        Verdict.MALFORMED: [sent(one, b"\x00nonsense"), sent(one, b"")],
        Verdict.UNKNOWN_GATEWAY: [Arrived("up/v1/GW9/b/0", "GW9", good)],
        Verdict.REJECTED: [
            sent(one, one.seal_body({"d": {}, "x": "nonsense"}, seq=2)),
            sent(one, one.seal_body({}, payload=bomb(), seq=3)),
            sent(one, one.seal_body({}, payload=b"not zstd", seq=4)),
        ],
    }
    bad = [message for messages in cases.values() for message in messages]
    taken = world.take(*bad[:6], sent(two, good), *bad[6:])
    said = taken.verdicts[:6] + taken.verdicts[7:]
    expected = [verdict for verdict, messages in cases.items() for _ in messages]
    assert list(said) == expected
    assert taken.verdicts[6] is Verdict.ACCEPTED

    # The good batch is in, the rejected ones consumed their places, the others are not acknowledged.
    assert ack_in(taken, "GW2").streams[0].upto == 1
    (stream,) = ack_in(taken, "GW1").streams
    assert (stream.upto, stream.have) == (4, ())
    assert [(r.seq, r.code) for r in stream.rejected] == [(2, "schema"), (3, "schema"), (4, "schema")]
    assert "GW9" not in taken.acks

    kept = world.rows(
        "SELECT verdict, count(*), count(body), count(batch_id) FROM quarantine GROUP BY 1 ORDER BY 1"
    )
    assert {verdict: messages for verdict, messages, _, _ in kept} == {
        verdict.value: len(messages) for verdict, messages in cases.items()
    }
    for verdict, messages, bodies, batches in kept:  # each is kept raw in one place
        assert (bodies, batches) == ((0, messages) if verdict == "rejected" else (messages, 0))
    counted = world.counts("GW1") | {"spoof": world.counts("GW2")["spoof"], **world.counts("?")}
    assert counted == {verdict.value: len(messages) for verdict, messages in cases.items()} | {"accepted": 1}
    assert world.rows("SELECT count(*) FROM reading WHERE c0 IN (1, 9999)") == [(0,)]
    assert world.rows("SELECT state FROM gateway WHERE gateway_id = 'GW1'") == [("suspect",)]


@pytest.mark.parametrize("state", ["suspended", "revoked"])
def test_a_closed_gateway_is_refused_at_once(world: World, state: str) -> None:
    world.take(sent(world.one, world.one.seal([reading("GW1M1", NOON_MS, 1000)])))
    with psycopg.connect(world.dsn) as conn:
        conn.execute("UPDATE gateway SET state = %s WHERE gateway_id = 'GW1'", (state,))
    taken = world.take(sent(world.one, world.one.seal([reading("GW1M1", NOON_MS + 1, 1000)])))
    assert (taken.verdicts, taken.acks) == ((Verdict.CLOSED_GATEWAY,), {})
    assert world.rows("SELECT count(*) FROM reading") == [(1,)]


def test_a_gateway_that_is_revoked_while_its_group_waits_is_refused(world: World) -> None:
    prepared = world.intake.prepare((sent(world.one, world.one.seal([reading("GW1M1", NOON_MS, 1)])),), NOON)
    with psycopg.connect(world.dsn) as conn:
        conn.execute("UPDATE gateway SET state = 'revoked' WHERE gateway_id = 'GW1'")
    assert world.intake.store(prepared, NOON) == Taken((Verdict.CLOSED_GATEWAY,), {})
    assert world.rows("SELECT count(*) FROM reading") == [(0,)]


def test_rows_of_a_meter_that_is_not_installed_here_are_kept_aside_and_the_rest_accepted(
    world: World,
) -> None:
    rows = [
        reading("GW1M1", NOON_MS, 1000),
        reading("GW2M1", NOON_MS, 2000),
        reading("M-unknown", NOON_MS, 3000),
    ]
    taken = world.take(sent(world.one, world.one.seal(rows)))
    assert taken.verdicts == (Verdict.ACCEPTED,)
    assert ack_in(taken, "GW1").streams[0].upto == 1
    assert world.rows("SELECT c0 FROM reading") == [(1000,)]
    assert world.rows(
        "SELECT gateway_id, meter_id, ticks[1], cardinality(ticks) FROM unbound_reading ORDER BY 2"
    ) == [
        ("GW1", "GW2M1", 2000, 16),
        ("GW1", "M-unknown", 3000, 16),
    ]


def test_a_meter_installed_a_moment_ago_is_bound_at_once(world: World) -> None:
    world.take(
        sent(world.one, world.one.seal([reading("GW1M1", NOON_MS, 1000)]))
    )  # bindings are remembered now
    with psycopg.connect(world.dsn) as conn:
        conn.execute(
            "UPDATE installation SET period = tstzrange(lower(period), %s) WHERE meter_key = 3", (NOON,)
        )
        conn.execute(
            """INSERT INTO installation (meter_key, supply_point_id, gateway_id, multiplier, period)
               VALUES (3, 'SP-GW2M1', 'GW1', 1, tstzrange(%s, NULL))""",
            (NOON,),
        )
    rows = [reading("GW2M1", NOON_MS - 1, 1), reading("GW2M1", NOON_MS, 2)]
    world.intake.take((sent(world.one, world.one.seal(rows)),), NOON + timedelta(seconds=1))
    assert world.rows("SELECT c0 FROM reading WHERE meter_key = 3") == [(2,)]
    assert world.rows("SELECT ticks[1] FROM unbound_reading") == [(1,)]


def test_times_that_cannot_be_trusted_are_accepted_and_marked(world: World) -> None:
    ahead_ms = NOON_MS + 5 * 60_000
    rows = [reading("GW1M1", ahead_ms, 1), reading("GW1M1", ahead_ms + 1, 2), reading("GW1M2", NOON_MS, 3)]
    clockless = world.two.seal([reading("GW2M1", NOON_MS - QUARTER_MS, 4)], clock_source="none")
    taken = world.take(sent(world.one, world.one.seal(rows)), sent(world.two, clockless))
    assert taken.verdicts == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert world.rows("SELECT c0, quality FROM reading ORDER BY 1") == [(1, 0), (2, 1), (3, 0), (4, 1)]
    assert set(taken.acks) == {"GW1", "GW2"}


def test_the_same_reading_again_is_nothing_new_and_another_value_is_a_conflict(world: World) -> None:
    world.take(sent(world.one, world.one.seal(readings_of(world.one, NOON_MS, 3))))
    recall = [
        reading("GW1M1", NOON_MS, 1000),  # the same
        reading("GW1M1", NOON_MS + QUARTER_MS, 4711),  # another value for an instant that is known
        reading("GW1M1", NOON_MS + 3 * QUARTER_MS, 1750),  # new
    ]
    other = world.two.seal(readings_of(world.two, NOON_MS, 1))
    taken = world.take(sent(world.one, world.one.seal(recall, stream=2), stream=2), sent(world.two, other))
    assert taken.verdicts == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert [(s.stream, s.upto) for s in ack_in(taken, "GW1").streams] == [(0, 1), (2, 1)]
    stored = world.rows("SELECT c0 FROM reading WHERE meter_key = 1 ORDER BY taken_at")
    assert stored == [(1000,), (1250,), (1500,), (1750,)]  # the first value stands
    (conflict,) = world.rows("SELECT meter_key, taken_at, ticks FROM reading_conflict")
    assert conflict == (
        1,
        NOON + timedelta(minutes=15),
        [4711, *[None] * 3, 12_000, None, None, 23_010, *[None] * 8],
    )
    assert world.rows("SELECT count(*) FROM reading WHERE meter_key IN (3, 4)") == [(2,)]


def test_two_batches_of_one_group_may_overlap(world: World) -> None:
    first = world.one.seal([reading("GW1M1", NOON_MS, 1000)])
    second = world.one.seal([reading("GW1M1", NOON_MS, 1001), reading("GW1M1", NOON_MS + 1, 1002)])
    taken = world.take(sent(world.one, first), sent(world.one, second))
    assert taken.verdicts == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert world.rows("SELECT c0 FROM reading ORDER BY 1") == [(1000,), (1002,)]
    assert world.rows("SELECT ticks[1] FROM reading_conflict") == [(1001,)]


def test_old_and_future_weeks_get_their_partitions_on_demand(world: World) -> None:
    year_ms = 365 * 86_400_000
    rows = [reading("GW1M1", NOON_MS - 100 * 86_400_000 + n * 86_400_000, n) for n in range(30)]
    late = world.two.seal([reading("GW2M1", NOON_MS + year_ms, 77)])
    taken = world.take(sent(world.one, world.one.seal(rows)), sent(world.two, late))
    assert taken.verdicts == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert world.rows("SELECT count(*) FROM reading") == [(31,)]
    assert world.rows("SELECT count(*) FROM reading_partition")[0][0] <= 7


def test_a_batch_scattered_over_years_is_rejected_before_it_makes_partitions(world: World) -> None:
    rows = [reading("GW1M1", NOON_MS + n * 7 * 86_400_000, n) for n in range(65)]
    assert world.take(sent(world.one, world.one.seal(rows))).verdicts == (Verdict.REJECTED,)
    assert world.rows("SELECT count(*) FROM reading_partition") == [(0,)]


def test_two_ingests_making_the_same_partitions_do_not_disturb_each_other(world: World) -> None:
    others = [Intake(world.pool, CLOUD_KEY, generation=1, partition_days=7) for _ in range(2)]
    batches = [
        sent(
            gateway,
            gateway.seal([reading(gateway.meters[0], NOON_MS + n * 7 * 86_400_000, n) for n in range(20)]),
        )
        for gateway in (world.one, world.two)
    ]
    verdicts: list[Verdict] = []
    threads = [
        threading.Thread(target=lambda i=i, m=m: verdicts.extend(i.take((m,), NOON).verdicts))
        for i, m in zip(others, batches, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert world.rows("SELECT count(*) FROM reading") == [(40,)]


def test_a_broken_chain_is_stored_and_noted(world: World) -> None:
    first = world.one.seal([reading("GW1M1", NOON_MS, 1)])
    second = world.one.seal([reading("GW1M1", NOON_MS + 1, 2)], previous_sha256=bytes(31) + b"\x01")
    taken = world.take(sent(world.one, first), sent(world.one, second))
    assert taken.verdicts == (Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert world.rows("SELECT deed, facts->>'seq' FROM gateway_event WHERE deed = 'chain_break'") == [
        ("chain_break", "2")
    ]


def test_a_whole_chain_is_silent_even_when_it_arrives_backwards(world: World) -> None:
    batches = [sent(world.one, world.one.seal([reading("GW1M1", NOON_MS + n, n)])) for n in range(4)]
    for message in reversed(batches):
        world.take(message)
    assert world.rows("SELECT count(*) FROM gateway_event WHERE deed = 'chain_break'") == [(0,)]


def test_a_loss_record_consumes_the_places_that_will_never_come(world: World) -> None:
    batches = [world.one.seal([reading("GW1M1", NOON_MS + n, n)]) for n in range(5)]
    world.take(sent(world.one, batches[0]), sent(world.one, batches[4]))
    loss = control.Loss(1, 0, 2, 4, 9, NOON_MS, NOON_MS + 3, "damaged")
    told = world.one.seal_events(
        [control.loss_event(loss, NOON_MS + 9), Event("restart", NOON_MS, {"why": "test"})]
    )
    ack = ack_in(world.take(sent(world.one, told, stream=1)), "GW1")
    assert [(s.stream, s.upto, s.have) for s in ack.streams] == [(0, 5, ()), (1, 1, ())]
    assert world.rows(
        "SELECT deed, actor FROM gateway_event WHERE deed IN ('loss', 'restart') ORDER BY 1"
    ) == [
        ("loss", "gateway:GW1"),
        ("restart", "gateway:GW1"),
    ]


def test_only_a_hundred_refused_messages_of_a_gateways_day_are_kept_but_all_are_counted(world: World) -> None:
    for group in range(3):
        world.take(*(sent(world.one, f"nonsense {group} {n}".encode()) for n in range(50)))
    rejected = sent(world.one, world.one.seal_body({"what": 1}))
    world.take(rejected)  # signed and consumed: always kept
    assert world.rows("SELECT count(*) FILTER (WHERE batch_id IS NULL), count(batch_id) FROM quarantine") == [
        (100, 1)
    ]
    assert world.counts("GW1") == {"malformed": 150, "rejected": 1}


DIE_ONCE = """
    CREATE SEQUENCE deaths;
    CREATE FUNCTION die_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF nextval('deaths') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER die_once BEFORE INSERT ON stale_day FOR EACH ROW EXECUTE FUNCTION die_once();
"""


def test_a_backend_that_dies_in_the_middle_of_a_group_leaves_nothing_behind(world: World) -> None:
    with psycopg.connect(world.dsn) as conn:
        conn.execute(DIE_ONCE)  # after evidence and rows were written, before the commit
    sealed = sent(world.one, world.one.seal([reading("GW1M1", NOON_MS, 1000)]))
    with pytest.raises(Unavailable):
        world.take(sealed)
    assert world.rows("SELECT (SELECT count(*) FROM reading), (SELECT count(*) FROM sealed_batch)") == [
        (0, 0)
    ]
    assert world.take(sealed).verdicts == (Verdict.ACCEPTED,)  # the same message, delivered again
    assert world.rows("SELECT count(*) FROM reading") == [(1,)]


def test_a_message_over_which_our_own_code_fails_is_set_aside_and_the_others_are_stored(world: World) -> None:
    with psycopg.connect(world.dsn) as conn:
        conn.execute(
            "ALTER TABLE reading ADD CHECK (c0 <> 666)"
        )  # a door that checks less than the table needs
    poison = sent(world.one, world.one.seal([reading("GW1M1", NOON_MS, 666)]))
    after = sent(world.one, world.one.seal([reading("GW1M1", NOON_MS + 1, 667)]))
    other = sent(world.two, world.two.seal([reading("GW2M1", NOON_MS, 668)]))
    taken = world.take(poison, after, other)
    assert taken.verdicts == (Verdict.FAULT, Verdict.ACCEPTED, Verdict.ACCEPTED)
    assert (ack_in(taken, "GW1").streams[0].upto, ack_in(taken, "GW1").streams[0].have) == (0, ((2, 2),))
    assert ack_in(taken, "GW2").streams[0].upto == 1
    assert world.rows("SELECT c0 FROM reading ORDER BY 1") == [(667,), (668,)]
    assert world.rows("SELECT verdict, body FROM quarantine") == [("fault", poison.body)]
    assert world.counts("GW1") == {"fault": 1, "accepted": 1}


# ---- hello -----------------------------------------------------------------------------------------------


def say_hello(world: World, gateway: FakeGateway, **changes: object) -> tuple[Verdict, control.Ack | None]:
    message = Arrived(control.hello_topic(gateway.gateway_id), gateway.gateway_id, gateway.hello(**changes))
    verdict, sealed = greet(world.pool, message, NOON, CLOUD_KEY, 3)
    if sealed is None:
        return verdict, None
    return verdict, control.ack_of(cose.open_sealed(sealed, CLOUD_KEY.public_key(), control.ACK_AAD))


def test_a_first_hello_registers_the_store_and_keeps_the_epoch(world: World) -> None:
    verdict, ack = say_hello(world, world.one)
    assert (verdict, ack) == (Verdict.ACCEPTED, control.Ack("GW1", world.one.store_uuid, 3, 1, ()))
    assert say_hello(world, world.one)[1] == ack


def test_the_successor_of_a_lost_store_gets_the_next_epoch_and_the_lost_one_never_returns(
    world: World,
) -> None:
    say_hello(world, world.one)
    world.take(sent(world.one, world.one.seal([reading("GW1M1", NOON_MS, 1)])))
    lost = world.one.store_uuid
    world.one.store_uuid = b"successor-------"
    _, ack = say_hello(world, world.one)
    assert ack == control.Ack("GW1", b"successor-------", 3, 2, ())
    world.one.seqs, world.one.previous, world.one.epoch = {}, {}, 2
    taken = world.take(sent(world.one, world.one.seal([reading("GW1M1", NOON_MS + 1, 2)])))
    assert taken.verdicts == (Verdict.ACCEPTED,)
    assert (ack_in(taken, "GW1").epoch, ack_in(taken, "GW1").streams[0].upto) == (2, 1)
    assert say_hello(world, world.one, store_uuid=lost)[1] is None
    assert world.rows("SELECT epoch, store_uuid FROM gateway WHERE gateway_id = 'GW1'") == [
        (2, b"successor-------")
    ]
    deeds = world.rows("SELECT deed, facts->>'epoch' FROM gateway_event ORDER BY gateway_event_id")
    assert deeds == [("epoch_granted", "1"), ("epoch_granted", "2"), ("hello_of_replaced_store", None)]


def test_a_hello_that_is_not_the_gateways_own_gets_no_answer(world: World) -> None:
    stranger = FakeGateway("GW1", (), store_uuid=world.one.store_uuid)
    assert say_hello(world, stranger) == (Verdict.UNKNOWN_KEY, None)
    assert say_hello(world, world.two, gateway_id="GW1") == (Verdict.SPOOF, None)
    assert world.rows("SELECT count(*) FROM quarantine") == [(2,)]
    assert world.rows("SELECT store_uuid FROM gateway WHERE gateway_id = 'GW1'") == [(None,)]
