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

AGENCY_ITEMS = ("average_purchase", "agency_price")  # a notice states the one or the other
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
    } | ({"prices": list(content["prices"])} if "prices" in content else {})


def compared(
    price_yuan_per_mwh: str, band_percent: int, references: Sequence[Reference]
) -> list[dict[str, str]]:
    """Compare a paper's average price with published averages, each in yuan and in percent, signed.

    `beyond` is the band where the price is farther off than it, else empty. An average from 0 down is no measure.
    """
    if not price_yuan_per_mwh:
        return []
    price = Decimal(price_yuan_per_mwh)
    found = []
    for reference in references:
        if reference.price_yuan_per_mwh <= 0:
            continue
        over = EXACT.subtract(price, reference.price_yuan_per_mwh)
        percent = quotient(EXACT.multiply(over, Decimal(100)), reference.price_yuan_per_mwh, TENTH)
        is_beyond = EXACT.multiply(abs(over), Decimal(100)) > EXACT.multiply(
            reference.price_yuan_per_mwh, Decimal(band_percent)
        )
        found.append(
            {
                "price": format(price, "f"),
                "reference": _short(reference.price_yuan_per_mwh),
                "off": _short(over),
                "percent": f"{percent:+f}",
                "beyond": str(band_percent) if is_beyond else "",
                "name": reference.name,
                "source": reference.source,
            }
        )
    return found


def price_warnings(compared_prices: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """One warning for each average that the price is farther off than the template's band."""
    return [{"key": PRICE_WARNING, **each} for each in compared_prices if each["beyond"]]


def agency_price(sheet: str) -> tuple[Decimal, str] | None:
    """Read the month's purchase price (yuan/MWh) and the title out of a published agency price file; None: it states none."""
    try:
        content = tomllib.loads(sheet)
        prices = {each.get("item"): each.get("price_yuan_per_kwh") for each in content.get("component", [])}
        stated = next((prices[item] for item in AGENCY_ITEMS if item in prices), None)
        if stated is None:
            return None
        return EXACT.multiply(Decimal(stated), Decimal(KWH_PER_MWH)), str(content["title"])
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError, InvalidOperation):
        return None


def _short(number: Decimal) -> str:
    """Write a price without zeros that say nothing, at least to the fen."""
    text = format(number, "f")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


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
