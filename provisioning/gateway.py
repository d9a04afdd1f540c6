"""Shell, on the gateway: make the keys here, ask for an identity, write it and agent.toml. The keys never leave.

Needs only what an edge device has (no HTTP library). The first question is asked of a server that cannot be checked yet;
its answer counts only because the CA in it has the fingerprint from the label, and the claim code is sent after that.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from cryptography.x509.oid import NameOID

from cloud.errors import Conflict, Invalid, Refused, Unavailable
from provisioning.ca import write_private
from provisioning.identity import Label, ca_fingerprint, key_words, proof_message

WAIT_S = 20.0
CLOCK_APART_MAX = dt.timedelta(minutes=5)
ANSWER_BYTES_MAX = 65_536


class Unreachable(Unavailable):
    """The enrolment server does not answer."""


class ClockWrong(Invalid):
    """Our clock and the server's differ so much that certificates would not be valid."""


class WrongServer(Invalid):
    """The server's CA is not the label's, the address is not https, or the answer is not an enrolment server's."""


class KeyExists(Conflict):
    """The folder belongs to a gateway that is enrolled already, or its keys are no longer secret."""


class FileTrouble(Unavailable):
    """A file cannot be read or written."""


class Turned(Refused):
    """The server refused; it said why in both languages."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What was written, to be shown."""

    gateway_id: str
    epoch: int
    key_words: str
    folder: Path
    certificate_until: dt.datetime


def enrol_here(url: str, label: Label, folder: Path, clock: Callable[[], dt.datetime]) -> Enrolled:
    """Enrol this machine as `label.serial` and fill `folder` (0700) with keys, certificates and agent.toml.

    Safe to repeat after a failure: keys made before are used again. Raises the classes above.
    """
    url = url.rstrip("/")
    if not url.startswith("https://"):
        raise WrongServer("not_https", url=url)
    signing_key, tls_key = _keys(folder)
    hello, ca = _hello(url, label, clock)
    csr = _request(label.serial, tls_key)
    message = proof_message(hello["nonce"], label.serial, csr)
    body = {
        "serial": label.serial,
        "claim": label.code,
        "nonce": hello["nonce"],
        "csr": csr.decode(),
        "sign_pub": _raw_public(signing_key).hex(),
        "proof": signing_key.sign(message).hex(),
    }
    answer = _call(f"{url}/prov/v1/enroll", ssl.create_default_context(cadata=_pem(ca)), body)
    try:
        certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
        broker = answer["brokers"][0]
        text = agent_toml(
            answer["gateway_id"], int(answer["epoch"]), str(broker["host"]), int(broker["port"])
        )
        if certificate.public_key() != tls_key.public_key():
            raise WrongServer("odd_answer", url=url, problem="the certificate is for another key")
        _write_identity(folder, answer, ca, text)
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        raise WrongServer("odd_answer", url=url, problem=repr(problem)) from problem
    words = key_words(_raw_public(signing_key))
    return Enrolled(label.serial, int(answer["epoch"]), words, folder, certificate.not_valid_after_utc)


def agent_toml(gateway_id: str, epoch: int, host: str, port: int) -> str:
    """Write the configuration of the agent with identity and broker filled in; ports and meters are still to come."""
    return f"""# 由 shoudian-provision enrol 写入 / written by shoudian-provision enrol
gateway_id = {json.dumps(gateway_id)}
data_dir = "data"                      # 相对于本文件 / relative to this file

[identity]                             # 私钥只在本机 / the private keys exist on this machine only
signing_key = "signing.key"
certificate = "tls.crt"
tls_key = "tls.key"
ca = "ca.crt"
cloud_public_key = "cloud.pub"
epoch = {epoch}

[broker]
host = {json.dumps(host)}
port = {port}
tls = true
mqtt_version = 5

[poll]
seal_every_s = 900
live_every_s = 5

# 下面填写串口/网口与电表 / next: the lines and the meters on them, for example
# [[port]]
# name = "rs485-1"
# url = "serial:///dev/ttyUSB0?baud=2400&parity=E"
#
# [[meter]]
# meter_id = "M0001"
# port = "rs485-1"
# profile = "cn.generic.dlt645-2007.3p4w"
# address = "000000000001"
"""


