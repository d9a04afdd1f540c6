"""How a rated case and a checked file are shown: plain text in Chinese or English, and JSON. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Final

from cloud.cases.areas import AREAS
from cloud.cases.reading import Json, clean
from cloud.cases.result import Result, Results, Step, Value, plain, plain_value, text_of
from cloud.cases.verdict import Difference, Kind, State, Verdict
from cloud.words import say

WIDTH: Final = 100
VALUE_WIDTH_MAX: Final = 72
ALSO_LINES_MAX: Final = 60
_WORD: Final = re.compile(r"\S+\s*|\s+")
MARKS: Final = {State.PASS: "PASS", State.FAIL: "FAIL", State.REFUSED: "FAIL", State.EMPTY: "FAIL"}


# ---- one case ----


def rated_text(verdict: Verdict, language: str) -> str:
    """Show one case with every result and its derivation."""
    t = partial(say, language)
    case = verdict.case
    area = AREAS[case.area]
    name = area.name_zh if language == "zh" else f"{area.name_en} {area.name_zh}"
    lines = [f"{case.id}  {name}", *_wrapped(case.title, ""), ""]
    facts = " · ".join(
        each
        for each in (
            case.scope,
            f"§{case.section}" if case.section else "",
            t("cases.grade", grade=case.grade) if case.grade else "",
        )
        if each
    )
    lines += [f"  {facts}"] if facts else []
    lines += _labelled(t("cases.rule"), case.rule, 2) + _labelled(t("cases.source"), case.source, 2)
    asked = _asked(verdict)
    lines += ["", t("cases.results")]
    for path, result, wanted in asked:
        lines += _result_lines(path, result, wanted, language)
    others = _others(verdict, {path for path, _, _ in asked})
    if others:
        lines += ["", t("cases.also")]
        lines += [f"  {name} = {value}" for name, value in others[:ALSO_LINES_MAX]]
    lines += ["", *_outcome(verdict, language)]
    return "\n".join(map(clean, lines))


def _outcome(verdict: Verdict, language: str) -> list[str]:
    t = partial(say, language)
    lines = []
    if verdict.case.expected is None or verdict.state is State.EMPTY:
        lines.append(t("cases.nothing_expected"))
    elif verdict.state is State.PASS:
        lines.append("PASS  " + t("cases.agrees"))
    else:
        lines.append("FAIL  " + t("cases.differs", n=len(verdict.differences)))
        for difference in verdict.differences:
            lines += _difference_lines(difference, language)
    if verdict.unused:
        lines += _wrapped(t("cases.unused", names=", ".join(verdict.unused)), "! ")
    if verdict.case.remarks:
        lines += _wrapped(t("cases.no_effect", names=", ".join(verdict.case.remarks)), "! ")
    return lines


def _asked(verdict: Verdict) -> list[tuple[str, Result, Json]]:
    """The results that the case asks for, by their paths; all of them when it asks for nothing."""
    if not verdict.case.expected:
        return [(path, result, None) for path, result in _leaves(verdict.results, "")]
    return list(_wanted(dict(verdict.case.expected), verdict.results, ""))


def _wanted(expected: dict[str, Json], results: Results, at: str) -> Iterator[tuple[str, Result, Json]]:
    for name, wanted in expected.items():
        result = results.find(name, wanted)
        path = f"{at}.{name}" if at else name
        if result is None:
            continue
        if result.rows is not None and isinstance(wanted, list):
            for number, (each, row) in enumerate(zip(wanted, result.rows, strict=False)):
                if isinstance(each, dict):
                    yield from _wanted(each, row, f"{path}[{number}]")
        elif result.parts is not None and isinstance(wanted, dict):
            yield from _wanted(wanted, result.parts, path)
        else:
            yield path, result, wanted


def _leaves(results: Results, at: str) -> Iterator[tuple[str, Result]]:
    for name, result in results.named.items():
        path = f"{at}.{name}" if at else name
        if result.rows is not None:
            for number, row in enumerate(result.rows):
                yield from _leaves(row, f"{path}[{number}]")
        elif result.parts is not None:
            yield from _leaves(result.parts, path)
        else:
            yield path, result


def _others(verdict: Verdict, shown: set[str]) -> list[tuple[str, str]]:
    if not verdict.case.expected:
        return []
    wanted = {id(result) for _, result, _ in _asked(verdict)}
    return [
        (path, _short(text_of(result.value)))
        for path, result in _leaves(verdict.results, "")
        if path not in shown and id(result) not in wanted
    ]


def _result_lines(path: str, result: Result, wanted: Json, language: str) -> list[str]:
    t = partial(say, language)
    lines = [f"  {path} = {_short(text_of(result.value))}"]
    if isinstance(result.value, dict) and len(text_of(result.value)) > VALUE_WIDTH_MAX:
        lines = [f"  {path}", *(f"      {name} = {text_of(each)}" for name, each in result.value.items())]
    step: Step = result.step
    lines += _labelled(t("cases.formula"), step.formula, 6)
    lines += _labelled(t("cases.numbers"), ", ".join(f"{name} = {value}" for name, value in step.numbers), 6)
    lines += _labelled(t("cases.basis"), step.rule if len(step.rule) < 2 * WIDTH else "", 6)
    lines += _labelled(t("cases.rounding"), step.rounding, 6)
    if isinstance(wanted, str) and _number(wanted) != _number(result.value):
        lines += _labelled(t("cases.expected"), wanted, 6)
    return lines


def _labelled(label: str, text: str, indent: int) -> list[str]:
    if not text:
        return []
    width = _width(label)
    pad = " " * (max(0, 8 - width) + 2)
    rest = " " * (indent + width + len(pad))
    return _wrapped(text, f"{' ' * indent}{label}{pad}", rest)


# ---- a file ----


def checked_text(
    verdicts: Sequence[Verdict], file: str, language: str, *, failures_only: bool = False
) -> str:
    """Show every case of a file, every field that differs, and a table by area."""
    lines = [file, ""]
    for verdict in verdicts:
        if failures_only and verdict.state is State.PASS and not verdict.unused and not verdict.case.remarks:
            continue
        lines += _case_lines(verdict, language)
    lines += ["", *_table(verdicts, language), "", _conclusion(verdicts, language)]
    return "\n".join(map(clean, lines))


def _case_lines(verdict: Verdict, language: str) -> list[str]:
    t = partial(say, language)
    case = verdict.case
    fields = t("cases.fields", n=verdict.fields)
    lines = [
        f"{MARKS[verdict.state]}  {_padded(case.id, 8)}  {_padded(case.area, 15)}  {_right(fields, 9)}  {case.title}".rstrip()
    ]
    if verdict.problem is not None:
        facts = verdict.problem.facts
        said = t("cases.refused", at=facts["at"], problem=facts["problem"], allowed=facts["allowed"])
        lines += _wrapped(said, "      ")
    elif verdict.state is State.EMPTY:
        lines.append("      " + t("cases.empty"))
    for difference in verdict.differences:
        lines += _difference_lines(difference, language)
    if verdict.unused:
        lines += _wrapped(t("cases.unused", names=", ".join(verdict.unused)), "      ! ", "        ")
    if case.remarks:
        lines += _wrapped(t("cases.no_effect", names=", ".join(case.remarks)), "      ! ", "        ")
    return lines


def _difference_lines(difference: Difference, language: str) -> list[str]:
    t = partial(say, language)
    expected, got = _short(difference.expected), _short(difference.got)
    head, wanted = f"      {difference.at}", t("cases.expected")
    match difference.kind:
        case Kind.NOT_COMPUTED:
            missing = t("cases.not_computed")
            return [f"{head}: {wanted} {expected} — {missing}"]
        case Kind.NOT_READ:
            return _wrapped(
                f"{difference.at}: " + t("cases.not_read", assumed=difference.got or "-"),
                "      ",
                "        ",
            )
        case Kind.LENGTH:
            return [f"{head}: " + t("cases.length", expected=expected, got=got)]
        case Kind.KEYS:
            return [f"{head}: " + t("cases.keys", expected=expected, got=got)]
        case Kind.TYPE:
            return [f"{head}: " + t("cases.type", expected=expected, got=got)]
        case Kind.DIFFERS:
            off = off_by(difference)
            said = [f"{wanted} {expected}", t("cases.got") + f" {got}"]
            said += [t("cases.off") + f" {off}"] if off else []
            said.append(t("cases.tolerance") + f" {difference.tolerance}")
            return [head, "        " + "   ".join(said)]


def off_by(difference: Difference) -> str:
    """Got minus expected, of two numbers; else nothing."""
    one, other = _number(difference.expected), _number(difference.got)
    return "" if one is None or other is None else f"{other - one:+f}"


def _table(verdicts: Sequence[Verdict], language: str) -> list[str]:
    t = partial(say, language)
    columns = (
        t("cases.cases"),
        t("cases.pass"),
        t("cases.fail"),
        t("cases.refused_short"),
        t("cases.empty_short"),
    )
    widths = [max(8, _width(each) + 2) for each in columns]
    counts: dict[str, Counter[State]] = {}
    for verdict in verdicts:
        counts.setdefault(verdict.case.area, Counter())[verdict.state] += 1
    rows = [
        (f"{(AREAS[area].name_zh if language == 'zh' else AREAS[area].name_en)} {area}", counts[area])
        for area in AREAS
        if area in counts
    ]
    whole = sum((count for _, count in rows), Counter[State]())
    name_width = max(_width(name) for name, _ in (*rows, (t("cases.area"), whole)))
    lines = [
        _padded(t("cases.area"), name_width)
        + "".join(_right(each, width) for each, width in zip(columns, widths, strict=True))
    ]
    lines.append("-" * (name_width + sum(widths)))
    for name, count in (*rows, (t("cases.total"), whole)):
        if name == t("cases.total"):
            lines.append("-" * (name_width + sum(widths)))
        numbers = (count.total(), *(count[state] for state in State))
        lines.append(
            _padded(name, name_width)
            + "".join(
                _right(str(each) if each or not place else "·", width)
                for place, (each, width) in enumerate(zip(numbers, widths, strict=True))
            )
        )
    return lines


def _conclusion(verdicts: Sequence[Verdict], language: str) -> str:
    wrong = sum(1 for verdict in verdicts if verdict.state is not State.PASS)
    unproven = sum(1 for verdict in verdicts if verdict.state is State.PASS and verdict.unused)
    said = (
        say(language, "cases.some_wrong", wrong=wrong, n=len(verdicts))
        if wrong
        else say(language, "cases.all_right", n=len(verdicts), fields=sum(each.fields for each in verdicts))
    )
    return said + ("\n" + say(language, "cases.some_unused", n=unproven) if unproven else "")


# ---- JSON ----


def rated_json(verdict: Verdict) -> dict[str, object]:
    """One case for machines: results as the case asks for them, the derivation of each, everything else beside it."""
    case = verdict.case
    return {
        "schema": "tariff-rate",
        "schema_version": "1.0",
        "id": case.id,
        "area": case.area,
        "state": verdict.state if case.expected else None,
        "results": _json(
            answered(dict(case.expected), verdict.results) if case.expected else plain(verdict.results)
        ),
        "derivations": {
            path: {
                "value": _json(result.value),
                "formula": result.step.formula,
                "inputs": dict(result.step.numbers),
                "rule": result.step.rule,
                "rounding": result.step.rounding,
            }
            for path, result in _leaves(verdict.results, "")
        },
        "differences": [_difference_json(each) for each in verdict.differences],
        "unused_inputs": list(verdict.unused),
    }


def checked_json(verdicts: Sequence[Verdict], file: str) -> dict[str, object]:
    """A checked file for machines."""
    states = Counter(verdict.state for verdict in verdicts)
    areas: dict[str, Counter[State]] = {}
    for verdict in verdicts:
        areas.setdefault(verdict.case.area, Counter())[verdict.state] += 1
    return {
        "schema": "tariff-check",
        "schema_version": "1.0",
        "file": file,
        "cases": len(verdicts),
        "fields": sum(verdict.fields for verdict in verdicts),
        **{state.value: states[state] for state in State},
        "areas": {
            area: {"cases": count.total(), **{state.value: count[state] for state in State}}
            for area, count in areas.items()
        },
        "results": [
            {
                "id": verdict.case.id,
                "area": verdict.case.area,
                "state": verdict.state,
                "fields": verdict.fields,
                "differences": [_difference_json(each) for each in verdict.differences],
                "problem": None
                if verdict.problem is None
                else {key: str(value) for key, value in verdict.problem.facts.items()},
                "unused_inputs": list(verdict.unused),
                "no_effect": list(verdict.case.remarks),
            }
            for verdict in verdicts
        ],
    }


def answered(expected: dict[str, Json], results: Results) -> dict[str, Value]:
    """The results in the shape in which a case expects them; what is not computed is left out."""
    found: dict[str, Value] = {}
    for name, wanted in expected.items():
        result = results.find(name, wanted)
        if result is None:
            continue
        if result.rows is not None and isinstance(wanted, list):
            found[name] = [
                answered(each, row) if isinstance(each, dict) else plain(row)
                for each, row in zip([*wanted, *([{}] * len(result.rows))], result.rows, strict=False)
            ]
        elif result.parts is not None and isinstance(wanted, dict):
            found[name] = answered(wanted, result.parts)
        else:
            found[name] = plain_value(result)
    return found


def _difference_json(difference: Difference) -> dict[str, object]:
    return {
        "field": difference.at,
        "kind": difference.kind,
        "expected": difference.expected,
        "got": None if difference.kind is Kind.NOT_COMPUTED else difference.got,
        "off_by": off_by(difference) or None,
        "tolerance": difference.tolerance,
    }


def _json(value: object) -> object:
    match value:
        case Decimal():
            return f"{value:f}"
        case dict():
            return {key: _json(each) for key, each in value.items()}
        case list() | tuple():
            return [_json(each) for each in value]
        case _:
            return value


# ---- columns ----


def _number(value: object) -> Decimal | None:
    try:
        return Decimal(value) if isinstance(value, str | Decimal) else None
    except InvalidOperation:
        return None


def _short(text: str) -> str:
    return text if len(text) <= 4 * WIDTH else f"{text[: 4 * WIDTH]}…"


def _width(text: str) -> int:
    """Columns on a terminal; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _right(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text


def _wrapped(text: str, first: str, rest: str | None = None) -> list[str]:
    """Break a text at its spaces and between Chinese characters."""
    rest = first if rest is None else rest
    lines: list[str] = []
    line = ""
    room = WIDTH - _width(first)
    for piece in _pieces(text):
        if line and _width(line) + _width(piece.rstrip()) > room:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    lines.append(line.rstrip())
    return [f"{first if not number else rest}{each}" for number, each in enumerate(lines)] if text else []


def _pieces(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        if any(unicodedata.east_asian_width(each) in "WF" for each in word):
            yield from word
        else:
            yield word
