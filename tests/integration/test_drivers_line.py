"""A hostile line: late, doubled, foreign, broken and split answers never become a wrong value.

Real sockets and pseudo serial ports, simulated meters with one fault at a time. Times are shortened.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import serial

from edge_agent.drivers import dlt645, simline
from edge_agent.drivers.bus import BadUrl, Line, LineDown, Patience, line_url, open_line
from edge_agent.drivers.read import MeterSample, NoBroadcast, read_meter, set_clock_broadcast
from edge_agent.drivers.sim import (
    Dlt645Slave,
    Fault,
    FaultPlan,
    ModbusSlave,
    Sent,
    SimMeter,
    Slave,
    StillFace,
)
from edge_agent.drivers.talk import NoReply
from edge_agent.profile import Profile
from edge_agent.wire.batch import CHANNEL_COLUMN, Quality
from firmware_profiles import load_profiles

PROFILES = load_profiles()
QUICK = {"timeout_ms": 400, "byte_gap_ms": 60, "late_ms": 600, "gap_ms": 0}
LATE_MS = 500  # after the patience, before the line is open again


def quick(name: str, **link: int) -> Profile:
    return replace(PROFILES[name], link=replace(PROFILES[name].link, **{**QUICK, **link}))


GENERIC = quick("cn.generic.dlt645-2007.3p4w")
ACREL = quick("cn.acrel.adl400")
ONE, TWO = "000000000001", "000000000002"
FACE = {"ea_imp": 12345678, "ea_exp": 901, "u_a": 2299, "u_b": 2301, "u_c": 2303, "p": -12345}


def once(fault: Fault, at: int = 0) -> FaultPlan:
    """Plan one fault, in the answer with this number."""
    return lambda address, number: fault if number == at else None


def always(fault: Fault) -> FaultPlan:
    return lambda address, number: fault


async def on_tcp(
    new_slave: Callable[[], Slave], ask: Callable[[Line], Awaitable[None]], framing: str = "tcp"
) -> Line:
    server = await simline.serve_tcp(new_slave)
    async with server:
        line = await open_line(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}?framing={framing}")
        try:
            await ask(line)
        finally:
            await line.close()
    return line


def read_generic(
    faults: FaultPlan, *codes: str, echo: bool = False, profile: Profile = GENERIC, part_bytes: int = 196
) -> tuple[MeterSample, Counter[str]]:
    """Read our simulated DL/T 645 meter over a line with faults."""
    samples: list[MeterSample] = []

    async def ask(line: Line) -> None:
        samples.append(await read_meter(line, profile, ONE, codes))

    meters = [
        SimMeter(profile, ONE, StillFace(FACE)),
        SimMeter(profile, TWO, StillFace({**FACE, "ea_imp": 1})),
    ]
    line = asyncio.run(
        on_tcp(
            lambda: Dlt645Slave(
                meters, seed=3, faults=faults, echo=echo, late_ms=LATE_MS, part_bytes=part_bytes
            ),
            ask,
        )
    )
    return samples[0], line.drops


def value(sample: MeterSample, code: str) -> int | None:
    return sample.ticks[CHANNEL_COLUMN[code]]


@pytest.mark.parametrize(
    "fault", [Fault.DROP, Fault.TRUNCATE, Fault.CORRUPT, Fault.WRONG_ADDRESS, Fault.WRONG_ITEM]
)
def test_answer_that_is_none_is_asked_again(fault: Fault) -> None:
    sample, drops = read_generic(once(fault), "ea_imp")

    assert value(sample, "ea_imp") == 12345678
    assert sample.quality == Quality.RETRY
    expected = {
        Fault.DROP: {},
        Fault.TRUNCATE: {"broken frame": 1},
        Fault.CORRUPT: {"broken frame": 1},
        Fault.WRONG_ADDRESS: {"other meter": 1},
        Fault.WRONG_ITEM: {"other DI": 1},
    }
    assert drops == expected[fault]


@pytest.mark.parametrize("fault", [Fault.NOISE, Fault.SPLIT, Fault.DUPLICATE])
def test_answer_with_something_around_it_is_found_at_once(fault: Fault) -> None:
    sample, _ = read_generic(always(fault), "ea_imp", "ea_exp", "p")

    assert [value(sample, code) for code in ("ea_imp", "ea_exp", "p")] == [12345678, 901, -12345]
    assert sample.quality == 0


def test_echoing_adapter_is_no_meter() -> None:
    sample, drops = read_generic(lambda address, number: None, "ea_imp", "p", echo=True)

    assert (value(sample, "ea_imp"), value(sample, "p")) == (12345678, -12345)
    assert drops == {"echo": 2}


def test_late_answer_never_becomes_the_next_ones_value() -> None:
    """The answer to ea_imp comes 500 ms after a request with 400 ms of patience: the line waits it out."""
    profile = quick("cn.generic.dlt645-2007.3p4w", retries=0)
    samples: list[MeterSample] = []

    async def ask(line: Line) -> None:
        with pytest.raises(NoReply):
            await read_meter(line, profile, ONE, ["ea_imp"])
        samples.append(await read_meter(line, profile, TWO, ["ea_imp"]))

    meters = [SimMeter(profile, ONE, StillFace(FACE)), SimMeter(profile, TWO, StillFace({"ea_imp": 1}))]
    line = asyncio.run(on_tcp(lambda: Dlt645Slave(meters, faults=once(Fault.LATE), late_ms=LATE_MS), ask))

    assert value(samples[0], "ea_imp") == 1
    assert line.drops["stale bytes"] >= 20


def test_late_modbus_rtu_answer_never_becomes_the_next_ones_value() -> None:
    """pymodbus returns register 10's values for register 20 here (meter-protocols §9.3)."""
    profile = quick("cn.acrel.adl400", retries=0, register_gap_max=0)
    samples: list[MeterSample] = []

    async def ask(line: Line) -> None:
        with pytest.raises(NoReply):
            await read_meter(line, profile, "1", ["ea_imp"])
        samples.append(await read_meter(line, profile, "1", ["ea_exp"]))

    meter = SimMeter(profile, "1", StillFace({"ea_imp": 777, "ea_exp": 5}))
    asyncio.run(
        on_tcp(lambda: ModbusSlave([meter], rtu=True, faults=once(Fault.LATE), late_ms=LATE_MS), ask, "rtu")
    )

    assert value(samples[0], "ea_exp") == 5


