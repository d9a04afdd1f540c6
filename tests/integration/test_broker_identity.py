"""What identity at the broker rests on, fact by fact, against a real mosquitto with the configuration we ship.

Each fact is a row of the table in `edge-cloud-pipeline` §5.3. What may not be delivered is looked for where it would
arrive, because mosquitto answers a denied SUBSCRIBE with *granted*.
"""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from demo.broker import Broker, BrokerPki, running_broker
from provisioning import ca
from provisioning.kick import kick

DAY = dt.timedelta(days=1)
SILENCE_S = 0.6  # how long we listen before we say that nothing came


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)  # noqa: TID251  # TLS looks at the real clock


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init_authority(tmp_path_factory.mktemp("pki") / "ca", server_names=["localhost"], now=now())


@pytest.fixture(params=["mosquitto"])
def broker(
    request: pytest.FixtureRequest,
    authority: ca.Authority,
    tmp_path: Path,
    free_port: Callable[[], int],
    program: Callable[[str], Path],
) -> Iterator[Broker]:
    """A broker with mutual TLS and a fresh, empty revocation list."""
    if request.param == "mosquitto":
        program("mosquitto")
    ca.write_crl(authority, (), now())
    pki = BrokerPki.from_folder(authority.folder)
    with running_broker(tmp_path / "broker", port=free_port(), pki=pki, kind=request.param) as broker:
        yield broker


both_brokers = pytest.mark.parametrize("broker", ["mosquitto", "amqtt"], indirect=True)


@dataclass
class Client:
    """A client with everything that happened to it."""

    mqtt: mqtt.Client
    codes: list[str] = field(default_factory=list)  # of CONNACK
    lost: list[str] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    puback: list[str] = field(default_factory=list)
    granted: list[list[str]] = field(default_factory=list)
    problem: str = ""

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.mqtt.publish(topic, payload, qos=1, retain=retain)

    def listen(self, topic: str) -> None:
        before = len(self.granted)
        self.mqtt.subscribe(topic, qos=1)
        assert eventually(lambda: len(self.granted) > before)


Connect = Callable[..., Client]


@pytest.fixture
def connect(authority: ca.Authority, broker: Broker, tmp_path: Path) -> Iterator[Connect]:
    """Give a function that connects under a name, with a certificate of our CA unless told otherwise."""
    made: list[mqtt.Client] = []

    def connect_as(name: str, **how: Any) -> Client:
        client = Client(_client(authority, broker, tmp_path, name, len(made), **how))
        made.append(client.mqtt)
        client.mqtt.user_data_set(client)
        try:
            client.mqtt.connect(broker.host, broker.port)
        except OSError as problem:
            client.problem = str(problem)
            return client
        client.mqtt.loop_start()
        eventually(lambda: bool(client.codes or client.lost or client.problem), 5)
        return client

    yield connect_as
    for client in made:
        client.disconnect()
        client.loop_stop()
        client.user_data_set(None)  # no cycle, so that paho closes its own sockets at once


def _client(
    authority: ca.Authority,
    broker: Broker,
    folder: Path,
    name: str,
    number: int,
    *,
    client_id: str | None = None,
    username: str | None = None,
    certificate: bytes | None = None,
    private: bytes | None = None,
    anonymous: bool = False,
) -> mqtt.Client:
    version = MQTTProtocolVersion.MQTTv5 if broker.mqtt_version == 5 else MQTTProtocolVersion.MQTTv311
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id or name, protocol=version, reconnect_on_failure=False
    )
    files: tuple[str | None, str | None] = (None, None)
    if not anonymous:
        if certificate is None or private is None:
            certificate, private = issued(authority, name)
        paths = folder / f"{number}.crt", folder / f"{number}.key"
        paths[0].write_bytes(certificate)
        paths[1].write_bytes(private)
        files = str(paths[0]), str(paths[1])
    client.tls_set(str(authority.folder / "ca.crt"), *files)
    if username is not None:
        client.username_pw_set(username, "x")
    client.on_connect = lambda c, me, flags, code, properties: me.codes.append(code.getName())
    client.on_disconnect = lambda c, me, flags, code, properties: me.lost.append(code.getName())
    client.on_message = lambda c, me, message: me.heard.append((message.topic, bytes(message.payload)))
    client.on_publish = lambda c, me, mid, code, properties: me.puback.append(code.getName())
    client.on_subscribe = lambda c, me, mid, codes, properties: me.granted.append(
        [c.getName() for c in codes]
    )
    return client


