"""Checklists of registration: which facts and documents a class of parties owes, and what is still missing. Pure.

A checklist is dated, sourced data (rules/*.toml). Facts are texts in canonical form, exactly as they are kept; a fact that
cannot be read is refused when it is written, a fact that is missing or too small only when the application is sent.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from typing import Any, Final

from cloud.errors import Invalid, NotFound
from cloud.parties.admission import Admission, AssetTier, admission
from cloud.parties.party import SUBKINDS, Kind
from cloud.parties.usci import code_from

TEXT_MAX: Final = 300
CLASS_OF: Final = {
    "production": "industrial",
    "service": "commercial",
    "living": "residential",
    "farming": "agricultural",
}
_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_PHONE: Final = re.compile(r"\+?[0-9][0-9 -]{5,18}[0-9]", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]{2,}")


class BadFact(Invalid):
    """A fact cannot be read: `field` names it, `allowed` is the key of what may stand there."""


class BadChecklist(Invalid):
    """A checklist file contradicts itself."""


class NoChecklist(NotFound):
    """No checklist of that kind is in force on that day."""


@dataclass(frozen=True, slots=True)
class Field:
    """A fact to give; `subkinds` empty: every class of the kind owes it."""

    key: str
    type: str
    subkinds: tuple[str, ...] = ()
    is_optional: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paper:
    """A document to give; `is_dated`: it says until when it holds. An expired one stops trading if `stops_trading`."""

    key: str
    subkinds: tuple[str, ...] = ()
    is_optional: bool = False
    is_dated: bool = False
    stops_trading: bool = False


@dataclass(frozen=True, slots=True)
class Minimum:
    """A number below which a class is not admitted; `of_field`: so many hundredths of that other field."""

    field: str
    subkinds: tuple[str, ...]
    least_count: Decimal
    of_field: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A document behind a checklist, and how certain it is."""

    document: str
    mark: str
    note: str


@dataclass(frozen=True, slots=True)
class Checklist:
    """One version of what a kind of party owes, and the clocks of its registration."""

    id: str
    version: int
    sha256: str
    kind: Kind
    effective: date
    commitment: str
    sources: tuple[Source, ...]
    fields: tuple[Field, ...]
    papers: tuple[Paper, ...]
    minima: tuple[Minimum, ...] = ()
    tiers: tuple[AssetTier, ...] = ()
    scales: tuple[tuple[str, Decimal], ...] = ()  # of a user: name, from so many kWh a year on; largest first
    review_days: int = 5  # working days, as report_days and leave_days
    report_days: int = 5
    publicity_months: int = 0
    leave_days: int = 10
    history_months: int = 60
    remind_days: tuple[int, ...] = (60, 30, 7)

    @property
    def name(self) -> str:
        """How submissions cite it."""
        return f"{self.id}@{self.version}"


@dataclass(frozen=True, slots=True)
class HeldPaper:
    """A document that a party has given; `valid_until` is the first day on which it no longer holds."""

    item: str
    valid_until: date | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that stands against sending an application: `why` is the key of a sentence."""

    item: str
    why: str
    facts: Mapping[str, str] = field(default_factory=dict)


def fields_of(checklist: Checklist, subkind: str) -> tuple[Field, ...]:
    """The facts that a class gives."""
    return tuple(each for each in checklist.fields if not each.subkinds or subkind in each.subkinds)


def papers_of(checklist: Checklist, subkind: str) -> tuple[Paper, ...]:
    """The documents that a class gives."""
    return tuple(each for each in checklist.papers if not each.subkinds or subkind in each.subkinds)


def fact_from(wanted: Field, text: str) -> str:
    """Read a fact as it is kept; an empty text is no fact yet. Raises BadFact, BadCode."""
    plain = " ".join(text.split())
    if not plain:
        return ""
    if not plain.isprintable() or len(plain) > TEXT_MAX:
        raise BadFact("bad_fact", field=wanted.key, allowed="text")
    if wanted.type == "choice":
        if plain not in wanted.options:
            raise BadFact("bad_fact", field=wanted.key, allowed="choice")
        return plain
    read = _READERS.get(wanted.type)
    return plain if read is None else read(wanted, plain)


def facts_from(wanted: Sequence[Field], texts: Mapping[str, str]) -> dict[str, str]:
    """Read the facts that are given; what is not asked for is left out. Raises BadFact, BadCode."""
    read = {each.key: fact_from(each, texts.get(each.key, "")) for each in wanted}
    return {key: value for key, value in read.items() if value}


def gaps(
    checklist: Checklist, subkind: str, facts: Mapping[str, str], papers: Sequence[HeldPaper], today: date
) -> tuple[Gap, ...]:
    """List what stands against sending the application, in the checklist's order."""
    held = {each.item: each for each in papers}
    missing = [
        Gap(f"field.{each.key}", "missing")
        for each in fields_of(checklist, subkind)
        if not each.is_optional and not facts.get(each.key)
    ]
    owed = [
        gap for each in papers_of(checklist, subkind) if (gap := _paper_gap(each, held.get(each.key), today))
    ]
    small = [gap for each in checklist.minima if (gap := _minimum_gap(each, subkind, facts))]
    return (*missing, *owed, *small, *_admission_gaps(checklist, facts), *_nature_gaps(subkind, facts))


