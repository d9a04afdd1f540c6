"""Two kinds of expected failure; everything else is a bug and may crash its unit of work.

Leaf classes are defined beside the function that raises them and are named as facts.
A failure carries a message key and facts; the words of a person are made from them at the rim.
"""

from __future__ import annotations


class _Told(Exception):
    """A failure that a person will read: `key` chooses the sentence, `facts` fill it in."""

    def __init__(self, key: str, /, **facts: object) -> None:
        self.key = key
        self.facts = facts
        super().__init__(key, facts)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.key}: {told}" if told else self.key


class Refused(_Told):
    """The caller must change the request; repeating it as it is cannot help."""


class NotFound(Refused):
    """There is no such thing, or it is not the caller's to see."""


class Conflict(Refused):
    """Somebody else has changed it, or it exists already with other content."""


class Invalid(Refused):
    """The request contradicts itself or a rule of the trade."""


class Forbidden(Refused):
    """The caller may not do this."""


class NotNow(Refused):
    """The thing is not in a state in which this can be done."""


class Unavailable(_Told):
    """Something outside did not answer; the same request may succeed later."""
