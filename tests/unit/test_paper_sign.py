"""Signed bills: whoever changes a byte is told, and the same bill signed again is the same bytes."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import signers
from unit.test_bill_recompute import a_bill

from cloud.billing.document.around import Around, Corrects, PastMonth, Seal, around_from_text, bill_file_text
from cloud.billing.labels import Language
from cloud.billing.proof.step import Finding, Step, walk
from cloud.billing.run.print import bill_paper, bill_pdf
from cloud.billing.run.verify import Beside, verify
from cloud.paper.sign import BadSigner, BadTrust, Signer, load_signer, signature_of, trusted_roots
from cloud.paper.signer import SignerExists, make_signer

pytestmark = pytest.mark.timeout(180)

ISSUED = datetime(2026, 9, 3, 8, 30, tzinfo=UTC)
BILL = replace(a_bill(), state="issued")
AROUND = Around(
    past=(PastMonth(date(2026, 7, 1), 950_000, 9_000_000),),
    issued_at=ISSUED,
    due_on=date(2026, 9, 23),
    arrears_fen=12_345,
    corrects=Corrects(1, 1_000_000, "reading"),
    seals=(Seal("GW1", "ab" * 32),),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signer")
    make_signer(folder, "示范售电有限公司", datetime(2026, 1, 1, tzinfo=UTC), key_bits=2048)
    return folder


@pytest.fixture(scope="module")
def signer(folder: Path) -> Signer:
    return load_signer(folder / "signer.key", folder / "signer.pem")


@pytest.fixture(scope="module")
def roots(folder: Path) -> tuple[bytes, ...]:
    return trusted_roots(folder / "root.pem")


@pytest.fixture(scope="module")
def signed(signer: Signer) -> bytes:
    return bill_pdf(BILL, Language.ZH, AROUND, signer)


def found(pdf: bytes, roots: tuple[bytes, ...] = ()) -> dict[str, Step]:
    return {each.key: each for each in walk(verify(pdf, Beside(roots)).steps)}


def test_a_signed_bill_says_by_whom_and_when(signed: bytes, roots: tuple[bytes, ...]) -> None:
    signature = signature_of(signed, roots)

    assert signature is not None
    assert (signature.signer, signature.signed_at) == ("示范售电有限公司", ISSUED)
    assert (signature.is_intact, signature.covers_all, signature.is_valid_at, signature.is_trusted) == (
        True,
    ) * 4
    verdict = verify(signed, Beside(roots))
    assert verdict.is_right
    assert "示范售电有限公司" in verdict.tree("zh")
    assert "byte for byte" in verdict.tree("en")


def test_signing_leaves_the_printed_bytes_as_they_were(signed: bytes) -> None:
    assert signed.startswith(bill_paper(BILL, Language.ZH, AROUND, is_signed=True))


def test_signed_again_it_is_the_same_bytes(signed: bytes, signer: Signer) -> None:
    assert bill_pdf(BILL, Language.ZH, AROUND, signer) == signed


@settings(max_examples=40)
@given(st.data())
def test_no_byte_can_be_changed(signed: bytes, roots: tuple[bytes, ...], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(signed) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(signed)
    changed[at] ^= 1 << bit

    signature = signature_of(bytes(changed), roots)

    assert (
        signature is None
        or not signature.is_intact
        or not signature.covers_all
        or inside_the_signature(signed, at)
    )


def inside_the_signature(signed: bytes, at: int) -> bool:
    """The hexadecimal digits of the CMS itself: a change of a digit's case says the same."""
    start = signed.rfind(b"/Contents <")
    return start < at < signed.find(b">", start) and chr(signed[at]).lower() in "0123456789abcdef"


def test_what_is_appended_is_told(signed: bytes) -> None:
    step = found(signed + b"\n% one more line\n")["signature"]

    assert (step.finding, step.problem) == (
        Finding.WRONG,
        "signature: something was added after it was signed",
    )


def test_a_page_painted_over_under_a_key_of_ones_own_is_not_called_right(signer: Signer) -> None:
    """The paper's bytes stand first, and what is added is a signature, but a white sheet over the page too."""
    writer = IncrementalPdfFileWriter(io.BytesIO(bill_paper(BILL, Language.ZH, AROUND, is_signed=True)))
    place = writer.root["/Pages"]["/Kids"].raw_get(0)
    sheet = writer.add_object(generic.StreamObject(stream_data=b"q 1 1 1 rg 0 0 999 999 re f Q"))
    page = place.get_object()
    page["/Contents"] = generic.ArrayObject([page.raw_get("/Contents"), sheet])
    writer.mark_update(place)
    pdf = signers.sign_pdf(
        writer,
        signers.PdfSignatureMetadata(field_name="BillSignature", md_algorithm="sha256"),
        signer=signer.simple,
    ).getvalue()

    verdict = verify(pdf)

    assert not verdict.is_right
    assert "byte for byte" not in verdict.tree("en")


def test_another_root_does_not_vouch(signed: bytes, tmp_path: Path) -> None:
    make_signer(tmp_path, "示范售电有限公司", datetime(2026, 1, 1, tzinfo=UTC), key_bits=2048)

    step = found(signed, trusted_roots(tmp_path / "root.pem"))["signature"]

    assert step.finding is Finding.WRONG
    assert "not vouched for" in step.problem


