"""Where a person can go from anywhere: one table of the header's links, by what the person may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloud.security.access import Actor, Deed, Role, may


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the header. `key` names its text (nav.<key>) and picture; `group` the menu it stands in, '' = none.

    `here` are the beginnings of the paths on which it is the current one.
    """

    key: str
    path: str
    deed: Deed
    group: str = ""
    here: tuple[str, ...] = ()

    def is_here(self, request_path: str) -> bool:
        """Say whether a page belongs to this link."""
        return request_path == self.path or request_path.startswith(self.here)


@dataclass(frozen=True, slots=True)
class Menu:
    """Links in the order of the header; those of one group stand in one menu."""

    group: str
    links: tuple[Link, ...]

    def is_here(self, request_path: str) -> bool:
        """Say whether a page belongs to one of its links."""
        return any(link.is_here(request_path) for link in self.links)


STAFF: Final = (
    Link("accounts", "/accounts", Deed.LIST_ACCOUNTS, here=("/accounts", "/bills")),
    Link("fleet", "/fleet", Deed.SEE_FLEET, here=("/fleet", "/gateways")),
    Link("review", "/review", Deed.REVIEW_BILLS, "money", here=("/review",)),
    Link("questions", "/questions", Deed.ANSWER_QUESTIONS, "money", here=("/questions",)),
    Link("receivables", "/receivables", Deed.SEE_RECEIVABLES, "money", here=("/receivables",)),
    Link("corrections", "/corrections", Deed.SEE_CORRECTIONS, "money", here=("/corrections",)),
    Link("ledger", "/ledger", Deed.SEE_LEDGER, "money", here=("/ledger",)),
    Link("settlement", "/settlement", Deed.SEE_SETTLEMENT, "money", here=("/settlement", "/statements")),
    Link("tariffs", "/tariffs", Deed.SEE_TARIFFS, "money", here=("/tariffs",)),
    Link("sessions", "/trading/desk", Deed.DIRECT_TRADING, "market", here=("/trading",)),
    Link("rolling", "/rolling", Deed.SEE_ROLLING, "market", here=("/rolling",)),
    Link("listings", "/listings", Deed.SEE_LISTINGS, "market", here=("/listings",)),
    Link("negotiations", "/negotiations", Deed.SEE_NEGOTIATIONS, "market", here=("/negotiations",)),
    Link("contracts", "/contracts", Deed.SEE_CONTRACTS, "market", here=("/contracts", "/contract-draft")),
    Link("contract_texts", "/contract-texts", Deed.SEE_CONTRACT_TEXTS, "market", here=("/contract-texts",)),
    Link("transfers", "/transfers", Deed.SEE_NEGOTIATIONS, "market", here=("/transfers",)),
    Link("green", "/green", Deed.SEE_GREEN, "market", here=("/green",)),
    Link("response", "/response", Deed.SEE_RESPONSE, "market", here=("/response",)),
    Link("entities", "/entities", Deed.SEE_ENTITIES, "parties", here=("/entities",)),
    Link("entity_review", "/entity-review", Deed.SEE_ENTITIES, "parties", here=("/entity-review",)),
    Link("qualifications", "/qualifications", Deed.SEE_ENTITIES, "parties", here=("/qualifications",)),
    Link("publicity", "/publicity", Deed.SEE_PUBLICITY, "parties", here=("/publicity",)),
    Link("credit", "/credit", Deed.SEE_CREDIT, "parties", here=("/credit",)),
    Link("risk", "/risk", Deed.SEE_RISK, "parties", here=("/risk",)),
    Link("exchange", "/exchange", Deed.SEE_EXCHANGE, "oversight", here=("/exchange",)),
    Link("reports", "/reports", Deed.SEE_REPORTS, "oversight", here=("/reports",)),
    Link("regulator", "/regulator", Deed.SEE_REGULATOR, "oversight", here=("/regulator",)),
    Link("policies", "/policies", Deed.SEE_POLICIES, "oversight", here=("/policies",)),
    Link("field", "/field", Deed.SEE_FIELD),
)
TECHNICIAN: Final = (Link("field", "/field", Deed.SEE_FIELD, here=("/gateways",)),)
REGULATOR: Final = (
    Link("regulator", "/regulator", Deed.SEE_REGULATOR, here=("/regulator",)),
    Link("policies", "/policies", Deed.SEE_POLICIES, here=("/policies",)),
    Link("publicity", "/publicity", Deed.SEE_PUBLICITY, here=("/publicity",)),
)
MARKET: Final = (  # of a party that may trade
    Link("trading", "/trading", Deed.SEE_TRADING, "market", here=("/trading",)),
    Link("rolling", "/rolling", Deed.SEE_ROLLING, "market", here=("/rolling",)),
    Link("listings", "/listings", Deed.SEE_LISTINGS, "market", here=("/listings",)),
    Link("negotiations", "/negotiations", Deed.SEE_NEGOTIATIONS, "market", here=("/negotiations",)),
    Link("contracts", "/contracts", Deed.SEE_CONTRACTS, "market", here=("/contracts", "/contract-draft")),
    Link("transfers", "/transfers", Deed.SEE_NEGOTIATIONS, "market", here=("/transfers",)),
    Link("green", "/green", Deed.SEE_GREEN, "market", here=("/green",)),
    Link("response", "/response", Deed.SEE_RESPONSE, "market", here=("/response",)),
    Link("risk", "/risk", Deed.SEE_RISK, "market", here=("/risk",)),
    Link("policies", "/policies", Deed.SEE_POLICIES, "market", here=("/policies",)),
)
OWN: Final = (  # the menu under a person's name
    Link("notices", "/notices", Deed.SEE_NOTICES),
    Link("company", "/company", Deed.SEE_COMPANY),
    Link("own_credit", "/credit", Deed.SEE_CREDIT),
    Link("statements", "/statements", Deed.ANSWER_STATEMENT),
    Link("security", "/security", Deed.SEE_OWN_SECURITY),
)


