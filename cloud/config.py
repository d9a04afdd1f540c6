"""Configuration of the cloud processes: read once in the composition root, from environment and secret files.

Every variable begins with SHOUDIAN_. A secret is given by `NAME_FILE`, the path of a file that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloud.errors import Invalid

READING_PARTITION_DAYS_ALLOWED = (1, 7)
MQTT_VERSIONS_ALLOWED = (3, 5)
SEALING_KEY_BYTES = 32


class BadConfig(Invalid):
    """A variable of the environment is missing or has a value that is not allowed."""

    def __str__(self) -> str:
        return f"{self.facts['variable']}: {self.facts['problem']}；允许 / allowed: {self.facts['allowed']}"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Where the MQTT broker is and how this process proves who it is."""

    host: str
    port: int
    mqtt_version: int  # 5, or 3 for a broker that only speaks 3.1.1
    ca_file: Path | None  # None: no TLS
    certificate_file: Path | None
    key_file: Path | None
    username: str
    password: str


@dataclass(frozen=True, slots=True)
class SignerConfig:
    """The key that signs bills, and its certificate with chain; both PEM, or neither: bills are then unsigned."""

    key_file: Path | None
    certificate_file: Path | None


@dataclass(frozen=True, slots=True)
class WechatConfig:
    """A merchant of WeChat Pay v3 in public-key mode; keys as PEM text."""

    merchant_id: str
    app_id: str
    merchant_key: str
    merchant_serial: str  # of the merchant's API certificate
    apiv3_key: str
    public_key: str  # WeChat Pay's
    public_key_id: str
    gateway: str


@dataclass(frozen=True, slots=True)
class AlipayConfig:
    """An application of an Alipay merchant in public-key mode; keys as PEM text."""

    app_id: str
    seller_id: str
    app_key: str
    public_key: str  # Alipay's
    gateway: str


@dataclass(frozen=True, slots=True)
class BankConfig:
    """Our bank account, as customers see it who pay by transfer."""

    holder: str
    number: str
    bank: str


@dataclass(frozen=True, slots=True)
class S3Config:
    """A bucket in a store that speaks S3."""

    endpoint: str  # "https://…", of the store and not of the bucket
    region: str
    bucket: str
    key_id: str
    secret: str = field(repr=False)
    addressing: str  # 'path' or 'virtual'


@dataclass(frozen=True, slots=True)
class FilesConfig:
    """Where documents lie: in the bucket, or without one in the folder; without both nowhere, and what needs one is refused."""

    folder: Path | None
    s3: S3Config | None


@dataclass(frozen=True, slots=True)
class ExchangeConfig:
    """An external trading platform that we are a member of; keys as PEM text."""

    platform: str  # its name in our books
    url: str
    member: str
    key: str = field(repr=False)  # ours, Ed25519 private
    platform_key: str  # the platform's, Ed25519 public
    hosts_matching: bool  # whether new sessions are matched there; else only those that staff hand over


@dataclass(frozen=True, slots=True)
class RegulatorConfig:
    """The regulator's reporting interface; keys as PEM text."""

    url: str
    sender: str
    key: str = field(repr=False)
    regulator_key: str


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """Everything a cloud process may know about its surroundings."""

    dsn: str
    broker: BrokerConfig
    command_key_file: Path | None  # Ed25519 PEM that signs acks and commands; ingest needs it
    generation: int  # raised by one after every restore that may have lost commits
    group_messages_max: int
    group_wait_ms: int
    reading_partition_days: int
    http_host: str
    http_port: int
    http_secure_cookies: bool  # False only behind plain http on one machine
    http_trusted_proxies: (
        str  # addresses whose X-Forwarded-For is believed, comma-separated; "" believes nobody
    )
    pool_size_max: int
    bill_signer: SignerConfig
    receipt_key_file: (
        Path | None
    )  # Ed25519 PEM that signs receipts of declarations; None: a key of each process
    public_url: str  # where customers and providers reach us: "https://…", no slash at the end
    wechat: WechatConfig | None  # None: not offered
    alipay: AlipayConfig | None
    bank: BankConfig | None
    files: FilesConfig
    exchange: ExchangeConfig | None  # None: we match ourselves
    regulator: RegulatorConfig | None  # None: reports are handed in by hand
    timestamp_url: str = ""  # of an RFC 3161 authority for contract signatures; empty: none
    sealing_key: bytes | None = field(
        default=None, repr=False
    )  # for secrets at rest; None: no second factors

    def signing_key_file(self) -> Path:
        """Return the command key's path. Raises BadConfig when it was not given."""
        if self.command_key_file is None:
            raise BadConfig(
                "bad_config",
                variable="SHOUDIAN_COMMAND_KEY_FILE",
                problem="is not set",
                allowed="path of an Ed25519 private key in PEM",
            )
        return self.command_key_file


