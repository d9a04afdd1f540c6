"""kill -9 of gateways, broker, ingests and PostgreSQL backends at random while readings flow: 0 lost, 0 doubled.

The truth is a diary that each gateway keeps beside its outbox (`chaos_diary`). The control run differs in one thing:
its gateways take the broker's PUBACK for delivery, as stock parts do. It loses readings, so this test can fail.

SHOUDIAN_CHAOS_SEED   the seed of the faults; printed with every run
SHOUDIAN_CHAOS_S      length of the storm, 20 s by default (`python -m benchmarks.chaos` runs longer ones)
"""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251  # draws a seed, which is printed
import re
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import psycopg
import pytest
from chaos_result import Result, examine
from chaos_world import Site, World, running_world

from cloud.db import migrate
from demo.broker import Broker
from demo.postgres import Server, embedded_postgres

# aiomqtt 2 may ask to watch a socket that died in the same instant. asyncio says so; the link makes a new connection.
LATE_WRITER = re.compile(
    r"Exception in callback \w+\.add_writer\(.*?OSError: \[Errno 9\] Bad file descriptor", re.DOTALL
)
STORM_S = float(os.environ.get("SHOUDIAN_CHAOS_S", "20"))
PAUSE_S = (0.3, 1.5)
READY_S = 60.0
DRAIN_S = 80.0
CONTROL_S = 10.0
SETTLED_S = 2.5  # longer than any wait of the ingest here

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(STORM_S + 200)]


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("SHOUDIAN_CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL of our own, because it crashes here; and one that keeps what it has committed."""
    with embedded_postgres(tmp_path_factory.mktemp("postgres") / "server", durable=True) as server:
        yield server


@pytest.fixture
def fresh(server: Server, request: pytest.FixtureRequest) -> str:
    name = "fault_run" if "control" not in request.node.name else "control_run"
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    migrate(server.dsn_of(name))
    return name


def report(title: str, seed: int, world: World, result: Result, took_s: tuple[float, float, float]) -> None:
    found = result.difference
    up_s, storm_s, drain_s = took_s
    print(
        f"\n{title}: seed={seed} faults={sum(world.faults.values())} {dict(world.faults)}"
        f" transactions_struck={world.struck}\n"
        f"  up_s={up_s:.1f} storm_s={storm_s:.1f} drain_s={drain_s:.1f} batches={len(result.ledger)}"
        f" readings_kept={found.kept} readings_arrived={found.arrived} lost={len(found.lost)}"
        f" ({result.lost_percent:.1f} %) sent_again={result.verdicts.get('duplicate', 0)}\n"
        f"  told={found.told_sha256[:16]} stored={found.stored_sha256[:16]}"
    )


async def end_gateways(world: World) -> None:
    for site in world.sites:
        assert await site.process.stop() == 0, site.process.log.read_text()[-2000:]


def test_nothing_is_lost_or_doubled(
    tmp_path: Path, server: Server, fresh: str, mosquitto: Broker, seed: int
) -> None:
    async def run() -> tuple[World, Result]:
        async with running_world(tmp_path, server, fresh, mosquitto, seed, "keep") as world:
            began_s = time.monotonic()
            up_s = await world.until(Site.is_heard, READY_S)
            await world.storm(STORM_S, PAUSE_S, each_at_least=2)
            storm_s = time.monotonic() - began_s - up_s
            world.be_quiet()
            drain_s = await world.until(Site.is_empty, DRAIN_S)
            await end_gateways(world)
            result = examine(world)
            report("fault run", seed, world, result, (up_s, storm_s, drain_s))
            return world, result

    print(f"SHOUDIAN_CHAOS_SEED={seed}")
    world, result = asyncio.run(run())

    found = result.difference
    assert (found.lost, result.waiting) == ((), 0)
    assert found.invented == ()
    assert found.altered == ()
    assert found.told_sha256 == found.stored_sha256
    assert result.in_batches == dict.fromkeys(result.rows, 1), "every row is in one batch, the one it names"
    assert result.marks == {(0, 0)}
    assert result.refused == {}
    assert result.verdicts.keys() <= {"accepted", "duplicate"}
    ledger_is_that_of_the_gateways(result)
    assert "Traceback" not in LATE_WRITER.sub("", world.logs())
    assert world.struck >= 2, "PostgreSQL was hit inside transactions"
    assert len(result.ledger) >= 10 * STORM_S, "readings were flowing"


def ledger_is_that_of_the_gateways(result: Result) -> None:
    """The same batches on both sides, numbered from 1 without a gap, all acked, and the cursors at their ends."""
    assert {place: (sha256, "acked") for place, sha256 in result.ledger.items()} == result.edge
    ends = {}
    for stream, places in groupby(sorted(result.ledger), key=lambda place: place[:3]):
        seqs = [place[3] for place in places]
        assert seqs == list(range(1, len(seqs) + 1)), stream
        ends[stream] = len(seqs)
    assert {stream: upto for stream, upto in result.upto.items() if upto} == ends
    assert {epoch for _, epoch, _ in ends} == {1}


def test_the_control_run_that_deletes_on_puback_loses(
    tmp_path: Path, server: Server, fresh: str, mosquitto: Broker, seed: int
) -> None:
    async def run() -> Result:
        async with running_world(tmp_path, server, fresh, mosquitto, seed, "delete") as world:
            began_s = time.monotonic()
            up_s = await world.until(Site.is_heard, READY_S)
            await world.storm(CONTROL_S, PAUSE_S, each_at_least=1)
            storm_s = time.monotonic() - began_s - up_s
            world.be_quiet()
            drain_s = await world.until(Site.is_empty, DRAIN_S)
            await settled(world)
            await end_gateways(world)
            result = examine(world)
            report("control run", seed, world, result, (up_s, storm_s, drain_s))
            return result

    print(f"SHOUDIAN_CHAOS_SEED={seed}")
    result = asyncio.run(run())

    found = result.difference
    assert found.lost, "a run that cannot lose shows nothing"
    assert found.told_sha256 != found.stored_sha256
    assert found.arrived > 0
    assert (found.invented, found.altered) == ((), ())


async def settled(world: World) -> None:
    """Wait until nothing more arrives: what the broker still holds is not lost."""
    count, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < SETTLED_S:
        (now,) = await asyncio.to_thread(world.ask, "SELECT count(*) FROM reading")
        if now[0] != count:
            count, since_s = now[0], time.monotonic()
        await asyncio.sleep(0.2)
