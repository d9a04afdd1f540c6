"""What a signed contract's file proves offline, and what is found wrong with damaged and forged ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import contract_world as w
import pytest
import tsa_world
from contract_world import NOW, World
from contract_world import owner as owner
from contract_world import world as world

from cloud.contracts import document
from cloud.contracts.run.desk import print as printing
from cloud.contracts.run.desk import read, sign, verify
from cloud.contracts.store import papers, seals
from cloud.db import Conn, transaction
from cloud.outside import timestamp
from cloud.paper import cosign
from cloud.paper.attached import page_text
from cloud.paper.cosign import BadPaper, BadStamp, signatures_of
from cloud.paper.glyphs import printable
from cloud.paper.render import Attachment, render
from cloud.paper.seals import make_seal, opened


def test_the_signed_file_proves_both_signatures_offline_and_names_rare_characters(
    world: World, owner: Conn
) -> None:
    contract_id = w.drawn(world)
    w.signed_by_both(world, contract_id)
    with transaction(world.pool, world.scope(world.buyer)) as conn:
        pdf = read.file_for(conn, world.ask(conn, world.buyer, NOW), contract_id, 1)

    checked = signatures_of(pdf, [each.encode() for each in seals.roots(owner)])

    assert checked.is_whole()
    assert [each.signer for _, each in checked.signatures] == [w.SELLER, w.BUYER]
    assert [each.signed_at for _, each in checked.signatures] == [NOW, NOW + timedelta(minutes=1)]
    assert w.SELLER in page_text(pdf)
    assert w.BUYER in page_text(pdf)
    roots = [each.encode() for each in seals.roots(owner)]
    told = {each.key: each for each in verify.findings(pdf, roots)}
    assert [each.key for each in told.values() if each.is_well is False] == []
    assert {"signature_holds", "level_b", "chain_whole", "hash_on_page", "page_same"} <= set(told)
    afters = [each.after_sha256 for each in papers.signers_of(owner, contract_id, 1)]
    said = [each.facts["sha256"] for each in verify.findings(pdf, roots) if each.key == "file_after"]
    assert said == afters
    for key, damaged in damages(pdf).items():
        assert key in wrong_of(damaged, roots), key
    _forged_terms(owner, contract_id, roots)


def wrong_of(pdf: bytes, roots: list[bytes]) -> set[str]:
    try:
        return {each.key for each in verify.findings(pdf, roots) if each.is_well is False}
    except BadPaper:
        return {"unreadable"}


def damages(pdf: bytes) -> dict[str, bytes]:
    """Damaged files by what is to be found wrong with each."""
    last = pdf.rindex(b"startxref")
    first = pdf.index(b"stream\n", len(pdf) // 4) + 20  # within the first revision: what both have signed
    return {
        "signature_broken": pdf[:first] + bytes([pdf[first] ^ 1]) + pdf[first + 1 :],
        "unreadable": pdf[: len(pdf) // 10],
        "chain_broken": pdf + b"\n% added\n" + pdf[last:],
    }


def _forged_terms(owner: Conn, contract_id: str, roots: list[bytes]) -> None:
    """Both seals on a file whose pages show another price than its embedded terms."""
    paper = papers.find(owner, contract_id, 1)
    shown = json.loads(json.dumps(paper.content).replace("398.50", "389.50"))
    data, _ = printable(printing._page(shown, paper.content_sha256, tuple(paper.content["order"])))
    attached = Attachment("contract.json", document.canonical(paper.content), "content of the contract")
    pdf = cosign.prepared(render("contract", data, attached, NOW), 2)
    for place, name in enumerate((w.SELLER, w.BUYER), start=1):
        seal = make_seal(w.authority(), name, "", NOW)
        drawn = printing.stamp(name, seal.sha256, "经办", NOW)
        signer = opened(seal, w.authority().certificate)
        pdf = cosign.cosign(pdf, signer, place, drawn, cosign.When(NOW))
    assert wrong_of(pdf, roots) == {"page_lacks"}


def test_the_time_stamp_of_a_signature_is_kept_with_it_and_without_an_answer_nothing_is(
    world: World, owner: Conn, tmp_path: Path
) -> None:
    now = datetime.now(UTC)  # noqa: TID251  # the authority's clock is the real one
    contract_id = w.drawn(world, now)
    number = w.confirmed(world, world.seller, contract_id, now)

    def sign_for(person: w.Person, at: datetime, url: str, number: int) -> None:
        with transaction(world.pool, world.scope(person)) as conn:
            ask = replace(world.ask(conn, person, at), timestamps=timestamp.authority(url))
            sign.sign(conn, ask, contract_id, 1, number)

    with tsa_world.authority(tmp_path) as tsa:
        sign_for(world.seller, now, tsa.url, number)
        late = now + timedelta(minutes=6)  # by our clock alone
        number = w.confirmed(world, world.buyer, contract_id, late)
        with pytest.raises(BadStamp):
            sign_for(world.buyer, late, tsa.url, number)
    number = w.confirmed(world, world.buyer, contract_id, now)
    with pytest.raises(timestamp.NoTimeStamp):
        sign_for(world.buyer, now, tsa.url, number)

    seller, buyer = papers.signers_of(owner, contract_id, 1)
    assert (seller.stamp_authority, buyer.stamp_authority) == (tsa_world.NAME, "")
    assert seller.stamped_at is not None
    assert buyer.signed_at is None


def test_one_file_signed_by_one_side_only_is_not_whole(world: World, owner: Conn) -> None:
    contract_id = w.drawn(world)
    w.signed(world, world.seller, contract_id, NOW)
    with transaction(world.pool, world.scope(world.seller)) as conn:
        pdf = read.file_for(conn, world.ask(conn, world.seller, NOW), contract_id, 1)

    checked = signatures_of(pdf, [each.encode() for each in seals.roots(owner)])

    assert checked.empty == ("Party2",)
    assert not checked.is_whole()
