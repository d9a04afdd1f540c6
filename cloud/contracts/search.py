"""Search in Chinese: a text as the set of its characters and neighbouring pairs, so that one character is found too. Pure.

Chinese has no spaces, and a trigram index cannot find words of one or two characters, which most Chinese words have.
Text is compared in one form: NFKC (full-width digits and letters become plain), small letters, no white space.
"""

from __future__ import annotations

import unicodedata

QUERY_MAX = 60
WORDS_MAX = 8


def plain(text: str) -> str:
    """Bring a text into the form in which texts are compared."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def grams(text: str) -> tuple[str, ...]:
    """List the single characters and neighbouring pairs of a text, each once, sorted."""
    form = plain(text)
    pairs = {form[at : at + 2] for at in range(len(form) - 1)}
    return tuple(sorted(set(form) | pairs))


def needles(query: str) -> tuple[str, ...]:
    """Split a query at white space into words that must all occur; the first WORDS_MAX, in comparable form."""
    return tuple(plain(word) for word in query[:QUERY_MAX].split()[:WORDS_MAX] if plain(word))


def wanted(words: tuple[str, ...]) -> tuple[str, ...]:
    """List what an index must hold of every text that has all the words: pairs, or the character of a one-character word."""
    found: set[str] = set()
    for word in words:
        found |= {word[at : at + 2] for at in range(len(word) - 1)} or {word}
    return tuple(sorted(found))
