"""What the agent says of itself."""

from edge_agent.drivers.read import MeterSample
from edge_agent.health import Health, LiveBoard, read_state, write_state
from edge_agent.wire.batch import CHANNELS
from edge_agent.wire.control import State

NOON_MS = 1_785_556_800_000
DECIMALS = (2,) * 4 + (4, 4, 3, 1, 1, 1, 3, 3, 3, 2, 4, 0)


def sample(**by_code):
    return MeterSample(tuple(by_code.get(channel.code) for channel in CHANNELS), 0, ())


def test_a_line_that_works_again_is_no_longer_complained_of():
    health = Health(["M1"])
    health.line_down("p1", "cannot be opened")
    assert health.facts()["lines"] == {"p1": "cannot be opened"}

    health.line_up("p1")

    assert health.facts()["lines"] == {}


def test_live_values_are_in_canonical_ticks_and_told_once():
    board = LiveBoard()
    board.put("M1", NOON_MS, sample(ea_imp=12_345, u_a=2_301), DECIMALS)
    board.put("M1", NOON_MS + 5, sample(u_a=2_302, p=-7), DECIMALS)

    (told,) = board.take()

    assert (told.meter_id, told.taken_at_ms) == ("M1", NOON_MS + 5)
    assert told.ticks == {"ea_imp": 1_234_500, "u_a": 23_020, "p": -7}
    assert board.take() == ()


def test_lost_readings_are_told_once():
    health = Health(["M1"])
    health.lost(3)
    health.lost(4)

    assert (health.take_lost(), health.take_lost()) == (7, 0)


def test_the_state_file_gives_back_what_was_written(tmp_path):
    health = Health(["M1"])
    health.read("M1", ok=True, at_ms=NOON_MS, resting=False, delay_ms=420)
    health.read("M1", ok=False, at_ms=NOON_MS + 1, resting=True, delay_ms=None)
    state = State("GW001", True, NOON_MS, 1, 2, 3, 4, "0.1.0", "ntp", 5, health.meters())

    write_state(tmp_path, state, health.facts())

    shown = read_state(tmp_path)
    assert (shown["gateway_id"], shown["backlog_batches"], shown["disk_permille"]) == ("GW001", 2, 4)
    assert shown["delay_ms"] == {"M1": 420}
    assert shown["meters"] == [
        {"meter_id": "M1", "last_ok_ms": NOON_MS, "reads_ok": 1, "reads_failed": 1, "resting": True}
    ]
