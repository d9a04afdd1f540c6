"""Unified social credit code 统一社会信用代码: form and check character, GB 32100-2015. Pure.

18 characters of 31 (no I, O, S, V, Z); the last makes the sum of value x 3^place mod 31 divisible by 31.
"""

from __future__ import annotations

from typing import Final

from cloud.errors import Invalid

CHARACTERS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
LENGTH: Final = 18
_VALUES: Final = {character: value for value, character in enumerate(CHARACTERS)}
_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(LENGTH - 1))


class BadCode(Invalid):
    """No unified social credit code: wrong length, a character it cannot have, or a wrong check character."""


def check_character(first: str) -> str:
    """Compute the 18th character from the first 17 (GB 32100-2015 §5.3). Raises BadCode."""
    if len(first) != LENGTH - 1 or any(character not in _VALUES for character in first):
        raise BadCode("usci_form", found=first)
    total = sum(_VALUES[character] * weight for character, weight in zip(first, _WEIGHTS, strict=True))
    return CHARACTERS[-total % 31]


def code_from(text: str) -> str:
    """Read a code as people type it: blanks go, letters become capitals. Raises BadCode."""
    code = "".join(text.split()).upper()
    if len(code) != LENGTH or any(character not in _VALUES for character in code):
        raise BadCode("usci_form", found=text.strip()[:40])
    if check_character(code[:-1]) != code[-1]:
        raise BadCode("usci_check", found=code)
    return code
