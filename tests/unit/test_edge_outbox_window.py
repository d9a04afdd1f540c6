"""What the outbox offers to send when much waits, and what it keeps while nobody has set the clock."""

from dataclasses import replace

from test_edge_outbox import NOON_MS, STAMP, ack, confirm, events, store

from edge_agent.wire.control import StreamAck
from edge_agent.wire.event import Event
from edge_agent.wire.fields import FIRST_INSTANT_MS


def started(at_ms):
    return Event("agent_started", at_ms, {"version": "1"})


def test_more_events_than_a_window_drain_although_the_newest_come_first(tmp_path):
    with store(tmp_path) as box:
        confirm(box)
        for n in range(100):
            box.note(started(NOON_MS + n))
            box.seal(STAMP)
        arrived: set[int] = set()

        for _ in range(20):
            arrived |= set(box.unacked(1, 32, newest_first=True))
            upto = next(seq for seq in range(102) if seq + 1 not in arrived)
            box.apply(ack(box, StreamAck(1, upto)), NOON_MS)

        assert arrived == set(range(1, 101))
        assert box.unacked(1, 32, newest_first=True) == ()


def test_what_happened_while_the_clock_stood_in_1970_waits_and_is_told_once_it_is_set(tmp_path):
    with store(tmp_path) as box:
        confirm(box)
        box.note(started(5_000))

        assert box.seal_events(replace(STAMP, sealed_ms=5_000)) == 0
        assert box.seal_events(STAMP) == 1
        assert [(one.kind, one.at_ms) for one in events(box)] == [("agent_started", FIRST_INSTANT_MS)]
