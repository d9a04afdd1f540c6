"""大写金额: an amount of money in Chinese capital numerals, as bills and cheques need it. Pure.

Source: 《支付结算办法》附件一《正确填写票据和结算凭证的基本规定》: 元 and 角 and 分, 整 after a whole 元, 零 for a gap;
where the rule leaves a choice, 零 is written after a 元 digit of zero (捌拾元零叁角贰分).
"""

from __future__ import annotations

DIGITS = "零壹贰叁肆伍陆柒捌玖"
PLACES = ("", "拾", "佰", "仟")


def capitals(amount_fen: int) -> str:
    """Write fen in capital numerals: 18114140 is 人民币壹拾捌万壹仟壹佰肆拾壹元肆角; negatives begin with 负."""
    sign = "负" if amount_fen < 0 else ""
    yuan, rest = divmod(abs(amount_fen), 100)
    jiao, fen = divmod(rest, 10)
    whole = _whole(yuan) + "元" if yuan else ""
    if not rest:
        return f"人民币{sign}{whole or '零元'}整"
    gap = "零" if yuan and (jiao == 0 or yuan % 10 == 0) else ""
    coins = (DIGITS[jiao] + "角" if jiao else "") + (DIGITS[fen] + "分" if fen else "")
    return f"人民币{sign}{whole}{gap}{coins}"


def _whole(number: int) -> str:
    """Say a whole number above zero; 亿 repeats for numbers beyond 亿亿, so that no amount is too large."""
    for unit, name in ((10**8, "亿"), (10**4, "万")):
        if number >= unit:
            high, low = divmod(number, unit)
            gap = "零" if 0 < low < unit // 10 else ""
            return _whole(high) + name + gap + (_whole(low) if low else "")
    return _thousands(number)


def _thousands(number: int) -> str:
    text, gap = "", False
    for place in (3, 2, 1, 0):
        digit = number // 10**place % 10
        if digit:
            text += ("零" if gap and text else "") + DIGITS[digit] + PLACES[place]
            gap = False
        else:
            gap = True
    return text
