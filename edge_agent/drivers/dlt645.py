"""DL/T 645-2007 and 1997: frames, a stream parser, and the master's talks. Pure.

    [FE x n] 68 A0..A5 68 C L DATA[L] CS 16

A0..A5   twelve BCD digits, low byte first
C        D7 from the meter, D6 error, D5 more frames follow, D4..D0 function
DATA     every byte +33H on the wire, DI0 first
CS       sum mod 256 from the first 68 to the last DATA byte, as on the wire

68, 16, FE and 91 occur inside addresses, data and CS, so nothing is searched for but the first 68:
the length field decides. After a false 68 the search goes on from the next byte, never from behind
the assumed frame. A data field is at most 200 bytes, so a false header costs at most 212 bytes of
waiting, and the caller's byte gap ends that wait.

Read-only on purpose: no write (14), no relay (1C); broadcast time (08) and freeze (16) only.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from edge_agent.drivers.talk import (
    Answer,
    EndlessAnswer,
    MeterRefused,
    NoReply,
    NoSuchData,
    NotAuthorised,
    Silence,
    Talk,
)
from edge_agent.drivers.values import METER_CLOCK

WILDCARD: Final = "AAAAAAAAAAAA"
BROADCAST: Final = "999999999999"

_START = 0x68
_END = 0x16
_FRAME_BYTES = 12  # without data
_DATA_BYTES_MAX = 205  # 200 by the standard, and some slack for makers who count otherwise
_FROM_METER = 0x80
_ERROR = 0x40
_MORE = 0x20
_FUNCTION = 0x1F
_PLUS_33 = bytes((byte + 0x33) & 0xFF for byte in range(256))
_MINUS_33 = bytes((byte - 0x33) & 0xFF for byte in range(256))
_NO_SUCH_DATA = 0x02
_NOT_AUTHORISED = 0x04
_SEQ_MAX = 255


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the two editions of the standard."""

    name: str
    read: int
    follow: int
    di_bytes: int
    numbered: bool  # follow-on frames carry SEQ as the last byte


D2007: Final = Dialect("dlt645-2007", read=0x11, follow=0x12, di_bytes=4, numbered=True)
D1997: Final = Dialect("dlt645-1997", read=0x01, follow=0x02, di_bytes=2, numbered=False)

_READ_ADDRESS = 0x13
_BROADCAST_TIME = 0x08
_FREEZE = 0x16


class Frame(NamedTuple):
    """One frame with a right checksum; a tuple, because streams of them are read."""

    wire_address: bytes  # low byte first
    control: int
    data: bytes  # after -33H

    @property
    def address(self) -> str:
        """Twelve digits, most significant first."""
        return self.wire_address[::-1].hex().upper()


# ---------------------------------------------------------------- frames


def wire_address(digits: str) -> bytes:
    """Turn up to 12 digits (A = wildcard digit) into wire order; short numbers get leading zeros.

    Raises ValueError.
    """
    if not 1 <= len(digits) <= 12 or digits.strip("0123456789A"):
        raise ValueError(f"address {digits!r}: up to 12 digits 0-9, or A for any digit")
    return bytes.fromhex(digits.zfill(12))[::-1]


def wire_di(di: str) -> bytes:
    """Turn a data identifier written most significant first into wire order."""
    return bytes.fromhex(di)[::-1]


def frame(address: bytes, control: int, data: bytes = b"", preamble_fe: int = 0) -> bytes:
    """Build a frame; `address` in wire order, `data` before +33H."""
    body = b"\x68%b\x68%c%c%b" % (address, control, len(data), data.translate(_PLUS_33))
    return b"\xfe" * preamble_fe + b"%b%c\x16" % (body, sum(body) & 0xFF)


def read_request(address: bytes, di: bytes, dialect: Dialect = D2007, extra: bytes = b"") -> bytes:
    """Build a read request; `extra` follows the DI (load profile: N, or N mm hh DD MM YY)."""
    return frame(address, dialect.read, di + extra)


