"""A small time-stamp authority of the tests: `openssl ts` behind a real HTTP server, with a root and a certificate of its own."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "测试时间戳"
CONFIG = """[tsa]
default_tsa = here
[here]
dir = {folder}
serial = $dir/serial
crypto_device = builtin
signer_cert = $dir/tsa.pem
certs = $dir/root.pem
signer_key = $dir/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = no
ess_cert_id_chain = no
"""


@dataclass(frozen=True)
class Authority:
    """Where it answers, and the root that its tokens chain to (PEM)."""

    url: str
    root: bytes


@contextmanager
def authority(folder: Path, asked: Callable[[], None] = lambda: None) -> Iterator[Authority]:
    """Run the authority; `asked` is called while each query waits for its answer."""
    root = _certificates(folder)
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder), encoding="utf-8")

    def reply(query: bytes) -> bytes:
        asked()
        (folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return (folder / "reply").read_bytes()

    with answering(reply) as url:
        yield Authority(url, root)


@contextmanager
def answering(reply: Callable[[bytes], bytes]) -> Iterator[str]:
    """Answer every query over HTTP with what `reply` makes of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = reply(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _certificates(folder: Path) -> bytes:
    now = datetime.now(UTC)  # noqa: TID251  # openssl's clock is the real one
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME} root")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    found = []
    for name, own, is_root in ((issuer, root_key, True), (subject, key, False)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        )
        if not is_root:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(usage, critical=True)
        found.append(builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "root.pem").write_bytes(found[0])
    (folder / "tsa.pem").write_bytes(found[1])
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "tsa.key").write_bytes(pem)
    return found[0]
