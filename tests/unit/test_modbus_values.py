"""Registers become ticks exactly; float32 rounds once, half to even. Reads are coalesced within limits."""

from dataclasses import replace
from decimal import Decimal

import pytest

from edge_agent.drivers import modbus, values
from edge_agent.drivers.values import Missing
from edge_agent.profile import Channel
from firmware_profiles import load_profiles

ACREL = load_profiles()["cn.acrel.adl400"]
EASTRON = load_profiles()["uk.eastron.sdm630"]


def channel(
    type_: str, word_order: str = "big", scale: str = "0.01", missing: tuple[int, ...] = ()
) -> Channel:
    plain = ACREL.channel("ea_imp")
    wide = 10**18
    return replace(
        plain,
        type=type_,
        word_order=word_order,
        scale=Decimal(scale),
        missing=missing,
        low_ticks=-wide,
        high_ticks=wide,
    )


@pytest.mark.parametrize(
    ("type_", "word_order", "scale", "registers", "expected"),
    [
        ("u16", "big", "0.01", "FFFE", 65534),
        ("i16", "big", "0.01", "FC25", -987),
        ("u32", "big", "0.01", "00BC614E", 12345678),
        ("u32", "little", "0.01", "614E00BC", 12345678),
        ("i32", "big", "0.01", "FFFFCFC7", -12345),
        ("i32", "little", "0.01", "CFC7FFFF", -12345),
        ("u32", "big", "1", "000F4240", 100000000),
        ("u64", "big", "0.01", "000000000000000F", 15),
        ("i64", "big", "0.01", "FFFFFFFFFFFFFFF1", -15),
        ("i64", "little", "0.01", "FFF1FFFFFFFFFFFF", -15),
        ("f32", "big", "1", "47F12064", 12345678),  # 123456.78125
        ("f32", "little", "1", "206447F1", 12345678),
        ("f32", "big", "1", "3E000000", 12),  # 0.125: half goes to the even neighbour
        ("f32", "big", "1", "3EC00000", 38),  # 0.375
        ("f32", "big", "1", "BE000000", -12),
        ("f32", "big", "1", "3DCCCCCD", 10),  # 0.1 is 0.100000001490116… in binary32
        ("f32", "big", "1", "00000001", 0),  # the smallest subnormal
        ("f32", "big", "0.001", "C49A5000", -123),  # -1234.5 W at two decimals of kW
    ],
)
def test_registers_are_read_exactly(
    type_: str, word_order: str, scale: str, registers: str, expected: int
) -> None:
    assert values.register_ticks(channel(type_, word_order, scale), bytes.fromhex(registers)) == expected


@pytest.mark.parametrize("registers", ["7FC00000", "FFC00000", "7F800000", "FF800000", "7F800001"])
def test_float_that_is_no_number_is_missing(registers: str) -> None:
    assert isinstance(values.register_ticks(channel("f32"), bytes.fromhex(registers)), Missing)


@pytest.mark.parametrize(
    ("code", "registers"),
    [
        ("ea_imp", "FFFFFFFF"),
        ("p", "7FFFFFFF"),
        ("p", "80000000"),
        ("pf", "7FFF"),
        ("pf", "8000"),
        ("u_a", "FFFF"),
    ],
)
def test_the_types_no_value_pattern_is_missing(code: str, registers: str) -> None:
    found = values.register_ticks(ACREL.channel(code), bytes.fromhex(registers))

    assert isinstance(found, Missing)
    assert "no value" in found.reason


def test_value_outside_the_profiles_range_is_missing() -> None:
    found = values.register_ticks(ACREL.channel("u_a"), bytes.fromhex("1389"))

    assert isinstance(found, Missing)
    assert found.reason == "500.1 V is outside the profile's range"


def test_every_channel_is_in_exactly_one_read_within_the_limits() -> None:
    for profile in (ACREL, EASTRON):
        for registers_max in (2, 4, 10, 60, 125):
            link = replace(profile.link, registers_max=registers_max)
            reads = modbus.coalesced(profile.channels, link)

            assert sorted(c.code for read in reads for c in read.channels) == sorted(profile.codes)
            for read in reads:
                assert read.count <= max(registers_max, 2)
                assert all(read.address <= c.address < read.address + read.count for c in read.channels)


def test_no_read_touches_a_forbidden_register() -> None:
    link = replace(ACREL.link, forbidden=((0x0020, 0x0024), (0x0070, 0x0071)))

    reads = modbus.coalesced(ACREL.channels, link)

    touched = {register for read in reads for register in range(read.address, read.address + read.count)}
    assert not touched & {0x0020, 0x0021, 0x0022, 0x0023, 0x0070}
    assert len(reads) == 5


def test_neighbours_are_read_together() -> None:
    reads = modbus.coalesced(EASTRON.channels, EASTRON.link)

    assert [(read.fc, read.address, read.count) for read in reads] == [(4, 0x00, 12), (4, 0x34, 36)]
