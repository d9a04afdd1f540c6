"""The curves of a cleared book, as text for a terminal and as a picture (SVG). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from xml.sax.saxutils import escape

from cloud.cases.book import Cleared
from cloud.market.auction import Side
from cloud.market.steps import Step, steps

WIDTH, HEIGHT = 64, 18  # characters
BUY, SELL, BOTH = "▔", "▁", "═"
PICTURE = (720, 400)
LEFT, TOP, RIGHT, BOTTOM = 70, 46, 20, 46


def yuan(ticks: int) -> str:
    """A price in yuan/MWh, two decimals."""
    return f"{Decimal(ticks).scaleb(-2):.2f}"


def mwh(kwh: int) -> str:
    """A quantity in MWh, three decimals."""
    return f"{Decimal(kwh).scaleb(-3):.3f}"


def text_plot(cleared: Cleared) -> list[str]:
    """Price over quantity: demand falls, supply rises; the row of the price and the column of the volume are marked."""
    demand, supply = steps(cleared.orders, Side.BUY), steps(cleared.orders, Side.SELL)
    if not demand and not supply:
        return []
    low, high = _prices((*demand, *supply))
    most = max((step.end_kwh for step in (*demand, *supply)), default=1)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]

    def row(ticks: int) -> int:
        return (high - ticks) * (HEIGHT - 1) // (high - low)

    if cleared.clearing.volume_kwh:
        column = min(WIDTH - 1, cleared.clearing.volume_kwh * WIDTH // most)
        for line in grid:
            line[column] = "┊"
    price = cleared.price_ticks
    if price is not None:
        grid[row(price)] = ["┄"] * WIDTH
    for curve, mark in ((demand, BUY), (supply, SELL)):
        for step in curve:
            start, end = step.start_kwh * WIDTH // most, max(step.end_kwh * WIDTH // most, 1)
            line = grid[row(step.price_ticks)]
            for x in range(min(start, WIDTH - 1), max(end, start + 1) if start < WIDTH else WIDTH):
                if x < WIDTH:
                    line[x] = BOTH if line[x] in (BUY, SELL) and line[x] != mark else mark
    labels = {0: yuan(high), HEIGHT - 1: yuan(low)}
    if price is not None:
        labels[row(price)] = yuan(price)
    lines = [f"{labels.get(index, ''):>10} │{''.join(line)}" for index, line in enumerate(grid)]
    return [
        *lines,
        f"{'':>10} └{'─' * WIDTH}",
        f"{'':>10}  0{mwh(most) + ' MWh':>{WIDTH - 1}}",
        f"{'':>12}{BUY} 需求 / demand   {SELL} 供给 / supply   {BOTH} 两者 / both   ┄ 价格 / price   ┊ 成交量 / volume",
    ]


def svg_plot(cleared: Cleared, title: str) -> str:
    """The same as a picture: both curves, the clearing price and volume, axes with units."""
    demand, supply = steps(cleared.orders, Side.BUY), steps(cleared.orders, Side.SELL)
    low, high = _prices((*demand, *supply))
    most = max((step.end_kwh for step in (*demand, *supply)), default=1) or 1
    width, height = PICTURE
    inner_x, inner_y = width - LEFT - RIGHT, height - TOP - BOTTOM

    def x(kwh: int) -> str:
        return _short(LEFT + Decimal(kwh) * inner_x / most)

    def y(ticks: int) -> str:
        return _short(TOP + Decimal(high - ticks) * inner_y / (high - low))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *_axes(low, high, most, x, y),
        _path(demand, x, y, "#1f6feb"),
        _path(supply, x, y, "#d4570b"),
        f'<text x="{width - RIGHT}" y="22" text-anchor="end"><tspan fill="#1f6feb">— 需求 demand</tspan>'
        '<tspan dx="12" fill="#d4570b">— 供给 supply</tspan></text>',
    ]
    price, volume = cleared.price_ticks, cleared.clearing.volume_kwh
    if volume:
        parts.append(
            f'<line x1="{x(volume)}" x2="{x(volume)}" y1="{TOP}" y2="{height - BOTTOM}" stroke="#555" stroke-dasharray="4 3"/>'
        )
        parts.append(f'<text x="{x(volume)}" y="{TOP - 6}" text-anchor="middle">{mwh(volume)} MWh</text>')
    if price is not None:
        parts.append(
            f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y(price)}" y2="{y(price)}" stroke="#555" stroke-dasharray="4 3"/>'
        )
        parts.append(f'<circle cx="{x(volume)}" cy="{y(price)}" r="4" fill="#111"/>')
        parts.append(
            f'<text x="{width - RIGHT - 2}" y="{y(price)}" dy="-5" text-anchor="end">{yuan(price)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _axes(low: int, high: int, most: int, x: Callable[[int], str], y: Callable[[int], str]) -> list[str]:
    width, height = PICTURE
    parts = [
        f'<path d="M{LEFT} {TOP}V{height - BOTTOM}H{width - RIGHT}" fill="none" stroke="#111"/>',
        f'<text x="{LEFT}" y="{TOP - 8}" text-anchor="end" fill="#555">元/MWh</text>',
        f'<text x="{width - RIGHT}" y="{height - 8}" text-anchor="end" fill="#555">MWh</text>',
    ]
    for part in range(5):
        ticks, kwh = low + (high - low) * part // 4, most * part // 4
        parts.append(f'<text x="{LEFT - 6}" y="{y(ticks)}" dy="4" text-anchor="end">{yuan(ticks)}</text>')
        parts.append(
            f'<text x="{x(kwh)}" y="{height - BOTTOM + 17}" text-anchor="middle">{Decimal(kwh).scaleb(-3).normalize():f}</text>'
        )
    return parts


def _path(curve: Sequence[Step], x: Callable[[int], str], y: Callable[[int], str], colour: str) -> str:
    if not curve:
        return ""
    moves = [f"M{x(0)} {y(curve[0].price_ticks)}"]
    for step in curve:
        moves.append(f"V{y(step.price_ticks)}H{x(step.end_kwh)}")
    return f'<path d="{"".join(moves)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _prices(curve: Sequence[Step]) -> tuple[int, int]:
    prices = [step.price_ticks for step in curve] or [0]
    low, high = min(prices), max(prices)
    return (low, high) if low < high else (low - 100, high + 100)


def _short(value: Decimal) -> str:
    return f"{value:.1f}"
