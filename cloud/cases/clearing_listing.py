"""Cases of listing and taking 挂牌摘牌. Pure."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from cloud.cases.clearing_scale import MWH, Scale, names_of, order_of_time
from cloud.cases.work import Work
from cloud.market import listing
from cloud.market.auction import Side
from cloud.market.listing import Listing, Refusal, Remainder, Sharing, Take
from cloud.money import EXACT, total

ASKED = f"{MWH} ask_mwh asked_mwh"
FORMULAS = {Sharing.TIME: "in order of time", Sharing.PRORATA: "offer x ask / sum of asks"}
OFFER_TABLE = "listing offer listed_order listing_order listed_offer"

OFFER_MWH = (
    "offer_mwh listed_mwh offered_mwh listed_quantity_mwh offer_quantity_mwh listing_mwh available_mwh offer"
)

OFFER = f"{OFFER_TABLE} {OFFER_MWH}"

TAKERS = "takers takes asks requests taker_orders acceptances accepting_orders demands bids buyers buy_orders applications ask_mwh asks_mwh asked_mwh"

SHARING = {"time": "time", "time_order": "time", "time_priority": "time", "first_come": "time", "pro_rata": "prorata", "prorata": "prorata", "pro-rata": "prorata", "proportional": "prorata", "proportion": "prorata"}  # fmt: skip

REMAINDER = {
    "last": "last",
    "last_participant": "last",
    "last_taker": "last",
    "largest": "largest",
    "largest_remainder": "largest",
}


def rate_listing(work: Work) -> None:
    """Takers accept a listed price; the shares are in the takers' order of the case."""
    takers = _takers(work)
    offer = work.table(OFFER_TABLE) if work.is_table(OFFER_TABLE) else work
    quantity = offer.not_negative(f"{OFFER_MWH} {MWH}")
    asked = [row.not_negative(ASKED) for row in takers]
    price = offer.decimal_or(None, "price listed_price offer_price price_yuan_per_mwh listing_price")
    scale = Scale([], [quantity, *asked])
    listed = _listing(work, scale.kwh(quantity), scale)
    for sharing, name in ((Sharing.TIME, "time_order"), (Sharing.PRORATA, "pro_rata")):
        rows = _rows(work, replace(listed, sharing=sharing), takers, price, scale)
        work.put_rows(f"{name}_allocations", rows, also=name)
        each = [row.results.named["mwh"].value for row in rows]
        work.put(
            f"allocation_{name}",
            list(each),
            FORMULAS[sharing],
            also=f"{name} {name}_allocation allocated_{name}",
        )
    rows = _rows(work, listed, takers, price, scale)
    work.put_rows("allocations", rows)
    order = order_of_time(takers)
    in_time = [row for _, row in sorted(zip(order, rows, strict=True), key=lambda each: each[0])]
    work.put_rows("fills", [row for row in in_time if row.results.named["mwh"].value])
    each_mwh = [row.decimal_result("mwh") for row in rows]
    work.put("allocated_mwh", list(each_mwh), FORMULAS[listed.sharing])
    people = names_of(takers)
    work.put("allocation_by_taker", dict(zip(people, each_mwh, strict=True)), FORMULAS[listed.sharing])
    work.put("total_mwh", total(each_mwh), "sum")
    work.put("remaining_mwh", EXACT.subtract(quantity, total(each_mwh)), "offer - allocated")
    if price is not None:
        work.put("price", price, "the listed price")
        work.put_money("total_amount", EXACT.multiply(price, total(each_mwh)), "price x total_mwh")


def _rows(work: Work, listed: Listing, takers: list[Work], price: Decimal | None, scale: Scale) -> list[Work]:
    """What each taker gets, in the order of the case."""
    asked = [row.not_negative(ASKED) for row in takers]
    order, people = order_of_time(takers), names_of(takers)
    in_time = sorted(range(len(takers)), key=lambda index: order[index])
    result = listing.taken(
        listed, [Take(str(index), people[index], scale.kwh(asked[index])) for index in in_time]
    )
    got = {int(each.take_id): each for each in result.takes}
    rows = []
    for index, person in enumerate(people):
        row = work.part("allocation")
        mwh = scale.mwh(got[index].quantity_kwh)
        row.put("mwh", mwh, FORMULAS[listed.sharing])
        row.put("participant", person)
        row.put("unfilled_mwh", EXACT.subtract(asked[index], mwh), "ask - allocated")
        row.put("rejected", got[index].refusal not in (None, Refusal.LISTING_CLOSED))
        if price is not None:
            row.put("price", price, "the listed price")
            row.put_money("amount", EXACT.multiply(price, mwh), "listed price x mwh")
        rows.append(row)
    return rows


def _listing(work: Work, quantity_kwh: int, scale: Scale) -> Listing:
    """The listing with its rule of sharing; its lister is none of the takers."""
    names = "allocation allocation_rule mode rule_of_allocation sharing allocation_method method rule"
    return Listing(
        "\0",
        Side.SELL,
        0,
        quantity_kwh,
        scale.kwh(work.number_or(0, "min_take_mwh minimum_take_mwh")),
        work.flag(False, "all_or_none"),
        Sharing(work.choice("time", SHARING, names)),
        Remainder(work.choice("last", REMAINDER, "remainder remainder_rule remainder_to")),
    )


def _takers(work: Work) -> list[Work]:
    """Who takes: objects, or a list of quantities."""
    raw = work.raw(TAKERS)
    if isinstance(raw, list) and all(isinstance(each, str) for each in raw):
        path = work.here(TAKERS.split()[0])
        return [
            Work(work.case, {"mwh": f"{each:f}"}, f"{path}[{n}]", work)
            for n, each in enumerate(work.decimals(TAKERS))
        ]
    return work.tables(TAKERS)
