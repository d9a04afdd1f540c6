"""大写金额 as the settlement rules print them (支付结算办法附件一《正确填写票据和结算凭证的基本规定》)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.billing.capitals import capitals

DIGITS = {digit: value for value, digit in enumerate("零壹贰叁肆伍陆柒捌玖")}
UNITS = {"拾": 10, "佰": 100, "仟": 1000, "万": 10**4, "亿": 10**8}


@pytest.mark.parametrize(
    ("amount_fen", "words"),
    [
        (140950, "人民币壹仟肆佰零玖元伍角"),
        (600714, "人民币陆仟零柒元壹角肆分"),
        (168032, "人民币壹仟陆佰捌拾元零叁角贰分"),
        (10700053, "人民币壹拾万柒仟元零伍角叁分"),
        (1640902, "人民币壹万陆仟肆佰零玖元零贰分"),
        (32504, "人民币叁佰贰拾伍元零肆分"),
        (0, "人民币零元整"),
        (100, "人民币壹元整"),
        (1, "人民币壹分"),
        (10, "人民币壹角"),
        (-61086663, "人民币负陆拾壹万零捌佰陆拾陆元陆角叁分"),  # a real refund bill
        (10000000100, "人民币壹亿零壹元整"),
        (200300000000, "人民币贰拾亿零叁佰万元整"),
        (547133424, "人民币伍佰肆拾柒万壹仟叁佰叁拾肆元贰角肆分"),  # a real bill
    ],
)
def test_the_examples_of_the_rule_and_of_real_bills(amount_fen: int, words: str) -> None:
    assert capitals(amount_fen) == words


def read(words: str) -> int:
    """Read capitals back, by other means: digits weigh the units that follow until a larger one."""
    text = words.removeprefix("人民币").removesuffix("整")
    sign = -1 if text.startswith("负") else 1
    text = text.removeprefix("负")
    whole, mark, rest = text.rpartition("元")
    rest = rest if mark else text
    fen, digit = 0, 0
    for character in rest:
        if character in DIGITS:
            digit = DIGITS[character]
        else:
            fen += digit * {"角": 10, "分": 1}[character]
    return sign * (_whole(whole) * 100 + fen)


def _whole(text: str) -> int:
    for unit in ("亿", "万"):
        high, mark, low = text.rpartition(unit) if unit == "亿" else text.partition(unit)
        if mark:
            return _whole(high) * UNITS[unit] + _whole(low)
    total, digit = 0, 0
    for character in text:
        if character in DIGITS:
            digit = DIGITS[character]
        else:
            total, digit = total + digit * UNITS[character], 0
    return total + digit


@given(st.integers(-(10**24), 10**24) | st.integers(-(10**9), 10**9))
def test_every_amount_reads_back(amount_fen: int) -> None:
    words = capitals(amount_fen)

    assert read(words) == amount_fen
    assert "零零" not in words
    assert ("整" in words) == (amount_fen % 100 == 0)
