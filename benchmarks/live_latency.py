"""How long a change of a meter takes to the page, through the real processes.

One simulated DL/T 645 meter on a TCP port, `shoudian-agent`, a broker, `shoudian-cloud ingest` and `serve`, and a
signed-in customer who reads the live page's event stream. The meter's power is changed at instants spread evenly over
the poll interval; measured is until the stream shows it. Of that, half an interval on average and one interval at most
passes before the meter is asked again; the uplink sends once a second and the page is renewed once a second at most.

    python -m benchmarks.live_latency [--changes 20] [--live-every-s 1]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cloud.db import migrate
from cloud.site import import_site, site_from
from demo.broker import Broker, running_broker
from demo.children import Family
from demo.postgres import embedded_postgres
from edge_agent.drivers.sim import Dlt645Slave, SimMeter
from edge_agent.drivers.simline import serve_tcp
from edge_agent.wire import cose
from firmware_profiles import load_profiles

PROFILE = "cn.generic.dlt645-2007.3p4w"
ADDRESS = "000000000001"
ACCOUNT = "1300000000001"
LOGIN, PASSWORD = "benchmark", "benchmark-benchmark"
GOLDEN_RATIO = 0.618  # its multiples spread evenly over the interval
PATIENCE_S = 60.0
SITE = f"""
[[party]]
name = "示范用户"
[[account]]
id = "{ACCOUNT}"
party = "示范用户"
name = "示范用户"
address = "示范园区"
  [[account.terms]]
  from = 2026-01-01
  category = "commercial"
  purchase = "agency"
  structure = "single_part"
  voltage = "lt1kV"
[[gateway]]
id = "GW001"
name = "GW001"
[[meter]]
id = "M0001"
profile = "{PROFILE}"
address = "{ADDRESS}"
[[supply_point]]
id = "SP-1"
account = "{ACCOUNT}"
name = "总表"
[[installation]]
meter = "M0001"
supply_point = "SP-1"
gateway = "GW001"
multiplier = 1
from = 2026-01-01
"""


@dataclass(slots=True)
class Face:
    """What the meter shows: a power that the benchmark changes."""

    power_w: int = 1000

    def ticks(self, code: str) -> int | None:
        """Ticks of the profile's decimals: power in 0.1 W."""
        return self.power_w * 10 if code == "p" else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--live-every-s", type=int, default=1, help="the agent's poll interval (default 1)")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_postgres(Path(name) / "postgres") as server,
        running_broker(Path(name) / "broker", port=_free_port(), pki=None) as broker,
    ):
        latencies_s = asyncio.run(measure(Path(name), server.dsn, broker, given.changes, given.live_every_s))
    report(latencies_s, given.live_every_s)


