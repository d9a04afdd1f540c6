"""EBP/1 on the wire, byte by byte.

The expected bytes are put together here by hand from RFC 8949 (CBOR) and RFC 9052 §4.4 (Sig_structure); nothing of
`edge_agent.wire` and no CBOR library takes part. The key is test 1 of RFC 8032 §7.1, whose public key is given there.
"""

import hashlib

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.wire import batch, control, cose, event

SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
KEY = Ed25519PrivateKey.from_private_bytes(SECRET)
NOON_MS = 1_785_556_800_000  # 2026-08-01T12:00 Asia/Shanghai


def uint(value: int) -> bytes:
    """CBOR major type 0, shortest form."""
    return head(0, value)


def nint(value: int) -> bytes:
    """CBOR major type 1 of a negative number."""
    return head(1, -1 - value)


def head(major: int, value: int) -> bytes:
    for size, code in ((0, None), (1, 24), (2, 25), (4, 26), (8, 27)):
        if code is None and value < 24:
            return bytes([major << 5 | value])
        if code is not None and value < 256**size:
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise AssertionError(value)


def octets(value: bytes) -> bytes:
    return head(2, len(value)) + value


def text(value: str) -> bytes:
    return head(3, len(value)) + value.encode()


def array(*items: bytes) -> bytes:
    return head(4, len(items)) + b"".join(items)


