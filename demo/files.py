"""The texts that describe the demonstration's world to the system: the site file, and each agent's lines and meters. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date

from demo.history import BILL_MONTH
from demo.world import GATEWAYS, LATE_CONTRACT, PLANT, RETAILER, SITES, WIND_FARM, Site, Terms

INSTALLED_ON = date(2026, 1, 1)
AGENT_MARK = "# --- 以下由演示程序写入 / from here on written by the demonstration ---"
LATE_CONTRACT_FILE = "late-contract.toml"
_TABLE_KINDS = {"generation": "generator"}


def site_text(*, is_late_contract_known: bool = False) -> str:
    """Write the site file of the whole world (docs/operations/site-file.md)."""
    blocks = [_table("party", {"name": party, "kind": kind}) for party, kind in _parties()]
    for site in SITES:
        blocks += [
            _table(
                "account",
                {"id": site.account_id, "party": site.party, "name": site.party, "address": site.place},
            ),
            *(_late_terms(site) if is_late_contract_known and _is_late(site) else (_terms(site.terms),)),
            *_opening(site),
            _table(
                "supply_point", {"id": site.supply_point_id, "account": site.account_id, "name": site.party}
            ),
        ]
    blocks += [_table("gateway", {"id": gateway.gateway_id, "name": gateway.name}) for gateway in GATEWAYS]
    for site in SITES:
        blocks.append(
            _table("meter", {"id": site.meter_id, "profile": site.profile, "address": site.address})
        )
        installation = {
            "meter": site.meter_id,
            "supply_point": site.supply_point_id,
            "gateway": site.gateway_id,
            "multiplier": site.multiplier,
            "from": INSTALLED_ON,
        }
        blocks.append(_table("installation", installation))
    return "\n\n".join(blocks) + "\n"


def late_site_text() -> str:
    """Write what was entered after the bills: the account that signed for a package inside the month."""
    (site,) = filter(_is_late, SITES)
    kind = _TABLE_KINDS.get(site.terms.category, "user")
    account = {"id": site.account_id, "party": site.party, "name": site.party, "address": site.place}
    blocks = (_table("party", {"name": site.party, "kind": kind}), _table("account", account))
    return "\n\n".join((*blocks, *_late_terms(site))) + "\n"


def _is_late(site: Site) -> bool:
    return site.account_id == LATE_CONTRACT[0]


def _late_terms(site: Site) -> tuple[str, str]:
    first_day = LATE_CONTRACT[2]
    retail = replace(site.terms, purchase="retail")
    return f"{_terms(site.terms)}\nto = {first_day}", _terms(retail, date.fromisoformat(first_day))


def agent_text(
    enrolled: str, gateway_id: str, urls: Mapping[str, str], broker_port: int, mqtt_version: int
) -> str:
    """Complete the agent.toml that enrolment wrote: where the broker is today, the lines at `urls`, the meters."""
    today = {"port": broker_port, "mqtt_version": mqtt_version}
    identity = [
        f"{key} = {today[key]}" if (key := line.partition(" = ")[0]) in today else line
        for line in enrolled.split(AGENT_MARK)[0].rstrip().splitlines()
    ]
    blocks = ["\n".join(identity), AGENT_MARK]
    blocks += [_table("port", {"name": name, "url": url}) for name, url in urls.items()]
    for site in SITES:
        if site.gateway_id == gateway_id:
            keys = ("meter_id", "port", "profile", "address")
            blocks.append(_table("meter", {key: getattr(site, key) for key in keys}))
    return "\n\n".join(blocks) + "\n"


def billed_sites() -> tuple[Site, ...]:
    """Sites whose bill the published prices of the demonstration's month can make: 工商业 and residents."""
    return tuple(site for site in SITES if site.terms.category in ("commercial", "residential"))


def _parties() -> Iterable[tuple[str, str]]:
    yield RETAILER, "retailer"
    yield PLANT, "generator"
    yield WIND_FARM, "generator"
    for site in SITES:
        yield site.party, _TABLE_KINDS.get(site.terms.category, "user")


def _opening(site: Site) -> Iterable[str]:
    if site.used_kwh is not None:
        month = f"{BILL_MONTH:%Y-%m}"
        yield _table("account.year_opening", {"month": month, "kwh": site.used_kwh})


def _terms(terms: Terms, first_day: date = INSTALLED_ON) -> str:
    values = {
        "from": first_day,
        "category": terms.category,
        "purchase": terms.purchase,
        "structure": terms.structure,
        "voltage": terms.voltage,
        "demand_mode": None if terms.demand_mode == "none" else terms.demand_mode,
        "capacity_kva": terms.capacity_kva,
        "contract_demand_kw": terms.contract_demand_kw,
        "power_factor_standard": terms.power_factor_standard,
        "option": terms.option,
    }
    return _table("account.terms", values)


def _table(name: str, values: Mapping[str, object]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[[{name}]]", *lines])


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
