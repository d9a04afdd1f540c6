"""A small world for tests of the ingest: one site in a real database, and gateways that seal real batches."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.site import import_site, site_from
from edge_agent.wire import batch, control, cose, event
from edge_agent.wire.batch import CANONICAL_DECIMALS, NO_PREVIOUS, Header, Reading

NOON = datetime(2026, 8, 3, 4, 0, tzinfo=UTC)  # 12:00 market time, a Monday
NOON_MS = int(NOON.timestamp()) * 1000
QUARTER_MS = 900_000
CLOUD_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

SITE = """
[[party]]
name = "示范纺织有限公司"
[[account]]
id = "3700000000001"
party = "示范纺织有限公司"
name = "示范纺织有限公司"
address = "示范园区一号路 1 号"
  [[account.terms]]
  from = 2026-01-01
  category = "commercial"
  purchase = "agency"
  structure = "single_part"
  voltage = "1-10kV"
"""


def site_text(gateways: Sequence[str], meters_each: int, multiplier: int = 1) -> str:
    """A site with `meters_each` meters (GW1M1, GW1M2, …) behind each gateway."""
    parts = [SITE]
    for gateway_id in gateways:
        parts.append(f'[[gateway]]\nid = "{gateway_id}"\nname = "{gateway_id}"\n')
        for number in range(1, meters_each + 1):
            meter_id = f"{gateway_id}M{number}"
            parts.append(
                f'[[meter]]\nid = "{meter_id}"\nprofile = "cn.generic.dlt645-2007.3p4w"\naddress = "{number:012d}"\n'
                f'[[supply_point]]\nid = "SP-{meter_id}"\naccount = "3700000000001"\nname = "{meter_id}"\n'
                f'[[installation]]\nmeter = "{meter_id}"\nsupply_point = "SP-{meter_id}"\ngateway = "{gateway_id}"\n'
                f"multiplier = {multiplier}\nfrom = 2026-01-01\n"
            )
    return "".join(parts)


@dataclass
class FakeGateway:
    """The sending side without an agent: numbers, chains and signs what a test wants sent."""

    gateway_id: str
    meters: tuple[str, ...]
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    store_uuid: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    epoch: int = 1
    seqs: dict[int, int] = field(default_factory=dict)
    previous: dict[int, bytes] = field(default_factory=dict)
    decimals: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def header(self, stream: int = 0, **changes: object) -> Header:
        """The next header of a stream; counts and times are filled in by the sealing."""
        seq = self.seqs.get(stream, 0) + 1
        header = Header(
            *(self.gateway_id, self.store_uuid, self.epoch, stream, seq),
            *(
                self.previous.get(stream, NO_PREVIOUS),
                0,
                0,
                0,
                NOON_MS,
                1,
                "boot-1",
                "ntp",
                20,
                "bundle-1",
                1,
            ),
        )
        return replace(header, **changes)

    def seal(self, readings: Sequence[Reading], stream: int = 0, **changes: object) -> bytes:
        """Seal readings as the next batch of the stream."""
        header = self.header(stream, **changes)
        decimals = {reading.meter_id: CANONICAL_DECIMALS for reading in readings} | dict(self.decimals)
        return self._sent(header, batch.seal_batch(header, readings, decimals, self.key))

    def seal_events(self, events: Sequence[event.Event], **changes: object) -> bytes:
        header = self.header(1, schema=batch.SCHEMA_EVENTS, **changes)
        return self._sent(header, event.seal_events(header, events, self.key))

    def seal_body(self, body: dict[str, object], *, payload: bytes | None = None, **changes: object) -> bytes:
        """Seal any body, true to the form or not, as the next batch of stream 0."""
        header = self.header(0, **{"readings": 1, "first_ms": NOON_MS, "last_ms": NOON_MS, **changes})
        if payload is None:
            return self._sent(header, batch.sealed_message(header, body, self.key))
        return self._sent(header, cose.seal(batch._wire_header(header), payload, self.key, batch.AAD))

    def hello(self, **changes: object) -> bytes:
        said = control.Hello(
            *(
                self.gateway_id,
                self.store_uuid,
                self.epoch,
                (),
                1,
                "boot-1",
                NOON_MS,
                "0.1.0",
                "bundle-1",
                "ntp",
                20,
            )
        )
        return control.seal_hello(replace(said, **changes), self.key)

    def _sent(self, header: Header, sealed: bytes) -> bytes:
        self.seqs[header.stream] = header.seq
        self.previous[header.stream] = hashlib.sha256(sealed).digest()
        return sealed


def reading(meter_id: str, at_ms: int, energy_ticks: int, quality: int = 0) -> Reading:
    """A reading with an import register, a power and a voltage; the other channels are absent."""
    ticks: list[int | None] = [None] * 16
    ticks[0], ticks[4], ticks[7] = energy_ticks, 12_000, 23_010
    return Reading(meter_id, at_ms, quality, tuple(ticks))


def readings_of(
    gateway: FakeGateway, first_ms: int, instants: int, energy_ticks: int = 1000
) -> list[Reading]:
    """Quarter-hour readings of all meters of a gateway, each register rising by 250 ticks a quarter."""
    return [
        reading(meter_id, first_ms + at * QUARTER_MS, energy_ticks + 250 * at)
        for meter_id in gateway.meters
        for at in range(instants)
    ]


def build(
    dsn: str, gateways: Sequence[str] = ("GW1", "GW2"), meters_each: int = 2, multiplier: int = 1
) -> dict[str, FakeGateway]:
    """Put a site and its gateways' keys into a database."""
    fakes = {
        gateway_id: FakeGateway(gateway_id, tuple(f"{gateway_id}M{n}" for n in range(1, meters_each + 1)))
        for gateway_id in gateways
    }
    with psycopg.connect(dsn) as conn:
        import_site(conn, site_from(site_text(gateways, meters_each, multiplier), "site.toml"))
        for fake in fakes.values():
            public = fake.key.public_key().public_bytes_raw()
            conn.execute(
                "INSERT INTO gateway_key (gateway_id, key_id, public_key) VALUES (%s, %s, %s)",
                (fake.gateway_id, cose.key_id(public), public),
            )
            conn.execute("UPDATE gateway SET state = 'enrolled' WHERE gateway_id = %s", (fake.gateway_id,))
    return fakes
