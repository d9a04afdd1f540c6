"""Every public DL/T 645 frame of the collection means to us what its source says; the bad ones are refused.

The file keeps the source of each entry. Expected values are the file's own, never ours.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers import dlt645, records, values
from edge_agent.drivers.talk import Answer, MeterRefused, NoReply, NoSuchData, NotAuthorised, Silence, Talk

FILE = json.loads(Path(__file__).with_name("dlt645_vectors.json").read_text(encoding="utf-8"))
VECTORS: dict[str, dict[str, Any]] = {vector["id"]: vector for vector in FILE["vectors"]}
FRAMES = [
    pytest.param(vector[side], id=f"{name}-{side}")
    for name, vector in VECTORS.items()
    for side in ("request", "response")
    if side in vector
]
VALUES = [
    pytest.param(vector["di"], value, id=f"{name}-{value['name']}")
    for name, vector in VECTORS.items()
    for value in vector.get("values", ())
]
SIGNED_2007 = ("0203", "0204", "0206", "0202", "0000", "0003", "0004")  # DL/T 645-2007 Annex A
READS = [name for name, v in VECTORS.items() if {"request", "response"} <= v.keys() and "di" in v]


def hear(talk: Talk[Answer], reply: bytes) -> tuple[bytes, Answer]:
    """Give the talk one reply and then silence; return what it asked and what it made of the reply."""
    asked = next(talk)
    try:
        talk.send(reply)
        while True:
            talk.throw(Silence())
    except StopIteration as done:
        return asked, done.value


def test_collection_is_complete() -> None:
    assert len(VECTORS) == FILE["counts"]["vectors"]
    assert len(FRAMES) == FILE["counts"]["frames"]


@pytest.mark.parametrize("declared", FRAMES)
def test_frame_is_read_as_declared(declared: dict[str, Any]) -> None:
    (found,) = dlt645.FrameReader().feed(bytes.fromhex(declared["hex"]))

    assert found.address == declared["addr"]
    assert found.control == int(declared["ctrl"], 16)
    assert found.data.hex().upper() == declared["data_plain_hex"]


@pytest.mark.parametrize("declared", FRAMES)
def test_frame_is_written_as_declared(declared: dict[str, Any]) -> None:
    written = dlt645.frame(
        dlt645.wire_address(declared["addr"]),
        int(declared["ctrl"], 16),
        bytes.fromhex(declared["data_plain_hex"]),
        declared["preamble_fe"],
    )

    assert written.hex().upper() == declared["hex"]


@pytest.mark.parametrize(("di", "declared"), VALUES)
def test_item_has_the_declared_value(di: str, declared: dict[str, Any]) -> None:
    raw = bytes.fromhex(declared["raw_le_hex"])

    number = values.bcd(raw, signed=len(di) == 8 and di.startswith(SIGNED_2007))

    if not declared["valid"]:
        assert number is None
    else:
        expected = Decimal(declared["value"])
        decimals = -int(expected.as_tuple().exponent)
        assert number is not None
        assert Decimal(number).scaleb(-decimals) == expected


@pytest.mark.parametrize("name", [name for name in READS if VECTORS[name]["request"]["ctrl"] in ("11", "01")])
def test_read_asks_and_understands_as_declared(name: str) -> None:
    vector = VECTORS[name]
    request, response = vector["request"], vector["response"]
    dialect = dlt645.D2007 if vector["protocol"] == "2007" else dlt645.D1997
    talk = dlt645.read(request["addr"], vector["di"], dialect, preamble_fe=request["preamble_fe"])

    if request["addr"] == dlt645.BROADCAST:  # outside the standard: nobody may answer this
        with pytest.raises(NoReply):
            hear(talk, bytes.fromhex(response["hex"]))
    elif response["ctrl"] == "B1":  # the first part asks for the second
        asked = next(talk)
        follow = talk.send(bytes.fromhex(response["hex"]))
        assert (asked.hex().upper(), follow.hex().upper()) == (
            request["hex"],
            VECTORS["v046"]["request"]["hex"],
        )
    else:
        asked, answer = hear(talk, bytes.fromhex(response["hex"]))
        assert asked.hex().upper() == request["hex"]
        assert answer.address == response["addr"]
        assert answer.data.hex().upper() == response["data_plain_hex"][len(vector["di"]) :]


def test_first_part_and_follow_on_are_joined() -> None:
    first, second = VECTORS["v045"], VECTORS["v046"]
    talk = dlt645.read(first["request"]["addr"], first["di"], preamble_fe=0)
    next(talk)
    follow = talk.send(bytes.fromhex(first["response"]["hex"]))

    with pytest.raises(StopIteration) as done:
        talk.send(bytes.fromhex(second["response"]["hex"]))

    assert follow.hex().upper() == second["request"]["hex"]
    assert done.value.value.data.hex() == "0000010126785634127856341278563412" + "11223344"


@pytest.mark.parametrize("name", ["v019", "v020"])
def test_read_address_gives_the_meters_number(name: str) -> None:
    response = VECTORS[name]["response"]

    _, answer = hear(dlt645.read_address(), bytes.fromhex(response["hex"]))

    assert answer.address == response["addr"]


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("v023", NoSuchData, 0x02),
        ("v024", NoSuchData, 0x06),
        ("v025", NotAuthorised, 0x04),
        ("v040", NoSuchData, 0x02),
    ],
)
def test_error_frame_is_a_refusal(name: str, kind: type[MeterRefused], error: int) -> None:
    vector = VECTORS[name]
    dialect = dlt645.D2007 if vector["protocol"] == "2007" else dlt645.D1997

    with pytest.raises(kind) as refused:
        hear(
            dlt645.read(vector["response"]["addr"], "00010000"[-2 * dialect.di_bytes :], dialect),
            bytes.fromhex(vector["response"]["hex"]),
        )

    assert refused.value.error == error


def test_load_record_of_a_real_meter() -> None:
    vector = VECTORS["v034"]
    data = bytes.fromhex(vector["response"]["data_plain_hex"])[4:]

    (record,) = records.load_records(data)

    assert isinstance(record, records.LoadRecord)
    assert record.taken_at is not None
    assert record.taken_at.isoformat() == "2017-01-01T00:05:00+08:00"
    declared = {value["name"]: Decimal(value["value"]) for value in vector["values"]}
    ours = {
        name: Decimal(ticks).scaleb(-records.DECIMALS_BY_NAME[name])
        for name, ticks in record.ticks.items()
        if ticks is not None
    }
    assert ours == {
        "u_a": declared["Ua"],
        "u_b": declared["Ub"],
        "u_c": declared["Uc"],
        "i_a": 0,
        "i_b": 0,
        "i_c": 0,
        "freq": declared["f"],
    }


@pytest.mark.parametrize("bad", FILE["known_bad_in_the_wild"], ids=lambda bad: bad["id"])
def test_bad_frame_is_refused(bad: dict[str, Any]) -> None:
    reader = dlt645.FrameReader()

    found = reader.feed(bytes.fromhex(bad["hex"])) + reader.give_up()

    assert len(found) == (1 if bad["failure"] == "checksum valid, semantics wrong" else 0)


def test_doubly_masked_di_and_natural_order_time_are_not_taken_for_right() -> None:
    doubled, natural = (
        next(b for b in FILE["known_bad_in_the_wild"] if b["id"] == name) for name in ("b05", "b06")
    )
    (request,) = dlt645.FrameReader().feed(bytes.fromhex(doubled["hex"]))
    (broadcast,) = dlt645.FrameReader().feed(bytes.fromhex(natural["hex"]))

    assert request.data != dlt645.wire_di("0001FF00")
    assert values.moment(broadcast.data) is None


@pytest.mark.parametrize("name", ["v026", "v027"])
def test_time_broadcast_is_the_concentrators_frame(name: str) -> None:
    from datetime import datetime

    vector = VECTORS[name]

    written = dlt645.time_broadcast(datetime.fromisoformat(vector["time"]).replace(tzinfo=values.METER_CLOCK))

    assert written.hex().upper() == vector["request"]["hex"]


def test_freeze_broadcast_is_the_declared_frame() -> None:
    assert dlt645.freeze_broadcast().hex().upper() == VECTORS["v028"]["request"]["hex"]
    assert dlt645.freeze_broadcast("99990000").hex().upper() == "68999999999999681604" + "3333CCCC" + "7E16"
