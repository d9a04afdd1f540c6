"""Signatures of printed documents: PAdES B-B, a detached CMS in an incremental update; and their check, offline.

The signature is made with RSA PKCS#1 v1.5, which has no random part, and the update's only random part, the second
file identifier, is derived from the document. So the same document signed at the same instant by the same key is the
same bytes. The signing time is a parameter: a bill is signed as of the instant it was issued.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from asn1crypto import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pyhanko.keys import load_certs_from_pemder_data, load_private_key_from_pemder_data
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfReadError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import fields, signers
from pyhanko.sign.signers.pdf_signer import PdfSigner, PdfSigningSession
from pyhanko.sign.validation import SignatureCoverageLevel, validate_pdf_signature
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore

from cloud.errors import Invalid

FIELD = "BillSignature"
DIGEST = "sha256"
BYTES_RESERVED = 16_384
_SIGNATURES_MAX = 8
_BLANK_BYTES = 256  # as long as a signature of RSA-2048; its digits are not compared
_UNREADABLE = (PdfReadError, ValueError, KeyError, TypeError, RecursionError)

logging.getLogger("pyhanko").setLevel(logging.CRITICAL)  # what it finds is our answer, not a line in the log
logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)


class BadSigner(Invalid):
    """The key or certificate file cannot be used; `facts` name the file and the problem."""


class BadTrust(Invalid):
    """The file of trusted roots holds no certificate."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing key with its certificate and chain."""

    simple: signers.Signer
    certificate: x509.Certificate

    @property
    def name(self) -> str:
        """The name in the certificate."""
        return name_in(self.certificate)


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """The time stamp of a signature (PAdES B-T): which authority saw it when, and whether the token holds."""

    authority: str
    at: datetime
    is_intact: bool
    is_trusted: bool | None  # as of a signature


@dataclass(frozen=True, slots=True)
class Signature:
    """What a document's signature says, and whether it holds."""

    signer: str
    signer_sha256: str
    issuer: str
    signed_at: datetime | None
    is_intact: bool  # signature and digest fit the bytes they cover
    covers_all: bool  # nothing was added after signing
    is_valid_at: bool  # the certificate was valid at the signing time
    is_trusted: bool | None  # chains to one of the given roots; None: none were given
    problem: str = ""
    stamp: TimeStamp | None = None


def load_signer(key_file: Path, certificate_file: Path) -> Signer:
    """Load a signer from PEM files: an unencrypted RSA key, and its certificate followed by its chain.

    Raises BadSigner.
    """
    try:
        pem, chain = key_file.read_bytes(), certificate_file.read_bytes()
    except OSError as error:
        raise BadSigner("bad_signer", file=key_file, problem=f"{type(error).__name__}: {error}") from error
    return signer_from(pem, chain, (key_file, certificate_file))


