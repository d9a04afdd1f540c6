"""COSE_Sign1 envelopes (RFC 9052 §4.2) with Ed25519, in exactly one encoding.

Layout on the wire::

    d2 84                     tag 18, array of four
       bstr protected         deterministic CBOR of {1: -8 (EdDSA), 4: key id, "h": header}
       a0                     empty unprotected map
       bstr payload
       58 40 signature        over ["Signature1", protected, external_aad, payload]

The signature does not cover the outer lengths, so any second encoding of the same message would be another
sealed message with a valid signature and another SHA-256, which the cloud would take for a cloned gateway.
Therefore lengths must be the shortest (RFC 8949 §4.2.1) and nothing may follow. Pure; depends on cbor2 for
values and on `cryptography` for Ed25519 alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEALED_BYTES_MAX: Final = 96 * 1024
PROTECTED_BYTES_MAX: Final = 2048
KEY_ID_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64

_ALGORITHM: Final = 1
_KEY_ID: Final = 4
_HEADER: Final = "h"
_EDDSA: Final = -8
_START: Final = b"\xd2\x84"
_EMPTY_MAP: Final = b"\xa0"
_SIGNATURE_HEAD: Final = b"\x58\x40"


class Malformed(Exception):
    """These bytes are not the message they should be; the text says what is wrong with them."""


class Forged(Exception):
    """The signature is not by this key, or not for this purpose."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed COSE_Sign1. From `peek` it is only a claim; from `open_sealed` it is proven."""

    kid: bytes
    header: dict[str, Any]
    payload: bytes
    protected: bytes
    signature: bytes


def key_id(public_key_raw: bytes) -> bytes:
    """The first 8 bytes of the SHA-256 of a raw Ed25519 public key."""
    return hashlib.sha256(public_key_raw).digest()[:KEY_ID_BYTES]


def seal(header: dict[str, Any], payload: bytes, key: Ed25519PrivateKey, aad: str) -> bytes:
    """Sign `payload` and `header` for the purpose `aad` ("ebp/1", "ebp/1/ack", ...)."""
    kid = key_id(key.public_key().public_bytes_raw())
    protected = pack({_ALGORITHM: _EDDSA, _KEY_ID: kid, _HEADER: header})
    signature = key.sign(_to_be_signed(protected, payload, aad))
    return b"".join(
        (_START, _byte_string(protected), _EMPTY_MAP, _byte_string(payload), _SIGNATURE_HEAD, signature)
    )


def peek(sealed: bytes) -> Envelope:
    """Parse without verifying: enough to find out whose key to verify with. Raises Malformed."""
    if len(sealed) > SEALED_BYTES_MAX:
        raise Malformed(f"sealed message of {len(sealed)} bytes; at most {SEALED_BYTES_MAX} are allowed")
    if not sealed.startswith(_START):
        raise Malformed("not a COSE_Sign1: it must start with tag 18 and an array of four")
    protected, at = _read_byte_string(sealed, len(_START))
    if sealed[at : at + 1] != _EMPTY_MAP:
        raise Malformed("the unprotected header must be empty")
    payload, at = _read_byte_string(sealed, at + 1)
    if sealed[at : at + 2] != _SIGNATURE_HEAD or len(sealed) != at + 2 + SIGNATURE_BYTES:
        raise Malformed("the signature must be 64 bytes and the last thing in the message")
    kid, header = _read_protected(protected)
    return Envelope(kid, header, payload, protected, sealed[at + 2 :])


def open_sealed(sealed: bytes, public_key: Ed25519PublicKey, aad: str) -> Envelope:
    """Parse and verify. Raises Forged | Malformed."""
    envelope = peek(sealed)
    verify(envelope, public_key, aad)
    return envelope


def verify(envelope: Envelope, public_key: Ed25519PublicKey, aad: str) -> None:
    """Check that this key signed this envelope for this purpose. Raises Forged."""
    if envelope.kid != key_id(public_key.public_bytes_raw()):
        raise Forged("the key id names another key")
    try:
        public_key.verify(envelope.signature, _to_be_signed(envelope.protected, envelope.payload, aad))
    except InvalidSignature:
        raise Forged("the signature does not fit the message") from None


