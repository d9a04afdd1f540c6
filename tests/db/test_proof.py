"""The chain from a bill to the signed bytes of its meters: it holds, and every link that is broken is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import proof_world
import pytest
from ingest_world import QUARTER_MS, FakeGateway, reading
from proof_world import AUGUST, FIRST_MS, ProofWorld

from cloud.billing import facts
from cloud.billing.bill import priced, rate
from cloud.billing.catalogue import Buyer
from cloud.billing.document.around import bill_file_text
from cloud.billing.proof.batches import open_batches
from cloud.billing.proof.step import Finding, Step, walk
from cloud.billing.proof.witness import BadEvidence, Batch, GatewayKey, Witness
from cloud.billing.run import witness
from cloud.billing.run.verify import Beside, Verdict, bill_of, verify
from cloud.billing.store.published import packaged_catalogue
from cloud.db import transaction
from cloud.jobs import TIMETABLE

Content = dict[str, Any]


@pytest.fixture(scope="module")
def world(postgres_dsn: str, template_database: str) -> Iterator[ProofWorld]:
    with proof_world.own_database(postgres_dsn, template_database) as dsn:
        world = proof_world.fill(dsn)
        with world.pool:
            yield world


@pytest.fixture(scope="module")
def folder(world: ProofWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evidence of the bill, as anybody may be given it."""
    folder = tmp_path_factory.mktemp("evidence") / "bill"
    with transaction(world.pool, TIMETABLE) as conn:
        witness.write(folder, *witness.load(conn, world.bill_id))
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def verified(folder: Path) -> Verdict:
    return verify((folder / witness.BILL_FILE).read_bytes(), Beside(witness=witness.read(folder)))


def broken(verdict: Verdict) -> Step:
    """The first leaf that is wrong."""
    return next(each for each in walk(verdict.steps) if each.finding is Finding.WRONG and each.problem)


def edited(path: Path, doctor: Callable[[Content], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    doctor(content)
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1) + "\n", "utf-8")


def test_a_bill_holds_down_to_the_signatures(folder: Path) -> None:
    verdict = verified(folder)

    assert verdict.is_right, verdict.tree("en")
    facts = {each.key: dict(each.facts) for each in walk(verdict.steps)}
    assert facts["intervals"] == {"days": "31", "slots": "2976"}
    assert facts["readings"]["measured"] == str(2976 - 10)  # the gap of nine instants spans ten quarter hours
    assert facts["readings"]["estimated"] == "10"
    assert facts["signatures"] == {"batches": "7", "gateways": "1"}
    assert facts["hash_chain"] == {"links": "6"}
    assert facts["keys"] == {"keys": "1"}
    assert facts["registers_sealed"] == {"values": "2"}
    assert "7 sealed batches" in verdict.tree("en")
    assert "7 个密封批次" in verdict.tree("zh")


def test_the_database_says_the_same_as_the_folder(world: ProofWorld, folder: Path) -> None:
    with transaction(world.pool, TIMETABLE) as conn:
        bill, around, from_database = witness.load(conn, world.bill_id)

    assert from_database == witness.read(folder)
    assert bill_file_text(bill, around) == (folder / witness.BILL_FILE).read_text("utf-8")


def in_database(world: ProofWorld, content: str) -> Verdict:
    """As `verify-bill FILE --database` does it."""
    bill, around, _ = bill_of(content.encode())
    with transaction(world.pool, TIMETABLE) as conn:
        beside = Beside((), witness.load_for(conn, bill), witness.kept(conn, bill, around))
    return verify(content.encode(), beside)


