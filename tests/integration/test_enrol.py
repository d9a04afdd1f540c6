"""A gateway enrols by hand: the real commands, the real server over TLS, a real database, the real broker."""

from __future__ import annotations

import datetime as dt
import json
import os
import ssl
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from provision_world import Site, office, provision, serving

from provisioning import ca, gateway, identity

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture
def site(database: str, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Site]:
    with office(database, tmp_path, free_port()) as site:
        yield site


def test_a_technician_enrols_a_gateway_by_hand(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "agent 目录"
    done = site.enrol(out)
    assert "GW001 已入网 / is enrolled (epoch 1)" in done.stdout
    config = tomllib.loads((out / "agent.toml").read_text())
    assert config["gateway_id"] == "GW001"
    assert config["broker"] == {"host": "localhost", "port": 8883, "tls": True, "mqtt_version": 5}
    files = config["identity"]
    assert {name: files[name] for name in ("signing_key", "certificate", "tls_key", "ca", "cloud_public_key")} == {
        "signing_key": "signing.key", "certificate": "tls.crt", "tls_key": "tls.key", "ca": "ca.crt",
        "cloud_public_key": "cloud.pub",
    }  # fmt: skip
    for name in ("signing.key", "tls.key"):
        assert (out / name).stat().st_mode & 0o777 == 0o600
    key = load_pem_private_key((out / "tls.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((out / "tls.crt").read_bytes())
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((out / "ca.crt").read_bytes()))
    assert (out / "cloud.pub").read_bytes() == (site.folder / "cloud.pub").read_bytes()


def test_every_mistake_is_told_in_two_lines_without_traceback(site: Site, tmp_path: Path) -> None:
    fingerprint = site.label.rsplit(":", 1)[1]
    wrong_code = identity.claim_code(5)
    for label, zh, en in (
        (f"EGW1:GW001:{wrong_code}:{fingerprint}", "认领码不匹配", "not the claim code of GW001"),
        (f"EGW1:GW001:{wrong_code[:-1]}0:{fingerprint}", "输入有误", "mistyped"),
        (f"EGW1:ing-0:{wrong_code}:{fingerprint}", "不可用", "cannot be used"),
        ("nonsense", "请重新扫描", "scan it again"),
        (site.label[:-16] + "0" * 16, "不是你要连接的服务器", "not the server you mean"),
    ):
        done = site.enrol(tmp_path / "gw", label=label, expect=2)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 2, done.stderr
        assert zh in lines[0]
        assert en in lines[1]
    assert not (tmp_path / "gw" / "agent.toml").exists()
    site.enrol(tmp_path / "gw")  # the keys of the failed attempts serve
    assert "已存在" in site.enrol(tmp_path / "gw", expect=2).stderr
    assert "使用过" in site.enrol(tmp_path / "other", expect=2).stderr


def test_an_unreachable_server_a_plain_address_and_an_open_key_are_named(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    label = f"EGW1:GW001:{identity.claim_code(0)}:{'0' * 16}"
    for url, told in (
        (f"https://localhost:{free_port()}", "cannot be reached"),
        ("http://localhost", "is not https"),
    ):
        done = provision(
            "enrol", "--url", url, "--label", label, "--out", str(tmp_path / "gw"), environment={**os.environ}
        )
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "gw" / "signing.key").chmod(0o644)
    done = provision(
        "enrol",
        "--url",
        "https://localhost:1",
        "--label",
        label,
        "--out",
        str(tmp_path / "gw"),
        environment={**os.environ},
    )
    assert done.returncode == 2
    assert "can be read by other users" in done.stderr


def test_a_wrong_clock_is_told_before_anything_is_sent(site: Site, tmp_path: Path) -> None:
    label = identity.label_from(site.label)
    with pytest.raises(gateway.ClockWrong) as told:
        gateway.enrol_here(site.url, label, tmp_path / "gw", lambda: dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert told.value.facts["here"] == "2020-01-01T00:00:00+00:00"
    site.enrol(tmp_path / "gw")  # the code was not used up


def get(url: str, site: Site) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(site.folder / "ca.crt"))
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


def test_the_server_publishes_the_list_and_alarms_before_it_runs_out(site: Site) -> None:
    status, crl = get(f"{site.url}/prov/v1/crl", site)
    assert status == 200
    assert (
        x509.load_pem_x509_crl(crl).issuer
        == x509.load_pem_x509_certificate((site.folder / "ca.crt").read_bytes()).subject
    )
    status, health = get(f"{site.url}/prov/v1/health", site)
    assert (status, json.loads(health)["ok"]) == (200, True)
    now = dt.datetime.now(dt.UTC)  # noqa: TID251
    ca.write_crl(ca.open_authority(site.folder), (), now - 5 * DAY - HOUR)
    status, health = get(f"{site.url}/prov/v1/health", site)
    assert (status, json.loads(health)["ok"]) == (503, False)
    assert site.run("crl", "--check", "--ca", str(site.folder), expect=1)
    assert site.run("crl", "--ca", str(site.folder))


def test_a_form_that_is_none_is_refused_with_its_fields(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.folder / "ca.crt"))
    body = json.dumps({"serial": "GW001", "surprise": 1}).encode()
    request = urllib.request.Request(f"{site.url}/prov/v1/enroll", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(request, timeout=10, context=context)
    with told.value as problem:
        assert problem.code == 422
        assert "surprise" in json.loads(problem.read())["en"]


def test_an_enrolled_gateway_is_let_in_and_a_revoked_one_is_not(
    site: Site, tmp_path: Path, free_port: Callable[[], int], program: Callable[[str], Path]
) -> None:
    """The broker as in production: files handed out by the CA, started by run-broker.sh, told by the watcher."""
    mosquitto = program("mosquitto")
    site.enrol(tmp_path / "gw")
    port, folder = free_port(), tmp_path / "broker"
    site.run("broker-config", str(folder), "--ca", str(site.folder), "--port", str(port))
    assert not (folder / "ca.key").exists()
    with (folder / "mosquitto.conf").open("a") as file:
        file.write("user root\n" if os.geteuid() == 0 else "")  # else it could not enter the test's folder
    environment = {**os.environ, "PATH": f"{mosquitto.parent}:{os.environ['PATH']}", "LOOK_EVERY_S": "1"}
    script = Path(__file__).resolve().parents[2] / "provisioning" / "run-broker.sh"
    with serving(["sh", str(script), str(folder)], environment, port):
        watcher = subprocess.Popen(
            [sys.executable, "-c", WATCH, str(tmp_path / "gw"), str(port)], stdout=subprocess.PIPE, text=True
        )
        assert watcher.stdout is not None
        try:
            assert watcher.stdout.readline().strip() == "in"
            site.run(
                "revoke", "GW001", "--ca", str(site.folder), "--broker-port", str(port),
                "--crl-copy", str(folder / "crl.pem"),
            )  # fmt: skip
            assert watcher.stdout.readline().strip() == "out"
            assert watcher.wait(20) == 0
        finally:
            watcher.kill()
            watcher.wait()
            watcher.stdout.close()
    assert (
        "is revoked and cannot enrol" in site.run("claim", "GW001", "--ca", str(site.folder), expect=2).stderr
    )


def test_the_workers_get_what_they_need_and_no_ca_key(site: Site, tmp_path: Path) -> None:
    site.run("worker-config", str(tmp_path / "workers"), "--ca", str(site.folder))
    names = {path.name for path in (tmp_path / "workers").iterdir()}
    assert {"ca.crt", "cloud.key", "ing-0.crt", "ing-0.key", "ing-1.crt", "ing-1.key"} <= names
    assert not names & {"ca.key", "pepper", "server.key"}


WATCH = """
import sys, time, pathlib
import paho.mqtt.client as mqtt
folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def client():
    c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "GW001", reconnect_on_failure=False)
    c.tls_set(str(folder / "ca.crt"), str(folder / "tls.crt"), str(folder / "tls.key"))
    return c
first = client()
first.on_connect = lambda c, u, f, code, p: print("in" if not code.is_failure else "refused", flush=True)
first.connect("127.0.0.1", port)
first.loop_forever()          # ends when the connection does
again = client()
seen = []
again.on_connect = lambda c, u, f, code, p: seen.append(code)
try:
    again.connect("127.0.0.1", port)
    again.loop_start()
    time.sleep(1)
    again.disconnect()
    again.loop_stop()
except OSError:
    pass
print("out" if not seen else "back in", flush=True)
"""
