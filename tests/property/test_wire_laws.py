"""Laws of EBP/1: what is sealed comes back exactly, damage never passes, and only named refusals come out."""

from dataclasses import replace

import cbor2
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.wire import batch, control, cose, event

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = KEY.public_key()
NOON_MS = 1_785_556_800_000
HEADER = batch.Header(
    gateway_id="GW001",
    store_uuid=bytes(16),
    epoch=1,
    stream=0,
    seq=1,
    previous_sha256=batch.NO_PREVIOUS,
    readings=0,
    first_ms=0,
    last_ms=0,
    sealed_ms=NOON_MS,
    monotonic_ms=0,
    boot_id="b",
    clock_source="ntp",
    clock_error_ms=0,
    profile_bundle="p",
    schema=1,
)
REFUSED = (cose.Malformed, cose.Forged)

meter_ids = st.text("ABCabc019_.-", min_size=1, max_size=32)
decimals_16 = st.tuples(*(st.integers(0, channel.decimals) for channel in batch.CHANNELS))
# Ticks at the meter's decimals stay in int64 when multiplied up by at most 10^4.
tick = st.one_of(st.integers(-(2**63 // 10**4), 2**63 // 10**4 - 1), st.integers(-5, 5))
ticks = st.dictionaries(st.integers(0, 15), tick).map(
    lambda by: tuple(by.get(column) for column in range(16))
)


@st.composite
def readings(draw):
    meters = draw(st.dictionaries(meter_ids, decimals_16, min_size=1, max_size=4))
    rows = []
    for meter_id in meters:
        instants = draw(
            st.sets(st.integers(batch.FIRST_INSTANT_MS, batch.END_INSTANT_MS - 1), min_size=1, max_size=5)
        )
        rows.extend(batch.Reading(meter_id, at, draw(st.integers(0, 31)), draw(ticks)) for at in instants)
    if all(tick is None for row in rows for tick in row.ticks):
        rows[0] = replace(rows[0], ticks=(1,) + (None,) * 15)
    return draw(st.permutations(rows)), meters


def opened(sealed):
    envelope = cose.open_sealed(sealed, PUBLIC, batch.AAD)
    header = batch.header_of(envelope)
    return header, batch.decode_body(envelope.payload, header)


@given(readings())
def test_every_reading_comes_back_exactly_once_in_canonical_ticks(made):
    rows, decimals = made

    header, decoded = opened(batch.seal_batch(HEADER, rows, decimals, KEY))

    expected = {
        (row.meter_id, row.taken_at_ms): (
            row.quality,
            tuple(
                None if tick is None else tick * 10 ** (channel.decimals - own)
                for tick, channel, own in zip(row.ticks, batch.CHANNELS, decimals[row.meter_id], strict=True)
            ),
        )
        for row in rows
    }
    size = len(decoded.meter_index)
    actual = {
        (decoded.meters[decoded.meter_index[at]], decoded.taken_at_ms[at]): (
            decoded.quality[at],
            tuple(decoded.columns.get(column, [None] * size)[at] for column in range(16)),
        )
        for at in range(size)
    }
    assert size == len(rows)
    assert actual == expected
    assert header.readings == sum(tick is not None for row in rows for tick in row.ticks)
    assert header.first_ms == min(row.taken_at_ms for row in rows)
    assert header.last_ms == max(row.taken_at_ms for row in rows)


@given(readings())
def test_sealing_does_not_depend_on_the_order_of_readings(made):
    rows, decimals = made

    assert batch.seal_batch(HEADER, rows, decimals, KEY) == batch.seal_batch(
        HEADER, rows[::-1], decimals, KEY
    )


SEALED = batch.seal_batch(
    HEADER,
    [
        batch.Reading(f"M{m}", NOON_MS + i * 60_000, 0, tuple(range(i, i + 16)))
        for m in range(3)
        for i in range(5)
    ],
    {f"M{m}": batch.CANONICAL_DECIMALS for m in range(3)},
    KEY,
)


def test_no_single_damaged_bit_passes():
    passed = []
    for at in range(len(SEALED)):
        for bit in range(8):
            damaged = bytearray(SEALED)
            damaged[at] ^= 1 << bit
            try:
                cose.open_sealed(bytes(damaged), PUBLIC, batch.AAD)
            except REFUSED:
                continue
            passed.append((at, bit))
    assert passed == []


@given(st.integers(0, len(SEALED)), st.integers(0, len(SEALED)), st.binary(max_size=12))
def test_no_cut_or_insertion_passes(start, end, inserted):
    changed = SEALED[:start] + inserted + SEALED[end:]
    if changed == SEALED:
        return
    with pytest.raises(REFUSED):
        cose.open_sealed(changed, PUBLIC, batch.AAD)


def test_a_second_encoding_of_the_same_message_is_refused():
    """Lengths are outside the signature; accepting a longer form would let anybody forge an equivocation."""
    sealed = cose.seal({"v": 1}, b"payload", KEY, batch.AAD)
    protected_head = b"\x53"  # 19 bytes: {1: -8, 4: 8 bytes, "h": {"v": 1}}
    assert sealed[:3] == b"\xd2\x84" + protected_head
    cose.open_sealed(sealed, PUBLIC, batch.AAD)

    for longer in (b"\x58\x13", b"\x59\x00\x13", b"\x5a\x00\x00\x00\x13"):
        with pytest.raises(cose.Malformed):
            cose.open_sealed(sealed[:2] + longer + sealed[3:], PUBLIC, batch.AAD)
    with pytest.raises(cose.Malformed):
        cose.open_sealed(sealed.replace(b"\x47payload", b"\x58\x07payload"), PUBLIC, batch.AAD)
    with pytest.raises(cose.Malformed):
        cose.open_sealed(sealed.replace(b"\x47payload", b"\x5f\x47payload\xff"), PUBLIC, batch.AAD)


def test_another_key_and_another_purpose_are_forged():
    with pytest.raises(cose.Forged):
        cose.open_sealed(SEALED, OTHER.public_key(), batch.AAD)
    with pytest.raises(cose.Forged):
        cose.open_sealed(SEALED, PUBLIC, control.HELLO_AAD)


plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**64), 2**64 - 1),
        st.floats(),
        st.binary(max_size=40),
        st.text(max_size=8),
        st.sampled_from(sorted(batch.CHANNEL_COLUMN)),
        st.sampled_from(
            ["d", "x", "t", "q", "c0", "c1", "m", "c", "e", "k", "ev", "M1", "v", "gw", "s", "st"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text("dxtqcmekvgws01", max_size=2), inner, max_size=6)
    ),
    max_leaves=30,
)


