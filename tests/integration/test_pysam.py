"""Side by side with NREL's PySAM (utilityrate5) over a real year of curves: the same tariff, the same amounts.

SAM computes in float64 and never rounds. So our bill is compared twice: before rounding, where only SAM's own float
error may remain (sums of about 3,000 products of 53-bit numbers: 1e-12 relative is generous, 1e-14 is seen), and after,
where every line may be off by at most half a fen.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks is no installed package
rates = pytest.importorskip("benchmarks.pysam_rates", reason="nrel-pysam is not installed")

FLOAT_ERROR = 1e-12
HALF_A_FEN = Fraction(5, 1000)
CURVES = ("g0_a_p", "h0_a_p", "l0_a_p")  # a business, a household, a farm


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("number", range(4), ids=[each.name for each in rates.tariffs()])
def test_amounts_are_those_of_sam(number: int, curve: str) -> None:
    tariff, known, wh = rates.tariffs()[number], rates.catalogue(), rates.load_wh(curve)

    ours = rates.our_bills(tariff.terms, known, wh)
    theirs = rates.sam_yuan(rates.sam(tariff, known, wh))

    assert len(ours) == len(theirs) == 12
    assert min(theirs) > 1000
    for lines, sam_yuan in zip(ours, theirs, strict=True):
        exact = rates.unrounded_yuan(lines)
        assert abs(float(exact) - sam_yuan) <= FLOAT_ERROR * sam_yuan
        billed = Fraction(sum(line.amount_fen for line in lines), 100)
        assert abs(billed - exact) <= HALF_A_FEN * len(lines)


@pytest.mark.parametrize("number", [0, 1])
def test_the_bulk_path_agrees_too(number: int) -> None:
    tariff, known = rates.tariffs()[number], rates.catalogue()
    loads = [rates.load_wh(curve) for curve in CURVES]

    many = rates.bulk_bills(tariff.terms, known, rates.np.stack(loads))

    for row, wh in enumerate(loads):
        theirs = rates.sam_yuan(rates.sam(tariff, known, wh))
        for month, sam_yuan in zip(many, theirs, strict=True):
            lines = month.amounts_fen.shape[1]
            assert abs(int(month.total_fen[row]) / 100 - sam_yuan) <= 0.005 * lines + FLOAT_ERROR * sam_yuan


def test_the_curves_reach_every_tier_and_every_period() -> None:
    """Otherwise equal amounts would say little."""
    known, wh = rates.catalogue(), rates.load_wh("g0_a_p")
    tiers = rates.our_bills(rates.tariffs()[2].terms, known, wh)
    hours = rates.our_bills(rates.tariffs()[0].terms, known, wh)

    assert any(all(line.quantity > 0 for line in lines if line.item.startswith("tier_")) for lines in tiers)
    reached = {line.period for lines in hours for line in lines if line.quantity > 0 and line.period}
    assert reached == set(rates.PERIODS)


def test_a_wrong_price_is_seen() -> None:
    tariff, known, wh = rates.tariffs()[1], rates.catalogue(), rates.load_wh("g0_a_p")
    model = rates.sam(tariff, known, wh)
    model.ElectricityRates.ur_dc_flat_mat = [[month, 1, 1e38, 37.81] for month in range(12)]

    exact = rates.unrounded_yuan(rates.our_bills(tariff.terms, known, wh)[0])

    assert abs(float(exact) - rates.sam_yuan(model)[0]) > 1
