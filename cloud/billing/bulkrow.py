"""Drafts as rows of PostgreSQL's binary COPY: packed by column, all rows of a group at once. Pure.

A row: int16 number of fields; every field an int32 length and its bytes, big-endian. An array of bigint: number of
dimensions, flags, element type 20, length, lower bound, and for each element its length 8 and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from cloud.billing.bulk import Whole
from cloud.billing.bulkshard import Drafts

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
# The columns of bulk_draft in the order of the fields.
COLUMNS = ("account_id", "month", "revision", "plan_id", "usage", "amounts_fen", "total_fen", "input_sha256")

_EPOCH = date(2000, 1, 1)
_BIGINT = 20


def rows(drafts: Drafts, plan_id: int, wanted: Sequence[tuple[int, int]], hashes: Sequence[bytes]) -> bytes:
    """Pack the drafts of a group; `wanted` are (number of the account in the group, revision) of those to keep."""
    by_length: dict[int, list[tuple[int, int]]] = {}
    for number, revision in wanted:
        by_length.setdefault(len(drafts.accounts[number].account_id), []).append((number, revision))
    return b"".join(_packed(drafts, plan_id, own, hashes) for own in by_length.values())


def _packed(
    drafts: Drafts, plan_id: int, wanted: Sequence[tuple[int, int]], hashes: Sequence[bytes]
) -> bytes:
    """Pack rows whose account numbers are equally long: then every row is."""
    at = np.array([number for number, _ in wanted], np.int64)
    usage, amounts = drafts.usage[at], drafts.rated.amounts_fen[at]
    identity = [drafts.accounts[number].account_id.encode() for number, _ in wanted]
    packed: npt.NDArray[Any] = np.zeros(
        len(wanted), _row_type(len(identity[0]), usage.shape[1], amounts.shape[1])
    )
    packed["fields"] = len(COLUMNS)
    _field(packed, "account_id", identity)
    _field(packed, "month", (drafts.plan.month - _EPOCH).days)
    _field(packed, "revision", [revision for _, revision in wanted])
    _field(packed, "plan_id", plan_id)
    _array(packed, "usage", usage)
    _array(packed, "amounts_fen", amounts)
    _field(packed, "total_fen", drafts.rated.total_fen[at])
    digests = b"".join(hashes[number] for number, _ in wanted)
    _field(packed, "input_sha256", np.frombuffer(digests, np.uint8).reshape(-1, 32))
    return packed.tobytes()


def _row_type(identity_bytes: int, usages: int, lines: int) -> np.dtype[Any]:
    whole = {"account_id": f"S{identity_bytes}", "month": ">i4", "revision": ">i4", "plan_id": ">i4"}
    fields: list[Any] = [("fields", ">i2")]
    for name, kind in whole.items():
        fields += [(f"{name}_bytes", ">i4"), (name, kind)]
    for name, length in (("usage", usages), ("amounts_fen", lines)):
        element = [("bytes", ">i4"), ("value", ">i8")]
        fields += [(f"{name}_bytes", ">i4"), (f"{name}_head", ">i4", (5,)), (name, element, (length,))]
    fields += [("total_fen_bytes", ">i4"), ("total_fen", ">i8")]
    return np.dtype([*fields, ("input_sha256_bytes", ">i4"), ("input_sha256", np.uint8, (32,))])


def _field(packed: npt.NDArray[Any], name: str, values: object) -> None:
    packed[f"{name}_bytes"] = packed.dtype[name].itemsize
    packed[name] = values


def _array(packed: npt.NDArray[Any], name: str, values: Whole) -> None:
    packed[f"{name}_bytes"] = packed.dtype[name].itemsize + packed.dtype[f"{name}_head"].itemsize
    packed[f"{name}_head"] = (1, 0, _BIGINT, values.shape[1], 1)
    packed[name]["bytes"] = 8
    packed[name]["value"] = values
