"""How many bytes a reading costs on the wire, sealed and signed, against naive JSON.

A reading is one value of one channel. Naive JSON is one row {"meter","at","channel","value"} a reading, no spaces. What
is sealed are the readings of the demonstration's meters, that is real load curves: what an agent reads every quarter-hour
(four registers, demand, powers, voltages, currents), sealed every quarter-hour, hour and day; and a gateway with 64 such
meters, sealed every quarter-hour. The target of 1.1 B is for its one-minute readings: a batch of a single instant has no
differences in time to take. The curves stand still within a quarter-hour, which flatters; so the target is judged with
noise of +-0.5 % on every power, voltage and current.

    python -m benchmarks.wire_bytes [--days 31] [--dsn DSN]     # --dsn: also what a database's gateways really sent
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zlib import crc32

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demo.load import Load
from demo.world import GATEWAYS, SITES, Site
from edge_agent.profile import Profile
from edge_agent.wire import batch, cose
from edge_agent.wire.batch import CHANNELS, NO_PREVIOUS, Header, Reading
from firmware_profiles import load_profiles

FIRST_MS = 1_785_513_600_000  # 2026-08-01T00:00+08:00
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
HOUR_MS = 4 * QUARTER_MS
DAY_MS = 24 * HOUR_MS
TARGET_BYTES = 1.1
METERS_64 = 64
MINUTES_64 = 6 * 60  # from 06:00 on, where loads move
GAUGES = frozenset({"p", "q", "u_a", "u_b", "u_c", "i_a", "i_b", "i_c"})
MEASURE = "{:38s} {:9,d} readings {:7,d} batches {:10,d} B {:6.2f} B/reading, JSON {:5.1f} B, 1 : {:.0f}"


@dataclass(slots=True)
class Tally:
    """Readings, batches and bytes of one way of sealing."""

    readings: int = 0
    batches: int = 0
    sealed_bytes: int = 0
    json_bytes: int = 0

    def add(self, sealed: bytes) -> None:
        """Count a batch, and what its readings would cost as JSON."""
        envelope = cose.peek(sealed)
        header = batch.header_of(envelope)
        if header.schema != batch.SCHEMA_READINGS:
            return
        self.readings += header.readings
        self.batches += 1
        self.sealed_bytes += len(sealed)
        self.json_bytes += json_bytes(batch.decode_body(envelope.payload, header))

    def say(self, what: str) -> float:
        """Print the figures; give back bytes per reading."""
        if not self.readings:
            print(f"{what:38s} nothing")
            return 0.0
        each = self.sealed_bytes / self.readings
        each_json = self.json_bytes / self.readings
        print(
            MEASURE.format(
                *(what, self.readings, self.batches, self.sealed_bytes, each, each_json, each_json / each)
            )
        )
        return each


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=31, help="days of August to seal (default 31)")
    parser.add_argument("--dsn", help="database of a running demonstration or installation to look at too")
    given = parser.parse_args()
    if given.dsn:
        of_database(given.dsn)
    of_demonstration(given.days)
    of_large_gateway(every_ms=QUARTER_MS, is_noisy=True)
    of_large_gateway(every_ms=MINUTE_MS, is_noisy=False)
    each = of_large_gateway(every_ms=MINUTE_MS, is_noisy=True)
    verdict = "met" if each <= TARGET_BYTES else "MISSED"
    print(f"target, the last line: at most {TARGET_BYTES} B/reading: {verdict}")


def of_database(dsn: str) -> None:
    """What the gateways of a database sent."""
    with psycopg.connect(dsn) as conn, conn.cursor("batches") as batches:
        by_gateway: dict[str, Tally] = {}
        batches.execute(
            "SELECT gateway_id, body FROM sealed_batch WHERE verdict = 'accepted' AND stream <> 1 ORDER BY batch_id"
        )
        for gateway_id, body in batches:
            by_gateway.setdefault(gateway_id, Tally()).add(body)
    for gateway_id, tally in sorted(by_gateway.items()):
        tally.say(f"database: {gateway_id}")


def of_demonstration(days: int) -> None:
    """The demonstration's gateways, read every quarter-hour, sealed at three paces."""
    boundaries = range(FIRST_MS, FIRST_MS + days * DAY_MS, QUARTER_MS)
    profiles = load_profiles()
    tallies = {name: Tally() for name in ("quarter-hour", "hour", "day")}
    for gateway in GATEWAYS:
        sites = [site for site in SITES if site.gateway_id == gateway.gateway_id]
        rows = {at_ms: [read(site, profiles[site.profile], at_ms) for site in sites] for at_ms in boundaries}
        for tally, every_ms in zip(tallies.values(), (QUARTER_MS, HOUR_MS, DAY_MS), strict=True):
            for sealed in seal(gateway.gateway_id, rows, sites, every_ms):
                tally.add(sealed)
    for name, tally in tallies.items():
        tally.say(f"demonstration, sealed every {name}")