BROKEN = [Fault.DROP, Fault.TRUNCATE, Fault.WRONG_ADDRESS, Fault.WRONG_ITEM, Fault.SHORT_ITEM]
# Modbus TCP has no checksum of its own: TCP's covers the bytes.
BROKEN_BY_FRAMING = [(fault, "tcp") for fault in BROKEN] + [
    (fault, "rtu") for fault in (*BROKEN, Fault.CORRUPT)
]


@pytest.mark.parametrize(("fault", "framing"), BROKEN_BY_FRAMING)
def test_modbus_answer_that_is_none_is_asked_again(fault: Fault, framing: str) -> None:
    samples: list[MeterSample] = []

    async def ask(line: Line) -> None:
        samples.append(await read_meter(line, ACREL, "1", ["u_a", "u_b", "freq"]))

    meter = SimMeter(ACREL, "1", StillFace({"u_a": 2301, "u_b": 2298, "freq": 5002}))
    asyncio.run(on_tcp(lambda: ModbusSlave([meter], rtu=framing == "rtu", faults=once(fault)), ask, framing))

    assert [value(samples[0], code) for code in ("u_a", "u_b", "freq")] == [2301, 2298, 5002]
    assert samples[0].quality == Quality.RETRY


def test_answer_of_the_wrong_length_is_missing_with_its_bytes() -> None:
    sample, _ = read_generic(always(Fault.SHORT_ITEM), "ea_imp")

    assert value(sample, "ea_imp") is None
    assert sample.quality == Quality.PARTIAL
    assert sample.problems == ("ea_imp: 00010000 has 3 bytes, 4 expected: 785634",)


