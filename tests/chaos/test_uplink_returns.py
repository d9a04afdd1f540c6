"""The uplink comes back after every death of the broker, not only after the first."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
from pathlib import Path

import paho.mqtt.client as paho
from chaos_world import make_site
from ingest_world import FakeGateway
from paho.mqtt.enums import CallbackAPIVersion

from demo.broker import Broker
from edge_agent.wire import control

DEATHS = 3
PATIENCE_S = 12.0


def test_a_hello_comes_after_each_death_of_the_broker(tmp_path: Path, mosquitto: Broker) -> None:
    hellos: queue.Queue[bytes] = queue.Queue()
    ear = paho.Client(CallbackAPIVersion.VERSION2)
    ear.reconnect_delay_set(min_delay=1, max_delay=1)
    ear.on_connect = lambda client, *_: client.subscribe(control.hello_topic("GW1"), qos=1)
    ear.on_message = lambda _, __, message: hellos.put(bytes(message.payload))

    async def scenario() -> None:
        site = await make_site(tmp_path, FakeGateway("GW1", ("GW1M1",)), mosquitto, "keep", os.environ)
        site.process.start()
        try:
            assert await asyncio.to_thread(hellos.get, timeout=PATIENCE_S)
            for _ in range(DEATHS):
                os.kill(mosquitto.pid, signal.SIGKILL)
                while not hellos.empty():
                    hellos.get()
                assert await asyncio.to_thread(hellos.get, timeout=PATIENCE_S)
            assert await site.process.stop() == 0
        finally:
            site.process.end()
            await site.line.close()

    ear.connect(mosquitto.host, mosquitto.port)
    ear.loop_start()
    try:
        asyncio.run(scenario())
    finally:
        ear.disconnect()
        ear.loop_stop()
