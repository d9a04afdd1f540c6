"""The regulator's reporting interface. Not configured: reports are exported and handed in by hand."""

from __future__ import annotations

from cloud.config import BadConfig, CloudConfig
from cloud.outside.regulator.client import LANGUAGE, HttpRegulator
from cloud.signedcall import Line, keys_from


def connected(config: CloudConfig) -> HttpRegulator | None:
    """Make the adapter that is configured, or None. Raises BadConfig for keys that are none."""
    settings = config.regulator
    if settings is None:
        return None
    try:
        keys = keys_from(LANGUAGE, settings.sender, settings.key, settings.regulator_key)
    except (ValueError, TypeError) as problem:
        raise BadConfig(
            "bad_config",
            variable="SHOUDIAN_REGULATOR_KEY, SHOUDIAN_REGULATOR_PUBLIC_KEY",
            problem=str(problem)[:100],
            allowed="an Ed25519 private and a public key in PEM",
        ) from problem
    return HttpRegulator(Line(settings.url, keys))