def time_broadcast(instant: datetime) -> bytes:
    """Build 广播校时 (08): every meter on the line takes this time; none answers. `instant` is aware."""
    local = instant.astimezone(METER_CLOCK)
    return frame(wire_address(BROADCAST), _BROADCAST_TIME, bytes.fromhex(local.strftime("%S%M%H%d%m%y")))


def freeze_broadcast(plan: str = "99999999") -> bytes:
    """Build 冻结 (16) for every meter; `plan` is MMDDhhmm with 99 = every. None answers."""
    return frame(wire_address(BROADCAST), _FREEZE, bytes.fromhex(plan)[::-1])


class FrameReader:
    """Find frames in a stream of bytes, in linear time, whatever lies between them."""

    __slots__ = ("_held", "broken")

    def __init__(self) -> None:
        self._held = b""
        self.broken = 0  # candidates that looked like a frame and were none

    def feed(self, received: bytes) -> list[Frame]:
        """Take bytes, give the frames they complete."""
        return self._scan(self._held + received if self._held else received, final=False)

    def give_up(self) -> list[Frame]:
        """Break off a half frame after a pause; give the frames that were hidden behind its false start."""
        return self._scan(self._held, final=True)

    def _scan(self, stream: bytes, *, final: bool) -> list[Frame]:
        frames: list[Frame] = []
        size = len(stream)
        at = stream.find(_START)
        while at >= 0:
            if at + 10 > size:
                if not final:
                    break
                at = stream.find(_START, at + 1)
                continue
            data_end = at + 10 + stream[at + 9]
            if stream[at + 7] != _START or data_end - at - 10 > _DATA_BYTES_MAX:
                at = stream.find(_START, at + 1)
                continue
            if data_end + 2 > size:
                if not final:
                    break
                self.broken += 1
                at = stream.find(_START, at + 1)
                continue
            if stream[data_end + 1] != _END or sum(stream[at:data_end]) & 0xFF != stream[data_end]:
                self.broken += 1
                at = stream.find(_START, at + 1)
                continue
            data = stream[at + 10 : data_end].translate(_MINUS_33)
            frames.append(Frame(stream[at + 1 : at + 7], stream[at + 8], data))
            at = stream.find(_START, data_end + 2)
        self._held = stream[at:] if at >= 0 else b""
        return frames


def same_meter(asked: bytes, answered: bytes) -> bool:
    """Tell whether an answer's address fits the asked one, digit by digit; A in the question fits any."""
    if asked == answered:
        return True
    pairs = zip(asked.hex(), answered.hex(), strict=True)
    return all(wanted in ("a", given) for wanted, given in pairs)


# ---------------------------------------------------------------- talks


def read(
    address: str,
    di: str,
    dialect: Dialect = D2007,
    *,
    extra: bytes = b"",
    tries: int = 1,
    preamble_fe: int = 4,
) -> Talk[Answer]:
    """Read one DI with all its follow-on frames; the data comes joined, without DI and SEQ.

    Follow-on frames after DL/T 645-2007 §7.3: ask SEQ n only after a verified n-1, repeat the same SEQ
    after silence, refuse any other. Raises NoReply, NoSuchData, NotAuthorised, EndlessAnswer, MeterRefused.
    """
    wanted, key = wire_address(address), wire_di(di)
    asked = _Asked(f"{address} {di}", wanted, dialect.read, key, None, preamble_fe, tries)
    heard = yield from _exchange(asked, key + extra)
    answerer, tries_used, drops = heard.frame.address, heard.tries, Counter(heard.drops)
    parts = [heard.frame.data[dialect.di_bytes :]]
    seq = 0
    while heard.frame.control & _MORE:
        seq += 1
        if seq > _SEQ_MAX:
            raise EndlessAnswer(f"{address} {di}", _SEQ_MAX)
        number = bytes((seq,)) if dialect.numbered else b""
        asked = _Asked(f"{address} {di} #{seq}", wanted, dialect.follow, key, number, preamble_fe, tries)
        heard = yield from _exchange(asked, key + number)
        data = heard.frame.data[dialect.di_bytes :]
        parts.append(data[:-1] if dialect.numbered else data)
        tries_used = max(tries_used, heard.tries)
        drops.update(heard.drops)
    return Answer(answerer, b"".join(parts), tries_used, drops)


