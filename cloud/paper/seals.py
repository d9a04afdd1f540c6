"""Electronic seals: the platform's own authority, and the certificate of each party that signs contracts.

The authority signs seal certificates and nothing else. Where parties have certificates of a licensed authority, theirs
take the place of these: a signature is checked against whatever roots the checker trusts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloud.paper.sign import BadSigner, Signer, signer_from
from cloud.paper.signer import certificate_for, private_pem, subject_name

AUTHORITY_BITS, SEAL_BITS = 3072, 2048
AUTHORITY_YEARS, SEAL_YEARS = 20, 3
NAME_LENGTH_MAX = 64  # ub-common-name of X.520


@dataclass(frozen=True, slots=True)
class Keys:
    """A private key and the certificate of it (PEM), with the certificate's hash and end."""

    key: bytes
    certificate: str
    sha256: str
    valid_until: datetime


def make_authority(name: str, now: datetime, *, key_bits: int = AUTHORITY_BITS) -> Keys:
    """Make the authority: a root certificate of its own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=key_bits)
    subject = subject_name(f"{name} 电子印章根证书")
    return _kept(key, certificate_for(subject, subject, key, key, (now, AUTHORITY_YEARS)))


def make_seal(
    authority: Keys, name: str, identifier: str, now: datetime, *, key_bits: int = SEAL_BITS
) -> Keys:
    """Make a party's seal: a key, and the authority's certificate that names the party.

    Raises BadSigner when the authority cannot be read.
    """
    try:
        root_key = serialization.load_pem_private_key(authority.key, password=None)
        root = x509.load_pem_x509_certificate(authority.certificate.encode())
    except ValueError as error:
        raise BadSigner("bad_signer", file="seal authority", problem=str(error)) from error
    if not isinstance(root_key, rsa.RSAPrivateKey):
        raise BadSigner("bad_signer", file="seal authority", problem="no RSA key")
    key = rsa.generate_private_key(public_exponent=65537, key_size=key_bits)
    parts = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, name[:NAME_LENGTH_MAX]),
        x509.NameAttribute(NameOID.COMMON_NAME, name[:NAME_LENGTH_MAX]),
    ]
    if identifier:
        parts.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, identifier[:NAME_LENGTH_MAX]))
    return _kept(key, certificate_for(x509.Name(parts), root.subject, key, root_key, (now, SEAL_YEARS)))


def opened(seal: Keys, authority_certificate: str) -> Signer:
    """Make a signer of a seal; its signatures carry the authority's certificate. Raises BadSigner."""
    chain = seal.certificate + authority_certificate
    return signer_from(seal.key, chain.encode(), ("party seal", "party seal"))


def _kept(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> Keys:
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Keys(
        private_pem(key), pem, certificate.fingerprint(hashes.SHA256()).hex(), certificate.not_valid_after_utc
    )
