"""What a PDF holds: the data that it was made from, and the text that its pages show."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime

import pypdfium2
import pypdfium2.raw

from cloud.errors import Invalid

PAGES_MAX = 200
FILES_MAX = 20
FILE_BYTES_MAX = 50_000_000


class NoAttachment(Invalid):
    """The bytes are no PDF, or it carries no file of that type."""


def attached_json(pdf: bytes) -> bytes:
    """Take the one attached .json file out of a PDF. Raises NoAttachment."""
    try:
        with _opened(pdf) as document:
            found = [
                document.get_attachment(at) for at in range(min(document.count_attachments(), FILES_MAX))
            ]
            named = [each for each in found if each.get_name().endswith(".json")]
            files = [_content(each) for each in named[:2]]
    except pypdfium2.PdfiumError as error:
        raise NoAttachment("no_attachment", problem=str(error)) from error
    if len(files) != 1:
        raise NoAttachment("no_attachment", problem=f"{len(files)} .json files attached, one is expected")
    return files[0]


def made_at(pdf: bytes) -> datetime | None:
    """When the document says that it was made, to the second; None: it does not say. Raises NoAttachment."""
    with _opened(pdf) as document:
        told = str(document.get_metadata_value("CreationDate"))
    try:
        return datetime.strptime(told[:16], "D:%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def page_text(pdf: bytes) -> str:
    """Read the text of all pages in the order in which they show it, without any white space. Raises NoAttachment."""
    with _opened(pdf) as document:
        if len(document) > PAGES_MAX:
            raise NoAttachment("no_attachment", problem=f"{len(document)} pages, at most {PAGES_MAX}")
        pages = [page.get_textpage().get_text_range() for page in document]
    return "".join("".join(pages).split())


def _content(attachment: pypdfium2.PdfAttachment) -> bytes:
    """Take an attached file; a small PDF may hold a huge one, so its size is asked first."""
    size = ctypes.c_ulong()
    pypdfium2.raw.FPDFAttachment_GetFile(attachment, None, 0, size)
    if size.value > FILE_BYTES_MAX:
        raise NoAttachment(
            "no_attachment", problem=f"an attached file of {size.value} bytes, at most {FILE_BYTES_MAX}"
        )
    return bytes(attachment.get_data())


def _opened(pdf: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        raise NoAttachment("no_attachment", problem=f"not a PDF: {error}") from error