def pack(value: object) -> bytes:
    """Deterministic CBOR (RFC 8949 §4.2.1)."""
    return cbor2.dumps(value, canonical=True)


def unpack(encoded: bytes, *, depth_max: int) -> Any:
    """One CBOR item without tags, indefinite lengths, duplicate keys or anything behind it. Raises Malformed.

    Keys must be text: maps with chosen colliding keys are a known way to stall a decoder.
    """
    return _unpack(encoded, depth_max=depth_max, text_keys=True)


def _unpack(encoded: bytes, *, depth_max: int, text_keys: bool) -> Any:
    source = io.BytesIO(encoded)
    try:
        value = cbor2.CBORDecoder(
            source,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_TAGS,
            max_depth=depth_max,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=text_keys,
        ).decode()
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise Malformed(f"not the CBOR that is spoken here: {error}") from None
    if source.tell() != len(encoded):
        raise Malformed("bytes follow the CBOR item")
    return value


def _refuse_tag(*_: object) -> Any:
    raise cbor2.CBORDecodeError("tags are not allowed")


class _NoTags(Mapping[int, Callable[[Any, bool], Any]]):
    """Answers for every tag number, so that none of the decoder's built-in tag meanings is reached."""

    def __getitem__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TAGS: Final = _NoTags()


def _read_protected(protected: bytes) -> tuple[bytes, dict[str, Any]]:
    if len(protected) > PROTECTED_BYTES_MAX:
        raise Malformed(f"header of {len(protected)} bytes; at most {PROTECTED_BYTES_MAX} are allowed")
    value = _unpack(protected, depth_max=4, text_keys=False)
    if not isinstance(value, dict) or value.keys() != {_ALGORITHM, _KEY_ID, _HEADER}:
        raise Malformed("the protected header must hold exactly algorithm, key id and h")
    kid, header = value[_KEY_ID], value[_HEADER]
    if type(value[_ALGORITHM]) is not int or value[_ALGORITHM] != _EDDSA:
        raise Malformed("the only algorithm spoken is EdDSA (-8)")
    if type(kid) is not bytes or len(kid) != KEY_ID_BYTES:
        raise Malformed("the key id must be 8 bytes")
    if type(header) is not dict or not all(type(key) is str for key in header):
        raise Malformed("h must be a map with text keys")
    if pack(value) != protected:
        raise Malformed("the protected header is not in deterministic encoding")
    return kid, header


def _to_be_signed(protected: bytes, payload: bytes, aad: str) -> bytes:
    """The Sig_structure of RFC 9052 §4.4."""
    return b"".join(
        (b"\x84\x6aSignature1", _byte_string(protected), _byte_string(aad.encode()), _byte_string(payload))
    )


def _byte_string(value: bytes) -> bytes:
    size = len(value)
    if size < 24:
        return bytes((0x40 | size,)) + value
    if size < 0x100:
        return bytes((0x58, size)) + value
    if size < 0x10000:
        return b"\x59" + size.to_bytes(2) + value
    return b"\x5a" + size.to_bytes(4) + value


def _read_byte_string(message: bytes, at: int) -> tuple[bytes, int]:
    """The byte string that starts at `at`, and where it ends. Raises Malformed."""
    first = message[at] if at < len(message) else 0
    width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(first, 0)
    start = at + 1 + width
    if width == 0 and not 0x40 <= first < 0x58:
        raise Malformed("a byte string of definite length was expected")
    size = int.from_bytes(message[at + 1 : start]) if width else first & 0x1F
    value = message[start : start + size]
    if len(value) != size or (width and size < {1: 24, 2: 0x100, 4: 0x10000}[width]):
        raise Malformed("a byte string is cut short or its length is not in the shortest form")
    return value, start + size
