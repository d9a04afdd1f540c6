"""LISTEN for live samples: the ingest processes NOTIFY the channel `live` after they kept new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg

from cloud.errors import Unavailable

CHANNEL = "live"
LOOK_EVERY_S = 0.5  # how soon a stop is noticed


def arrivals(dsn: str, is_over: Callable[[], bool]) -> Iterator[None]:
    """Yield once now and then whenever live samples have arrived, until `is_over`.

    What arrived is read from live_value; several arrivals may make one yield. Raises Unavailable.
    """
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
            conn.execute("LISTEN live")
            yield
            while not is_over():
                if list(conn.notifies(timeout=LOOK_EVERY_S, stop_after=1)):
                    yield
    except psycopg.OperationalError as problem:
        raise Unavailable("database_unavailable", problem=str(problem).split("\n")[0]) from problem
