"""电费明细: every line with its parts and 怎么算的. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from cloud.billing.document import figures
from cloud.billing.document.model import ChargeGroup, ChargeRow, Field, Figure, How, Part
from cloud.billing.labels import WORDS, Language, day_text, money_text, price_text, word
from cloud.billing.line import BillLine, Input, Section, total_fen
from cloud.money import fen_for, total

SPLIT_SECTIONS = (Section.SYSTEM_OPERATION, Section.FUNDS)  # 系统运行费 and 基金 are shown with their items
FROM_METERS = "intervals"


def groups(lines: Sequence[BillLine], language: Language, purchase: str = "") -> tuple[ChargeGroup, ...]:
    """Group the lines by section in the order of a State Grid bill; lines of zero stay.

    `purchase` names energy that was bought in the market as such.
    """
    numbered = list(enumerate(lines, start=1))
    found = []
    for section in Section:
        own = [(number, line) for number, line in numbered if line.section is section]
        if own:
            rows = tuple(_row(number, line, language) for number, line in own)
            subtotal = figures.money(total_fen(tuple(line for _, line in own)))
            own_key = f"section.{section}.{purchase}"
            label = word(language, own_key if own_key in WORDS else f"section.{section}")
            found.append(ChargeGroup(section, label, rows, subtotal))
    return tuple(found)


def how(line: BillLine, language: Language) -> How:
    """Explain one line: its formula in words, the same in numbers, and the sources."""
    derivation = line.derivation
    names = {each.name: word(language, f"input.{each.name}") for each in derivation.inputs}
    values = {each.name: _plain(each.value) for each in derivation.inputs}
    numbers = _spelled(derivation.formula, values).replace("+ −", "− ")
    sources = [each.document or each.origin for each in derivation.inputs if "@" in each.origin]
    last = date.fromordinal(derivation.end_day.toordinal() - 1)
    join = "至" if language is Language.ZH else " to "
    return How(
        formula=_spelled(derivation.formula, names),
        numbers=f"{numbers} = {money_text(line.amount_fen)} {word(language, 'yuan_unit')}",
        inputs=tuple(
            Field(each.name, names[each.name], _input_figure(each, language)) for each in derivation.inputs
        ),
        origins=tuple(dict.fromkeys(sources)),
        files=tuple(dict.fromkeys(each.origin for each in derivation.inputs if "@" in each.origin)),
        first_day=derivation.first_day.isoformat(),
        last_day=last.isoformat(),
        days=f"{day_text(language, derivation.first_day)}{join}{day_text(language, last)}",
        is_measured=any(each.origin == FROM_METERS for each in derivation.inputs),
    )


def _row(line_no: int, line: BillLine, language: Language) -> ChargeRow:
    quantity = Figure(f"{line.quantity:,.2f}".replace("-", "−"), str(line.quantity))
    return ChargeRow(
        line_no=line_no,
        item=line.item,
        label=word(language, f"item.{line.item}"),
        period=line.period or "",
        period_label=word(language, f"period.{line.period}") if line.period else "",
        quantity=quantity if line.unit == "yuan" else figures.number(line.quantity),
        unit=word(language, f"unit.{line.unit}"),
        price=figures.price(line.price_yuan_per_unit),
        amount=figures.money(line.amount_fen),
        parts=_parts(line, language),
        how=how(line, language),
    )


def _parts(line: BillLine, language: Language) -> tuple[Part, ...]:
    """Tell the items of a charge; an older bill has none and is split by its prices, the largest taking what is left."""
    if line.items:
        return tuple(
            Part(
                each.name if language is Language.ZH else each.name_en,
                figures.price(each.price_yuan_per_unit),
                figures.money(each.amount_fen),
            )
            for each in line.items
        )
    if line.section not in SPLIT_SECTIONS:
        return ()
    prices = [each for each in line.derivation.inputs if "@" in each.origin and each.unit == "yuan/kWh"]
    if len(prices) < 2 or total(each.value for each in prices) != line.price_yuan_per_unit:
        return ()
    amounts_fen = [fen_for(line.quantity, each.value) for each in prices]
    largest = max(range(len(prices)), key=lambda index: abs(amounts_fen[index]))
    amounts_fen[largest] += line.amount_fen - sum(amounts_fen)
    return tuple(
        Part(word(language, f"input.{each.name}"), figures.price(each.value), figures.money(amount_fen))
        for each, amount_fen in zip(prices, amounts_fen, strict=True)
    )


def _input_figure(each: Input, language: Language) -> Figure:
    unit = "" if each.unit == "1" else f" {word(language, f'unit.{each.unit}')}"
    return Figure(f"{_plain(each.value)}{unit}", str(each.value))


def _spelled(formula: str, names: dict[str, str]) -> str:
    """Replace the names of a formula by words or numbers, and its signs by × and ÷."""
    spelled, word_so_far = "", ""
    for character in formula + " ":
        if character.isalnum() or character == "_":
            word_so_far += character
            continue
        spelled += names.get(word_so_far, word_so_far) + {"*": "×", "/": "÷"}.get(character, character)
        word_so_far = ""
    return spelled.strip()


def _plain(value: Decimal) -> str:
    return price_text(value) if value else "0"