def _keys(folder: Path) -> tuple[Ed25519PrivateKey, ec.EllipticCurvePrivateKey]:
    """Make the two private keys, or take those of an attempt that failed. Raises KeyExists, FileTrouble."""
    if (folder / "agent.toml").exists():
        raise KeyExists("key_exists", path=str(folder / "agent.toml"))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        signing = _key(folder / "signing.key", Ed25519PrivateKey.generate)
        tls = _key(folder / "tls.key", lambda: ec.generate_private_key(ec.SECP256R1()))
    except (OSError, ValueError) as problem:
        path = getattr(problem, "filename", None) or folder
        text = getattr(problem, "strerror", None) or str(problem)
        raise FileTrouble("file_trouble", path=str(path), problem=text) from problem
    if not isinstance(signing, Ed25519PrivateKey) or not isinstance(tls, ec.EllipticCurvePrivateKey):
        raise FileTrouble("file_trouble", path=str(folder), problem="keys of another kind")
    return signing, tls


def _key(path: Path, make: Callable[[], Ed25519PrivateKey | ec.EllipticCurvePrivateKey]) -> object:
    if path.exists():
        if path.stat().st_mode & 0o077:
            raise KeyExists("key_open", path=str(path))
        return load_pem_private_key(path.read_bytes(), None)
    key = make()
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _hello(
    url: str, label: Label, clock: Callable[[], dt.datetime]
) -> tuple[dict[str, Any], x509.Certificate]:
    """Ask for a nonce and the CA; believe neither before the CA's fingerprint and the clock fit."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    hello = _call(f"{url}/prov/v1/hello", unchecked, None)
    try:
        ca = x509.load_pem_x509_certificate(str(hello["ca"]).encode())
        there = dt.datetime.fromisoformat(str(hello["now"]))
        hello["nonce"].encode()
    except (KeyError, ValueError, AttributeError) as problem:
        raise WrongServer("odd_answer", url=url, problem=repr(problem)) from problem
    if ca_fingerprint(ca) != label.ca_fingerprint:
        raise WrongServer("wrong_ca", found=ca_fingerprint(ca), expected=label.ca_fingerprint)
    here = clock()
    apart = abs(here - there)
    if apart > CLOCK_APART_MAX:
        raise ClockWrong(
            "clock_wrong",
            here=here.isoformat(timespec="seconds"),
            there=there.isoformat(timespec="seconds"),
            seconds=int(apart.total_seconds()),
        )
    return hello, ca


def _call(url: str, context: ssl.SSLContext, body: dict[str, str] | None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S, context=context) as response:
            content = response.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as problem:
        with problem:
            raise _refusal(url, problem.read(ANSWER_BYTES_MAX), problem.code) from problem
    except urllib.error.URLError as problem:
        raise Unreachable("unreachable", url=url, problem=str(problem.reason)) from problem
    except (OSError, http.client.HTTPException) as problem:
        raise Unreachable("unreachable", url=url, problem=str(problem) or type(problem).__name__) from problem
    try:
        answer: dict[str, Any] = dict(json.loads(content))
    except ValueError as problem:
        raise WrongServer("odd_answer", url=url, problem="not JSON") from problem
    return answer


def _refusal(url: str, content: bytes, status: int) -> Refused:
    try:
        told = json.loads(content)
        return Turned(str(told["error"]), zh=str(told["zh"]), en=str(told["en"]))
    except (ValueError, KeyError, TypeError):
        return WrongServer("odd_answer", url=url, problem=f"HTTP {status}")


def _request(serial: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def _raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _write_identity(folder: Path, answer: dict[str, Any], ca: x509.Certificate, text: str) -> None:
    """agent.toml comes last: its presence says that the folder is whole."""
    try:
        write_private(folder / "tls.crt", answer["certificate"].encode())
        write_private(folder / "ca.crt", _pem(ca).encode())
        write_private(folder / "cloud.pub", answer["cloud_public_key"].encode())
        (folder / "data").mkdir(mode=0o700, exist_ok=True)
        write_private(folder / "agent.toml", text.encode())
        os.sync()
    except OSError as problem:
        raise FileTrouble(
            "file_trouble", path=str(problem.filename or folder), problem=str(problem.strerror)
        ) from problem
