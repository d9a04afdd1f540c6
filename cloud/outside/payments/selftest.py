"""Check a payment set-up without moving money: keys, answers, clock, and the address that providers call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib import request as http
from urllib.error import HTTPError, URLError

from cloud.config import CloudConfig
from cloud.errors import Unavailable
from cloud.outside.payments.errands import Offered
from cloud.outside.payments.port import CALL_AGE_MAX, TIMEOUT_S, Payments, ProviderRefused, Standing

NO_SUCH_ORDER: Final = "P00000000SELFTEST"


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was checked."""

    provider: str
    passes: bool
    text: str


def findings(config: CloudConfig, offered: Offered, now: datetime) -> Iterator[Found]:
    """Check each provider: our request is understood, its answer verifies, a forged call is refused at our address."""
    is_public = config.public_url.startswith("https://") and "127.0.0.1" not in config.public_url
    yield Found(
        "callback",
        is_public,
        f"SHOUDIAN_PUBLIC_URL {config.public_url}"
        + ("" if is_public else " 应为公网 https 地址 / should be a public https address"),
    )
    for provider in offered.values():
        yield _answers(provider)
        yield _hook(config, provider, now)


def _answers(provider: Payments) -> Found:
    name = provider.provider.value
    try:
        asked = provider.ask(NO_SUCH_ORDER)
    except Unavailable as problem:
        return Found(
            name, False, f"不可达或应答验签失败 / not reached, or its answer does not verify: {problem}"
        )
    except ProviderRefused as problem:
        return Found(name, False, f"拒绝我方请求 / refuses our request: {problem}")
    passes = asked.standing is Standing.UNKNOWN
    return Found(name, passes, "签名与验签正常 / our signature and its answer verify")


def _hook(config: CloudConfig, provider: Payments, now: datetime) -> Found:
    """A call without a signature must get 401; its Date tells whether the clocks agree."""
    name, url = provider.provider.value, f"{config.public_url}/hooks/{provider.provider}"
    call = http.Request(url, b"{}", {"Content-Type": "application/json"})
    handlers = [http.ProxyHandler({})] if url.startswith("http://") else []
    try:
        with http.build_opener(*handlers).open(call, timeout=TIMEOUT_S) as answer:
            return Found(name, False, f"{url}: {answer.status}, 应为 / should be 401")
    except HTTPError as refused:
        with refused:
            date = refused.headers.get("Date")
            at = parsedate_to_datetime(date).astimezone(UTC) if date else now
            is_timely = abs(at - now) < CALL_AGE_MAX / 10
            return Found(
                name,
                refused.code == 401 and is_timely,
                f"{url}: {refused.code}（应为 / should be 401）, 时钟差 / clocks differ {abs(at - now).total_seconds():.0f} s",
            )
    except (URLError, OSError) as problem:
        return Found(name, False, f"{url}: {problem}")
