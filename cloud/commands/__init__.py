"""Commands of `shoudian-cloud` by topic. Composition roots: they read environment, clock and arguments.

A topic is a module with `add_to(add)`: it names its commands by `add(name, run, text)` and gives each its arguments.
Imports of a command's own needs stand inside it, so that `--help` and offline commands start at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Protocol

from cloud.config import CloudConfig, load_config

Run = Callable[[argparse.Namespace], int | None]


class Add(Protocol):
    """Adds a command to the parser; the answer takes its arguments."""

    def __call__(self, name: str, run: Run, text: str) -> argparse.ArgumentParser: ...


def config() -> CloudConfig:
    """The configuration of this process. Raises BadConfig."""
    return load_config(os.environ)


def now() -> datetime:
    """The instant of this command."""
    return datetime.now(UTC)  # noqa: TID251 - a composition root


def month(text: str) -> date:
    """A month argument, YYYY-MM, as its first day."""
    from cloud.markettime import month_from

    try:
        return month_from(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
