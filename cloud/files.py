"""Files under their SHA-256: in a local folder, or in a store that speaks S3. And what is known of each: documents.

`Vault.put` keeps bytes once, however often they come; `Vault.get` gives exactly the bytes of that hash or Tampered.
A document row says whose file it is and who may read it (row-level security: cloud/schema/0023_notices.sql).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloud.config import FilesConfig, S3Config
from cloud.db import Conn
from cloud.errors import NotFound, Unavailable

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_SHA256: Final = re.compile(r"^[0-9a-f]{64}$")
_CONNECT_S, _READ_S, _TRIES = 3, 20, 3
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class NoFile(NotFound):
    """The vault has no file of that hash."""


class Tampered(Unavailable):
    """The vault gave other bytes than it was given."""


class VaultUnavailable(Unavailable):
    """The folder or the object store does not answer, or refuses us."""


class Vault(Protocol):
    """Where bytes lie under their hash."""

    def put(self, body: bytes) -> str:
        """Keep the bytes and return their SHA-256 in hex; keeping them again changes nothing."""

    def get(self, sha256: str) -> bytes:
        """The bytes of that hash. Raises NoFile, Tampered, VaultUnavailable."""


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A file that lies in the vault, not yet noted. `audience` 'market': whoever is signed in may read it."""

    sha256: str
    name: str
    media_type: str
    size_bytes: int
    party_id: int | None
    purpose: str
    audience: str = "party"


@dataclass(frozen=True, slots=True)
class Document:
    """What is known of a kept file."""

    document_id: int
    sha256: str
    name: str
    media_type: str
    size_bytes: int
    party_id: int | None
    purpose: str
    audience: str
    kept_at: datetime
    kept_by: str


def open_vault(config: FilesConfig) -> Vault:
    """The vault that is configured; nothing is asked of it yet. Where none is, it refuses what it is asked."""
    if config.s3 is not None:
        return S3Vault(config.s3)
    return NoVault() if config.folder is None else FolderVault(config.folder)


def note(conn: Conn, new: NewDocument, at: datetime, by: str) -> int:
    """Note a kept file and return its document_id."""
    row = conn.execute(
        """INSERT INTO document (sha256, name, media_type, size_bytes, party_id, purpose, audience, kept_at, kept_by)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING document_id""",
        (
            new.sha256,
            new.name,
            new.media_type,
            new.size_bytes,
            new.party_id,
            new.purpose,
            new.audience,
            at,
            by,
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def share(conn: Conn, document_id: int, party_id: int, at: datetime, by: str) -> None:
    """Let another party read the document too."""
    conn.execute(
        """INSERT INTO document_share (document_id, party_id, shared_at, shared_by) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        (document_id, party_id, at, by),
    )


def find(conn: Conn, document_id: int) -> Document | None:
    """The document, if this transaction's person may see it."""
    row = conn.execute(
        """SELECT document_id, sha256, name, media_type, size_bytes, party_id, purpose, audience, kept_at, kept_by
           FROM document WHERE document_id = %s""",
        (document_id,),
    ).fetchone()
    return None if row is None else Document(*row)


def is_shared_with(conn: Conn, document_id: int, party_id: int) -> bool:
    """Whether another party's document was shared with this one."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM document_share WHERE document_id = %s AND party_id = %s)",
        (document_id, party_id),
    ).fetchone()
    assert row is not None
    return bool(row[0])


class NoVault:
    """Nothing is configured: a file is never put where nobody chose to keep it."""

    def put(self, body: bytes) -> str:
        """Raises VaultUnavailable."""
        raise self._unset()

    def get(self, sha256: str) -> bytes:
        """Raises VaultUnavailable."""
        raise self._unset()

    def _unset(self) -> VaultUnavailable:
        return VaultUnavailable("vault_unavailable", problem="SHOUDIAN_FILES_FOLDER is not set")


class FolderVault:
    """A local folder: ab/cdef… written beside, synced and renamed, so that no half file has its final name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, body: bytes) -> str:
        """Keep the bytes and return their SHA-256."""
        sha256 = _hash(body)
        path = self._path(sha256)
        try:
            if _is_there(path, body):
                return sha256
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(beside, path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(beside)
                raise
            _sync_folder(path.parent)
        except OSError as problem:
            raise VaultUnavailable("vault_unavailable", problem=_reason(problem)) from problem
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes of that hash."""
        try:
            body = self._path(sha256).read_bytes()
        except FileNotFoundError:
            raise NoFile("no_file", sha256=sha256) from None
        except OSError as problem:
            raise VaultUnavailable("vault_unavailable", problem=_reason(problem)) from problem
        return _proven(sha256, body)

    def _path(self, sha256: str) -> Path:
        _check(sha256)
        return self._folder / sha256[:2] / sha256[2:]


class S3Vault:
    """A bucket of a store that speaks S3; the object's key is `sha256/<hex>`."""

    def __init__(self, config: S3Config) -> None:
        self._bucket = config.bucket
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=config.endpoint,
            region_name=config.region,
            aws_access_key_id=config.key_id,
            aws_secret_access_key=config.secret,
            config=Config(
                signature_version="s3v4",
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                retries={"total_max_attempts": _TRIES, "mode": "standard"},
                s3={"addressing_style": config.addressing},
                request_checksum_calculation="when_required",  # other makers' stores refuse the newer trailers
                response_checksum_validation="when_required",
            ),
        )

    def put(self, body: bytes) -> str:
        """Keep the bytes and return their SHA-256."""
        sha256 = _hash(body)
        try:
            if not self._is_there(sha256, len(body)):
                self._client.put_object(Bucket=self._bucket, Key=_key(sha256), Body=body)
        except (BotoCoreError, ClientError) as problem:
            raise VaultUnavailable("vault_unavailable", problem=_reason(problem)) from problem
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes of that hash."""
        _check(sha256)
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=_key(sha256))
            if int(found["ContentLength"]) > BODY_BYTES_MAX:
                raise Tampered("file_tampered", sha256=sha256)
            body = found["Body"].read()
        except ClientError as problem:
            if _code(problem) in _ABSENT:
                raise NoFile("no_file", sha256=sha256) from None
            raise VaultUnavailable("vault_unavailable", problem=_reason(problem)) from problem
        except BotoCoreError as problem:
            raise VaultUnavailable("vault_unavailable", problem=_reason(problem)) from problem
        return _proven(sha256, bytes(body))

    def _is_there(self, sha256: str, size_bytes: int) -> bool:
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=_key(sha256))
        except ClientError as problem:
            if _code(problem) in _ABSENT:
                return False
            raise
        return int(found["ContentLength"]) == size_bytes


def _key(sha256: str) -> str:
    return f"sha256/{sha256}"


def _hash(body: bytes) -> str:
    if not 0 < len(body) <= BODY_BYTES_MAX:
        raise ValueError("a kept file has at least one byte and is not over the limit")
    return hashlib.sha256(body).hexdigest()


def _check(sha256: str) -> None:
    if not _SHA256.match(sha256):
        raise ValueError("no SHA-256 in lower-case hex")


def _proven(sha256: str, body: bytes) -> bytes:
    if hashlib.sha256(body).hexdigest() != sha256:
        raise Tampered("file_tampered", sha256=sha256)
    return body


def _is_there(path: Path, body: bytes) -> bool:
    """Whether exactly these bytes lie there; what was damaged is written again."""
    try:
        return path.read_bytes() == body
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _code(problem: ClientError) -> str:
    return str(problem.response.get("Error", {}).get("Code", ""))


def _reason(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]
