"""Nothing of ours checks ours: independent implementations on the other end of real sockets and ports.

PyPI `dlt645` 3.2.0 sends address strings in natural order, so it is given the reversed address, one
meter per port; its time broadcast, freeze and demand time deviate from the standard and are not used
(meter-protocols §11.3, §11.4).
"""

import asyncio
import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from dlt645 import MeterClientService, MeterServerService
from dlt645.model.types.dlt645_type import Demand
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.drivers import simline
from edge_agent.drivers.bus import open_line
from edge_agent.drivers.read import MeterSample, read_address, read_meter
from edge_agent.drivers.sim import Dlt645Slave, ModbusSlave, SimMeter, StillFace
from edge_agent.profile import Profile
from edge_agent.wire.batch import CHANNEL_COLUMN, Quality
from firmware_profiles import load_profiles

PROFILES = load_profiles()
GENERIC = PROFILES["cn.generic.dlt645-2007.3p4w"]
ACREL = PROFILES["cn.acrel.adl400"]
EASTRON = PROFILES["uk.eastron.sdm630"]
METER = "202600000017"
WIRE_ORDER = "170000002620"  # what the peer must be given for METER


def shown(sample: MeterSample, profile: Profile) -> dict[str, int]:
    return {
        code: ticks for code in profile.codes if (ticks := sample.ticks[CHANNEL_COLUMN[code]]) is not None
    }


async def read_once(url: str, profile: Profile, address: str, codes: tuple[str, ...]) -> MeterSample:
    line = await open_line(url)
    try:
        return await read_meter(line, profile, address, codes)
    finally:
        await line.close()


# ---------------------------------------------------------------- DL/T 645


@contextmanager
def peer_meter() -> Iterator[MeterServerService]:
    meter = MeterServerService.new_tcp_server("127.0.0.1", 0, 3.0)
    meter.set_address(WIRE_ORDER)
    assert meter.server.start()
    try:
        yield meter
    finally:
        meter.server.stop()


def test_our_driver_reads_the_peers_meter() -> None:
    with peer_meter() as meter:
        meter.set_00(0x00010000, 123456.78)
        meter.set_00(0x00020000, 9.01)
        meter.set_00(0x00030000, 321.5)
        meter.set_02(0x02010100, 229.9)
        meter.set_02(0x02020100, -4.999)
        meter.set_02(0x02030000, -1.2345)
        meter.set_02(0x02060000, -0.987)
        meter.set_02(0x02800002, 50.03)
        meter.set_01(0x01010000, Demand(12.3456, datetime(2026, 8, 1, 9, 15)))  # noqa: DTZ001
        codes = ("ea_imp", "ea_exp", "er_imp", "u_a", "i_a", "p", "pf", "freq", "md_imp")

        sample = asyncio.run(read_once(f"tcp://127.0.0.1:{meter.server.port}", GENERIC, METER, codes))

    assert sample.problems == ()
    assert sample.quality == 0
    assert shown(sample, GENERIC) == {
        "ea_imp": 12345678, "ea_exp": 901, "er_imp": 32150, "u_a": 2299, "i_a": -4999,
        "p": -12345, "pf": -987, "freq": 5003, "md_imp": 123456,
    }  # fmt: skip


def test_meter_without_blocks_is_read_item_by_item_and_remembered() -> None:
    async def twice(url: str) -> tuple[MeterSample, MeterSample, int | None]:
        line = await open_line(url)
        first = await read_meter(line, GENERIC, METER, ("u_a", "u_b", "u_c"))
        second = await read_meter(line, GENERIC, METER, ("u_a", "u_b", "u_c"))
        remembered = line.refusals.recall(METER, "0201FF00", line.now_s())
        await line.close()
        return first, second, remembered

    with peer_meter() as meter:
        for di, volts in ((0x02010100, 230.1), (0x02010200, 230.2), (0x02010300, 230.3)):
            meter.set_02(di, volts)
        first, second, remembered = asyncio.run(twice(f"tcp://127.0.0.1:{meter.server.port}"))

    assert shown(first, GENERIC) == shown(second, GENERIC) == {"u_a": 2301, "u_b": 2302, "u_c": 2303}
    assert first.problems == ()
    assert remembered == 0x02


def test_peers_meter_tells_its_address() -> None:
    async def ask(url: str) -> str:
        line = await open_line(url)
        address = await read_address(line, GENERIC)
        await line.close()
        return address

    with peer_meter() as meter:
        assert asyncio.run(ask(f"tcp://127.0.0.1:{meter.server.port}")) == METER


