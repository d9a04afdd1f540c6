"""Steps of the wall clock are noticed, drift is not taken for one; the replayed clock jumps without skipping anybody."""

import asyncio

from edge_agent.clock import StepWatch
from edge_agent.replay import ReplayClock
from edge_agent.system import SystemClock, agent_version, boot_id
from edge_agent.wire.batch import Quality
from edge_agent.wire.fields import CLOCK_SOURCES, WORD

NOON_MS = 1_785_556_800_000


def test_a_step_is_noticed_once_and_marks_the_next_quarter_hour():
    watch = StepWatch(NOON_MS, 1000)

    assert watch.observe(NOON_MS + 60_000, 61_000) == 0
    assert watch.observe(NOON_MS + 120_000 - 86_400_000, 121_000) == -86_400_000
    assert watch.quality(121_000) is Quality.STEP
    assert watch.observe(NOON_MS + 180_000 - 86_400_000, 181_000) == 0
    assert watch.quality(121_000 + 900_000) == Quality(0)


def test_drift_is_no_step():
    watch = StepWatch(NOON_MS, 0)

    steps = [watch.observe(NOON_MS + second * 1001, second * 1000) for second in range(1, 10_000)]

    assert steps == [0] * 9999
    assert watch.quality(10_000_000) == Quality(0)


def test_the_system_clock_speaks_the_wire_language():
    state = SystemClock().state()

    assert state.source in CLOCK_SOURCES
    assert 0 <= state.error_ms < 2**31
    assert WORD.fullmatch(boot_id())
    assert WORD.fullmatch(agent_version())


class SetBack(SystemClock):
    """A wall clock that is set back by a day while somebody sleeps."""

    def __init__(self):
        self.looks = 0

    def now_ms(self):
        self.looks += 1
        return super().now_ms() - (86_400_000 if self.looks > 2 else 0)


def test_a_sleeper_is_not_kept_waiting_by_a_clock_that_is_set_back():
    async def scenario():
        clock = SetBack()
        async with asyncio.timeout(5):
            await clock.sleep_until_ms(SystemClock().now_ms() + 50)

    asyncio.run(scenario())


def test_replayed_time_stands_still_while_anybody_works_and_then_jumps_to_the_next_appointment():
    seen = []

    async def sleeper(clock, name, every_ms):
        while True:
            at_ms = clock.now_ms() - clock.now_ms() % every_ms + every_ms
            await clock.sleep_until_ms(at_ms)
            seen.append((name, clock.now_ms()))
            await asyncio.sleep(0.001)
            assert clock.now_ms() == at_ms, "time moved while this one worked"

    async def scenario():
        clock = ReplayClock(0, 10_000, sleepers=2)
        tasks = [asyncio.ensure_future(sleeper(clock, *who)) for who in (("a", 2000), ("b", 3000))]
        await clock.ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return clock.now_ms()

    assert asyncio.run(scenario()) == 10_000
    assert sorted(seen) == [
        *(("a", at) for at in (2000, 4000, 6000, 8000)),
        *(("b", at) for at in (3000, 6000, 9000)),
    ]


def test_replayed_time_hands_over_to_a_real_clock():
    async def scenario():
        real = SystemClock()
        clock = ReplayClock(0, 1000, sleepers=1, then=real)
        await clock.sleep_until_ms(1000)
        before_ms = clock.now_ms()
        await clock.sleep_until_ms(before_ms + 20)
        return before_ms, clock.now_ms(), real.now_ms()

    before_ms, after_ms, real_ms = asyncio.run(scenario())

    assert before_ms > NOON_MS - 10**12
    assert before_ms + 20 <= after_ms <= real_ms
