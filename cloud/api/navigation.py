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
    Link("settlement", "/settlement", Deed.SEE_SETTLEMENT, here=("/settlement", "/statements")),
    Link("tariffs", "/tariffs", Deed.SEE_TARIFFS, here=("/tariffs",)),
    Link("field", "/field", Deed.SEE_FIELD),
)
TECHNICIAN: Final = (Link("field", "/field", Deed.SEE_FIELD, here=("/gateways",)),)


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


def menus_for(actor: Actor | None, account_id: str | None) -> tuple[Menu, ...]:
    """List the header's menus for a person; a link that stands in no group is a menu of its own."""
    if actor is None:
        return ()
    links: tuple[Link, ...] = STAFF if actor.role is Role.STAFF else TECHNICIAN
    if actor.role is Role.CUSTOMER:
        links = _customer(f"/accounts/{account_id}") if account_id else ()
    menus: list[Menu] = []
    for link in links:
        if not may(actor, link.deed, None):
            continue
        if link.group and menus and menus[-1].group == link.group:
            menus[-1] = Menu(link.group, (*menus[-1].links, link))
        else:
            menus.append(Menu(link.group, (link,)))
    return tuple(menus)
