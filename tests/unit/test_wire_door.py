"""Each limit of the door has its own refusal. A sound batch is changed in one place at a time."""

import tracemalloc

import cbor2
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.wire import batch, control, cose

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
NOON_MS = 1_785_556_800_000


def sound_header():
    return {
        "v": 1,
        "gw": "GW001",
        "su": bytes(16),
        "ep": 1,
        "st": 0,
        "sq": 1,
        "pv": bytes(32),
        "n": 3,
        "t0": NOON_MS,
        "t1": NOON_MS + 900_000,
        "ts": NOON_MS + 900_000,
        "mo": 0,
        "bt": "b",
        "ck": ["ntp", 0],
        "pf": "p",
        "sc": 1,
    }


def sound_body():
    return {
        "d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [0]},
        "x": [0, 0],
        "t": [NOON_MS, 900_000],
        "q": [0, 0],
        "c0": [100, 5],
        "c1": [7, None],
    }


def compressed(body):
    return zstandard.ZstdCompressor().compress(body if isinstance(body, bytes) else cbor2.dumps(body))


def decode(header=None, body=None, payload=None):
    payload = compressed(sound_body() if body is None else body) if payload is None else payload
    sealed = cose.seal(header or sound_header(), payload, KEY, batch.AAD)
    envelope = cose.open_sealed(sealed, PUBLIC, batch.AAD)
    return batch.decode_body(envelope.payload, batch.header_of(envelope))


def test_the_sound_batch_is_sound():
    assert decode().columns == {0: [10_000, 10_500], 4: [7, None]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("v", value) for value in (0, 2, True, "1")),
        *(("gw", value) for value in ("", "a" * 33, "GW 1", "GW001\n", "网关", b"GW001", "a/b", "+")),
        *(("su", value) for value in (bytes(15), bytes(17), "x" * 16)),
        *(("ep", value) for value in (0, -1, 2**31, True, 1.0)),
        *(("st", value) for value in (-1, 3, False)),
        *(("sq", value) for value in (0, 2**63, "1")),
        *(("pv", value) for value in (bytes(31), None)),
        *(("n", value) for value in (0, 2, 4, 16_385, True)),
        *(("t0", value) for value in (946_684_799_999, NOON_MS + 1, NOON_MS - 1, float(NOON_MS))),
        *(("t1", value) for value in (7_258_118_400_000, NOON_MS, NOON_MS - 1)),
        *(("ts", value) for value in (0, 7_258_118_400_000)),
        *(("mo", value) for value in (-1, 2**63)),
        *(("bt", value) for value in ("", "a b", "x" * 65, "a\0b")),
        *(
            ("ck", value)
            for value in ([], ["ntp"], ["sun", 0], ["ntp", -1], ["ntp", True], "ntp", [["ntp"], 0])
        ),
        *(("pf", value) for value in ("", 1)),
        *(("sc", value) for value in (0, 2, 3)),
        ("zz", 1),
    ],
)
def test_a_wrong_header_is_malformed(key, value):
    with pytest.raises(batch.Malformed):
        decode(header=sound_header() | {key: value})


def test_a_header_that_ends_before_it_begins_is_malformed_before_its_body_is_looked_at():
    sealed = cose.seal(sound_header() | {"t0": NOON_MS + 900_001}, b"", KEY, batch.AAD)

    with pytest.raises(batch.Malformed, match="t0"):
        batch.header_of(cose.peek(sealed))