def items(
    checklist: Checklist, subkind: str, facts: Mapping[str, str], held: Sequence[str]
) -> tuple[str, ...]:
    """What two persons check one by one: every fact given and every document given or owed."""
    return (
        *(f"field.{each.key}" for each in fields_of(checklist, subkind) if each.key in facts),
        *(
            f"paper.{each.key}"
            for each in papers_of(checklist, subkind)
            if not each.is_optional or each.key in held
        ),
    )


def admitted(checklist: Checklist, facts: Mapping[str, str]) -> Admission | None:
    """How much a retailer may sell in a year by its assets; None where no tiers are set or no assets are given."""
    if not checklist.tiers or not facts.get("assets_yuan"):
        return None
    return admission(Decimal(facts["assets_yuan"]), checklist.tiers)


def scale_of(checklist: Checklist, facts: Mapping[str, str]) -> str:
    """The scale of a user by its energy a year; '' when it is not known."""
    if not facts.get("annual_kwh"):
        return ""
    energy_kwh = Decimal(facts["annual_kwh"])
    return next((name for name, from_kwh in checklist.scales if energy_kwh >= from_kwh), "")


def in_force(kind: Kind, day: date) -> Checklist:
    """The checklist of a kind on a day: the last that came into force. Raises NoChecklist."""
    found = [each for each in _packaged() if each.kind is kind and each.effective <= day]
    if not found:
        raise NoChecklist("no_checklist", kind=kind.value, day=day.isoformat())
    return max(found, key=lambda each: (each.effective, each.version))


def named(name: str) -> Checklist:
    """The checklist of that id and version. Raises NoChecklist."""
    for each in _packaged():
        if each.name == name:
            return each
    raise NoChecklist("no_checklist", kind=name, day="")


def checklist_from(text: str, file: str) -> Checklist:
    """Read a checklist file. Raises BadChecklist that names the file and the entry."""
    content: dict[str, Any] = tomllib.loads(text)
    try:
        checklist = Checklist(
            **{
                **content,
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "kind": Kind(content["kind"]),
                "sources": tuple(Source(**each) for each in content["sources"]),
                "fields": tuple(_made(Field, each) for each in content["fields"]),
                "papers": tuple(_made(Paper, each) for each in content["papers"]),
                "minima": tuple(
                    _made(Minimum, {**each, "least_count": Decimal(each["least_count"])})
                    for each in content.get("minima", ())
                ),
                "tiers": tuple(_tier(each) for each in content.get("tiers", ())),
                "scales": tuple((name, Decimal(kwh)) for name, kwh in content.get("scales", ())),
                "remind_days": tuple(content.get("remind_days", (60, 30, 7))),
            }
        )
    except (TypeError, KeyError, ValueError, InvalidOperation) as problem:
        raise BadChecklist("bad_checklist", file=file, problem=str(problem)) from problem
    _check(checklist, file)
    return checklist


def _made(form: Callable[..., Any], entry: Mapping[str, Any]) -> Any:
    return form(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})


def _tier(entry: Mapping[str, str]) -> AssetTier:
    cap = entry.get("annual_cap_kwh")
    return AssetTier(Decimal(entry["assets_from_yuan"]), None if cap is None else Decimal(cap))


