"""A contract's print and its signatures: the same bytes again, every name readable, and nothing added unseen."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tsa_world
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from cloud.contracts.run.desk.print import numeral, stamp
from cloud.errors import Unavailable
from cloud.outside import timestamp
from cloud.paper.attached import page_text
from cloud.paper.cosign import BadPaper, When, cosign, prepared, signatures_of
from cloud.paper.render import Attachment, render
from cloud.paper.seals import Keys, make_authority, make_seal, opened

NOW = datetime(2026, 8, 20, 3, tzinfo=UTC)
NAMES = ("䶮㙦𠮷示范热电厂", "示范铸造厂")


@pytest.fixture(scope="module")
def root() -> Keys:
    return make_authority("测试平台", NOW, key_bits=2048)


@pytest.fixture(scope="module")
def seals(root: Keys) -> list[Keys]:
    return [make_seal(root, name, "91130000000000000X", NOW) for name in NAMES]


def printed() -> bytes:
    data = {
        "title": "签收单",
        "name": NAMES[0],
        "name_size": 12,
        "width": 595,
        "height": 842,
        "lines": ["一页"],
    }
    return prepared(render("stamp", data, Attachment("a.json", "{}", "a"), NOW), 2)


def signed(root: Keys, seals: list[Keys], count: int) -> bytes:
    pdf = printed()
    for place, seal in enumerate(seals[:count], start=1):
        at = NOW + timedelta(minutes=place)
        pdf = cosign(
            pdf,
            opened(seal, root.certificate),
            place,
            stamp(NAMES[place - 1], seal.sha256, "经办", at),
            When(at),
        )
    return pdf


def test_the_same_contract_signed_again_is_the_same_bytes(root: Keys, seals: list[Keys]) -> None:
    assert signed(root, seals, 2) == signed(root, seals, 2)


def test_names_in_stamp_and_certificate_are_readable(root: Keys, seals: list[Keys]) -> None:
    pdf = signed(root, seals, 2)

    assert [each.signer for _, each in signatures_of(pdf).signatures] == list(NAMES)
    assert NAMES[0] in page_text(stamp(NAMES[0], seals[0].sha256, "经办", NOW))
    assert NAMES[0] in page_text(pdf)


def test_who_signs_in_anothers_name_is_not_trusted(root: Keys, seals: list[Keys]) -> None:
    pretender = make_authority("测试平台", NOW, key_bits=2048)
    false_seal = make_seal(pretender, NAMES[1], "", NOW)
    pdf = signed(root, seals, 1)
    at = NOW + timedelta(minutes=2)
    pdf = cosign(
        pdf,
        opened(false_seal, pretender.certificate),
        2,
        stamp(NAMES[1], false_seal.sha256, "x", at),
        When(at),
    )

    checked = signatures_of(pdf, [root.certificate.encode()])
    assert [each.is_trusted for _, each in checked.signatures] == [True, False]
    assert not checked.is_whole()


@pytest.mark.parametrize("count", [1, 2])
def test_a_page_changed_after_a_signature_is_seen(root: Keys, seals: list[Keys], count: int) -> None:
    pdf = signed(root, seals, count)
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    stream = generic.StreamObject(stream_data=b"BT ET")
    writer.add_stream_to_page(0, writer.add_object(stream))
    out = io.BytesIO()
    writer.write(out)

    changed = signatures_of(out.getvalue(), [root.certificate.encode()])
    assert not all(each.covers_all for _, each in changed.signatures)
    assert not changed.is_whole()
    assert signatures_of(pdf, [root.certificate.encode()]).is_whole() is (count == 2)


def test_what_is_no_pdf_is_refused() -> None:
    for wrong in (b"", b"%PDF-1.7 nonsense", b"x" * 1000):
        with pytest.raises(BadPaper):
            signatures_of(wrong)


def test_clauses_are_numbered_as_people_do() -> None:
    assert [numeral(number) for number in (1, 10, 11, 20, 21, 99)] == [
        "一",
        "十",
        "十一",
        "二十",
        "二十一",
        "九十九",
    ]


def test_an_authority_attests_when_each_signature_was_made(
    root: Keys, seals: list[Keys], tmp_path: Path
) -> None:
    pdf = printed()
    before = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251  # the authority's clock is the real one
    with tsa_world.authority(tmp_path) as tsa:
        for place, seal in enumerate(seals, start=1):
            drawn = stamp(NAMES[place - 1], seal.sha256, "经办", before)
            when = When(before, timestamp.authority(tsa.url))
            pdf = cosign(pdf, opened(seal, root.certificate), place, drawn, when)
    after = datetime.now(UTC)  # noqa: TID251

    checked = signatures_of(pdf, [root.certificate.encode(), tsa.root])
    assert checked.is_whole()
    stamps = [each.stamp for _, each in checked.signatures if each.stamp is not None]
    assert [(each.authority, each.is_intact, each.is_trusted) for each in stamps] == [
        (tsa_world.NAME, True, True)
    ] * 2
    assert all(before <= each.at <= after for each in stamps)
    (stranger, _) = signatures_of(pdf, [root.certificate.encode()]).signatures
    assert stranger[1].is_trusted
    assert stranger[1].stamp is not None
    assert not stranger[1].stamp.is_trusted


def test_a_seal_that_had_run_out_when_it_was_stamped_is_no_seal_whatever_time_it_claims(
    root: Keys, tmp_path: Path
) -> None:
    claimed = datetime.now(UTC) - timedelta(days=4 * 365)  # noqa: TID251  # a seal lasts three years
    old = make_seal(root, NAMES[0], "", claimed)
    drawn = stamp(NAMES[0], old.sha256, "经办", claimed)
    with tsa_world.authority(tmp_path) as tsa:
        when = When(claimed, timestamp.authority(tsa.url))
        pdf = cosign(printed(), opened(old, root.certificate), 1, drawn, when)

    ((_, found),) = signatures_of(pdf, [root.certificate.encode(), tsa.root]).signatures
    assert found.stamp is not None
    assert (found.is_intact, found.stamp.is_intact, found.is_valid_at) == (True, True, False)


def test_nothing_is_signed_without_the_time_stamp_that_it_was_to_carry(
    root: Keys, seals: list[Keys], tmp_path: Path
) -> None:
    drawn = stamp(NAMES[0], seals[0].sha256, "经办", NOW)
    signer = opened(seals[0], root.certificate)
    with tsa_world.authority(tmp_path) as tsa:
        cosign(printed(), signer, 1, drawn, When(NOW, timestamp.authority(tsa.url)))
    of_another = (tmp_path / "reply").read_bytes()
    wrong = [b"", b"no token", bytes.fromhex("30053003020102"), of_another]  # the third: status rejection
    for body in wrong:
        with tsa_world.answering(lambda _, body=body: body) as url, pytest.raises(Unavailable):
            cosign(printed(), signer, 1, drawn, When(NOW, timestamp.authority(url)))
    with pytest.raises(Unavailable):  # nobody is there any more
        cosign(printed(), signer, 1, drawn, When(NOW, timestamp.authority(url)))
