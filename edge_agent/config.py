"""agent.toml → `AgentConfig`: read once, checked whole, refused with file, key and what is allowed.

gateway_id = "GW001"
data_dir = "data"                    # folder of the store; relative paths are relative to this file
[identity]
signing_key = "signing.key"          # Ed25519, PEM; signs every batch
cloud_public_key = "cloud.pub"       # Ed25519, PEM; acks are believed only from this key
certificate = "tls.crt"              # with tls_key and ca: needed when broker.tls is true
tls_key = "tls.key"
ca = "ca.crt"
[broker]
host = "127.0.0.1"
port = 8883
tls = true
mqtt_version = 5                     # 5, or 3 (3.1.1) for brokers that know no better
[poll]
seal_every_s = 900                   # 900 to 86400, a multiple of 900
live_every_s = 5                     # 0 = no live values
detail_every_s = 900                 # power, voltages, currents kept with the quarter-hour; 0 = none
[store]
disk_mb = 1024
keep_acked_days = 30
[[port]]
name = "rs485-1"
url = "serial:///dev/ttyUSB0?baud=2400&parity=E"
[[meter]]
meter_id = "M0001"
port = "rs485-1"
profile = "cn.generic.dlt645-2007.3p4w"
address = "000000000001"
"""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from edge_agent.wire.fields import EPOCH_MAX, GATEWAY_ID, METER_ID

QUARTER_HOUR_S: Final = 900
METERS_MAX: Final = 512


