"""Papers as PDF: the unsigned print with its places for stamps, and the stamp. The same content is the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloud.contracts import document
from cloud.contracts.document import agreed_clauses
from cloud.contracts.store.papers import PaperRow
from cloud.markettime import market_local
from cloud.paper import cosign
from cloud.paper.glyphs import printable
from cloud.paper.render import Attachment, render
from cloud.words import say

LANGUAGE = "zh"  # a contract is made in the language of the law that it stands under
NUMERALS = "〇一二三四五六七八九十"
SIDES = ("seller", "buyer")
NAME_SIZE_LARGE, NAME_SIZE_SMALL, NAME_LENGTH_LARGE = 12, 9, 16


def printed(paper: PaperRow) -> bytes:
    """Print a paper with empty places for the signatures that it asks for; a confirmation asks for none."""
    return print_of(paper.content, paper.content_sha256, paper.drawn_at)


def print_of(content: Mapping[str, Any], content_sha256: str, at: datetime) -> bytes:
    """Print the content of a paper that was drawn up at an instant."""
    places = () if content["purpose"] == "confirmation" else tuple(content["order"])
    data, _ = printable(_page(content, content_sha256, places))
    attachment = Attachment("contract.json", document.canonical(content), "content of the contract")
    pdf = render("contract", data, attachment, at)
    return cosign.prepared(pdf, len(places)) if places else pdf


def stamp(name: str, certificate_sha256: str, by: str, at: datetime) -> bytes:
    """Draw the stamp of a signature."""
    box = cosign.BOXES[0]
    told = market_local(at).strftime("%Y-%m-%d %H:%M:%S")
    data, _ = printable(
        {
            "title": say(LANGUAGE, "contract_paper.stamp"),
            "name": name,
            "name_size": NAME_SIZE_LARGE if len(name) <= NAME_LENGTH_LARGE else NAME_SIZE_SMALL,
            "width": box[2],
            "height": box[3],
            "lines": [
                say(LANGUAGE, "contract_paper.stamp_by", name=by),
                say(LANGUAGE, "contract_paper.stamp_at", at=told),
                say(LANGUAGE, "contract_paper.stamp_certificate", sha256=certificate_sha256[:24]),
            ],
        }
    )
    return render("stamp", data, Attachment("stamp.json", "{}", "stamp"), at)


def numeral(number: int) -> str:
    """Write 1..99 in Chinese, as clauses are numbered: 三, 十二, 二十."""
    tens, ones = divmod(number, 10)
    head = "" if tens == 0 else "十" if tens == 1 else NUMERALS[tens] + "十"
    return head + (NUMERALS[ones] if ones or not tens else "")


def _page(content: Mapping[str, Any], sha256: str, places: tuple[str, ...]) -> dict[str, Any]:
    names = {each["side"]: each["name"] for each in content["parties"]}
    clauses = agreed_clauses(content)
    left_out = [each for each in content["clauses"] if each["text"] is None]
    return {
        "title": content["title"],
        "contract_id": content["contract_id"],
        "paper_no": content["paper_no"],
        "content_sha256": sha256,
        "words": _words(),
        "parties": [{**each, "role": _role(each["side"])} for each in content["parties"]],
        "card": [
            {"label": say(LANGUAGE, f"contract_term.{each['term']}"), "text": each["text"]}
            for each in content["card"]
        ],
        "clauses": [
            {
                "heading": say(LANGUAGE, "contract_paper.clause", no=numeral(number), title=each["title"]),
                "changed": each["text"] != each["standard"],
                "lines": each["text"].split("\n"),
            }
            for number, each in enumerate(clauses, start=1)
        ],
        "left_out": [each["title"] for each in left_out],
        "volumes": [{**row, "period": _period(row["period"])} for row in content["volumes"]],
        "basis": content["basis"],
        "places": [
            {"x": x, "y": y, "width": width, "height": height, "role": _role(side), "name": names[side]}
            for (x, y, width, height), side in zip(cosign.BOXES, places, strict=False)
        ],
    }


def _role(side: str) -> str:
    return say(LANGUAGE, f"contract_side.{side}")


def _period(period: str) -> str:
    return say(LANGUAGE, "contract_paper.whole_month") if period == "month" else period


def _words() -> dict[str, Any]:
    names = (
        "number",
        "unit",
        "identifier",
        "key_terms",
        "changed",
        "left_out",
        "volumes",
        "basis",
        "signatures",
    )
    found: dict[str, Any] = {name: say(LANGUAGE, f"contract_paper.{name}") for name in names}
    heads = ("month", "period", "mwh", "price", "environment")
    found["volume_head"] = [say(LANGUAGE, f"contract_paper.head_{name}") for name in heads]
    found["signature_note"] = say(LANGUAGE, "contract_paper.signature_note")
    return found
