"""A message broker of our own for the demonstration and the tests, gone when we are gone.

mosquitto when it is on the machine (MQTT 5, access list, revocation list), else the pip broker amqtt (MQTT 3.1.1; the
same identities and rights, no revocation list, no shared subscriptions: good enough to look at the system, not for
production). Nothing in the protocol may depend on which one it is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from demo.broker_guard import Order, find_mosquitto
from demo.guard import Trouble, Watch
from provisioning.broker import WORKER_NAMES, mosquitto_acl, mosquitto_conf, plain_conf

__all__ = ["Broker", "BrokerPki", "Trouble", "find_mosquitto", "running_broker", "start_broker"]


@dataclass(frozen=True, slots=True)
class BrokerPki:
    """PEM texts that let the broker know itself and its clients; made by `shoudian-provision ca init`."""

    ca: str
    certificate: str
    key: str
    crl: str

    @classmethod
    def from_folder(cls, folder: Path) -> BrokerPki:
        """Read what `provisioning.ca` keeps in its folder."""
        names = ("ca.crt", "server.crt", "server.key", "crl.pem")
        return cls(*((folder / name).read_text(encoding="ascii") for name in names))


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker and how to reach it."""

    folder: Path
    host: str
    port: int
    kind: str  # 'mosquitto' | 'amqtt'
    mqtt_version: int  # the newest it speaks: 5 or 3 (3.1.1)
    way: str
    watch: Watch

    @property
    def pid(self) -> int:
        """The server's process id now; the guard starts another one when it dies."""
        return int((self.folder / "pid").read_text())

    def put(self, files: Mapping[str, str]) -> None:
        """Replace files of the configuration, e.g. `crl.pem`, without telling the server."""
        self.watch.command(put=dict(files))

    def reload(self) -> None:
        """Have the server read its files again (SIGHUP). Live connections stay, whoever is revoked."""
        self.watch.command(reload=True)

    def stop(self) -> None:
        """Stop the server and wait for it; safe to call twice."""
        self.watch.close()


def start_broker(
    folder: Path,
    *,
    port: int,
    pki: BrokerPki | None,
    workers: Sequence[str] = WORKER_NAMES,
    kind: str = "auto",
    way: str = "auto",
) -> Broker:
    """Start a broker on 127.0.0.1 with mutual TLS, or without any identity when `pki` is None (tests only).

    `kind` is 'auto', 'mosquitto' or 'amqtt'; `way` as in `demo.unprivileged`. Raises Trouble.
    """
    mosquitto = find_mosquitto()
    if kind == "mosquitto" and mosquitto is None:
        raise Trouble("未安装 mosquitto / mosquitto is not installed: apt-get install mosquitto")
    program = "amqtt" if kind == "amqtt" or mosquitto is None else str(mosquitto)
    folder = folder.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as trouble:
        raise Trouble(f"{trouble.filename}: {trouble.strerror}") from trouble
    watch = Watch(
        "demo.broker_guard", asdict(Order(str(folder), program, port, _files(port, pki, workers), way))
    )
    fact = watch.first_fact()
    short, version = ("amqtt", 3) if program == "amqtt" else ("mosquitto", 5)
    return Broker(folder, "127.0.0.1", port, short, version, str(fact["way"]), watch)


@contextlib.contextmanager
def running_broker(
    folder: Path,
    *,
    port: int,
    pki: BrokerPki | None,
    workers: Sequence[str] = WORKER_NAMES,
    kind: str = "auto",
    way: str = "auto",
) -> Iterator[Broker]:
    """Lend a broker for the time of a `with`; arguments as for `start_broker`."""
    broker = start_broker(folder, port=port, pki=pki, workers=workers, kind=kind, way=way)
    try:
        yield broker
    finally:
        broker.stop()


def _files(port: int, pki: BrokerPki | None, workers: Sequence[str]) -> dict[str, str]:
    amqtt = json.dumps({"port": port, "tls": pki is not None, "workers": list(workers)})
    if pki is None:
        return {"mosquitto.conf": plain_conf(port=port), "amqtt.json": amqtt}
    return {
        "mosquitto.conf": mosquitto_conf(port=port, bind="127.0.0.1"),
        "acl": mosquitto_acl(workers),
        "ca.crt": pki.ca,
        "server.crt": pki.certificate,
        "server.key": pki.key,
        "crl.pem": pki.crl,
        "amqtt.json": amqtt,
    }