def peer_reads(port: int) -> dict[str, object]:
    client = MeterClientService.new_tcp_client("127.0.0.1", port, timeout=2)
    try:
        client.set_address(WIRE_ORDER)
        asked = {
            "ea_imp": client.read_00(0x00010000),
            "u_a": client.read_02(0x02010100),
            "p": client.read_02(0x02030000),
            "pf": client.read_02(0x02060000),
            "freq": client.read_02(0x02800002),
            "nothing": client.read_00(0x00050000),
        }
        found = {name: item.value if item else None for name, item in asked.items()}
        address = client.read_address()
        return found | {"address": address.value if address else None}
    finally:
        client.client.disconnect()


def test_peers_client_reads_our_meter() -> None:
    face = StillFace({"ea_imp": 12345678, "u_a": 2299, "p": -12345, "pf": -987, "freq": 5003})

    async def serve() -> dict[str, object]:
        server = await simline.serve_tcp(lambda: Dlt645Slave([SimMeter(GENERIC, METER, face)], seed=7))
        async with server:
            return await asyncio.to_thread(peer_reads, server.sockets[0].getsockname()[1])

    assert asyncio.run(serve()) == {
        "ea_imp": 123456.78, "u_a": 229.9, "p": -1.2345, "pf": -0.987, "freq": 50.03, "nothing": None,
        "address": WIRE_ORDER,
    }  # fmt: skip


# ---------------------------------------------------------------- Modbus

ACREL_REGISTERS = [
    SimData(0x0A, values=[12345678], datatype=DataType.INT32),
    SimData(0x0C, count=8, values=0, datatype=DataType.REGISTERS),
    SimData(0x14, values=[1], datatype=DataType.INT32),
    SimData(0x16, count=18, values=0, datatype=DataType.REGISTERS),
    SimData(0x28, values=[456789], datatype=DataType.INT32),
    SimData(0x2A, count=8, values=0, datatype=DataType.REGISTERS),
    SimData(0x32, values=[0], datatype=DataType.INT32),
    SimData(0x61, values=[2301, 2298, 2310, 1234, 5, 789], datatype=DataType.REGISTERS),
    SimData(0x77, values=5002, datatype=DataType.REGISTERS),
    SimData(0x16A, values=[-12345], datatype=DataType.INT32),
    SimData(0x172, values=[2001], datatype=DataType.INT32),
    SimData(0x17F, values=[-987], datatype=DataType.INT16),
]
ACREL_FACE = {
    "ea_imp": 12345678, "ea_exp": 1, "er_imp": 456789, "er_exp": 0, "p": -12345, "q": 2001, "pf": -987,
    "u_a": 2301, "u_b": 2298, "u_c": 2310, "i_a": 1234, "i_b": 5, "i_c": 789, "freq": 5002,
}  # fmt: skip
EASTRON_REGISTERS = [
    SimData(0x00, values=[230.5, 229.25, 231.125, 1.5, 0.125, 10.0], datatype=DataType.FLOAT32),
    SimData(0x34, values=[-1234.5, 0.0, 0.0, 0.0, 500.0, -0.5], datatype=DataType.FLOAT32),
    SimData(0x40, count=6, values=0, datatype=DataType.REGISTERS),
    SimData(
        0x46, values=[50.0, 123456.78, 0.0, 1000.25, 0.125, 0.0, 0.0, 0.0, 9999.0], datatype=DataType.FLOAT32
    ),
]
EASTRON_FACE = {
    "ea_imp": 12345678, "ea_exp": 0, "er_imp": 100025, "er_exp": 12, "p": -12345, "q": 5000, "pf": -500,
    "u_a": 2305, "u_b": 2292, "u_c": 2311, "i_a": 1500, "i_b": 125, "i_c": 10000, "freq": 5000, "md_imp": 99990,
}  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "registers", "face"),
    [(ACREL, ACREL_REGISTERS, ACREL_FACE), (EASTRON, EASTRON_REGISTERS, EASTRON_FACE)],
    ids=["int32", "float32"],
)
@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_our_driver_reads_a_pymodbus_server(
    profile: Profile, registers: list[SimData], face: dict[str, int], framing: str
) -> None:
    """The Acrel registers leave holes where the profile reads along: the driver then asks one by one."""

    async def serve() -> MeterSample:
        framer = FramerType.SOCKET if framing == "tcp" else FramerType.RTU
        server = ModbusTcpServer([SimDevice(5, simdata=registers)], framer=framer, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        port = server.transport.sockets[0].getsockname()[1]
        try:
            return await read_once(f"tcp://127.0.0.1:{port}?framing={framing}", profile, "5", profile.codes)
        finally:
            await server.shutdown()

    sample = asyncio.run(serve())

    assert sample.problems == ()
    assert shown(sample, profile) == face


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_pymodbus_client_reads_our_meter(framing: str) -> None:
    async def serve() -> tuple[list[int], list[float], bool]:
        meters = [
            SimMeter(ACREL, "1", StillFace(ACREL_FACE)),
            SimMeter(EASTRON, "2", StillFace(EASTRON_FACE)),
        ]
        server = await simline.serve_tcp(lambda: ModbusSlave(meters, rtu=framing == "rtu"))
        port = server.sockets[0].getsockname()[1]
        framer = FramerType.SOCKET if framing == "tcp" else FramerType.RTU
        async with server:
            client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=2, retries=0)
            await client.connect()
            integers = await client.read_holding_registers(0x0A, count=2, device_id=1)
            floats = await client.read_input_registers(0x00, count=6, device_id=2)
            outside = await client.read_holding_registers(0x900, count=2, device_id=1)
            client.close()
        as_floats = client.convert_from_registers(floats.registers, client.DATATYPE.FLOAT32)
        assert isinstance(as_floats, list)
        return integers.registers, as_floats, outside.isError()  # type: ignore[return-value]

    assert asyncio.run(serve()) == ([0x00BC, 0x614E], pytest.approx([230.5, 229.2, 231.1]), True)


