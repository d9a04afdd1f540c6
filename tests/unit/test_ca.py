"""The issuing authority: what its certificates say, and the files it keeps."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from provisioning import ca

NOW = dt.datetime(2026, 8, 1, 3, 0, tzinfo=dt.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> ca.Authority:
    return ca.init_authority(tmp_path / "ca", server_names=["cloud.example", "192.0.2.7"], now=NOW)


def test_secrets_are_readable_by_their_owner_only(authority: ca.Authority) -> None:
    assert authority.folder.stat().st_mode & 0o777 == 0o700
    for name in ("ca.key", "pepper", "server.key", "cloud.key", "workers/ing-0.key"):
        assert (authority.folder / name).stat().st_mode & 0o777 == 0o600, name


def test_a_gateway_certificate_says_who_and_for_what(authority: ca.Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.issue_client(authority, "GW001", key.public_key(), NOW)
    certificate.verify_directly_issued_by(authority.certificate)
    assert certificate.subject.rfc4514_string() == "CN=GW001"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:egw:GW001"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc - NOW == dt.timedelta(days=180)


def test_the_server_certificate_has_every_name_asked_for(authority: ca.Authority) -> None:
    certificate = x509.load_pem_x509_certificate((authority.folder / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["cloud.example", "localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "127.0.0.1", "::1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")


def test_the_revocation_list_names_the_revoked_and_ends_after_7_days(authority: ca.Authority) -> None:
    ca.write_crl(authority, [ca.Revoked(12345, NOW, "keyCompromise")], NOW)
    crl = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert crl.is_signature_valid(authority.key.public_key())
    assert [entry.serial_number for entry in crl] == [12345]
    assert ca.crl_time_left(authority.folder, NOW) == dt.timedelta(days=7)
    assert ca.crl_time_left(authority.folder, NOW + dt.timedelta(days=5, hours=1)) < ca.CRL_ALARM
    first = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    ca.write_crl(authority, [], NOW + dt.timedelta(hours=1))
    later = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert later.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > first


def test_it_opens_again_and_is_never_overwritten(authority: ca.Authority) -> None:
    again = ca.open_authority(authority.folder)
    assert (
        again.fingerprint
        == authority.fingerprint
        == authority.certificate.fingerprint(hashes.SHA256())[:8].hex()
    )
    with pytest.raises(ca.AuthorityExists):
        ca.init_authority(authority.folder, server_names=["other"], now=NOW)
    assert ca.open_authority(authority.folder).pem == authority.pem


def test_a_folder_without_a_whole_ca_is_named(tmp_path: Path, authority: ca.Authority) -> None:
    with pytest.raises(ca.NoAuthority):
        ca.open_authority(tmp_path / "nowhere")
    (authority.folder / "pepper").unlink()
    with pytest.raises(ca.NoAuthority, match="pepper"):
        ca.open_authority(authority.folder)
