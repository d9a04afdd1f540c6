"""Small secrets at rest: AES-256-GCM under a key that is not in the database.

The AAD names where the secret stands (table|column|key), so that a row copied to another place does not open.
Layout: nonce (12 bytes), ciphertext, tag (16 bytes).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloud.errors import Invalid, Unavailable

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class NoSealingKey(Unavailable):
    """This installation has no key for secrets at rest (SHOUDIAN_SEALING_KEY_FILE)."""


class Unsealable(Invalid):
    """The sealed secret was changed, stands in another place, or was sealed by another key."""


def place(table: str, column: str, key: int) -> str:
    """Name where a secret stands."""
    return f"{table}|{column}|{key}"


def seal(key: bytes | None, secret: bytes, where: str, nonce: bytes) -> bytes:
    """Encrypt a secret for its place, with NONCE_BYTES of chance that are never used again. Raises NoSealingKey."""
    return nonce + _cipher(key).encrypt(nonce, secret, where.encode())


def unseal(key: bytes | None, sealed: bytes, where: str) -> bytes:
    """Decrypt what `seal` made for the same place. Raises NoSealingKey, Unsealable."""
    try:
        return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], where.encode())
    except InvalidTag:
        raise Unsealable("unsealable", where=where) from None


def _cipher(key: bytes | None) -> AESGCM:
    if key is None:
        raise NoSealingKey("no_sealing_key")
    return AESGCM(key)
