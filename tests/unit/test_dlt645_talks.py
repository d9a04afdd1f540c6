"""The master accepts the answer to its question and nothing else, and counts what it refuses."""

from typing import Any

import pytest

from edge_agent.drivers import dlt645, records
from edge_agent.drivers.records import BrokenRecord, LoadRecord
from edge_agent.drivers.talk import (
    EndlessAnswer,
    MeterRefused,
    NoReply,
    NoSuchData,
    NotAuthorised,
    Silence,
    Talk,
)

METER = "123456789012"
WIRE = dlt645.wire_address(METER)
REPLY = bytes.fromhex("6812907856341268910833333433AB896745CC16")  # meter-protocols §1.9
SILENT = None


def play(talk: Talk[Any], *lines: bytes | None) -> tuple[list[bytes], Any]:
    """Run a talk over what the line brings (None = the deadline passes); give what it sent, and its result."""
    sent = [next(talk)]
    try:
        for line in lines:
            out = talk.throw(Silence()) if line is None else talk.send(line)
            sent += [out] if out else []
    except StopIteration as done:
        return [frame for frame in sent if frame], done.value
    raise AssertionError(f"the talk has not ended; it sent {[frame.hex() for frame in sent]}")


def reply(data: str, control: int = 0x91, address: bytes = WIRE) -> bytes:
    return dlt645.frame(address, control, bytes.fromhex(data))


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        (dlt645.frame(WIRE, 0x11, bytes.fromhex("00000100")), "echo"),
        (dlt645.frame(WIRE, 0x11, bytes.fromhex("00000200")), "another master"),
        (reply("0000010078563412", 0x94), "other function"),
        (reply("0000010078563412", address=dlt645.wire_address("123456789013")), "other meter"),
        (reply("0000010078563412", address=dlt645.wire_address("AAAAAAAAAAAA")), "other meter"),
        (reply("0000020078563412"), "other DI"),
        (reply("000001"), "other DI"),
        (reply("0201", 0xD1), "wrong length"),
        (REPLY[:-2] + b"\x00\x16", "broken frame"),
    ],
    ids=[
        "echo",
        "another master",
        "function",
        "address",
        "AA echo",
        "DI",
        "cut DI",
        "error length",
        "checksum",
    ],
)
def test_stranger_is_dropped_counted_and_the_answer_behind_it_taken(stranger: bytes, reason: str) -> None:
    _, answer = play(dlt645.read(METER, "00010000"), stranger, REPLY)

    assert answer.data.hex() == "78563412"
    assert answer.drops == {reason: 1}
    assert answer.tries == 1


def test_stranger_and_answer_in_one_piece_are_told_apart() -> None:
    echo = dlt645.frame(WIRE, 0x11, bytes.fromhex("00000100"), 4)

    _, answer = play(dlt645.read(METER, "00010000"), echo + REPLY + REPLY)

    assert answer.data.hex() == "78563412"


def test_silence_is_asked_again_and_told() -> None:
    sent, answer = play(dlt645.read(METER, "00010000", tries=3), SILENT, SILENT, REPLY)

    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert answer.tries == 3


def test_silence_to_the_end_names_what_was_heard() -> None:
    other = reply("0000020078563412")

    with pytest.raises(NoReply, match=r"no reply in 2 tries \(heard: other DI x2\)") as none:
        play(dlt645.read(METER, "00010000", tries=2), other, SILENT, other, SILENT)

    assert none.value.drops == {"other DI": 2}


def test_late_answer_of_another_question_is_not_taken_for_this_one() -> None:
    late, own = reply("0000010078563412"), reply("0000020000000000")

    _, answer = play(dlt645.read(METER, "00020000"), late, own)

    assert answer.data.hex() == "00000000"
    assert answer.drops == {"other DI": 1}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("02", NoSuchData),
        ("04", NotAuthorised),
        ("06", NoSuchData),
        ("01", MeterRefused),
        ("80", MeterRefused),
        ("F1", MeterRefused),
        ("0000010002", NoSuchData),  # PLC4X describes an error frame that repeats the DI
    ],
)
def test_error_frame_ends_the_talk_without_another_try(error: str, kind: type[MeterRefused]) -> None:
    with pytest.raises(MeterRefused) as refused:
        play(dlt645.read(METER, "00010000", tries=3), reply(error, 0xD1))

    assert type(refused.value) is kind
    assert refused.value.error == int(error[-2:], 16)


