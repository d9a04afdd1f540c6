"""The closed book read back: each row still what it was when the book was closed, or nothing is cleared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol
from uuid import UUID

from cloud.errors import Conflict
from cloud.market.auction import Side
from cloud.market.curve import Event
from cloud.market.declaration import Declaration, Packed, content_sha256
from cloud.market.sessionbook import Bid, book_sha256

_NO_KEY: Final = UUID(int=0)


class BookChanged(Conflict):
    """A row of the book is not what was hashed when the book was closed."""


class Row(Event, Protocol):
    """A declaration as it is kept: what the curve reads of it, and whose it is."""

    @property
    def party_id(self) -> int | None: ...
    @property
    def unit_id(self) -> str | None: ...
    @property
    def client_key(self) -> UUID | None: ...
    @property
    def content_sha256(self) -> bytes: ...


def bids_of(session_no: str, rows: Iterable[Row]) -> tuple[Bid, ...]:
    """Rows as bids, each with the content that its hash speaks of. Raises BookChanged."""
    return tuple(_bid(session_no, row) for row in rows)


def check_whole(bids: Sequence[Bid], closed_sha256: str | None) -> None:
    """Check that these are the declarations that were hashed when the book was closed. Raises BookChanged."""
    if book_sha256(bids) != closed_sha256:
        raise BookChanged("book_changed", seq=max((bid.seq for bid in bids), default=0))


def _bid(session_no: str, row: Row) -> Bid:
    packed = Packed(tuple(row.period), tuple(row.price_ticks), tuple(row.quantity_kwh))
    sent = Declaration(str(row.unit_id), Side(str(row.side)), (), row.client_key or _NO_KEY, row.replaces)
    content = content_sha256(session_no, sent, packed)
    if content != bytes(row.content_sha256):
        raise BookChanged("book_changed", seq=row.seq)
    return Bid(
        *(row.seq, row.party_id or 0, sent.unit_id, sent.side),
        *(packed.period, packed.price_ticks, packed.quantity_kwh, content.hex()),
    )