class BadConfig(Exception):
    """The configuration cannot be used; says file, key and what is allowed."""

    def __init__(self, file: Path, key: str, problem: str) -> None:
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")
        self.file, self.key, self.problem = file, key, problem


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Where the broker is and how to speak to it. Paths are needed only with TLS."""

    host: str
    port: int
    tls: bool
    mqtt_version: int
    certificate: Path | None
    tls_key: Path | None
    ca: Path | None


@dataclass(frozen=True, slots=True)
class PollConfig:
    """How often what is read, kept and sealed."""

    seal_every_s: int
    live_every_s: int
    detail_every_s: int


@dataclass(frozen=True, slots=True)
class PortConfig:
    """One physical line."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """One meter on a line."""

    meter_id: str
    port: str
    profile: str
    address: str


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything an agent is told. Made by `load_config`, or directly by tests and the demonstration."""

    file: Path
    gateway_id: str
    data_dir: Path
    signing_key: Path
    cloud_public_key: Path
    broker: BrokerConfig
    poll: PollConfig
    disk_bytes_max: int
    keep_acked_days: int
    ports: tuple[PortConfig, ...]
    meters: tuple[MeterConfig, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys and TLS settings as read from the files that the configuration names."""

    signing: Ed25519PrivateKey
    cloud: Ed25519PublicKey
    tls: ssl.SSLContext | None


def load_config(file: Path) -> AgentConfig:
    """Read and check agent.toml. Raises BadConfig."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Windows editors put a mark first
    except OSError as error:
        raise BadConfig(file, "", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(file, "", f"not TOML: {error}") from error
    return _Reader(file).config(raw)


def load_keys(config: AgentConfig) -> Keys:
    """Read the key files and certificates. Raises BadConfig naming the file that is missing or wrong."""
    signing = _pem(config, "identity.signing_key", config.signing_key, private=True)
    cloud = _pem(config, "identity.cloud_public_key", config.cloud_public_key, private=False)
    if not isinstance(signing, Ed25519PrivateKey):
        raise BadConfig(
            config.file, "identity.signing_key", f"{config.signing_key} is not an Ed25519 private key"
        )
    if not isinstance(cloud, Ed25519PublicKey):
        raise BadConfig(
            config.file,
            "identity.cloud_public_key",
            f"{config.cloud_public_key} is not an Ed25519 public key",
        )
    return Keys(signing, cloud, _tls(config) if config.broker.tls else None)


def _pem(config: AgentConfig, key: str, path: Path, *, private: bool) -> object:
    content = _content(config, key, path)
    try:
        return load_pem_private_key(content, None) if private else load_pem_public_key(content)
    except (ValueError, TypeError) as error:
        raise BadConfig(config.file, key, f"{path} is not an unencrypted key in PEM form") from error


def _content(config: AgentConfig, key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(config.file, key, f"{path}: {error.strerror}") from error


def _tls(config: AgentConfig) -> ssl.SSLContext:
    broker = config.broker
    named = {"certificate": broker.certificate, "tls_key": broker.tls_key, "ca": broker.ca}
    for key, path in named.items():
        if path is None:
            raise BadConfig(config.file, f"identity.{key}", "missing; needed because broker.tls is true")
        _content(config, f"identity.{key}", path)
    try:
        context = ssl.create_default_context(cafile=broker.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(broker.certificate), broker.tls_key)
    except (ssl.SSLError, ValueError) as error:
        problem = f"certificate, tls_key and ca do not go together: {error}"
        raise BadConfig(config.file, "identity", problem) from error
    return context


_TOP: Final = ("gateway_id", "data_dir", "identity", "broker", "poll", "store", "port", "meter")
_IDENTITY: Final = ("signing_key", "certificate", "tls_key", "ca", "cloud_public_key", "epoch")
_REQUIRED: Final = object()


class _Reader:
    """Takes values out of the parsed file and refuses what is not allowed, by name."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def config(self, raw: Mapping[str, Any]) -> AgentConfig:
        self._known(raw, "", _TOP)
        identity = self._table(raw, "identity", _IDENTITY)
        self._whole(identity, "identity.epoch", 1, EPOCH_MAX, 1)  # written at enrolment; the ack decides
        ports = tuple(self._port(table, f"port[{n}]") for n, table in enumerate(self._tables(raw, "port")))
        meters = tuple(
            self._meter(table, f"meter[{n}]") for n, table in enumerate(self._tables(raw, "meter"))
        )
        self._consistent(ports, meters)
        store = self._table(raw, "store", ("disk_mb", "keep_acked_days"))
        return AgentConfig(
            file=self._file,
            gateway_id=self._id(raw, "gateway_id", GATEWAY_ID.pattern, GATEWAY_ID.fullmatch),
            data_dir=self._path(raw, "data_dir"),
            signing_key=self._path(identity, "identity.signing_key"),
            cloud_public_key=self._path(identity, "identity.cloud_public_key"),
            broker=self._broker(raw, identity),
            poll=self._poll(raw),
            disk_bytes_max=self._whole(store, "store.disk_mb", 8, 1 << 20, 1024) * 1_000_000,
            keep_acked_days=self._whole(store, "store.keep_acked_days", 1, 3650, 30),
            ports=ports,
            meters=meters,
        )

    def _broker(self, raw: Mapping[str, Any], identity: Mapping[str, Any]) -> BrokerConfig:
        table = self._table(raw, "broker", ("host", "port", "tls", "mqtt_version"))
        tls = self._value(table, "broker.tls", bool, "true or false", True)
        version = self._whole(table, "broker.mqtt_version", 3, 5, 5)
        if version == 4:
            raise BadConfig(self._file, "broker.mqtt_version", "4 given; allowed: 5, or 3 for MQTT 3.1.1")
        return BrokerConfig(
            host=self._text(table, "broker.host"),
            port=self._whole(table, "broker.port", 1, 65_535, 8883 if tls else 1883),
            tls=tls,
            mqtt_version=version,
            certificate=self._path(identity, "identity.certificate", optional=True),
            tls_key=self._path(identity, "identity.tls_key", optional=True),
            ca=self._path(identity, "identity.ca", optional=True),
        )

    def _poll(self, raw: Mapping[str, Any]) -> PollConfig:
        table = self._table(raw, "poll", ("seal_every_s", "live_every_s", "detail_every_s"))
        seal_every_s = self._whole(table, "poll.seal_every_s", QUARTER_HOUR_S, 86_400, QUARTER_HOUR_S)
        detail_every_s = self._whole(table, "poll.detail_every_s", 0, 86_400, QUARTER_HOUR_S)
        for key, seconds_s in (("seal_every_s", seal_every_s), ("detail_every_s", detail_every_s)):
            if seconds_s % QUARTER_HOUR_S:
                raise BadConfig(
                    self._file, f"poll.{key}", f"{seconds_s} is not a multiple of {QUARTER_HOUR_S}"
                )
        return PollConfig(seal_every_s, self._whole(table, "poll.live_every_s", 0, 3600, 5), detail_every_s)

    def _port(self, table: Mapping[str, Any], where: str) -> PortConfig:
        self._known(table, where, ("name", "url"))
        return PortConfig(self._text(table, f"{where}.name"), self._text(table, f"{where}.url"))

    def _meter(self, table: Mapping[str, Any], where: str) -> MeterConfig:
        self._known(table, where, ("meter_id", "port", "profile", "address"))
        return MeterConfig(
            self._id(table, f"{where}.meter_id", METER_ID.pattern, METER_ID.fullmatch),
            self._text(table, f"{where}.port"),
            self._text(table, f"{where}.profile"),
            self._text(table, f"{where}.address"),
        )

    def _consistent(self, ports: tuple[PortConfig, ...], meters: tuple[MeterConfig, ...]) -> None:
        if len(meters) > METERS_MAX:
            raise BadConfig(self._file, "meter", f"{len(meters)} given; allowed: at most {METERS_MAX}")
        names = [port.name for port in ports]
        for key, values in (
            ("port.name", names),
            ("port.url", [port.url for port in ports]),
            ("meter.meter_id", [meter.meter_id for meter in meters]),
            ("meter.address", [f"{meter.address} on {meter.port}" for meter in meters]),
        ):
            for value in values:
                if values.count(value) > 1:
                    raise BadConfig(self._file, key, f"{value!r} is given twice")
        for number, meter in enumerate(meters):
            if meter.port not in names:
                known = ", ".join(names) or "none"
                problem = f"{meter.port!r} is not a [[port]]; allowed: {known}"
                raise BadConfig(self._file, f"meter[{number}].port", problem)

    def _known(self, table: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> None:
        for key in table:
            if key not in keys:
                raise BadConfig(
                    self._file, f"{where}.{key}".lstrip("."), f"unknown key; allowed: {', '.join(keys)}"
                )

    def _table(self, raw: Mapping[str, Any], name: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
        table = raw.get(name, {})
        if not isinstance(table, dict):
            raise BadConfig(self._file, name, f"must be a table [{name}]")
        self._known(table, name, keys)
        return table

    def _tables(self, raw: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        tables = raw.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise BadConfig(self._file, name, f"must be written as [[{name}]]")
        return tables

    def _value(
        self, table: Mapping[str, Any], key: str, kind: type, allowed: str, default: object = _REQUIRED
    ) -> Any:
        value = table.get(key.rpartition(".")[2], default)
        if value is _REQUIRED:
            raise BadConfig(self._file, key, f"missing; allowed: {allowed}")
        if type(value) is not kind or (isinstance(value, str) and "\0" in value):
            raise BadConfig(self._file, key, f"{value!r} given; allowed: {allowed}")
        return value

    def _text(self, table: Mapping[str, Any], key: str) -> str:
        value: str = self._value(table, key, str, "text")
        if not value:
            raise BadConfig(self._file, key, "empty; allowed: text")
        return value

    def _id(self, table: Mapping[str, Any], key: str, pattern: str, fits: Any) -> str:
        value = self._text(table, key)
        if not fits(value):
            raise BadConfig(self._file, key, f"{value!r} given; allowed: {pattern}")
        return value

    def _whole(self, table: Mapping[str, Any], key: str, least: int, most: int, default: int) -> int:
        allowed = f"a whole number from {least} to {most}"
        value: int = self._value(table, key, int, allowed, default)
        if not least <= value <= most:
            raise BadConfig(self._file, key, f"{value} given; allowed: {allowed}")
        return value

    def _path(self, table: Mapping[str, Any], key: str, *, optional: bool = False) -> Any:
        value = self._value(table, key, str, "a path", "" if optional else _REQUIRED)
        return self._file.parent / value if value else None
