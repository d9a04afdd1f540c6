"""Shell: how the agent is: counters per meter, latest values, and the state message that tells the cloud.

The last state is also written to `state.json` in the data folder, which `shoudian-agent status` prints.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.clock import Clock
from edge_agent.drivers.read import MeterSample
from edge_agent.outbox import Budget, Outbox
from edge_agent.wire.batch import CANONICAL_DECIMALS, CHANNELS
from edge_agent.wire.control import LiveSample, MeterHealth, State

STATE_FILE: Final = "state.json"


@dataclass(slots=True)
class _Counted:
    last_ok_ms: int = 0
    reads_ok: int = 0
    reads_failed: int = 0
    resting: bool = False
    delay_ms: int = 0


class Health:
    """Counts since the agent's start."""

    def __init__(self, meter_ids: Iterable[str]) -> None:
        self._meters = {meter_id: _Counted() for meter_id in meter_ids}
        self._lines: dict[str, str] = {}
        self._lost = 0
        self.connected = False
        self.acks = Counter[str]()

    def read(self, meter_id: str, *, ok: bool, at_ms: int, resting: bool, delay_ms: int | None) -> None:
        """Count one read of a meter; `delay_ms` is how long after the boundary an aligned one was answered."""
        counted = self._meters[meter_id]
        counted.resting = resting
        if not ok:
            counted.reads_failed += 1
            return
        counted.reads_ok += 1
        counted.last_ok_ms = at_ms
        counted.delay_ms = counted.delay_ms if delay_ms is None else delay_ms

    def line_down(self, port: str, problem: str) -> None:
        """Note why a line cannot be used."""
        self._lines[port] = problem

    def line_up(self, port: str) -> None:
        """A meter has answered on this line."""
        self._lines.pop(port, None)

    def lost(self, readings: int) -> None:
        """Count readings that could not be kept anywhere."""
        self._lost += readings

    def take_lost(self) -> int:
        """How many were lost since the last question."""
        lost, self._lost = self._lost, 0
        return lost

    def meters(self) -> tuple[MeterHealth, ...]:
        """What the state message says of the meters."""
        return tuple(
            MeterHealth(meter_id, m.last_ok_ms, m.reads_ok, m.reads_failed, m.resting)
            for meter_id, m in self._meters.items()
        )

    def facts(self) -> dict[str, Any]:
        """What only the local status shows."""
        return {
            "connected": self.connected,
            "acks": dict(self.acks),
            "lines": self._lines,
            "delay_ms": {meter_id: m.delay_ms for meter_id, m in self._meters.items()},
        }


class LiveBoard:
    """The latest values of every meter, and which of them the uplink has not sent yet."""

    def __init__(self) -> None:
        self._samples: dict[str, LiveSample] = {}
        self._fresh: set[str] = set()

    def put(self, meter_id: str, at_ms: int, sample: MeterSample, decimals: tuple[int, ...]) -> None:
        """Note a sample; channels it does not have keep their last value."""
        ticks = {
            channel.code: tick * 10 ** (most - own)
            for channel, tick, own, most in zip(
                CHANNELS, sample.ticks, decimals, CANONICAL_DECIMALS, strict=True
            )
            if tick is not None
        }
        known = self._samples[meter_id].ticks if meter_id in self._samples else {}
        self._samples[meter_id] = LiveSample(meter_id, at_ms, int(sample.quality), {**known, **ticks})
        self._fresh.add(meter_id)

    def take(self) -> tuple[LiveSample, ...]:
        """What is new since the last call."""
        fresh, self._fresh = self._fresh, set()
        return tuple(self._samples[meter_id] for meter_id in sorted(fresh))


class StateSource:
    """Draws up the state message."""

    def __init__(
        self,
        gateway_id: str,
        agent_version: str,
        outbox: Outbox,
        budget: Budget,
        clock: Clock,
        health: Health,
    ) -> None:
        self._gateway_id = gateway_id
        self._agent_version = agent_version
        self._outbox = outbox
        self._budget = budget
        self._clock = clock
        self._health = health

    def state(self, *, online: bool) -> State:
        """The state now. Call in the outbox's thread."""
        depth = self._outbox.depth()
        now_ms = self._clock.now_ms()
        clock = self._clock.state()
        age_ms = max(0, now_ms - depth.oldest_unacked_ms) if depth.oldest_unacked_ms else 0
        return State(
            gateway_id=self._gateway_id,
            online=online,
            at_ms=now_ms,
            epoch=self._outbox.epoch,
            backlog_batches=depth.backlog_batches,
            oldest_unacked_s=age_ms // 1000,
            disk_permille=self._budget.permille,
            agent_version=self._agent_version,
            clock_source=clock.source,
            clock_error_ms=clock.error_ms,
            meters=self._health.meters(),
        )


def write_state(folder: Path, state: State, facts: dict[str, Any]) -> None:
    """Leave the state where `status` finds it; replaced as a whole."""
    shown = {
        **{key: getattr(state, key) for key in State.__slots__ if key != "meters"},
        **facts,
        "process": os.getpid(),
        "meters": [{key: getattr(meter, key) for key in MeterHealth.__slots__} for meter in state.meters],
    }
    part = folder / f"{STATE_FILE}.part"
    part.write_text(json.dumps(shown, ensure_ascii=False), encoding="utf-8")
    part.replace(folder / STATE_FILE)


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` left. Raises OSError, ValueError."""
    shown: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    return shown
