"""Shell: one loop per port asks the plan, reads, and keeps a cycle's readings in one transaction; one loop seals.

A meter that is silent, refuses or makes the driver fail costs its own reading and nobody else's. The network is not
known here: polling goes on whatever the uplink does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge_agent.clock import Clock, StepWatch
from edge_agent.config import AgentConfig, MeterConfig, PollConfig
from edge_agent.drivers.bus import Line, LineDown
from edge_agent.drivers.read import MeterSample
from edge_agent.drivers.talk import NoReply
from edge_agent.health import Health, LiveBoard
from edge_agent.outbox import Budget, Outbox, OutboxRefused, OutboxThread, Stamp, Taken
from edge_agent.plan import Kind, Outcome, Plan, PlannedMeter, Task, instant_of_ms, slot_of_ms
from edge_agent.profile import Profile
from edge_agent.wire.batch import Quality, Reading
from edge_agent.wire.event import Event

log = logging.getLogger(__name__)

READ_S_MAX: Final = 120.0
CYCLE_READINGS_MAX: Final = 64
CYCLE_MS_MAX: Final = 5_000
HELD_READINGS_MAX: Final = 10_000
SEAL_GRACE_MS: Final = 60_000
SEAL_LOOK_MS: Final = 1_000

ReadMeter = Callable[[Line, Profile, str, Collection[str]], Awaitable[MeterSample]]


class Store:
    """The outbox as the loops see it: readings and events in, batches sealed, the uplink woken."""

    def __init__(
        self, outbox: Outbox, budget: Budget, clock: Clock, boot_id: str, profile_bundle: str
    ) -> None:
        self.outbox = outbox
        self.budget = budget
        self.thread = OutboxThread()
        self.sealed = asyncio.Event()
        self._clock = clock
        self._boot_id = boot_id
        self._profile_bundle = profile_bundle

    async def keep(self, taken: Sequence[Taken]) -> None:
        """Returns when the readings are on the disk. Raises OutboxRefused when it is full."""
        await self.thread.do(self.outbox.add, tuple(taken))

    async def tell(self, *happened: Event) -> None:
        """Keep events and seal them at once; an alarm does not wait for the quarter-hour."""
        await self.thread.do(self.outbox.note, *happened)
        await self.thread.do(self.outbox.seal_events, self._stamp())
        self.sealed.set()

    async def seal(self) -> int:
        """Seal what waits and tidy up, also when the disk is too full to seal; returns the number of batches.

        Raises OutboxRefused.
        """
        try:
            batches = await self.thread.do(self.outbox.seal, self._stamp())
        finally:
            await self.thread.do(self.budget.tidy, self._clock.now_ms())
        if batches:
            self.sealed.set()
            log.info("outbox.sealed batches=%d disk_permille=%d", batches, self.budget.permille)
        return batches

    def _stamp(self) -> Stamp:
        state = self._clock.state()
        return Stamp(
            sealed_ms=self._clock.now_ms(),
            monotonic_ms=self._clock.monotonic_ms(),
            boot_id=self._boot_id,
            clock_source=state.source,
            clock_error_ms=state.error_ms,
            profile_bundle=self._profile_bundle,
        )


@dataclass(frozen=True, slots=True)
class PortMeter:
    """A configured meter with its profile."""

    config: MeterConfig
    profile: Profile


def planned(meter: PortMeter) -> PlannedMeter:
    """A meter as the plan sees it: aligned groups of its profile are charged, the rest is for the eye."""
    profile = meter.profile
    counters = {channel.code for channel in profile.channels if channel.billing}
    aligned = {code for group in profile.groups if group.aligned for code in group.channels}
    seen = {code for group in profile.groups if not group.aligned for code in group.channels}
    rests_s = profile.link.backoff_s
    return PlannedMeter(
        meter_id=meter.config.meter_id,
        bill=frozenset(aligned | counters),
        detail=frozenset(seen - aligned - counters),
        live=frozenset(seen) or frozenset(aligned | counters),
        max_unanswered=profile.link.max_unanswered,
        rest_s=(min(rests_s), max(rests_s)),
    )


@dataclass(frozen=True, slots=True)
class Shared:
    """What all loops of an agent share. `read` is `drivers.read.read_meter`, or a replacement in tests."""

    clock: Clock
    store: Store
    health: Health
    board: LiveBoard
    read: ReadMeter


class PortPoller:
    """The loop of one port."""

    def __init__(self, shared: Shared, line: Line, meters: Sequence[PortMeter], poll: PollConfig) -> None:
        self._line = line
        self._meters = {meter.config.meter_id: meter for meter in meters}
        self._clock = clock = shared.clock
        self._store = shared.store
        self._health = shared.health
        self._board = shared.board
        self._read = shared.read
        self._plan = Plan(
            (planned(meter) for meter in meters),
            clock.now_ms(),
            live_every_s=poll.live_every_s,
            detail_every_s=poll.detail_every_s,
        )
        self._steps = StepWatch(clock.now_ms(), clock.monotonic_ms())
        self._cycle: deque[Taken] = deque()
        self._cycle_since_ms = 0
        self._untimed: deque[tuple[int, Taken]] = deque(maxlen=HELD_READINGS_MAX)
        self.settled_slot_ms = 0

    async def run(self) -> None:
        """Poll until cancelled; what was read by then is kept."""
        try:
            while True:
                task = self._plan.next(self._clock.now_ms())
                if task is None or self._cycle_is_full():
                    await self._keep()
                if task is None:
                    await self._sleep()
                else:
                    await self._do(task)
        finally:
            await asyncio.shield(self._keep())
            await self._line.close()

    async def _sleep(self) -> None:
        now_ms = self._clock.now_ms()
        if self._plan.settled(now_ms):
            self.settled_slot_ms = slot_of_ms(now_ms)
        await self._clock.sleep_until_ms(self._plan.wake_at_ms(now_ms))
        await self._watch_clock()

    async def _watch_clock(self) -> None:
        step_ms = self._steps.observe(self._clock.now_ms(), self._clock.monotonic_ms())
        if step_ms:
            log.warning("clock.stepped by_ms=%d", step_ms)
            self._plan.clock_stepped(self._clock.now_ms())
            await self._tell(Event("clock_step", self._clock.now_ms(), {"by_ms": step_ms}))
        if self._untimed and self._clock.state().trusted:
            await self._anchor()

    async def _do(self, task: Task) -> None:
        meter = self._meters[task.meter_id]
        sample = await self._sample(meter, task)
        answered_ms = self._clock.now_ms()
        self._plan.done(task, _outcome(sample), answered_ms)
        if sample is LineDown:
            return
        self._health.read(
            task.meter_id,
            ok=isinstance(sample, MeterSample),
            at_ms=answered_ms,
            resting=self._plan.resting(task.meter_id),
            delay_ms=answered_ms - task.slot_ms if task.kind is Kind.BILL else None,
        )
        if isinstance(sample, MeterSample):
            self._health.line_up(meter.config.port)
            self._take(meter, task, sample, answered_ms)

    async def _sample(self, meter: PortMeter, task: Task) -> MeterSample | type[Exception]:
        """A sample, or why there is none: LineDown, or any other exception of this one read."""
        try:
            async with asyncio.timeout(READ_S_MAX):
                return await self._read(self._line, meter.profile, meter.config.address, task.channels)
        except LineDown as error:
            self._health.line_down(meter.config.port, str(error))
            return LineDown
        except (NoReply, TimeoutError) as error:
            log.debug("meter.silent meter=%s reason=%s", task.meter_id, error)
            return NoReply
        except Exception as error:
            # The bus belongs to the other meters too: a fault in reading one must not end this loop.
            log.exception("meter.read_failed meter=%s", task.meter_id)
            return type(error)

    def _take(self, meter: PortMeter, task: Task, sample: MeterSample, answered_ms: int) -> None:
        self._board.put(meter.config.meter_id, answered_ms, sample, meter.profile.decimals)
        if task.kind is Kind.LIVE or all(tick is None for tick in sample.ticks):
            return
        quality = Quality(sample.quality) | self._steps.quality(self._clock.monotonic_ms())
        reading = Reading(
            meter.config.meter_id, instant_of_ms(task, answered_ms), int(quality), tuple(sample.ticks)
        )
        taken = Taken(reading, meter.profile.decimals, billing=task.kind is Kind.BILL)
        if not self._clock.state().trusted:
            self._untimed.append((self._clock.monotonic_ms(), taken))
            return
        if not self._cycle:
            self._cycle_since_ms = self._clock.monotonic_ms()
        self._cycle.append(taken)

    def _cycle_is_full(self) -> bool:
        age_ms = self._clock.monotonic_ms() - self._cycle_since_ms
        return len(self._cycle) >= CYCLE_READINGS_MAX or (bool(self._cycle) and age_ms > CYCLE_MS_MAX)

    async def _keep(self) -> None:
        """Put the cycle on the disk; while the disk is full, hold it, and say how much had to go."""
        if not self._cycle:
            return
        lost = max(0, len(self._cycle) - HELD_READINGS_MAX)
        for _ in range(lost):
            self._cycle.popleft()
        self._health.lost(lost)
        cycle = tuple(self._cycle)
        try:
            await self._store.keep(cycle)
        except OutboxRefused as error:
            log.warning("outbox.refused held=%d lost=%d reason=%s", len(cycle), lost, error)
            self._cycle_since_ms = self._clock.monotonic_ms()
            return
        self._cycle.clear()
        if lost_before := self._health.take_lost():
            await self._tell(Event("readings_lost", self._clock.now_ms(), {"rows": lost_before}))

    async def _anchor(self) -> None:
        """The clock is good now: give what was read before it was its instant, by the monotonic clock."""
        offset_ms = self._clock.now_ms() - self._clock.monotonic_ms()
        anchored = [
            replace(taken, reading=replace(taken.reading, taken_at_ms=monotonic_ms + offset_ms))
            for monotonic_ms, taken in self._untimed
        ]
        self._untimed.clear()
        self._cycle.extend(anchored)
        await self._tell(
            Event("time_anchor", self._clock.now_ms(), {"offset_ms": offset_ms, "rows": len(anchored)})
        )

    async def _tell(self, happened: Event) -> None:
        try:
            await self._store.tell(happened)
        except OutboxRefused as error:
            log.warning("outbox.refused event=%s reason=%s", happened.kind, error)


async def seal_regularly(
    pollers: Sequence[PortPoller], clock: Clock, store: Store, *, seal_every_s: int
) -> None:
    """Seal after each period's last quarter-hour, once all ports are through with it, at the latest a minute on."""
    every_ms = seal_every_s * 1000
    while True:
        boundary_ms = clock.now_ms() - clock.now_ms() % every_ms + every_ms
        await clock.sleep_until_ms(boundary_ms)
        while clock.now_ms() < boundary_ms + SEAL_GRACE_MS:
            if all(poller.settled_slot_ms >= boundary_ms for poller in pollers):
                break
            await clock.sleep_until_ms(clock.now_ms() + SEAL_LOOK_MS)
        try:
            await store.seal()
        except OutboxRefused as error:
            log.warning("outbox.refused seal reason=%s", error)


def _outcome(sample: MeterSample | type[Exception]) -> Outcome:
    if isinstance(sample, MeterSample):
        return Outcome.ANSWERED
    return Outcome.LINE_DOWN if sample is LineDown else Outcome.SILENT


def port_meters(config: AgentConfig, profiles: Mapping[str, Profile]) -> dict[str, tuple[PortMeter, ...]]:
    """The meters of each port, in the order of the configuration. Raises KeyError for an unknown profile."""
    return {
        port.name: tuple(
            PortMeter(meter, profiles[meter.profile]) for meter in config.meters if meter.port == port.name
        )
        for port in config.ports
    }
