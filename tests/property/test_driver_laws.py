"""Laws of the drivers: no value changes on its way, damage never becomes another value, cutting changes nothing."""

import itertools
import struct
from dataclasses import replace
from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent.drivers import dlt645, modbus, questions, records, values
from edge_agent.drivers.dlt645 import Frame, FrameReader
from edge_agent.drivers.sim import Dlt645Slave, ModbusSlave, SimMeter, Slave, StillFace
from edge_agent.drivers.talk import MeterRefused, NoReply, Silence
from edge_agent.drivers.values import Missing
from edge_agent.profile import Channel, Profile
from firmware_profiles import load_profiles

PROFILES = load_profiles()
GENERIC = PROFILES["cn.generic.dlt645-2007.3p4w"]
ACREL = PROFILES["cn.acrel.adl400"]
ADDRESS = {"dlt645": "123456789012", "modbus": "17"}

frames = st.builds(Frame, st.binary(min_size=6, max_size=6), st.integers(0, 255), st.binary(max_size=200))


def exact(channel: Channel) -> st.SearchStrategy[int]:
    """Ticks that the channel's coding can carry exactly: float32 has 24 significant bits."""
    low, high = channel.low_ticks, channel.high_ticks
    if channel.type == "f32":
        low, high = max(low, -(2**20)), min(high, 2**20)
    return st.integers(low, high)


@st.composite
def faces(draw: st.DrawFn) -> tuple[Profile, dict[str, int | None]]:
    profile = draw(st.sampled_from(list(PROFILES.values())))
    return profile, {c.code: draw(st.none() | exact(c)) for c in profile.channels if c.format != "bits2"}


def slave_of(profile: Profile, face: dict[str, int | None], part_bytes: int = 196, seed: int = 0) -> Slave:
    family = profile.protocol.partition("-")[0]
    meter = SimMeter(profile, ADDRESS[family], StillFace(face))
    return (
        Dlt645Slave([meter], part_bytes=part_bytes, seed=seed) if family == "dlt645" else ModbusSlave([meter])
    )


def ask(profile: Profile, slave: Slave, codes: list[str]) -> dict[str, int | Missing]:
    """Ask the simulated meter the profile's questions, bytes against bytes."""
    found: dict[str, int | Missing] = {}
    address, transactions = ADDRESS[profile.protocol.partition("-")[0]], itertools.count(1)
    for question in questions.questions(profile, codes):
        talk = questions.talk(profile, question, address, transactions, rtu=False)
        try:
            sending = next(talk)
            while True:
                sending = talk.send(b"".join(sent.data for sent in slave.receive(sending)))
        except StopIteration as done:
            read = questions.decoded(question, done.value.data)
            found |= zip((channel.code for channel in question.channels), read, strict=True)
    return found


@given(faces(), st.integers(1, 200), st.integers(0, 1000))
def test_every_face_is_read_as_it_stands(
    profile_and_face: tuple[Profile, dict[str, int | None]], part_bytes: int, seed: int
) -> None:
    profile, face = profile_and_face

    found = ask(profile, slave_of(profile, face, part_bytes, seed), list(face))

    assert {code: None if isinstance(value, Missing) else value for code, value in found.items()} == face


def heard(reply: bytes) -> int | Missing | None:
    """What the driver makes of one reply to a read of ea_imp; None = no answer accepted."""
    talk = dlt645.read("123456789012", "00010000")
    next(talk)
    try:
        talk.send(reply)
        talk.send(b"")
        talk.throw(Silence())
    except StopIteration as done:
        return values.ticks_of(GENERIC.channel("ea_imp"), done.value.data)
    except (NoReply, MeterRefused):
        return None
    raise AssertionError("the talk has not ended")


REPLY = bytes.fromhex("6812907856341268910833333433AB896745CC16")  # 123456.78 kWh


@given(st.integers(0, len(REPLY) - 1), st.integers(1, 255))
def test_a_changed_byte_never_becomes_another_value(at: int, change: int) -> None:
    assert heard(REPLY[:at] + bytes((REPLY[at] ^ change,)) + REPLY[at + 1 :]) in (None, 12345678)


@given(st.integers(0, len(REPLY)), st.integers(1, 20))
def test_lost_bytes_never_become_another_value(at: int, lost: int) -> None:
    assert heard(REPLY[:at] + REPLY[at + lost :]) in (None, 12345678)


@given(st.binary(max_size=250), st.binary(max_size=250))
def test_noise_around_the_answer_neither_hides_nor_changes_it(before: bytes, after: bytes) -> None:
    assert heard(before + REPLY + after) == 12345678


