"""EBP/1 events (schema 2): alarms, losses, restarts and command results, sealed into batches of stream 1.

Body: {ev: [[kind, at ms, {fact: value...}]...]}. A fact is text, a whole number or a boolean. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.wire import batch
from edge_agent.wire.batch import Header, TooBig
from edge_agent.wire.cose import Malformed
from edge_agent.wire.fields import END_INSTANT_MS, FIRST_INSTANT_MS, INT64_MAX, INT64_MIN, WORD, text, whole

EVENTS_MAX: Final = 256
FACTS_MAX: Final = 32
FACT_CHARACTERS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the gateway; `facts` are text, whole numbers or booleans."""

    kind: str
    at_ms: int
    facts: Mapping[str, int | str | bool]


def seal_events(header: Header, events: Sequence[Event], key: Ed25519PrivateKey) -> bytes:
    """Seal events into one signed batch. Raises TooBig."""
    if len(events) > EVENTS_MAX:
        raise TooBig(f"{len(events)} events; at most {EVENTS_MAX} are allowed")
    times_ms = [event.at_ms for event in events]
    counted = replace(
        header,
        readings=len(events),
        first_ms=min(times_ms),
        last_ms=max(times_ms),
        schema=batch.SCHEMA_EVENTS,
    )
    return batch.sealed_message(counted, {"ev": [[e.kind, e.at_ms, dict(e.facts)] for e in events]}, key)


def decode_events(payload: bytes, header: Header) -> tuple[Event, ...]:
    """Unpack the events of a batch whose signature was verified. Raises Malformed."""
    body = batch.unpacked_body(payload, header, batch.SCHEMA_EVENTS)
    events = body.get("ev")
    if body.keys() != {"ev"} or type(events) is not list or not 1 <= len(events) <= EVENTS_MAX:
        raise Malformed(f"ev must be the only key and list 1 to {EVENTS_MAX} events")
    decoded = tuple(_event(event) for event in events)
    times_ms = [event.at_ms for event in decoded]
    if (len(decoded), min(times_ms), max(times_ms)) != (header.readings, header.first_ms, header.last_ms):
        raise Malformed("n, t0, t1 do not describe the events")
    return decoded


def _event(value: Any) -> Event:
    if type(value) is not list or len(value) != 3 or type(value[2]) is not dict:
        raise Malformed("an event must be [kind, at ms, facts]")
    kind, at_ms, facts = value
    if len(facts) > FACTS_MAX:
        raise Malformed(f"at most {FACTS_MAX} facts are allowed")
    for key, fact in facts.items():
        if type(key) is not str or not WORD.fullmatch(key):
            raise Malformed(f"a fact's name must match {WORD.pattern}")
        if type(fact) is str:
            if len(fact) > FACT_CHARACTERS_MAX or "\0" in fact:
                raise Malformed(f"a fact may have {FACT_CHARACTERS_MAX} characters and no NUL")
        elif type(fact) is int:
            if not INT64_MIN <= fact <= INT64_MAX:
                raise Malformed("a fact does not fit into 64 bits")
        elif type(fact) is not bool:
            raise Malformed("a fact must be text, a whole number or a boolean")
    return Event(
        kind=text({"kind": kind}, "kind", WORD),
        at_ms=whole({"at": at_ms}, "at", FIRST_INSTANT_MS, END_INSTANT_MS - 1),
        facts=facts,
    )
