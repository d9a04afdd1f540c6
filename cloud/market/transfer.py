"""Transfer of a contract 合同转让: part or all of future months goes to another party; no kWh is made or lost. Pure.

One side of a contract hands over volumes of months that have not begun. The transferee takes over and the counterparty
consents, both to exactly these figures (hash). Then the contract gets its next version with what is left, and a new contract
with the same prices between the counterparty and the transferee.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from cloud.contracts.contract import terms_json
from cloud.contracts.terms import Shape, Volume, WholesaleTerms
from cloud.errors import Invalid
from cloud.lives import Life
from cloud.markettime import month_after, month_of

TRANSFER = Life(
    "contract_transfer",
    {
        (None, "propose"): "proposed",
        ("proposed", "take_over"): "taken_over",
        ("proposed", "decline"): "declined",
        ("proposed", "withdraw"): "withdrawn",
        ("proposed", "expire"): "expired",
        ("taken_over", "consent"): "done",
        ("taken_over", "decline"): "declined",
        ("taken_over", "withdraw"): "withdrawn",
        ("taken_over", "expire"): "expired",
    },
)
OPEN = ("proposed", "taken_over")


class BadTransfer(Invalid):
    """A transfer cannot be made from this; the key says why."""


def check(terms: WholesaleTerms, kwh: Sequence[int], today: date) -> None:
    """Refuse what cannot be handed over: more than is there, months that have begun, volumes bound to a load. Raises BadTransfer."""
    if len(kwh) != len(terms.volumes) or not any(kwh):
        raise BadTransfer("transfer_nothing")
    if terms.shape is Shape.LOAD or terms.green_users:
        raise BadTransfer("transfer_bound")  # follows the buyer's own load, or was bought for named users
    first = month_after(month_of(today))
    for volume, part in zip(terms.volumes, kwh, strict=True):
        if not 0 <= part <= volume.kwh:
            raise BadTransfer("transfer_too_much", place=f"{volume.month:%Y-%m} {volume.period}")
        if part and volume.month < first:
            raise BadTransfer("transfer_begun", month=f"{volume.month:%Y-%m}")


def parted(
    terms: WholesaleTerms, side: str, kwh: Sequence[int], to_unit: str, new: tuple[str, date, str]
) -> tuple[WholesaleTerms, WholesaleTerms]:
    """Part a contract: its next version with what is left, and the new contract; `new` is its number, day and document.

    A volume handed over whole stays in the old contract with zero, so every line of every version can be followed.
    """
    contract_id, signed, document = new
    left = tuple(_with(volume, volume.kwh - part) for volume, part in zip(terms.volumes, kwh, strict=True))
    given = tuple(_with(volume, part) for volume, part in zip(terms.volumes, kwh, strict=True) if part)
    seller, buyer = (to_unit, terms.buyer) if side == "seller" else (terms.seller, to_unit)
    if seller == buyer:
        raise BadTransfer("transfer_to_itself")
    old = replace(terms, version=terms.version + 1, volumes=left, signed=signed, document=document)
    made = replace(
        terms,
        contract_id=contract_id,
        version=1,
        seller=seller,
        buyer=buyer,
        signed=signed,
        document=document,
        volumes=given,
    )
    return old, made


def terms_sha256(terms: WholesaleTerms, side: str, kwh: Sequence[int], to_id: int) -> str:
    """Hash what all three agree to: the version of the contract, which side goes to whom, and how much of each volume."""
    content = {"terms": terms_json(terms), "side": side, "kwh": list(kwh), "to": to_id}
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _with(volume: Volume, kwh: int) -> Volume:
    return replace(volume, mwh=Decimal(kwh).scaleb(-3))