def body_of(value):
    return zstandard.ZstdCompressor().compress(cbor2.dumps(value))


def refuse_or_return(decode, *arguments):
    try:
        return decode(*arguments)
    except REFUSED:
        return None


@given(st.binary(max_size=400))
def test_random_bytes_meet_named_refusals_only(noise):
    header = replace(HEADER, readings=1, first_ms=NOON_MS, last_ms=NOON_MS)
    refuse_or_return(cose.peek, noise)
    refuse_or_return(cose.peek, b"\xd2\x84" + noise)
    refuse_or_return(batch.decode_body, noise, header)
    refuse_or_return(batch.decode_body, zstandard.ZstdCompressor().compress(noise), header)
    refuse_or_return(control.decode_state, noise)
    refuse_or_return(control.decode_live, noise)


@given(plain)
def test_random_values_meet_named_refusals_only(value):
    header = replace(HEADER, readings=1, first_ms=NOON_MS, last_ms=NOON_MS)
    refuse_or_return(batch.decode_body, body_of(value), header)
    refuse_or_return(event.decode_events, body_of(value), replace(header, schema=2))
    for decode in (control.decode_state, control.decode_live):
        refuse_or_return(decode, cbor2.dumps(value))
    if isinstance(value, dict):
        sealed = cose.seal(value, cbor2.dumps(value), KEY, batch.AAD)
        envelope = refuse_or_return(cose.open_sealed, sealed, PUBLIC, batch.AAD)
        if envelope is not None:
            for read in (batch.header_of, control.ack_of, control.hello_of):
                refuse_or_return(read, envelope)


