"""Installations, and the life of a gateway. Pure.

`report` is its first good message; `suspect` follows an equivocation or the return of a replaced store: it may go on
delivering, but a person must look. `suspend` and `revoke` close the door at once, whatever the broker still believes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cloud.lives import Life


@dataclass(frozen=True, slots=True)
class Installation:
    """装接: a meter at a supply point behind a multiplier, in `[start, end)`; `end` is None while it lasts."""

    meter_key: int
    supply_point_id: str
    gateway_id: str
    multiplier: int
    start: datetime
    end: datetime | None


GATEWAY = Life(
    "gateway",
    {
        (None, "register"): "registered",
        ("registered", "enrol"): "enrolled",
        ("enrolled", "enrol"): "enrolled",
        ("active", "enrol"): "enrolled",
        ("enrolled", "report"): "active",
        ("enrolled", "suspect"): "suspect",
        ("active", "suspect"): "suspect",
        ("suspect", "clear"): "active",
        ("enrolled", "suspend"): "suspended",
        ("active", "suspend"): "suspended",
        ("suspect", "suspend"): "suspended",
        ("suspended", "resume"): "active",
        ("registered", "revoke"): "revoked",
        ("enrolled", "revoke"): "revoked",
        ("active", "revoke"): "revoked",
        ("suspect", "revoke"): "revoked",
        ("suspended", "revoke"): "revoked",
    },
)
