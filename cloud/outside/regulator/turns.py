"""What the worker's timetable does about the regulator: reminders always, the line where one is configured."""

from __future__ import annotations

import logging
from datetime import datetime

from cloud.config import CloudConfig
from cloud.daytypes import NoCalendar
from cloud.db import Pool
from cloud.files import open_vault
from cloud.outside.regulator import connected, errands

log = logging.getLogger(__name__)


def look(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """One round: reminders, reports without an answer, policies."""
    try:
        errands.look(pool, open_vault(config.files), connected(config), now)
    except NoCalendar as missing:  # a year without a holiday arrangement: the page says so too
        log.warning("regulator.calendar.missing %s", missing)
