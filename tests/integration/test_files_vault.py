"""Files under their hash, in a folder and in a real S3-speaking server: what was put is what is got, or it says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cloud.config import BadConfig, load_config
from cloud.files import FolderVault, NoFile, S3Vault, Tampered, Vault, VaultUnavailable, open_vault

BODY = b"%PDF-1.7 \xe5\x90\x88\xe5\x90\x8c"
SHA256 = hashlib.sha256(BODY).hexdigest()
S3 = {
    "SHOUDIAN_DSN": "host=db",
    "SHOUDIAN_FILES_S3_BUCKET": "shoudian",
    "SHOUDIAN_FILES_S3_KEY_ID": "key",
    "SHOUDIAN_FILES_S3_SECRET": "secret",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    found = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    host, port = found.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="shoudian")
    yield address
    found.stop()


@pytest.fixture(params=["folder", "s3"])
def vault(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> Vault:
    environ = {"SHOUDIAN_DSN": "host=db", "SHOUDIAN_FILES_FOLDER": str(tmp_path / "files")}
    if request.param == "s3":
        environ = {**S3, "SHOUDIAN_FILES_S3_ENDPOINT": server}
    found = open_vault(load_config(environ).files)
    assert isinstance(found, FolderVault if request.param == "folder" else S3Vault)
    return found


def test_what_was_put_is_got_under_its_hash_and_twice_is_once(vault: Vault) -> None:
    assert vault.put(BODY) == vault.put(BODY) == SHA256
    assert vault.get(SHA256) == BODY


def test_what_was_never_put_is_no_file(vault: Vault) -> None:
    with pytest.raises(NoFile):
        vault.get(hashlib.sha256(b"never").hexdigest())


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA256.upper(), SHA256[:-1]])
def test_only_a_hash_is_a_name(vault: Vault, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        vault.get(name)


def test_a_file_changed_in_the_folder_is_found_out_and_put_again_heals(tmp_path: Path) -> None:
    vault = FolderVault(tmp_path)
    vault.put(BODY)
    path = tmp_path / SHA256[:2] / SHA256[2:]
    path.write_bytes(BODY + b"!")

    with pytest.raises(Tampered):
        vault.get(SHA256)
    vault.put(BODY)

    assert vault.get(SHA256) == BODY
    assert [each.name for each in path.parent.iterdir()] == [SHA256[2:]]


def test_a_file_changed_in_the_bucket_is_found_out(server: str) -> None:
    vault = open_vault(load_config({**S3, "SHOUDIAN_FILES_S3_ENDPOINT": server}).files)
    sha256 = vault.put(b"the price is 372.05")
    assert isinstance(vault, S3Vault)
    vault._client.put_object(Bucket="shoudian", Key=f"sha256/{sha256}", Body=b"the price is 732.05")

    with pytest.raises(Tampered):
        vault.get(sha256)


def test_a_store_that_is_away_or_refuses_us_is_unavailable(server: str, tmp_path: Path) -> None:
    nobody = open_vault(load_config({**S3, "SHOUDIAN_FILES_S3_ENDPOINT": "http://127.0.0.1:9"}).files)
    other = load_config({**S3, "SHOUDIAN_FILES_S3_ENDPOINT": server, "SHOUDIAN_FILES_S3_BUCKET": "none"})
    (tmp_path / "plain").write_text("a file where the folder should be")

    for vault in (nobody, open_vault(other.files), FolderVault(tmp_path / "plain")):
        with pytest.raises(VaultUnavailable):
            vault.put(BODY)


def test_without_a_folder_nothing_is_kept_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vault = open_vault(load_config({"SHOUDIAN_DSN": "host=db"}).files)

    for use in (lambda: vault.put(BODY), lambda: vault.get(SHA256)):
        with pytest.raises(VaultUnavailable) as refused:
            use()
        assert refused.value.facts["problem"] == "SHOUDIAN_FILES_FOLDER is not set"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadConfig, match=r"SHOUDIAN_FILES_FOLDER.*absolute"):
        load_config({"SHOUDIAN_DSN": "host=db", "SHOUDIAN_FILES_FOLDER": "shoudian-files"})


def test_a_bucket_needs_its_keys() -> None:
    for missing in ("SHOUDIAN_FILES_S3_KEY_ID", "SHOUDIAN_FILES_S3_SECRET"):
        with pytest.raises(BadConfig) as refused:
            load_config({name: value for name, value in S3.items() if name != missing})
        assert missing in str(refused.value)
