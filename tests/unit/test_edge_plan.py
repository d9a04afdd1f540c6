"""The plan: quarter-hours first, nobody pays for a silent meter, instants mean what they say."""

from itertools import pairwise

import pytest

from edge_agent.plan import Kind, Outcome, Plan, PlannedMeter, Task, instant_of_ms

NOON_MS = 1_785_556_800_000
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
BILL, DETAIL, LIVE = frozenset({"ea_imp"}), frozenset({"u_a"}), frozenset({"p", "u_a"})


def meter(name, *, detail=DETAIL):
    return PlannedMeter(name, BILL, detail, LIVE, max_unanswered=3, rest_s=(60, 600))


def plan(*names, now_ms=NOON_MS, live_every_s=0, detail_every_s=0):
    return Plan(
        [meter(name) for name in names], now_ms, live_every_s=live_every_s, detail_every_s=detail_every_s
    )


def work_off(planned, now_ms, *, silent=(), read_ms=0, tasks_max=1000):
    """Do everything that is due; returns the tasks and the instant afterwards."""
    done = []
    while (task := planned.next(now_ms)) and len(done) < tasks_max:
        now_ms += read_ms
        planned.done(task, Outcome.SILENT if task.meter_id in silent else Outcome.ANSWERED, now_ms)
        done.append(task)
    return done, now_ms