@given(st.integers(0, 205), st.integers(0, 255), st.binary(min_size=6, max_size=6))
def test_false_header_in_front_does_not_hide_the_answer(claimed: int, control: int, address: bytes) -> None:
    assert heard(b"\x68" + address + b"\x68" + bytes((control, claimed)) + REPLY) == 12345678


@given(
    st.lists(st.one_of(frames, st.binary(max_size=30)), max_size=8),
    st.lists(st.integers(0, 2000), max_size=12),
)
def test_cutting_the_stream_changes_nothing(parts: list[Frame | bytes], cuts: list[int]) -> None:
    stream = b"".join(dlt645.frame(*part) if isinstance(part, Frame) else part for part in parts)
    whole = FrameReader()
    expected = whole.feed(stream) + whole.give_up()
    pieces = FrameReader()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    found = [frame for start, end in itertools.pairwise(edges) for frame in pieces.feed(stream[start:end])]

    assert found + pieces.give_up() == expected


@given(st.lists(frames, min_size=1, max_size=8), st.sampled_from([b"", b"\xfe" * 4, b"\xff\x00", b"\x16"]))
def test_every_frame_of_a_clean_stream_comes_out(sent: list[Frame], between: bytes) -> None:
    stream = between + between.join(dlt645.frame(*frame) for frame in sent) + between

    assert FrameReader().feed(stream) == sent


@given(st.binary(max_size=3000))
def test_noise_is_never_held_longer_than_one_frame(noise: bytes) -> None:
    reader = FrameReader()

    for at in range(0, len(noise), 100):
        reader.feed(noise[at : at + 100])

    assert len(reader._held) < 12 + 205


@given(st.binary(min_size=1, max_size=6), st.booleans())
def test_bcd_is_a_number_exactly_when_every_digit_is(raw: bytes, signed: bool) -> None:
    negative = signed and raw[-1] >= 0x80
    digits = (raw[:-1] + bytes((raw[-1] & 0x7F if signed else raw[-1],)))[::-1].hex()
    expected = None if digits.strip("0123456789") else (-1 if negative else 1) * int(digits)

    assert values.bcd(raw, signed=signed) == expected


@given(
    st.sampled_from([("u16", "H"), ("i16", "h"), ("u32", "I"), ("i32", "i"), ("u64", "Q"), ("i64", "q")]),
    st.booleans(),
    st.binary(min_size=8, max_size=8),
)
def test_registers_mean_what_struct_says(kind: tuple[str, str], little: bool, raw: bytes) -> None:
    type_, code = kind
    data = raw[: struct.calcsize(code)]
    wire = b"".join(data[at : at + 2] for at in range(0, len(data), 2)[:: -1 if little else 1])
    wide = replace(
        ACREL.channel("ea_imp"),
        type=type_,
        word_order="little" if little else "big",
        scale=Decimal("0.01"),
        missing=(),
        low_ticks=-(2**64),
        high_ticks=2**64,
    )

    assert values.register_ticks(wide, wire) == struct.unpack(f">{code}", data)[0]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 4))
def test_float_register_is_the_nearest_tick_and_a_tie_is_even(number: float, decimals: int) -> None:
    channel = replace(
        PROFILES["uk.eastron.sdm630"].channel("ea_imp"),
        decimals=decimals,
        low_ticks=-(10**50),
        high_ticks=10**50,
        missing=(),
    )

    ticks = values.register_ticks(channel, struct.pack(">f", number))

    assert isinstance(ticks, int)
    numerator, denominator = number.as_integer_ratio()  # exact: twice the distance to the tick, in rationals
    doubled_error = 2 * abs(ticks * denominator - numerator * 10**decimals)
    assert doubled_error < denominator or (doubled_error == denominator and ticks % 2 == 0)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=16), st.integers(2, 60), st.integers(0, 30))
def test_coalesced_reads_carry_every_channel_once(addresses: list[int], registers_max: int, gap: int) -> None:
    channels = [
        replace(ACREL.channel("ea_imp"), address=address, code=str(n)) for n, address in enumerate(addresses)
    ]
    link = replace(ACREL.link, registers_max=registers_max, register_gap_max=gap)

    reads = modbus.coalesced(channels, link)

    assert sorted(c.code for read in reads for c in read.channels) == sorted(c.code for c in channels)
    assert all(read.count <= registers_max for read in reads)
    assert all(
        read.address <= c.address <= read.address + read.count - 2 for read in reads for c in read.channels
    )


@given(st.binary(max_size=300), st.integers(0, 6))
def test_load_records_never_lose_a_byte_silently(data: bytes, only_class: int) -> None:
    assume(data)

    found = records.load_records(data, only_class)

    assert found
    assert isinstance(found[-1], records.LoadRecord | records.BrokenRecord)
