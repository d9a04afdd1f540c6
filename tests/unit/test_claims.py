"""Claim codes, labels, fingerprint words, certificate requests, proofs and the broker's access rules."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from provisioning import identity
from provisioning.broker import WORKER_NAMES, may, mosquitto_acl, mosquitto_conf

NUMBERS = st.integers(0, 32**10 - 1)
PEPPER = b"p" * 32


def test_crockford_examples() -> None:
    """Check symbols by hand: 32 mod 37 = 32 is '*', never given out; 37 mod 37 = 0."""
    assert identity.claim_code(0) == "00000000000"
    assert identity.claim_code(31) == "000000000" + "Z" + "Z"
    assert (
        identity.claim_code(32) == "00000000150"
    )  # 32..36 have awkward check symbols, so 37 = '15', check 0
    assert identity.claim_code(32**10 - 1) == "ZZZZZZZZZZX"  # 2^36 = 1, so 2^50 - 1 = 2^14 - 1 = 29 modulo 37


@given(NUMBERS)
def test_every_code_can_be_typed_back(number: int) -> None:
    code = identity.claim_code(number)
    assert identity.normal_code(code) == code
    typed = identity.spaced_code(code).lower().replace("0", "o").replace("1", "l")
    assert identity.normal_code(f"  {typed} ") == code


@given(NUMBERS, st.integers(0, 10), st.sampled_from(identity.ALPHABET))
def test_one_wrong_character_is_always_noticed(number: int, place: int, other: str) -> None:
    code = identity.claim_code(number)
    wrong = code[:place] + other + code[place + 1 :]
    if wrong != code:
        with pytest.raises(identity.MistypedCode):
            identity.normal_code(wrong)


@given(NUMBERS, st.integers(0, 8))
def test_two_neighbours_swapped_are_always_noticed(number: int, place: int) -> None:
    code = identity.claim_code(number)
    wrong = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if wrong != code:
        with pytest.raises(identity.MistypedCode):
            identity.normal_code(wrong)


@pytest.mark.parametrize("typed", ["", "123", "0" * 12, "UUUUUUUUUUU", "0000000000*", "零" * 11])
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(identity.MistypedCode):
        identity.normal_code(typed)


def test_the_stored_hmac_depends_on_pepper_serial_and_code() -> None:
    code = identity.claim_code(7)
    stored = {
        identity.claim_hmac(pepper, serial, code)
        for pepper in (PEPPER, b"q" * 32)
        for serial in ("GW1", "GW2")
    }
    assert len(stored) == 4
    assert identity.claim_hmac(PEPPER, "GW1", code) != identity.claim_hmac(
        PEPPER, "GW1", identity.claim_code(8)
    )


@pytest.mark.parametrize(
    ("address", "spelled"), [("7f000001", "lusab-babad"), ("3f54dcc1", "gutih-tugad")]
)  # fmt: skip
def test_proquints_of_the_paper(address: str, spelled: str) -> None:
    """D. S. Wilkerson, "A Proposal for Proquints", arXiv:0901.4016, examples: 127.0.0.1, 63.84.220.193, …"""
    assert identity.words(bytes.fromhex(address)) == spelled


def test_a_label_reads_back() -> None:
    label = identity.Label("GW001", identity.claim_code(123456789), "0123456789abcdef")
    text = identity.label_text(label)
    assert text == f"EGW1:GW001:{label.code}:0123456789abcdef"
    assert identity.label_from(f" {text}\n") == label


@pytest.mark.parametrize(
    "text", ["", "EGW2:GW001:00000000000:0123456789abcdef", "EGW1:GW001:00000000000:xyz", "a:b"]
)
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(identity.BadLabel):
        identity.label_from(text)


@pytest.mark.parametrize("serial", ["", "a/b", "a+", "#", "$SYS", "网关", "x" * 33, *WORKER_NAMES])
def test_serials_that_would_give_rights_are_refused(serial: str) -> None:
    with pytest.raises(identity.BadSerial):
        identity.checked_serial(serial)


def request_for(name: x509.Name, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def named(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


P256 = ec.generate_private_key(ec.SECP256R1())


def test_a_good_request_passes() -> None:
    assert (
        identity.checked_request(request_for(named("GW001"), P256), "GW001").public_key() == P256.public_key()
    )


@pytest.mark.parametrize(
    ("pem", "problem"),
    [
        (b"nonsense", "damaged"),
        (request_for(named("GW002"), P256), "subject"),
        (request_for(named("GW001", "GW002"), P256), "subject"),
        (request_for(named(), P256), "subject"),
        (request_for(named("GW001"), ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (request_for(named("GW001"), rsa.generate_private_key(65537, 2048)), "P-256"),
    ],
)
def test_a_bad_request_says_what_is_wrong(pem: bytes, problem: str) -> None:
    with pytest.raises(identity.BadRequest) as told:
        identity.checked_request(pem, "GW001")
    assert problem in str(told.value.facts["problem"])


def test_a_request_changed_after_signing_is_refused() -> None:
    der = x509.load_pem_x509_csr(request_for(named("GW001"), P256)).public_bytes(Encoding.DER)
    forged = x509.load_der_x509_csr(der.replace(b"GW001", b"GW009")).public_bytes(Encoding.PEM)
    with pytest.raises(identity.BadRequest) as told:
        identity.checked_request(forged, "GW009")
    assert told.value.facts["problem"] == "signature"


def test_a_nonce_is_ours_for_ten_minutes() -> None:
    nonce = identity.nonce_from(PEPPER, 1_000_000, b"s" * 16)
    assert identity.is_fresh(PEPPER, nonce, 1_000_000)
    assert identity.is_fresh(PEPPER, nonce, 1_000_600)
    assert not identity.is_fresh(PEPPER, nonce, 1_000_601)
    assert not identity.is_fresh(PEPPER, nonce, 999_999)
    assert not identity.is_fresh(b"q" * 32, nonce, 1_000_000)
    for wrong in ("", "zz", nonce[:-2], nonce[:-1] + ("0" if nonce[-1] != "0" else "1")):
        assert not identity.is_fresh(PEPPER, wrong, 1_000_000)


def test_a_proof_holds_for_its_nonce_serial_and_request_only() -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    proof = key.sign(identity.proof_message("n1", "GW001", b"csr"))
    identity.check_proof(public, proof, identity.proof_message("n1", "GW001", b"csr"))
    for message in (("n2", "GW001", b"csr"), ("n1", "GW002", b"csr"), ("n1", "GW001", b"other")):
        with pytest.raises(identity.BadProof):
            identity.check_proof(public, proof, identity.proof_message(*message))
    with pytest.raises(identity.BadProof):
        identity.check_proof(b"\0" * 32, proof, identity.proof_message("n1", "GW001", b"csr"))


@pytest.mark.parametrize(
    ("name", "deed", "topic", "allowed"),
    [
        ("GW001", "write", "up/v1/GW001/b/0", True),
        ("GW001", "write", "up/v1/GW002/b/0", False),
        ("GW001", "write", "up/v1/GW001", False),
        ("GW001", "write", "down/v1/GW001/ack", False),
        ("GW001", "read", "down/v1/GW001/ack", True),
        ("GW001", "read", "down/v1/GW002/ack", False),
        ("GW001", "read", "up/v1/+/b/#", False),
        ("GW001", "read", "#", False),
        ("GW001", "read", "sys/v1/time", True),
        ("GW001", "write", "sys/v1/time", False),
        ("GW00", "write", "up/v1/GW001/b/0", False),
        ("ing-0", "read", "up/v1/+/b/#", True),
        ("ing-0", "read", "$share/ing/up/v1/+/b/#", True),
        ("ing-0", "read", "$share/ops/up/v1/+/hello", True),
        ("ing-0", "write", "down/v1/GW001/ack", True),
        ("ing-0", "write", "up/v1/GW001/b/0", False),
        ("ing-9", "read", "up/v1/+/b/#", False),
    ],
)
def test_rights(name: str, deed: str, topic: str, allowed: bool) -> None:
    assert may(name, deed, topic) is allowed


def test_every_setting_that_identity_rests_on_is_in_the_configuration() -> None:
    text = mosquitto_conf(port=8883)
    for line in (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "crlfile crl.pem",
        "tls_version tlsv1.3",
        "allow_anonymous false",
        "max_packet_size 131072",
    ):
        assert line in text.splitlines()
    assert "pattern write up/v1/%u/#" in mosquitto_acl().splitlines()
