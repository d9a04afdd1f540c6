"""SQL: wholesale contracts by version. Rows are only added; the latest version of a contract speaks."""

from __future__ import annotations

from datetime import date, datetime

from cloud.contracts.terms import ContractKind, Shape, Volume, WholesaleTerms
from cloud.db import Conn
from cloud.errors import Conflict


class ContractChanged(Conflict):
    """A contract of that number and version is kept already and says something else."""


def put(conn: Conn, terms: WholesaleTerms, actor: str, now: datetime) -> bool:
    """Keep a version of a contract; False when it is kept already. Raises ContractChanged."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 13))", (f"contract {terms.contract_id}",))
    kept = find(conn, terms.contract_id, terms.version)
    if kept is not None:
        if kept != terms:
            raise ContractChanged("contract_changed", contract=terms.contract_id, version=terms.version)
        return False
    conn.execute(
        """INSERT INTO wholesale_contract (contract_id, version, kind, seller, buyer, signed, document, shape, curve,
                                           green_users, entered_at, entered_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[], %s::text[], %s, %s)""",
        (
            *(terms.contract_id, terms.version, terms.kind, terms.seller, terms.buyer, terms.signed),
            *(terms.document, terms.shape, list(terms.curve), list(terms.green_users), now, actor),
        ),
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO wholesale_volume (contract_id, version, volume_no, month, period, mwh, price_yuan_per_mwh,
                                             environment_yuan_per_mwh)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    *(terms.contract_id, terms.version, number, volume.month, volume.period, volume.mwh),
                    *(volume.price_yuan_per_mwh, volume.environment_yuan_per_mwh),
                )
                for number, volume in enumerate(terms.volumes, start=1)
            ],
        )
    return True


def find(conn: Conn, contract_id: str, version: int) -> WholesaleTerms | None:
    """Load one version of a contract, if there is one."""
    found = _load(conn, "c.contract_id = %s AND c.version = %s", (contract_id, version))
    return found[0] if found else None


def of_month(conn: Conn, month: date) -> tuple[WholesaleTerms, ...]:
    """Load the latest versions of all contracts that promise something for a month, by number."""
    latest = """c.version = (SELECT max(l.version) FROM wholesale_contract l WHERE l.contract_id = c.contract_id)
                AND EXISTS (SELECT FROM wholesale_volume v
                            WHERE (v.contract_id, v.version) = (c.contract_id, c.version) AND v.month = %s)"""
    return _load(conn, latest, (month,))


def _load(conn: Conn, condition: str, parameters: tuple[object, ...]) -> tuple[WholesaleTerms, ...]:
    rows = conn.execute(
        f"""SELECT c.contract_id, c.version, c.kind, c.seller, c.buyer, c.signed, c.document, c.shape, c.curve,
                   c.green_users FROM wholesale_contract c WHERE {condition} ORDER BY c.contract_id, c.version""",
        parameters,
    ).fetchall()
    volumes: dict[tuple[str, int], list[Volume]] = {(row[0], row[1]): [] for row in rows}
    for contract_id, version, *facts in conn.execute(
        """SELECT contract_id, version, month, period, mwh, price_yuan_per_mwh, environment_yuan_per_mwh
           FROM wholesale_volume WHERE contract_id = ANY(%s) ORDER BY contract_id, version, volume_no""",
        (sorted({row[0] for row in rows}),),
    ):
        if (contract_id, version) in volumes:
            volumes[contract_id, version].append(Volume(*facts))
    return tuple(
        WholesaleTerms(
            *(contract_id, version, ContractKind(kind), seller, buyer, signed, document, Shape(shape)),
            curve=tuple(curve),
            volumes=tuple(volumes[contract_id, version]),
            green_users=tuple(green_users),
        )
        for contract_id, version, kind, seller, buyer, signed, document, shape, curve, green_users in rows
    )
