"""Contracts signed by several: empty signature fields first, then one PAdES signature after the other, each with its stamp.

Every signature is an incremental update that covers the whole file as its signer had it. The first also certifies that
nothing but further signatures may follow; whoever checks sees for each signature whether only such followed. The same
file, seal, stamp and instant give the same bytes; with a time-stamp authority (B-T) they are never the same.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from pyhanko.pdf_utils import content, generic
from pyhanko.pdf_utils.layout import BoxConstraints
from pyhanko.pdf_utils.misc import PdfReadError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import fields, signers
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko.sign.timestamps import TimeStamper
from pyhanko.sign.timestamps.common_utils import TimestampRequestError
from pyhanko.sign.validation import SignatureCoverageLevel, validate_pdf_signature
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.status import TimestampSignatureStatus
from pyhanko.stamp import StaticStampStyle
from pyhanko_certvalidator import ValidationContext

from cloud.errors import Invalid, Unavailable
from cloud.paper.sign import (
    BYTES_RESERVED,
    DIGEST,
    AtInstant,
    Signature,
    Signer,
    TimeStamp,
    Unstamped,
    certificates_in,
    name_in,
)

PREFIX = "Party"
SIGNERS_MAX = 8
BYTES_RESERVED_STAMPED = 49_152  # a token carries the chain of its authority
PAGE_HEIGHT_PT = 842
# Where stamps stand on the last page, in points from its upper left corner: x, y, width, height. contract.typ draws them.
BOXES = ((64, 210, 210, 170), (320, 210, 210, 170), (64, 440, 210, 170), (320, 440, 210, 170))
_UNREADABLE = (
    PdfReadError,
    SignatureValidationError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)


Authority: TypeAlias = TimeStamper  # who attests when something was signed: cloud/outside/timestamp.py


class BadPaper(Invalid):
    """The bytes are no PDF that can be signed or checked."""


class BadStamp(Unavailable):
    """The time-stamp authority answered with something that is no time stamp of this signature."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What all signatures of a file say: each with its place, and the places still empty.

    `files` are the hashes of the file as it was after each signature: what the next signer had.
    """

    signatures: tuple[tuple[str, Signature], ...]
    empty: tuple[str, ...]
    files: tuple[str, ...]

    def is_whole(self) -> bool:
        """Whether every place is signed, every signature holds, and nothing else was ever added."""
        return (
            bool(self.signatures)
            and not self.empty
            and all(
                each.is_intact
                and each.covers_all
                and each.is_valid_at
                and each.is_trusted is not False
                and (each.stamp is None or each.stamp.is_intact)
                for _, each in self.signatures
            )
        )


def prepared(pdf: bytes, places: int) -> bytes:
    """Add empty signature fields to a file: places 1.. on its last page. Raises BadPaper."""
    if not 1 <= places <= len(BOXES):
        raise BadPaper("bad_contract_paper", problem=f"{places} places, allowed 1..{len(BOXES)}")
    try:
        writer = Unstamped(io.BytesIO(pdf))
        _name_update(writer, pdf, b"prepared")
        for number, (x, y, width, height) in enumerate(BOXES[:places], start=1):
            box = (x, PAGE_HEIGHT_PT - y - height, x + width, PAGE_HEIGHT_PT - y)
            spec = fields.SigFieldSpec(f"{PREFIX}{number}", on_page=-1, box=box)
            fields.append_signature_field(writer, spec)
        out = io.BytesIO()
        writer.write(out)  # type: ignore[no-untyped-call]  # comes without types
    except _UNREADABLE as error:
        raise BadPaper("bad_contract_paper", problem=f"{type(error).__name__}: {error}") from error
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class When:
    """The instant of a signature by our clock, and who attests it: without an authority the signature is PAdES B-B."""

    at: datetime
    authority: Authority | None = None


def cosign(pdf: bytes, signer: Signer, place: int, stamp: bytes, when: When) -> bytes:
    """Sign a place of a prepared file with a stamp (a one-page PDF). Raises BadPaper, Unavailable."""
    try:
        is_first = not PdfFileReader(io.BytesIO(pdf), strict=False).embedded_signatures
        writer = Unstamped(io.BytesIO(pdf))
        _name_update(writer, pdf, when.at.isoformat().encode() + signer.certificate.sha256)
        metadata = signers.PdfSignatureMetadata(
            field_name=f"{PREFIX}{place}",
            md_algorithm=DIGEST,
            name=signer.name,
            subfilter=fields.SigSeedSubFilter.PADES,
            certify=is_first,
            docmdp_permissions=fields.MDPPerm.FILL_FORMS,
        )
        style = StaticStampStyle(background=_Page(stamp), border_width=0)
        pdf_signer = AtInstant(metadata, signer=signer.simple, stamp_style=style, timestamper=when.authority)
        pdf_signer.at = when.at
        reserved = BYTES_RESERVED if when.authority is None else BYTES_RESERVED_STAMPED
        return bytes(
            pdf_signer.sign_pdf(writer, existing_fields_only=True, bytes_reserved=reserved).getvalue()
        )
    except TimestampRequestError as error:
        raise BadStamp("no_time_stamp", problem=str(error)[:200]) from error
    except _UNREADABLE as error:
        raise BadPaper("bad_contract_paper", problem=f"{type(error).__name__}: {error}") from error


def signatures_of(pdf: bytes, roots: Sequence[bytes] = ()) -> Checked:
    """Check all signatures of a file, offline; `roots` are certificates (PEM) that are trusted. Raises BadPaper."""
    trusted = [root for each in roots for root in certificates_in(each)]
    try:
        reader = PdfFileReader(io.BytesIO(pdf), strict=False)
        found = reader.embedded_signatures
        if len(found) > SIGNERS_MAX:
            raise BadPaper("bad_contract_paper", problem=f"{len(found)} signatures, at most {SIGNERS_MAX}")
        empty = tuple(str(name) for name, value, _ in fields.enumerate_sig_fields(reader) if value is None)
        last = len(found) - 1
        return Checked(
            tuple(
                (each.field_name, _checked(each, trusted, is_last=at == last))
                for at, each in enumerate(found)
            ),
            empty,
            tuple(hashlib.sha256(pdf[: _end_of(each)]).hexdigest() for each in found),
        )
    except _UNREADABLE as error:
        raise BadPaper("bad_contract_paper", problem=f"{type(error).__name__}: {error}") from error


class _Page(content.PdfContent):
    """The first page of a PDF as the content of a stamp, under a name that depends on nothing but its bytes."""

    def __init__(self, pdf: bytes) -> None:
        self.pdf = pdf
        super().__init__()

    def render(self) -> bytes:
        """Import the page and name it."""
        page = self._ensure_writer.import_page_as_xobject(PdfFileReader(io.BytesIO(self.pdf)), page_ix=0)
        name = "/Stamp" + hashlib.sha256(self.pdf).hexdigest()[:16]
        self.resources.xobject[name] = page
        x_low, y_low, x_high, y_high = page.get_object()["/BBox"]
        self.box = BoxConstraints(width=abs(x_high - x_low), height=abs(y_high - y_low))
        return f"{name} Do".encode()


def _checked(embedded: object, trusted: list[object], *, is_last: bool) -> Signature:
    signed_at = embedded.self_reported_timestamp  # type: ignore[attr-defined]  # pyhanko's class has no public type
    context = ValidationContext(
        trust_roots=trusted,
        allow_fetching=False,
        moment=signed_at,
        best_signature_time=signed_at,
        revocation_mode="soft-fail",
    )
    status = validate_pdf_signature(embedded, signer_validation_context=context)  # type: ignore[arg-type]  # as above
    certificate = status.signing_cert
    validity = certificate["tbs_certificate"]["validity"].native
    is_whole = status.coverage is SignatureCoverageLevel.ENTIRE_FILE
    # Before the last signature, only further signatures in the prepared fields may follow: form filling, nothing else.
    is_followed_well = (
        status.coverage
        in (SignatureCoverageLevel.ENTIRE_REVISION, SignatureCoverageLevel.CONTIGUOUS_BLOCK_FROM_START)
        and status.modification_level
        in (ModificationLevel.NONE, ModificationLevel.LTA_UPDATES, ModificationLevel.FORM_FILLING)
        and bool(status.docmdp_ok)
    )
    stamp = _stamp_of(status.timestamp_validity, trusted)
    return Signature(
        signer=name_in(certificate),
        signer_sha256=certificate.sha256.hex(),
        issuer=certificate.issuer.human_friendly,
        signed_at=signed_at,
        is_intact=bool(status.intact and status.valid),
        covers_all=is_whole if is_last else is_followed_well,
        is_valid_at=all(
            at is not None and validity["not_before"] <= at <= validity["not_after"]
            for at in (signed_at, *(() if stamp is None else (stamp.at,)))
        ),
        is_trusted=bool(status.trusted) if trusted else None,
        stamp=stamp,
    )


def _end_of(embedded: object) -> int:
    """Where the bytes end that a signature covers: the end of the file as it was then."""
    *_, start, length = (int(each) for each in embedded.byte_range)  # type: ignore[attr-defined]  # as above
    return start + length


def _stamp_of(status: TimestampSignatureStatus | None, trusted: list[object]) -> TimeStamp | None:
    if status is None:
        return None
    is_intact = bool(status.intact and status.valid)
    return TimeStamp(
        name_in(status.signing_cert), status.timestamp, is_intact, bool(status.trusted) if trusted else None
    )


def _name_update(writer: Unstamped, pdf: bytes, salt: bytes) -> None:
    first = writer.document_id[0]
    second = hashlib.sha256(pdf + salt).digest()[:16]
    writer._document_id = generic.ArrayObject(
        [generic.ByteStringObject(first), generic.ByteStringObject(second)]
    )
