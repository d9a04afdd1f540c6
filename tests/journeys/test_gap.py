"""What a broken uplink and a silent meter cost: nothing, and an estimate that gives way to what the meter shows later.

Twelve days of August on one bus with two meters. From the third day on the broker is away for nine days of the agent's
time. On the twelfth, a Wednesday, the foundry's meter is silent from 09:00 to 12:00. All is validated in one go. Then the
foundry's readings come after all: half of them as a recall (stream 2), half as a belated batch of the gateway's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from curve_file import FACTORY, FOUNDRY
from replay_world import (
    AUGUST_MS,
    NOW,
    QUARTER_MS,
    Cloud,
    Jump,
    agent_through,
    cloud_with,
    delivered,
    free_port,
    ingest_of,
    instant,
    unacked,
    write_config,
)

from demo.broker import Broker, running_broker
from demo.meters import LoadFace, MeterClock
from demo.world import SITES, Site
from edge_agent.drivers.sim import Dlt645Slave, Fault, SimMeter
from edge_agent.drivers.simline import serve_tcp
from edge_agent.wire import batch
from edge_agent.wire.batch import Header, Quality, Reading
from firmware_profiles import load_profiles

pytestmark = pytest.mark.timeout(120)

DAYS = 12
QUARTERS = DAYS * 96
OUTAGE = range(2 * 96, 11 * 96)  # quarter-hours of August without a broker
SILENCE = range(
    11 * 96 + 36, 11 * 96 + 48
)  # boundaries at which the foundry's meter does not answer: 09:00 to 11:45
WEDNESDAY = date(2026, 8, 12)
GATEWAY = "GW-B001"
BUS = tuple(site for site in SITES if site.meter_id in (FACTORY.meter_id, FOUNDRY.meter_id))
PROFILES = {
    name: replace(profile, link=replace(profile.link, timeout_ms=150, retries=0, late_ms=0))
    for name, profile in load_profiles().items()
}
NO_OTHERS = (None,) * 12
ACTUAL, RECOLLECTED, ESTIMATED = 1, 2, 3
CURVES = ("import_wh", "export_wh", "import_varh", "export_varh")
REGISTERS = ("ea_imp", "ea_exp", "er_imp", "er_exp")


@dataclass(frozen=True)
class Day:
    """The latest revision of the foundry's Wednesday."""

    revision: int
    curves: tuple[list[int], ...]
    quality: list[int]


@dataclass
class Story:
    """What was seen at each turn."""

    cloud: Cloud
    arrived_before: list[tuple[datetime | None]] = field(default_factory=list)
    backlog_after_outage: int = 0
    silent: list[int] = field(default_factory=list)  # boundaries of the foundry that never came by themselves
    verdicts: list[str] = field(default_factory=list)
    turns: dict[str, Day] = field(default_factory=dict)

    def look(self, turn: str) -> None:
        columns = ", ".join(CURVES)
        revision, *curves, quality = self.cloud.rows(
            f"SELECT revision, {columns}, quality FROM interval_day WHERE supply_point_id = %s AND day = %s"
            " ORDER BY revision DESC LIMIT 1",
            *(FOUNDRY.supply_point_id, WEDNESDAY),
        )[0]
        self.turns[turn] = Day(revision, tuple(curves), quality)


