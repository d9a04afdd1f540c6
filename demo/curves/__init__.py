"""One real year of quarter-hour load curves as exact integers.

A curve's sample is its value times 10^4 (the data have four decimals): 10000 = the curve's own maximum. A year has 35,136
samples (2016 was a leap year); a longer time wraps around.
Source: SimBench data base, see README.md beside this file for its licence.
"""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate

SAMPLES_PER_YEAR = 35_136
SAMPLE_MS = 900_000
SCALE = 10_000


@dataclass(frozen=True, slots=True, eq=False)  # one object per curve: hashed by identity
class Curve:
    """One profile: samples times 10^4, and their running sums (`running[k]` = sum of the first k samples)."""

    name: str
    samples: tuple[int, ...]
    running: tuple[int, ...]

    def sample(self, quarter: int) -> int:
        """Value of quarter-hour number `quarter` (any non-negative integer; years wrap)."""
        return self.samples[quarter % SAMPLES_PER_YEAR]

    def sum_before(self, quarter: int) -> int:
        """Sum of all samples before quarter-hour number `quarter`."""
        years, rest = divmod(quarter, SAMPLES_PER_YEAR)
        return years * self.running[-1] + self.running[rest]

    def part(self, sign: int) -> Curve:
        """The positive (`sign` 1) or the mirrored negative (`sign` -1) part: never below zero."""
        return _from_samples(
            f"{self.name}{'+' if sign > 0 else '-'}", tuple(max(0, sign * s) for s in self.samples)
        )

    def integral(self, elapsed_ms: int) -> int:
        """Integral from 0 to `elapsed_ms` of the stepwise curve, in 10^-4 of the maximum times milliseconds."""
        quarter, rest_ms = divmod(elapsed_ms, SAMPLE_MS)
        return self.sum_before(quarter) * SAMPLE_MS + self.sample(quarter) * rest_ms


def _curve(name: str, values: list[str]) -> Curve:
    if len(values) != SAMPLES_PER_YEAR:
        raise ValueError(f"curve {name}: {len(values)} samples, expected {SAMPLES_PER_YEAR}")
    return _from_samples(name, tuple(map(_scaled, values)))


def _from_samples(name: str, samples: tuple[int, ...]) -> Curve:
    return Curve(name, samples, (0, *accumulate(samples)))


def _scaled(text: str) -> int:
    """'-0.0675' -> -675, exactly; more than four decimals are refused."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, decimals = digits.partition(".")
    if len(decimals) > 4 or not (whole + decimals).isdigit():
        raise ValueError(f"not a number with at most four decimals: {text!r}")
    return sign * (int(whole) * SCALE + int(decimals.ljust(4, "0")))


@cache
def load() -> dict[str, Curve]:
    """All curves by name ('h0_a_p', …, 'pv3')."""
    packed = resources.files(__package__).joinpath("simbench_2016_quarter_hour.csv.gz").read_bytes()
    reader = csv.reader(io.StringIO(gzip.decompress(packed).decode("utf-8")))
    names = next(reader)[1:]
    columns = list(zip(*reader, strict=True))[1:]
    return {name: _curve(name, list(column)) for name, column in zip(names, columns, strict=True)}
