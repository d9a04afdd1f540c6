"""Each wrong configuration is refused by file, key and what is allowed; each failure of the command is one line."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edge_agent import __main__ as command
from edge_agent.config import BadConfig, load_config, load_keys

SOUND = """
gateway_id = "GW001"
data_dir = "data"
[identity]
signing_key = "signing.key"
cloud_public_key = "cloud.pub"
certificate = "tls.crt"
tls_key = "tls.key"
ca = "ca.crt"
epoch = 1
[broker]
host = "127.0.0.1"
port = 8883
tls = false
mqtt_version = 5
[poll]
seal_every_s = 900
live_every_s = 5
[[port]]
name = "p1"
url = "tcp://127.0.0.1:1"
[[meter]]
meter_id = "M1"
port = "p1"
profile = "cn.generic.dlt645-2007.3p4w"
address = "000000000001"
"""


@pytest.fixture
def folder(tmp_path):
    key = Ed25519PrivateKey.generate()
    (tmp_path / "signing.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "cloud.pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "agent.toml").write_text(SOUND)
    return tmp_path


def write(folder, text):
    (folder / "agent.toml").write_text(text)
    return folder / "agent.toml"


def test_the_sound_file_is_sound(folder):
    config = load_config(folder / "agent.toml")

    assert config.data_dir == folder / "data"
    assert (config.poll.seal_every_s, config.poll.live_every_s, config.poll.detail_every_s) == (900, 5, 900)
    assert config.meters[0].address == "000000000001"
    assert load_keys(config).tls is None


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ('gateway_id = "GW001"', 'gateway_id = "GW 1"', "gateway_id", "[A-Za-z0-9_-]{1,32}"),
        ('gateway_id = "GW001"', "", "gateway_id", "missing; allowed: text"),
        ('gateway_id = "GW001"', "gateway_id = 7", "gateway_id", "7 given; allowed: text"),
        ('data_dir = "data"', "", "data_dir", "missing; allowed: a path"),
        ("port = 8883", "port = 0", "broker.port", "a whole number from 1 to 65535"),
        ("port = 8883", "port = true", "broker.port", "True given; allowed: a whole number"),
        ("tls = false", 'tls = "no"', "broker.tls", "true or false"),
        ("mqtt_version = 5", "mqtt_version = 4", "broker.mqtt_version", "allowed: 5, or 3"),
        ("seal_every_s = 900", "seal_every_s = 1000", "poll.seal_every_s", "not a multiple of 900"),
        (
            "live_every_s = 5",
            "live_every = 5",
            "poll.live_every",
            "unknown key; allowed: seal_every_s, live_every_s",
        ),
        ('port = "p1"', 'port = "p2"', "meter[0].port", "allowed: p1"),
        ('meter_id = "M1"', 'meter_id = "M/1"', "meter[0].meter_id", "[A-Za-z0-9_.-]{1,32}"),
        ("[[meter]]", "[meter]", "meter", "must be written as [[meter]]"),
        ('name = "p1"', 'name = ""', "port[0].name", "empty"),
        ("[poll]", "[pool]", "pool", "unknown key; allowed: gateway_id"),
        ("[broker]", "[broker", "", "not TOML"),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_key(folder, old, new, key, allowed):
    file = write(folder, SOUND.replace(old, new, 1))

    with pytest.raises(BadConfig) as refused:
        load_config(file)

    assert str(refused.value).startswith(f"{file}: {key}")
    assert allowed in str(refused.value)


def test_a_file_that_a_windows_editor_saved_is_read(folder):
    (folder / "agent.toml").write_text(SOUND, encoding="utf-8-sig")
    assert load_config(folder / "agent.toml").gateway_id == "GW001"


def test_a_nul_in_a_path_is_refused_by_key(folder):
    with pytest.raises(BadConfig, match=r"identity\.signing_key"):
        load_keys(load_config(write(folder, SOUND.replace('"signing.key"', '"a\\u0000b"'))))


def test_a_meter_or_an_address_given_twice_is_refused(folder):
    second = SOUND[SOUND.index("[[meter]]") :]

    with pytest.raises(BadConfig, match="meter_id: 'M1' is given twice"):
        load_config(write(folder, SOUND + second))
    with pytest.raises(BadConfig, match="address: '000000000001 on p1' is given twice"):
        load_config(write(folder, SOUND + second.replace('"M1"', '"M2"')))


def run_command(capsys, *arguments):
    code = command.main(arguments)
    return code, capsys.readouterr().err.strip().splitlines()


def one_line(capsys, folder, *, command_name="check"):
    code, lines = run_command(capsys, command_name, "--config", str(folder / "agent.toml"))
    assert code == 2
    assert len(lines) == 1, lines
    return lines[0]


def test_a_missing_file_is_one_line(capsys, tmp_path):
    code, lines = run_command(capsys, "run", "--config", str(tmp_path / "agent.toml"))

    assert (code, lines) == (
        2,
        [f"shoudian-agent: {tmp_path}/agent.toml: cannot be read: No such file or directory"],
    )


def test_a_missing_key_file_is_one_line(capsys, folder):
    (folder / "signing.key").unlink()

    line = one_line(capsys, folder)

    assert line.endswith(f"agent.toml: identity.signing_key: {folder}/signing.key: No such file or directory")


def test_a_key_of_another_kind_is_one_line(capsys, folder):
    (folder / "cloud.pub").write_text("no key")

    assert "identity.cloud_public_key" in one_line(capsys, folder)


def test_a_missing_certificate_is_one_line(capsys, folder):
    write(folder, SOUND.replace("tls = false", "tls = true"))

    assert f"identity.certificate: {folder}/tls.crt: No such file or directory" in one_line(capsys, folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "cn.generic.dlt645-2007.3p4w",
            "cn.nobody.none",
            "meter[0].profile: 'cn.nobody.none' is not a profile; allowed:",
        ),
        ('"000000000001"', '"1"', "meter[0].address: '1' given; dlt645-2007 wants 12 digits"),
        ("tcp://127.0.0.1:1", "udp://127.0.0.1:1", "port[0].url:"),
    ],
)
def test_what_drivers_cannot_use_is_one_line(capsys, folder, old, new, said):
    write(folder, SOUND.replace(old, new))

    assert said in one_line(capsys, folder)


def test_a_data_folder_that_cannot_be_made_is_one_line(capsys, folder):
    (folder / "data").write_text("a file, not a folder")

    line = one_line(capsys, folder, command_name="run")

    assert str(folder / "data") in line


@pytest.mark.not_as_root
def test_a_read_only_data_folder_is_one_line(capsys, folder):
    (folder / "data").mkdir(mode=0o500)

    assert "Permission denied" in one_line(capsys, folder, command_name="run")


def test_status_before_any_run_says_so(capsys, folder):
    assert "no agent has run here yet" in one_line(capsys, folder, command_name="status")


def test_help_teaches_with_examples():
    shown = subprocess.run(
        [sys.executable, "-m", "edge_agent", "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert "shoudian-agent check  --config" in shown
    assert "[[meter]]" in shown