def test_fill_bytes_are_missing_and_the_rest_of_the_meter_is_read() -> None:
    sample, _ = read_generic(once(Fault.NO_VALUE), "ea_imp", "ea_exp")

    assert (value(sample, "ea_imp"), value(sample, "ea_exp")) == (None, 901)
    assert sample.problems == ("ea_imp: 00010000 gives no number: ffffffff",)


def test_silent_meter_does_not_stop_its_neighbour() -> None:
    found: list[MeterSample] = []

    async def ask(line: Line) -> None:
        with pytest.raises(NoReply, match="9 00010000: no reply in 3 tries"):
            await read_meter(line, GENERIC, "9", ["ea_imp", "ea_exp"])
        found.append(await read_meter(line, GENERIC, ONE, ["ea_imp"]))

    asyncio.run(on_tcp(lambda: Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE))]), ask))

    assert value(found[0], "ea_imp") == 12345678


def test_meter_that_falls_silent_gives_what_it_had_said() -> None:
    sample, _ = read_generic(lambda address, number: Fault.DROP if number else None, "ea_imp", "ea_exp", "p")

    assert (value(sample, "ea_imp"), value(sample, "ea_exp")) == (12345678, None)
    assert sample.quality & Quality.PARTIAL
    assert "no reply in 3 tries" in sample.problems[0]


@pytest.mark.parametrize("part_bytes", [1, 2, 3, 48])
def test_block_in_tiny_parts_is_joined(part_bytes: int) -> None:
    sample, _ = read_generic(lambda address, number: None, "u_a", "u_b", "u_c", part_bytes=part_bytes)

    assert [value(sample, code) for code in ("u_a", "u_b", "u_c")] == [2299, 2301, 2303]


def test_lost_part_is_asked_again_by_its_number() -> None:
    sample, _ = read_generic(once(Fault.DROP, at=2), "u_a", "u_b", "u_c", part_bytes=2)

    assert [value(sample, code) for code in ("u_a", "u_b", "u_c")] == [2299, 2301, 2303]
    assert sample.quality == Quality.RETRY


def test_two_meters_answering_a_wildcard_garble_each_other() -> None:
    slave = Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE)), SimMeter(GENERIC, TWO, StillFace(FACE))])

    (sent,) = slave.receive(dlt645.frame(dlt645.wire_address(dlt645.WILDCARD), 0x13))

    reader = dlt645.FrameReader()
    assert reader.feed(sent.data) + reader.give_up() == []


@pytest.mark.parametrize(
    "request_",
    [
        dlt645.frame(dlt645.wire_address("999999999999"), 0x11, bytes.fromhex("00000100")),
        dlt645.frame(dlt645.wire_address("3"), 0x11, bytes.fromhex("00000100")),
        dlt645.frame(dlt645.wire_address(ONE), 0x1C, bytes(16)),
        dlt645.frame(dlt645.wire_address(ONE), 0x91, bytes.fromhex("00000100")),
        dlt645.frame(dlt645.wire_address(ONE), 0x11, bytes.fromhex("00000100"))[:-2] + b"\x00\x16",
        dlt645.time_broadcast(datetime(2026, 8, 1, tzinfo=UTC)),
        dlt645.freeze_broadcast(),
    ],
    ids=["read of 99", "foreign", "unknown function", "a reply", "checksum", "time", "freeze"],
)
def test_simulated_meter_is_silent_where_the_standard_says_so(request_: bytes) -> None:
    assert Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE))]).receive(request_) == ()


