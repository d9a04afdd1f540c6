"""The outbox keeps its promises: a reading is in one place, numbers have no gap, only the cloud's ack lets go."""

import hashlib
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.outbox import AckEffect, Budget, OutboxBusy, OutboxUnusable, Stamp, Taken, open_outbox
from edge_agent.wire import batch, control, cose, event
from edge_agent.wire.batch import CANONICAL_DECIMALS, Reading
from edge_agent.wire.control import Ack, StreamAck

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
NOON_MS = 1_785_556_800_000
STAMP = Stamp(NOON_MS, 0, "boot", "ntp", 0, "bundle")
DECIMALS = (2,) * 4 + (4,) * 2 + (3, 1, 1, 1, 3, 3, 3, 2, 4, 0)


def taken(slot, *, meter_id="M1", energy=None, billing=True, **by_code):
    ticks = {"ea_imp": 1000 + slot if energy is None else energy} | by_code
    row = tuple(ticks.get(channel.code) for channel in batch.CHANNELS)
    return Taken(Reading(meter_id, NOON_MS + slot * 900_000, 0, row), DECIMALS, billing=billing)


@contextmanager
def store(folder, now_ms=NOON_MS):
    opened = open_outbox(folder, "GW001", KEY, now_ms)
    try:
        yield opened.outbox
    finally:
        opened.close()


@pytest.fixture
def outbox(tmp_path):
    with store(tmp_path) as box:
        yield box


def ack(box, *streams, epoch=1, generation=1, store_uuid=None):
    return Ack("GW001", store_uuid or box.store_uuid, generation, epoch, tuple(streams))


def confirm(box):
    assert box.apply(ack(box), NOON_MS) is AckEffect.APPLIED


def headers(box, stream=0):
    rows = box.conn.execute("SELECT body FROM batch WHERE stream=? ORDER BY epoch, seq", (stream,)).fetchall()
    return [batch.header_of(cose.open_sealed(body, PUBLIC, batch.AAD)) for (body,) in rows]


