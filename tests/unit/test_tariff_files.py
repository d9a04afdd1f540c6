"""Price files are read strictly: an error names the file, the key and what is allowed."""

from __future__ import annotations

from datetime import date

import pytest

from cloud.billing.catalogue import AmbiguousPrices, Buyer, Catalogue, UnpricedMonth
from cloud.billing.filetable import BadPriceFile
from cloud.billing.line import Period
from cloud.billing.pricefile import price_file_from
from cloud.billing.store.published import packaged_catalogue, packaged_texts

TEXTS = {each.name: each.text for each in packaged_texts()}
JIBEI = Buyer("jibei", "agency", "commercial")


def test_every_shipped_file_names_document_mark_and_status() -> None:
    for name, text in TEXTS.items():
        head = price_file_from(name, text).head
        assert head.sources, name
        assert all(source.document and source.mark for source in head.sources), name


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "allowed"),
    [
        ("jibei-agency-2026-08.toml", "floats = true", "float = true", "component[1].floats", "true | false"),
        ("jibei-agency-2026-08.toml", '"0.398598"', "0.398598", "component[1].price_yuan_per_kwh", "in quotes"),
        ("jibei-agency-2026-08.toml", '"0.398598"', '"NaN"', "component[1].price_yuan_per_kwh", "plain digits"),
        ("jibei-agency-2026-08.toml", 'grid = "jibei"', 'grid = "jibei"\nvat = 13', "vat", "only "),
        ("jibei-agency-2026-08.toml", "2026-09-01", "2026-08-01", "effective_to", "after effective_from"),
        ("jibei-agency-2026-08.toml", '"SEC+CALC"', '"SURE"', "source[1].mark", "OFF | SEC"),
        ("jibei-agency-2026-08.toml", '"two_part"', '"three_part"', "printed[6].structure", "single_part | two_part"),
        ("jibei-tou-2025-1275.toml", '"18:00-21:00"', '"18:00-20:45"', "season[1].hours", "exactly once"),
        ("jibei-tou-2025-1275.toml", '"18:00-21:00"', '"17:45-21:00"', "season[1].hours", "exactly once"),
        ("jibei-tou-2025-1275.toml", '"18:00-21:00"', '"18:10-21:00"', "season[1].tip", "quarter hour"),
        ("jibei-tou-2025-1275.toml", "months = [2]", "months = [2, 8]", "season[3].months", "one season only"),
        ("jibei-tou-2025-1275.toml", "months = [1, 11, 12]", "months = [11, 12]", "season", "all twelve months"),
        ("cn-two-part.toml", 'overrun_variant = "A"', 'overrun_variant = "C"', "overrun_variant", "A | B"),
        ("cn-two-part.toml", "days_of_month_charge = 30", "days_of_month_charge = 0", "days_of_month_charge", "28..31"),
        ("cn-power-factor-1983-215.toml", 'until = "0.70"', 'until = "0.95"', "standard[1].surcharge", "fall from"),
        ("jibei-transmission-2026.toml", 'demand_yuan_per_kw_month = "39.4"', "", "row[6].demand_yuan", "two_part only"),
        ("jibei-funds-2026.toml", 'item = "major_water_works"', 'item = "a-b"', "item[2].item", "letters"),
        ("jibei-funds-2026.toml", 'kind = "funds"', 'kind = "fund"', "kind", "calendar | price-sheet"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name_and_key(
    file: str, old: str, new: str, key: str, allowed: str
) -> None:
    assert old in TEXTS[file]

    with pytest.raises(BadPriceFile) as refusal:
        price_file_from(file, TEXTS[file].replace(old, new, 1))

    told = str(refusal.value)
    assert file in told
    assert key in told
    assert allowed in told


def test_the_calendar_changes_with_its_notice() -> None:
    """冀发改能价〔2023〕1711号: summer tip 17-20; 〔2025〕1275号: 18-21."""
    catalogue = packaged_catalogue()
    before, after = (catalogue.calendar_on(date(year, 7, 1), "jibei") for year in (2025, 2026))

    assert [before.period_of(date(2025, 7, 1), slot) for slot in (67, 68, 79, 80)] == [
        Period.PEAK, Period.TIP, Period.TIP, Period.PEAK,
    ]  # fmt: skip
    assert [after.period_of(date(2026, 7, 1), slot) for slot in (71, 72, 83, 84)] == [
        Period.PEAK, Period.TIP, Period.TIP, Period.PEAK,
    ]  # fmt: skip
    assert catalogue.calendar_on(date(2025, 11, 30), "jibei").head.version == 1
    assert catalogue.calendar_on(date(2025, 12, 1), "jibei").head.version == 2


@pytest.mark.parametrize(
    ("day", "buyer", "names"),
    [
        (date(2026, 9, 1), JIBEI, ("2026-09", "jibei-agency-2026-08@1")),
        (date(2026, 7, 31), JIBEI, ("2026-07", "price-sheet", "jibei-agency-2026-08@1")),
        (
            date(2026, 8, 1),
            Buyer("jibei", "catalogue", "residential"),
            ("catalogue", "residential", "exist=none"),
        ),
        (date(2026, 8, 1), Buyer("guizhou", "agency", "commercial"), ("guizhou", "exist=none")),
    ],
)
def test_an_unpriced_month_names_itself_and_what_exists(
    day: date, buyer: Buyer, names: tuple[str, ...]
) -> None:
    with pytest.raises(UnpricedMonth) as refusal:
        packaged_catalogue().prices_on(day, buyer)

    for name in names:
        assert name in str(refusal.value)


def test_two_sheets_in_force_at_once_are_refused_and_a_next_version_supersedes() -> None:
    text = TEXTS["jibei-agency-2026-08.toml"]
    twin = text.replace('id = "jibei-agency-2026-08"', 'id = "other"', 1)
    next_version = text.replace("version = 1", "version = 2", 1)
    files = packaged_catalogue().files

    with pytest.raises(AmbiguousPrices):
        Catalogue((*files, price_file_from("twin", twin))).prices_on(date(2026, 8, 1), JIBEI)
    newer = Catalogue((*files, price_file_from("next", next_version))).prices_on(date(2026, 8, 1), JIBEI)
    assert newer.sheet.head.version == 2
