"""Names of facts and documents in sentences that are kept: notices, reasons. The trade's language comes first."""

from __future__ import annotations

from cloud import words


def label(item: str) -> str:
    """The name of `field.<key>`, `paper.<key>` or a document's key, Chinese before English."""
    kind, dot, key = item.partition(".")
    name = f"entity_{kind}.{key}" if dot else f"entity_paper.{item}"
    return f"{words.say('zh', name)} {words.say('en', name)}" if words.known(name) else item


def labels(items: list[str]) -> str:
    """Several names in one text."""
    return "、".join(label(item) for item in items)
