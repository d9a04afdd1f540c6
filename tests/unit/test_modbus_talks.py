"""A Modbus answer must fit transaction, unit, function and byte count; late and short ones are dropped."""

import itertools
from typing import Any

import pytest

from edge_agent.drivers import modbus
from edge_agent.drivers.modbus import RegisterRead
from edge_agent.drivers.talk import MeterRefused, NoReply, NoSuchData, Silence, Talk

READ = RegisterRead(3, 0x006B, 3, ())
# Modbus Application Protocol V1.1b3 §6.3, read holding registers 108 to 110
PDU_ASKED = bytes.fromhex("03006B0003")
PDU_ANSWER = bytes.fromhex("0306022B00000064")
DATA = bytes.fromhex("022B00000064")


def play(talk: Talk[Any], *lines: bytes | None) -> tuple[list[bytes], Any]:
    sent = [next(talk)]
    try:
        for line in lines:
            out = talk.throw(Silence()) if line is None else talk.send(line)
            sent += [out] if out else []
    except StopIteration as done:
        return sent, done.value
    raise AssertionError("the talk has not ended")


def tcp(tries: int = 1) -> Talk[Any]:
    return modbus.read_tcp(17, READ, itertools.count(1), tries=tries)


def rtu(tries: int = 1) -> Talk[Any]:
    return modbus.read_rtu(17, READ, tries=tries)


def test_example_of_the_standard() -> None:
    sent, answer = play(tcp(), bytes.fromhex("000100000009" + "11") + PDU_ANSWER)

    assert sent == [bytes.fromhex("000100000006" + "11") + PDU_ASKED]
    assert answer.data == DATA


def test_example_of_the_serial_line_guide() -> None:
    """CRC of 02 07 is 1241, sent 41 12 (Modbus over Serial Line V1.02, Appendix B)."""
    assert modbus.crc16(bytes.fromhex("0207")) == 0x1241
    # The published frame 11 03 00 6B 00 03 76 87 (simplymodbus.ca, FC03).
    assert modbus.rtu(17, PDU_ASKED).hex(" ").upper() == "11 03 00 6B 00 03 76 87"


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        ("000200000009110306022B00000064", "other transaction"),
        ("000100000009120306022B00000064", "other meter"),
        ("000100000009110406022B00000064", "other function"),
        ("000100000007110304022B0000", "wrong length"),
        ("000100000009110304022B00000064", "wrong length"),
        ("00010000000411830200", "wrong length"),
        ("0001FFFF0009110306022B00000064", "not Modbus TCP"),
        ("000100000000110306022B00000064", "not Modbus TCP"),
    ],
)
def test_stranger_is_dropped_and_the_answer_behind_it_taken(stranger: str, reason: str) -> None:
    answer_frame = bytes.fromhex("000100000009" + "11") + PDU_ANSWER

    _, answer = play(tcp(), bytes.fromhex(stranger), answer_frame)

    assert answer.data == DATA
    assert answer.drops == {reason: 1}


def test_answer_split_at_every_byte_and_coalesced_with_a_stranger() -> None:
    stranger = bytes.fromhex("000000000009110306FFFFFFFFFFFF")
    stream = stranger + bytes.fromhex("000100000009" + "11") + PDU_ANSWER

    for cut in range(1, len(stream)):
        _, answer = play(tcp(), stream[:cut], stream[cut:])
        assert answer.data == DATA


def test_late_answer_to_the_first_try_is_not_the_answer_to_the_second() -> None:
    late = bytes.fromhex("000100000009" + "11") + bytes.fromhex("0306111111111111")

    sent, answer = play(tcp(tries=2), None, late, bytes.fromhex("000200000009" + "11") + PDU_ANSWER)

    assert [frame[:2].hex() for frame in sent] == ["0001", "0002"]
    assert answer.data == DATA
    assert answer.tries == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, NoSuchData),
        (2, NoSuchData),
        (3, NoSuchData),
        (4, MeterRefused),
        (6, MeterRefused),
        (11, MeterRefused),
    ],
)
def test_exception_ends_the_talk(code: int, kind: type[MeterRefused]) -> None:
    for talk, frame in (
        (tcp(3), bytes.fromhex("000100000003118 3".replace(" ", "")) + bytes((code,))),
        (rtu(3), modbus.rtu(17, bytes((0x83, code)))),
    ):
        with pytest.raises(MeterRefused) as refused:
            play(talk, frame)
        assert type(refused.value) is kind
        assert refused.value.error == code


def test_rtu_answer_is_found_behind_echo_and_noise() -> None:
    asked = modbus.rtu(17, PDU_ASKED)

    _, answer = play(rtu(), asked + b"\x00\xff" + modbus.rtu(17, PDU_ANSWER))

    assert answer.data == DATA
    assert answer.drops == {"echo": 1, "bytes before the frame": 2}


@pytest.mark.parametrize(
    "stranger",
    [
        modbus.rtu(18, PDU_ANSWER),
        modbus.rtu(17, bytes.fromhex("0406022B00000064")),
        modbus.rtu(17, bytes.fromhex("0304022B0000")),
        modbus.rtu(17, PDU_ANSWER)[:-1] + b"\x00",
        modbus.rtu(17, PDU_ANSWER)[:-3],
    ],
    ids=["unit", "function", "short", "checksum", "cut"],
)
def test_rtu_stranger_is_no_answer(stranger: bytes) -> None:
    with pytest.raises(NoReply, match="bytes that are no answer"):
        play(rtu(), stranger, b"", None)


def test_silence_ends_after_the_tries() -> None:
    for talk in (tcp(2), rtu(2)):
        with pytest.raises(NoReply, match="no reply in 2 tries"):
            play(talk, None, None)
