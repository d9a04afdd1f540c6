"""A site file: parties, accounts, supply points, gateways, meters and installations as one TOML text.

`site_from` is pure and refuses with file, key and what is allowed; `import_site` saves a site, and saving the same
file again changes nothing. The format is described in docs/operations/site-file.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloud import markettime
from cloud.db import Conn
from cloud.errors import Conflict, Invalid
from cloud.metering.device import Installation
from cloud.metering.store import stock
from cloud.parties import store as parties
from cloud.parties.store import DatedTerms

GATEWAY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
METER_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
ACCOUNT_ID = re.compile(r"[0-9]{10,13}", re.ASCII)
NAME = re.compile(r"[^\x00-\x1f]{1,200}")
PROFILE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
ADDRESS = re.compile(r"[0-9A-Fa-f]{1,12}", re.ASCII)

PARTY_KINDS = ("user", "retailer", "generator", "vpp")
CATEGORIES = ("commercial", "residential", "agricultural", "generation")
PURCHASES = ("agency", "direct", "retail", "catalogue")
STRUCTURES = ("single_part", "two_part")
VOLTAGES = ("lt1kV", "1-10kV", "35kV", "110kV", "ge220kV")
DEMAND_MODES = ("none", "capacity", "contracted", "actual")
POWER_FACTORS = ("0.80", "0.85", "0.90")
GRID = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
OPTION = re.compile(r"[a-z0-9_]{1,30}", re.ASCII)
MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])", re.ASCII)
DEFAULT_GRID = "jibei"
KWH_MAX = 10**9


class BadSite(Invalid):
    """A site file says something that cannot be."""

    def __str__(self) -> str:
        return f"{self.facts['file']}: {self.facts['key']}: {self.facts['problem']}；允许 / allowed: {self.facts['allowed']}"


class SiteConflict(Conflict):
    """A site file contradicts what the database holds, or itself."""

    def __str__(self) -> str:
        return f"{self.facts['key']}: {self.facts['problem']}"


@dataclass(frozen=True, slots=True)
class Party:
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class YearOpening:
    """The kWh of the calendar year before the first month that is billed here."""

    month: date
    kwh: int


@dataclass(frozen=True, slots=True)
class Account:
    account_id: str
    party: str
    name: str
    address: str
    grid: str
    terms: tuple[DatedTerms, ...]
    year_openings: tuple[YearOpening, ...]


@dataclass(frozen=True, slots=True)
class SupplyPoint:
    supply_point_id: str
    account_id: str
    name: str


@dataclass(frozen=True, slots=True)
class GatewayEntry:
    gateway_id: str
    name: str


@dataclass(frozen=True, slots=True)
class MeterEntry:
    meter_id: str
    profile: str
    address: str


@dataclass(frozen=True, slots=True)
class InstallationEntry:
    """A meter at a supply point, read by a gateway, in `[start, end)`; `multiplier` is CT x PT."""

    meter_id: str
    supply_point_id: str
    gateway_id: str
    multiplier: int
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Site:
    """Everything one file says."""

    parties: tuple[Party, ...]
    accounts: tuple[Account, ...]
    supply_points: tuple[SupplyPoint, ...]
    gateways: tuple[GatewayEntry, ...]
    meters: tuple[MeterEntry, ...]
    installations: tuple[InstallationEntry, ...]


# ---- reading ---------------------------------------------------------------------------------------------


def read_utf8(file: Path) -> str:
    """The file's text. Raises BadSite, OSError."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        at = f"byte {problem.start + 1} is no UTF-8"
        raise BadSite("bad_site", file=file, key="TOML", problem=at, allowed="UTF-8") from None


