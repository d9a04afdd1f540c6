"""Files inside a PDF: read the data that a paper was made from."""

from __future__ import annotations

import pypdfium2

from cloud.errors import Invalid


class NoAttachment(Invalid):
    """The bytes are no PDF, or it carries no file of that type."""


def attached_json(pdf: bytes) -> bytes:
    """Take the one attached .json file out of a PDF. Raises NoAttachment."""
    try:
        document = pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        raise NoAttachment("no_attachment", problem=f"not a PDF: {error}") from error
    with document:
        found = [document.get_attachment(index) for index in range(document.count_attachments())]
        files = [bytes(each.get_data()) for each in found if each.get_name().endswith(".json")]
    if len(files) != 1:
        raise NoAttachment("no_attachment", problem=f"{len(files)} .json files attached, one is expected")
    return files[0]
