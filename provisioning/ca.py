"""The issuing authority: a P-256 root in a folder of its own, certificates, and the revocation list.

Files (folder 0700): `ca.key` and `pepper` (0600, never leave), `ca.crt`, `server.crt`/`server.key` (broker and
enrolment server), `crl.pem`, `cloud.key`/`cloud.pub` (Ed25519, signs acks and commands), `workers/NAME.crt|.key`.
For development and small sites; a large one keeps the root off-line and gives this folder an intermediate.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.errors import Conflict, NotFound
from provisioning.broker import WORKER_NAMES
from provisioning.identity import ca_fingerprint

ROOT_VALID = dt.timedelta(days=3650)
SERVER_VALID = dt.timedelta(days=397)
CLIENT_VALID = dt.timedelta(days=180)
CRL_VALID = dt.timedelta(days=7)
CRL_ALARM = dt.timedelta(hours=48)  # an expired list locks out every gateway
CLOCK_SLACK = dt.timedelta(minutes=5)  # a gateway's clock may be behind ours


class AuthorityExists(Conflict):
    """The folder already holds a CA; overwriting its key would orphan every certificate it has issued."""


class NoAuthority(NotFound):
    """The folder holds no CA, or not a whole one."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """One line of the revocation list."""

    serial_number: int
    at: dt.datetime
    reason: str  # RFC 5280 §5.3.1, e.g. 'keyCompromise', 'superseded', 'cessationOfOperation'


@dataclass(frozen=True, slots=True)
class Authority:
    """An opened CA: it can sign."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    pepper: bytes

    @property
    def fingerprint(self) -> str:
        return ca_fingerprint(self.certificate)

    @property
    def pem(self) -> str:
        return pem_of(self.certificate)


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def init_authority(folder: Path, *, server_names: Sequence[str], now: dt.datetime) -> Authority:
    """Make a new CA with everything a site needs. Raises AuthorityExists."""
    if (folder / "ca.key").exists():
        raise AuthorityExists("ca_exists", folder=str(folder))
    (folder / "workers").mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    root = _root(key, now)
    authority = Authority(folder, root, key, secrets.token_bytes(32))
    write_private(folder / "pepper", authority.pepper)
    command_key = Ed25519PrivateKey.generate()
    write_private(folder / "cloud.key", _private_pem(command_key))
    public = command_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "cloud.pub", public)
    _write(folder / "ca.crt", root.public_bytes(Encoding.PEM))
    issue_server(authority, server_names, now)
    for name in WORKER_NAMES:
        issue_worker(authority, name, now)
    write_crl(authority, (), now)
    write_private(folder / "ca.key", _private_pem(key))  # last: its presence says that the folder is whole
    return authority


def open_authority(folder: Path) -> Authority:
    """Open the CA of a folder. Raises NoAuthority."""
    try:
        key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        pepper = (folder / "pepper").read_bytes()
    except (OSError, ValueError) as problem:
        raise NoAuthority("no_ca", folder=str(folder), problem=str(problem)) from problem
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(folder, certificate, key, pepper)


def issue_server(authority: Authority, names: Sequence[str], now: dt.datetime) -> None:
    """Write `server.key` and `server.crt` for the broker and the enrolment server under these host names."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = [_general_name(name) for name in dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"])]
    certificate = _leaf(
        authority,
        key.public_key(),
        names[0],
        alternatives,
        ExtendedKeyUsageOID.SERVER_AUTH,
        now,
        SERVER_VALID,
    )
    write_private(authority.folder / "server.key", _private_pem(key))
    _write(authority.folder / "server.crt", certificate.public_bytes(Encoding.PEM))


def issue_worker(authority: Authority, name: str, now: dt.datetime) -> None:
    """Write key and certificate of a cloud process that reads the broker."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue_client(authority, name, key.public_key(), now, SERVER_VALID)
    write_private(authority.folder / "workers" / f"{name}.key", _private_pem(key))
    _write(authority.folder / "workers" / f"{name}.crt", certificate.public_bytes(Encoding.PEM))


def issue_client(
    authority: Authority,
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    valid: dt.timedelta = CLIENT_VALID,
) -> x509.Certificate:
    """Sign a client certificate: CN = name, SAN URI urn:egw:name, client authentication only."""
    alternatives = [x509.UniformResourceIdentifier(f"urn:egw:{name}")]
    return _leaf(authority, key, name, alternatives, ExtendedKeyUsageOID.CLIENT_AUTH, now, valid)


def write_crl(authority: Authority, revoked: Sequence[Revoked], now: dt.datetime) -> None:
    """Replace `crl.pem`, valid for 7 days from now. Its number is the time, so it only grows."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - CLOCK_SLACK)
        .next_update(now + CRL_VALID)
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(_authority_key(authority), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(entry.serial_number)
            .revocation_date(entry.at)
            .add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
            .build()
        )
    _write(
        authority.folder / "crl.pem", builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)
    )


def crl_time_left(folder: Path, now: dt.datetime) -> dt.timedelta:
    """Say how long the list is still valid; less than CRL_ALARM needs a person. Raises NoAuthority."""
    try:
        crl = x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())
    except (OSError, ValueError) as problem:
        raise NoAuthority("no_ca", folder=str(folder), problem=str(problem)) from problem
    assert crl.next_update_utc is not None
    return crl.next_update_utc - now


def _root(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Shoudian CA {now:%Y-%m-%d}")])
    return (
        _builder(name, name, key.public_key(), now, ROOT_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    name: str,
    alternatives: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    now: dt.datetime,
    valid: dt.timedelta,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _builder(subject, authority.certificate.subject, key, now, valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority_key(authority), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    valid: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + valid)
    )


def _authority_key(authority: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 that appears whole or not at all."""
    _write(path, content, 0o600)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
