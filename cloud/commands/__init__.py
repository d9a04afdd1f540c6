"""Commands of `shoudian-cloud` by topic. Composition roots: they read environment, clock and arguments.

A topic is a module with `add_to(add)`: it names its commands by `add(name, run, text)` and gives each its arguments; a
command with several deeds is a `topic`.
Imports of a command's own needs stand inside it, so that `--help` and offline commands start at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Protocol

from cloud.config import CloudConfig, load_config

Run = Callable[[argparse.Namespace], int | None]


class Add(Protocol):
    """Adds a command to the parser; the answer takes its arguments."""

    def __call__(self, name: str, run: Run, text: str) -> argparse.ArgumentParser: ...


class Simulator(Protocol):
    """Somebody else's server, played by us."""

    def run(self) -> None:
        """Serve until `close`."""

    def close(self) -> None:
        """Stop serving."""


def topic(add: Add, name: str, text: str, example: str) -> Add:
    """Add a command that does nothing without one of its deeds; the answer adds a deed."""

    def none(arguments: argparse.Namespace) -> int:
        raise AssertionError("a deed is required")

    command = add(name, none, text)
    command.epilog, command.formatter_class = example, argparse.RawDescriptionHelpFormatter
    deeds = command.add_subparsers(metavar="DEED", required=True)

    def deed(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        found: argparse.ArgumentParser = deeds.add_parser(name, help=text, description=text)
        found.set_defaults(run=run)
        return found

    return deed


def serve(simulator: Simulator, *said: str) -> None:
    """Run a simulator until this process is told to end; say where it is once it listens."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    thread = threading.Thread(target=simulator.run, daemon=True)
    thread.start()
    print(*said, sep="\n", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        stop.wait()
    simulator.close()
    thread.join(timeout=5)


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
