"""Files from outside and back: what may come in, under which name it is kept, how it is sent.

A route that takes files declares it by its dependency (`uploads()`); every other route keeps the limit of small
bodies (app._BodyLimit, which asks `takes_files`). What a file is, its first bytes say, not its name and not the sender.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, File, Response, UploadFile
from fastapi.dependencies.models import Dependant

from cloud.errors import Invalid
from cloud.files import Document

FILE_BYTES_MAX: Final = 10 * 1024 * 1024
FILES_MAX: Final = 10
NAME_LENGTH_MAX: Final = 120
_UNPACKED_BYTES_MAX: Final = 200 * 1024 * 1024
_PARTS_MAX: Final = 5000
_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument."
# By media type: the endings that its names may have.
ENDINGS: Final = {
    "application/pdf": (".pdf",),
    "image/png": (".png",),
    "image/jpeg": (".jpg", ".jpeg"),
    f"{_OPEN_XML}spreadsheetml.sheet": (".xlsx",),
    f"{_OPEN_XML}wordprocessingml.document": (".docx",),
}
_PROGRAMS: Final = (
    "vbaproject.bin",
    ".exe",
    ".dll",
    ".vbs",
    ".js",
    ".bat",
    ".cmd",
    ".lnk",
)  # macros, and packed ones
# Invisible, or turning the order of what is read: a name must look like what it is.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


class BadFile(Invalid):
    """The file is empty, too large, or of a kind that is not taken."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent, checked: `media_type` by its bytes, `name` cleaned."""

    name: str
    media_type: str
    body: bytes


class _One:
    takes_files = True

    def __call__(self, file: Annotated[UploadFile, File()]) -> Upload:
        return read(file)


class _OneOrNone:
    takes_files = True

    def __call__(self, file: Annotated[UploadFile | None, File()] = None) -> Upload | None:
        return None if file is None or not file.filename else read(file)


class _Many:
    takes_files = True

    def __call__(self, files: Annotated[Sequence[UploadFile], File()] = ()) -> tuple[Upload, ...]:
        sent = [file for file in files if file.filename]
        if len(sent) > FILES_MAX:
            raise BadFile("too_many_files", most=FILES_MAX)
        return tuple(read(file) for file in sent)


def upload() -> Any:
    """Exactly one file, in the form's field `file`."""
    return Depends(_One())


def maybe_upload() -> Any:
    """A file in the form's field `file`, or none."""
    return Depends(_OneOrNone())


def uploads() -> Any:
    """Any number of files in the form's field `files`; together within the route's limit."""
    return Depends(_Many())


def takes_files(dependant: Dependant) -> bool:
    """Whether a route declares, itself or through another dependency, that it takes files."""
    if getattr(dependant.call, "takes_files", False):
        return True
    return any(takes_files(each) for each in dependant.dependencies)


def read(file: UploadFile) -> Upload:
    """Take a sent file. Raises BadFile."""
    body = file.file.read(FILE_BYTES_MAX + 1)
    return checked(file.filename or "", body)


def checked(name: str, body: bytes) -> Upload:
    """The file with its kind by its bytes and its name cleaned. Raises BadFile."""
    if not body:
        raise BadFile("file_empty")
    if len(body) > FILE_BYTES_MAX:
        raise BadFile("file_too_large", most_mib=FILE_BYTES_MAX // 1024 // 1024)
    media_type = kind_of(body)
    if media_type is None:
        raise BadFile("file_kind", allowed="PDF, PNG, JPEG, XLSX, DOCX")
    cleaned = clean_name(name)
    if not cleaned.lower().endswith(ENDINGS[media_type]):
        raise BadFile("file_name_kind", name=cleaned, ending=ENDINGS[media_type][0])
    return Upload(cleaned, media_type, body)


def kind_of(body: bytes) -> str | None:
    """The media type that the bytes have; None: none of those that are taken."""
    if body.startswith(b"%PDF-"):
        return "application/pdf"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return _open_xml(body) if body.startswith(b"PK\x03\x04") else None


def clean_name(name: str) -> str:
    """The last part of the path, without what cannot be seen or steers a shell, a header or a folder."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    seen = "".join(each for each in last if unicodedata.category(each) not in _UNSEEN)
    plain = " ".join(re.sub(r'[<>:"|?*;`$&\']', "_", seen).split()).lstrip(".- ")
    stem, dot, ending = plain.rpartition(".")
    if not dot:
        stem, ending = plain, ""
    tail = f".{ending}" if ending else ""
    return (stem[: NAME_LENGTH_MAX - len(tail)].rstrip(" .") or "file") + tail


def send(document: Document, body: bytes) -> Response:
    """The file as a download: never shown in our own pages' place, never guessed at."""
    response = Response(body, media_type=document.media_type)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(document.name, safe='')}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox; frame-ancestors 'none'"
    return response


def _open_xml(body: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return None
    names = {part.filename for part in parts}
    is_bomb = len(parts) > _PARTS_MAX or sum(part.file_size for part in parts) > _UNPACKED_BYTES_MAX
    has_program = any(name.lower().endswith(_PROGRAMS) for name in names)
    if is_bomb or has_program or "[Content_Types].xml" not in names:
        return None
    if "xl/workbook.xml" in names:
        return f"{_OPEN_XML}spreadsheetml.sheet"
    return f"{_OPEN_XML}wordprocessingml.document" if "word/document.xml" in names else None
