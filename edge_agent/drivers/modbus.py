"""Modbus TCP and RTU: framing and matching our own, PDUs by pymodbus (ADR 12). Pure.

    MBAP   tid(2) 0000 length(2) unit(1) | PDU          Modbus TCP
    RTU    unit(1) | PDU | CRC-16, low byte first        serial port or transparent TCP serial server

pymodbus' own RTU framer returns a late reply for the next request, accepts a wrong function code and a
short register count; here an answer must fit transaction (TCP), unit, function and byte count, and
anything else is dropped and counted. RTU carries no transaction number: there a late reply of the same
shape can't be told from the answer, so the line stays closed for a while after a timeout (`bus`).
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from edge_agent.drivers.talk import Answer, MeterRefused, NoReply, NoSuchData, Silence, Talk
from edge_agent.profile import Channel, Link
from edge_agent.profile.model import REGISTERS_BY_TYPE

_ERROR = 0x80
_MBAP_BYTES = 7
_ADU_BYTES_MAX = 260  # Modbus Messaging on TCP/IP Implementation Guide §4.1
_NO_SUCH_DATA_CODES = (1, 2, 3)  # illegal function, address, value; 4 to 11 are states that pass
_DECODER: Final = DecodePDU(False)


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """One request: registers [address, address + count), and the channels that lie in them."""

    fc: int
    address: int
    count: int
    channels: tuple[Channel, ...]


# ---------------------------------------------------------------- what to ask


def coalesced(channels: Iterable[Channel], link: Link) -> tuple[RegisterRead, ...]:
    """Join neighbouring channels into few reads: gaps and sizes within the link's limits.

    No read touches a forbidden register; every channel is in exactly one read.
    """
    reads: list[RegisterRead] = []
    for channel in sorted(channels, key=lambda channel: (channel.fc, channel.address)):
        size = REGISTERS_BY_TYPE[channel.type]
        if reads and _joins(reads[-1], channel, size, link):
            last = reads.pop()
            end = max(last.address + last.count, channel.address + size)
            reads.append(RegisterRead(last.fc, last.address, end - last.address, (*last.channels, channel)))
        else:
            reads.append(RegisterRead(channel.fc, channel.address, size, (channel,)))
    return tuple(reads)


def _joins(read: RegisterRead, channel: Channel, size: int, link: Link) -> bool:
    read_end, end = read.address + read.count, channel.address + size
    return (
        read.fc == channel.fc
        and channel.address - read_end <= link.register_gap_max
        and max(end, read_end) - read.address <= link.registers_max
        and not any(first < end and read.address < stop for first, stop in link.forbidden)
    )


def cut(read: RegisterRead, channel: Channel, data: bytes) -> bytes:
    """Cut one channel's registers out of a read's answer."""
    start = 2 * (channel.address - read.address)
    return data[start : start + 2 * REGISTERS_BY_TYPE[channel.type]]


# ---------------------------------------------------------------- frames


def request_pdu(fc: int, address: int, count: int) -> bytes:
    """Build a read request. Raises ValueError beyond 125 registers."""
    kind = ReadHoldingRegistersRequest if fc == 3 else ReadInputRegistersRequest
    return bytes((fc,)) + kind(address=address, count=count).encode()


def mbap(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Put the TCP header in front of a PDU."""
    return b"%b\0\0%b%c%b" % (transaction.to_bytes(2, "big"), (len(pdu) + 1).to_bytes(2, "big"), unit, pdu)


def rtu(unit: int, pdu: bytes) -> bytes:
    """Put unit and checksum around a PDU."""
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


