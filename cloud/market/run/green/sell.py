"""Shell: offer certificates and take them, each once; what is taken is owed in the same transaction."""

from __future__ import annotations

from datetime import datetime

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Invalid, NotNow
from cloud.lives import step
from cloud.market import certificates as gec
from cloud.market.certificates import Kind
from cloud.market.run.green.holder import CLOCK, check_admitted, is_old, tell
from cloud.market.store import certificates as store
from cloud.market.store import greensales
from cloud.market.store.certificates import NewEntry
from cloud.market.store.greensales import NewClaim, NewSale, SaleRow
from cloud.security.access import Actor, Deed, Subject
from cloud.security.run import actor_name, allow


class OwnSale(NotNow):
    """Nobody buys of themselves, and what was offered to somebody else is theirs to take."""


class SaleOver(NotNow):
    """The sale is over."""


def offer(conn: Conn, actor: Actor, sale: NewSale, now: datetime) -> SaleRow:
    """Put certificates aside and offer them, to one buyer or to whoever takes them; once by the seller's key.

    Raises NotAdmitted, NotEnough, BadQuantity.
    """
    allow(conn, actor, Deed.TRADE_GREEN, Subject("party", str(sale.seller_id), sale.seller_id), now)
    check_admitted(conn, sale.seller_id, now)
    gec.check_mwh(sale.mwh)
    if sale.price_ticks < 0 or sale.ends_at <= now or sale.buyer_id == sale.seller_id:
        raise Invalid("green_bad_sale")
    by = actor_name(actor)
    sale_id, is_new = greensales.insert_sale(conn, sale, now, by)
    if is_new:
        held = gec.held_account(sale.seller_id)
        runs = gec.picked(
            [
                each.holding
                for each in store.places(conn, held)
                if each.is_tradable and not each.is_traded and not is_old(each, now)
            ],
            sale.mwh,
        )
        locked = gec.moved(held, gec.locked_account(sale.seller_id, sale_id), runs)
        store.post(
            conn, NewEntry(Kind.LOCK, f"lock:{sale_id}", locked, price_ticks=sale.price_ticks), now, by
        )
        if sale.buyer_id is not None:
            tell(conn, sale.buyer_id, "green.offered", f"green-offer:{sale_id}", now, mwh=str(sale.mwh))
    return greensales.sale(conn, sale_id)


def take(conn: Conn, actor: Actor, sale_id: int, mwh: int, key: str, now: datetime) -> int:
    """Buy of a sale: the certificates are the buyer's at once, and the buyer owes the seller their price.

    Return the entry. The same key takes once. Raises NoSale, NotAdmitted, SaleOver, OwnSale, NotEnough, GoneMeanwhile.
    """
    allow(conn, actor, Deed.TRADE_GREEN, Subject("party", str(actor.party_id), actor.party_id), now)
    assert actor.party_id is not None
    buyer_id = actor.party_id
    check_admitted(conn, buyer_id, now)
    greensales.lock_sale(conn, sale_id)
    idem_key = f"take:{sale_id}:{buyer_id}:{key}"
    if (kept := store.find_entry(conn, idem_key)) is not None:
        return kept[0]
    sale = greensales.sale(conn, sale_id)
    if sale.seller_id == buyer_id or sale.buyer_id not in (None, buyer_id):
        raise OwnSale("green_not_for_you")
    if sale.state != "open" or now >= sale.ends_at:
        raise SaleOver("green_sale_over")
    locked = gec.locked_account(sale.seller_id, sale_id)
    valid = [each.holding for each in store.places(conn, locked) if not is_old(each, now)]
    postings = gec.moved(locked, gec.held_account(buyer_id), gec.picked(valid, mwh))
    entry = NewEntry(Kind.TRANSFER, idem_key, postings, price_ticks=sale.price_ticks)
    entry_id = store.post(conn, entry, now, actor_name(actor))
    owed_fen = gec.sale_fen(mwh, sale.price_ticks)
    claim = NewClaim(entry_id, sale_id, sale.seller_id, buyer_id, mwh, sale.price_ticks, owed_fen)
    greensales.insert_claim(conn, claim, markettime.day_of(now), now)
    greensales.note_exhausted(conn, sale_id)
    tell(conn, sale.seller_id, "green.sold", idem_key, now, mwh=str(mwh))
    return entry_id


def withdraw(conn: Conn, actor: Actor, sale_id: int, now: datetime) -> None:
    """Give up what is left of one's own sale; the certificates are free again."""
    allow(conn, actor, Deed.TRADE_GREEN, _of_sale(conn, sale_id), now)
    greensales.lock_sale(conn, sale_id)
    sale = greensales.sale(conn, sale_id)
    _end(conn, sale, "withdraw", (now, actor_name(actor)))


def _of_sale(conn: Conn, sale_id: int) -> Subject:
    return Subject("green_sale", str(sale_id), greensales.sale(conn, sale_id).seller_id)


def lapse(conn: Conn, now: datetime) -> int:
    """End the sales whose time is over; return how many."""
    due = greensales.lapsed_sales(conn, now)
    for sale_id in due:
        greensales.lock_sale(conn, sale_id)
        sale = greensales.sale(conn, sale_id)
        if sale.state == "open":
            _end(conn, sale, "lapse", (now, CLOCK))
    return len(due)


def _end(conn: Conn, sale: SaleRow, deed: str, made: tuple[datetime, str]) -> None:
    state = step(gec.SALE, sale.state, deed)
    locked = gec.locked_account(sale.seller_id, sale.sale_id)
    runs = [each.holding.serials for each in store.places(conn, locked)]
    if runs:
        postings = gec.moved(locked, gec.held_account(sale.seller_id), runs)
        store.post(conn, NewEntry(Kind.RELEASE, f"release:{sale.sale_id}", postings), *made)
    greensales.move_sale(conn, sale.sale_id, state)
