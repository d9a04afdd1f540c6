"""A site file is refused with file, key and what is allowed; what it says is read exactly."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from ingest_world import site_text

from cloud.site import BadSite, site_from

GOOD = site_text(("GW1",), 1)


def test_what_is_written_is_what_is_read() -> None:
    text = GOOD.replace(
        'structure = "single_part"',
        'structure = "two_part"\n  demand_mode = "capacity"\n  capacity_kva = 630',
    )
    site = site_from(
        text.replace('voltage = "1-10kV"', 'voltage = "1-10kV"\n  power_factor_standard = "0.90"'), "s.toml"
    )
    (terms,) = site.accounts[0].terms
    assert (terms.start, terms.end) == (
        datetime(2025, 12, 31, 16, tzinfo=UTC),
        None,
    )  # midnight in Asia/Shanghai
    assert (terms.demand_mode, terms.capacity_kva, terms.power_factor_standard) == (
        "capacity",
        630,
        Decimal("0.90"),
    )
    (installation,) = site.installations
    assert (installation.meter_id, installation.supply_point_id, installation.multiplier) == (
        "GW1M1",
        "SP-GW1M1",
        1,
    )


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("multiplier = 1", "multiplier = 0", "installation[1].multiplier"),
        ("multiplier = 1", 'multiplier = "1"', "installation[1].multiplier"),
        ("multiplier = 1", "multiplier = true", "installation[1].multiplier"),
        ("from = 2026-01-01\n  category", "category", "account[1].terms[1].from"),
        (
            "from = 2026-01-01\n  category",
            "from = 2026-01-01T00:00:00\n  category",
            "account[1].terms[1].from",
        ),
        (
            "from = 2026-01-01\n  category",
            "from = 2026-01-01\n  to = 2026-01-01\n  category",
            "account[1].terms[1].to",
        ),
        ('category = "commercial"', 'category = "shop"', "account[1].terms[1].category"),
        ('structure = "single_part"', 'structure = "two_part"', "account[1].terms[1].demand_mode"),
        (
            'structure = "single_part"',
            'structure = "two_part"\n  demand_mode = "actual"',
            "account[1].terms[1].capacity_kva",
        ),
        ('id = "GW1"', 'id = "GW 1"', "gateway[1].id"),
        ('id = "3700000000001"\nparty', 'id = "37"\nparty', "account[1].id"),
        ("multiplier = 1", "multiplier = 1\nmultiplyer = 80", "installation[1].multiplyer"),
        ("[[party]]", "[party]", "party"),
        ("[[party]]", "[[party", "TOML"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(old: str, new: str, key: str) -> None:
    assert old in GOOD
    with pytest.raises(BadSite) as told:
        site_from(GOOD.replace(old, new), "s.toml")
    assert str(told.value).startswith(f"s.toml: {key}: ")
    assert "allowed: " in str(told.value)