def signer_from(pem: bytes, chain_pem: bytes, named: tuple[object, object]) -> Signer:
    """Make a signer of an unencrypted RSA key and its certificate followed by its chain; `named` is what a refusal names.

    Raises BadSigner.
    """
    key_name, certificate_name = named
    try:
        key = load_private_key_from_pemder_data(pem, passphrase=None)
        chain = certificates_in(chain_pem)
    except (ValueError, TypeError) as error:
        raise BadSigner("bad_signer", file=key_name, problem=f"{type(error).__name__}: {error}") from error
    if not chain:
        raise BadSigner("bad_signer", file=certificate_name, problem="no certificate")
    if key.algorithm != "rsa":
        raise BadSigner("bad_signer", file=key_name, problem=f"{key.algorithm} key, an RSA key is needed")
    own = [each for each in chain if each.public_key.dump() == _public_of(key)]
    if not own:
        raise BadSigner("bad_signer", file=certificate_name, problem="no certificate of this key")
    registry = SimpleCertificateStore()  # type: ignore[no-untyped-call]  # comes without types
    registry.register_multiple(chain)
    private = serialization.load_der_private_key(key.dump(), password=None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise BadSigner("bad_signer", file=key_name, problem="no RSA key")
    simple = _ReadyKey(own[0], key, registry, embed_roots=True)
    simple.private = private
    return Signer(simple, own[0])


def sign(pdf: bytes, signer: Signer, at: datetime, title: str) -> bytes:
    """Sign a PDF as of `at`; the same PDF, signer and instant give the same bytes."""
    writer = Unstamped(io.BytesIO(pdf))
    first = writer.document_id[0]
    second = hashlib.sha256(pdf + at.isoformat().encode() + signer.certificate.sha256).digest()[:16]
    writer._document_id = generic.ArrayObject(
        [generic.ByteStringObject(first), generic.ByteStringObject(second)]
    )
    metadata = signers.PdfSignatureMetadata(
        field_name=FIELD,
        md_algorithm=DIGEST,
        reason=title,
        name=signer.name,
        subfilter=fields.SigSeedSubFilter.PADES,
        certify=True,
        docmdp_permissions=fields.MDPPerm.NO_CHANGES,
    )
    spec = fields.SigFieldSpec(FIELD, readable_field_name=title)
    pdf_signer = AtInstant(metadata, signer=signer.simple, new_field_spec=spec)
    pdf_signer.at = at
    return bytes(pdf_signer.sign_pdf(writer, bytes_reserved=BYTES_RESERVED).getvalue())


def signature_of(pdf: bytes, roots: Sequence[bytes] = ()) -> Signature | None:
    """Check the signature of a PDF; None when it carries none. `roots` are certificates (PEM) that are trusted.

    Never goes to the network. A file that cannot be read as a PDF, or with more than one signature, does not hold.
    """
    try:
        reader = PdfFileReader(io.BytesIO(pdf), strict=False)
        found = reader.embedded_signatures[:_SIGNATURES_MAX]
    except _UNREADABLE as error:
        if b"/ByteRange" not in pdf:
            return None
        return _broken(f"{type(error).__name__}: {error}")
    if not found:
        return _broken("the signature cannot be found any more") if b"/ByteRange" in pdf else None
    trusted = [root for each in roots for root in certificates_in(each)]
    try:
        return _checked(found[0], trusted, is_only=len(found) == 1)
    except (SignatureValidationError, PdfReadError, ValueError, KeyError, TypeError, AttributeError) as error:
        return _broken(f"{type(error).__name__}: {error}")


def is_paper_signed(pdf: bytes, paper: bytes, at: datetime, title: str) -> bool:
    """Say whether a signed PDF is `paper` with what `sign` adds and nothing else, whoever's key signed it.

    A signature is added behind the paper, and whoever adds it may add other pages too. So the paper is signed again
    without a key; only the signature's own digits may differ.
    """
    if not pdf.startswith(paper):
        return False
    try:
        (embedded,) = PdfFileReader(io.BytesIO(pdf), strict=False).embedded_signatures
        start, length, end, _ = (int(each) for each in embedded.byte_range)
        registry = SimpleCertificateStore()  # type: ignore[no-untyped-call]  # comes without types
        blank = signers.ExternalSigner(embedded.signer_cert, registry, bytes(_BLANK_BYTES))
        again = sign(paper, Signer(blank, embedded.signer_cert), at, title)
    except (*_UNREADABLE, AttributeError, SignatureValidationError):
        return False
    return (
        start == 0 and len(pdf) == len(again) and (pdf[:length], pdf[end:]) == (again[:length], again[end:])
    )


def trusted_roots(path: Path) -> tuple[bytes, ...]:
    """Read the file of trusted root certificates (PEM). Raises BadTrust."""
    try:
        content = path.read_bytes()
        if certificates_in(content):
            return (content,)
    except (OSError, ValueError) as error:
        raise BadTrust("bad_trust", file=path, problem=str(error)) from error
    raise BadTrust("bad_trust", file=path, problem="no certificate in it")


class _ReadyKey(signers.SimpleSigner):
    """A signer whose key is checked once, when it is loaded; pyhanko would load and check it for every document."""

    private: rsa.RSAPrivateKey

    def sign_raw(self, data: bytes, digest_algorithm: str) -> bytes:
        """Sign by RSA PKCS#1 v1.5 with SHA-256."""
        if digest_algorithm != DIGEST:
            raise ValueError(f"{digest_algorithm}: only {DIGEST} is signed")
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())


class Unstamped(IncrementalPdfFileWriter):
    """A writer that leaves the document's dates and metadata as they are; pyhanko would stamp them with its clock."""

    def _update_meta(self) -> None:
        """Change nothing."""


class AtInstant(PdfSigner):
    """A signer whose clock is a parameter; pyhanko would read the machine's."""

    at: datetime

    def init_signing_session(self, pdf_out: Any, existing_fields_only: bool = False) -> PdfSigningSession:
        session = super().init_signing_session(pdf_out, existing_fields_only)
        session.system_time = self.at
        return session


def _checked(embedded: Any, trusted: list[x509.Certificate], *, is_only: bool) -> Signature:
    signed_at = embedded.self_reported_timestamp
    context = ValidationContext(
        trust_roots=trusted,
        allow_fetching=False,
        moment=signed_at,
        best_signature_time=signed_at,
        revocation_mode="soft-fail",
    )
    status = validate_pdf_signature(embedded, signer_validation_context=context)
    certificate = status.signing_cert
    validity = certificate["tbs_certificate"]["validity"].native
    is_valid_at = signed_at is not None and validity["not_before"] <= signed_at <= validity["not_after"]
    covers_all = is_only and status.coverage is SignatureCoverageLevel.ENTIRE_FILE
    return Signature(
        signer=name_in(certificate),
        signer_sha256=certificate.sha256.hex(),
        issuer=certificate.issuer.human_friendly,
        signed_at=signed_at,
        is_intact=bool(status.intact and status.valid),
        covers_all=covers_all,
        is_valid_at=is_valid_at,
        is_trusted=bool(status.trusted) if trusted else None,
    )


def _broken(problem: str) -> Signature:
    return Signature("", "", "", None, False, False, False, None, problem[:300])


def certificates_in(pem: bytes) -> list[x509.Certificate]:
    """Read the certificates of a PEM text."""
    return list(load_certs_from_pemder_data(pem))


def _public_of(key: Any) -> bytes:
    private = serialization.load_der_private_key(key.dump(), password=None)
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def name_in(certificate: x509.Certificate) -> str:
    """Say whose certificate it is."""
    subject = certificate.subject.native
    return str(subject.get("common_name") or certificate.subject.human_friendly)