@pytest.fixture(scope="module")
def story(journey_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("gap")
    with cloud_with(journey_database, [GATEWAY]) as cloud:
        told = Story(cloud)
        asyncio.run(live_through(told, folder))
        taken = {at for (at,) in cloud.rows(OF_FOUNDRY, FOUNDRY.meter_id)}
        told.silent = [number for number in range(QUARTERS + 1) if instant(number) not in taken]
        cloud.validate()
        told.look("gap")
        recalled, belated = told.silent[: len(told.silent) // 2], told.silent[len(told.silent) // 2 :]
        for turn, stream, numbers, quality in (
            ("recalled", 2, recalled, Quality.FREEZE),
            ("belated", 0, belated, Quality(0)),
        ):
            body = sealed(cloud, folder / "agent" / "data", stream, [late(n, quality) for n in numbers])
            told.verdicts += cloud.take([(GATEWAY, stream, body)])
            cloud.validate()
            told.look(turn)
        yield told


OF_FOUNDRY = "SELECT taken_at FROM reading JOIN meter USING (meter_key) WHERE meter_id = %s"


async def live_through(told: Story, folder: Path) -> None:
    """Run the agent through the twelve days; its own time decides when the broker and the ingest go and come back."""
    cloud, clock, port = told.cloud, MeterClock(stepped_ms=AUGUST_MS), free_port()
    with contextlib.ExitStack() as services:
        first = start_services(services, cloud, folder / "broker-1", port)
        async with bus(BUS, clock) as url:
            config = write_config(folder / "agent", cloud, first, BUS, {"645": url}, 4 * 3600)
            step = meddling(told, services, clock, folder, config.data_dir, port)
            async with agent_through(config, PROFILES, QUARTERS, step) as replayed:
                await delivered(replayed, config.data_dir, within_s=100)


def meddling(
    told: Story, services: contextlib.ExitStack, clock: MeterClock, folder: Path, data_dir: Path, port: int
) -> Jump:
    """Move the meters along; one quarter-hour into the outage and one after it, stop and start broker and ingest."""
    due = [AUGUST_MS + (quarter + 1) * QUARTER_MS for quarter in (OUTAGE.start, OUTAGE.stop)]

    async def step(at_ms: int) -> None:
        if due and at_ms >= due[0]:
            if len(due) == 2:
                while unacked(data_dir):
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(services.close)
            else:
                told.arrived_before = told.cloud.rows("SELECT max(taken_at) FROM reading")
                told.backlog_after_outage = unacked(data_dir)
                start_services(services, told.cloud, folder / "broker-2", port)
            due.pop(0)
        clock.stepped_ms = at_ms

    return step


def start_services(services: contextlib.ExitStack, cloud: Cloud, folder: Path, port: int) -> Broker:
    broker = services.enter_context(running_broker(folder, port=port, pki=None))
    services.enter_context(ingest_of(cloud, broker))
    return broker


@contextlib.asynccontextmanager
async def bus(sites: tuple[Site, ...], clock: MeterClock) -> AsyncIterator[str]:
    """Both meters on one line; the foundry's says nothing during its silence."""

    def faults(address: str, number: int) -> Fault | None:
        quarter = (clock.now_ms() - AUGUST_MS) // QUARTER_MS
        return Fault.DROP if address == BUS[1].address and quarter in SILENCE else None

    def slave() -> Dlt645Slave:
        meters = [
            SimMeter(PROFILES[site.profile], site.address, LoadFace(site.load, PROFILES[site.profile], clock))
            for site in sites
        ]
        return Dlt645Slave(meters, faults=faults)

    async with await serve_tcp(slave) as server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}?gap_ms=0"


def late(number: int, quality: Quality) -> Reading:
    """What the foundry's meter showed at a boundary, by the curve file, as it is read from its memory."""
    shown = tuple(FOUNDRY.shown(register, number, 1)[0] for register in REGISTERS)
    return Reading(FOUNDRY.meter_id, AUGUST_MS + number * QUARTER_MS, int(quality), (*shown, *NO_OTHERS))


def sealed(cloud: Cloud, data_dir: Path, stream: int, readings: list[Reading]) -> bytes:
    """The gateway's next batch of a stream, numbered and chained as its store would do it."""
    with contextlib.closing(sqlite3.connect(data_dir / "outbox.db")) as conn:
        ((seq, previous),) = conn.execute(
            "SELECT next_seq, last_sha256 FROM stream WHERE stream = ?", (stream,)
        ).fetchall()
    ((store_uuid, epoch),) = cloud.rows(
        "SELECT store_uuid, epoch FROM gateway WHERE gateway_id = %s", GATEWAY
    )
    sealed_ms = int(NOW.timestamp()) * 1000
    header = Header(
        *(GATEWAY, store_uuid, epoch, stream, seq, previous, 0, 0, 0, sealed_ms, 1),
        *("boot-2", "ntp", 20, "bundle-1", batch.SCHEMA_READINGS),
    )
    decimals = {FOUNDRY.meter_id: PROFILES[BUS[1].profile].decimals}
    return batch.seal_batch(header, readings, decimals, cloud.gateway_keys[GATEWAY])


def test_nine_days_without_a_broker_lose_no_reading(story: Story) -> None:
    assert story.arrived_before == [(instant(OUTAGE.start),)], "nothing may have come through meanwhile"
    assert story.backlog_after_outage >= 9 * 6, "a batch every four hours waits"
    arrived = story.cloud.rows(OF_FOUNDRY + " ORDER BY 1", FACTORY.meter_id)
    assert arrived == [(instant(number),) for number in range(QUARTERS + 1)]


def test_a_silent_meter_costs_the_other_on_its_bus_nothing(story: Story) -> None:
    found = story.cloud.rows(
        "SELECT quality FROM interval_day WHERE supply_point_id = %s ORDER BY day", FACTORY.supply_point_id
    )

    assert found == [([ACTUAL] * 96,)] * DAYS


def test_only_what_the_silence_touches_is_estimated(story: Story) -> None:
    assert set(story.silent) >= set(SILENCE)
    assert len(story.silent) <= len(SILENCE) + 1, "a resting meter is asked again within ten minutes"
    touched = {number - 11 * 96 + before for number in story.silent for before in (-1, 0)}
    assert story.turns["gap"].quality == [ESTIMATED if slot in touched else ACTUAL for slot in range(96)]


@pytest.mark.parametrize("turn", ["gap", "recalled", "belated"])
def test_whatever_is_estimated_the_day_adds_up_to_its_registers(story: Story, turn: str) -> None:
    sums = [sum(curve) for curve in story.turns[turn].curves]

    assert sums == [sum(FOUNDRY.quarters_wh(register, 11 * 96, 96)) for register in REGISTERS]


def test_the_gap_has_the_shape_of_the_wednesday_before(story: Story) -> None:
    """Missing energy x like-day value / sum of like-day values (tariffs-and-settlement §14.2), to the Wh.

    The agent asks the silent meter again before the next boundary, so the gap ends inside its last quarter-hour.
    """
    first, last = story.silent[0] - 1, story.silent[-1] + 1
    missing_wh = sum(FOUNDRY.quarters_wh("ea_imp", first, last - first))
    like = FOUNDRY.quarters_wh("ea_imp", first - 7 * 96, last - first)
    filled = story.turns["gap"].curves[0][first - 11 * 96 : last - 11 * 96]

    assert sum(filled) == missing_wh
    whole = list(zip(filled, like, strict=True))[:-1]
    shared_wh, like_wh = sum(wh for wh, _ in whole), sum(value for _, value in whole)
    assert all(abs(wh * like_wh - shared_wh * value) <= 2 * like_wh for wh, value in whole)


def test_late_readings_make_revisions_until_all_is_measured(story: Story) -> None:
    gap, recalled, belated = (story.turns[turn] for turn in ("gap", "recalled", "belated"))

    assert story.verdicts == ["accepted", "accepted"]
    assert [day.revision for day in (gap, recalled, belated)] == [1, 2, 3]
    half = len(story.silent) // 2
    recalled_until = story.silent[half] - 11 * 96  # the first boundary that the recall did not bring
    assert recalled.quality[story.silent[0] - 11 * 96 - 1 : recalled_until - 1] == [RECOLLECTED] * half
    assert ESTIMATED in recalled.quality
    assert set(belated.quality) == {ACTUAL, RECOLLECTED}
    assert belated.quality.count(RECOLLECTED) == half + 1


def test_at_last_every_quarter_hour_is_the_curves(story: Story) -> None:
    curves = story.turns["belated"].curves

    assert list(curves) == [FOUNDRY.quarters_wh(register, 11 * 96, 96) for register in REGISTERS]


def test_the_chain_of_batches_is_whole(story: Story) -> None:
    """Each batch names the SHA-256 of the one before it in its stream; the first names none."""
    rows = story.cloud.rows(
        "SELECT stream, seq, previous_sha256, body FROM sealed_batch ORDER BY stream, seq"
    )
    for (stream, seq, _, body), (next_stream, next_seq, previous, _) in pairwise(rows):
        if stream == next_stream:
            assert (next_seq, previous) == (seq + 1, hashlib.sha256(body).digest())
