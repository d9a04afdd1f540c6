"""Where the Chinese font of printed documents comes from.

First the font wheel (Noto Sans CJK as a variable font, OFL-1.1), the same bytes on every machine, so that the
same bill is the same PDF everywhere; else Debian's fonts-noto-cjk. Both carry the family name FAMILY and the
characters of GB18030 that names are written with (䶮 㙦 𠮷).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cloud.errors import Unavailable

FAMILY = "Noto Sans CJK SC"
WHEEL = "manimgx_fonts_cjk"
SYSTEM_FOLDERS = (Path("/usr/share/fonts/opentype/noto"), Path("/usr/share/fonts/noto-cjk"))
PATTERN = "NotoSansCJK*"


class NoChineseFont(Unavailable):
    """No font with Chinese characters is on this machine; `facts` say where it was looked for."""


def font_folders() -> tuple[Path, ...]:
    """Find the folder that holds the font. Raises NoChineseFont."""
    spec = find_spec(WHEEL)
    wheel = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in (*wheel, *SYSTEM_FOLDERS):
        if any(folder.glob(PATTERN)):
            return (folder,)
    looked = ", ".join((WHEEL, *map(str, SYSTEM_FOLDERS)))
    raise NoChineseFont(
        "no_chinese_font", looked=looked, allowed="pip install shoudian[cloud], or fonts-noto-cjk"
    )