def site_from(text: str, file: str) -> Site:
    """Read a site file's text; `file` is only for messages. Raises BadSite."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadSite(
            "bad_site", file=file, key="TOML", problem=str(problem), allowed="a TOML document"
        ) from problem
    top = _Table(document, file, "")
    site = Site(
        parties=tuple(
            Party(t.text("name", NAME), t.choice("kind", PARTY_KINDS, "user")) for t in top.tables("party")
        ),
        accounts=tuple(_account(table) for table in top.tables("account")),
        supply_points=tuple(
            SupplyPoint(t.text("id", GATEWAY_ID), t.text("account", ACCOUNT_ID), t.text("name", NAME))
            for t in top.tables("supply_point")
        ),
        gateways=tuple(
            GatewayEntry(t.text("id", GATEWAY_ID), t.text("name", NAME)) for t in top.tables("gateway")
        ),
        meters=tuple(
            MeterEntry(t.text("id", METER_ID), t.text("profile", PROFILE), t.text("address", ADDRESS))
            for t in top.tables("meter")
        ),
        installations=tuple(
            InstallationEntry(
                t.text("meter", METER_ID),
                t.text("supply_point", GATEWAY_ID),
                t.text("gateway", GATEWAY_ID),
                t.integer("multiplier", 1, 1_000_000),
                *t.period(),
            )
            for t in top.tables("installation")
        ),
    )
    top.refuse_unread()
    return site


def _account(table: _Table) -> Account:
    account_id = table.text("id", ACCOUNT_ID)
    return Account(
        account_id=account_id,
        party=table.text("party", NAME),
        name=table.text("name", NAME),
        address=table.text("address", NAME),
        grid=table.text("grid", GRID) if table.has("grid") else DEFAULT_GRID,
        terms=tuple(_terms(terms, account_id) for terms in table.tables("terms")),
        year_openings=tuple(
            YearOpening(markettime.month_from(each.text("month", MONTH)), each.integer("kwh", 0, KWH_MAX))
            for each in table.tables("year_opening")
        ),
    )


def _terms(table: _Table, account_id: str) -> DatedTerms:
    structure = table.choice("structure", STRUCTURES)
    allowed_modes = ("none",) if structure == "single_part" else DEMAND_MODES[1:]
    demand_mode = table.choice("demand_mode", allowed_modes, "none" if structure == "single_part" else None)
    power_factor = table.choice("power_factor_standard", (*POWER_FACTORS, "none"), "none")
    return DatedTerms(
        account_id,
        *table.period(),
        category=table.choice("category", CATEGORIES),
        purchase=table.choice("purchase", PURCHASES),
        structure=structure,
        voltage=table.choice("voltage", VOLTAGES),
        demand_mode=demand_mode,
        capacity_kva=table.integer_if("capacity_kva", needed=demand_mode != "none"),
        contract_demand_kw=table.integer_if("contract_demand_kw", needed=demand_mode == "contracted"),
        power_factor_standard=None if power_factor == "none" else Decimal(power_factor),
        option=table.text("option", OPTION) if table.has("option") else "",
    )


class _Table:
    """Reads one TOML table and says by file and key what is wrong with it; unread keys are refused at the end."""

    def __init__(self, table: Mapping[str, Any], file: str, path: str) -> None:
        self._table = table
        self._file = file
        self._path = path
        self._read: set[str] = set()
        self._children: list[_Table] = []

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._bad(
                key, f"is {value!r}" if value is not None else "is missing", f"text like {pattern.pattern}"
            )
        return value

    def has(self, key: str) -> bool:
        """Whether a key that may be absent is there."""
        self._read.add(key)
        return key in self._table

    def choice(self, key: str, allowed: Collection[str], default: str | None = None) -> str:
        value = self._take(key)
        if value is None and default is not None:
            return default
        if value not in allowed:
            raise self._bad(key, f"is {value!r}" if value is not None else "is missing", " | ".join(allowed))
        return str(value)

    def integer(self, key: str, lowest: int, highest: int) -> int:
        value = self._take(key)
        if type(value) is not int or not lowest <= value <= highest:
            allowed = f"a whole number from {lowest} to {highest}"
            raise self._bad(key, f"is {value!r}" if value is not None else "is missing", allowed)
        return value

    def integer_if(self, key: str, *, needed: bool) -> int | None:
        if key not in self._table and not needed:
            return None
        return self.integer(key, 1, 2**31 - 1)

    def period(self) -> tuple[datetime, datetime | None]:
        """`from` and `to`: half-open; a date means midnight in the market's zone; no `to` means it lasts."""
        start, end = self._instant("from"), self._instant("to")
        if start is None:
            raise self._bad("from", "is missing", "a date like 2026-01-01, or a date-time with zone")
        if end is not None and end <= start:
            raise self._bad(
                "to", f"is {self._table['to']}", f"an instant after `from` ({self._table['from']})"
            )
        return start, end

    def tables(self, key: str) -> tuple[_Table, ...]:
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._bad(key, "is not a list of tables", f"[[{key}]] tables")
        children = tuple(
            _Table(one, self._file, f"{self._path}{key}[{at}].") for at, one in enumerate(value, 1)
        )
        self._children.extend(children)
        return children

    def refuse_unread(self) -> None:
        """Refuse keys that nobody asked for: a typing mistake must not become a default."""
        for key in self._table.keys() - self._read:
            raise self._bad(key, "is not a key of this table", ", ".join(sorted(self._read)))
        for child in self._children:
            child.refuse_unread()

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self._table.get(key)

    def _instant(self, key: str) -> datetime | None:
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
        if isinstance(value, date) and not isinstance(value, datetime):
            return markettime.slot_start(value, 0)
        raise self._bad(key, f"is {value!r}", "a date like 2026-01-01, or a date-time with zone")

    def _bad(self, key: str, problem: str, allowed: str) -> BadSite:
        return BadSite(
            "bad_site", file=self._file, key=f"{self._path}{key}", problem=problem, allowed=allowed
        )


