"""Items become ticks, exactly or not at all. Figures: meter-protocols §1.2, §1.8, §2."""

from dataclasses import replace

import pytest

from edge_agent.drivers import values
from edge_agent.drivers.values import Missing
from firmware_profiles import load_profiles

GENERIC = load_profiles()["cn.generic.dlt645-2007.3p4w"]


def ticks(code: str, data: str) -> int | None:
    found = values.ticks_of(GENERIC.channel(code), bytes.fromhex(data))
    return None if isinstance(found, Missing) else found


@pytest.mark.parametrize(
    ("code", "data", "expected"),
    [
        ("ea_imp", "78563412", 12345678),
        ("ea_imp", "99999999", 99999999),  # unsigned: the top bit is a digit
        ("er_imp", "99999979", 79999999),
        ("p", "452381", -12345),
        ("p", "999979", 799999),
        ("p", "9999F9", -799999),
        ("p", "000080", 0),  # minus zero
        ("i_a", "999979", 799999),
        ("i_a", "9999F9", -799999),
        ("pf", "8789", -987),
        ("pf", "0010", 1000),
        ("pf", "0090", -1000),
        ("u_a", "9423", 2394),
        ("freq", "0350", 5003),
        ("status", "1000", 0x0010),  # bit 4: relay open
    ],
)
def test_item_is_read_to_the_last_digit(code: str, data: str, expected: int) -> None:
    assert ticks(code, data) == expected


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("u_b", "FFFF"),
        ("p", "FFFFFF"),
        ("ea_imp", "FFFFFFFF"),
        ("ea_imp", "00000E00"),
        ("ea_imp", "EEEEEEEE"),
        ("p", "000A01"),
        ("p", "0000FA"),  # behind the sign bit 7A is no digit
        ("pf", "0120"),  # 2.001
        ("freq", "0000"),  # outside the profile's range
        ("er_imp", "01000080"),  # a counter that should not be negative
    ],
)
def test_what_is_no_number_is_missing(code: str, data: str) -> None:
    assert ticks(code, data) is None


@pytest.mark.parametrize(
    ("code", "data"), [("u_a", "942300"), ("u_a", "94"), ("ea_imp", ""), ("md_imp", "452301")]
)
def test_wrong_length_for_the_di_is_missing_and_keeps_the_raw_bytes(code: str, data: str) -> None:
    found = values.ticks_of(GENERIC.channel(code), bytes.fromhex(data))

    assert isinstance(found, Missing)
    assert "expected" in found.reason
    assert found.reason.endswith(data.lower())


def test_demand_comes_with_its_time() -> None:
    data = bytes.fromhex("452301" + "3512010123")

    assert values.ticks_of(GENERIC.channel("md_imp"), data) == 12345
    occurred = values.moment(data[3:])
    assert occurred is not None
    assert occurred.isoformat() == "2023-01-01T12:35:00+08:00"


@pytest.mark.parametrize(
    "raw", ["0000000000", "FFFFFFFFFF", "6012010123", "0024010123", "0000300223", "3512010A23", "3512"]
)
def test_reserved_or_impossible_time_is_none(raw: str) -> None:
    assert values.moment(bytes.fromhex(raw)) is None


def test_freeze_time_with_seconds() -> None:
    found = values.moment(bytes.fromhex("514722170322"))

    assert found is not None
    assert found.isoformat() == "2022-03-17T22:47:51+08:00"


@pytest.mark.parametrize(("raw", "expected"), [("56302E303232", "220.0V"), ("000041302E35", "5.0A")])
def test_text_is_sent_last_character_first(raw: str, expected: str) -> None:
    assert values.text(bytes.fromhex(raw)) == expected


def test_status_bits_count_from_the_low_byte() -> None:
    assert values.bits(bytes.fromhex("1000")) == {4}  # word 3: relay open
    assert values.bits(bytes.fromhex("0180")) == {0, 15}
    assert values.bits(bytes.fromhex("0000")) == frozenset()


@pytest.mark.parametrize("tariffs", [0, 1, 2, 4, 5, 12, 63])
def test_energy_block_of_any_number_of_tariffs_gives_its_total(tariffs: int) -> None:
    channels = (GENERIC.channel("ea_imp"), GENERIC.channel("ea_exp"))
    data = bytes.fromhex("29010000") + bytes.fromhex("62000000") * tariffs

    found = values.block_ticks(channels[: min(2, tariffs + 1)], 0, data)

    assert found == ((129, 62) if tariffs else (129,))


@pytest.mark.parametrize("data", ["", "2301", "23012401", "2301240125", "2301240125012601"])
def test_block_of_another_size_is_missing_for_every_channel(data: str) -> None:
    channels = tuple(GENERIC.channel(code) for code in ("u_a", "u_b", "u_c"))

    found = values.block_ticks(channels, 3, bytes.fromhex(data))

    assert [type(value) for value in found] == [Missing] * 3


def test_one_dead_phase_does_not_kill_its_block() -> None:
    channels = tuple(GENERIC.channel(code) for code in ("u_a", "u_b", "u_c"))

    u_a, u_b, u_c = values.block_ticks(channels, 3, bytes.fromhex("0023FFFF0123"))

    assert (u_a, u_c) == (2300, 2301)
    assert isinstance(u_b, Missing)


@pytest.mark.parametrize(("code", "number"), [("u_a", 10000), ("u_a", -1), ("p", 800000), ("status", 65536)])
def test_number_that_does_not_fit_is_never_written(code: str, number: int) -> None:
    with pytest.raises(OverflowError):
        values.item_bytes(GENERIC.channel(code), number)


def test_block_of_an_unlike_channel_is_refused_by_its_size() -> None:
    longer = replace(GENERIC.channel("u_a"), format="bcd3")

    assert isinstance(values.block_ticks((longer,), 1, bytes.fromhex("2301")), tuple)
    assert isinstance(values.block_ticks((longer,), 1, bytes.fromhex("2301"))[0], Missing)
