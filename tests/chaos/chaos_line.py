"""A TCP line between a gateway and the broker that can turn into a black hole and then break."""

from __future__ import annotations

import asyncio
import socket
import struct

CHUNK_BYTES = 65_536
REACH_TRIES = 30
REACH_PAUSE_S = 0.1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Line:
    """Listens on a port of its own and passes bytes on to another one."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._passes = asyncio.Event()
        self._passes.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1")

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._break()
        await self._server.wait_closed()

    async def swallow(self, seconds: float) -> None:
        """Pass nothing in either direction for a while, then reset: what was sent meanwhile is gone."""
        self._passes.clear()
        await asyncio.sleep(seconds)
        self._break()
        self._passes.set()

    def _break(self) -> None:
        for writer in tuple(self._writers):
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await self._reach()
        if there is None:
            writer.transport.abort()
            return
        there_reader, there_writer = there
        ends = {writer, there_writer}
        self._writers |= ends
        pumps = [
            asyncio.ensure_future(self._pump(reader, there_writer)),
            asyncio.ensure_future(self._pump(there_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect onwards, with a little patience: the broker may be about to come back."""
        for _ in range(REACH_TRIES):
            try:
                return await asyncio.open_connection("127.0.0.1", self._to_port)
            except OSError:
                await asyncio.sleep(REACH_PAUSE_S)
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._passes.wait()
            if writer.transport.is_closing():
                return
            writer.write(chunk)
            await writer.drain()
