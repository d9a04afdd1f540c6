"""The stream parser finds every frame and nothing else, whatever surrounds it."""

import pytest

from edge_agent.drivers import dlt645
from edge_agent.drivers.dlt645 import FrameReader

# meter-protocols §1.9, forward active 123456.78 kWh of meter 123456789012
REPLY = bytes.fromhex("6812907856341268910833333433AB896745CC16")


@pytest.mark.parametrize("wake_up", range(9))
def test_any_number_of_wake_up_bytes_is_ignored(wake_up: int) -> None:
    (found,) = FrameReader().feed(b"\xfe" * wake_up + REPLY)

    assert found.address == "123456789012"


@pytest.mark.parametrize(
    "noise", ["00", "FFFF", "FEFEFE00", "68", "6868", "1616", "68FE68", "9168", "00FF68001668"]
)
def test_noise_before_and_after_is_ignored(noise: str) -> None:
    reader = FrameReader()

    found = reader.feed(bytes.fromhex(noise) + REPLY + bytes.fromhex(noise)) + reader.give_up()

    assert [frame.data.hex() for frame in found] == ["0000010078563412"]


def test_frame_split_at_every_byte_is_found_once() -> None:
    for cut in range(len(REPLY) + 1):
        reader = FrameReader()
        assert len(reader.feed(REPLY[:cut]) + reader.feed(REPLY[cut:])) == 1


def test_frame_comes_out_with_its_last_byte() -> None:
    reader = FrameReader()

    found = [len(reader.feed(REPLY[at : at + 1])) for at in range(len(REPLY))]

    assert found == [0] * (len(REPLY) - 1) + [1]


def test_coalesced_frames_all_come_out_in_order() -> None:
    other = dlt645.frame(dlt645.wire_address("1"), 0x91, bytes.fromhex("0000010001000000"))

    found = FrameReader().feed(REPLY + other + b"\xff\xff" + REPLY)

    assert [frame.address for frame in found] == ["123456789012", "000000000001", "123456789012"]


@pytest.mark.parametrize(
    "address", ["681616689168", "FEFEFEFEFEFE", "686868686868", "161616161616", "916891689168"]
)
def test_special_bytes_inside_the_address_end_nothing(address: str) -> None:
    wire = bytes.fromhex(address)
    sent = dlt645.frame(
        wire, 0x91, bytes.fromhex("00000100") + b"\x35\xe3\x35\xe3"
    )  # 68 16 68 16 on the wire

    (found,) = FrameReader().feed(b"\xfe\xfe" + sent)

    assert found.wire_address == wire
    assert found.data == bytes.fromhex("0000010035e335e3")


@pytest.mark.parametrize("at", range(len(REPLY)))
def test_one_damaged_byte_anywhere_never_passes_as_a_frame(at: int) -> None:
    reader = FrameReader()
    damaged = REPLY[:at] + bytes((REPLY[at] ^ 0x20,)) + REPLY[at + 1 :]

    assert reader.feed(damaged) + reader.give_up() == []


def test_false_header_does_not_hide_the_frame_behind_it() -> None:
    false_header = b"\x68" + bytes(6) + b"\x68\x91\xc8"  # claims 200 bytes of data
    reader = FrameReader()

    early = reader.feed(false_header + REPLY)
    late = reader.give_up()

    assert early == []
    assert [frame.address for frame in late] == ["123456789012"]


def test_header_that_claims_more_than_the_standard_allows_is_refused_at_once() -> None:
    false_header = b"\x68" + bytes(6) + b"\x68\x91\xff"

    assert len(FrameReader().feed(false_header + REPLY)) == 1


def test_longest_frame_of_200_data_bytes_is_read() -> None:
    data = bytes(range(200))

    (found,) = FrameReader().feed(dlt645.frame(dlt645.wire_address("1"), 0x91, data))

    assert found.data == data


def test_broken_candidates_are_counted() -> None:
    reader = FrameReader()

    reader.feed(REPLY[:-2] + b"\x00\x16")

    assert reader.broken == 1


@pytest.mark.parametrize("digits", ["", "1234567890123", "12345678901F", "12 4", "-1"])
def test_address_that_is_none_is_refused(digits: str) -> None:
    with pytest.raises(ValueError, match="up to 12 digits"):
        dlt645.wire_address(digits)


def test_short_address_gets_leading_zeros() -> None:
    assert dlt645.wire_address("161").hex() == "610100000000"


@pytest.mark.parametrize(
    ("asked", "answered", "fits"),
    [
        ("AAAAAAAAAAAA", "123456789012", True),
        ("AAAAAAAA9012", "123456789012", True),
        ("AAAAAAAA9012", "123456789013", False),
        ("AAAAAAAAA012", "123456789012", True),  # an odd number of digits leaves half a byte
        ("123456789012", "123456789012", True),
        ("123456789012", "AAAAAAAAAAAA", False),  # a meter that echoes the wildcard is not the one asked
    ],
)
def test_abbreviated_address_fits_by_digit(asked: str, answered: str, fits: bool) -> None:
    assert dlt645.same_meter(dlt645.wire_address(asked), dlt645.wire_address(answered)) is fits
