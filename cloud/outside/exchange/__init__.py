"""The trading platform that hosts matching for us, behind one port (port.py). Not configured: we match ourselves."""

from __future__ import annotations

from cloud.config import BadConfig, CloudConfig
from cloud.outside.exchange.client import LANGUAGE, HttpExchange
from cloud.outside.exchange.port import Exchange
from cloud.signedcall import Line, keys_from


def connected(config: CloudConfig) -> Exchange | None:
    """Make the adapter that is configured, or None. Raises BadConfig for keys that are none."""
    settings = config.exchange
    if settings is None:
        return None
    try:
        keys = keys_from(LANGUAGE, settings.member, settings.key, settings.platform_key)
    except (ValueError, TypeError) as problem:
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_EXCHANGE_KEY, SHOUDIAN_EXCHANGE_PLATFORM_KEY",
            problem=str(problem)[:100],
            allowed="an Ed25519 private and a public key in PEM",
        ) from problem
    return HttpExchange(settings.platform, Line(settings.url, keys))
