"""What stands around a bill on its page: the months before, the debts, the due date, what it corrects. Pure.

None of it decides an amount of the bill. It is taken as it was known when the bill was issued, so the same bill is
the same paper for ever; and it stands in the attached JSON under "around", so that the paper can be compared with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from cloud.billing.billjson import NotABill, bill_json
from cloud.billing.facts import Bill
from cloud.markettime import month_from

PAST_MONTHS = 12
KEY = "around"


@dataclass(frozen=True, slots=True)
class PastMonth:
    """An earlier month as it stood when this bill was issued."""

    month: date
    total_fen: int
    import_wh: int


@dataclass(frozen=True, slots=True)
class Corrects:
    """What this bill replaces: the amount owed before, and why it changed."""

    revision: int
    total_fen: int
    reason: str  # a code with words ('correction.reading'), or a text


@dataclass(frozen=True, slots=True)
class Seal:
    """A gateway's public key under which the readings of this bill were sealed. Ed25519, hexadecimal."""

    gateway_id: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Around:
    """All of it; an empty one is a bill of which nothing else is known."""

    past: tuple[PastMonth, ...] = ()  # oldest first, at most PAST_MONTHS
    issued_at: datetime | None = None
    due_on: date | None = None
    arrears_fen: int | None = None  # owed of earlier months; None: not looked at
    corrects: Corrects | None = None
    seals: tuple[Seal, ...] = ()

    def month(self, month: date) -> PastMonth | None:
        """Find an earlier month."""
        return next((each for each in self.past if each.month == month), None)


NOTHING = Around()


def bill_file_text(bill: Bill, around: Around = NOTHING) -> str:
    """Write a bill with its surroundings as canonical JSON text: the file that is attached to its PDF."""
    content = {**bill_json(bill), "state": bill.state}
    if around != NOTHING:
        content = {**content, KEY: around_json(around)}
    return json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def around_json(around: Around) -> dict[str, Any]:
    """Write the surroundings."""
    corrects = around.corrects
    return {
        "past": [
            {
                "month": each.month.strftime("%Y-%m"),
                "total_fen": each.total_fen,
                "import_wh": each.import_wh,
            }
            for each in around.past
        ],
        "issued_at": None if around.issued_at is None else around.issued_at.astimezone(UTC).isoformat(),
        "due_on": None if around.due_on is None else around.due_on.isoformat(),
        "arrears_fen": around.arrears_fen,
        "corrects": None
        if corrects is None
        else {"revision": corrects.revision, "total_fen": corrects.total_fen, "reason": corrects.reason},
        "seals": [{"gateway_id": each.gateway_id, "public_key": each.public_key} for each in around.seals],
    }


def around_from_text(text: str | bytes) -> Around:
    """Read the surroundings out of a bill's JSON text; a file without any has none. Raises NotABill."""
    try:
        content = json.loads(text).get(KEY)
        return NOTHING if content is None else _around(content)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotABill("not_a_bill", schema=KEY, problem=f"{type(error).__name__}: {error}") from error


def _around(content: Mapping[str, Any]) -> Around:
    corrects = content["corrects"]
    return Around(
        past=tuple(
            PastMonth(month_from(each["month"]), _whole(each["total_fen"]), _whole(each["import_wh"]))
            for each in content["past"][:PAST_MONTHS]
        ),
        issued_at=_instant(content["issued_at"]),
        due_on=_day(content["due_on"]),
        arrears_fen=None if content["arrears_fen"] is None else _whole(content["arrears_fen"]),
        corrects=None
        if corrects is None
        else Corrects(_whole(corrects["revision"]), _whole(corrects["total_fen"]), _text(corrects["reason"])),
        seals=tuple(Seal(_text(each["gateway_id"]), _text(each["public_key"])) for each in content["seals"]),
    )


def _day(value: object) -> date | None:
    return None if value is None else date.fromisoformat(_text(value))


def _instant(value: object) -> datetime | None:
    if value is None:
        return None
    instant = datetime.fromisoformat(_text(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} has no zone")
    return instant


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value
