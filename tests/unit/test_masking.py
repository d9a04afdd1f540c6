"""What the other side may know of where somebody acted from."""

from __future__ import annotations

import pytest

from cloud.api.masking import address_hint, device_hint

EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.87"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1"
ANDROID = "Mozilla/5.0 (Linux; Android 14; PGT-AN10) AppleWebKit/537.36 Chrome/125.0.0.0 Mobile Safari/537.36"


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("203.0.113.57", "203.0.…"),
        ("2001:db8:85a3::8a2e:370:7334", "2001:0db8:…"),
        ("::ffff:203.0.113.57", "0000:0000:…"),
        ("unknown", "…"),
        ("", ""),
        (None, None),
    ],
)
def test_of_an_address_its_network_is_left(address: str | None, hint: str | None) -> None:
    assert address_hint(address) == hint


@pytest.mark.parametrize(
    ("device", "hint"),
    [
        (EDGE, "Edge · Windows"),
        (PHONE, "Safari · iPhone"),
        (ANDROID, "Chrome · Android"),
        ("python-httpx/0.28", "…"),
        ("", ""),
        (None, None),
    ],
)
def test_of_a_device_its_kind_is_left(device: str | None, hint: str | None) -> None:
    assert device_hint(device) == hint