def test_without_a_root_it_is_not_said_who_it_is(signed: bytes) -> None:
    assert found(signed)["signature_root_unknown"].finding is Finding.RIGHT


def test_an_unsigned_bill_is_a_note_unless_a_root_is_asked_for(roots: tuple[bytes, ...]) -> None:
    pdf = bill_pdf(BILL, Language.EN, AROUND)

    assert verify(pdf).is_right
    assert found(pdf)["unsigned"].finding is Finding.NOTE
    assert not verify(pdf, Beside(roots)).is_right
    assert not verify(bill_file_text(BILL, AROUND).encode(), Beside(roots)).is_right


def test_a_signature_cut_away_leaves_an_unsigned_paper_that_says_it_was_signed(signed: bytes) -> None:
    """The pages then still claim a signature, so they are not what an unsigned bill looks like."""
    cut = bill_paper(BILL, Language.ZH, AROUND, is_signed=True)

    assert found(cut)["unsigned"].finding is Finding.NOTE
    assert "printed_alike" not in found(cut)
    assert not verify(cut).is_right


def test_a_key_that_is_not_of_the_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    make_signer(tmp_path, "别人", datetime(2026, 1, 1, tzinfo=UTC), key_bits=2048)

    with pytest.raises(BadSigner):
        load_signer(tmp_path / "signer.key", folder / "signer.pem")
    with pytest.raises(BadSigner):
        load_signer(folder / "signer.pem", folder / "signer.pem")
    with pytest.raises(BadTrust):
        trusted_roots(folder / "signer.key")


def test_a_key_is_never_overwritten_and_only_its_owner_reads_it(folder: Path) -> None:
    with pytest.raises(SignerExists):
        make_signer(folder, "示范", datetime(2026, 1, 1, tzinfo=UTC), key_bits=2048)
    assert (folder / "signer.key").stat().st_mode & 0o777 == 0o600


def test_surroundings_come_back_as_they_were() -> None:
    assert around_from_text(bill_file_text(BILL, AROUND)) == AROUND
    assert around_from_text(bill_file_text(BILL)) == Around()


def test_two_processes_print_and_sign_the_same_bytes(folder: Path, signed: bytes, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from cloud.billing.billjson import bill_from_text\n"
        "from cloud.billing.document.around import around_from_text\n"
        "from cloud.billing.labels import Language\n"
        "from cloud.billing.run.print import bill_pdf\n"
        "from cloud.paper.sign import load_signer\n"
        "text, key, certificate, out = map(Path, sys.argv[1:])\n"
        "content = text.read_text('utf-8')\n"
        "signer = load_signer(key, certificate)\n"
        "out.write_bytes(bill_pdf(bill_from_text(content), Language.ZH, around_from_text(content), signer))\n"
    )
    (tmp_path / "bill.json").write_text(bill_file_text(BILL, AROUND), "utf-8")
    paths = [tmp_path / "bill.json", folder / "signer.key", folder / "signer.pem", tmp_path / "bill.pdf"]

    subprocess.run([sys.executable, "-c", program, *map(str, paths)], check=True, timeout=50)

    assert (tmp_path / "bill.pdf").read_bytes() == signed


def test_openssl_finds_the_signature_right_too(
    signed: bytes, folder: Path, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    """An independent opinion on the CMS and on the bytes it covers."""
    first, size, second, rest = map(int, re.findall(rb"/ByteRange\s*\[\s*([\d ]+)\]", signed)[-1].split())
    covered = signed[first : first + size] + signed[second : second + rest]
    padded = bytes.fromhex(signed[first + size + 1 : second - 1].decode())
    (tmp_path / "cms.der").write_bytes(padded[: 4 + int.from_bytes(padded[2:4])])  # 30 82, then its length
    (tmp_path / "covered").write_bytes(covered)

    def verifies(content: bytes) -> bool:
        (tmp_path / "covered").write_bytes(content)
        asked = ["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-no_check_time"]
        files = ["-in", "cms.der", "-content", "covered", "-CAfile", str(folder / "root.pem"), "-out", "out"]
        done = subprocess.run(
            [program("openssl"), *asked, *files], cwd=tmp_path, check=False, capture_output=True
        )
        return done.returncode == 0

    assert verifies(covered)
    assert not verifies(covered.replace(b"/Type /Catalog", b"/Type /catalog"))
    assert not verifies(covered[:-1] + b"x")


def test_the_paper_claims_to_be_archival_and_accessible(signed: bytes) -> None:
    """PDF/A-3a and PDF/UA-1 by its own metadata, tagged, with a language, without anything that runs or is missing."""
    metadata = signed[signed.index(b"<x:xmpmeta") : signed.index(b"</x:xmpmeta>")]

    assert b"<pdfaid:part>3</pdfaid:part>" in metadata
    assert b"<pdfaid:conformance>A</pdfaid:conformance>" in metadata
    assert b"<pdfuaid:part>1</pdfuaid:part>" in metadata
    for claimed in (b"/MarkInfo", b"/StructTreeRoot", b"/OutputIntents", b"/AFRelationship", b"/Lang"):
        assert claimed in signed
    for forbidden in (b"/JavaScript", b"/Encrypt", b"/Launch"):
        assert forbidden not in signed
