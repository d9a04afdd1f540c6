"""Payment providers behind one port (port.py). A provider without configuration is not offered."""

from __future__ import annotations

from collections.abc import Mapping

from cloud.billing.payment import Provider
from cloud.config import BadConfig, CloudConfig
from cloud.outside.payments.alipay import Alipay
from cloud.outside.payments.port import Payments
from cloud.outside.payments.wechat import Wechat


def offered(config: CloudConfig) -> Mapping[Provider, Payments]:
    """Make the adapters of the providers that are configured. Raises BadConfig for keys that are none."""
    found: dict[Provider, Payments] = {}
    if config.wechat is not None:
        try:
            found[Provider.WECHAT] = Wechat(config.wechat, f"{config.public_url}/hooks/wechat")
        except Exception as problem:  # the library raises bare Exception for a key it cannot read
            raise _bad("SHOUDIAN_WECHAT_*_KEY_FILE", problem) from problem
    if config.alipay is not None:
        try:
            found[Provider.ALIPAY] = Alipay(config.alipay, f"{config.public_url}/hooks/alipay")
        except (ValueError, IndexError, TypeError) as problem:
            raise _bad("SHOUDIAN_ALIPAY_*_KEY_FILE", problem) from problem
    return found


def _bad(variable: str, problem: Exception) -> BadConfig:
    return BadConfig(
        "bad_config", variable=variable, problem=str(problem)[:100], allowed="RSA keys of 2048 bits in PEM"
    )