def test_broadcast_time_reaches_every_meter_of_the_line() -> None:
    meters = [SimMeter(GENERIC, ONE, StillFace(FACE)), SimMeter(GENERIC, TWO, StillFace(FACE))]
    instant = datetime(2026, 8, 1, 4, 30, 15, tzinfo=UTC)

    async def ask(line: Line) -> None:
        await set_clock_broadcast(line, "dlt645-2007", instant)
        await read_meter(line, GENERIC, ONE, ["ea_imp"])
        with pytest.raises(NoBroadcast):
            await set_clock_broadcast(line, "modbus-tcp", instant)

    asyncio.run(on_tcp(lambda: Dlt645Slave(meters), ask))

    assert [meter.heard_times for meter in meters] == [[instant], [instant]]


def test_many_readers_take_turns_on_one_line() -> None:
    samples: list[MeterSample] = []

    async def ask(line: Line) -> None:
        reads = [read_meter(line, GENERIC, (ONE, TWO)[n % 2], ["ea_imp", "p"]) for n in range(20)]
        samples.extend(await asyncio.gather(*reads))

    meters = [
        SimMeter(GENERIC, ONE, StillFace(FACE)),
        SimMeter(GENERIC, TWO, StillFace({**FACE, "ea_imp": 1})),
    ]
    asyncio.run(on_tcp(lambda: Dlt645Slave(meters), ask))

    assert [value(sample, "ea_imp") for sample in samples] == [12345678, 1] * 10
    assert {sample.quality for sample in samples} == {0}


class Flaky:
    """A serial server that closes the connection on its first request."""

    def __init__(self, good: Slave, connections: list[int]) -> None:
        connections[0] += 1
        self._good = good
        self._first = connections[0] == 1

    def receive(self, data: bytes) -> tuple[Sent, ...]:
        if self._first:
            raise ConnectionResetError
        return self._good.receive(data)

    def quiet(self) -> tuple[Sent, ...]:
        return ()


def test_broken_connection_is_opened_again_within_the_talk() -> None:
    connections, samples = [0], []

    async def ask(line: Line) -> None:
        samples.append(await read_meter(line, GENERIC, ONE, ["ea_imp"]))

    meter = SimMeter(GENERIC, ONE, StillFace(FACE))
    asyncio.run(on_tcp(lambda: Flaky(Dlt645Slave([meter]), connections), ask))

    assert value(samples[0], "ea_imp") == 12345678
    assert connections == [2]


def test_line_that_is_down_says_so_at_once_until_its_pause_is_over() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def ask() -> tuple[str, str, float]:
        line = await open_line(f"tcp://127.0.0.1:{port}")
        with pytest.raises(LineDown) as first:
            await read_meter(line, GENERIC, ONE, ["ea_imp"])
        started_s = line.now_s()
        with pytest.raises(LineDown) as second:
            await read_meter(line, GENERIC, ONE, ["ea_imp"])
        return str(first.value), str(second.value), line.now_s() - started_s

    first, second, took_s = asyncio.run(ask())

    assert "can't be opened" in first
    assert "is down; tried again in" in second
    assert took_s < 0.1


def test_serial_port_that_is_not_there_is_a_line_that_is_down() -> None:
    async def ask() -> None:
        line = await open_line("serial:///dev/ttyNOWHERE?baud=9600")
        with pytest.raises(LineDown, match="ttyNOWHERE"):
            await read_meter(line, GENERIC, ONE, ["ea_imp"])

    asyncio.run(ask())


@pytest.mark.parametrize("fault", [None, Fault.SPLIT, Fault.NOISE, Fault.DROP])
def test_meter_on_a_serial_port(fault: Fault | None) -> None:
    async def ask() -> MeterSample:
        faults = once(fault) if fault else lambda address, number: None
        port = simline.serve_pty(
            Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE))], faults=faults, seed=5)
        )
        line = await open_line(f"serial://{port.path}?baud=9600&parity=N")
        try:
            return await read_meter(line, GENERIC, ONE, ["ea_imp", "u_a", "u_b", "u_c"])
        finally:
            await line.close()
            port.close()

    sample = asyncio.run(ask())

    assert [value(sample, code) for code in ("ea_imp", "u_a", "u_b", "u_c")] == [12345678, 2299, 2301, 2303]


