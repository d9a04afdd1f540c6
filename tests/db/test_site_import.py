"""Importing a site: again changes nothing, contradictions are refused by name, and then nothing is saved."""

from __future__ import annotations

import psycopg
import pytest
from ingest_world import site_text

from cloud.site import SiteConflict, import_site, site_from

GOOD = site_text(("GW1",), 2)
EVERYTHING = """SELECT (SELECT jsonb_agg(t ORDER BY t.*) FROM party t), (SELECT jsonb_agg(t ORDER BY t.*) FROM account t),
    (SELECT jsonb_agg(t ORDER BY t.*) FROM account_terms t), (SELECT jsonb_agg(t ORDER BY t.*) FROM supply_point t),
    (SELECT jsonb_agg(t ORDER BY t.meter_key) FROM meter t), (SELECT jsonb_agg(t ORDER BY t.*) FROM installation t)"""


def load(conn: psycopg.Connection, text: str) -> tuple:
    with conn.transaction():
        import_site(conn, site_from(text, "s.toml"))
    return conn.execute(EVERYTHING).fetchone()


def test_the_same_file_again_changes_nothing(database: str) -> None:
    with psycopg.connect(database) as conn:
        assert load(conn, GOOD) == load(conn, GOOD)


def test_an_installation_may_be_ended_and_followed_by_another(database: str) -> None:
    exchanged = GOOD.replace(
        'gateway = "GW1"\nmultiplier = 1\nfrom = 2026-01-01\n',
        'gateway = "GW1"\nmultiplier = 1\nfrom = 2026-01-01\nto = 2026-08-03T02:10:00+08:00\n',
        1,
    )
    exchanged += """
[[meter]]
id = "NEW"
profile = "p"
address = "9"
[[installation]]
meter = "NEW"
supply_point = "SP-GW1M1"
gateway = "GW1"
multiplier = 40
from = 2026-08-03T02:10:00+08:00
"""
    with psycopg.connect(database) as conn:
        load(conn, GOOD)
        load(conn, exchanged)
        spans = conn.execute(
            """SELECT meter_id, multiplier, upper(period) IS NULL FROM installation JOIN meter USING (meter_key)
               WHERE supply_point_id = 'SP-GW1M1' ORDER BY lower(period)"""
        ).fetchall()
    assert spans == [("GW1M1", 1, False), ("NEW", 40, True)]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("multiplier = 1", "multiplier = 80", "installation of meter GW1M1"),
        ('supply_point = "SP-GW1M1"', 'supply_point = "SP-NONE"', "installation of meter GW1M1"),
        ('voltage = "1-10kV"', 'voltage = "35kV"', "terms of account 3700000000001"),
        ('party = "示范纺织有限公司"', 'party = "别人"', "account 3700000000001"),
        ('id = "3700000000001"', 'id = "3700000000001"\ngrid = "hubei"', "account 3700000000001"),
        ('meter = "GW1M1"', 'meter = "NONE"', "installation of meter NONE"),
        ("from = 2026-01-01\n  category", "from = 2026-02-01\n  category", "terms of account 3700000000001"),
        (
            'gateway = "GW1"\nmultiplier = 1\nfrom = 2026-01-01\n',
            'gateway = "GW1"\nmultiplier = 1\nfrom = 2026-02-01\n',
            "installation of meter GW1M1",
        ),
    ],
)
def test_a_contradiction_is_refused_by_name_and_nothing_is_saved(
    database: str, old: str, new: str, named: str
) -> None:
    assert old in GOOD
    with psycopg.connect(database) as conn:
        before = load(conn, GOOD)
        with pytest.raises(SiteConflict) as told:
            load(conn, GOOD.replace(old, new, 1).replace('name = "GW1M2"', 'name = "renamed"'))
        assert str(told.value).startswith(named)
        assert conn.execute(EVERYTHING).fetchone() == before


def test_grid_catalogue_option_and_year_opening_are_saved_once(database: str) -> None:
    household = """
[[party]]
name = "示范小区业主"
[[account]]
id = "4200000000001"
party = "示范小区业主"
name = "示范小区业主"
address = "示范小区 1 栋"
grid = "hubei"
  [[account.terms]]
  from = 2026-01-01
  category = "residential"
  purchase = "catalogue"
  structure = "single_part"
  voltage = "lt1kV"
  option = "ladder_tou"
  [[account.year_opening]]
  month = "2026-08"
  kwh = 1820
"""
    with psycopg.connect(database) as conn:
        load(conn, household)
        load(conn, household)
        with pytest.raises(SiteConflict, match="year_opening"):
            load(conn, household.replace("kwh = 1820", "kwh = 1821"))
        kept = conn.execute(
            """SELECT a.grid, t.option, o.month::text, o.kwh
               FROM account a JOIN account_terms t USING (account_id) JOIN year_opening o USING (account_id)"""
        ).fetchall()
    assert kept == [("hubei", "ladder_tou", "2026-08-01", 1820)]
