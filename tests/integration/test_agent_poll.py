"""The polling loop over a real store: faults of one meter, a full disk, a clock that is set late."""

import asyncio
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.clock import ClockState
from edge_agent.config import MeterConfig, PollConfig
from edge_agent.drivers.bus import open_line
from edge_agent.drivers.read import MeterSample
from edge_agent.drivers.talk import NoReply
from edge_agent.health import Health, LiveBoard
from edge_agent.outbox import Budget, open_outbox
from edge_agent.poll import PortMeter, PortPoller, Shared, Store
from edge_agent.replay import ReplayClock
from edge_agent.wire.batch import CHANNELS
from firmware_profiles import load_profiles

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOON_MS = 1_785_556_800_000
QUARTER_MS = 900_000
PROFILE = load_profiles()["cn.generic.dlt645-2007.3p4w"]
METERS = [PortMeter(MeterConfig(f"M{n}", "p", PROFILE.id, f"{n:012d}"), PROFILE) for n in (1, 2, 3)]
POLL = PollConfig(seal_every_s=900, live_every_s=0, detail_every_s=0)


def sample(energy):
    ticks = {"ea_imp": energy}
    return MeterSample(tuple(ticks.get(channel.code) for channel in CHANNELS), 0, ())


@dataclass
class Bench:
    """One poller over a store in a folder."""

    outbox: object
    health: Health
    clock: ReplayClock

    def rows(self):
        """(meter, instant, quality) of every reading that waits."""
        query = "SELECT meter_id, taken_at_ms, quality FROM reading ORDER BY meter_id, taken_at_ms"
        return self.outbox.conn.execute(query).fetchall()

    def events(self):
        return [kind for (kind,) in self.outbox.conn.execute("SELECT kind FROM event ORDER BY event_id")]


def polled(folder, read, slots, *, clock_type=ReplayClock, jumped=None):
    """Poll three meters through this many quarter-hours; `jumped(outbox, now_ms)` is called whenever time moves."""
    opened = open_outbox(folder, "GW001", KEY, NOON_MS)

    async def jump(now_ms):
        if jumped:
            jumped(opened.outbox, now_ms)

    async def scenario():
        clock = clock_type(NOON_MS, NOON_MS + slots * QUARTER_MS, sleepers=1, on_jump=jump)
        health = Health(meter.config.meter_id for meter in METERS)
        store = Store(opened.outbox, Budget(opened.outbox, 10**9, 10**12), clock, "boot", "bundle")
        shared = Shared(clock, store, health, LiveBoard(), read)
        poller = PortPoller(shared, await open_line("tcp://127.0.0.1:9"), METERS, POLL)
        task = asyncio.ensure_future(poller.run())
        async with asyncio.timeout(20):
            await clock.ended.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.thread.close()
        return Bench(opened.outbox, health, clock)

    return asyncio.run(scenario()), opened


def instants(meter_ids, slots):
    return [(meter_id, NOON_MS + slot * QUARTER_MS, 0) for meter_id in meter_ids for slot in slots]


@pytest.mark.parametrize("fault", [NoReply, ValueError, ZeroDivisionError, TimeoutError, KeyError])
def test_whatever_happens_in_reading_one_meter_the_others_are_read(tmp_path, fault):
    async def read(line, profile, address, channels):
        if address.endswith("2"):
            raise fault("meter 2") if fault is not NoReply else NoReply(address, 1, {})
        return sample(100)

    bench, opened = polled(tmp_path, read, slots=4)

    assert bench.rows() == instants(("M1", "M3"), range(4))
    assert {meter.meter_id: meter.reads_ok for meter in bench.health.meters()} == {"M1": 4, "M2": 0, "M3": 4}
    opened.close()


def test_readings_wait_in_memory_while_the_disk_is_full_and_none_is_lost(tmp_path):
    async def read(line, profile, address, channels):
        return sample(100)

    def jumped(outbox, now_ms):
        slot = (now_ms - NOON_MS) // QUARTER_MS
        if slot == 2:
            pages = outbox.conn.execute("PRAGMA page_count").fetchone()[0]
            outbox.conn.execute(f"PRAGMA max_page_count={pages}")
        if slot == 60:
            outbox.conn.execute("PRAGMA max_page_count=1000000")

    bench, opened = polled(tmp_path, read, slots=64, jumped=jumped)

    assert bench.rows() == instants(("M1", "M2", "M3"), range(64))
    assert "readings_lost" not in bench.events()
    opened.close()


class SetLate(ReplayClock):
    """A machine that starts in 1970 and is told the time after an hour; only its monotonic clock is right."""

    def monotonic_ms(self):
        return super().now_ms() - NOON_MS

    def state(self):
        return ClockState("ntp" if self.monotonic_ms() >= 3_600_000 else "none", 0)


def test_readings_from_before_the_clock_was_set_get_their_true_instants(tmp_path):
    async def read(line, profile, address, channels):
        return sample(100)

    bench, opened = polled(tmp_path, read, slots=6, clock_type=SetLate)

    assert bench.rows() == instants(("M1", "M2", "M3"), range(6))
    assert bench.events() == ["time_anchor"]
    opened.close()