def test_second_master_is_kept_off_a_serial_port() -> None:
    async def ask() -> None:
        port = simline.serve_pty(Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE))]))
        first, second = [await open_line(f"serial://{port.path}?parity=N") for _ in range(2)]
        try:
            await read_meter(first, GENERIC, ONE, ["ea_imp"])
            with pytest.raises(LineDown, match="can't be opened"):
                await read_meter(second, GENERIC, ONE, ["ea_imp"])
        finally:
            await first.close()
            port.close()

    asyncio.run(ask())


def test_settings_that_the_port_refuses_are_a_line_that_is_down() -> None:
    """A pseudo terminal has no parity: asked for nothing but parity, the system says "invalid argument"."""

    async def story() -> None:
        port = simline.serve_pty(Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE))]))
        serial.Serial(
            port.path, baudrate=9600, parity="N"
        ).close()  # from now on only the parity would change
        line = await open_line(f"serial://{port.path}?baud=9600&parity=E")
        try:
            with pytest.raises(LineDown, match="parity=E"):
                await read_meter(line, GENERIC, ONE, ["ea_imp"])
        finally:
            await line.close()
            port.close()

    asyncio.run(story())


def test_serial_port_that_vanishes_is_a_line_that_is_down() -> None:
    async def ask() -> None:
        port = simline.serve_pty(Dlt645Slave([SimMeter(GENERIC, ONE, StillFace(FACE))]))
        line = await open_line(f"serial://{port.path}?parity=N")
        await read_meter(line, GENERIC, ONE, ["ea_imp"])
        port.close()
        with pytest.raises(LineDown):
            await read_meter(line, GENERIC, ONE, ["ea_imp"])
        await line.close()

    asyncio.run(ask())


def test_answer_to_a_cancelled_read_never_becomes_the_next_ones_value() -> None:
    """Over RTU the late answer has the shape of the next one, so only the closed line tells them apart."""
    samples: list[MeterSample] = []

    async def ask(line: Line) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await read_meter(line, ACREL, "1", ["ea_imp"])
        samples.append(await read_meter(line, ACREL, "1", ["ea_exp"]))

    meter = SimMeter(ACREL, "1", StillFace({"ea_imp": 777, "ea_exp": 5}))
    asyncio.run(
        on_tcp(lambda: ModbusSlave([meter], rtu=True, faults=always(Fault.LATE), late_ms=250), ask, "rtu")
    )

    assert value(samples[0], "ea_exp") == 5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "scheme '' is unknown"),
        ("udp://host:1", "scheme 'udp' is unknown"),
        ("tcp://host", "host or port is missing"),
        ("tcp://:7001", "host or port is missing"),
        ("tcp://host:70010", "Port out of range"),
        ("tcp://host:1?baud=2400", "option 'baud' is unknown, tcp has framing, gap_ms"),
        ("tcp://host:1?gap_ms=-1", "gap_ms is a number"),
        ("tcp://host:1?framing=ascii", "framing is tcp or rtu"),
        ("serial://ttyUSB0", "the device's path starts after serial://"),
        ("serial:///dev/ttyUSB0?baud=fast", "baud is a number"),
        ("serial:///dev/ttyUSB0?baud=1", "baud is a number"),
        ("serial:///dev/ttyUSB0?parity=M", "parity is N, E or O"),
        (
            "serial:///dev/ttyUSB0?speed=9600",
            "option 'speed' is unknown, serial has baud, parity, stop, gap_ms",
        ),
    ],
)
def test_bad_url_names_what_is_allowed(url: str, said: str) -> None:
    with pytest.raises(BadUrl, match="allowed: tcp://host:port or serial:///dev/name") as refused:
        line_url(url)

    assert said in str(refused.value)


def test_patience_comes_from_the_profile() -> None:
    assert Patience.of(PROFILES["cn.generic.dlt645-2007.3p4w"].link) == Patience(1.5, 0.5, 0.03, 0.7)
