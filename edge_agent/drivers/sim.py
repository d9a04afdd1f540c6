"""Simulated meters: bytes in, bytes out, as strict as a good meter and stricter than most peers. Pure.

A `SimMeter` is a profile, an address and a `MeterFace`: whatever knows the registers at this moment. Its
DL/T 645 items and Modbus registers follow from the profile, so every profile can be simulated. A slave
(`Dlt645Slave`, `ModbusSlave`) is one connection's view of the meters on a line.

DL/T 645: silent on a bad checksum, a foreign address, a read of 99..99 and an unknown function; answers
AA wildcards from its real address; two meters that answer at once garble each other; 0 to 4 FE in front;
follow-on frames with SEQ; error frames D1. Faults come from a plan, so a test can ask for each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from edge_agent.drivers import dlt645, modbus, values
from edge_agent.drivers.dlt645 import Frame
from edge_agent.profile import Channel, Profile

FIRST_PART_MAX: Final = 196  # a data field of 200 bytes less the DI
NEXT_PART_MAX: Final = 195  # and less SEQ
LATE_MS: Final = 900
_ERROR = 0x40
_MORE = 0x20
_NO_SUCH_DATA = 0x02
_NOT_AUTHORISED = 0x04


class MeterFace(Protocol):
    """What a meter shows at this moment."""

    def ticks(self, code: str) -> int | None:
        """Give the channel in ticks of the profile's decimals; None is shown as the meter's "no value"."""


@dataclass(frozen=True, slots=True)
class StillFace:
    """A meter whose registers do not move."""

    by_code: Mapping[str, int | None]

    def ticks(self, code: str) -> int | None:
        """Give the fixed value."""
        return self.by_code.get(code)


class Fault(StrEnum):
    """What can go wrong with one answer."""

    DROP = "drop"
    TRUNCATE = "truncate"
    CORRUPT = "corrupt"
    DUPLICATE = "duplicate"
    LATE = "late"
    WRONG_ADDRESS = "wrong address"
    WRONG_ITEM = "wrong item"  # another DI; over Modbus another function code
    SHORT_ITEM = "short item"  # one byte or register too few, checksum right
    NO_VALUE = "no value"  # FF fill
    NOISE = "noise"  # garbage with a false header in front
    SPLIT = "split"  # byte by byte


FaultPlan = Callable[[str, int], Fault | None]
"""(meter address, number of the answer from 0) → what goes wrong with it."""


def faultless(address: str, number: int) -> Fault | None:
    """Plan no fault."""
    return None


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes on the line, this long after the request."""

    data: bytes
    after_ms: int = 0


@dataclass(slots=True)
class SimMeter:
    """One meter on a line. `extra` holds further DL/T 645 items: DI → data behind it."""

    profile: Profile
    address: str
    face: MeterFace
    extra: Mapping[str, bytes] = field(default_factory=dict)
    heard_times: list[datetime] = field(default_factory=list)  # broadcasts of the time
    freezes: int = 0


class Slave(Protocol):
    """One connection to a line with meters on it."""

    def receive(self, data: bytes) -> tuple[Sent, ...]:
        """Take what the master sent; give what the meters put on the line."""

    def quiet(self) -> tuple[Sent, ...]:
        """The master has been quiet for a byte gap: drop half requests."""


# ---------------------------------------------------------------- DL/T 645