def load_config(environ: Mapping[str, str]) -> CloudConfig:
    """Build the configuration from an environment. Raises BadConfig with the name of the variable."""
    read = _Reader(environ)
    return CloudConfig(
        dsn=read.secret(
            "SHOUDIAN_DSN", allowed="libpq connection string, e.g. host=db dbname=shoudian user=shoudian"
        ),
        broker=_broker(read),
        command_key_file=read.path("SHOUDIAN_COMMAND_KEY_FILE"),
        generation=read.integer("SHOUDIAN_GENERATION", 1, 1, 2**31 - 1),
        group_messages_max=read.integer("SHOUDIAN_GROUP_MESSAGES_MAX", 100, 1, 1000),
        group_wait_ms=read.integer("SHOUDIAN_GROUP_WAIT_MS", 50, 1, 5000),
        reading_partition_days=read.choice(
            "SHOUDIAN_READING_PARTITION_DAYS", 7, READING_PARTITION_DAYS_ALLOWED
        ),
        http_host=read.text("SHOUDIAN_HTTP_HOST", "127.0.0.1"),
        http_port=read.integer("SHOUDIAN_HTTP_PORT", 8000, 1, 65535),
        http_secure_cookies=read.choice("SHOUDIAN_HTTP_SECURE_COOKIES", 1, (0, 1)) == 1,
        http_trusted_proxies=read.text("SHOUDIAN_HTTP_TRUSTED_PROXIES", ""),
        pool_size_max=read.integer("SHOUDIAN_POOL_SIZE_MAX", 8, 1, 200),
        bill_signer=_bill_signer(read),
        receipt_key_file=read.path("SHOUDIAN_RECEIPT_KEY_FILE"),
        public_url=read.address("SHOUDIAN_PUBLIC_URL", "http://127.0.0.1:8000"),
        wechat=_wechat(read),
        alipay=_alipay(read),
        bank=_bank(read),
        files=_files(read),
        exchange=_exchange(read),
        regulator=_regulator(read),
        timestamp_url=read.address("SHOUDIAN_TIMESTAMP_URL", "")
        if read.text("SHOUDIAN_TIMESTAMP_URL", "")
        else "",
        sealing_key=_sealing_key(read),
    )


def _sealing_key(read: _Reader) -> bytes | None:
    text = read.secret("SHOUDIAN_SEALING_KEY", default="", allowed="64 hexadecimal digits")
    if not text:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != SEALING_KEY_BYTES:
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_SEALING_KEY",
            problem="is no key of 256 bits",
            allowed="64 hexadecimal digits, e.g. from: openssl rand -hex 32",
        )
    return key


def _wechat(read: _Reader) -> WechatConfig | None:
    if not read.text("SHOUDIAN_WECHAT_MERCHANT_ID", ""):
        return None
    apiv3_key = read.secret("SHOUDIAN_WECHAT_APIV3_KEY", allowed="the merchant's APIv3 key")
    if len(apiv3_key.encode()) != 32:
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_WECHAT_APIV3_KEY",
            problem="has another length",
            allowed="32 characters",
        )
    return WechatConfig(
        merchant_id=read.needed("SHOUDIAN_WECHAT_MERCHANT_ID", "商户号"),
        app_id=read.needed("SHOUDIAN_WECHAT_APP_ID", "AppID"),
        merchant_key=read.secret("SHOUDIAN_WECHAT_MERCHANT_KEY", allowed="apiclient_key.pem"),
        merchant_serial=read.needed("SHOUDIAN_WECHAT_MERCHANT_SERIAL", "serial number of apiclient_cert.pem"),
        apiv3_key=apiv3_key,
        public_key=read.secret("SHOUDIAN_WECHAT_PUBLIC_KEY", allowed="pub_key.pem, 微信支付公钥"),
        public_key_id=read.needed("SHOUDIAN_WECHAT_PUBLIC_KEY_ID", "PUB_KEY_ID_…"),
        gateway=read.address("SHOUDIAN_WECHAT_GATEWAY", "https://api.mch.weixin.qq.com"),
    )


