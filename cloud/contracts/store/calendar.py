"""SQL: the named periods of a month, by the rule that is entered for the market of this database."""

from __future__ import annotations

from datetime import date

from cloud.contracts import periods
from cloud.db import Conn


def labels_of(conn: Conn, month: date) -> tuple[str, ...]:
    """List the named periods of a month; none where no rule is entered, or the rule names none."""
    row = conn.execute(
        """SELECT rule_id, body FROM market_rule WHERE from_month <= %s
           ORDER BY from_month DESC, entry_id DESC LIMIT 1""",
        (month,),
    ).fetchone()
    return () if row is None else periods.labels_of(periods.hours_of_rule(str(row[0]), str(row[1])), month)
