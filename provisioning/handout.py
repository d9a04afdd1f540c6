"""Shell: what leaves the CA's folder, so that broker and cloud processes never see the CA key.

Broker folder: mosquitto.conf, acl, ca.crt, server.crt, server.key, crl.pem, data/ (the broker's own).
Workers' folder: ca.crt, NAME.crt, NAME.key, and cloud.key that signs acks and commands.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from pathlib import Path

from provisioning.broker import WORKER_NAMES, mosquitto_acl, mosquitto_conf
from provisioning.ca import Authority, Revoked, write_crl, write_private

BROKER_FILES = ("ca.crt", "server.crt", "server.key", "crl.pem")


def hand_out_broker(authority: Authority, out: Path, *, port: int) -> None:
    """Write everything that mosquitto needs into `out`; it is started there (provisioning/run-broker.sh)."""
    (out / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in BROKER_FILES:
        write_private(out / name, (authority.folder / name).read_bytes())
    write_private(out / "acl", mosquitto_acl().encode("ascii"))
    write_private(out / "mosquitto.conf", mosquitto_conf(port=port).encode("ascii"))


def hand_out_workers(authority: Authority, out: Path) -> None:
    """Write what the cloud processes need to read the broker and to sign."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("ca.crt", "cloud.key", "cloud.pub"):
        write_private(out / name, (authority.folder / name).read_bytes())
    for worker in WORKER_NAMES:
        for kind in ("crt", "key"):
            content = (authority.folder / "workers" / f"{worker}.{kind}").read_bytes()
            write_private(out / f"{worker}.{kind}", content)


def publish_crl(
    authority: Authority, revoked: Sequence[Revoked], copy: Path | None, now: dt.datetime
) -> None:
    """Write the revocation list, and its copy in the broker's folder; the broker's watcher then has it read."""
    write_crl(authority, revoked, now)
    if copy is not None:
        part = copy.with_name(f"{copy.name}.part")
        shutil.copyfile(authority.folder / "crl.pem", part)
        part.replace(copy)
