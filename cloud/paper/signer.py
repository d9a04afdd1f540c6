"""A signing key of our own: a root and a signer certificate, for who has no certificate authority.

The root's key signs one certificate and is needed again only to renew it: keep it away from the machine that prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloud.errors import Conflict

KEY_BITS = 3072
ROOT_YEARS, SIGNER_YEARS = 20, 5
FILES = ("root.key", "root.pem", "signer.key", "signer.pem")
_CLOCKS_APART = timedelta(hours=1)


class SignerExists(Conflict):
    """The folder holds a signer already; a key is never overwritten."""


@dataclass(frozen=True, slots=True)
class MadeSigner:
    """Where the files are, and the fingerprint to publish."""

    folder: Path
    root_sha256: str
    valid_until: datetime


def make_signer(folder: Path, name: str, now: datetime, *, key_bits: int = KEY_BITS) -> MadeSigner:
    """Make a root and a signer in a folder. Raises SignerExists, OSError.

    Private keys are readable by the owner alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = [each for each in FILES if (folder / each).exists()]
    if there:
        raise SignerExists("signer_exists", file=folder / there[0])
    root_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=key_bits) for _ in range(2))
    root_name = subject_name(f"{name} 根证书 / root")
    root = certificate_for(root_name, root_name, root_key, root_key, (now, ROOT_YEARS))
    signer = certificate_for(subject_name(name), root_name, key, root_key, (now, SIGNER_YEARS))
    _write(folder / "root.key", private_pem(root_key), mode=0o600)
    _write(folder / "signer.key", private_pem(key), mode=0o600)
    pem = root.public_bytes(serialization.Encoding.PEM)
    _write(folder / "root.pem", pem, mode=0o644)
    _write(folder / "signer.pem", signer.public_bytes(serialization.Encoding.PEM) + pem, mode=0o644)
    return MadeSigner(folder, root.fingerprint(hashes.SHA256()).hex(), signer.not_valid_after_utc)


def certificate_for(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    issuer_key: rsa.RSAPrivateKey,
    life: tuple[datetime, int],
) -> x509.Certificate:
    """Make a certificate of a key, `life` from an instant for so many years; a root is its own issuer."""
    is_root = subject == issuer
    since, years = life
    usage = {
        "digital_signature": not is_root,
        "content_commitment": not is_root,
        "key_cert_sign": is_root,
        "crl_sign": is_root,
    }
    others = ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - _CLOCKS_APART)
        .not_valid_after(since + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False)), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


def subject_name(common_name: str) -> x509.Name:
    """Name a subject; X.509 takes 64 characters of a name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, common_name[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """Write a key as PEM, without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(content)