def _customer(base: str) -> tuple[Link, ...]:
    return (
        Link("live", f"{base}/live", Deed.SEE_USAGE),
        Link("usage", f"{base}/usage", Deed.SEE_USAGE, here=(f"{base}/months", f"{base}/days")),
        Link("bills", f"{base}/bills", Deed.SEE_BILLS, here=("/bills",)),
        Link(
            "pay", f"{base}/payments", Deed.SEE_PAYMENTS, here=(f"{base}/payments", "/payments", "/receipts")
        ),
        Link("packages", f"{base}/packages", Deed.COMPARE_PACKAGES, here=(f"{base}/packages",)),
    )


_BY_ROLE: Final = {Role.STAFF: STAFF, Role.TECHNICIAN: TECHNICIAN, Role.REGULATOR: REGULATOR}


def menus_for(actor: Actor | None, account_id: str | None) -> tuple[Menu, ...]:
    """List the header's menus for a person; a link that stands in no group is a menu of its own."""
    if actor is None:
        return ()
    links: tuple[Link, ...] = _BY_ROLE.get(actor.role, ())
    if actor.role is Role.CUSTOMER:
        links = (*(_customer(f"/accounts/{account_id}") if account_id else ()), *MARKET)
    menus: list[Menu] = []
    for link in links:
        if not may(actor, link.deed, None):
            continue
        if link.group and menus and menus[-1].group == link.group:
            menus[-1] = Menu(link.group, (*menus[-1].links, link))
        else:
            menus.append(Menu(link.group, (link,)))
    return tuple(menus)


def own_links(actor: Actor | None) -> tuple[Link, ...]:
    """List what stands under a person's name."""
    if actor is None:
        return ()
    is_customer = actor.role is Role.CUSTOMER
    return tuple(
        link for link in OWN if may(actor, link.deed, None) and (is_customer or link.key != "own_credit")
    )