def test_every_meter_is_read_at_every_quarter_hour_and_only_once():
    planned = plan("A", "B", "C")
    now_ms, read = NOON_MS, []

    while now_ms < NOON_MS + 4 * QUARTER_MS:
        tasks, _ = work_off(planned, now_ms)
        read += [(task.meter_id, (now_ms - NOON_MS) // QUARTER_MS) for task in tasks]
        now_ms = planned.wake_at_ms(now_ms)

    assert read == [(name, slot) for slot in range(4) for name in "ABC"]


def test_a_start_between_boundaries_reads_at_once_with_the_instant_of_the_answer():
    planned = plan("A", now_ms=NOON_MS + 7 * MINUTE_MS)

    task = planned.next(NOON_MS + 7 * MINUTE_MS)

    assert (task.kind, task.slot_ms) == (Kind.BILL, NOON_MS)
    assert instant_of_ms(task, NOON_MS + 7 * MINUTE_MS + 300) == NOON_MS + 7 * MINUTE_MS + 300


@pytest.mark.parametrize(
    ("late_ms", "instant_ms"),
    [(0, NOON_MS), (30_000, NOON_MS), (30_001, NOON_MS + 30_001), (-1, NOON_MS - 1)],
)
def test_an_answer_within_30_s_is_the_reading_of_the_boundary(late_ms, instant_ms):
    task = Task("A", Kind.BILL, NOON_MS, BILL)

    assert instant_of_ms(task, NOON_MS + late_ms) == instant_ms


def test_a_live_value_keeps_its_own_instant():
    assert instant_of_ms(Task("A", Kind.LIVE, NOON_MS, LIVE), NOON_MS + 400) == NOON_MS + 400


def test_registers_of_all_meters_come_before_any_other_reading():
    planned = plan("A", "B", "C", live_every_s=5, detail_every_s=900)

    tasks, _ = work_off(planned, NOON_MS)

    assert [task.kind for task in tasks[:3]] == [Kind.BILL] * 3
    assert {task.kind for task in tasks[3:]} == {Kind.DETAIL, Kind.LIVE}


def test_detail_belongs_to_the_same_instant_and_is_dropped_when_it_comes_too_late():
    planned = plan("A", "B", detail_every_s=900)

    quick, _ = work_off(planned, NOON_MS, read_ms=1000)
    slow, _ = work_off(planned, NOON_MS + QUARTER_MS, read_ms=70_000)

    assert [(task.kind, task.slot_ms) for task in quick if task.kind is Kind.DETAIL] == [
        (Kind.DETAIL, NOON_MS)
    ] * 2
    assert [task.kind for task in slow] == [Kind.BILL, Kind.BILL]


def test_a_failed_quarter_hour_is_tried_again_after_a_minute():
    planned = plan("A")
    work_off(planned, NOON_MS, silent={"A"})

    assert planned.next(NOON_MS + MINUTE_MS - 1) is None
    assert planned.wake_at_ms(NOON_MS) == NOON_MS + MINUTE_MS
    assert planned.next(NOON_MS + MINUTE_MS).kind is Kind.BILL


def test_a_silent_meter_rests_ever_longer_and_comes_back_with_its_first_answer():
    planned = plan("A", now_ms=NOON_MS)
    now_ms, asked = NOON_MS, []
    while len(asked) < 9:
        tasks, _ = work_off(planned, now_ms, silent={"A"})
        asked += [now_ms] * len(tasks)
        now_ms = planned.wake_at_ms(now_ms)

    pauses_s = [(b - a) // 1000 for a, b in pairwise(asked)]
    assert pauses_s == [60, 60, 60, 120, 240, 480, 600, 600]
    assert planned.resting("A")

    work_off(planned, now_ms + 600_000)
    assert not planned.resting("A")


def test_resting_meters_are_asked_after_all_that_answer():
    planned = plan("DEAD", "A", "B")
    for _ in range(3):
        planned.done(Task("DEAD", Kind.BILL, NOON_MS, BILL), Outcome.SILENT, NOON_MS)

    tasks, _ = work_off(planned, NOON_MS + QUARTER_MS, silent={"DEAD"})

    assert [task.meter_id for task in tasks] == ["A", "B", "DEAD"]


def test_on_a_line_that_is_never_idle_one_task_in_twenty_one_asks_a_resting_meter():
    dead = {"D1", "D2", "D3"}
    planned = plan(*dead, "A", "B", live_every_s=1)
    work_off(planned, NOON_MS)
    for name in sorted(dead) * 3:
        planned.done(Task(name, Kind.LIVE, NOON_MS, LIVE), Outcome.SILENT, NOON_MS)

    tasks, _ = work_off(planned, NOON_MS + 120_000, silent=dead, read_ms=2000, tasks_max=64)

    asked = [at for at, task in enumerate(tasks) if task.meter_id in dead]
    assert [later - earlier for earlier, later in pairwise(asked)] == [21, 21]


def test_a_line_that_is_down_says_nothing_about_its_meters():
    planned = plan("A")
    for number in range(10):
        task = planned.next(NOON_MS + number * 5_000)
        planned.done(task, Outcome.LINE_DOWN, NOON_MS + number * 5_000)

    assert not planned.resting("A")
    assert planned.next(NOON_MS + 10 * 5_000).kind is Kind.BILL


def test_live_values_are_skipped_on_a_slow_line_not_queued():
    planned = plan("A", live_every_s=5)
    work_off(planned, NOON_MS)

    (task,), now_ms = work_off(planned, NOON_MS + 61_000, read_ms=3000)

    assert task.kind is Kind.LIVE
    assert planned.wake_at_ms(now_ms) == NOON_MS + 65_000


def test_a_clock_set_back_by_a_day_does_not_stop_the_polling():
    planned = plan("A", live_every_s=5)
    work_off(planned, NOON_MS)
    yesterday_ms = NOON_MS - 86_400_000 + 1234

    planned.clock_stepped(yesterday_ms)

    assert planned.next(yesterday_ms).kind is Kind.BILL
    work_off(planned, yesterday_ms)
    assert planned.wake_at_ms(yesterday_ms) < yesterday_ms + 5_001


def test_a_quarter_hour_is_settled_when_all_that_answer_have_answered():
    planned = plan("DEAD", "A", detail_every_s=900)
    assert not planned.settled(NOON_MS)

    work_off(planned, NOON_MS, silent={"DEAD"})

    assert planned.settled(NOON_MS)
    assert not planned.settled(NOON_MS + QUARTER_MS)