@pytest.mark.parametrize("key", sorted(sound_header()))
def test_a_missing_header_key_is_malformed(key):
    with pytest.raises(batch.Malformed):
        decode(header={k: v for k, v in sound_header().items() if k != key})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"x": [0, 1]}, "points outside m"),
        ({"x": [1, 0]}, "not meter-major"),
        ({"x": [0]}, "short column"),
        ({"x": []}, "no rows"),
        ({"x": [0, False]}, "boolean for a whole number"),
        ({"t": [NOON_MS, 0]}, "same instant twice"),
        ({"t": [NOON_MS + 900_000, -900_000]}, "backwards within a meter"),
        ({"t": [NOON_MS, 900_000, 1]}, "long column"),
        ({"t": [NOON_MS, 900_000.0]}, "float"),
        ({"t": [NOON_MS, None]}, "null instant"),
        ({"q": [0, -1]}, "negative quality"),
        ({"q": [0, 1 << 15]}, "unknown quality bits"),
        ({"q": [0, True]}, "boolean quality"),
        ({"c0": [100, True]}, "boolean tick"),
        ({"c0": [100, 5.0]}, "float tick"),
        ({"c0": [100, "5"]}, "text tick"),
        ({"c0": [100]}, "short channel"),
        ({"c0": [2**63 // 100, 1]}, "int64 exceeded by scaling"),
        ({"c0": [2**62, 2**62]}, "int64 exceeded by summing"),
        ({"c0": [-(2**63), -1]}, "int64 exceeded below"),
        ({"c1": [2**63, None]}, "int64 exceeded beside a null"),
        ({"c0": [None, None], "c1": [None, None]}, "no value at all"),
        ({"c2": [0, 0]}, "column without a name"),
        (
            {"d": {"m": ["M1"], "c": ["ea_imp", "p", "q"], "e": [[2, 4, 4]], "k": [0]}},
            "name without a column",
        ),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "power"], "e": [[2, 4]], "k": [0]}}, "unknown channel"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "ea_imp"], "e": [[2, 2]], "k": [0]}}, "channel twice"),
        (
            {"d": {"m": ["M1", "M1"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [0, 0]}, "x": [0, 1]},
            "meter twice",
        ),
        ({"d": {"m": ["M1", "M2"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [0, 0]}}, "meter without a row"),
        ({"d": {"m": ["M 1"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [0]}}, "meter id alphabet"),
        ({"d": {"m": ["M1\n"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [0]}}, "meter id with a newline"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[5, 4]], "k": [0]}}, "finer than the catalogue"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[-1, 4]], "k": [0]}}, "negative decimals"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[2]], "k": [0]}}, "decimals of one channel missing"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [1]}}, "k outside e"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [-1]}}, "negative k"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[2, 4]], "k": [False]}}, "boolean k"),
        ({"d": {"m": ["M1"], "c": ["ea_imp", "p"], "e": [[2, 4]]}}, "k missing"),
        ({"d": {"m": [], "c": [], "e": [], "k": []}}, "empty dictionary"),
        ({"d": None}, "no dictionary"),
        ({"extra": 1}, "extra key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_body_is_malformed(change, why):
    with pytest.raises(batch.Malformed):
        decode(body=sound_body() | change)


@pytest.mark.parametrize("at_ms", [946_684_800_000 - 1, 7_258_118_400_000])
def test_an_instant_outside_2000_to_2199_is_malformed(at_ms):
    with pytest.raises(batch.Malformed):
        decode(body=sound_body() | {"t": [at_ms, 900_000]})


SOUND = cbor2.dumps(sound_body())


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (b"", "nothing"),
        (SOUND + b"\x00", "bytes behind"),
        (SOUND[:-1], "cut short"),
        (b"\xbf" + SOUND[1:] + b"\xff", "indefinite map"),
        (SOUND.replace(b"ax\x82\x00\x00", b"ax\x9f\x00\x00\xff"), "indefinite list"),
        (b"\xd9\xd9\xf7" + SOUND, "self-described tag"),
        (SOUND.replace(b"\x18\x64", b"\xc2\x41\x64"), "bignum tag"),
        (b"\xa7" + SOUND[1:] + b"\x61q\x82\x00\x00", "a key twice with the same value"),
        (b"\x81" * 5000 + b"\x00", "nested 5000 deep"),
        (b"\xa1\x61d" + b"\x81" * 7 + b"\x00", "nested deeper than any body"),
        (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "a list said to be endless"),
        (b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", "a map said to be endless"),
        (b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "a byte string said to be endless"),
        (b"\xa1\x62\xc3\x28\x00", "broken UTF-8"),
        (b"\xa1\x01\x00", "a key that is no text"),
        (b"\x80", "not a map"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_cbor_than_ours_is_malformed(encoded, why):
    with pytest.raises(batch.Malformed):
        decode(payload=compressed(encoded) if encoded else zstandard.ZstdCompressor().compress(b""))


@pytest.mark.parametrize("tag", [*range(300), 1004, 43_000, 55_799, 2**32])
def test_no_tag_is_given_a_meaning(tag):
    for content in (0, "2000-01-01", b"\x01", [1, 2], "(a+)+$"):
        with pytest.raises(cose.Malformed):
            cose.unpack(cbor2.dumps(cbor2.CBORTag(tag, content)), depth_max=6)


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 29))
    assert len(bomb) < batch.SEALED_BYTES_MAX
    tracemalloc.start()

    with pytest.raises(batch.Malformed, match="content size"):
        decode(payload=bomb)

    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_bomb_that_hides_its_size_is_refused():
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 25))

    with pytest.raises(batch.Malformed):
        decode(payload=hidden)