def of_large_gateway(*, every_ms: int, is_noisy: bool) -> float:
    """64 meters for six hours, each with a load of its own; sealed every quarter-hour."""
    profile = load_profiles()["cn.generic.dlt645-2007.3p4w"]
    sites = [
        replace(
            site, meter_id=f"M-{number:04d}", peak_kw=site.peak_kw + site.multiplier * (number // len(SITES))
        )
        for number in range(METERS_64)
        for site in (SITES[number % len(SITES)],)
    ]
    first_ms = FIRST_MS + 6 * HOUR_MS
    instants = range(first_ms, first_ms + MINUTES_64 * MINUTE_MS, every_ms)
    rows = {at_ms: [read(site, profile, at_ms) for site in sites] for at_ms in instants}
    if is_noisy:
        rows = {at_ms: [noisy(reading) for reading in readings] for at_ms, readings in rows.items()}
    tally = Tally()
    for sealed in seal("GW-LARGE", rows, [replace(site, profile=profile.id) for site in sites], QUARTER_MS):
        tally.add(sealed)
    how = "noisy" if is_noisy else "calm"
    return tally.say(f"{METERS_64} {how} meters, read every {every_ms // MINUTE_MS} min")


def read(site: Site, profile: Profile, at_ms: int) -> Reading:
    """What an agent would read of a meter: every channel of its profile in the profile's decimals."""
    load: Load = site.load
    known = {channel.code: channel for channel in profile.channels}
    ticks = tuple(
        load.ticks(code, at_ms, known[code].decimals) if code in known else None
        for code in (channel.code for channel in CHANNELS)
    )
    return Reading(site.meter_id, at_ms, 0, ticks)


def noisy(reading: Reading) -> Reading:
    """The same reading with the gauges moved by up to half a percent, the same way in every run; registers stay."""
    seed = crc32(f"{reading.meter_id} {reading.taken_at_ms}".encode())
    ticks = tuple(
        value * (1000 + crc32(channel.code.encode(), seed) % 11 - 5) // 1000
        if value and channel.code in GAUGES
        else value
        for value, channel in zip(reading.ticks, CHANNELS, strict=True)
    )
    return replace(reading, ticks=ticks)


def seal(
    gateway_id: str, rows: dict[int, list[Reading]], sites: Sequence[Site], every_ms: int
) -> Iterator[bytes]:
    """Seal a gateway's readings as its store does: chained, a batch for each period, fewer readings if it is full."""
    key = Ed25519PrivateKey.generate()
    decimals = {site.meter_id: load_profiles()[site.profile].decimals for site in sites}
    header = Header(
        *(gateway_id, bytes(range(16)), 1, 0, 0, NO_PREVIOUS, 0, 0, 0, 0, 0),
        *("8f14e45f-ceea-467f-a0e6-1d0c5b7a4b11", "ntp", 20, "0123456789abcdef", batch.SCHEMA_READINGS),
    )
    for end_ms, readings in periods(rows, every_ms):
        waiting = list(readings)
        while waiting:
            taken = waiting
            header = replace(header, seq=header.seq + 1, sealed_ms=end_ms, monotonic_ms=end_ms - FIRST_MS)
            while True:
                try:
                    sealed = batch.seal_batch(header, taken, decimals, key)
                    break
                except batch.TooBig:
                    taken = taken[: len(taken) // 2]
            waiting = waiting[len(taken) :]
            header = replace(header, previous_sha256=hashlib.sha256(sealed).digest())
            yield sealed


def periods(rows: dict[int, list[Reading]], every_ms: int) -> Iterable[tuple[int, list[Reading]]]:
    """Readings by the end of the period that they are sealed with, in order."""
    by_end: dict[int, list[Reading]] = {}
    for at_ms, readings in sorted(rows.items()):
        by_end.setdefault(at_ms - at_ms % every_ms + every_ms, []).extend(readings)
    return by_end.items()


def json_bytes(rows: batch.Rows) -> int:
    """Length of the same readings as naive JSON, one object a reading."""
    total = 0
    for at, taken_at_ms in enumerate(rows.taken_at_ms):
        meter = rows.meters[rows.meter_index[at]]
        instant = datetime.fromtimestamp(taken_at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for column, values in rows.columns.items():
            ticks = values[at]
            if ticks is not None:
                channel = CHANNELS[column]
                value = ticks / 10**channel.decimals
                row = {"meter": meter, "at": instant, "channel": channel.code, "value": value}
                total += len(json.dumps(row, separators=(",", ":"))) + 1
    return total


if __name__ == "__main__":
    main()
