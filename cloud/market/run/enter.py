"""Shell: enter a market file. The same file again changes nothing; every correction is one more row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from pathlib import Path

from cloud.contracts.entries import BadMarketFile
from cloud.contracts.store import wholesale
from cloud.contracts.terms import WholesaleTerms
from cloud.db import Conn
from cloud.errors import NotFound
from cloud.market.line import PARTY_PREFIX, party_unit
from cloud.market.marketfile import MarketFile, market_from
from cloud.market.rulefile import MarketRule, rule_from
from cloud.market.store import entered, members
from cloud.market.store.entered import Entry, MarketRow, PriceRow, QuantityRow, RuleRow
from cloud.parties import store as parties


class NoSuchUnit(NotFound):
    """A market file names an account or a party that is not registered."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How much of a file was new."""

    rules: int
    contracts: int
    prices: int
    days: int
    quantities: int


def read_market(path: Path) -> MarketFile:
    """Read a market file and the files beside it. Raises BadMarketFile, OSError."""

    def beside(name: str) -> str:
        return _text(path.parent / name)

    return market_from(path.name, _text(path), beside, _packaged)


def packaged_rules() -> tuple[MarketRule, ...]:
    """List the rules that come with the program; none of them is in force anywhere by itself."""
    folder = resources.files("cloud.market") / "rules"
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".toml"))
    return tuple(rule_from(name, (folder / name).read_text("utf-8")) for name in names)


def enter(conn: Conn, file: MarketFile, actor: str, now: datetime) -> Counted:
    """Enter a market file. Raises AnotherMarket, NoSuchUnit, ContractChanged."""
    entry = Entry(actor, now)
    entered.put_market(conn, MarketRow(file.market_id, file.name), entry)
    for name, kind in file.parties:
        if parties.find_party(conn, name) is None:
            parties.put_party(conn, name, kind)
    rules = sum(
        entered.put_rule(
            conn,
            file.market_id,
            each.from_month,
            RuleRow(
                each.rule.id, each.rule.version, each.rule.sha256, each.rule.document, each.text, now, actor
            ),
        )
        for each in file.rules
    )
    contracts = sum(wholesale.put(conn, _resolved(conn, terms), actor, now) for terms in file.contracts)
    prices = sum(
        entered.put_price(
            conn,
            file.market_id,
            each.month,
            PriceRow(each.price_key, each.value_per_unit, each.source),
            entry,
        )
        for each in file.prices
    )
    quantities = sum(
        entered.put_quantity(
            conn,
            _unit(conn, each.unit),
            each.month,
            QuantityRow(each.item, each.mwh, each.price_yuan_per_mwh, each.source),
            entry,
        )
        for each in file.quantities
    )
    return Counted(rules, contracts, prices, _enter_days(conn, file, entry), quantities)


def _enter_days(conn: Conn, file: MarketFile, entry: Entry) -> int:
    days = 0
    for kind in sorted({each.kind for each in file.spot}):
        of_kind = [(each.day, each.yuan_per_mwh, each.source) for each in file.spot if each.kind == kind]
        days += entered.put_price_days(conn, file.market_id, kind, of_kind, entry)
    for unit in sorted({each.unit for each in file.declared}):
        of_unit = [(each.day, each.kwh, each.source) for each in file.declared if each.unit == unit]
        days += entered.put_declared_days(conn, _unit(conn, unit), of_unit, entry)
    return days


def _resolved(conn: Conn, terms: WholesaleTerms) -> WholesaleTerms:
    return replace(
        terms,
        seller=_unit(conn, terms.seller),
        buyer=_unit(conn, terms.buyer),
        green_users=tuple(_unit(conn, each) for each in terms.green_users),
    )


def _unit(conn: Conn, named: str) -> str:
    """Find the unit behind an account number or 'party:NAME'."""
    if named.startswith(PARTY_PREFIX):
        party_id = parties.find_party(conn, named.removeprefix(PARTY_PREFIX))
        if party_id is not None:
            return party_unit(party_id)
    elif members.find_account(conn, named) is not None:
        return named
    raise NoSuchUnit("no_such_unit", unit=named)


def _packaged(name: str) -> str:
    file = resources.files("cloud.market") / "rules" / f"{name}.toml"
    if "/" in name or not file.is_file():
        names = ", ".join(sorted(rule.id for rule in packaged_rules()))
        raise BadMarketFile("market file", "rule.file", f"package:{name}", f"package: and one of {names}")
    return file.read_text("utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise BadMarketFile(path.name, "(whole file)", "bytes that are no UTF-8", "UTF-8 text") from None
