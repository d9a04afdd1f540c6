"""The print engine: a typst template and its data -> PDF/A-3 with an attached JSON file.

The same data gives the same bytes: fonts come from one folder, the document's time is a parameter, the system's
fonts are not looked at. The template gets data only as JSON values, never as markup, so a name cannot inject.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import typst

from cloud.errors import Invalid
from cloud.paper.fonts import FAMILY, font_folders

TEMPLATES = ("bill", "receipt", "contract", "stamp", "record", "proof")
# PDF/A-3a: archival, tagged, attachments allowed. PDF/UA-1: readable aloud.
STANDARDS = ("a-3a", "ua-1")
ATTACHMENT_BYTES_MAX = 8_000_000

_one_at_a_time = threading.Lock()  # a compiler keeps state between runs


class Unprintable(Invalid):
    """The template refused the data; `facts` carry the print engine's words."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside the PDF: the data that the paper was made from."""

    name: str
    content: str
    description: str


def render(template: str, data: Mapping[str, Any], attachment: Attachment, made_at: datetime) -> bytes:
    """Print `data` with a template of this folder; `made_at` becomes the document's date.

    Raises Unprintable, NoChineseFont.
    """
    if template not in TEMPLATES:
        raise Unprintable("unprintable", template=template, allowed=", ".join(TEMPLATES))
    if len(attachment.content) > ATTACHMENT_BYTES_MAX:
        raise Unprintable(
            "unprintable", template=template, allowed=f"attachments up to {ATTACHMENT_BYTES_MAX}"
        )
    inputs = {
        "data": json.dumps(data, ensure_ascii=False, default=str),
        "font": FAMILY,
        "attachment": attachment.content,
        "attachment_name": attachment.name,
        "attachment_description": attachment.description,
        "made_at": made_at.isoformat(),
    }
    with _one_at_a_time:
        try:
            result = _compiler(template).compile(
                format="pdf",
                sys_inputs=inputs,
                pdf_standards=list(STANDARDS),  # type: ignore[arg-type]  # its stub wants the invariant list of every standard
                timestamp=int(made_at.timestamp()),
            )
        except typst.TypstError as error:
            raise Unprintable("unprintable", template=template, problem=str(error)[:500]) from error
    if not isinstance(result, bytes):
        raise TypeError(f"the print engine gave {type(result).__name__}")
    return result


@lru_cache(maxsize=8)
def _compiler(template: str) -> typst.Compiler:
    path = Path(str(resources.files("cloud.paper") / f"{template}.typ"))
    return typst.Compiler(  # type: ignore[misc]  # the stub ties the types of unrelated parameters to each other
        path,
        root=path.parent,
        font_paths=[str(folder) for folder in font_folders()],
        ignore_system_fonts=True,
    )
