"""Codes of a second factor: TOTP by RFC 6238, SHA-1, six digits, thirty seconds. Pure, but for making a secret."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Final

import pyotp

STEP_S: Final = 30
DIGITS: Final = 6
STEPS_ASIDE: Final = 1  # a clock may be one step off, either way
ISSUER: Final = "Shoudian"


def new_secret() -> str:
    """Make a secret of 160 bits, in base 32."""
    return pyotp.random_base32()


def address(secret: str, login: str) -> str:
    """Write the otpauth:// address that an authenticator reads."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S).provisioning_uri(name=login, issuer_name=ISSUER)


def counter_of(secret: str, code: str, now: datetime, after: int) -> int | None:
    """Find the step whose code this is: near now, and after the last one used. None: no such step.

    All steps are compared, in constant time, whichever fits.
    """
    current = int(now.timestamp()) // STEP_S
    made = pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)
    found = None
    for counter in range(current - STEPS_ASIDE, current + STEPS_ASIDE + 1):
        if hmac.compare_digest(made.generate_otp(counter).encode(), code.encode()) and counter > after:
            found = counter
    return found
