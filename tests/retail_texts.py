"""Texts of packages and market prices for tests, made from the parts that a test is about."""

from __future__ import annotations

from cloud.billing.package import Package, References
from cloud.billing.pricefile import price_file_from

HEAD = """kind = "{kind}"
id = "{id}"
version = {version}
title = "试验"
grid = "jibei"
effective_from = 2026-01-01
"""
SOURCE = """
[[source]]
document = "试验"
mark = "PROJ"
status = "provisional"
"""


def package_text(formula: str, top: str = "", below: str = "", *, id: str = "p", version: int = 1) -> str:
    """A whole package file; `top` are lines before the tables, `below` tables after the formula's."""
    return (
        HEAD.format(kind="package", id=id, version=version)
        + 'retailer = "示范售电有限公司"\nname = "试验"\nname_en = "Trial"\ncategories = ["commercial"]\n'
        + 'voltages = ["lt1kV", "1-10kV"]\nprice_quantum = "0.000001"\n'
        + top
        + SOURCE
        + "\n[formula]\n"
        + formula
        + below
    )


def package(formula: str, top: str = "", below: str = "") -> Package:
    """A package."""
    file = price_file_from("p.toml", package_text(formula, top, below))
    assert isinstance(file, Package)
    return file


def references(**series: str) -> References:
    """Market prices by series, the same in all periods."""
    text = HEAD.format(kind="market-prices", id="m", version=1) + SOURCE
    for name, price in series.items():
        text += f'\n[[series]]\nseries = "{name}"\nprice_yuan_per_kwh = "{price}"\n'
    file = price_file_from("m.toml", text)
    assert isinstance(file, References)
    return file


def by_period(table: str, prices: tuple[str, ...]) -> str:
    """A table with a price for each period."""
    names = ("tip", "peak", "flat", "valley", "deep")
    rows = "\n".join(f'{name} = "{price}"' for name, price in zip(names, prices, strict=True))
    return f"\n[{table}]\n{rows}\n"