def read_address(*, tries: int = 1, preamble_fe: int = 4) -> Talk[Answer]:
    """Ask the only meter on the line who it is (13 to AA..AA); `Answer.address` is its number.

    Raises NoReply, MeterRefused.
    """
    asked = _Asked("read address", wire_address(WILDCARD), _READ_ADDRESS, b"", None, preamble_fe, tries)
    heard = yield from _exchange(asked, b"")
    return Answer(heard.frame.data[::-1].hex().upper(), heard.frame.data, heard.tries, heard.drops)


def freeze(address: str, plan: str = "99999999", *, tries: int = 1, preamble_fe: int = 4) -> Talk[Answer]:
    """Have one meter freeze its registers (16); `plan` is MMDDhhmm with 99 = every.

    Raises NoReply, MeterRefused.
    """
    wanted = wire_address(address)
    asked = _Asked(f"{address} freeze", wanted, _FREEZE, b"", None, preamble_fe, tries)
    heard = yield from _exchange(asked, bytes.fromhex(plan)[::-1])
    return Answer(heard.frame.address, heard.frame.data, heard.tries, heard.drops)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an acceptable reply must fit."""

    label: str
    address: bytes
    function: int
    di: bytes
    seq: bytes | None  # None: not a follow-on question
    preamble_fe: int
    tries: int


@dataclass(frozen=True, slots=True)
class _Heard:
    frame: Frame
    tries: int
    drops: dict[str, int]


def _exchange(asked: _Asked, data: bytes) -> Talk[_Heard]:
    """Ask until an acceptable reply comes; count what else came, by reason. Raises NoReply, MeterRefused."""
    drops: Counter[str] = Counter()
    own = Frame(asked.address, asked.function, data)
    request = frame(asked.address, asked.function, data, asked.preamble_fe)
    for attempt in range(1, asked.tries + 1):
        reader = FrameReader()
        try:
            heard = yield from _hear(reader, request, lambda found: _unfit(found, asked, own), drops)
        except Silence:
            continue
        finally:
            if reader.broken:
                drops["broken frame"] += reader.broken
        if heard.control & _ERROR:
            raise _refusal(asked.label, heard.data[-1])
        return _Heard(heard, attempt, dict(drops))
    raise NoReply(asked.label, asked.tries, drops)


def _hear(
    reader: FrameReader, request: bytes, unfit: Callable[[Frame], str], drops: Counter[str]
) -> Talk[Frame]:
    received = yield request
    while True:
        for found in reader.feed(received) if received else reader.give_up():
            reason = unfit(found)
            if not reason:
                return found
            drops[reason] += 1
        received = yield b""


def _unfit(found: Frame, asked: _Asked, own: Frame) -> str:
    """Say why this frame is not the answer; empty when it is."""
    if not found.control & _FROM_METER:
        return "echo" if found == own else "another master"
    if found.control & _FUNCTION != asked.function & _FUNCTION:
        return "other function"
    if not same_meter(asked.address, found.wire_address):
        return "other meter"
    if found.control & _ERROR:
        return "" if len(found.data) in (1, 1 + len(asked.di)) else "wrong length"
    if asked.function == _READ_ADDRESS:
        return "" if len(found.data) == 6 else "wrong length"
    if not found.data.startswith(asked.di):
        return "other DI"
    if asked.seq and (len(found.data) <= len(asked.di) or found.data[-1:] != asked.seq):
        return "other SEQ"
    return ""


def _refusal(label: str, error: int) -> MeterRefused:
    """Name an error byte (DL/T 645-2007 §7.1.5); unknown bits surface as they are."""
    if error & _NO_SUCH_DATA:
        return NoSuchData(label, error)
    if error & _NOT_AUTHORISED:
        return NotAuthorised(label, error)
    return MeterRefused(label, error)
