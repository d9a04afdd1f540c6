"""What a paper may promise: months that are not over when it can take effect, periods that the market's calendar has. Pure.

A paper takes effect when it has cooled after the last signature, so the earliest instant is that many hours from now. A
month that is over by then has been delivered and is settled as it was: a supplement replaces what is not settled yet
(clause supplement-content), and only past months' settlement is corrected afterwards (976号 art. on 追溯, market/deadlines.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from cloud.contracts.contract import Purpose
from cloud.contracts.document import FIRST_DAY, volumes_in
from cloud.contracts.terms import HOURS, QUARTERS, WHOLE_MONTH, Volume
from cloud.errors import Invalid
from cloud.markettime import day_of, month_bounds, month_of

EVERYWHERE = frozenset({WHOLE_MONTH, *HOURS, *QUARTERS})

LabelsOf = Callable[[date], Sequence[str]]  # the named periods of a month, by the market's rule for it


class DeliveryOver(Invalid):
    """A month of the paper is over before the paper can take effect; `facts` name the month and the day of effect."""


class UnknownPeriod(Invalid):
    """A volume names a period that the market's calendar does not have in that month; `facts` name those it has."""


def is_over(month: date, at: datetime) -> bool:
    """Whether a delivery month has ended by an instant."""
    return month_bounds(month)[1] <= at


def check(
    content: Mapping[str, Any], kept: Sequence[Volume], effect_at: datetime, labels_of: LabelsOf
) -> None:
    """Check all months and periods of a paper that can take effect at `effect_at`; `kept` is promised by its contract now.

    Raises DeliveryOver, UnknownPeriod.
    """
    volumes = volumes_in(content)
    for month in months_of(content):
        if is_over(month, effect_at) and not _stays(month, volumes, kept, content["purpose"]):
            key = "supplement_over" if content["purpose"] == Purpose.SUPPLEMENT else "delivery_over"
            raise DeliveryOver(key, month=f"{month:%Y-%m}", day=day_of(effect_at).isoformat())
    for volume in volumes:
        if volume.period not in EVERYWHERE and volume.period not in (named := labels_of(volume.month)):
            raise UnknownPeriod(
                "period_not_named",
                period=volume.period,
                month=f"{volume.month:%Y-%m}",
                allowed=" ".join(
                    (WHOLE_MONTH, *named, f"{HOURS[0]}..{HOURS[-1]}", f"{QUARTERS[0]}..{QUARTERS[-1]}")
                ),
            )


def months_of(content: Mapping[str, Any]) -> tuple[date, ...]:
    """List the months that a paper is about: those of its volumes, or that of its first day."""
    months = {volume.month for volume in volumes_in(content)}
    return tuple(sorted(months or {month_of(date.fromisoformat(content[FIRST_DAY]))}))


def merged(kept: Sequence[Volume], named: Sequence[Volume], at: datetime) -> tuple[Volume, ...]:
    """What is promised after a supplement: its own rows, and months that are over and that it does not name."""
    months = {volume.month for volume in named}
    stay = [volume for volume in kept if volume.month not in months and is_over(volume.month, at)]
    return tuple(sorted((*stay, *named), key=lambda volume: (volume.month, volume.period)))


def _stays(month: date, volumes: Sequence[Volume], kept: Sequence[Volume], purpose: str) -> bool:
    """Whether a supplement says of a month just what is promised for it already."""
    said, promised = (
        {
            (each.period, each.mwh, each.price_yuan_per_mwh, each.environment_yuan_per_mwh)
            for each in rows
            if each.month == month
        }
        for rows in (volumes, kept)
    )
    return purpose == Purpose.SUPPLEMENT and bool(said) and said == promised