# ---- saving ----------------------------------------------------------------------------------------------


def import_site(conn: Conn, site: Site) -> None:
    """Save everything a site file says, in the caller's transaction. Safe to repeat.

    Names and addresses are renewed and periods may be ended; anything else that differs from what the database
    holds is refused. Raises SiteConflict.
    """
    party_ids = {party.name: parties.put_party(conn, party.name, party.kind) for party in site.parties}
    for account in site.accounts:
        key = f"account {account.account_id}"
        if account.party not in party_ids:
            raise SiteConflict(
                "site_conflict", key=key, problem=f"party {account.party!r} is not in this file"
            )
        new = parties.NewAccount(
            *(account.account_id, party_ids[account.party], account.name, account.address, account.grid)
        )
        _agree(
            parties.put_account(conn, new), key, "belongs to another party or is in another grid area already"
        )
        for terms in account.terms:
            _put_terms(conn, terms)
        for opening in account.year_openings:
            kept = parties.put_year_opening(conn, account.account_id, opening.month, opening.kwh)
            _agree(kept, f"{key} year_opening", "that year has an opening with other content already")
    for point in site.supply_points:
        _put_supply_point(conn, point)
    for gateway in site.gateways:
        stock.put_gateway(conn, gateway.gateway_id, gateway.name)
    meter_keys = {m.meter_id: stock.put_meter(conn, m.meter_id, m.profile, m.address) for m in site.meters}
    for installation in site.installations:
        _put_installation(conn, installation, meter_keys)


def _put_terms(conn: Conn, terms: DatedTerms) -> None:
    key = f"terms of account {terms.account_id} from {terms.start.isoformat()}"
    try:
        _agree(
            parties.put_terms(conn, terms),
            key,
            "are there already with other content; end them and add new ones",
        )
    except parties.TermsOverlap as problem:
        raise SiteConflict(
            "site_conflict", key=key, problem="overlap other terms of the account"
        ) from problem


def _put_supply_point(conn: Conn, point: SupplyPoint) -> None:
    key = f"supply_point {point.supply_point_id}"
    try:
        kept = parties.put_supply_point(conn, point.supply_point_id, point.account_id, point.name)
    except parties.NoSuchAccount as problem:
        raise SiteConflict(
            "site_conflict", key=key, problem=f"there is no account {point.account_id}"
        ) from problem
    _agree(kept, key, "belongs to another account already")


def _put_installation(conn: Conn, entry: InstallationEntry, meter_keys: Mapping[str, int]) -> None:
    key = f"installation of meter {entry.meter_id} from {entry.start.isoformat()}"
    if entry.meter_id not in meter_keys:
        raise SiteConflict("site_conflict", key=key, problem="the meter is not in this file")
    installation = Installation(
        *(meter_keys[entry.meter_id], entry.supply_point_id, entry.gateway_id, entry.multiplier),
        *(entry.start, entry.end),
    )
    try:
        kept = stock.put_installation(conn, installation)
    except stock.NoSuchPlace as problem:
        missing = f"there is no supply point {entry.supply_point_id} or no gateway {entry.gateway_id}"
        raise SiteConflict("site_conflict", key=key, problem=missing) from problem
    except stock.PlaceTaken as problem:
        taken = f"the meter or the supply point {entry.supply_point_id} is taken in that time"
        raise SiteConflict("site_conflict", key=key, problem=taken) from problem
    _agree(kept, key, "is there already with another supply point, gateway or multiplier")


def _agree(kept: bool, key: str, problem: str) -> None:
    if not kept:
        raise SiteConflict("site_conflict", key=key, problem=problem)