class Dlt645Slave:
    """The DL/T 645-2007 meters of one line."""

    def __init__(
        self,
        meters: Sequence[SimMeter],
        *,
        seed: int = 0,
        part_bytes: int = FIRST_PART_MAX,
        echo: bool = False,
        faults: FaultPlan = faultless,
        late_ms: int = LATE_MS,
    ) -> None:
        self._late_ms = late_ms
        self._meters = tuple((dlt645.wire_address(meter.address), meter) for meter in meters)
        self._reader = dlt645.FrameReader()
        self._random = _Random(seed)
        self._part_bytes = part_bytes
        self._echo = echo
        self._faults = faults
        self._rest: dict[bytes, tuple[bytes, list[bytes]]] = {}  # meter → DI and parts behind the first
        self._answers = 0

    def receive(self, data: bytes) -> tuple[Sent, ...]:
        """Take bytes from the master, give the line's answers."""
        echo = (Sent(data),) if self._echo else ()
        return echo + tuple(sent for request in self._reader.feed(data) for sent in self._answer(request))

    def quiet(self) -> tuple[Sent, ...]:
        """Break off a half request."""
        return tuple(sent for request in self._reader.give_up() for sent in self._answer(request))

    def _answer(self, request: Frame) -> tuple[Sent, ...]:
        if request.control & 0x80:
            return ()
        called = [(wire, m) for wire, m in self._meters if self._called(request, wire)]
        answers = [(wire, m, self._reply(request, wire, m)) for wire, m in called]
        spoken = [(wire, m, reply) for wire, m, reply in answers if reply is not None]
        if not spoken:
            return ()
        if len(spoken) > 1:
            return (
                Sent(_collision([dlt645.frame(r.wire_address, r.control, r.data) for _, _, r in spoken])),
            )
        _, meter, reply = spoken[0]
        fault = self._faults(meter.address, self._answers)
        self._answers += 1
        return self._with_fault(reply, fault)

    @staticmethod
    def _called(request: Frame, wire: bytes) -> bool:
        if request.address == dlt645.BROADCAST:
            return request.control in (0x08, 0x16)
        return dlt645.same_meter(request.wire_address, wire)

    def _reply(self, request: Frame, wire: bytes, meter: SimMeter) -> Frame | None:
        """Carry out one request; None is silence."""
        function, data = request.control, request.data
        everybody = request.address == dlt645.BROADCAST
        if function == 0x08:
            heard = values.moment(data)
            if heard is not None:
                meter.heard_times.append(heard)
            return None
        if function == 0x16 and len(data) == 4:
            meter.freezes += 1
            return None if everybody else Frame(wire, 0x96, b"")
        if function == 0x13 and not data:
            return Frame(wire, 0x93, wire)
        if function == 0x11 and len(data) >= 4:
            return self._read(wire, meter, data[:4])
        if function == 0x12 and len(data) == 5:
            return self._follow(wire, data[:4], data[4])
        if function == 0x14:
            return Frame(wire, 0x94 | _ERROR, bytes((_NOT_AUTHORISED,)))
        return None

    def _read(self, wire: bytes, meter: SimMeter, di: bytes) -> Frame:
        answer = item_data(meter, di[::-1].hex().upper())
        if answer is None:
            return Frame(wire, 0x91 | _ERROR, bytes((_NO_SUCH_DATA,)))
        first = min(self._part_bytes, FIRST_PART_MAX)
        step = min(self._part_bytes, NEXT_PART_MAX)
        parts = [answer[at : at + step] for at in range(first, len(answer), step)]
        self._rest[wire] = di, parts
        return Frame(wire, 0x91 | (_MORE if parts else 0), di + answer[:first])

    def _follow(self, wire: bytes, di: bytes, seq: int) -> Frame:
        asked, parts = self._rest.get(wire, (b"", []))
        if asked != di or not 1 <= seq <= len(parts):
            return Frame(wire, 0x92 | _ERROR, bytes((_NO_SUCH_DATA,)))
        more = _MORE if seq < len(parts) else 0
        return Frame(wire, 0x92 | more, di + parts[seq - 1] + bytes((seq,)))

    def _with_fault(self, reply: Frame, fault: Fault | None) -> tuple[Sent, ...]:
        if fault is Fault.WRONG_ADDRESS:
            reply = reply._replace(
                wire_address=bytes((reply.wire_address[0] ^ 0x01,)) + reply.wire_address[1:]
            )
        elif fault is Fault.WRONG_ITEM:
            reply = reply._replace(data=bytes((reply.data[0] ^ 0x01,)) + reply.data[1:])
        elif fault is Fault.SHORT_ITEM:
            reply = reply._replace(data=reply.data[:-1])
        elif fault is Fault.NO_VALUE:
            reply = reply._replace(data=reply.data[:4] + b"\xff" * (len(reply.data) - 4))
        wire = dlt645.frame(reply.wire_address, reply.control, reply.data, self._random.below(5))
        noise = b"\xff\x68" + bytes(6) + b"\x68\x91\xc8"  # a false header that claims 200 bytes
        return _line_fault(wire, fault, noise, self._late_ms)


def item_data(meter: SimMeter, di: str) -> bytes | None:
    """Give the data behind a DI as the meter would answer it; None is D1 "no such data"."""
    if di in meter.extra:
        return meter.extra[di]
    if di in ("04000401", "04000402"):
        return dlt645.wire_address(meter.address)
    for block in meter.profile.blocks:
        if block.di == di:
            given = [meter.profile.channel(code) for code in block.gives]
            fill = b"\xff" * (given[0].item_bytes * max(0, block.items - len(given)))
            return b"".join(_item(meter, channel) for channel in given) + fill
    for channel in meter.profile.channels:
        if channel.di == di:
            item = _item(meter, channel)
            return item + bytes(channel.reply_bytes - len(item))
    return None


def _item(meter: SimMeter, channel: Channel) -> bytes:
    return values.item_bytes(channel, meter.face.ticks(channel.code))


# ---------------------------------------------------------------- Modbus