def test_a_bill_of_other_terms_is_not_the_one_that_is_kept(world: ProofWorld, folder: Path) -> None:
    """Drawn up by the real rating code for a higher voltage: right in itself, on the same readings."""
    text = (folder / witness.BILL_FILE).read_text("utf-8")
    bill, around, _ = bill_of(text.encode())
    segments = []
    for each in bill.segments:
        terms = replace(each.segment.terms, voltage="110kV")
        day, buyer = each.segment.first_day, Buyer("jibei", terms.purchase, terms.category, terms.option)
        segments.append((replace(each.segment, terms=terms), packaged_catalogue().prices_on(day, buyer)))
    rated = priced(segments)
    cheaper = replace(bill, segments=tuple(map(facts.rated, rated)), lines=rate(rated, bill.month))
    assert cheaper.total_fen < bill.total_fen

    assert in_database(world, text).is_right
    verdict = in_database(world, bill_file_text(cheaper, around))
    assert broken(verdict).key == "kept"
    assert "keeps another bill" in broken(verdict).problem
    never = bill_file_text(replace(bill, revision=7), around)
    assert broken(in_database(world, never)).problem == "the database keeps no such bill"
    no_debt = bill_file_text(bill, replace(around, arrears_fen=-5_000_00))
    assert "arrears" in broken(in_database(world, no_debt)).problem


def test_a_byte_of_a_sealed_batch(copy: Path) -> None:
    path = sorted((copy / witness.BATCHES).iterdir())[2]
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))

    step = broken(verified(copy))

    assert step.key in ("readings", "signatures")
    assert f"batch {path.stem}" in "".join(each.problem for each in walk(verified(copy).steps))


def test_a_batch_whose_hash_was_changed_with_it(copy: Path) -> None:
    """Whoever rewrites the ledger too still cannot sign."""
    path = sorted((copy / witness.BATCHES).iterdir())[2]
    body = bytearray(path.read_bytes())
    body[-10] ^= 1
    path.write_bytes(bytes(body))

    def rehash(content: Content) -> None:
        (entry,) = [each for each in content["batches"] if each["batch_id"] == int(path.stem)]
        entry["sha256"] = hashlib.sha256(bytes(body)).hexdigest()

    edited(copy / witness.EVIDENCE_FILE, rehash)
    problems = [each.problem for each in walk(verified(copy).steps)]

    assert f"batch {path.stem} (GW1 seq 3): the signature does not fit the message" in problems


def test_a_batch_that_is_left_out(copy: Path) -> None:
    gone = sorted((copy / witness.BATCHES).iterdir())[3]

    edited(
        copy / witness.EVIDENCE_FILE,
        lambda c: c.update(batches=[b for b in c["batches"] if b["batch_id"] != int(gone.stem)]),
    )

    assert "no sealed reading stands at its ends" in broken(verified(copy)).problem


def test_a_key_of_somebody_else(copy: Path) -> None:
    edited(copy / witness.EVIDENCE_FILE, lambda c: c["keys"][0].update(public_key="11" * 32))

    problems = [each.problem for each in walk(verified(copy).steps) if each.problem]

    assert any("signed by no key of its gateway" in each for each in problems)
    assert any("is not named by the bill" in each for each in problems)


def move_a_kwh(content: Content) -> None:
    """A watt-hour from one quarter to another: the day's sum and the bill stay right."""
    day = next(each for each in content["days"] if each["day"] == "2026-08-09")
    day["import_wh"][40] += 1
    day["import_wh"][41] -= 1


def test_an_interval_that_was_moved(copy: Path) -> None:
    edited(copy / witness.EVIDENCE_FILE, move_a_kwh)

    step = broken(verified(copy))

    assert step.key == "readings"
    assert "2026-08-09 10:00 import_wh" in step.problem


def test_an_interval_that_was_made_larger(copy: Path) -> None:
    def enlarge(content: Content) -> None:
        content["days"][3]["import_wh"][10] += 1000

    edited(copy / witness.EVIDENCE_FILE, enlarge)

    assert broken(verified(copy)).key == "intervals"


def test_a_multiplier(copy: Path) -> None:
    edited(copy / witness.EVIDENCE_FILE, lambda c: c["meters"][0].update(multiplier=41))

    assert broken(verified(copy)).key in ("readings", "registers_sealed")


