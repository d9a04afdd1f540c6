"""The brokers of demonstration and tests: they start, come back after kill -9, and are gone when we are gone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from demo.broker import Broker, Trouble, running_broker

PARENT = """
import sys, time, pathlib
from demo.broker import running_broker
with running_broker(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]), pki=None, kind=sys.argv[3]) as broker:
    print(broker.pid, flush=True)
    time.sleep(600)
"""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(claim: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.05)
    return False


def heard(broker: Broker, version: MQTTProtocolVersion) -> list[bytes]:
    """Publish one message to ourselves through the broker and give back what comes."""
    got: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "self", protocol=version)
    client.on_message = lambda client, userdata, message: got.append(bytes(message.payload))
    client.on_connect = lambda client, *_: client.subscribe("up/v1/x/b/0", qos=1)
    client.on_subscribe = lambda client, *_: client.publish("up/v1/x/b/0", b"sealed", qos=1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    eventually(lambda: bool(got), within_s=10)
    client.disconnect()
    client.loop_stop()
    return got


def test_mosquitto_speaks_both_versions(mosquitto: Broker) -> None:
    assert mosquitto.mqtt_version == 5
    assert heard(mosquitto, MQTTProtocolVersion.MQTTv5) == [b"sealed"]
    assert heard(mosquitto, MQTTProtocolVersion.MQTTv311) == [b"sealed"]


def test_amqtt_speaks_3_1_1(amqtt: Broker) -> None:
    assert amqtt.mqtt_version == 3
    assert heard(amqtt, MQTTProtocolVersion.MQTTv311) == [b"sealed"]


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_it_comes_back_by_itself_after_kill_9(kind: str, request: pytest.FixtureRequest) -> None:
    broker: Broker = request.getfixturevalue(kind)
    before = broker.pid
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: (broker.folder / "pid").exists() and broker.pid != before)
    assert answers(broker.port)


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_no_broker_outlives_its_parent(
    kind: str, tmp_path: Path, program: Callable[[str], Path], free_port: Callable[[], int]
) -> None:
    if kind == "mosquitto":
        program("mosquitto")
    port = free_port()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), str(port), kind], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline()
        assert answers(port)
        parent.kill()
        assert eventually(lambda: not answers(port))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_port_in_use_is_named(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    broker: Broker = request.getfixturevalue(kind)
    with (
        pytest.raises(Trouble, match=f"port {broker.port} is already in use"),
        running_broker(tmp_path, port=broker.port, pki=None, kind=kind),
    ):
        pass


def test_it_starts_under_a_folder_that_only_its_owner_may_enter(
    tmp_path: Path, program: Callable[[str], Path], free_port: Callable[[], int]
) -> None:
    program("mosquitto")
    private = tmp_path / "private 私有"
    private.mkdir(mode=0o700)
    ways = ("namespace", "user") if os.geteuid() == 0 else ("auto",)
    for way in ways:
        with running_broker(private / way, port=free_port(), pki=None, kind="mosquitto", way=way) as broker:
            assert Path(f"/proc/{broker.pid}").exists()
            assert heard(broker, MQTTProtocolVersion.MQTTv5) == [b"sealed"]
        if (private / way / "home").exists():
            shutil.rmtree((private / way / "home").read_text().strip())
