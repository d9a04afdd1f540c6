"""Value at risk of a retailer's portfolio: historical simulation with joint blocks of days. Pure; floats, a declared estimate.

Method. A scenario is a month drawn from history as blocks of consecutive days; load and price of a day stay together, so
that a hot day is dear and heavy at once. Its result is, over all hours t:

    retail price x load_t  -  contract cost  -  (load_t - contract_t) x spot_t

VaR(a) is the a-quantile of the loss against the mean of all scenarios (margin at risk); CVaR(a) the mean of the worst
(1 - a) share, its last scenario counted in part, which makes it subadditive (Acerbi, Tasche 2002). Both in yuan.
Backtest: each day's VaR from the days before it; Kupiec's (1995) test of how many exceeded, Christoffersen's (1998) of
whether they come in runs. Source of method and oracles: market.md §19.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import erfc, log, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud.errors import Invalid

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

BLOCK_DAYS: Final = 3
SCENARIOS: Final = 4000
DAYS_LEAST: Final = 20
LEVELS: Final = (0.95, 0.99)


class TooLittleHistory(Invalid):
    """Fewer days with load and price than a simulation needs."""


@dataclass(frozen=True, slots=True)
class History:
    """Days x hours that happened: load in MWh and spot price in yuan/MWh, of the same days in order."""

    load_mwh: Floats
    spot_yuan: Floats

    def __post_init__(self) -> None:
        if self.load_mwh.shape != self.spot_yuan.shape or self.load_mwh.ndim != 2:
            raise ValueError("load and price must be of the same days and hours")

    @property
    def days(self) -> int:
        """How many days there are."""
        return int(self.load_mwh.shape[0])


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What is agreed for a day of the month: contract MWh per hour, its cost, and what customers pay per MWh."""

    contract_mwh: Floats
    contract_cost_yuan: float
    retail_yuan: float


@dataclass(frozen=True, slots=True)
class Measure:
    """VaR and CVaR at a level, in yuan; never negative by definition of a loss against the mean, but for sampling."""

    level: float
    var_yuan: float
    cvar_yuan: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """How often a day was worse than its VaR, and what the tests say (p-values)."""

    level: float
    days: int
    exceptions: int
    kupiec_lr: float
    kupiec_p: float
    independence_p: float


@dataclass(frozen=True, slots=True)
class Stress:
    """The month at a shifted price and load."""

    name: str
    result_yuan: float
    change_yuan: float


def day_results(portfolio: Portfolio, history: History) -> Floats:
    """Work out the result of every historic day under today's portfolio."""
    revenue = portfolio.retail_yuan * history.load_mwh.sum(axis=1)
    spot = ((history.load_mwh - portfolio.contract_mwh) * history.spot_yuan).sum(axis=1)
    return np.asarray(revenue - portfolio.contract_cost_yuan - spot, dtype=np.float64)


def drawn_days(days: int, horizon_days: int, seed: int, scenarios: int = SCENARIOS) -> Whole:
    """Draw scenarios x horizon day numbers as blocks of consecutive days; the same seed draws the same."""
    if days < DAYS_LEAST:
        raise TooLittleHistory("too_little_history", days=days, least=DAYS_LEAST)
    blocks = -(-horizon_days // BLOCK_DAYS)
    starts = np.random.default_rng(seed).integers(0, days, size=(scenarios, blocks))
    within = np.arange(BLOCK_DAYS)
    drawn = (starts[:, :, None] + within) % days  # circular, so that every day is drawn as often
    return np.asarray(drawn.reshape(scenarios, -1)[:, :horizon_days], dtype=np.int64)


def scenario_results(portfolio: Portfolio, history: History, drawn: Whole) -> Floats:
    """Add up the day results of each scenario."""
    return np.asarray(day_results(portfolio, history)[drawn].sum(axis=1), dtype=np.float64)


def measure(results: Floats, level: float) -> Measure:
    """Take VaR and CVaR at a level of the loss against the mean."""
    losses = np.sort(results.mean() - results)[::-1]
    tail = (1 - level) * len(losses)
    whole = int(tail)
    share = tail - whole
    worst = losses[:whole].sum() + (share * losses[whole] if whole < len(losses) else 0.0)
    return Measure(level, float(losses[min(whole, len(losses) - 1)]), float(worst / tail))


def stresses(
    portfolio: Portfolio, history: History, band_yuan: tuple[float, float], horizon_days: int
) -> tuple[Stress, ...]:
    """Put the price at each limit of the band and the load at 100 % and 80 %: the mean day, times the horizon."""
    load = history.load_mwh.mean(axis=0, keepdims=True)
    usual = History(load, history.spot_yuan.mean(axis=0, keepdims=True))
    base = float(day_results(portfolio, usual)[0]) * horizon_days
    found = []
    for price, limit in zip(("floor", "cap"), band_yuan, strict=True):
        for percent in (100, 80):
            shifted = History(load * percent / 100, np.full_like(load, limit))
            result = float(day_results(portfolio, shifted)[0]) * horizon_days
            found.append(Stress(f"{price}_{percent}", result, result - base))
    return tuple(found)


def backtest(portfolio: Portfolio, history: History, level: float, window: int) -> Backtest:
    """Compare each day after the first `window` with the VaR of the days before it."""
    results = day_results(portfolio, history)
    tested = len(results) - window
    if window < DAYS_LEAST or tested < 1:
        raise TooLittleHistory("too_little_history", days=len(results), least=DAYS_LEAST + 1)
    hits = tuple(
        _exceeds(results[day - window : day], results[day], level) for day in range(window, len(results))
    )
    count = sum(hits)
    lr = kupiec_lr(tested, count, level)
    return Backtest(level, tested, count, lr, chi2_1_p(lr), chi2_1_p(independence_lr(hits)))


def kupiec_lr(days: int, exceptions: int, level: float) -> float:
    """Likelihood ratio that the share of exceptions is 1 - level (Kupiec 1995); chi-squared with one degree."""
    rate = exceptions / days
    return 2 * (_log_likelihood(days, exceptions, rate) - _log_likelihood(days, exceptions, 1 - level))


def independence_lr(hits: tuple[bool, ...]) -> float:
    """Likelihood ratio that an exception says nothing of the next day (Christoffersen 1998)."""
    counts = {(one, other): 0 for one in (False, True) for other in (False, True)}
    for one, other in pairwise(hits):
        counts[one, other] += 1
    after_no = counts[False, False] + counts[False, True]
    after_yes = counts[True, False] + counts[True, True]
    if after_no == 0 or after_yes == 0:
        return 0.0
    hit = counts[False, True] + counts[True, True]
    apart = _log_likelihood(after_no, counts[False, True], counts[False, True] / after_no)
    apart += _log_likelihood(after_yes, counts[True, True], counts[True, True] / after_yes)
    return 2 * (apart - _log_likelihood(after_no + after_yes, hit, hit / (after_no + after_yes)))


def chi2_1_p(ratio: float) -> float:
    """The probability of at least this under chi-squared with one degree of freedom."""
    return erfc(sqrt(max(0.0, ratio) / 2))


def _exceeds(before: Floats, result: np.float64, level: float) -> bool:
    made = measure(before, level)
    return bool(before.mean() - result > made.var_yuan)


def _log_likelihood(days: int, exceptions: int, rate: float) -> float:
    hit = exceptions * log(rate) if exceptions else 0.0
    missed = (days - exceptions) * log(1 - rate) if days > exceptions else 0.0
    return hit + missed