def test_a_register_on_the_bill(copy: Path) -> None:
    edited(copy / witness.BILL_FILE, lambda c: c["registers"][0].update(end="44.1234"))

    problems = [each.problem for each in walk(verified(copy).steps) if each.problem]

    assert any("registers moved" in each for each in problems)
    assert any("sealed" in each and "44.1234" in each for each in problems)


def test_a_price_file(copy: Path) -> None:
    path = next(each for each in (copy / witness.PRICES).iterdir() if "agency" in each.name)
    path.write_text(path.read_text("utf-8").replace("0.398598", "0.398698"), "utf-8")

    assert broken(verified(copy)).key == "prices_of_evidence"


def test_evidence_of_another_bill(copy: Path) -> None:
    edited(copy / witness.EVIDENCE_FILE, lambda c: c.update(account_id="3700000000009"))

    assert broken(verified(copy)).key == "evidence_of"


def test_a_whole_day_left_out_of_the_bill(copy: Path) -> None:
    def forget(content: Content) -> None:
        del content["segments"][0]["usage"]["days"][4]

    edited(copy / witness.BILL_FILE, forget)

    assert "missing 2026-08-05" in broken(verified(copy)).problem


def test_evidence_that_cannot_be_read(copy: Path) -> None:
    (copy / witness.EVIDENCE_FILE).write_text("{}", "utf-8")

    with pytest.raises(BadEvidence):
        witness.read(copy)


def test_a_reading_that_was_changed_in_the_database(world: ProofWorld, folder: Path) -> None:
    """The table of readings is not believed: the chain stands on the sealed bytes."""
    proof_world.change(world.dsn, "UPDATE reading SET c0 = c0 + 5000 WHERE taken_at = '2026-08-09 00:00+08'")

    with transaction(world.pool, TIMETABLE) as conn:
        bill, around, found = witness.load(conn, world.bill_id)

    assert verify(bill_file_text(bill, around).encode(), Beside(witness=found)).is_right


def test_a_batch_that_does_not_follow_the_one_before_it() -> None:
    """Properly signed, but its gateway had sealed something else before: a batch was taken out or put in between."""
    gateway = FakeGateway("GW9", ("GW9M1",))
    bodies = [
        gateway.seal([reading("GW9M1", FIRST_MS, 1000)]),
        gateway.seal([reading("GW9M1", FIRST_MS + QUARTER_MS, 1250)]),
        gateway.seal([reading("GW9M1", FIRST_MS + 2 * QUARTER_MS, 1500)], previous_sha256=bytes(32)),
    ]
    batches = tuple(
        Batch(seq, "GW9", 1, 0, seq, hashlib.sha256(body).digest(), body)
        for seq, body in enumerate(bodies, start=1)
    )
    keys = (GatewayKey("GW9", gateway.key.public_key().public_bytes_raw(), None, None),)

    opened = open_batches(Witness("3700000000001", AUGUST, 1, (), (), keys, batches, ()), ())

    problems = {each.key: each.problem for each in walk((opened.step,)) if each.problem}
    assert problems == {"hash_chain": "batch 3 does not follow batch 2"}


def test_a_key_that_was_withdrawn_before_it_sealed() -> None:
    gateway = FakeGateway("GW9", ("GW9M1",))
    body = gateway.seal([reading("GW9M1", FIRST_MS, 1000)])
    withdrawn = datetime(2026, 8, 1, tzinfo=UTC)  # the batch says it was sealed on 3 August
    keys = (GatewayKey("GW9", gateway.key.public_key().public_bytes_raw(), None, withdrawn),)
    batch = Batch(1, "GW9", 1, 0, 1, hashlib.sha256(body).digest(), body)

    opened = open_batches(Witness("3700000000001", AUGUST, 1, (), (), keys, (batch,), ()), ())

    assert "after its key was withdrawn" in next(
        each.problem for each in walk((opened.step,)) if each.problem
    )
    assert not opened.readings
