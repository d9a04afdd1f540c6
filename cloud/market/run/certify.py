"""Shell: what a session of certificates has matched goes from the seller's account to the buyer's, once, for its price.

Each piece of the published result is a sale to this one buyer: locked, handed over and owed in one transaction, by the
ledger of certificates, which lets no number be traded twice (0031_green.sql, 0044_green_response.sql).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Conflict
from cloud.market import certificates as gec
from cloud.market.certificates import Kind
from cloud.market.sessiontrade import PieceRow
from cloud.market.store import certificates as store
from cloud.market.store import greensales
from cloud.market.store.certificates import NewEntry
from cloud.market.store.greensales import NewClaim, NewSale
from cloud.market.store.sessions import SessionRow

LASTS: Final = timedelta(minutes=1)  # of a sale that is taken in the same transaction


class CertificatesGone(Conflict):
    """A seller no longer holds what it sold: the piece is to be cut before publication."""


def hand_over(
    conn: Conn, row: SessionRow, run_no: int, pieces: Sequence[PieceRow], who: tuple[str, datetime]
) -> tuple[int, ...]:
    """Hand over what every piece says; return the ledger's entries. Raises CertificatesGone."""
    return tuple(
        _piece(conn, row, f"session:{row.session_no}:{run_no}:{each.piece_no}", each, who) for each in pieces
    )


def _piece(conn: Conn, row: SessionRow, key: str, piece: PieceRow, who: tuple[str, datetime]) -> int:
    actor, now = who
    mwh = piece.quantity_kwh // gec.KWH_PER_MWH
    month = row.period_month[piece.period - 1]
    new = NewSale(piece.seller_id, piece.buyer_id, mwh, piece.price_ticks, now + LASTS, key)
    sale_id, _ = greensales.insert_sale(conn, new, now, actor)
    held, locked = gec.held_account(piece.seller_id), gec.locked_account(piece.seller_id, sale_id)
    free = [
        each.holding
        for each in store.places(conn, held)
        if each.month == month and each.is_tradable and not each.is_traded
    ]
    try:
        runs = gec.picked(free, mwh)
    except gec.NotEnough as short:
        raise CertificatesGone(
            "certificates_gone", seller=piece.seller, piece=piece.piece_no, **short.facts
        ) from short
    lock = NewEntry(
        Kind.LOCK, f"lock:{sale_id}", gec.moved(held, locked, runs), price_ticks=piece.price_ticks
    )
    store.post(conn, lock, now, actor)
    postings = gec.moved(locked, gec.held_account(piece.buyer_id), runs)
    entry_id = store.post(
        conn, NewEntry(Kind.TRANSFER, key, postings, price_ticks=piece.price_ticks), now, actor
    )
    owed_fen = gec.sale_fen(mwh, piece.price_ticks)
    claim = NewClaim(entry_id, sale_id, piece.seller_id, piece.buyer_id, mwh, piece.price_ticks, owed_fen)
    greensales.insert_claim(conn, claim, markettime.day_of(now), now)
    greensales.note_exhausted(conn, sale_id)
    return entry_id