def crc16(data: bytes) -> int:
    """Compute the checksum of Modbus over Serial Line §6.2.2, table-driven."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(_crc_entry(byte) for byte in range(256))


# ---------------------------------------------------------------- talks


def read_tcp(unit: int, read: RegisterRead, transactions: Iterator[int], *, tries: int = 1) -> Talk[Answer]:
    """Read registers over Modbus TCP; each try takes the line's next transaction number.

    Raises NoReply, NoSuchData, MeterRefused.
    """
    pdu = request_pdu(read.fc, read.address, read.count)
    drops: Counter[str] = Counter()
    for attempt in range(1, tries + 1):
        transaction = next(transactions)
        try:
            answer = yield from _hear_tcp(mbap(transaction, unit, pdu), transaction, read, drops)
        except Silence:
            continue
        return Answer(str(unit), _register_bytes(unit, read, answer), attempt, dict(drops))
    raise NoReply(_label(unit, read), tries, drops)


def read_rtu(unit: int, read: RegisterRead, *, tries: int = 1) -> Talk[Answer]:
    """Read registers over RTU framing. Raises NoReply, NoSuchData, MeterRefused."""
    request = rtu(unit, request_pdu(read.fc, read.address, read.count))
    drops: Counter[str] = Counter()
    for attempt in range(1, tries + 1):
        try:
            answer = yield from _hear_rtu(request, unit, read, drops)
        except Silence:
            continue
        return Answer(str(unit), _register_bytes(unit, read, answer), attempt, dict(drops))
    raise NoReply(_label(unit, read), tries, drops)


def _hear_tcp(request: bytes, transaction: int, read: RegisterRead, drops: Counter[str]) -> Talk[bytes]:
    """Wait for the MBAP frame of this transaction; give its PDU."""
    unit = request[6]
    held = yield request
    while True:
        while len(held) >= _MBAP_BYTES + 1:
            length = int.from_bytes(held[4:6], "big")
            if held[2:4] != b"\0\0" or not 3 <= length <= _ADU_BYTES_MAX - 6:
                # TCP does not lose bytes: what is no header here is no Modbus, and nothing behind it can be found.
                drops["not Modbus TCP"] += 1
                held = b""
                break
            if len(held) < 6 + length:
                break
            reason = _unfit(held[7 : 6 + length], read)
            if int.from_bytes(held[:2], "big") != transaction:
                reason = "other transaction"
            elif held[6] != unit:
                reason = "other meter"
            if not reason:
                return held[7 : 6 + length]
            drops[reason] += 1
            held = held[6 + length :]
        held += yield b""


def _hear_rtu(request: bytes, unit: int, read: RegisterRead, drops: Counter[str]) -> Talk[bytes]:
    """Wait for a whole RTU frame of this unit, function and size; give its PDU."""
    starts = (bytes((unit, read.fc, 2 * read.count)), bytes((unit, read.fc | _ERROR)))
    held = yield request
    while True:
        if held.startswith(request):
            drops["echo"] += 1
            held = held[len(request) :]
        for start, size in zip(starts, (5 + 2 * read.count, 5), strict=True):
            at = held.find(start)
            while at >= 0 and at + size <= len(held):
                if crc16(held[at : at + size - 2]).to_bytes(2, "little") == held[at + size - 2 : at + size]:
                    if at:
                        drops["bytes before the frame"] += at
                    return held[at + 1 : at + size - 2]
                at = held.find(start, at + 1)
        received = yield b""
        if not received:
            if held:
                drops["bytes that are no answer"] += len(held)
            held = b""
        held = (held + received)[-2 * _ADU_BYTES_MAX :]


def _unfit(pdu: bytes, read: RegisterRead) -> str:
    """Say why this PDU does not answer the question; empty when it does."""
    if pdu[0] == read.fc | _ERROR:
        return "" if len(pdu) == 2 else "wrong length"
    if pdu[0] != read.fc:
        return "other function"
    return "" if pdu[1] == 2 * read.count and len(pdu) == 2 + pdu[1] else "wrong length"


def _register_bytes(unit: int, read: RegisterRead, pdu: bytes) -> bytes:
    answer = _DECODER.decode(pdu)
    if answer is None:  # pymodbus refuses what `_unfit` let pass: a difference in reading the standard
        raise MeterRefused(_label(unit, read), 0)
    if answer.isError():
        refusal = NoSuchData if answer.exception_code in _NO_SUCH_DATA_CODES else MeterRefused
        raise refusal(_label(unit, read), answer.exception_code)
    return struct.pack(f">{read.count}H", *answer.registers)


def _label(unit: int, read: RegisterRead) -> str:
    return f"unit {unit} registers {read.address}+{read.count}"
