"""A gateway of the fault run: the agent's own store and uplink, fed by readings that come every few milliseconds.

    python chaos_gateway.py FOLDER keep|delete

`keep` is the real uplink, only less patient. `delete` is what stock parts do, for the control run: the broker's PUBACK
counts as delivered. When the file `quiet` appears, no more readings are made and what waits is sealed.
"""

from __future__ import annotations

import asyncio
import logging
import random  # noqa: TID251  # the values only have to differ; the diary knows them
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos_diary import Diary, Ticks

from edge_agent.config import AgentConfig, load_config, load_keys
from edge_agent.health import Health, LiveBoard, StateSource
from edge_agent.link import Cargo, Link, Pace, Speaker
from edge_agent.outbox import Budget, Opened, Taken, open_outbox
from edge_agent.poll import Store
from edge_agent.system import SystemClock, boot_id
from edge_agent.wire.batch import CANONICAL_DECIMALS, CHANNELS, Reading

FIRST_MS = 1_767_571_200_000  # 2026-01-05T00:00Z
QUARTER_MS = 900_000
PAUSE_S = (0.005, 0.04)
SEALED_PERMILLE = 400  # of the cycles
BUNDLE = "chaos"


class Impatient(Link):
    """The uplink, waiting tenths of seconds where the real one waits seconds to minutes."""

    pace = Pace(
        again_first_s=0.6, again_most_s=2.0, reconnect_first_s=0.1, reconnect_most_s=0.8, answer_s=3.0
    )


class Deleting(Impatient):
    """The uplink as it must not be."""

    async def published(self, stream: int, seq: int) -> None:
        """Take the broker's word for it."""
        delete = "DELETE FROM batch WHERE stream=? AND seq=?"
        await self._thread.do(self._outbox.conn.execute, delete, (stream, seq))

    def _arrived(self, stream: int, seq: int) -> bool:
        """Stock parts are not told by the cloud; they send until there is a PUBACK."""
        return False


LINKS: Mapping[str, type[Link]] = {"keep": Impatient, "delete": Deleting}


def drawn(chance: random.Random) -> Ticks:
    """Values of one reading: small and large, of both signs, some absent."""
    return tuple(
        None if chance.random() < 0.2 else chance.randint(-(10 ** (1 + n % 12)), 10 ** (1 + n % 12))
        for n in range(len(CHANNELS))
    )


async def produce(store: Store, diary: Diary, meters: Sequence[str], quiet: Path) -> None:
    """Read, keep and seal until `quiet` exists, and then only seal."""
    chance = random.Random()
    at_ms = max(diary.last_ms, FIRST_MS)
    while not quiet.exists():
        at_ms += QUARTER_MS
        rows = {meter_id: drawn(chance) for meter_id in meters}
        diary.say(at_ms, rows)
        await store.keep(
            [
                Taken(Reading(meter_id, at_ms, 0, ticks), CANONICAL_DECIMALS)
                for meter_id, ticks in rows.items()
            ]
        )
        diary.kept(at_ms)
        if chance.randrange(1000) < SEALED_PERMILLE:
            await store.seal()
        await asyncio.sleep(chance.uniform(*PAUSE_S))
    while True:
        await store.seal()
        await asyncio.sleep(0.1)


async def live(config: AgentConfig, opened: Opened, link: type[Link]) -> None:
    """Be the gateway until SIGTERM."""
    clock, outbox, keys = SystemClock(), opened.outbox, load_keys(config)
    meters = [meter.meter_id for meter in config.meters]
    budget = Budget(outbox, config.disk_bytes_max, ring_ms=config.keep_acked_days * 86_400_000)
    store = Store(outbox, budget, clock, boot_id(), BUNDLE)
    health, board = Health(meters), LiveBoard()
    source = StateSource(config.gateway_id, "chaos", outbox, budget, clock, health)
    cargo = Cargo(outbox, store.thread, store.sealed, clock, health, board, source)
    uplink = link(Speaker(config.gateway_id, boot_id(), "chaos", BUNDLE), config.broker, keys, cargo)
    folder = config.file.parent
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(uplink.run()),
                group.create_task(produce(store, Diary(folder / "diary"), meters, folder / "quiet")),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        store.thread.close()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = load_config(Path(sys.argv[1]) / "agent.toml")
    key = load_keys(config).signing
    opened = open_outbox(config.data_dir, config.gateway_id, key, SystemClock().now_ms())
    try:
        asyncio.run(live(config, opened, LINKS[sys.argv[2]]))
    finally:
        opened.close()


if __name__ == "__main__":
    main()
