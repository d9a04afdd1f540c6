"""Put simulated meters on a real TCP port or a real (pseudo) serial port. For tests and the demonstration."""

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from typing import Final

from edge_agent.drivers.sim import Sent, Slave

QUIET_S: Final = 0.5


async def serve_tcp(
    new_slave: Callable[[], Slave], host: str = "127.0.0.1", port: int = 0, *, delay_s: float = 0.0
) -> asyncio.Server:
    """Serve one line on a TCP port (0 = any free one); every connection gets its own slave. Raises OSError."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(new_slave(), reader, writer, delay_s)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, host, port)


async def _serve(
    slave: Slave, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    pending: set[asyncio.TimerHandle] = set()
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    data = await reader.read(4096)
            except TimeoutError:
                answers = slave.quiet()
            else:
                if not data:
                    return
                answers = slave.receive(data)
            for sent in answers:
                wait_s = delay_s + sent.after_ms / 1000
                if wait_s:
                    pending.add(loop.call_later(wait_s, writer.write, sent.data))
                else:
                    writer.write(sent.data)
            pending = {timer for timer in pending if timer.when() > loop.time()}
    finally:
        for timer in pending:
            timer.cancel()


class PtyLine:
    """A pseudo serial port with meters on it; `path` is what a master opens."""

    def __init__(self, slave: Slave, *, delay_s: float = 0.0) -> None:
        self._slave = slave
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._master, self._terminal = os.openpty()
        tty.setraw(self._terminal)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._terminal)
        self._loop.add_reader(self._master, self._readable)
        self._quiet: asyncio.TimerHandle | None = None

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._send(self._slave.receive(os.read(self._master, 4096)))
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(QUIET_S, lambda: self._send(self._slave.quiet()))

    def _send(self, answers: tuple[Sent, ...]) -> None:
        for sent in answers:
            self._loop.call_later(self._delay_s + sent.after_ms / 1000, self._write, sent.data)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the line was closed before a late answer
            os.write(self._master, data)

    def close(self) -> None:
        """Take the port away."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._terminal)


def serve_pty(slave: Slave, *, delay_s: float = 0.0) -> PtyLine:
    """Serve one line on a new pseudo serial port; close it with `close()`. Call inside a running loop."""
    return PtyLine(slave, delay_s=delay_s)