def _alipay(read: _Reader) -> AlipayConfig | None:
    if not read.text("SHOUDIAN_ALIPAY_APP_ID", ""):
        return None
    return AlipayConfig(
        app_id=read.needed("SHOUDIAN_ALIPAY_APP_ID", "APPID"),
        seller_id=read.needed("SHOUDIAN_ALIPAY_SELLER_ID", "PID, 2088…"),
        app_key=read.secret("SHOUDIAN_ALIPAY_APP_KEY", allowed="应用私钥 in PEM"),
        public_key=read.secret("SHOUDIAN_ALIPAY_PUBLIC_KEY", allowed="支付宝公钥 in PEM"),
        gateway=read.address("SHOUDIAN_ALIPAY_GATEWAY", "https://openapi.alipay.com/gateway.do"),
    )


def _bank(read: _Reader) -> BankConfig | None:
    if not read.text("SHOUDIAN_BANK_NUMBER", ""):
        return None
    return BankConfig(
        holder=read.needed("SHOUDIAN_BANK_HOLDER", "户名"),
        number=read.needed("SHOUDIAN_BANK_NUMBER", "账号"),
        bank=read.needed("SHOUDIAN_BANK_NAME", "开户行"),
    )


def _exchange(read: _Reader) -> ExchangeConfig | None:
    if not read.text("SHOUDIAN_EXCHANGE_URL", ""):
        return None
    hosts = read.text("SHOUDIAN_EXCHANGE_HOSTS_MATCHING", "0")
    if hosts not in ("0", "1"):
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_EXCHANGE_HOSTS_MATCHING",
            problem=f"is {hosts!r}",
            allowed="0 or 1",
        )
    return ExchangeConfig(
        platform=read.text("SHOUDIAN_EXCHANGE_PLATFORM", "exchange"),
        url=read.address("SHOUDIAN_EXCHANGE_URL", ""),
        member=read.needed("SHOUDIAN_EXCHANGE_MEMBER", "our member code there"),
        key=read.secret("SHOUDIAN_EXCHANGE_KEY", allowed="Ed25519 private key in PEM"),
        platform_key=read.secret("SHOUDIAN_EXCHANGE_PLATFORM_KEY", allowed="Ed25519 public key in PEM"),
        hosts_matching=hosts == "1",
    )


def _regulator(read: _Reader) -> RegulatorConfig | None:
    if not read.text("SHOUDIAN_REGULATOR_URL", ""):
        return None
    return RegulatorConfig(
        url=read.address("SHOUDIAN_REGULATOR_URL", ""),
        sender=read.needed("SHOUDIAN_REGULATOR_SENDER", "our code there"),
        key=read.secret("SHOUDIAN_REGULATOR_KEY", allowed="Ed25519 private key in PEM"),
        regulator_key=read.secret("SHOUDIAN_REGULATOR_PUBLIC_KEY", allowed="Ed25519 public key in PEM"),
    )


def _files(read: _Reader) -> FilesConfig:
    named = read.text("SHOUDIAN_FILES_FOLDER", "")
    if named and not Path(named).is_absolute():  # one folder for all processes, wherever each was started
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_FILES_FOLDER",
            problem=f"is {named!r}",
            allowed="an absolute path",
        )
    folder = Path(named) if named else None
    if not read.text("SHOUDIAN_FILES_S3_BUCKET", ""):
        return FilesConfig(folder, None)
    addressing = read.text("SHOUDIAN_FILES_S3_ADDRESSING", "path")
    if addressing not in ("path", "virtual"):
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_FILES_S3_ADDRESSING",
            problem=f"is {addressing!r}",
            allowed="path or virtual",
        )
    s3 = S3Config(
        endpoint=read.address("SHOUDIAN_FILES_S3_ENDPOINT", "https://s3.amazonaws.com"),
        region=read.text("SHOUDIAN_FILES_S3_REGION", "us-east-1"),
        bucket=read.needed("SHOUDIAN_FILES_S3_BUCKET", "name of the bucket"),
        key_id=read.needed("SHOUDIAN_FILES_S3_KEY_ID", "access key id"),
        secret=read.secret("SHOUDIAN_FILES_S3_SECRET", allowed="secret access key"),
        addressing=addressing,
    )
    return FilesConfig(folder, s3)


