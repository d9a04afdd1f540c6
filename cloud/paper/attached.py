"""What a PDF holds: the data that it was made from, and the text that its pages show."""

from __future__ import annotations

import pypdfium2

from cloud.errors import Invalid

PAGES_MAX = 200


class NoAttachment(Invalid):
    """The bytes are no PDF, or it carries no file of that type."""


def attached_json(pdf: bytes) -> bytes:
    """Take the one attached .json file out of a PDF. Raises NoAttachment."""
    with _opened(pdf) as document:
        found = [document.get_attachment(index) for index in range(document.count_attachments())]
        files = [bytes(each.get_data()) for each in found if each.get_name().endswith(".json")]
    if len(files) != 1:
        raise NoAttachment("no_attachment", problem=f"{len(files)} .json files attached, one is expected")
    return files[0]


def page_text(pdf: bytes) -> str:
    """Read the text of all pages in the order in which they show it, without any white space. Raises NoAttachment."""
    with _opened(pdf) as document:
        if len(document) > PAGES_MAX:
            raise NoAttachment("no_attachment", problem=f"{len(document)} pages, at most {PAGES_MAX}")
        pages = [page.get_textpage().get_text_range() for page in document]
    return "".join("".join(pages).split())


def _opened(pdf: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        raise NoAttachment("no_attachment", problem=f"not a PDF: {error}") from error
