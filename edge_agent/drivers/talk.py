"""What a talk with a meter is, and how it can end. Pure.

A talk is a generator that does no I/O. It yields bytes and is resumed with bytes:

    yields b"..."   send this now; whatever came in before is stale
    yields b""      nothing to send, more to hear
    gets   b"..."   what the line brought
    gets   b""      the line has been quiet for one byte gap: a half frame is not going to end
    gets Silence    thrown in at the deadline of the last send; the talk sends again or gives up

So the same talk runs over a serial port, a TCP serial server, or a list of bytes in a test.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

_T = TypeVar("_T")

Talk: TypeAlias = Generator[bytes, bytes, _T]


class Silence(Exception):
    """Nothing acceptable came before the deadline. Thrown into a talk by the line."""


class NoReply(Exception):
    """The meter stayed silent through every try; `drops` tells what was heard instead."""

    def __init__(self, asked: str, tries: int, drops: Mapping[str, int]) -> None:
        heard = ", ".join(f"{reason} x{count}" for reason, count in sorted(drops.items()))
        super().__init__(f"{asked}: no reply in {tries} tries" + (f" (heard: {heard})" if heard else ""))
        self.drops = dict(drops)


class MeterRefused(Exception):
    """The meter answered with an error: not repeated, and a fact about this meter and this item."""

    def __init__(self, asked: str, error: int) -> None:
        super().__init__(f"{asked}: the meter answers error {error:02X}")
        self.error = error


class NoSuchData(MeterRefused):
    """The meter does not have this item: DL/T 645 error bit 1, Modbus exceptions 1 to 3."""


class NotAuthorised(MeterRefused):
    """The meter gives this item only to who has the key: DL/T 645 error bit 2."""


class EndlessAnswer(MeterRefused):
    """The meter announces more follow-on frames than the standard can number."""

    def __init__(self, asked: str, frames_max: int) -> None:
        super().__init__(asked, 0)
        self.args = (f"{asked}: more than {frames_max} follow-on frames",)


@dataclass(frozen=True, slots=True)
class Answer:
    """The data a talk came back with, who gave it, and how hard it was to get."""

    address: str
    data: bytes
    tries: int
    drops: Mapping[str, int] = field(default_factory=dict)
