"""Where somebody acted from, as the other side may know it: enough to recognise a stranger's hand, not enough to find a person."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Final

HIDDEN: Final = "…"
_SYSTEMS: Final = ("Windows", "Android", "iPhone", "iPad", "HarmonyOS", "Mac OS X", "Linux")
_BROWSERS: Final = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))


def address_hint(address: str | None) -> str | None:
    """The first half of an IPv4 address, the first two groups of an IPv6 one; of anything else nothing."""
    if not address:
        return address
    try:
        known = ip_address(address)
    except ValueError:
        return HIDDEN
    if isinstance(known, IPv4Address):
        return ".".join([*str(known).split(".")[:2], HIDDEN])
    return ":".join([*known.exploded.split(":")[:2], HIDDEN])


def device_hint(device: str | None) -> str | None:
    """Which browser on which system a User-Agent tells of, without versions or models; of anything else nothing."""
    if not device:
        return device
    browser = next((name for mark, name in _BROWSERS if mark in device), "")
    system = next((name for name in _SYSTEMS if name in device), "")
    return " · ".join(each for each in (browser, system) if each) or HIDDEN
