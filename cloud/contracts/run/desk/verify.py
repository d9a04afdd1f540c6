"""Shell: what a contract's file proves by itself, offline: its signatures, the chain of its revisions, its embedded terms.

Nothing is asked of the database: whoever has the file and the certificates that it should chain to can check it. The page
is proven by printing the embedded terms again; where another release or font prints otherwise, by finding every word of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud.contracts import document
from cloud.contracts.run.desk.print import print_of
from cloud.errors import Refused, Unavailable
from cloud.markettime import market_local
from cloud.paper.attached import NoAttachment, attached_json, made_at, page_text
from cloud.paper.cosign import Checked, signatures_of
from cloud.paper.sign import Signature

_OTHERWISE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    RecursionError,
    Refused,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, as words say it (cli.contract_<key>); `is_well` None: told, and proves nothing."""

    key: str
    is_well: bool | None
    facts: Mapping[str, object] = field(default_factory=dict)


def findings(pdf: bytes, roots: Sequence[bytes]) -> tuple[Finding, ...]:
    """Check a contract's file; `roots` are certificates (PEM) that are trusted. Raises BadPaper for what is no PDF."""
    checked = signatures_of(pdf, roots)
    content, about_terms = _terms(pdf)
    names = _names(content)
    found = [*_signatures(checked, names), *_chain(checked), *about_terms]
    if not roots:
        found.append(Finding("no_roots", None))
    return tuple(found)


def _signatures(checked: Checked, names: Mapping[str, str]) -> Iterator[Finding]:
    for place, each in checked.signatures:
        at = "—" if each.signed_at is None else f"{market_local(each.signed_at):%Y-%m-%d %H:%M:%S}"
        facts = {"place": place, "signer": each.signer, "at": at, "issuer": each.issuer}
        yield Finding(f"signature_{_verdict(each)}", _verdict(each) == "holds", facts)
        yield _stamp(each)
        if place in names and names[place] != each.signer:
            yield Finding("another_signer", False, {**facts, "party": names[place]})
    if checked.empty:
        yield Finding("empty", False, {"places": ", ".join(checked.empty)})
    if not checked.signatures:
        yield Finding("unsigned", False)


def _verdict(each: Signature) -> str:
    if not each.is_intact:
        return "broken"
    if not each.covers_all:
        return "changed_after"
    if not each.is_valid_at:
        return "outside_validity"
    return "untrusted" if each.is_trusted is False else "holds"


def _stamp(each: Signature) -> Finding:
    if each.stamp is None:
        return Finding("level_b", None)
    facts = {"authority": each.stamp.authority, "at": f"{market_local(each.stamp.at):%Y-%m-%d %H:%M:%S}"}
    if not each.stamp.is_intact:
        return Finding("stamp_broken", False, facts)
    return Finding("level_t", None if each.stamp.is_trusted is False else True, facts)


def _chain(checked: Checked) -> Iterator[Finding]:
    for number, sha256 in enumerate(checked.files, start=1):
        yield Finding("file_after", None, {"number": number, "sha256": sha256})
    if checked.signatures:
        is_unbroken = all(each.covers_all for _, each in checked.signatures)
        yield Finding("chain_whole" if is_unbroken else "chain_broken", is_unbroken)


def _terms(pdf: bytes) -> tuple[Mapping[str, Any], list[Finding]]:
    """The embedded terms, and what they say of themselves and of the page."""
    try:
        raw = attached_json(pdf).decode()
        content = json.loads(raw)
        if content["schema"] != document.SCHEMA or raw != document.canonical(content):
            return {}, [Finding("terms_unreadable", False, {"problem": "not as they were written"})]
        sha256 = document.sha256_of(content)
        page = page_text(pdf)
        facts = {"contract": content["contract_id"], "title": content["title"], "sha256": sha256}
        found = [Finding("terms", None, facts)]
        found += [Finding("term", None, {"text": each["text"]}) for each in content["card"]]
        is_named = sha256[:32] in page
        found.append(Finding("hash_on_page" if is_named else "hash_not_on_page", is_named))
        found.append(_page(pdf, page, content, sha256))
    except NoAttachment as none:
        return {}, [Finding("terms_missing", False, {"problem": none.facts["problem"]})]
    except _OTHERWISE as error:
        return {}, [Finding("terms_unreadable", False, {"problem": type(error).__name__})]
    return content, found


def _page(pdf: bytes, page: str, content: Mapping[str, Any], sha256: str) -> Finding:
    """Whether the page says what the terms say: printed again it is the same, or at least every word is there."""
    at = made_at(pdf)
    try:
        if at is not None and pdf.startswith(print_of(content, sha256, at)):
            return Finding("page_same", True)
    except Unavailable:
        pass  # no font to print with: the words are looked for
    rows = [row[name] for row in content["volumes"] for name in ("month", "mwh", "price")]
    clauses = [text for each in document.agreed_clauses(content) for text in (each["title"], each["text"])]
    cards = [each["text"] for each in content["card"]]
    missing = [text for text in (*clauses, *cards, *rows) if "".join(text.split()) not in page]
    if missing:
        return Finding("page_lacks", False, {"text": missing[0][:80]})
    return Finding("page_has_all", True)


def _names(content: Mapping[str, Any]) -> dict[str, str]:
    """Which party is named for which place, by the order in which the contract asks for signatures."""
    try:
        sides = {each["side"]: str(each["name"]) for each in content.get("parties", ())}
        return {
            f"Party{number}": sides[side] for number, side in enumerate(content.get("order", ()), start=1)
        }
    except _OTHERWISE:
        return {}
