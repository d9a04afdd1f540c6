"""Shell: end a gateway's live connection. A revocation list alone does not: the broker keeps who is already in.

The broker takes the client id from the certificate and lets a second connection of an id replace the first. So the CA
makes a certificate of that name which lives for minutes and stays in a temporary folder, connects, and leaves.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import threading
from pathlib import Path

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.errors import Unavailable
from provisioning.ca import Authority, issue_client, pem_of, write_private

CERTIFICATE_VALID = dt.timedelta(minutes=5)
CONNECT_WAIT_S = 10.0


class KickFailed(Unavailable):
    """The broker did not let us in, so the gateway may still be connected."""


def kick(authority: Authority, serial: str, host: str, port: int, *, now: dt.datetime) -> None:
    """Take the gateway's place at the broker for a moment. Raises KickFailed."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue_client(authority, serial, key.public_key(), now, CERTIFICATE_VALID)
    with tempfile.TemporaryDirectory() as name:
        key_file, certificate_file = Path(name, "key"), Path(name, "crt")
        write_private(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        write_private(certificate_file, pem_of(certificate).encode())
        client = mqtt.Client(CallbackAPIVersion.VERSION2, serial, protocol=MQTTProtocolVersion.MQTTv311)
        client.tls_set(str(authority.folder / "ca.crt"), str(certificate_file), str(key_file))
    _visit(client, host, port)


def _visit(client: mqtt.Client, host: str, port: int) -> None:
    arrived = threading.Event()
    client.on_connect = lambda client, userdata, flags, code, properties: (
        None if code.is_failure else arrived.set()
    )
    try:
        client.connect(host, port)
    except OSError as problem:
        raise KickFailed("kick_failed", problem=str(problem)) from problem
    client.loop_start()
    try:
        if not arrived.wait(CONNECT_WAIT_S):
            raise KickFailed("kick_failed", problem="not accepted by the broker")
    finally:
        client.disconnect()
        client.loop_stop()