def mapping(*items: bytes) -> bytes:
    return head(5, len(items) // 2) + b"".join(items)


NULL = b"\xf6"


def sign1(header: bytes, payload: bytes, aad: bytes) -> bytes:
    kid = hashlib.sha256(PUBLIC).digest()[:8]
    protected = mapping(uint(1), nint(-8), uint(4), octets(kid), text("h"), header)
    signed = array(text("Signature1"), octets(protected), octets(aad), octets(payload))
    signature = KEY.sign(signed)
    return b"\xd2" + array(octets(protected), mapping(), octets(payload), octets(signature))


HEADER = batch.Header(
    gateway_id="GW001",
    store_uuid=bytes(range(16)),
    epoch=1,
    stream=0,
    seq=300,
    previous_sha256=b"\xaa" * 32,
    readings=0,
    first_ms=0,
    last_ms=0,
    sealed_ms=NOON_MS + 905_000,
    monotonic_ms=70_000,
    boot_id="boot-1",
    clock_source="ntp",
    clock_error_ms=12,
    profile_bundle="bundle-1",
    schema=batch.SCHEMA_READINGS,
)


def header_bytes(*, count: int, first_ms: int, last_ms: int, schema: int, stream: int = 0) -> bytes:
    return mapping(
        *(text("n"), uint(count)),
        *(text("v"), uint(1)),
        *(text("bt"), text("boot-1")),
        *(text("ck"), array(text("ntp"), uint(12))),
        *(text("ep"), uint(1)),
        *(text("gw"), text("GW001")),
        *(text("mo"), uint(70_000)),
        *(text("pf"), text("bundle-1")),
        *(text("pv"), octets(b"\xaa" * 32)),
        *(text("sc"), uint(schema)),
        *(text("sq"), uint(300)),
        *(text("st"), uint(stream)),
        *(text("su"), octets(bytes(range(16)))),
        *(text("t0"), uint(first_ms)),
        *(text("t1"), uint(last_ms)),
        *(text("ts"), uint(NOON_MS + 905_000)),
    )


def ticks(**by_code: int) -> tuple[int | None, ...]:
    return tuple(by_code.get(channel.code) for channel in batch.CHANNELS)


READINGS = (
    batch.Reading("M2", NOON_MS, 0, ticks(ea_imp=500, p=-7)),
    batch.Reading("M1", NOON_MS, 0, ticks(ea_imp=123_456, p=1500)),
    batch.Reading("M1", NOON_MS + 900_000, 8, ticks(ea_imp=123_460)),
    batch.Reading("M1", NOON_MS + 1_800_000, 0, ticks(ea_imp=123_460, p=1400)),
)
DECIMALS = {"M1": (2,) * 4 + (4,) * 12, "M2": (1,) * 4 + (3,) * 12}

BODY = mapping(
    *(
        text("d"),
        mapping(
            *(text("c"), array(text("ea_imp"), text("p"))),
            *(text("e"), array(array(uint(1), uint(3)), array(uint(2), uint(4)))),
            *(text("k"), array(uint(1), uint(0))),
            *(text("m"), array(text("M1"), text("M2"))),
        ),
    ),
    *(text("q"), array(uint(0), uint(8), uint(0), uint(0))),
    *(text("t"), array(uint(NOON_MS), uint(900_000), uint(900_000), nint(-1_800_000))),
    *(text("x"), array(uint(0), uint(0), uint(0), uint(1))),
    *(text("c0"), array(uint(123_456), uint(4), uint(0), uint(500))),
    *(text("c1"), array(uint(1500), NULL, nint(-100), nint(-7))),
)


def test_the_public_key_is_the_one_of_rfc_8032():
    assert KEY.public_key().public_bytes_raw() == PUBLIC


def test_an_envelope_is_cose_sign1_as_written_by_hand():
    sealed = cose.seal({"v": 1, "gw": "GW001"}, b"payload", KEY, "ebp/1/ack")

    assert sealed == sign1(mapping(text("v"), uint(1), text("gw"), text("GW001")), b"payload", b"ebp/1/ack")


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_payload_lengths_are_in_the_shortest_form(size):
    sealed = cose.seal({"v": 1}, bytes(size), KEY, "ebp/1")

    assert sealed == sign1(mapping(text("v"), uint(1)), bytes(size), b"ebp/1")


def test_a_batch_is_its_header_and_columns_as_written_by_hand():
    sealed = batch.seal_batch(HEADER, READINGS, DECIMALS, KEY)

    payload = cose.peek(sealed).payload
    header = header_bytes(count=7, first_ms=NOON_MS, last_ms=NOON_MS + 1_800_000, schema=1)
    assert zstandard.ZstdDecompressor().decompress(payload) == BODY
    assert sealed == sign1(header, payload, b"ebp/1")


def test_a_batch_written_by_hand_is_read_in_canonical_ticks():
    header = header_bytes(count=7, first_ms=NOON_MS, last_ms=NOON_MS + 1_800_000, schema=1)
    sealed = sign1(header, zstandard.ZstdCompressor().compress(BODY), b"ebp/1")

    envelope = cose.open_sealed(sealed, KEY.public_key(), batch.AAD)
    rows = batch.decode_body(envelope.payload, batch.header_of(envelope))

    assert rows.meters == ("M1", "M2")
    assert rows.meter_index == [0, 0, 0, 1]
    assert rows.taken_at_ms == [NOON_MS, NOON_MS + 900_000, NOON_MS + 1_800_000, NOON_MS]
    assert rows.quality == [0, 8, 0, 0]
    assert rows.columns == {
        0: [12_345_600, 12_346_000, 12_346_000, 500_000],  # 1234.56 kWh and 50.0 kWh, tick 0.1 Wh
        4: [1500, None, 1400, -70],
    }


def test_events_are_as_written_by_hand():
    happened = event.Event("boot", NOON_MS, {"version": "0.1.0", "clean": False})
    header = batch.Header(**{k: getattr(HEADER, k) for k in HEADER.__slots__} | {"stream": 1})

    sealed = event.seal_events(header, [happened], KEY)

    payload = cose.peek(sealed).payload
    facts = mapping(text("clean"), b"\xf4", text("version"), text("0.1.0"))
    body = mapping(text("ev"), array(array(text("boot"), uint(NOON_MS), facts)))
    assert zstandard.ZstdDecompressor().decompress(payload) == body
    assert sealed == sign1(
        header_bytes(count=1, first_ms=NOON_MS, last_ms=NOON_MS, schema=2, stream=1), payload, b"ebp/1"
    )


def test_an_ack_is_as_written_by_hand():
    ack = control.Ack(
        gateway_id="GW001",
        store_uuid=bytes(range(16)),
        generation=2,
        epoch=1,
        streams=(
            control.StreamAck(0, 48_211, ((48_213, 48_220),), (control.Rejected(48_212, "schema", "Q-7"),)),
        ),
    )

    rejected = array(uint(48_212), text("schema"), text("Q-7"))
    stream = mapping(
        *(text("s"), uint(0)),
        *(text("rej"), array(rejected)),
        *(text("have"), array(array(uint(48_213), uint(48_220)))),
        *(text("hold"), b"\xf4"),
        *(text("upto"), uint(48_211)),
    )
    body = mapping(
        *(text("ep"), uint(1)),
        *(text("st"), array(stream)),
        *(text("su"), octets(bytes(range(16)))),
        *(text("gen"), uint(2)),
    )
    header = mapping(text("v"), uint(1), text("gw"), text("GW001"))
    assert control.seal_ack(ack, KEY) == sign1(header, body, b"ebp/1/ack")
    assert (
        control.ack_of(cose.open_sealed(sign1(header, body, b"ebp/1/ack"), KEY.public_key(), "ebp/1/ack"))
        == ack
    )


def test_the_topics_are_those_of_the_broker_rules():
    assert control.batch_topic("GW001", 2) == "up/v1/GW001/b/2"
    assert control.ack_topic("GW001") == "down/v1/GW001/ack"
    assert control.up_topic("up/v1/GW001/b/0") == control.UpTopic("GW001", "b", 0)
    assert control.up_topic("up/v1/GW001/hello") == control.UpTopic("GW001", "hello", None)
