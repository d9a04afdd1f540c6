"""Laws and oracles of value at risk (market.md §19)."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.market import portfolio
from cloud.market.portfolio import History, Portfolio, TooLittleHistory, measure

HOURS = 24
NOTHING = Portfolio(np.zeros(HOURS), 0.0, 0.0)


def normal_days(days: int, mwh: float, sigma: float, seed: int = 7) -> History:
    """Load mwh in one hour, price normal around 400 with deviation sigma."""
    load = np.zeros((days, HOURS))
    load[:, 0] = mwh
    spot = 400 + sigma * np.random.default_rng(seed).standard_normal((days, HOURS))
    return History(load, spot)


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("mwh", [10.0, -25.0])
def test_a_linear_exposure_to_a_normal_price_has_the_var_of_the_textbook(level: float, mwh: float) -> None:
    """VaR = z·|q|·σ, CVaR = φ(z)/(1−a)·|q|·σ, within five standard errors of the sample quantile."""
    days, sigma = 200_000, 30.0
    z = NormalDist().inv_cdf(level)
    density = NormalDist().pdf(z)
    error = abs(mwh) * sigma * np.sqrt(level * (1 - level) / days) / density

    made = measure(portfolio.day_results(NOTHING, normal_days(days, mwh, sigma)), level)

    assert made.var_yuan == pytest.approx(z * abs(mwh) * sigma, abs=5 * error)
    assert made.cvar_yuan == pytest.approx(density / (1 - level) * abs(mwh) * sigma, abs=8 * error)


def test_a_horizon_of_independent_days_grows_by_its_root() -> None:
    history = normal_days(5000, 10.0, 30.0)
    drawn = portfolio.drawn_days(history.days, 30, seed=1, scenarios=20_000)

    made = measure(portfolio.scenario_results(NOTHING, history, drawn), 0.95)

    assert made.var_yuan == pytest.approx(NormalDist().inv_cdf(0.95) * 300 * np.sqrt(30), rel=0.04)


@given(st.integers(20, 80), st.sampled_from([0.95, 0.99]))
def test_no_position_has_no_risk(days: int, level: float) -> None:
    history = History(np.zeros((days, HOURS)), normal_days(days, 1.0, 50.0).spot_yuan)

    made = measure(portfolio.day_results(NOTHING, history), level)

    assert (made.var_yuan, made.cvar_yuan) == (0.0, 0.0)


def test_a_fully_contracted_load_has_no_price_risk() -> None:
    history = normal_days(300, 10.0, 80.0)
    hedged = Portfolio(history.load_mwh[0], 10.0 * 390.0, 420.0)

    made = measure(portfolio.day_results(hedged, history), 0.99)

    assert made.cvar_yuan == pytest.approx(0.0, abs=1e-6)
    assert portfolio.day_results(hedged, history) == pytest.approx(10 * (420 - 390))


RESULTS = st.lists(st.integers(-1000, 1000), min_size=20, max_size=60)


@given(RESULTS, RESULTS, st.sampled_from([0.9, 0.95, 0.975, 0.99]))
def test_cvar_is_subadditive(one: list[int], other: list[int], level: float) -> None:
    size = min(len(one), len(other))
    a, b = np.array(one[:size], dtype=float), np.array(other[:size], dtype=float)

    together = measure(a + b, level).cvar_yuan

    assert together <= measure(a, level).cvar_yuan + measure(b, level).cvar_yuan + 1e-6


@given(RESULTS, st.integers(1, 50), st.integers(-500, 500), st.sampled_from([0.95, 0.99]))
def test_risk_scales_with_size_and_does_not_move_with_a_sure_amount(
    rows: list[int], times: int, sure: int, level: float
) -> None:
    results = np.array(rows, dtype=float)
    made, larger = measure(results, level), measure(results * times + sure, level)

    assert larger.var_yuan == pytest.approx(times * made.var_yuan, abs=1e-6)
    assert larger.cvar_yuan == pytest.approx(times * made.cvar_yuan, abs=1e-6)
    assert made.cvar_yuan >= made.var_yuan - 1e-9


def test_load_and_price_of_a_day_stay_together() -> None:
    """Price 1000 on heavy days, 0 on light ones: only joint draws give a result of exactly −10 per heavy day."""
    load, spot = np.zeros((40, HOURS)), np.zeros((40, HOURS))
    load[::2, 5], spot[::2, 5] = 0.01, 1000.0
    load[1::2, 5] = 0.001
    history = History(load, spot)

    results = portfolio.scenario_results(NOTHING, history, portfolio.drawn_days(40, 10, seed=3))

    assert set(np.unique(np.round(results % 10, 6))) <= {0.0, 10.0}


def test_the_same_seed_draws_the_same_and_every_block_is_consecutive() -> None:
    drawn = portfolio.drawn_days(30, 7, seed=11, scenarios=50)

    assert np.array_equal(drawn, portfolio.drawn_days(30, 7, seed=11, scenarios=50))
    assert drawn.shape == (50, 7)
    steps = (drawn[:, 1:] - drawn[:, :-1]) % 30
    assert (steps[:, [0, 1, 3, 4]] == 1).all()


def test_too_little_history_is_refused() -> None:
    with pytest.raises(TooLittleHistory):
        portfolio.drawn_days(19, 30, seed=1)


def test_a_stress_to_the_band_is_worked_by_hand() -> None:
    """10 MWh an hour at 1 hour, 6 contracted at 400 (2400), retail 450: usual spot 400, band 320–480, 30 days.

    base 10·450−2400−4·400 = 500; cap: 10·450−2400−4·480 = 180; cap, load 80 %: 8·450−2400−2·480 = 240.
    """
    load, spot = np.zeros((30, HOURS)), np.full((30, HOURS), 400.0)
    load[:, 0] = 10.0
    contract = np.zeros(HOURS)
    contract[0] = 6.0

    made = portfolio.stresses(Portfolio(contract, 2400.0, 450.0), History(load, spot), (320.0, 480.0), 30)

    assert {each.name: (each.result_yuan, each.change_yuan) for each in made} == {
        "floor_100": (820 * 30, 320 * 30),
        "floor_80": (560 * 30, 60 * 30),
        "cap_100": (180 * 30, -320 * 30),
        "cap_80": (240 * 30, -260 * 30),
    }


@pytest.mark.parametrize(
    ("days", "exceptions", "level", "is_rejected"),
    # Kupiec (1995), table of non-rejection regions at 5 % for T = 255: p = 0.01: N < 7, T = 1000: 4 < N < 17; p = 0.05: 6 < N < 21.
    [
        (255, 6, 0.99, False),
        (255, 7, 0.99, True),
        (255, 7, 0.95, False),
        (255, 20, 0.95, False),
        (255, 6, 0.95, True),
        (255, 21, 0.95, True),
        (1000, 4, 0.99, True),
        (1000, 5, 0.99, False),
        (1000, 17, 0.99, True),
        (1000, 16, 0.99, False),
    ],
)
def test_kupiec_rejects_where_its_paper_does(
    days: int, exceptions: int, level: float, is_rejected: bool
) -> None:
    ratio = portfolio.kupiec_lr(days, exceptions, level)

    assert (ratio > 3.841) == is_rejected
    assert (portfolio.chi2_1_p(ratio) < 0.05) == is_rejected


def test_runs_of_exceptions_are_found_dependent() -> None:
    runs = ((True,) * 10 + (False,) * 90) * 3
    apart = ((True,) + (False,) * 9) * 30

    assert portfolio.chi2_1_p(portfolio.independence_lr(runs)) < 0.001
    assert portfolio.independence_lr((False,) * 50) == 0.0
    assert portfolio.independence_lr(apart) > 0


def test_a_backtest_of_a_steady_market_passes() -> None:
    history = normal_days(800, 10.0, 30.0, seed=5)

    made = portfolio.backtest(NOTHING, history, 0.95, window=250)

    assert made.days == 550
    assert made.kupiec_p > 0.05