def sealed_instants(box):
    """(meter, instant) of every reading in a batch that waits for its ack."""
    instants = []
    for seq in box.unacked(0, 1000, newest_first=False):
        envelope = cose.open_sealed(box.body_to_send(0, seq, NOON_MS), PUBLIC, batch.AAD)
        rows = batch.decode_body(envelope.payload, batch.header_of(envelope))
        instants += [
            (rows.meters[m], (at - NOON_MS) // 900_000)
            for m, at in zip(rows.meter_index, rows.taken_at_ms, strict=True)
        ]
    return instants


def events(box):
    found = []
    for seq in box.unacked(1, 1000, newest_first=False):
        envelope = cose.open_sealed(box.body_to_send(1, seq, NOON_MS), PUBLIC, batch.AAD)
        found += event.decode_events(envelope.payload, batch.header_of(envelope))
    return found


def test_nothing_is_sealed_before_the_cloud_has_named_the_epoch(outbox):
    outbox.add([taken(0)])

    assert outbox.seal(STAMP) == 0
    confirm(outbox)
    assert outbox.seal(STAMP) == 1
    assert sealed_instants(outbox) == [("M1", 0)]


def test_batches_are_numbered_without_gap_and_chained_by_hash(outbox):
    confirm(outbox)
    for slot in range(5):
        outbox.add([taken(slot)])
        outbox.seal(STAMP)

    found = headers(outbox)

    bodies = [body for (body,) in outbox.conn.execute("SELECT body FROM batch ORDER BY seq")]
    assert [header.seq for header in found] == [1, 2, 3, 4, 5]
    assert [header.previous_sha256 for header in found] == [
        bytes(32),
        *(hashlib.sha256(body).digest() for body in bodies[:-1]),
    ]


def test_numbers_and_chain_go_on_after_a_restart(tmp_path):
    with store(tmp_path) as box:
        confirm(box)
        box.add([taken(0)])
        box.seal(STAMP)
        name = box.store_uuid
    with store(tmp_path) as box:
        assert (box.store_uuid, box.epoch, box.confirmed) == (name, 1, True)
        box.add([taken(1)])
        box.seal(STAMP)

        first, second = headers(box)
        assert (first.seq, second.seq) == (1, 2)
        assert second.previous_sha256 != bytes(32)


def test_what_does_not_fit_one_batch_becomes_several_and_each_reading_appears_once(outbox):
    confirm(outbox)
    row = {channel.code: 7 for channel in batch.CHANNELS}
    outbox.add(
        [taken(slot, meter_id=f"M{m}", energy=slot * m, **row) for m in range(40) for slot in range(96)]
    )

    outbox.seal(STAMP)

    assert len(headers(outbox)) > 1
    assert sorted(sealed_instants(outbox)) == sorted((f"M{m}", slot) for m in range(40) for slot in range(96))


def test_a_sample_of_the_same_instant_fills_gaps_and_never_changes_a_value(outbox):
    confirm(outbox)
    outbox.add([taken(0, energy=500)])
    outbox.add([taken(0, energy=999, p=1234)])
    outbox.seal(STAMP)
    outbox.add([taken(0, energy=777)])
    outbox.seal(STAMP)

    (header,) = headers(outbox)
    envelope = cose.peek(outbox.body_to_send(0, 1, NOON_MS))
    columns = batch.decode_body(envelope.payload, header).columns
    assert columns == {0: [50_000], 4: [1234]}


def test_readings_of_two_profile_versions_of_a_meter_are_told_in_their_own_decimals(outbox):
    confirm(outbox)
    finer = (3, *DECIMALS[1:])
    outbox.add([taken(0, energy=12_345), Taken(taken(1, energy=123_460).reading, finer)])
    outbox.seal(STAMP)

    (header,) = headers(outbox)
    envelope = cose.peek(outbox.body_to_send(0, 1, NOON_MS))
    assert batch.decode_body(envelope.payload, header).columns == {0: [1_234_500, 1_234_600]}


def filled(box, slots):
    confirm(box)
    if slots > 100:
        box.conn.execute("PRAGMA synchronous=OFF")  # only to be quick: these tests cut no power
    for slot in range(slots):
        box.add([taken(slot)])
        box.seal(STAMP)


def test_a_cumulative_ack_lets_go_up_to_its_number_and_keeps_the_batches(outbox):
    filled(outbox, 5)

    outbox.apply(ack(outbox, StreamAck(0, 3, have=((5, 5),))), NOON_MS)

    assert outbox.unacked(0, 32, newest_first=False) == (4, 5)
    assert outbox.body_to_send(0, 3, NOON_MS) is None
    assert len(headers(outbox)) == 5
    assert outbox.depth().backlog_batches == 2
    assert outbox.offers()[0] == control.StreamOffer(0, 6, 4)


def test_an_older_ack_changes_nothing(outbox):
    filled(outbox, 5)
    outbox.apply(ack(outbox, StreamAck(0, 4)), NOON_MS)

    outbox.apply(ack(outbox, StreamAck(0, 2)), NOON_MS)

    assert outbox.unacked(0, 32, newest_first=False) == (5,)
    assert outbox.depth().backlog_batches == 1


@pytest.mark.parametrize("change", ["gateway", "store", "epoch", "generation"])
def test_an_ack_that_is_not_for_this_store_is_ignored(outbox, change):
    confirm(outbox)
    outbox.apply(ack(outbox, generation=3, epoch=2), NOON_MS)
    outbox.add([taken(0)])
    outbox.seal(STAMP)
    mine = Ack("GW001", outbox.store_uuid, 3, 2, (StreamAck(0, 1),))
    wrong = {
        "gateway": Ack("GW002", mine.store_uuid, 3, 2, mine.streams),
        "store": Ack("GW001", bytes(16), 3, 2, mine.streams),
        "epoch": Ack("GW001", mine.store_uuid, 3, 1, mine.streams),
        "generation": Ack("GW001", mine.store_uuid, 2, 2, mine.streams),
    }[change]

    assert outbox.apply(wrong, NOON_MS) is AckEffect.IGNORED
    assert outbox.unacked(0, 32, newest_first=False) == (1,)
    assert outbox.apply(mine, NOON_MS) is AckEffect.APPLIED
    assert outbox.unacked(0, 32, newest_first=False) == ()


def test_a_rejected_batch_is_kept_as_dead_and_not_sent_again(outbox):
    filled(outbox, 3)

    outbox.apply(ack(outbox, StreamAck(0, 3, rejected=(control.Rejected(2, "schema", "Q-1"),))), NOON_MS)

    states = outbox.conn.execute("SELECT seq, state FROM batch WHERE stream=0 ORDER BY seq").fetchall()
    assert states == [(1, "acked"), (2, "dead"), (3, "acked")]
    assert outbox.unacked(0, 32, newest_first=False) == ()
    assert outbox.depth().backlog_batches == 0


def test_a_higher_generation_makes_the_agent_offer_again_what_the_cloud_lost(outbox):
    filled(outbox, 5)
    outbox.apply(ack(outbox, StreamAck(0, 5)), NOON_MS)

    outbox.apply(ack(outbox, StreamAck(0, 2), generation=2), NOON_MS)

    assert outbox.unacked(0, 32, newest_first=False) == (3, 4, 5)
    assert sealed_instants(outbox) == [("M1", 2), ("M1", 3), ("M1", 4)]


def test_what_a_restored_cloud_lost_and_the_agent_no_longer_keeps_is_told_as_a_loss(outbox):
    filled(outbox, 5)
    outbox.apply(ack(outbox, StreamAck(0, 5)), NOON_MS)
    outbox.conn.execute("DELETE FROM batch WHERE stream=0 AND seq<=3")

    outbox.apply(ack(outbox, StreamAck(0, 1), generation=2), NOON_MS)
    outbox.seal(STAMP)

    (told,) = events(outbox)
    loss = control.loss_of(told)
    assert (loss.epoch, loss.stream, loss.first_seq, loss.last_seq) == (1, 0, 2, 3)


def test_a_new_epoch_seals_what_was_not_acked_anew_and_loses_nothing(outbox):
    filled(outbox, 5)
    outbox.apply(ack(outbox, StreamAck(0, 2)), NOON_MS)

    outbox.apply(ack(outbox, epoch=2), NOON_MS)
    outbox.seal(STAMP)

    waiting = [header for header in headers(outbox) if header.epoch == 2]
    assert [header.seq for header in waiting] == [1]
    assert waiting[0].previous_sha256 == bytes(32)
    assert sealed_instants(outbox) == [("M1", 2), ("M1", 3), ("M1", 4)]
    assert outbox.depth().backlog_batches == 1


def test_a_store_put_back_to_an_older_state_takes_a_new_name_and_holds_its_tongue(tmp_path):
    with store(tmp_path) as box:
        filled(box, 2)
        box.apply(ack(box, StreamAck(0, 1)), NOON_MS)
        name = box.store_uuid
    with sqlite3.connect(tmp_path / "outbox.db") as conn:
        snapshot = conn.serialize()
    with store(tmp_path) as box:
        box.add([taken(2)])
        box.seal(STAMP)  # number 3, delivered and acked, then the image is restored
    for name_of in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
        (tmp_path / name_of).unlink(missing_ok=True)
    (tmp_path / "outbox.db").write_bytes(snapshot)

    with store(tmp_path) as box:
        assert box.store_uuid == name
        effect = box.apply(ack(box, StreamAck(0, 3)), NOON_MS)

        assert effect is AckEffect.FORKED
        assert box.store_uuid != name
        assert box.body_to_send(0, 2, NOON_MS) is None
        box.add([taken(9)])
        assert box.seal(STAMP) == 0
        box.apply(ack(box, epoch=2), NOON_MS)
        box.seal(STAMP)
        assert sealed_instants(box) == [("M1", 1), ("M1", 9)]
        assert {header.epoch for header in headers(box) if header.seq == 1} == {1, 2}
        assert [told.kind for told in events(box)] == ["store_put_back"]


def test_a_store_put_back_to_before_its_first_ack_is_found_out_too(outbox):
    effect = outbox.apply(ack(outbox, StreamAck(0, 50)), NOON_MS)

    assert effect is AckEffect.FORKED
    assert not outbox.confirmed


def test_a_batch_damaged_on_the_disk_becomes_a_loss_and_blocks_nothing(outbox):
    filled(outbox, 3)
    outbox.conn.execute("UPDATE batch SET body = zeroblob(100) WHERE stream=0 AND seq=2")

    assert outbox.body_to_send(0, 2, NOON_MS) is None
    outbox.seal(STAMP)

    (told,) = events(outbox)
    assert control.loss_of(told) == control.Loss(
        1, 0, 2, 2, 1, NOON_MS + 900_000, NOON_MS + 900_000, "damaged-on-disk"
    )
    assert outbox.unacked(0, 32, newest_first=False) == (1, 3)


def test_the_newest_events_come_first(outbox):
    confirm(outbox)
    for at in range(3):
        outbox.note(event.Event("boot", NOON_MS + at, {}))
        outbox.seal(STAMP)

    assert outbox.unacked(1, 2, newest_first=True) == (3, 2)


def test_the_oldest_unacked_age_is_that_of_the_first_gap(outbox):
    confirm(outbox)
    for slot in range(3):
        outbox.add([taken(slot)])
        outbox.seal(Stamp(NOON_MS + slot, 0, "boot", "ntp", 0, "bundle"))
    outbox.apply(ack(outbox, StreamAck(0, 1)), NOON_MS)

    assert outbox.depth().oldest_unacked_ms == NOON_MS + 1


def test_a_full_disk_leaves_numbers_as_they_were(outbox):
    filled(outbox, 2)
    outbox.add([taken(5)])
    pages = outbox.conn.execute("PRAGMA page_count").fetchone()[0]
    outbox.conn.execute(f"PRAGMA max_page_count={pages}")

    def until_full():
        for slot in range(6, 500):
            outbox.add([taken(slot)])
            outbox.seal(STAMP)

    with pytest.raises(sqlite3.OperationalError, match="full"):
        until_full()
    outbox.conn.execute("PRAGMA max_page_count=1000000")
    kept = outbox.conn.execute("SELECT count(*) FROM batch WHERE stream=0").fetchone()[0]
    outbox.seal(STAMP)

    found = headers(outbox)
    assert [header.seq for header in found] == list(range(1, len(found) + 1))
    assert kept <= len(found) <= kept + 1  # the last reading was waiting, or had not come in


def test_a_commit_that_fails_leaves_numbers_as_they_were(outbox):
    filled(outbox, 2)
    outbox.add([taken(5)])
    outbox.conn.executescript("""
        CREATE TABLE fault (stream INTEGER REFERENCES stream DEFERRABLE INITIALLY DEFERRED);
        CREATE TRIGGER breaks_at_commit AFTER UPDATE ON stream BEGIN INSERT INTO fault VALUES (99); END;
    """)

    with pytest.raises(sqlite3.IntegrityError):
        outbox.seal(STAMP)
    outbox.conn.execute("DROP TRIGGER breaks_at_commit")
    outbox.seal(STAMP)

    assert [header.seq for header in headers(outbox)] == [1, 2, 3]
    assert sealed_instants(outbox) == [("M1", 0), ("M1", 1), ("M1", 5)]


def test_a_second_agent_on_the_same_folder_is_refused(tmp_path):
    with store(tmp_path), pytest.raises(OutboxBusy, match="another agent"):
        open_outbox(tmp_path, "GW001", KEY, NOON_MS)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(OutboxUnusable, match="file"):
        open_outbox(tmp_path / "file" / "data", "GW001", KEY, NOON_MS)


def damaged_file(folder, first_byte):
    path = folder / "outbox.db"
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[first_byte : first_byte + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    return len(content)


def test_a_corrupt_file_is_kept_aside_and_what_can_be_read_is_sent_under_a_new_epoch(tmp_path):
    with store(tmp_path) as box:
        filled(box, 300)
        box.apply(ack(box, StreamAck(0, 100)), NOON_MS)
        box.add([taken(1000)])
        name = box.store_uuid
    size = (tmp_path / "outbox.db").stat().st_size
    damaged_file(tmp_path, size // 4096 // 3 * 4096)

    with store(tmp_path, NOON_MS + 5) as box:
        assert box.store_uuid != name
        assert not box.confirmed
        box.apply(ack(box, epoch=2), NOON_MS)
        box.seal(STAMP)

        found = sealed_instants(box)
        assert ("M1", 1000) in found
        assert len(found) == len(set(found)) > 50
        assert set(found) <= {("M1", slot) for slot in (*range(300), 1000)}
        (told,) = events(box)
        assert (told.kind, told.facts["readings_salvaged"]) == ("store_corrupt", len(found))
    assert (tmp_path / f"outbox.db.corrupt-{NOON_MS + 5}").exists()


def test_a_file_that_is_no_database_is_kept_aside(tmp_path):
    (tmp_path / "outbox.db").write_bytes(b"no database" * 1000)

    with store(tmp_path) as box:
        confirm(box)
        box.seal(STAMP)
        assert [told.kind for told in events(box)] == ["store_corrupt"]
    assert len(list(tmp_path.glob("outbox.db.corrupt-*"))) == 1


def test_the_pragmas_that_make_commits_durable_are_set(outbox):
    asked = {
        name: outbox.conn.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum", "journal_size_limit", "foreign_keys")
    }

    assert asked == {
        "journal_mode": "wal",
        "synchronous": 2,
        "auto_vacuum": 2,
        "journal_size_limit": 4_194_304,
        "foreign_keys": 1,
    }


def test_from_80_percent_diagnostics_stop_and_billing_goes_on(outbox):
    filled(outbox, 20)
    budget = Budget(outbox, bytes_max=used_bytes(outbox) * 10 // 8, ring_ms=10**12)

    budget.tidy(NOON_MS)
    outbox.seal(STAMP)

    assert outbox.add([taken(50, billing=False)]) == 0
    assert outbox.add([taken(51)]) == 1
    assert [told.facts["step"] for told in events(outbox)] == ["ALARM"]


def test_from_90_percent_acked_batches_go_oldest_first_and_unacked_stay(outbox):
    filled(outbox, 900)
    outbox.apply(ack(outbox, StreamAck(0, 700)), NOON_MS)
    budget = Budget(outbox, bytes_max=used_bytes(outbox) * 100 // 91, ring_ms=10**12)

    budget.tidy(NOON_MS)

    assert budget.permille < 900
    kept = [seq for (seq,) in outbox.conn.execute("SELECT seq FROM batch WHERE stream=0 ORDER BY seq")]
    assert kept[0] > 1
    assert kept == list(range(kept[0], 901))


def test_from_95_percent_waiting_readings_are_thinned_to_quarter_hours_and_it_is_told(outbox):
    confirm(outbox)
    minutes = [
        Taken(Reading("M1", NOON_MS + minute * 60_000, 0, (minute,) + (None,) * 15), CANONICAL_DECIMALS)
        for minute in range(45)
    ]
    outbox.add(minutes)
    budget = Budget(outbox, bytes_max=used_bytes(outbox) * 100 // 96, ring_ms=10**12)

    budget.tidy(NOON_MS)
    outbox.seal(STAMP)

    assert sealed_instants(outbox) == [("M1", 0), ("M1", 1), ("M1", 2)]
    assert next(told.facts["rows"] for told in events(outbox) if told.kind == "readings_thinned") == 42


def test_acked_batches_go_when_the_ring_is_over_and_the_file_shrinks(outbox):
    filled(outbox, 900)
    outbox.apply(ack(outbox, StreamAck(0, 900)), NOON_MS)
    before = used_bytes(outbox)
    budget = Budget(outbox, bytes_max=10**9, ring_ms=30 * 86_400_000)

    for _ in range(4):
        budget.tidy(NOON_MS + 30 * 86_400_000 + 1)

    assert outbox.conn.execute("SELECT count(*) FROM batch").fetchone()[0] == 0
    assert outbox.conn.execute("PRAGMA page_count").fetchone()[0] * 4096 < before // 3


def used_bytes(box):
    pages, free = (
        box.conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
    )
    return (pages - free) * 4096


def test_the_data_folder_is_made_when_it_is_missing(tmp_path):
    with store(tmp_path / "var" / "agent"):
        assert Path(tmp_path / "var" / "agent" / "outbox.db").exists()
