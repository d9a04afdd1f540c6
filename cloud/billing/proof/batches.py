"""Sealed batches: each is the bytes in the ledger, signed by its gateway's key, in its place in the hash chain. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.billing.document.around import Seal
from cloud.billing.proof.step import Step, group, judged, note
from cloud.billing.proof.witness import Batch, GatewayKey, Witness
from cloud.metering.register import RegisterReading
from edge_agent.wire import batch as wire
from edge_agent.wire import cose

STREAM_RECALL = 2
FREEZE = 4  # stamped by the meter itself: source 1
ENERGY_COLUMNS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Readings = dict[str, list[RegisterReading]]  # by meter id


@dataclass(frozen=True, slots=True)
class Opened:
    """The readings of the batches that hold, and the step that says so."""

    readings: Readings
    step: Step


def open_batches(witness: Witness, seals: Iterable[Seal]) -> Opened:
    """Check every batch and take its readings. `seals` are the keys that the bill itself names."""
    problems: list[str] = []
    headers: list[tuple[wire.Header, Batch]] = []
    readings: Readings = defaultdict(list)
    for each in witness.batches:
        try:
            header = _opened(each, witness.keys, readings)
        except (cose.Malformed, cose.Forged, ValueError) as error:
            problems.append(f"batch {each.batch_id} ({each.gateway_id} seq {each.seq}): {error}")
            continue
        headers.append((header, each))
    links, chain_problems = _chain(headers)
    values = sum(map(len, readings.values()))
    return Opened(
        readings,
        group(
            "batches",
            (
                judged(
                    "signatures", problems, batches=len(witness.batches), gateways=len(_gateways(witness))
                ),
                judged("hash_chain", chain_problems, links=links),
                _keys(witness, tuple(seals)),
            ),
            batches=len(headers),
            readings=values,
        ),
    )


def _opened(each: Batch, keys: Iterable[GatewayKey], readings: Readings) -> wire.Header:
    """Verify one batch; add its readings. Raises Malformed, Forged, ValueError."""
    if hashlib.sha256(each.body).digest() != each.sha256:
        raise ValueError("its bytes are not those whose SHA-256 is in the ledger")
    envelope = cose.peek(each.body)
    candidates = [
        key
        for key in keys
        if key.gateway_id == each.gateway_id and cose.key_id(key.public_key) == envelope.kid
    ]
    if not candidates:
        raise ValueError("signed by no key of its gateway")
    cose.verify(envelope, Ed25519PublicKey.from_public_bytes(candidates[0].public_key), wire.AAD)
    header = wire.header_of(envelope)
    claimed = (header.gateway_id, header.epoch, header.stream, header.seq)
    if claimed != (each.gateway_id, each.epoch, each.stream, each.seq):
        raise ValueError(f"its header says {claimed}")
    sealed_at = _instant(header.sealed_ms)
    if not any(_speaks(key, sealed_at) for key in candidates):
        raise ValueError(f"sealed {sealed_at.isoformat()}, after its key was withdrawn")
    if header.schema == wire.SCHEMA_READINGS:
        _add(wire.decode_body(envelope.payload, header), header, each.batch_id, readings)
    return header


def _add(rows: wire.Rows, header: wire.Header, batch_id: int, readings: Readings) -> None:
    for at, index in enumerate(rows.meter_index):
        quality = rows.quality[at]
        ticks = tuple(
            rows.columns[column][at] if column in rows.columns else None for column in range(ENERGY_COLUMNS)
        )
        readings[rows.meters[index]].append(
            RegisterReading(
                at_ms=rows.taken_at_ms[at],
                source=int(bool(quality & FREEZE)),
                quality=quality,
                batch_id=batch_id,
                recollected=header.stream == STREAM_RECALL,
                ticks=ticks,
            )
        )


def _chain(headers: list[tuple[wire.Header, Batch]]) -> tuple[int, list[str]]:
    """Each batch names the SHA-256 of the one before it in its stream; only neighbours that are both here are compared."""
    by_place = {(h.gateway_id, h.epoch, h.stream, h.seq): each for h, each in headers}
    links, problems = 0, []
    for header, each in sorted(headers, key=lambda pair: pair[1].batch_id):
        before = by_place.get((header.gateway_id, header.epoch, header.stream, header.seq - 1))
        if before is None:
            continue
        links += 1
        if header.previous_sha256 != before.sha256:
            problems.append(f"batch {each.batch_id} does not follow batch {before.batch_id}")
    return links, problems


def _keys(witness: Witness, seals: tuple[Seal, ...]) -> Step:
    """The keys of the evidence are those that the bill names."""
    if not seals:
        return note("keys_unnamed", keys=len(witness.keys))
    named = {(each.gateway_id, each.public_key) for each in seals}
    strangers = [
        f"key {each.public_key.hex()[:16]}… of {each.gateway_id} is not named by the bill"
        for each in witness.keys
        if (each.gateway_id, each.public_key.hex()) not in named
    ]
    return judged("keys", strangers, keys=len(witness.keys))


def _gateways(witness: Witness) -> set[str]:
    return {each.gateway_id for each in witness.batches}


def _speaks(key: GatewayKey, at: datetime) -> bool:
    return (
        key.end is None or at < key.end
    )  # a key may seal before it is registered, never after it was withdrawn


def _instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)