def test_error_frame_of_1997() -> None:
    with pytest.raises(NoSuchData):
        play(dlt645.read(METER, "90FF", dlt645.D1997), reply("02", 0xC1))


def test_follow_on_frame_of_1997_has_no_number() -> None:
    sent, answer = play(
        dlt645.read(METER, "901F", dlt645.D1997), reply("1F9001020304", 0xA1), reply("1F9005060708", 0x82)
    )

    assert sent[1] == dlt645.frame(WIRE, 0x02, bytes.fromhex("1F90"), 4)
    assert answer.data.hex() == "0102030405060708"


def test_wrong_seq_is_refused_and_the_same_seq_asked_again() -> None:
    first, second = reply("01FF060511", 0xB1), reply("01FF06052201", 0xB2)
    stale, third = second, reply("01FF06053302", 0x92)

    sent, answer = play(dlt645.read(METER, "0506FF01", tries=2), first, second, stale, SILENT, third)

    assert answer.data.hex() == "112233"
    assert answer.drops == {"other SEQ": 1}
    assert sent[2] == sent[3] == dlt645.frame(WIRE, 0x12, bytes.fromhex("01FF060502"), 4)
    assert answer.tries == 2


def test_follow_on_frame_without_room_for_its_seq_is_refused() -> None:
    with pytest.raises(NoReply, match="other SEQ"):
        play(dlt645.read(METER, "05010101"), reply("0101010511", 0xB1), reply("01010105", 0x92), SILENT)


def test_meter_that_never_stops_is_stopped() -> None:
    talk = dlt645.read(METER, "0506FF01")
    next(talk)
    talk.send(reply("01FF060500", 0xB1))

    for seq in range(1, 255):
        talk.send(reply(f"01FF060500{seq:02X}", 0xB2))

    with pytest.raises(EndlessAnswer):
        talk.send(reply("01FF060500FF", 0xB2))


def test_half_frame_is_given_up_after_a_byte_gap() -> None:
    false_header = b"\x68" + bytes(6) + b"\x68\x91\xc8"

    _, answer = play(dlt645.read(METER, "00010000"), false_header + REPLY, b"")

    assert answer.data.hex() == "78563412"


def test_wildcard_is_answered_by_the_real_address() -> None:
    for asked in (dlt645.WILDCARD, "AAAAAAAA9012"):
        _, answer = play(dlt645.read(asked, "00010000"), REPLY)
        assert answer.address == METER


def test_answer_without_data_is_empty() -> None:
    _, answer = play(dlt645.read(METER, "06000000"), reply("00000006"))

    assert answer.data == b""
    assert records.load_records(answer.data) == ()


def test_freeze_of_one_meter_is_acknowledged() -> None:
    sent, answer = play(dlt645.freeze(METER), reply("", 0x96))

    assert sent == [dlt645.frame(WIRE, 0x16, bytes.fromhex("99999999"), 4)]
    assert answer.address == METER


# ---------------------------------------------------------------- load records, meter-protocols §2.9

RECORD = bytes.fromhex(
    "A0A062 0010050626 1423082311235012004512006212809849AA"
    "237100652800512800071400100380000180050180050180AA 9809990998098384AA"
    "67452301018900007856040045230000AA 01000400001200004511000077560000AA 507000050300AA 59E5"
)


def test_full_load_record_reads_as_worked_out_in_the_reference() -> None:
    (record,) = records.load_records(RECORD)

    assert isinstance(record, LoadRecord)
    assert record.trusted
    assert record.taken_at is not None
    assert record.taken_at.isoformat() == "2026-06-05T10:00:00+08:00"
    assert dict(record.ticks) == {
        "u_a": 2314, "u_b": 2308, "u_c": 2311, "i_a": 1250, "i_b": 1245, "i_c": -1262, "freq": 4998,
        "p": 7123, "p_a": 2865, "p_b": 2851, "p_c": 1407, "q": -310, "q_a": -100, "q_b": -105, "q_c": -105,
        "pf": 998, "pf_a": 999, "pf_b": 998, "pf_c": -483,
        "ea_imp": 1234567, "ea_exp": 8901, "er_imp": 45678, "er_exp": 2345,
        "er_q1": 40001, "er_q2": 1200, "er_q3": 1145, "er_q4": 5677,
        "demand_p": 7050, "demand_q": 305,
    }  # fmt: skip