def test_a_bomb_that_understates_its_size_is_refused():
    body = zstandard.ZstdCompressor().compress(bytes(300_000))
    size = zstandard.get_frame_parameters(body).content_size
    at = body.index(size.to_bytes(4, "little"))
    lying = body[:at] + (1000).to_bytes(4, "little") + body[at + 4 :]

    with pytest.raises(batch.Malformed):
        decode(payload=lying)


def test_a_second_frame_or_an_empty_one_is_refused():
    for payload in (compressed(sound_body()) * 2, compressed(sound_body()) + b"x", compressed(b""), b""):
        with pytest.raises(batch.Malformed):
            decode(payload=payload)


def test_a_sealed_message_over_96_kib_is_refused_unparsed():
    sealed = cose.seal(sound_header(), bytes(batch.SEALED_BYTES_MAX), KEY, batch.AAD)

    with pytest.raises(cose.Malformed, match="at most"):
        cose.peek(sealed)


THREE = {"m": ["M1", "M2", "M3"], "c": ["ea_imp"], "e": [[2]], "k": [0, 0, 0]}


def three(x, t, **header):
    body = {"d": THREE, "x": x, "t": t, "q": [0] * len(x), "c0": [1] * len(x)}
    return decode(header=sound_header() | {"n": len(x), "t1": NOON_MS} | header, body=body)


def test_rows_of_several_meters_are_ordered_by_meter_and_leave_none_out():
    assert three([0, 1, 2], [NOON_MS, 0, 0]).meter_index == [0, 1, 2]
    for x in ([0, 2, 1, 2], [0, 1, 0, 2], [0, 2, 2, 2], [0, 1, 3, 2]):
        with pytest.raises(batch.Malformed):
            three(x, [NOON_MS, 1, 1, 1], t1=NOON_MS + 3)


def test_a_meter_cannot_have_two_rows_of_one_instant():
    with pytest.raises(batch.Malformed):
        decode(header=sound_header() | {"t1": NOON_MS}, body=sound_body() | {"t": [NOON_MS, 0]})


def envelope_of(protected, payload=b""):
    """A correctly signed COSE_Sign1 around any protected header."""
    signed = cbor2.dumps(["Signature1", protected, b"ebp/1", payload])
    return b"\xd2" + cbor2.dumps([protected, {}, payload, KEY.sign(signed)])


KID = cose.key_id(PUBLIC.public_bytes_raw())


def test_the_hand_made_envelope_is_good_when_its_header_is():
    protected = cbor2.dumps({1: -8, 4: KID, "h": {"v": 1}}, canonical=True)

    assert cose.open_sealed(envelope_of(protected), PUBLIC, batch.AAD).header == {"v": 1}