def _check(checklist: Checklist, file: str) -> None:
    keys = [each.key for each in checklist.fields] + [each.key for each in checklist.papers]
    bad = [key for key in keys if not _KEY.fullmatch(key) or keys.count(key) > 1]
    bad += [each.key for each in checklist.fields if each.type not in TYPES]
    bad += [each.key for each in checklist.fields if (each.type == "choice") != bool(each.options)]
    known = {each.key for each in checklist.fields}
    bad += [each.field for each in checklist.minima if {each.field, each.of_field or each.field} - known]
    named_subkinds = {name for each in checklist.fields for name in each.subkinds}
    named_subkinds |= {name for each in checklist.papers for name in each.subkinds}
    named_subkinds |= {name for each in checklist.minima for name in each.subkinds}
    bad += sorted(named_subkinds - set(SUBKINDS[checklist.kind]))
    if bad or not checklist.sources or checklist.version < 1:
        raise BadChecklist("bad_checklist", file=file, problem=", ".join(bad) or "sources, version")


def _paper_gap(wanted: Paper, held: HeldPaper | None, today: date) -> Gap | None:
    if held is None:
        return None if wanted.is_optional else Gap(f"paper.{wanted.key}", "paper_missing")
    if wanted.is_dated and held.valid_until is None:
        return Gap(f"paper.{wanted.key}", "paper_undated")
    if held.valid_until is not None and held.valid_until <= today:
        return Gap(f"paper.{wanted.key}", "paper_expired", {"until": held.valid_until.isoformat()})
    return None


def _minimum_gap(minimum: Minimum, subkind: str, facts: Mapping[str, str]) -> Gap | None:
    if (minimum.subkinds and subkind not in minimum.subkinds) or not facts.get(minimum.field):
        return None
    least = minimum.least_count
    if minimum.of_field:
        if not facts.get(minimum.of_field):
            return None
        least = Decimal(facts[minimum.of_field]) * minimum.least_count / 100
    if Decimal(facts[minimum.field]) >= least:
        return None
    return Gap(f"field.{minimum.field}", "too_small", {"least": _plain(least)})


def _admission_gaps(checklist: Checklist, facts: Mapping[str, str]) -> tuple[Gap, ...]:
    found = admitted(checklist, facts)
    if found is None or found.is_admitted:
        return ()
    least = min(tier.assets_from_yuan for tier in checklist.tiers)
    return (Gap("field.assets_yuan", "too_small", {"least": _plain(least)}),)


def _nature_gaps(subkind: str, facts: Mapping[str, str]) -> tuple[Gap, ...]:
    """A user's class is that of what it uses energy for."""
    nature = facts.get("nature", "")
    if not nature or CLASS_OF.get(nature) == subkind:
        return ()
    return (Gap("field.nature", "nature_differs"),)


def _packaged() -> tuple[Checklist, ...]:
    if not _CHECKLISTS:
        folder = files("cloud.parties").joinpath("rules")
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("entry-"))
        _CHECKLISTS.extend(checklist_from(folder.joinpath(name).read_text("utf-8"), name) for name in names)
    return tuple(_CHECKLISTS)


def _decimal(wanted: Field, text: str, places: int) -> str:
    plain = text.replace(",", "")
    if not re.fullmatch(rf"[0-9]{{1,15}}(\.[0-9]{{1,{places}}})?", plain, re.ASCII):
        raise BadFact("bad_fact", field=wanted.key, allowed=wanted.type)
    return _plain(Decimal(plain))


def _whole(wanted: Field, text: str) -> str:
    plain = text.replace(",", "")
    if not re.fullmatch(r"[0-9]{1,15}", plain, re.ASCII):
        raise BadFact("bad_fact", field=wanted.key, allowed=wanted.type)
    return str(int(plain))


def _day(wanted: Field, text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadFact("bad_fact", field=wanted.key, allowed="day") from None


def _pattern(pattern: re.Pattern[str]) -> Callable[[Field, str], str]:
    def read(wanted: Field, text: str) -> str:
        if not pattern.fullmatch(text):
            raise BadFact("bad_fact", field=wanted.key, allowed=wanted.type)
        return text

    return read


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_READERS: Final[Mapping[str, Callable[[Field, str], str]]] = {
    "usci": lambda wanted, text: code_from(text),
    "phone": _pattern(_PHONE),
    "email": _pattern(_EMAIL),
    "yuan": lambda wanted, text: _decimal(wanted, text, 2),
    "decimal": lambda wanted, text: _decimal(wanted, text, 3),
    "whole": _whole,
    "day": _day,
}
TYPES: Final = frozenset({"text", "choice", *_READERS})
_CHECKLISTS: Final[list[Checklist]] = []
