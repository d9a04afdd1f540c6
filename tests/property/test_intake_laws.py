"""Laws of the door: acks tell exactly what is consumed, and every row goes to exactly one place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.metering.intake import Binding, Link, Position, StreamState, broken_links, contiguous, segments_of
from edge_agent.wire.batch import NO_PREVIOUS, Rows

SEQS = st.sets(st.integers(1, 60))


def ranges_of(seqs: set[int]) -> list[tuple[int, int]]:
    """Maximal closed ranges, by the slowest honest way."""
    ranges: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges


@given(SEQS, SEQS, st.integers(0, 20), st.randoms(use_true_random=False))
def test_an_ack_tells_exactly_what_is_consumed(
    arrived: set[int], lost: set[int], upto: int, chance: object
) -> None:
    """`upto` is the end of the unbroken beginning; `have` are the first sixteen ranges beyond the first gap."""
    islands = ranges_of({s for s in arrived if s > upto}) + ranges_of({s for s in lost if s > upto})
    chance.shuffle(islands)
    reached, have = contiguous(StreamState(upto, tuple(islands)))
    consumed = set(range(1, upto + 1)) | {s for s in arrived | lost if s > upto}
    unbroken = next(s for s in range(1, 100) if s not in consumed) - 1
    assert reached == unbroken
    assert list(have) == ranges_of({s for s in consumed if s > unbroken})[:16]


@st.composite
def rows_and_bindings(draw: st.DrawFn) -> tuple[Rows, dict[str, list[Binding]]]:
    meters = draw(st.integers(1, 4))
    index: list[int] = []
    times: list[int] = []
    for meter in range(meters):
        own = sorted(draw(st.sets(st.integers(0, 50), min_size=1, max_size=8)))
        index += [meter] * len(own)
        times += own
    rows = Rows(tuple(f"M{n}" for n in range(meters)), index, times, [0] * len(times), {})
    bindings: dict[str, list[Binding]] = {}
    for meter in range(meters):
        cuts = sorted(draw(st.sets(st.integers(0, 50), max_size=4)))
        spans = list(zip(cuts[::2], cuts[1::2], strict=False))
        bindings[f"M{meter}"] = [Binding(10 * meter + n, start, end) for n, (start, end) in enumerate(spans)]
    return rows, bindings


@given(rows_and_bindings())
def test_every_row_is_bound_where_its_instant_says_or_nowhere(
    drawn: tuple[Rows, dict[str, list[Binding]]],
) -> None:
    rows, bindings = drawn
    segments, unbound = segments_of(rows, bindings)
    placed = {at: segment.meter_key for segment in segments for at in range(segment.start, segment.end)}
    assert len(placed) == sum(segment.end - segment.start for segment in segments)
    assert sorted([*placed, *unbound]) == list(range(len(rows.taken_at_ms)))
    for at, taken_at_ms in enumerate(rows.taken_at_ms):
        own = bindings[rows.meters[rows.meter_index[at]]]
        covering = [b.meter_key for b in own if b.start_ms <= taken_at_ms < b.end_ms]
        assert [placed[at]] == covering if at in placed else covering == []


@given(st.sets(st.integers(1, 20), min_size=1), st.sets(st.integers(1, 20)))
def test_a_chain_is_broken_exactly_where_a_link_does_not_fit(present: set[int], wrong: set[int]) -> None:
    """Whatever arrives in whatever group: a wrong link is told as soon as both of its ends are there."""

    def link(seq: int) -> Link:
        true = NO_PREVIOUS if seq == 1 else (seq - 1).to_bytes(32)
        return Link(seq.to_bytes(32), b"\xff" * 32 if seq in wrong else true)

    ledger = {Position("GW1", 1, 0, seq): link(seq) for seq in present}
    judged = {seq for seq in present if seq == 1 or seq - 1 in present}
    assert {place.seq for place in broken_links(ledger.keys(), ledger)} == judged & wrong