def _bill_signer(read: _Reader) -> SignerConfig:
    found = SignerConfig(
        read.path("SHOUDIAN_BILL_SIGNER_KEY_FILE"), read.path("SHOUDIAN_BILL_SIGNER_CERTIFICATE_FILE")
    )
    if (found.key_file is None) != (found.certificate_file is None):
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_BILL_SIGNER_KEY_FILE, SHOUDIAN_BILL_SIGNER_CERTIFICATE_FILE",
            problem="only one of the two is set",
            allowed="both or neither; shoudian-cloud signer init makes them",
        )
    return found


def _broker(read: _Reader) -> BrokerConfig:
    ca_file = read.path("SHOUDIAN_BROKER_CA_FILE")
    return BrokerConfig(
        host=read.text("SHOUDIAN_BROKER_HOST", "127.0.0.1"),
        port=read.integer("SHOUDIAN_BROKER_PORT", 8883 if ca_file else 1883, 1, 65535),
        mqtt_version=read.choice("SHOUDIAN_MQTT_VERSION", 5, MQTT_VERSIONS_ALLOWED),
        ca_file=ca_file,
        certificate_file=read.path("SHOUDIAN_BROKER_CERTIFICATE_FILE"),
        key_file=read.path("SHOUDIAN_BROKER_KEY_FILE"),
        username=read.text("SHOUDIAN_BROKER_USERNAME", ""),
        password=read.secret("SHOUDIAN_BROKER_PASSWORD", default="", allowed="the broker's password"),
    )


def _text_of(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise BadConfig(
            "bad_config", variable=name, problem=f"{str(path)!r} is no text", allowed="a file of UTF-8 text"
        ) from None


class _Reader:
    """Reads variables and says by name what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def needed(self, name: str, allowed: str) -> str:
        """Return a variable that must be there once its provider is configured."""
        value = self.text(name, "")
        if not value:
            raise BadConfig("bad_config", variable=name, problem="is not set", allowed=allowed)
        return value

    def address(self, name: str, default: str) -> str:
        """Return an http or https address, without a slash at the end."""
        value = self.text(name, default).rstrip("/")
        if not value.startswith(("http://", "https://")) or any(each.isspace() for each in value):
            raise BadConfig(
                "bad_config", variable=name, problem=f"is {value!r}", allowed="http://… or https://…"
            )
        return value

    def secret(self, name: str, *, allowed: str, default: str | None = None) -> str:
        """Return the variable, or the content of the file that `NAME_FILE` names."""
        path = self.path(f"{name}_FILE")
        value = self._environ.get(name, "").strip() if path is None else _text_of(path, f"{name}_FILE")
        if value:
            return value
        if default is None:
            raise BadConfig(
                "bad_config", variable=f"{name} (or {name}_FILE)", problem="is not set", allowed=allowed
            )
        return default

    def path(self, name: str) -> Path | None:
        value = self._environ.get(name, "").strip()
        if not value:
            return None
        path = Path(value)
        try:
            with path.open("rb"):
                return path
        except OSError as problem:
            reason = f"{value!r} cannot be read ({problem.strerror})"
            raise BadConfig(
                "bad_config", variable=name, problem=reason, allowed="path of a readable file"
            ) from problem

    def integer(self, name: str, default: int, lowest: int, highest: int) -> int:
        value = self._environ.get(name, "").strip()
        if not value:
            return default
        if not value.isascii() or not value.isdigit() or not lowest <= int(value) <= highest:
            allowed = f"a whole number from {lowest} to {highest}"
            raise BadConfig("bad_config", variable=name, problem=f"is {value!r}", allowed=allowed)
        return int(value)

    def choice(self, name: str, default: int, allowed: tuple[int, ...]) -> int:
        value = self._environ.get(name, "").strip()
        if not value:
            return default
        if value not in {str(number) for number in allowed}:
            names = " or ".join(str(number) for number in allowed)
            raise BadConfig("bad_config", variable=name, problem=f"is {value!r}", allowed=names)
        return int(value)
