"""Cases of listing and taking 挂牌摘牌. Pure."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from cloud.cases.clearing_scale import MWH, Scale, names_of, order_of_time
from cloud.cases.work import Work
from cloud.market import listing
from cloud.market.auction import Side
from cloud.market.listing import Listing, Refusal, Remainder, Sharing, Take, Withdrawal
from cloud.money import EXACT, total

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
    takers = _takers(work)
    offer = work.table(OFFER_TABLE) if work.is_table(OFFER_TABLE) else work
    quantity = offer.not_negative(f"{OFFER_MWH} {MWH}")
    price = offer.decimal_or(None, "price listed_price offer_price price_yuan_per_mwh listing_price")
    scale = Scale(
        [price or Decimal(0)], [quantity, *(row.not_negative(f"{MWH} ask_mwh asked_mwh") for row in takers)]
    )
    sharing = Sharing(
        work.choice(
            "time",
            SHARING,
            "allocation allocation_rule mode rule_of_allocation sharing allocation_method method",
        )
    )
    remainder = Remainder(work.choice("last", REMAINDER, "remainder remainder_rule remainder_to"))
    listed = Listing(
        "",
        Side.SELL,
        0,
        scale.kwh(quantity),
        scale.kwh(work.number_or(0, "min_take_mwh minimum_take_mwh")),
        work.flag(False, "all_or_none"),
        sharing,
        remainder,
    )
    order = order_of_time(takers)
    people = names_of(takers)
    takes = [
        Take(str(index), people[index], scale.kwh(takers[index].not_negative(f"{MWH} ask_mwh asked_mwh")))
        for index in sorted(range(len(takers)), key=lambda index: order[index])
    ]
    events: list[Take | Withdrawal] = list(takes)
    result = listing.taken(replace(listed, lister="\0"), events)
    got = {each.take_id: each for each in result.takes}
    rows = []
    for index, person in enumerate(people):
        row = work.part("allocation")
        mine = got[str(index)]
        row.put(
            "mwh",
            scale.mwh(mine.quantity_kwh),
            "in order of time" if sharing is Sharing.TIME else "offer x ask / sum of asks",
            also="allocated_mwh quantity_mwh quantity fill_mwh allocation_mwh",
        )
        row.put("participant", person, "", also="taker name buyer")
        row.put(
            "unfilled_mwh",
            EXACT.subtract(
                takers[index].not_negative(f"{MWH} ask_mwh asked_mwh"), scale.mwh(mine.quantity_kwh)
            ),
            "ask - allocated",
            also="unallocated_mwh",
        )
        row.put(
            "rejected",
            mine.refusal is not None and mine.refusal is not Refusal.LISTING_CLOSED,
            "",
            also="refused",
        )
        if price is not None:
            row.put_money("amount", EXACT.multiply(price, scale.mwh(mine.quantity_kwh)), "listed price x mwh")
        rows.append(row)
    work.put_rows("allocations", rows, also="allocation allocated fills shares takers matched rows")
    each_mwh = [row.results.named["mwh"].value for row in rows]
    work.put("allocated_mwh", list(each_mwh), "", also="allocation_mwh quantities allocations_mwh")
    work.put(
        "allocation_by_taker",
        dict(zip(people, each_mwh, strict=True)),
        "",
        also="allocation_by_participant allocated_by_participant fills_by_taker",
    )
    whole = total(value for value in each_mwh if isinstance(value, Decimal))
    work.put("total_mwh", whole, "sum", also="allocated_total_mwh total_allocated_mwh sold_mwh")
    work.put(
        "remaining_mwh",
        scale.mwh(result.remaining_kwh),
        "offer - allocated",
        also="unsold_mwh rest_mwh unfilled_mwh remaining unallocated_mwh",
    )
    if price is not None:
        work.put("price", price, "the listed price", also="trade_price")
        work.put_money("total_amount", EXACT.multiply(price, whole), "price x total_mwh", also="amount")


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
