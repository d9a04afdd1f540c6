"""The key-terms card: who, how much, at what price, from when to when, what if not. Pure.

Its hash covers the whole paper's hash, so whoever confirmed a card has confirmed exactly one text. What a person was
shown is kept as it was shown: card, every difference from the standard text, and the warnings that were acknowledged.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from cloud.contracts.document import sha256_of
from cloud.contracts.terms import KWH_PER_MWH
from cloud.errors import Invalid
from cloud.money import EXACT, quotient

AVERAGE_PURCHASE = "average_purchase"
TENTH = Decimal("0.1")
PRICE_WARNING = "price_out_of_band"
CHANGED_WARNING = "clauses_changed"


class NotAcknowledged(Invalid):
    """A term was not ticked, or a warning was not acknowledged."""


class ShownOther(Invalid):
    """The card that was confirmed is not that of the paper as it is now."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A published average price to compare with, and where it was published."""

    name: str
    price_yuan_per_mwh: Decimal
    source: str


def card_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Make a paper's card."""
    return {
        "contract_id": content["contract_id"],
        "paper_no": content["paper_no"],
        "title": content["title"],
        "content_sha256": sha256_of(content),
        "terms": list(content["card"]),
    }


def price_warnings(
    price_yuan_per_mwh: str, band_percent: int, references: Sequence[Reference]
) -> list[dict[str, str]]:
    """Compare a paper's average price with published averages; one warning for each that is farther off than the band."""
    if not price_yuan_per_mwh:
        return []
    price = Decimal(price_yuan_per_mwh)
    found = []
    for reference in references:
        if reference.price_yuan_per_mwh <= 0:
            continue
        over = EXACT.subtract(price, reference.price_yuan_per_mwh)
        off = quotient(EXACT.multiply(over, Decimal(100)), reference.price_yuan_per_mwh, TENTH)
        if abs(off) > band_percent:
            found.append(
                {
                    "key": PRICE_WARNING,
                    "price": format(price, "f"),
                    "reference": format(reference.price_yuan_per_mwh, "f"),
                    "percent": f"{off:+f}",
                    "name": reference.name,
                    "source": reference.source,
                }
            )
    return found


def agency_price(sheet: str) -> Decimal | None:
    """Read the month's average purchase price (yuan/MWh) out of a published agency price file; None: it states none."""
    try:
        components = tomllib.loads(sheet).get("component", [])
        found = [each["price_yuan_per_kwh"] for each in components if each.get("item") == AVERAGE_PURCHASE]
        return EXACT.multiply(Decimal(found[0]), Decimal(KWH_PER_MWH)) if len(found) == 1 else None
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, InvalidOperation):
        return None


def check(
    card: Mapping[str, Any], told_sha256: str, ticked: Sequence[str], warnings: Sequence[Mapping[str, str]]
) -> None:
    """Check that exactly this card was confirmed, every term of it and every warning. Raises ShownOther, NotAcknowledged."""
    if told_sha256 != sha256_of(card):
        raise ShownOther("card_changed")
    missing = [each["term"] for each in card["terms"] if each["term"] not in ticked]
    missing += sorted({each["key"] for each in warnings} - set(ticked))
    if missing:
        raise NotAcknowledged("not_acknowledged", missing=", ".join(missing))