@pytest.mark.parametrize(
    ("protected", "why"),
    [
        (cbor2.dumps({"h": {"v": 1}, 4: KID, 1: -8}), "keys out of order"),
        (cbor2.dumps({1: -8, 4: KID, "h": {"v": 1}})[:-1] + b"\x18\x01", "a number in a longer form"),
        (cbor2.dumps({1: -7, 4: KID, "h": {"v": 1}}), "another algorithm"),
        (cbor2.dumps({1: -8, 4: KID[:7], "h": {"v": 1}}), "a short key id"),
        (cbor2.dumps({1: -8, 4: KID, "h": [1]}), "no map"),
        (cbor2.dumps({1: -8, 4: KID, "h": {1: 1}}), "a header key that is no text"),
        (cbor2.dumps({1: -8, 4: KID, 5: 0, "h": {}}), "a further parameter"),
        (cbor2.dumps({1: -8, 4: KID}), "no header"),
        (cbor2.dumps({1: -8, 4: KID, "h": {"v": "x" * 2100}}), "a header over the limit"),
        (cbor2.dumps({1: -8, 4: KID, "h": {}}) + b"\x00", "bytes behind the header"),
        (b"", "an empty header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_signed_envelope_with_a_wrong_protected_header_is_malformed(protected, why):
    with pytest.raises(cose.Malformed):
        cose.open_sealed(envelope_of(protected), PUBLIC, batch.AAD)


def test_a_good_signature_under_another_keys_id_is_forged():
    protected = cbor2.dumps({1: -8, 4: bytes(8), "h": {"v": 1}}, canonical=True)

    with pytest.raises(cose.Forged):
        cose.open_sealed(envelope_of(protected), PUBLIC, batch.AAD)


def test_bytes_behind_the_signature_are_seen_without_verifying():
    sealed = cose.seal(sound_header(), b"", KEY, batch.AAD)

    for wrong in (sealed + b"x", sealed[:-1], sealed + sealed):
        with pytest.raises(cose.Malformed):
            cose.peek(wrong)


def test_maps_take_text_keys_only():
    for encoded in (b"\xa1\x01\x00", b"\xa1\xf6\x00", b"\xa1\x81\x00\x00"):
        with pytest.raises(cose.Malformed):
            cose.unpack(encoded, depth_max=4)


def test_rows_without_values_do_not_get_round_the_limit_on_readings():
    rows = batch.READINGS_MAX + 1
    body = sound_body() | {
        "x": [0] * rows,
        "t": [NOON_MS] + [1] * (rows - 1),
        "q": [0] * rows,
        "c0": [1] + [None] * (rows - 1),
        "c1": [None] * rows,
    }
    with pytest.raises(batch.Malformed):
        decode(header=sound_header() | {"n": 1, "t1": NOON_MS + rows - 1}, body=body)


def test_too_many_readings_are_not_sealed():
    header = batch.header_of(cose.peek(cose.seal(sound_header(), b"", KEY, batch.AAD)))
    rows = [batch.Reading("M1", NOON_MS + i, 0, (i,) * 16) for i in range(1025)]

    with pytest.raises(batch.TooBig):
        batch.seal_batch(header, rows, {"M1": batch.CANONICAL_DECIMALS}, KEY)


@pytest.mark.parametrize(
    "topic",
    [
        "up",
        "up/v1/GW001",
        "up/v1/GW001/b",
        "up/v1/GW001/b/3",
        "up/v1/GW001/b/00",
        "up/v1/GW001/b/0/x",
        "up/v2/GW001/b/0",
        "down/v1/GW001/ack",
        "up/v1/G+W/hello",
        "up/v1//hello",
        "up/v1/GW001/HELLO",
        "up/v1/GW001/live/x",
    ],
)
def test_other_topics_are_malformed(topic):
    with pytest.raises(cose.Malformed):
        control.up_topic(topic)


def test_a_stream_acked_twice_in_one_ack_is_malformed():
    ack = control.Ack("GW001", bytes(16), 0, 1, (control.StreamAck(0, 1), control.StreamAck(0, 9)))
    envelope = cose.peek(control.seal_ack(ack, KEY))

    with pytest.raises(cose.Malformed):
        control.ack_of(envelope)
