"""A negotiation room as a page of paper: who, every version, everything that was said and laid down, and what was agreed.

The chain itself is attached, so that whoever has the paper can prove it without us.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from cloud import words
from cloud.api import reply
from cloud.api.dealviews import LineView, RoomView, TalkView, VersionView
from cloud.market.negotiation import Link, evidence, first_broken
from cloud.paper.glyphs import printable
from cloud.paper.render import Attachment, render

_WHEN: Final = "%Y-%m-%d %H:%M:%S"


def room_pdf(language: str, view: RoomView, links: Sequence[Link]) -> bytes:
    """Print a room that has at least its first event; the same room gives the same bytes in the same language."""
    chain = evidence(view.head.negotiation_id, view.head.title, links)
    paper = _Paper(language)
    data, _ = printable(
        {
            "title": paper.told("negotiation.evidence_title"),
            "language": language,
            "footer": f"{view.head.title} · {chain['last_sha256'][:32]}",
            "facts": paper.facts(view, chain),
            "sections": [
                paper.timeline(view.talk),
                *map(paper.version, view.versions),
                *paper.files(links),
            ],
            "note": paper.told("negotiation.chain_rule"),
        }
    )
    attachment = Attachment(
        f"negotiation-{view.head.negotiation_id}.json",
        json.dumps(chain, ensure_ascii=False, indent=1),
        paper.told("negotiation.evidence_title"),
    )
    return render("record", data, attachment, links[-1].event.at)


class _Paper:
    """The parts of the page, in one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def told(self, key: str, **facts: object) -> str:
        """A text of the page's language."""
        return words.say(self.language, key, **facts)

    def facts(self, view: RoomView, chain: dict[str, Any]) -> list[dict[str, Any]]:
        """Who, how it stands, and what of it is agreed, with its hash."""
        head = view.head
        broken = first_broken(chain["events"])
        holds = (
            self.told("negotiation.chain_holds", n=len(chain["events"]))
            if broken is None
            else self.told("negotiation.chain_broken", number=broken)
        )
        found: list[tuple[str, Any]] = [
            (self.told("negotiation.subject"), head.title),
            (self.told("negotiation.room"), str(head.negotiation_id)),
            (self.told("negotiation.seller"), f"{head.seller_name}　{view.seller_unit}".strip()),
            (self.told("negotiation.buyer"), f"{head.buyer_name}　{view.buyer_unit}".strip()),
            (self.told("listing.state"), self.told(f"room_state.{head.state}")),
            (self.told("negotiation.chain"), holds),
            (self.told("negotiation.last_hash"), {"sha256": chain["last_sha256"]}),
        ]
        if view.agreed_no is not None:
            agreed = view.versions[view.agreed_no - 1]
            found += [
                (self.told("negotiation.agreed_version"), self.told("negotiation.version", n=agreed.number)),
                (self.told("negotiation.agreed_hash"), {"sha256": agreed.sha256}),
                (self.told("deal.contract"), view.contract_id or ""),
            ]
        return [{"label": label, "text": text} for label, text in found]

    def timeline(self, talk: Sequence[TalkView]) -> dict[str, Any]:
        """Everything that happened, in its order, with each event's place in the chain."""
        rows = [
            [
                str(each.number),
                reply.local(each.at, _WHEN),
                self._who(each),
                self._what(each),
                {"sha256": each.sha256},
            ]
            for each in talk
        ]
        return {
            "heading": self.told("negotiation.timeline"),
            "notes": [],
            "widths": [0, 0, 2, 4, 0],
            "aligns": ["right", "left", "left", "left", "left"],
            "head": [
                "#",
                self.told("deal.at"),
                self.told("negotiation.by"),
                self.told("negotiation.what"),
                "SHA-256",
            ],
            "rows": rows,
        }

    def version(self, version: VersionView) -> dict[str, Any]:
        """An offer whole: every figure and word of it, and its hash."""
        green = any(line.environment_ticks for line in version.lines)
        clauses = [
            f"{self.told('negotiation.settlement')}: {self.told(f'settlement_method.{version.settlement}')}",
            f"{self.told('negotiation.deviation')}: {self.told(f'deviation_clause.{version.deviation}')}"
            + (f" ±{reply.scaled(version.band_permille, 1, 1)} %" if version.band_permille else ""),
        ]
        if version.clause:
            clauses.append(f"{self.told('negotiation.clause')}: {version.clause}")
        heads = ["deal.month", "deal.period", "deal.price", *(["deal.environment"] if green else [])]
        head = [self.told(key) for key in heads]
        number, by = self.told("negotiation.version", n=version.number), version.party_name
        return {
            "heading": f"{number} · {by} · {reply.local(version.at, _WHEN)}",
            "notes": [*clauses, f"SHA-256 {version.sha256}"],
            "widths": [1] * (len(head) + 1),
            "aligns": ["left", "left", *["right"] * (len(head) - 1)],
            "head": [*head[:2], "MWh", *head[2:]],
            "rows": [self._line(line, green) for line in version.lines],
        }

    def files(self, links: Sequence[Link]) -> list[dict[str, Any]]:
        """The files that were laid before both sides, by name, size and hash."""
        rows = [
            [
                *(str(link.event.event_no), str(link.event.body["name"])),
                *(str(link.event.body.get("bytes", "")), {"sha256": str(link.event.body["sha256"])}),
            ]
            for link in links
            if link.event.deed == "file"
        ]
        head = ["#", self.told("room_event.file"), self.told("negotiation.bytes"), "SHA-256"]
        section = {
            "heading": self.told("negotiation.files"),
            "notes": [],
            "widths": [0, 1, 0, 0],
            "aligns": ["right", "left", "right", "left"],
            "head": head,
            "rows": rows,
        }
        return [section] if rows else []

    def _line(self, line: LineView, green: bool) -> list[str]:
        named = {"month": "deal.whole_month", "sharp": "period.tip"}.get(line.period, f"period.{line.period}")
        period = self.told(named) if words.known(named) else line.period
        prices = [line.price_ticks, *([line.environment_ticks] if green else [])]
        return [
            *(f"{line.month:%Y-%m}", period, reply.scaled(line.kwh, 3, 3)),
            *(reply.scaled(price, 2, 2) for price in prices),
        ]

    def _who(self, each: TalkView) -> str:
        return f"{each.party_name or self.told('negotiation.operator')}\n{each.actor}"

    def _what(self, each: TalkView) -> str:
        done = self.told(f"room_event.{each.deed}")
        number = "" if each.version is None else f" · {self.told('negotiation.version', n=each.version)}"
        name = f" · {each.document_name}" if each.document_name else ""
        return f"{done}{number}{name}" + (f": {each.text}" if each.text else "")
