"""A contract: what kinds there are, its life from draft to archive, and how a trade becomes one. Pure.

The life is kept a second time by the database (0030_contracts.sql, contract_move): no process moves a contract
along another way. A trade of the exchange is in force at once, its 电子交易确认单 needs no signature; what two parties
negotiated begins as a draft and becomes effective by the signatures of both, after the cooling-off time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.lives import Life
from cloud.markettime import month_after

NEGOTIATION = "negotiation"
STUDIO = "studio"
PARTY_UNIT = "party:"


class Kind(StrEnum):
    """What a contract is, by which the archive sorts."""

    WHOLESALE = "wholesale"  # 市场化购售电合同
    AGENCY = "agency"  # 委托代理合同
    RETAIL = "retail"  # 零售合同
    GREEN = "green"  # 绿电交易合同
    CONFIRMATION = "confirmation"  # 电子交易确认单


class Purpose(StrEnum):
    """What a paper of a contract is for."""

    MAIN = "main"
    SUPPLEMENT = "supplement"
    TERMINATION = "termination"
    TRANSFER = "transfer"
    CONFIRMATION = "confirmation"


SOLD_TO_USERS = frozenset({Kind.AGENCY, Kind.RETAIL})
# Which kinds of parties sell and buy. Wholesale and green power: generators sell, users buy, who stands between does both
# (1656号 art. 11); a retail contract is between a retailer and a user (art. 19), agency also by an aggregator.
_WHOLESALE_SIDES = (
    frozenset({"generator", "retailer", "storage", "vpp"}),
    frozenset({"user", "retailer", "storage", "vpp"}),
)
SIDES: Mapping[Kind, tuple[frozenset[str], frozenset[str]]] = {
    Kind.WHOLESALE: _WHOLESALE_SIDES,
    Kind.GREEN: _WHOLESALE_SIDES,
    Kind.AGENCY: (frozenset({"retailer", "vpp"}), frozenset({"user"})),
    Kind.RETAIL: (frozenset({"retailer"}), frozenset({"user"})),
}

CONTRACT = Life(
    "contract",
    {
        (None, "draw"): "draft",
        (None, "trade"): "effective",
        ("draft", "redraw"): "draft",
        ("draft", "send"): "signing",
        ("draft", "cancel"): "cancelled",
        ("signing", "sign"): "signing",
        ("signing", "complete"): "cooling",
        ("signing", "decline"): "declined",
        ("signing", "expire"): "expired",
        ("signing", "recall"): "draft",
        ("signing", "void"): "void",
        ("declined", "redraw"): "draft",
        ("declined", "cancel"): "cancelled",
        ("expired", "extend"): "signing",
        ("expired", "redraw"): "draft",
        ("expired", "cancel"): "cancelled",
        ("cooling", "retract"): "cancelled",
        ("cooling", "mature"): "effective",
        ("cooling", "void"): "void",
        ("effective", "begin"): "executing",
        ("effective", "amend"): "effective",
        ("effective", "supplement"): "effective",
        ("effective", "transfer"): "effective",
        ("effective", "terminate"): "terminated",
        ("effective", "void"): "void",
        ("executing", "amend"): "executing",
        ("executing", "supplement"): "executing",
        ("executing", "transfer"): "executing",
        ("executing", "complete"): "completed",
        ("executing", "terminate"): "terminated",
        ("executing", "void"): "void",
        ("completed", "archive"): "archived",
        ("terminated", "archive"): "archived",
        ("void", "archive"): "archived",
        ("cancelled", "archive"): "archived",
    },
)
STATES = tuple(dict.fromkeys(CONTRACT.moves.values()))  # in the order of a life
PAPER = Life(
    "contract_paper",
    {
        (None, "draw"): "draft",
        (None, "issue"): "issued",
        ("draft", "replace"): "replaced",
        ("draft", "send"): "signing",
        ("draft", "withdraw"): "withdrawn",
        ("signing", "sign"): "signing",
        ("signing", "complete"): "signed",
        ("signing", "decline"): "declined",
        ("signing", "expire"): "expired",
        ("signing", "recall"): "withdrawn",
        ("signing", "withdraw"): "withdrawn",
        ("expired", "extend"): "signing",
        ("expired", "replace"): "replaced",
        ("declined", "replace"): "replaced",
    },
)
REQUEST = Life(
    "contract_request",
    {
        (None, "ask"): "open",
        ("open", "organise"): "negotiating",
        ("open", "refuse"): "refused",
        ("open", "withdraw"): "withdrawn",
        ("negotiating", "say"): "negotiating",
        ("negotiating", "agree"): "agreed",
        ("negotiating", "fail"): "failed",
        ("negotiating", "withdraw"): "withdrawn",
        ("agreed", "draw"): "agreed",
        ("agreed", "done"): "done",
        ("agreed", "fail"): "failed",
    },
)
IN_FORCE = frozenset({"effective", "executing"})


@dataclass(frozen=True, slots=True)
class NewContract:
    """A contract to enter: its two units (`party:N` or an account number), its time `[start_day, end_day)`, its terms.

    `kind` CONFIRMATION enters effective, every other as a draft. `source` says from where: 'session:17', 'studio'.
    """

    contract_id: str
    kind: Kind
    source: str
    seller: str
    buyer: str
    start_day: date
    end_day: date
    terms: WholesaleTerms | None = None
    drafter_id: int | None = None

    @property
    def deed(self) -> str:
        """Name the deed of its life by which it enters."""
        return "trade" if self.kind is Kind.CONFIRMATION else "draw"


def sides_of(kind: Kind, party_kind: str) -> tuple[str, ...]:
    """List the sides that a kind of party can take in such a contract."""
    return tuple(
        side for side, kinds in zip(("seller", "buyer"), SIDES[kind], strict=True) if party_kind in kinds
    )


def sides_problem(kind: Kind, kinds: tuple[str, str]) -> str:
    """Say what is wrong with the kinds of parties (who sells, who buys) of such a contract; empty when nothing is.

    Tells apart sides that were swapped from parties that this kind of contract is not made between.
    """
    sellers, buyers = SIDES[kind]
    if kinds[0] in sellers and kinds[1] in buyers:
        return ""
    return "sides_swapped" if kinds[1] in sellers and kinds[0] in buyers else "wrong_sides"


def from_trade(terms: WholesaleTerms, source: str) -> NewContract:
    """Make the contract of a trade: of an agreed 'negotiation:…' a draft to sign, of anything else a confirmation.

    Raises ValueError for terms without a volume.
    """
    if not terms.volumes:
        raise ValueError(f"{terms.contract_id}: a trade without a volume")
    months = sorted({volume.month for volume in terms.volumes})
    is_agreed = source.startswith(NEGOTIATION)
    drawn = Kind.GREEN if terms.kind is ContractKind.GREEN else Kind.WHOLESALE
    return NewContract(
        terms.contract_id,
        drawn if is_agreed else Kind.CONFIRMATION,
        source,
        terms.seller,
        terms.buyer,
        months[0],
        month_after(months[-1]),
        terms,
    )


def terms_json(terms: WholesaleTerms) -> dict[str, Any]:
    """Write terms as plain values; numbers with decimals are strings, so that no digit is lost."""
    return {
        "contract_id": terms.contract_id,
        "version": terms.version,
        "kind": terms.kind.value,
        "seller": terms.seller,
        "buyer": terms.buyer,
        "signed": terms.signed.isoformat(),
        "document": terms.document,
        "shape": terms.shape.value,
        "curve": list(terms.curve),
        "volumes": [
            {
                "month": f"{volume.month:%Y-%m}",
                "period": volume.period,
                "mwh": format(volume.mwh, "f"),
                "price": format(volume.price_yuan_per_mwh, "f"),
                "environment": format(volume.environment_yuan_per_mwh, "f"),
            }
            for volume in terms.volumes
        ],
        "green_users": list(terms.green_users),
    }


def terms_from_json(content: Mapping[str, Any]) -> WholesaleTerms:
    """Read what `terms_json` wrote."""
    return WholesaleTerms(
        content["contract_id"],
        content["version"],
        ContractKind(content["kind"]),
        content["seller"],
        content["buyer"],
        date.fromisoformat(content["signed"]),
        content["document"],
        Shape(content["shape"]),
        tuple(content["curve"]),
        tuple(
            Volume(
                date.fromisoformat(f"{each['month']}-01"),
                each["period"],
                Decimal(each["mwh"]),
                Decimal(each["price"]),
                Decimal(each["environment"]),
            )
            for each in content["volumes"]
        ),
        tuple(content["green_users"]),
    )
