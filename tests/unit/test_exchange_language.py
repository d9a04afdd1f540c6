"""What is spoken with a trading platform: schemas, exact numbers, waits, the checks of a result."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.market import auction, exchangefile
from cloud.market.auction import AtMargin, Order, PriceRule, Side
from cloud.market.exchange import (
    LONGEST_WAIT,
    MESSAGE,
    BadResult,
    Declaration,
    Entry,
    Kind,
    PeriodResult,
    Result,
    checked,
    clearing_of,
    wait_after,
)
from cloud.market.exchangefile import BadDocument

AT = datetime(2026, 11, 12, 1, 0, tzinfo=UTC)
entries = st.builds(
    Entry,
    period=st.integers(1, 3),
    price_ticks=st.integers(-50_000, 150_000),
    quantity_kwh=st.integers(1, 10**9),
)
declarations = st.builds(
    lambda number, side, own: Declaration(
        f"S-1:{number}", Kind.SUBMIT, "S-1", f"party:{number}", side, tuple(own), None, AT
    ),
    st.integers(1, 10**6),
    st.sampled_from(Side),
    st.lists(entries, min_size=1, max_size=5),
)


def schema(name: str) -> dict[str, object]:
    text = (resources.files("cloud.outside.exchange") / "schema" / f"{name}.json").read_text("utf-8")
    found: dict[str, object] = json.loads(text)
    return found


@given(declarations)
def test_a_declaration_is_of_its_schema_and_reads_back_exactly(own: Declaration) -> None:
    body = exchangefile.declaration_bytes(own)

    jsonschema.validate(json.loads(body), schema("declaration-1"))
    assert exchangefile.declaration_from(body) == own
    assert exchangefile.declaration_bytes(own) == body


def test_a_declaration_as_written_by_hand() -> None:
    own = Declaration("S-1:7", Kind.SUBMIT, "S-1", "party:3", Side.SELL, (Entry(1, 37_205, 1_001),), None, AT)

    assert exchangefile.declaration_bytes(own).decode() == (
        '{"declared_at":"2026-11-12T01:00:00+00:00","entries":[{"mwh":"1.001","period":1,"price":"372.05"}],'
        '"key":"S-1:7","kind":"SUBMIT","replaces":null,"schema":"shoudian-exchange-declaration/1","session":"S-1",'
        '"side":"S","unit":"party:3"}'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "shoudian-exchange-declaration/2"},
        {"side": "X"},
        {"kind": "AMEND"},
        {"entries": [{"period": 1, "price": "372.055", "mwh": "1.000"}]},
        {"entries": [{"period": 1, "price": "372.05", "mwh": "1.0001"}]},
        {"entries": [{"period": 1, "price": "NaN", "mwh": "1"}]},
        {"entries": [{"period": 1.0, "price": "1", "mwh": "1"}]},
        {"entries": []},
        {"declared_at": "yesterday"},
        {"key": 7},
    ],
)
def test_what_is_not_exactly_of_the_schema_is_refused(change: dict[str, object]) -> None:
    own = Declaration("S-1:7", Kind.SUBMIT, "S-1", "party:3", Side.SELL, (Entry(1, 1, 1),), None, AT)
    content = json.loads(exchangefile.declaration_bytes(own)) | change

    with pytest.raises(BadDocument):
        exchangefile.declaration_from(json.dumps(content).encode())


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"null", b'{"schema":1.5}', b"[" * 100_000])
def test_what_is_no_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadDocument):
        exchangefile.result_from(body)


def test_waits_double_up_to_the_longest() -> None:
    waits = [wait_after(attempts) for attempts in range(1, 30)]

    assert [wait.total_seconds() for wait in waits[:4]] == [5, 10, 20, 40]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT == timedelta(minutes=10)


def test_the_database_and_the_life_know_the_same_moves() -> None:
    text = (resources.files("cloud") / "schema" / "0032_exchange.sql").read_text("utf-8")
    rows = text.split("INSERT INTO exchange_move VALUES")[1].split(";")[0]

    for (before, deed), after in MESSAGE.moves.items():
        assert f"('{before or ''}', '{deed}', '{after}')" in rows
    assert rows.count("(") == len(MESSAGE.moves)


def cleared(book: list[Declaration]) -> Result:
    periods = sorted({entry.period for own in book for entry in own.entries})
    fills = {own.key: [0] * len(own.entries) for own in book}
    found = []
    for period in periods:
        orders = [
            Order(f"{own.key}/{place}", own.side, entry.price_ticks, entry.quantity_kwh, number * 100 + place)
            for number, own in enumerate(book)
            for place, entry in enumerate(own.entries)
            if entry.period == period
        ]
        done = auction.cleared(orders)
        for fill in done.fills:
            key, _, place = fill.order_id.rpartition("/")
            fills[key][int(place)] = fill.quantity_kwh
        price = auction.price_ticks(done, PriceRule.MARGINAL)
        ends = (done.last_bid_ticks, done.last_ask_ticks, done.bid_out_ticks, done.ask_out_ticks)
        found.append(PeriodResult(period, done.volume_kwh, price, *ends))
    whole = {key: tuple(own) for key, own in fills.items()}
    return Result("S-1", 1, PriceRule.MARGINAL, AtMargin.TIME, tuple(found), whole)


books = st.lists(declarations, min_size=1, max_size=8, unique_by=lambda own: own.key)


@given(books)
def test_every_true_clearing_passes_and_comes_back_as_the_auctions_own_type(book: list[Declaration]) -> None:
    result = cleared(book)
    declared = {own.key: own for own in book}

    body = exchangefile.canonical(exchangefile.result_json(result))
    jsonschema.validate(json.loads(body), schema("result-1"))
    read = exchangefile.result_from(body)

    assert read == result
    assert checked(read, declared) is read
    for each in read.periods:
        clearing = clearing_of(read, declared, each.period)
        assert auction.price_ticks(clearing, PriceRule.MARGINAL) == each.price_ticks
        sold = sum(fill.quantity_kwh for fill in clearing.fills)
        assert sold == 2 * each.volume_kwh


@given(books, st.data())
def test_a_result_that_was_tampered_with_is_refused(book: list[Declaration], data: st.DataObject) -> None:
    result, declared = cleared(book), {own.key: own for own in book}
    key = data.draw(st.sampled_from(sorted(declared)))
    place = data.draw(st.integers(0, len(declared[key].entries) - 1))
    more = data.draw(st.integers(1, 10**6))
    fills = list(result.fills[key])
    fills[place] += more
    changed = {
        "a quantity": replace(result, fills={**result.fills, key: tuple(fills)}),
        "a declaration that nobody made": replace(result, fills={**result.fills, "S-1:0": (0,)}),
        "one left out": replace(
            result, fills={name: own for name, own in result.fills.items() if name != key}
        ),
        "a period twice": replace(result, periods=(*result.periods, result.periods[0])),
        "a volume": replace(
            result,
            periods=(
                replace(result.periods[0], volume_kwh=result.periods[0].volume_kwh + more),
                *result.periods[1:],
            ),
        ),
    }

    for each in changed.values():
        with pytest.raises(BadResult):
            checked(each, declared)


def test_a_price_that_a_buyer_never_offered_is_refused() -> None:
    buyer = Declaration("S-1:1", Kind.SUBMIT, "S-1", "party:1", Side.BUY, (Entry(1, 300, 10),), None, AT)
    seller = Declaration("S-1:2", Kind.SUBMIT, "S-1", "party:2", Side.SELL, (Entry(1, 200, 10),), None, AT)
    declared = {own.key: own for own in (buyer, seller)}
    result = cleared([buyer, seller])

    for price in (301, 199):
        period = replace(result.periods[0], price_ticks=price)
        with pytest.raises(BadResult):
            checked(replace(result, periods=(period,)), declared)


def test_nobody_gets_more_than_was_declared_even_where_it_balances() -> None:
    buyer = Declaration("S-1:1", Kind.SUBMIT, "S-1", "party:1", Side.BUY, (Entry(1, 300, 10),), None, AT)
    seller = Declaration("S-1:2", Kind.SUBMIT, "S-1", "party:2", Side.SELL, (Entry(1, 200, 10),), None, AT)
    result = cleared([buyer, seller])
    more = replace(
        result,
        periods=(replace(result.periods[0], volume_kwh=11),),
        fills={own.key: (11,) for own in (buyer, seller)},
    )

    with pytest.raises(BadResult):
        checked(more, {own.key: own for own in (buyer, seller)})
