"""One physical line, one owner: RS-485 behind a serial port or a TCP serial server, or Modbus TCP.

    tcp://host:port[?framing=rtu]                         framing: Modbus over a transparent serial server
    serial:///dev/ttyUSB0?baud=2400&parity=E&stop=1
    ...&gap_ms=0                                          pause between transactions, instead of the profile's

A line carries one talk at a time. Before each request it drops stale input and keeps the gap; after a
deadline passes it stays closed for the time a late answer may still need. A connection that breaks is
opened again by the next talk; a line that can't be opened raises `LineDown` at once until its pause
(1 s, doubling to 60 s) is over, so a dead line costs its pollers nothing.
"""

import asyncio
import itertools
import socket
import termios
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import serial

from edge_agent.drivers.talk import Silence, Talk
from edge_agent.profile import Link

_T = TypeVar("_T")

CONNECT_TIMEOUT_S: Final = 5.0
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
REFUSAL_KEPT_S: Final = 86_400.0  # a meter may be replaced or set up anew
_HELD_BYTES_MAX: Final = 65_536
_KEYS_BY_SCHEME = {
    "tcp": {"framing": "tcp", "gap_ms": ""},
    "serial": {"baud": "2400", "parity": "E", "stop": "1", "gap_ms": ""},
}


class LineDown(Exception):
    """The line can't be used now: the port is missing, refused, or broke; says when it is tried again."""


class BadUrl(ValueError):
    """The text does not name a line; says what is allowed."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"{url!r}: {problem}; allowed: tcp://host:port or serial:///dev/name?baud=2400&parity=E"
        )


@dataclass(frozen=True, slots=True)
class LineUrl:
    """A line's address, taken apart."""

    text: str
    scheme: str  # "tcp" | "serial"
    host: str
    port: int
    path: str
    baud: int
    parity: str
    stop_bits: int
    rtu: bool  # Modbus on this line is framed as RTU
    gap_ms: int | None  # None: as the profile says


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds."""

    timeout_s: float
    byte_gap_s: float
    gap_s: float
    late_s: float

    @classmethod
    def of(cls, link: Link) -> "Patience":
        """Take a profile's times."""
        return cls(link.timeout_ms / 1000, link.byte_gap_ms / 1000, link.gap_ms / 1000, link.late_ms / 1000)


def line_url(text: str) -> LineUrl:
    """Read a line's address. Raises BadUrl."""
    parts = urlsplit(text)
    try:
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise BadUrl(text, str(error)) from error
    known = _KEYS_BY_SCHEME.get(parts.scheme)
    if known is None:
        raise BadUrl(text, f"scheme {parts.scheme!r} is unknown")
    for name in options:
        if name not in known:
            raise BadUrl(text, f"option {name!r} is unknown, {parts.scheme} has {', '.join(known)}")
    chosen = {**known, **options}
    if chosen["gap_ms"] and not (chosen["gap_ms"].isdecimal() and int(chosen["gap_ms"]) <= 10_000):
        raise BadUrl(text, "gap_ms is a number from 0 to 10000")
    gap_ms = int(chosen["gap_ms"]) if chosen["gap_ms"] else None
    if parts.scheme == "tcp":
        if not parts.hostname or not port:
            raise BadUrl(text, "host or port is missing")
        if chosen["framing"] not in ("tcp", "rtu"):
            raise BadUrl(text, "framing is tcp or rtu")
        return LineUrl(text, "tcp", parts.hostname, port, "", 0, "N", 1, chosen["framing"] == "rtu", gap_ms)
    if not parts.path.startswith("/") or parts.netloc:
        raise BadUrl(text, "the device's path starts after serial://")
    if chosen["parity"] not in ("N", "E", "O") or chosen["stop"] not in ("1", "2"):
        raise BadUrl(text, "parity is N, E or O, stop is 1 or 2")
    if not chosen["baud"].isdecimal() or not 300 <= int(chosen["baud"]) <= 230_400:
        raise BadUrl(text, "baud is a number from 300 to 230400")
    baud, stop_bits = int(chosen["baud"]), int(chosen["stop"])
    return LineUrl(text, "serial", "", 0, parts.path, baud, chosen["parity"], stop_bits, True, gap_ms)


async def open_line(url: str) -> "Line":
    """Make the line of this address; it connects with its first talk. Raises BadUrl."""
    return Line(line_url(url))