@pytest.fixture
def mbpoll() -> str:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("mbpoll is not installed (Debian package mbpoll)")
    return program


def polled(output: str) -> dict[int, str]:
    """Read mbpoll's lines `[362]: \t-12345`."""
    found = {}
    for row in output.splitlines():
        if row.startswith("["):
            register, _, value = row.partition("]:")
            found[int(register[1:])] = value.split()[0]
    return found


def test_mbpoll_reads_our_int32_meter_over_tcp(mbpoll: str) -> None:
    async def serve() -> str:
        server = await simline.serve_tcp(lambda: ModbusSlave([SimMeter(ACREL, "9", StillFace(ACREL_FACE))]))
        port = str(server.sockets[0].getsockname()[1])
        command = [
            mbpoll,
            "-m",
            "tcp",
            "-p",
            port,
            "-a",
            "9",
            "-t",
            "4:int",
            "-B",
            "-0",
            "-r",
            "362",
            "-c",
            "5",
            "-1",
            "127.0.0.1",
        ]
        async with server:
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=20, check=False
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert polled(asyncio.run(serve())) == {362: "-12345", 364: "0", 366: "0", 368: "0", 370: "2001"}


def test_mbpoll_reads_our_float32_meter_over_a_serial_port(mbpoll: str) -> None:
    async def serve() -> str:
        port = simline.serve_pty(ModbusSlave([SimMeter(EASTRON, "2", StillFace(EASTRON_FACE))], rtu=True))
        command = [
            mbpoll,
            "-m",
            "rtu",
            "-P",
            "none",
            "-b",
            "9600",
            "-a",
            "2",
            "-t",
            "3:float",
            "-B",
            "-0",
            "-r",
            "0",
            "-c",
            "6",
            "-1",
            port.path,
        ]
        try:
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=20, check=False
            )
        finally:
            port.close()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert polled(asyncio.run(serve())) == {
        0: "230.5",
        2: "229.2",
        4: "231.1",
        6: "1.5",
        8: "0.125",
        10: "10",
    }


def test_partial_face_is_flagged() -> None:
    async def serve() -> MeterSample:
        face = StillFace({**ACREL_FACE, "p": None})
        server = await simline.serve_tcp(lambda: ModbusSlave([SimMeter(ACREL, "1", face)]))
        async with server:
            url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await read_once(url, ACREL, "1", ("p", "q"))

    sample = asyncio.run(serve())

    assert sample.quality == Quality.PARTIAL
    assert shown(sample, ACREL) == {"q": 2001}
    assert sample.problems == ("p: register 362 says no value: 7FFFFFFF",)


logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
