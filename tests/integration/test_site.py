"""One simulated site as in docker-compose.yml: it enrols itself, reads its meters, and the cloud's side hears it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from provision_world import office

from demo.broker import BrokerPki, running_broker
from demo.world import GATEWAYS

GATEWAY = GATEWAYS[0].gateway_id


def test_a_site_enrols_itself_and_speaks_up(
    database: str, tmp_path: Path, free_port: Callable[[], int], program: Callable[[str], Path]
) -> None:
    program("mosquitto")
    port, broker_port = free_port(), free_port()
    with office(database, tmp_path, port, serial=GATEWAY, broker_port=broker_port) as site:
        pki = BrokerPki.from_folder(site.folder)
        (tmp_path / "label").write_text(site.label)
        command = [
            sys.executable,
            "-m",
            "demo.site",
            "--url",
            site.url,
            "--label-file",
            str(tmp_path / "label"),
        ]
        command += ["--home", str(tmp_path / "site"), "--broker-host", "127.0.0.1"]
        with running_broker(tmp_path / "broker", port=broker_port, pki=pki, kind="mosquitto"):
            heard: set[str] = set()
            worker = mqtt.Client(CallbackAPIVersion.VERSION2, "ing-0")
            workers = site.folder / "workers"
            worker.tls_set(
                str(site.folder / "ca.crt"), str(workers / "ing-0.crt"), str(workers / "ing-0.key")
            )
            worker.on_connect = lambda client, *_: client.subscribe("up/v1/#", qos=1)
            worker.on_message = lambda client, me, message: heard.add(message.topic)
            worker.connect("127.0.0.1", broker_port)
            worker.loop_start()
            for _ in range(2):  # the second start finds its identity and enrols no more
                heard.clear()
                running = subprocess.Popen(command)
                try:
                    wanted = {f"up/v1/{GATEWAY}/{kind}" for kind in ("hello", "state", "live")}
                    deadline = time.monotonic() + 25
                    while not wanted <= heard and time.monotonic() < deadline:
                        assert running.poll() is None
                        time.sleep(0.1)
                    assert wanted <= heard
                finally:
                    running.terminate()
                    assert running.wait(20) == 0
            worker.disconnect()
            worker.loop_stop()
