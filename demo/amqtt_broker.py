"""The pip broker amqtt as a process of its own, with the identities and rights that mosquitto gives.

`python -m demo.amqtt_broker amqtt.json`, in the folder with ca.crt, server.crt, server.key. amqtt cannot set the client
id from the certificate, so a client whose id is not its certificate's CN is refused instead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from provisioning.broker import may


def certificate_name(session: Session) -> str | None:
    """Give the CN of the client's certificate, which TLS has verified against our CA; None without one."""
    certificate: dict[str, Any] = (session.ssl_object.getpeercert() if session.ssl_object else None) or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None


class CertificateIdentity(BaseAuthPlugin):  # type: ignore[misc]  # amqtt is not typed
    """Lets in whoever shows a certificate of our CA and calls itself what that says."""

    async def authenticate(self, *, session: Session) -> bool | None:
        name = certificate_name(session)
        return name is not None and name == session.client_id

    @dataclass
    class Config:
        """No settings."""


class TopicRights(BaseTopicPlugin):  # type: ignore[misc]  # amqtt is not typed
    """Applies `provisioning.broker.may` to every publish, subscribe and delivery."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._workers = tuple(self._get_config_option("workers", ()))

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        name = certificate_name(session) if session else None
        deed = "write" if action == Action.PUBLISH else "read"
        return name is not None and topic is not None and may(name, deed, topic, self._workers)

    @dataclass
    class Config:
        """`workers`: names of the cloud processes that may read every gateway."""

        workers: list[str] = field(default_factory=list)


async def serve(port: int, tls: bool, workers: list[str]) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    here = "demo.amqtt_broker."
    listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    plugins: dict[str, Any] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    if tls:
        listener |= {"ssl": True, "cafile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
        plugins = {f"{here}CertificateIdentity": {}, f"{here}TopicRights": {"workers": workers}}
    broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