def report(latencies_s: list[float], interval_s: int) -> None:
    """Print the figures; ratios are to the poll interval."""
    ordered = sorted(latencies_s)
    print(
        f"{len(ordered)} changes of a meter, asked every {interval_s} s, until the page's event stream shows them"
    )
    for what, seconds in (
        ("fastest", ordered[0]),
        ("median", statistics.median(ordered)),
        ("p90", ordered[len(ordered) * 9 // 10 - 1]),
        ("slowest", ordered[-1]),
    ):
        print(f"{what:8s} {seconds:6.2f} s   {seconds / interval_s:5.2f} intervals")


async def measure(folder: Path, dsn: str, broker: Broker, changes: int, interval_s: int) -> list[float]:
    """Bring everything up, change the meter so many times, and return what each change took."""
    face, key, cloud_key = Face(), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    prepare(dsn, key)
    web_port = _free_port()
    family = Family(folder, environ(folder, dsn, broker, web_port, cloud_key))
    meter = SimMeter(load_profiles()[PROFILE], ADDRESS, face)
    try:
        async with await serve_tcp(lambda: Dlt645Slave([meter])) as line:
            port = int(line.sockets[0].getsockname()[1])
            config = agent_config(folder, broker, port, interval_s, key, cloud_key)
            await asyncio.to_thread(start, family, config)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{web_port}", trust_env=False, timeout=PATIENCE_S
            ) as client:
                await sign_in(client, family)
                async with client.stream("GET", f"/accounts/{ACCOUNT}/live/events") as stream:
                    return await change_and_wait(face, stream.aiter_lines(), changes, interval_s)
    finally:
        await asyncio.to_thread(family.stop)


async def change_and_wait(
    face: Face, lines: AsyncIterator[str], changes: int, interval_s: int
) -> list[float]:
    """One change after the other; the first two only warm everything up."""
    latencies_s = []
    for number in range(changes + 2):
        await asyncio.sleep(interval_s * (number * GOLDEN_RATIO % 1))
        face.power_w += 7
        began_s = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            async for line in lines:
                if f'data-power-w="{face.power_w}"' in line:
                    break
        latencies_s.append(time.perf_counter() - began_s)
    return latencies_s[2:]


# ---- bringing it up ------------------------------------------------------------------------------------------


def prepare(dsn: str, key: Ed25519PrivateKey) -> None:
    """Schema, site, and the gateway's key as enrolment leaves it."""
    migrate(dsn)
    public = key.public_key().public_bytes_raw()
    with psycopg.connect(dsn) as conn:
        import_site(conn, site_from(SITE, "site.toml"))
        conn.execute(
            "INSERT INTO gateway_key (gateway_id, key_id, public_key) VALUES ('GW001', %s, %s)",
            (cose.key_id(public), public),
        )
        conn.execute("UPDATE gateway SET state = 'enrolled'")


def environ(
    folder: Path, dsn: str, broker: Broker, web_port: int, cloud_key: Ed25519PrivateKey
) -> Mapping[str, str]:
    """What the cloud's processes are told."""
    key_file = folder / "cloud.key"
    key_file.write_bytes(cloud_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHOUDIAN_")}
    return kept | {
        "SHOUDIAN_DSN": dsn,
        "SHOUDIAN_COMMAND_KEY_FILE": str(key_file),
        "SHOUDIAN_BROKER_HOST": broker.host,
        "SHOUDIAN_BROKER_PORT": str(broker.port),
        "SHOUDIAN_MQTT_VERSION": str(broker.mqtt_version),
        "SHOUDIAN_HTTP_PORT": str(web_port),
        "SHOUDIAN_HTTP_SECURE_COOKIES": "0",
    }


def agent_config(
    folder: Path,
    broker: Broker,
    meter_port: int,
    interval_s: int,
    key: Ed25519PrivateKey,
    cloud_key: Ed25519PrivateKey,
) -> Path:
    """Write agent.toml and its keys."""
    (folder / "signing.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = cloud_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "cloud.pub").write_bytes(public)
    file = folder / "agent.toml"
    file.write_text(f"""
gateway_id = "GW001"
data_dir = "data"
[identity]
signing_key = "signing.key"
cloud_public_key = "cloud.pub"
[broker]
host = "{broker.host}"
port = {broker.port}
tls = false
mqtt_version = {broker.mqtt_version}
[poll]
live_every_s = {interval_s}
[[port]]
name = "p"
url = "tcp://127.0.0.1:{meter_port}"
[[meter]]
meter_id = "M0001"
port = "p"
profile = "{PROFILE}"
address = "{ADDRESS}"
""")
    return file


def start(family: Family, config: Path) -> None:
    """A customer, then the processes."""
    family.run(
        "user", "cloud", "user", "add", LOGIN, "--role", "customer", "--name", "示范", "--party", "示范用户",
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    family.start("ingest", "cloud", "ingest", "--id", "ing-0")
    family.start("serve", "cloud", "serve")
    family.start("agent", "edge_agent", "run", "--config", str(config))


async def sign_in(client: httpx.AsyncClient, family: Family) -> None:
    """Wait until the page answers, then get the session's cookie."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            family.check()
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/healthz")).status_code == 200:
                    break
            await asyncio.sleep(0.2)
    answer = await client.post(
        "/login",
        data={"login": LOGIN, "password": PASSWORD},
        headers={"Accept": "application/json"},
    )
    answer.raise_for_status()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
