"""Evidence of a bill: the meters, the interval days, the sealed batches and the keys that its energy rests on. Pure.

As a folder (`shoudian-cloud evidence BILL DIR`), so that anybody can walk the chain without our database:

    bill.json                 the bill
    evidence.json             what stands below, without the batches' bytes; schema 'shoudian-evidence/1'
    batches/<batch_id>.cose   every sealed batch as the gateway sent it
    prices/<id>@<version>.toml  every price file as published
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from cloud.errors import Invalid
from cloud.metering.interval import Curve, IntervalDay

SCHEMA = "shoudian-evidence/1"
BATCHES_MAX = 200_000
KEY_BYTES = 32


class BadEvidence(Invalid):
    """The evidence cannot be read; `facts` say what is wrong."""


@dataclass(frozen=True, slots=True)
class MeterAt:
    """A meter's time at a supply point, `[start, end)`."""

    supply_point_id: str
    meter_id: str
    gateway_id: str
    multiplier: int
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A public key (Ed25519, raw) of a gateway and the time `[start, end)` in which it speaks."""

    gateway_id: str
    public_key: bytes
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A sealed batch as it is in the ledger; `body` are the bytes that the gateway signed."""

    batch_id: int
    gateway_id: str
    epoch: int
    stream: int
    seq: int
    sha256: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Witness:
    """All of it."""

    account_id: str
    month: date
    revision: int
    meters: tuple[MeterAt, ...]
    days: tuple[IntervalDay, ...]
    keys: tuple[GatewayKey, ...]
    batches: tuple[Batch, ...]
    prices: tuple[tuple[str, str], ...]  # ('id@version', text)


def witness_text(witness: Witness) -> str:
    """Write everything but the batches' bytes and the price files as canonical JSON text."""
    content = {
        "schema": SCHEMA,
        "account_id": witness.account_id,
        "month": witness.month.strftime("%Y-%m"),
        "revision": witness.revision,
        "meters": [
            {
                "supply_point_id": each.supply_point_id,
                "meter_id": each.meter_id,
                "gateway_id": each.gateway_id,
                "multiplier": each.multiplier,
                "start": _instant(each.start),
                "end": _instant(each.end),
            }
            for each in witness.meters
        ],
        "days": [
            {
                "supply_point_id": each.supply_point_id,
                "day": each.day.isoformat(),
                "revision": each.revision,
                "import_wh": list(each.import_wh),
                "export_wh": list(each.export_wh),
                "import_varh": list(each.import_varh),
                "export_varh": list(each.export_varh),
                "quality": [int(quality) for quality in each.quality],
            }
            for each in witness.days
        ],
        "keys": [
            {
                "gateway_id": each.gateway_id,
                "public_key": each.public_key.hex(),
                "start": _instant(each.start),
                "end": _instant(each.end),
            }
            for each in witness.keys
        ],
        "batches": [
            {
                "batch_id": each.batch_id,
                "gateway_id": each.gateway_id,
                "epoch": each.epoch,
                "stream": each.stream,
                "seq": each.seq,
                "sha256": each.sha256.hex(),
            }
            for each in witness.batches
        ],
        "prices": [name for name, _ in witness.prices],
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def witness_from(text: str | bytes, bodies: Mapping[int, bytes], prices: Mapping[str, str]) -> Witness:
    """Read evidence back with the bytes of its files. Raises BadEvidence."""
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        if len(content["batches"]) > BATCHES_MAX:
            raise ValueError(f"more than {BATCHES_MAX} batches")
        return Witness(
            account_id=str(content["account_id"]),
            month=date.fromisoformat(f"{content['month']}-01"),
            revision=int(content["revision"]),
            meters=tuple(_meter(each) for each in content["meters"]),
            days=tuple(_day(each) for each in content["days"]),
            keys=tuple(_key(each) for each in content["keys"]),
            batches=tuple(_batch(each, bodies) for each in content["batches"]),
            prices=tuple((str(name), prices[name]) for name in content["prices"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BadEvidence("bad_evidence", folder="evidence.json", problem=problem) from error


def _meter(content: Mapping[str, Any]) -> MeterAt:
    start = _instant_from(content["start"])
    multiplier = content["multiplier"]
    if start is None or not isinstance(multiplier, int) or multiplier < 1:
        raise ValueError(f"meter {content['meter_id']!r}: start {start}, multiplier {multiplier!r}")
    return MeterAt(
        str(content["supply_point_id"]),
        str(content["meter_id"]),
        str(content["gateway_id"]),
        multiplier,
        start,
        _instant_from(content["end"]),
    )


def _day(content: Mapping[str, Any]) -> IntervalDay:
    return IntervalDay(
        str(content["supply_point_id"]),
        date.fromisoformat(content["day"]),
        int(content["revision"]),
        import_wh=_curve(content["import_wh"]),
        export_wh=_curve(content["export_wh"]),
        import_varh=_curve(content["import_varh"]),
        export_varh=_curve(content["export_varh"]),
        quality=tuple(int(each) for each in content["quality"]),
    )


def _curve(values: list[object]) -> Curve:
    found: list[int | None] = []
    for each in values:
        if each is not None and (not isinstance(each, int) or isinstance(each, bool)):
            raise TypeError(f"{each!r} is no energy")
        found.append(each)
    return tuple(found)


def _key(content: Mapping[str, Any]) -> GatewayKey:
    raw = bytes.fromhex(content["public_key"])
    if len(raw) != KEY_BYTES:
        raise ValueError(f"a key of {len(raw)} bytes")
    return GatewayKey(
        str(content["gateway_id"]), raw, _instant_from(content["start"]), _instant_from(content["end"])
    )


def _batch(content: Mapping[str, Any], bodies: Mapping[int, bytes]) -> Batch:
    batch_id = int(content["batch_id"])
    return Batch(
        batch_id,
        str(content["gateway_id"]),
        int(content["epoch"]),
        int(content["stream"]),
        int(content["seq"]),
        bytes.fromhex(content["sha256"]),
        bodies[batch_id],
    )


def _instant(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat()


def _instant_from(value: object) -> datetime | None:
    if value is None:
        return None
    instant = datetime.fromisoformat(str(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} has no zone")
    return instant