class ModbusSlave:
    """The Modbus meters of one line or gateway, by unit id; silent for a unit that is not there."""

    def __init__(
        self,
        meters: Sequence[SimMeter],
        *,
        rtu: bool = False,
        echo: bool = False,
        faults: FaultPlan = faultless,
        late_ms: int = LATE_MS,
    ) -> None:
        self._late_ms = late_ms
        self._meters = {int(meter.address): meter for meter in meters}
        self._rtu = rtu
        self._echo = echo
        self._faults = faults
        self._held = b""
        self._answers = 0

    def receive(self, data: bytes) -> tuple[Sent, ...]:
        """Take bytes from the master, give the line's answers."""
        self._held = (self._held + data)[-1024:]
        sent: list[Sent] = [Sent(data)] if self._echo else []
        while True:
            request = self._next_rtu() if self._rtu else self._next_tcp()
            if request is None:
                return tuple(sent)
            sent += self._answer(*request)

    def quiet(self) -> tuple[Sent, ...]:
        """Drop half a request: RTU frames end with silence."""
        self._held = b""
        return ()

    def _next_tcp(self) -> tuple[int, int, bytes] | None:
        size = 6 + int.from_bytes(self._held[4:6], "big")
        if len(self._held) < 8 or len(self._held) < size:
            return None
        adu, self._held = self._held[:size], self._held[size:]
        if adu[2:4] != b"\0\0":
            self._held = b""
            return None
        return int.from_bytes(adu[:2], "big"), adu[6], adu[7:]

    def _next_rtu(self) -> tuple[int, int, bytes] | None:
        """Every request a meter understands has 8 bytes; resynchronise byte by byte on the checksum."""
        while len(self._held) >= 8:
            adu = self._held[:8]
            if modbus.crc16(adu[:6]).to_bytes(2, "little") == adu[6:]:
                self._held = self._held[8:]
                return 0, adu[0], adu[1:6]
            self._held = self._held[1:]
        return None

    def _answer(self, transaction: int, unit: int, request: bytes) -> tuple[Sent, ...]:
        meter = self._meters.get(unit)
        if meter is None or not request:
            return ()
        fault = self._faults(meter.address, self._answers)
        self._answers += 1
        pdu = registers_pdu(meter, request)
        if fault is Fault.WRONG_ADDRESS:
            unit ^= 0x01
        elif fault is Fault.WRONG_ITEM:
            pdu = bytes((pdu[0] ^ 0x07,)) + pdu[1:]  # 3 ⇄ 4
        elif fault is Fault.SHORT_ITEM:
            pdu = bytes((pdu[0], pdu[1] - 2)) + pdu[2:-2]
        elif fault is Fault.NO_VALUE:
            pdu = pdu[:2] + b"\xff" * (len(pdu) - 2)
        adu = modbus.rtu(unit, pdu) if self._rtu else modbus.mbap(transaction, unit, pdu)
        noise = modbus.rtu(unit, pdu)[:-1] if self._rtu else modbus.mbap(transaction ^ 1, unit, pdu)
        return _line_fault(adu, fault, noise, self._late_ms)


def registers_pdu(meter: SimMeter, request: bytes) -> bytes:
    """Answer one read request; exceptions after Modbus Application Protocol V1.1b3 §7."""
    function = request[0]
    if function not in (3, 4):
        return bytes((function | 0x80, 1))
    address, count = int.from_bytes(request[1:3], "big"), int.from_bytes(request[3:5], "big")
    if len(request) != 5 or not 1 <= count <= 125:
        return bytes((function | 0x80, 3))
    held: dict[int, bytes] = {}
    for channel in meter.profile.channels:
        if channel.fc == function:
            raw = values.register_bytes(channel, meter.face.ticks(channel.code))
            held |= {channel.address + n // 2: raw[n : n + 2] for n in range(0, len(raw), 2)}
    wanted = range(address, address + count)
    shut = any(first < wanted.stop and wanted.start < end for first, end in meter.profile.link.forbidden)
    if not held or wanted.start < min(held) or wanted.stop - 1 > max(held) or shut:
        return bytes((function | 0x80, 2))
    return bytes((function, 2 * count)) + b"".join(held.get(register, b"\0\0") for register in wanted)


# ---------------------------------------------------------------- the line


def _line_fault(wire: bytes, fault: Fault | None, noise: bytes, late_ms: int) -> tuple[Sent, ...]:
    """Put a frame on the line the way the fault wants it."""
    if fault is Fault.DROP:
        return ()
    if fault is Fault.TRUNCATE:
        return (Sent(wire[:-3]),)
    if fault is Fault.CORRUPT:
        middle = len(wire) // 2
        return (Sent(wire[:middle] + bytes((wire[middle] ^ 0x10,)) + wire[middle + 1 :]),)
    if fault is Fault.DUPLICATE:
        return (Sent(wire + wire),)
    if fault is Fault.LATE:
        return (Sent(wire, late_ms),)
    if fault is Fault.NOISE:
        return (Sent(noise + wire),)
    if fault is Fault.SPLIT:
        return tuple(Sent(wire[at : at + 1], at) for at in range(len(wire)))
    return (Sent(wire),)


def _collision(frames: list[bytes]) -> bytes:
    """Two drivers on one pair of wires: a 0 wins over a 1."""
    garbled = frames[0]
    for other in frames[1:]:
        garbled = bytes(one & two for one, two in zip(garbled, other, strict=False))
    return garbled


class _Random:
    """A repeatable sequence from a seed (Numerical Recipes' linear congruential generator)."""

    def __init__(self, seed: int) -> None:
        self._state = seed & 0xFFFFFFFF

    def below(self, end: int) -> int:
        self._state = (1664525 * self._state + 1013904223) & 0xFFFFFFFF
        return (self._state >> 16) % end