def issued(
    authority: ca.Authority,
    name: str,
    *,
    at: dt.datetime | None = None,
    valid: dt.timedelta = DAY,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> tuple[bytes, bytes]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    certificate = ca.issue_client(authority, name, key.public_key(), at or now(), valid)
    return ca.pem_of(certificate).encode(), pem_of_key(key)


def pem_of_key(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def eventually(claim: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if claim():
            return True
        time.sleep(0.02)
    return False


def is_in(client: Client) -> bool:
    return client.codes == ["Success"] and not client.lost


def is_out(client: Client) -> bool:
    """Tell whether the client was refused: by TLS (an error, or a connection that ends), or by CONNACK."""
    return eventually(
        lambda: bool(client.problem or client.lost or (client.codes and client.codes[0] != "Success"))
    )


@both_brokers
def test_a_gateway_speaks_to_the_cloud_and_hears_only_its_own_answers(connect: Connect) -> None:
    cloud, first, second = connect("ing-0"), connect("GW001"), connect("GW002")
    cloud.listen("up/v1/+/b/#")
    cloud.listen("up/v1/+/hello")
    first.listen("down/v1/GW001/ack")
    first.listen("down/v1/GW002/ack")  # answered with granted by mosquitto
    first.listen("up/v1/+/b/#")
    second.listen("down/v1/GW002/ack")
    first.publish("up/v1/GW001/b/0", b"batch")
    first.publish("up/v1/GW001/hello", b"hello")
    cloud.publish("down/v1/GW001/ack", b"for one")
    cloud.publish("down/v1/GW002/ack", b"for two")
    assert eventually(lambda: len(cloud.heard) == 2 and len(first.heard) == 1 and len(second.heard) == 1)
    time.sleep(SILENCE_S)
    assert sorted(cloud.heard) == [("up/v1/GW001/b/0", b"batch"), ("up/v1/GW001/hello", b"hello")]
    assert first.heard == [("down/v1/GW001/ack", b"for one")]
    assert second.heard == [("down/v1/GW002/ack", b"for two")]


@both_brokers
def test_a_foreign_publish_reaches_nobody(connect: Connect) -> None:
    cloud, thief = connect("ing-0"), connect("GW002")
    cloud.listen("up/v1/+/b/#")
    thief.publish("up/v1/GW001/b/0", b"forged")
    thief.publish("down/v1/GW001/ack", b"forged", retain=True)
    thief.publish("up/v1/GW002/b/0", b"own")
    assert eventually(lambda: bool(cloud.heard))
    time.sleep(SILENCE_S)
    assert cloud.heard == [("up/v1/GW002/b/0", b"own")]
    victim = connect("GW001")
    victim.listen("down/v1/GW001/ack")
    time.sleep(SILENCE_S)
    assert victim.heard == []


def test_a_foreign_publish_is_answered_not_authorized(connect: Connect) -> None:
    thief = connect("GW002")
    thief.publish("up/v1/GW001/b/0", b"forged")
    assert eventually(lambda: bool(thief.puback))
    assert thief.puback == ["Not authorized"]


def test_a_denied_subscribe_is_answered_granted(connect: Connect) -> None:
    """The fact because of which all these tests look for non-delivery."""
    client = connect("GW001")
    client.listen("down/v1/GW002/#")
    assert client.granted == [["Granted QoS 1"]]


def test_nobody_may_call_himself_somebody_else(connect: Connect) -> None:
    """The client id in CONNECT is overridden: without `use_username_as_clientid` GW001 would be thrown off here."""
    victim = connect("GW001")
    victim.listen("down/v1/GW001/cmd")
    thief = connect("GW002", client_id="GW001", username="GW001")
    assert is_in(thief)
    thief.listen("down/v1/GW001/cmd")
    thief.publish("up/v1/GW001/b/0", b"forged")
    assert eventually(lambda: thief.puback == ["Not authorized"])
    connect("ing-0").publish("down/v1/GW001/cmd", b"secret")
    assert eventually(lambda: bool(victim.heard))
    time.sleep(SILENCE_S)
    assert thief.heard == []
    assert is_in(victim)


@pytest.mark.parametrize("broker", ["amqtt"], indirect=True)
def test_amqtt_refuses_who_calls_himself_somebody_else(connect: Connect) -> None:
    victim = connect("GW001")
    assert is_out(connect("GW002", client_id="GW001"))
    assert is_in(victim)


@both_brokers
def test_nobody_enters_without_a_certificate(connect: Connect) -> None:
    assert is_out(connect("GW001", anonymous=True, username="ing-0"))


@both_brokers
def test_a_certificate_of_another_ca_is_refused(connect: Connect, tmp_path: Path) -> None:
    other = ca.init_authority(tmp_path / "other", server_names=["localhost"], now=now())
    certificate, private = issued(other, "GW001")
    assert is_out(connect("GW001", certificate=certificate, private=private))


@both_brokers
def test_an_expired_certificate_is_refused(connect: Connect, authority: ca.Authority) -> None:
    certificate, private = issued(authority, "GW001", at=now() - 2 * DAY, valid=DAY)
    assert is_out(connect("GW001", certificate=certificate, private=private))
    assert is_in(connect("GW001"))


def test_the_server_certificate_is_no_client_certificate(connect: Connect, authority: ca.Authority) -> None:
    pki = BrokerPki.from_folder(authority.folder)
    assert is_out(connect("localhost", certificate=pki.certificate.encode(), private=pki.key.encode()))


def revoke(authority: ca.Authority, broker: Broker, certificate: bytes) -> None:
    from cryptography import x509

    serial = x509.load_pem_x509_certificate(certificate).serial_number
    ca.write_crl(authority, [ca.Revoked(serial, now(), "keyCompromise")], now())
    broker.put({"crl.pem": (authority.folder / "crl.pem").read_text()})
    broker.reload()
    time.sleep(0.3)


def test_a_revoked_certificate_stays_connected_until_kicked_and_never_returns(
    connect: Connect, authority: ca.Authority, broker: Broker
) -> None:
    certificate, private = issued(authority, "GW001")
    client = connect("GW001", certificate=certificate, private=private)
    assert is_in(client)
    revoke(authority, broker, certificate)
    time.sleep(SILENCE_S)
    assert is_in(client)  # the reload alone keeps live connections
    kick(authority, "GW001", broker.host, broker.port, now=now())
    assert eventually(lambda: bool(client.lost))
    assert is_out(connect("GW001", certificate=certificate, private=private))
    assert is_in(connect("GW002"))


def test_an_expired_revocation_list_locks_out_everybody(
    connect: Connect, authority: ca.Authority, broker: Broker
) -> None:
    """Why the list is renewed hourly and a list with less than 48 h left is an alarm."""
    assert is_in(connect("GW001"))
    ca.write_crl(authority, (), now() - 8 * DAY)
    broker.put({"crl.pem": (authority.folder / "crl.pem").read_text()})
    broker.reload()
    time.sleep(0.3)
    assert is_out(connect("GW002"))
    ca.write_crl(authority, (), now())
    broker.put({"crl.pem": (authority.folder / "crl.pem").read_text()})
    broker.reload()
    time.sleep(0.3)
    assert is_in(connect("GW002"))


def test_a_packet_over_the_limit_is_not_taken(connect: Connect) -> None:
    cloud, client = connect("ing-0"), connect("GW001")
    cloud.listen("up/v1/+/b/#")
    client.publish("up/v1/GW001/b/0", b"x" * 98_304)  # the largest batch
    assert eventually(lambda: len(cloud.heard) == 1)
    client.publish("up/v1/GW001/b/0", b"x" * 140_000)
    assert eventually(lambda: bool(client.lost))
    assert len(cloud.heard) == 1


def test_workers_share_the_uplink(connect: Connect) -> None:
    """mosquitto 2.0 looks at the filter behind `$share/…/`; the list names both forms for brokers that do not."""
    one, two, gateway = connect("ing-0"), connect("ing-1"), connect("GW001")
    for worker in (one, two):
        worker.listen("$share/ing/up/v1/+/b/#")
    ops = connect("ing-2")
    ops.listen("$share/ops/up/v1/+/state")
    for number in range(20):
        gateway.publish("up/v1/GW001/b/0", b"%d" % number)
    gateway.publish("up/v1/GW001/state", b"online")
    assert eventually(lambda: len(one.heard) + len(two.heard) == 20 and len(ops.heard) == 1)
    assert {payload for _, payload in one.heard + two.heard} == {b"%d" % number for number in range(20)}
    assert one.heard
    assert two.heard


def test_only_tls_1_3_is_spoken(broker: Broker, authority: ca.Authority) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the program openssl is not installed on this machine")
    worker = authority.folder / "workers"
    for version, agreed in (("-tls1_2", False), ("-tls1_3", True)):
        done = subprocess.run(
            [openssl, "s_client", version, "-connect", f"{broker.host}:{broker.port}", "-CAfile",
             str(authority.folder / "ca.crt"), "-cert", str(worker / "ing-0.crt"), "-key", str(worker / "ing-0.key")],
            input=b"", capture_output=True, timeout=20, check=False,
        )  # fmt: skip
        assert (b"Cipher is (NONE)" not in done.stdout) is agreed