def test_two_records_over_two_frames_are_joined_before_they_are_split() -> None:
    second = bytearray(RECORD)
    second[3] = 0x15  # 10:15
    second[60] = 0x69  # forward active 12345.69
    second[-2] = 0x70  # inner checksum as the reference gives it
    both = RECORD + bytes(second)
    address, di = dlt645.wire_address("1"), bytes.fromhex("01000006")
    first_frame = dlt645.frame(address, 0xB1, di + both[:196])
    asked = bytes.fromhex("02 00 10 05 06 26")

    sent, answer = play(
        dlt645.read("1", "06000001", extra=asked, preamble_fe=0),
        first_frame,
        bytes.fromhex("68 01 00 00 00 00 00 68 92 0F 34 33 33 39 DD 83 A3 33 38 36 33 DD A3 18 34 E8 16"),
    )

    assert (len(first_frame), first_frame[-2]) == (212, 0x14)
    assert sent[0].hex(" ").upper() == "68 01 00 00 00 00 00 68 11 0A 34 33 33 39 35 33 43 38 39 59 34 16"
    assert sent[1].hex(" ").upper() == "68 01 00 00 00 00 00 68 12 05 34 33 33 39 34 EF 16"
    one, two = records.load_records(answer.data)
    assert isinstance(one, LoadRecord)
    assert isinstance(two, LoadRecord)
    assert two.taken_at is not None
    assert two.taken_at.minute == 15
    assert (one.ticks["ea_imp"], two.ticks["ea_imp"]) == (1234567, 1234569)


def record_of(classes: str, head: str = "A0A0") -> bytes:
    """Frame classes by hand: length and inner checksum by their rule."""
    body = bytes.fromhex("0010050626" + classes)
    start = bytes.fromhex(head) + bytes((len(body),)) + body
    return start + bytes((sum(start) & 0xFF, 0xE5))


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("separators", ["all", "one"])
def test_single_class_with_all_separators_or_with_one(number: int, separators: str) -> None:
    blocks = ["1423082311235012004512006212809849", "23710065280051280007140010038000018005018005 0180",
              "9809990998098384", "67452301018900007856040045230000", "01000400001200004511000077560000",
              "507000050300"]  # fmt: skip
    sizes = [7, 8, 4, 4, 4, 2]
    before, after = ("AA" * (number - 1), "AA" * (6 - number)) if separators == "all" else ("", "")

    (record,) = records.load_records(record_of(before + blocks[number - 1] + "AA" + after), number)

    assert isinstance(record, LoadRecord)
    assert len(record.ticks) == sizes[number - 1]
    assert None not in record.ticks.values()


def test_extended_class_6_and_record_flagged_bad() -> None:
    (record,) = records.load_records(
        record_of("AAAAAAAAAA" + "507000050300" + "001000" + "345612" + "AA", "E0E0")
    )

    assert isinstance(record, LoadRecord)
    assert not record.trusted
    assert dict(record.ticks) == {"demand_p": 7050, "demand_q": 305, "i_n": 1000, "s": 125634}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00" + RECORD, "does not begin"),
        (RECORD[:50], "shorter than its length"),
        (RECORD[:-1] + b"\xe4", "does not end with E5"),
        (RECORD[:-2] + b"\x58\xe5", "wrong inner checksum"),
        (record_of("142308AA"), "class 1 does not end"),
        (record_of("AAAAAAAAAAAA00"), "left over"),
    ],
)
def test_bytes_that_are_no_record_are_kept_with_the_reason(data: bytes, reason: str) -> None:
    (broken,) = records.load_records(data)

    assert isinstance(broken, BrokenRecord)
    assert reason in broken.reason
    assert broken.raw == data


def test_good_record_behind_one_with_a_wrong_checksum_is_still_read() -> None:
    broken, good = records.load_records(RECORD[:-2] + b"\x58\xe5" + RECORD)

    assert isinstance(broken, BrokenRecord)
    assert isinstance(good, LoadRecord)
