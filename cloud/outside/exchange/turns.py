"""What the worker's timetable does about the trading platform; nothing where none is configured."""

from __future__ import annotations

import os
import socket
from datetime import datetime

from cloud.config import CloudConfig
from cloud.db import Pool
from cloud.files import open_vault
from cloud.market.run import host
from cloud.outside.exchange import connected, errands


def look(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """One round of sending and fetching."""
    platform = connected(config)
    if platform is not None and config.exchange is not None:
        errands.look(_room(pool, config), platform, now, hosts_all=config.exchange.hosts_matching)


def reconcile(pool: Pool, config: CloudConfig, now: datetime) -> None:
    """Compare the days of the last week that were not compared without a difference yet."""
    platform = connected(config)
    if platform is not None:
        errands.reconcile_lately(_room(pool, config), platform, now)


def _room(pool: Pool, config: CloudConfig) -> errands.Room:
    return errands.Room(pool, open_vault(config.files), host.take, f"{socket.gethostname()}:{os.getpid()}")
