"""What came of a fault run: the database against the diaries, the ledger against the gateways' stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import chaos_diary
from chaos_diary import Difference, Key, Ticks, Truth
from chaos_world import World

from edge_agent.wire import batch, cose

COLUMNS = ", ".join(f"c{n}" for n in range(len(batch.CHANNELS)))
READINGS = f"""
    SELECT meter_id, (extract(epoch FROM taken_at) * 1000)::bigint, source, quality, batch_id, {COLUMNS}
    FROM reading JOIN meter USING (meter_key)"""
LEDGER = "SELECT gateway_id, epoch, stream, seq, sha256, verdict, batch_id, body FROM sealed_batch"
CURSORS = "SELECT gateway_id, epoch, stream, upto FROM batch_cursor"
REFUSED = """
    SELECT 'conflict', count(*) FROM reading_conflict UNION ALL SELECT 'unbound', count(*) FROM unbound_reading
    UNION ALL SELECT 'quarantine', count(*) FROM quarantine UNION ALL SELECT 'loss', count(*) FROM batch_loss
    UNION ALL SELECT deed, count(*) FROM gateway_event WHERE deed IN ('suspect', 'chain_break') GROUP BY deed"""
VERDICTS = "SELECT verdict, sum(messages)::int FROM intake_count GROUP BY verdict"
EDGE = "SELECT epoch, stream, seq, sha256, state FROM batch"

Place = tuple[str, int, int, int]  # gateway, epoch, stream, seq


@dataclass(frozen=True, slots=True)
class Result:
    """All that the tests judge."""

    difference: Difference
    marks: frozenset[tuple[int, int]]  # (source, quality) of the rows
    ledger: Mapping[Place, bytes]  # sha256 as the cloud has it
    edge: Mapping[Place, tuple[bytes, str]]  # sha256 and state as the gateways have it
    upto: Mapping[tuple[str, int, int], int]
    refused: Mapping[str, int]
    verdicts: Mapping[str, int]
    in_batches: Counter[tuple[Key, int]]  # how often each row of the table is in the evidence it names
    rows: frozenset[tuple[Key, int]]

    @property
    def waiting(self) -> int:
        """Batches that their gateways still offer."""
        return sum(state == "sealed" for _, state in self.edge.values())

    @property
    def lost_percent(self) -> float:
        return 100 * len(self.difference.lost) / max(1, self.difference.kept)


def examine(world: World) -> Result:
    """Look at everything once the gateways have ended."""
    said: dict[Key, Ticks] = {}
    kept: set[Key] = set()
    edge: dict[Place, tuple[bytes, str]] = {}
    for site in world.sites:
        truth = chaos_diary.read(site.folder / "diary")
        said |= truth.said
        kept |= truth.kept
        for epoch, stream, seq, sha256, state in site.look(EDGE):
            edge[site.process.name, epoch, stream, seq] = (bytes(sha256), str(state))
    stored: dict[Key, Ticks] = {}
    marks: set[tuple[int, int]] = set()
    rows: set[tuple[Key, int]] = set()
    for meter_id, at_ms, source, quality, batch_id, *ticks in world.ask(READINGS):
        stored[meter_id, at_ms] = tuple(ticks)
        marks.add((source, quality))
        rows.add(((meter_id, at_ms), batch_id))
    ledger: dict[Place, bytes] = {}
    in_batches: Counter[tuple[Key, int]] = Counter()
    for gateway_id, epoch, stream, seq, sha256, _, batch_id, body in world.ask(LEDGER):
        ledger[gateway_id, epoch, stream, seq] = bytes(sha256)
        if stream == 0:
            in_batches.update((key, batch_id) for key in _keys(bytes(body)))
    return Result(
        difference=chaos_diary.compare(Truth(said, frozenset(kept)), stored),
        marks=frozenset(marks),
        ledger=ledger,
        edge=edge,
        upto={(g, e, s): upto for g, e, s, upto in world.ask(CURSORS)},
        refused={what: count for what, count in world.ask(REFUSED) if count},
        verdicts=dict(world.ask(VERDICTS)),
        in_batches=in_batches,
        rows=frozenset(rows),
    )


def _keys(body: bytes) -> list[Key]:
    envelope = cose.peek(body)
    rows = batch.decode_body(envelope.payload, batch.header_of(envelope))
    return [
        (rows.meters[meter], at_ms) for meter, at_ms in zip(rows.meter_index, rows.taken_at_ms, strict=True)
    ]