class Refusals:
    """What single meters have said they do not have, for a day."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, address: str, key: str, error: int, now_s: float) -> None:
        """Remember that this meter answered this question with an error."""
        self._kept[address, key] = now_s + REFUSAL_KEPT_S, error

    def recall(self, address: str, key: str, now_s: float) -> int | None:
        """Give the error the meter answered within the last day."""
        until_s, error = self._kept.get((address, key), (0.0, 0))
        return error if until_s > now_s else None


class Line:
    """The one owner of a line; `talk` from any number of tasks, they take turns."""

    def __init__(self, url: LineUrl) -> None:
        self.url = url
        self.refusals = Refusals()
        self.drops: Counter[str] = Counter()  # what came in and was no answer, by reason
        self.transactions: Iterator[int] = itertools.cycle(range(1, 65_536))
        self._turn = asyncio.Lock()
        self._port: _Port | None = None
        self._failures = 0
        self._tried_again_at_s = 0.0
        self._closed_until_s = 0.0

    async def talk(self, talk: Talk[_T], patience: Patience) -> _T:
        """Carry out one talk and give its result. Raises LineDown and what the talk raises."""
        async with self._turn:
            try:
                return await self._carry_out(talk, patience)
            except asyncio.CancelledError:
                self._close_for(patience.late_s)
                raise
            finally:
                talk.close()

    async def say(self, data: bytes, patience: Patience) -> None:
        """Send what nobody answers. Raises LineDown."""
        async with self._turn:
            port = await self._ready(patience)
            port.write(data)
            self._close_for(self._wire_time_s(data) + patience.gap_s)

    async def close(self) -> None:
        """Let go of the port."""
        async with self._turn:
            self._disconnect()

    def now_s(self) -> float:
        """Give the line's own clock: monotonic seconds."""
        return asyncio.get_running_loop().time()

    async def _carry_out(self, talk: Talk[_T], patience: Patience) -> _T:
        deadline_s, heard = 0.0, False
        try:
            sending = next(talk)
            while True:
                if sending:
                    port = await self._ready(patience)
                    port.write(sending)
                    deadline_s = self.now_s() + self._wire_time_s(sending) + patience.timeout_s
                    heard = False
                received = await self._receive(deadline_s, patience.byte_gap_s if heard else None)
                heard = bool(received)
                if received is None:
                    self._close_for(patience.late_s)
                    sending = talk.throw(Silence())
                else:
                    sending = talk.send(received)
        except StopIteration as done:
            result: _T = done.value
            return result
        finally:
            self._close_for(patience.gap_s if self.url.gap_ms is None else self.url.gap_ms / 1000)

    async def _receive(self, deadline_s: float, byte_gap_s: float | None) -> bytes | None:
        """Give what came in; b"" after a byte gap of quiet; None when the deadline is reached."""
        left_s = deadline_s - self.now_s()
        if left_s <= 0:
            return None
        port = self._port
        if port is None:
            return None
        wait_s = left_s if byte_gap_s is None else min(left_s, byte_gap_s)
        received = await port.inbox.read(wait_s)
        if received:
            return received
        if port.inbox.broken:
            self._disconnect()
            return None
        return None if byte_gap_s is None or wait_s == left_s else b""

    async def _ready(self, patience: Patience) -> "_Port":
        """Give a connected port with nothing left to hear. Raises LineDown."""
        pause_s = self._closed_until_s - self.now_s()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        if self._port is not None and self._port.inbox.broken:
            self._disconnect()
        if self._port is None:
            self._port = await self._connect()
        stale = self._port.inbox.take()
        if stale:
            self.drops["stale bytes"] += len(stale)
        return self._port

    async def _connect(self) -> "_Port":
        wait_s = self._tried_again_at_s - self.now_s()
        if wait_s > 0:
            raise LineDown(f"{self.url.text} is down; tried again in {wait_s:.0f} s")
        try:
            port = await (_tcp_port(self.url) if self.url.scheme == "tcp" else _serial_port(self.url))
        except (OSError, TimeoutError, serial.SerialException) as error:
            pause_s = PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
            self._failures += 1
            self._tried_again_at_s = self.now_s() + pause_s
            raise LineDown(
                f"{self.url.text} can't be opened: {error or 'no answer'}; next try in {pause_s:.0f} s"
            ) from error
        self._failures = 0
        return port

    def _disconnect(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _close_for(self, seconds_s: float) -> None:
        self._closed_until_s = max(self._closed_until_s, self.now_s() + seconds_s)

    def _wire_time_s(self, data: bytes) -> float:
        """How long the bytes need to leave a serial port: 11 bits each."""
        return 11 * len(data) / self.url.baud if self.url.baud else 0.0


# ---------------------------------------------------------------- ports


class _Inbox:
    """Bytes that came in and nobody has looked at yet."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._news = asyncio.Event()
        self.broken = False

    def put(self, data: bytes) -> None:
        self._held += data
        del self._held[:-_HELD_BYTES_MAX]
        self._news.set()

    def end(self) -> None:
        self.broken = True
        self._news.set()

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        if not self.broken:
            self._news.clear()
        return taken

    async def read(self, wait_s: float) -> bytes:
        """Wait for bytes; b"" when none come in time or the connection has ended."""
        if not self._held and not self.broken:
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                return b""
        return self.take()


class _Port(Protocol):
    inbox: _Inbox

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class _TcpPort(asyncio.Protocol):
    def __init__(self) -> None:
        self.inbox = _Inbox()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        # A serial server that was switched off is noticed even when nothing is asked.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self.inbox.put(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inbox.end()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()


class _SerialPort:
    """A serial port read by the event loop; requests are shorter than the driver's buffer."""

    def __init__(self, port: serial.Serial) -> None:
        self.inbox = _Inbox()
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(port.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._port.read(4096)
        except (OSError, serial.SerialException):  # the adapter was pulled out
            data = b""
        if data:
            self.inbox.put(data)
        else:
            self._loop.remove_reader(self._port.fileno())
            self.inbox.end()

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (OSError, serial.SerialException):
            self.inbox.end()

    def close(self) -> None:
        self._loop.remove_reader(self._port.fileno())
        self._port.close()


async def _tcp_port(url: LineUrl) -> _Port:
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, port = await asyncio.get_running_loop().create_connection(_TcpPort, url.host, url.port)
    return port


async def _serial_port(url: LineUrl) -> _Port:
    return _SerialPort(await asyncio.to_thread(_open_serial, url))


def _open_serial(url: LineUrl) -> serial.Serial:
    """Open the port. Raises OSError, also for settings that the port refuses."""
    try:
        return serial.Serial(
            url.path,
            baudrate=url.baud,
            parity=url.parity,
            stopbits=url.stop_bits,
            timeout=0,
            write_timeout=1,
            exclusive=True,  # never two masters on one line
        )
    except termios.error as problem:  # not an OSError; e.g. a pseudo terminal asked for parity a second time
        raise OSError(
            problem.args[0], f"baud={url.baud} parity={url.parity}: {problem.args[1]}", url.path
        ) from problem
