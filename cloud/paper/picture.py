"""A drawing (SVG) as pixels (PNG), with the fonts of the papers."""

from __future__ import annotations

import typst

from cloud.paper.fonts import FAMILY, font_folders

PIXELS_PER_INCH = 144


def png(svg: str) -> bytes:
    """Draw an SVG of our own making. Raises NoChineseFont."""
    named = svg.replace('font-family="sans-serif"', f'font-family="{FAMILY}"')
    source = "#set page(width: auto, height: auto, margin: 0pt)\n#image(bytes(sys.inputs.svg))"
    compiler = typst.Compiler(  # type: ignore[misc]  # the stub ties the types of unrelated parameters to each other
        source.encode(), font_paths=[str(folder) for folder in font_folders()], ignore_system_fonts=True
    )
    drawn = compiler.compile(format="png", ppi=PIXELS_PER_INCH, sys_inputs={"svg": named})
    if not isinstance(drawn, bytes):
        raise TypeError(f"one page was drawn as {type(drawn).__name__}")
    return drawn
