"""Views of doubts: what looks mistaken about a declaration before it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

from cloud.api.tradingviews import WarningView, mwh, yuan
from cloud.market import plausible
from cloud.market.declaration import Entry, packed_from
from cloud.market.plausible import Doubt
from cloud.market.sessionfile import SessionRule

SLIPS: Final = {
    Fraction(1, 10): "wan_kwh_as_mwh",
    Fraction(10): "mwh_as_wan_kwh",
    Fraction(1000): "kwh_as_mwh",
    Fraction(1, 1000): "mwh_as_gwh",
}


def price_doubts(entries: Sequence[Entry], rule: SessionRule) -> Iterator[WarningView]:
    """A price in another unit, the first of them, and one at its limit; nothing is refused for them here."""
    band = rule.band
    for price in {entry.price: None for entry in entries}:
        other = plausible.meant(price, band.low_ticks, band.high_ticks, rule.step_ticks)
        if other is not None:
            facts = {"price": price, "unit": other.unit, "meant_yuan": yuan(other.price_ticks)}
            yield WarningView(warning="price_unit", facts=facts)
            break
    packed = packed_from(entries)
    if packed is not None and {band.low_ticks, band.high_ticks} & set(packed.price_ticks):
        yield WarningView(warning="at_limit", facts={})


def quantity_doubt(doubt: Doubt) -> WarningView:
    """A doubt about the quantity; a slip that has a name goes by it."""
    slip = SLIPS.get(doubt.factor or Fraction(1), doubt.kind.value)
    facts = {
        "mwh": mwh(doubt.declared_kwh),
        "usual_mwh": mwh(doubt.usual_kwh),
        "factor": str(doubt.factor or ""),
    }
    return WarningView(warning=slip, facts=facts)
