"""Shell: a user groups its supply points into consumption units 用电单元."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cloud.db import Conn
from cloud.errors import Invalid
from cloud.parties.store import units
from cloud.parties.store.units import UnitRow

NAME_MAX, POINTS_MAX = 100, 200


class BadUnit(Invalid):
    """A unit needs a name, and at most POINTS_MAX points at a time."""


def make(conn: Conn, party_id: int, name: str, points: Sequence[str], act: tuple[datetime, str]) -> int:
    """Make a unit of these supply points; points of other units move over. Raises BadUnit, Conflict, ForeignPoint."""
    at, actor = act
    plain = " ".join(name.split())
    if not 1 <= len(plain) <= NAME_MAX or not plain.isprintable():
        raise BadUnit("bad_unit", longest=NAME_MAX)
    unit_no = units.insert(conn, party_id, plain, at, actor)
    unit = UnitRow(unit_no, party_id, plain)
    put(conn, unit, points, act)
    return unit_no


def put(conn: Conn, unit: UnitRow, points: Sequence[str], act: tuple[datetime, str]) -> None:
    """Let a unit hold exactly these supply points from now on. Raises BadUnit, ForeignPoint, InOtherUnit."""
    at, _ = act
    if len(points) > POINTS_MAX:
        raise BadUnit("bad_unit", longest=POINTS_MAX)
    known = {each.supply_point_id: each for each in units.points(conn, unit.party_id, at)}
    foreign = [point for point in points if point not in known]
    if foreign:
        raise units.ForeignPoint("not_found", kind="supply_point")
    for point in known.values():
        wanted = point.supply_point_id in points
        if point.unit_no is not None and (point.unit_no != unit.unit_no) is wanted:
            units.end_point(conn, point.supply_point_id, at)
        if wanted and point.unit_no != unit.unit_no:
            units.put_point(conn, unit.unit_no, point.supply_point_id, at, act)