SOUND = cbor2.loads(zstandard.ZstdDecompressor().decompress(cose.peek(SEALED).payload))
SOUND_HEADER = batch.header_of(cose.peek(SEALED))
PATHS = [
    *((key,) for key in ("d", "x", "t", "q", "c0", "c15")),
    *(("d", key) for key in "mcek"),
    *((key, at) for key in ("x", "t", "q", "c0", "c15") for at in (0, 7, 14)),
    *(("d", key, 0) for key in "mcek"),
    ("d", "e", 0, 3),
]


@settings(max_examples=400)
@given(st.sampled_from(PATHS), plain)
def test_one_wrong_value_in_a_sound_body_never_yields_an_impossible_row(path, value):
    """Whatever is put in one place of a good body, the result is Malformed or fits the database."""
    body = cbor2.loads(cbor2.dumps(SOUND))
    place = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    rows = refuse_or_return(batch.decode_body, body_of(body), SOUND_HEADER)

    if rows is not None:
        size = len(rows.meter_index)
        assert all(type(v) is int for v in (*rows.meter_index, *rows.taken_at_ms, *rows.quality))
        assert all(batch.FIRST_INSTANT_MS <= at < batch.END_INSTANT_MS for at in rows.taken_at_ms)
        assert len(rows.taken_at_ms) == len(rows.quality) == size
        keys = [(rows.meters[m], at) for m, at in zip(rows.meter_index, rows.taken_at_ms, strict=True)]
        assert len(set(keys)) == size
        for column in rows.columns.values():
            assert len(column) == size
            assert all(v is None or (type(v) is int and -(2**63) <= v < 2**63) for v in column)


@given(
    st.builds(
        control.Ack,
        gateway_id=st.just("GW001"),
        store_uuid=st.binary(min_size=16, max_size=16),
        generation=st.integers(0, 2**31 - 1),
        epoch=st.integers(1, 2**31 - 1),
        streams=st.lists(
            st.builds(
                control.StreamAck,
                stream=st.integers(0, 2),
                upto=st.integers(0, 2**63 - 1),
                have=st.lists(
                    st.tuples(st.integers(1, 2**62), st.integers(2**62, 2**63 - 1)), max_size=16
                ).map(tuple),
                rejected=st.lists(
                    st.builds(control.Rejected, st.integers(1, 2**63 - 1), st.just("schema"), st.just("Q-1")),
                    max_size=4,
                ).map(tuple),
                hold=st.booleans(),
            ),
            max_size=3,
            unique_by=lambda stream: stream.stream,
        ).map(tuple),
    )
)
def test_an_ack_comes_back_as_it_was(ack):
    sealed = control.seal_ack(ack, KEY)

    assert control.ack_of(cose.open_sealed(sealed, PUBLIC, control.ACK_AAD)) == ack


def test_hello_state_live_and_loss_come_back_as_they_were():
    hello = control.Hello(
        gateway_id="GW001",
        store_uuid=bytes(16),
        epoch=0,
        streams=(control.StreamOffer(0, 5, 3), control.StreamOffer(1, 1, 1)),
        generation=0,
        boot_id="b",
        sent_ms=NOON_MS,
        agent_version="0.1.0",
        profile_bundle="p",
        clock_source="none",
        clock_error_ms=0,
    )
    state = control.State(
        gateway_id="GW001",
        online=True,
        at_ms=NOON_MS,
        epoch=1,
        backlog_batches=2,
        oldest_unacked_s=900,
        disk_permille=12,
        agent_version="0.1.0",
        clock_source="ntp",
        clock_error_ms=5,
        meters=(control.MeterHealth("M1", NOON_MS, 10, 1, False),),
    )
    live = control.Live("GW001", (control.LiveSample("M1", NOON_MS, 0, {"p": -12, "u_a": 22_010}),))
    loss = control.Loss(1, 0, 4, 9, 600, NOON_MS, NOON_MS + 1, "damaged-on-disk")

    sealed = control.seal_hello(hello, KEY)
    assert control.hello_of(cose.open_sealed(sealed, PUBLIC, control.HELLO_AAD)) == hello
    assert control.decode_state(control.encode_state(state)) == state
    assert control.decode_live(control.encode_live(live)) == live
    assert control.loss_of(control.loss_event(loss, NOON_MS)) == loss
