"""The broker's settings: who may connect, as whom, and to which topics. Pure text; one source for all set-ups.

A client is who its certificate says (CN = gateway serial, or the name of a cloud worker); the MQTT username and client
id it sends are overridden by that. Facts behind each line: `edge-cloud-pipeline` §5.3, asserted by
tests/integration/test_broker_identity.py against a real mosquitto.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORKER_NAMES = ("ing-0", "ing-1", "ing-2", "ing-3")  # cloud processes that may read every gateway's uplink
PACKET_BYTES_MAX = 131_072  # EBP/1 batches are at most 96 KiB
QUEUED_MESSAGES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """File names as the broker sees them: relative to its working folder, or absolute in a container."""

    ca: str = "ca.crt"
    certificate: str = "server.crt"
    key: str = "server.key"
    crl: str = "crl.pem"
    acl: str = "acl"
    data: str = "data/"


def mosquitto_conf(
    *, port: int, files: BrokerFiles = BrokerFiles(), bind: str | None = None, user: str | None = None
) -> str:
    """Write mosquitto.conf (2.0 and 2.1) for mutual TLS. `bind` None listens on every interface.

    Without `use_username_as_clientid` one gateway could take another's client id and throw it off.
    """
    lines = [
        f"listener {port}" + (f" {bind}" if bind else ""),
        f"cafile {files.ca}",
        f"certfile {files.certificate}",
        f"keyfile {files.key}",
        f"crlfile {files.crl}",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"acl_file {files.acl}",
        *_common(files, user),
    ]
    return "\n".join(lines) + "\n"


def plain_conf(*, port: int, files: BrokerFiles = BrokerFiles()) -> str:
    """Write mosquitto.conf without identity, for tests of the protocol on the loopback interface only."""
    return "\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", *_common(files, None)]) + "\n"


def _common(files: BrokerFiles, user: str | None) -> list[str]:
    return [
        f"max_packet_size {PACKET_BYTES_MAX}",
        f"max_queued_messages {QUEUED_MESSAGES_MAX}",
        "persistence true",
        f"persistence_location {files.data}",
        "autosave_interval 60",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages true",
        *([f"user {user}"] if user else []),
    ]


def mosquitto_acl(workers: Sequence[str] = WORKER_NAMES) -> str:
    """Write the access list: each gateway its own branch, the named workers all of them.

    A denied SUBSCRIBE is still answered *granted* by mosquitto; nothing is delivered.
    """
    lines = [
        "# every client: its own branch (%u is the certificate's CN)",
        "pattern write up/v1/%u/#",
        "pattern read down/v1/%u/#",
        "pattern read sys/v1/time",
    ]
    for worker in workers:
        lines += [
            "",
            f"user {worker}",
            "topic read up/v1/+/#",
            "topic read $share/ing/up/v1/+/#",
            "topic read $share/ops/up/v1/+/#",
            "topic write down/v1/+/#",
            "topic write sys/v1/time",
        ]
    return "\n".join(lines) + "\n"


def may(name: str, deed: str, topic: str, workers: Sequence[str] = WORKER_NAMES) -> bool:
    """Tell whether the client `name` may `deed` ('write', 'read') the topic or topic filter.

    The same rules as `mosquitto_acl`, for a broker that asks a program instead of reading a file.
    """
    if name in workers:
        branch = topic.split("/", 2)[2] if topic.startswith(("$share/ing/", "$share/ops/")) else topic
        if deed == "read" and branch.startswith("up/v1/"):
            return True
        if deed == "write" and (topic.startswith("down/v1/") or topic == "sys/v1/time"):
            return True
    if deed == "write":
        return topic.startswith(f"up/v1/{name}/")
    return topic.startswith(f"down/v1/{name}/") or topic == "sys/v1/time"
