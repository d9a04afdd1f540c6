"""A party of the market: its kinds, its life from registration to deregistration, and what its class may do. Pure.

电力市场注册基本规则 国能发监管规〔2024〕76号: apply, commit, review in five working days; retailers and VPPs are publicised;
then effective. The database guards the same table (party_move, cloud/schema/0025_entities.sql).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from cloud.lives import Life


class Kind(StrEnum):
    """What a party is to the market."""

    USER = "user"
    RETAILER = "retailer"
    GENERATOR = "generator"
    STORAGE = "storage"
    VPP = "vpp"


UNREGISTERED: Final = "unregistered"
EFFECTIVE: Final = "effective"

PARTY: Final = Life(
    "party",
    {
        (UNREGISTERED, "invite"): "draft",
        ("draft", "submit"): "submitted",
        ("returned", "submit"): "submitted",
        ("submitted", "withdraw"): "draft",
        ("submitted", "review"): "reviewing",
        ("reviewing", "return"): "returned",
        ("reviewing", "admit"): EFFECTIVE,
        ("reviewing", "publicise"): "publicised",
        ("publicised", "uphold"): "returned",
        ("publicised", "take_effect"): EFFECTIVE,
        (EFFECTIVE, "suspend"): "suspended",
        ("suspended", "restore"): EFFECTIVE,
        (EFFECTIVE, "leave"): "deregistering",
        ("suspended", "leave"): "deregistering",
        ("deregistering", "stay"): "suspended",  # who stays is looked at again before it trades
        ("deregistering", "strike_off"): "deregistered",
        ("deregistered", "invite"): "draft",
    },
)
CHANGE: Final = Life(
    "change",
    {
        (None, "ask"): "asked",
        ("asked", "accept"): "accepted",
        ("asked", "refuse"): "refused",
        ("asked", "withdraw"): "withdrawn",
    },
)

SUBKINDS: Final = {
    Kind.USER: ("industrial", "commercial", "residential", "agricultural"),
    Kind.RETAILER: ("independent", "distribution", "grid"),
    Kind.GENERATOR: ("coal", "gas", "hydro", "wind", "solar", "nuclear", "biomass"),
    Kind.STORAGE: ("battery", "pumped", "other"),
    Kind.VPP: ("vpp", "aggregator"),
}
# 居民、农业用电 stay with the grid company at catalogue prices (发改价格〔2021〕1439号): registered, but never trading.
GUARANTEED: Final = frozenset({"residential", "agricultural"})
EDITABLE: Final = frozenset({"draft", "returned"})
IN_REVIEW: Final = frozenset({"submitted", "reviewing"})
REGISTERED: Final = frozenset({EFFECTIVE, "suspended"})


class Service(StrEnum):
    """What the platform offers to a class of parties."""

    WHOLESALE = "wholesale"  # auctions, rolling matching, listings, negotiations
    RETAIL = "retail"  # buys a retail package
    SELL_RETAIL = "sell_retail"  # offers retail packages
    GREEN = "green"  # green power and certificates
    RESPONSE = "response"  # demand response
    USAGE = "usage"  # usage, bills, payment


_SERVICES: Final = {
    Kind.GENERATOR: (Service.WHOLESALE, Service.GREEN, Service.USAGE),
    Kind.RETAILER: (Service.WHOLESALE, Service.SELL_RETAIL, Service.GREEN, Service.RESPONSE, Service.USAGE),
    Kind.STORAGE: (Service.WHOLESALE, Service.RESPONSE, Service.USAGE),
    Kind.VPP: (Service.WHOLESALE, Service.RESPONSE, Service.USAGE),
    Kind.USER: (Service.WHOLESALE, Service.RETAIL, Service.GREEN, Service.RESPONSE, Service.USAGE),
}


def services(kind: Kind, subkind: str) -> tuple[Service, ...]:
    """What a class of parties may use once it is effective."""
    if subkind in GUARANTEED:
        return (Service.RESPONSE, Service.USAGE) if subkind == "agricultural" else (Service.USAGE,)
    return _SERVICES[kind]


def may_trade(kind: str, subkind: str, state: str) -> bool:
    """Whether a party may trade at all: effective, and of a class that is in the market."""
    return state == EFFECTIVE and Service.WHOLESALE in services(Kind(kind), subkind)
