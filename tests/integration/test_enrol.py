"""A gateway enrols by hand: the real commands, the real server over TLS, a real database, the real broker."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from cloud.db import Pool, open_pool
from cloud.errors import Refused
from demo.broker import BrokerPki, running_broker
from provisioning import ca, enroll, gateway, identity

START = dt.datetime.now(dt.UTC).replace(microsecond=0)  # noqa: TID251  # certificates are checked by the real clock
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init_authority(tmp_path_factory.mktemp("pki") / "ca", server_names=["localhost"], now=START)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    with open_pool(database, size_max=4) as pool:
        yield pool


# -- the rules, with the clock in our hands ------------------------------------------------------------------------


@dataclass
class Desk:
    """The office and gateways around one database; times are given."""

    pool: Pool
    authority: ca.Authority

    def claim(self, serial: str, at: dt.datetime = START) -> str:
        return enroll.issue_claim(self.pool, self.authority, serial, "", actor="test", now=at)

    def request(
        self, serial: str, code: str, key: Ed25519PrivateKey | None = None, at: dt.datetime = START
    ) -> enroll.Request:
        key = key or Ed25519PrivateKey.generate()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
            Encoding.PEM
        )
        nonce = identity.nonce_from(self.authority.pepper, int(at.timestamp()), b"s" * 16)
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return enroll.Request(
            serial, code, nonce, csr, public, key.sign(identity.proof_message(nonce, serial, csr))
        )

    def enrol(self, request: enroll.Request, at: dt.datetime = START) -> enroll.Identity:
        return enroll.enrol(self.pool, self.authority, request, actor="test", now=at)

    def row(self, statement: str) -> tuple[Any, ...]:
        with self.pool.connection() as conn:
            row = conn.execute(statement).fetchone()
        assert row is not None
        return row


@pytest.fixture
def desk(pool: Pool, authority: ca.Authority) -> Desk:
    return Desk(pool, authority)


def test_a_claim_gives_an_identity_once(desk: Desk) -> None:
    code = desk.claim("GW001")
    request = desk.request("GW001", code)
    given = desk.enrol(request)
    certificate = x509.load_pem_x509_certificate(given.certificate_pem.encode())
    assert certificate.public_key() == x509.load_pem_x509_csr(request.csr_pem).public_key()
    assert given.epoch == 1
    assert desk.row("SELECT state, epoch FROM gateway") == ("enrolled", 1)
    key_id, public, open_end = desk.row("SELECT key_id, public_key, upper_inf(valid) FROM gateway_key")
    assert (bytes(public), open_end) == (request.signing_key, True)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(request.signing_key)
    assert bytes(key_id) == digest.finalize()[:8]
    assert desk.row("SELECT array_agg(deed ORDER BY gateway_event_id) FROM gateway_event") == (
        ["registered", "claim issued", "enrolled"],
    )
    assert desk.row("SELECT count(*) FROM certificate") == (1,)
    with pytest.raises(enroll.ClaimUsed):
        desk.enrol(desk.request("GW001", code))


def test_the_code_itself_is_nowhere_in_the_database(desk: Desk) -> None:
    code = desk.claim("GW001")
    with desk.pool.connection() as conn:
        rows = conn.execute(
            "SELECT to_jsonb(c)::text FROM claim c UNION ALL SELECT to_jsonb(e)::text FROM gateway_event e"
        )
        assert all(code not in text for (text,) in rows)


def test_who_lost_the_answer_may_ask_again_with_the_same_key_for_a_day(desk: Desk) -> None:
    code, key = desk.claim("GW001"), Ed25519PrivateKey.generate()
    first = desk.enrol(desk.request("GW001", code, key))
    at = START + DAY
    again = desk.enrol(desk.request("GW001", code, key, at), at)
    assert (again.epoch, again.key_words) == (first.epoch, first.key_words)
    later = at + dt.timedelta(seconds=1)
    with pytest.raises(enroll.ClaimUsed):
        desk.enrol(desk.request("GW001", code, key, later), later)


def test_a_new_claim_for_an_enrolled_gateway_opens_a_new_epoch_and_ends_the_old_keys(desk: Desk) -> None:
    desk.enrol(desk.request("GW001", desk.claim("GW001")))
    at = START + HOUR
    second = desk.enrol(desk.request("GW001", desk.claim("GW001", at), at=at), at)
    assert second.epoch == 2
    assert desk.row("SELECT count(*), count(*) FILTER (WHERE upper_inf(valid)) FROM gateway_key") == (2, 1)
    assert desk.row("SELECT count(*) FILTER (WHERE revoked_at IS NOT NULL) FROM certificate") == (1,)


def test_only_the_newest_code_counts_and_only_for_30_days(desk: Desk) -> None:
    old, new = desk.claim("GW001"), desk.claim("GW001", START + HOUR)
    at = START + HOUR
    with pytest.raises(enroll.ClaimExpired):
        desk.enrol(desk.request("GW001", old, at=at), at)
    last = START + HOUR + 30 * DAY
    with pytest.raises(enroll.ClaimExpired):
        desk.enrol(desk.request("GW001", new, at=last), last)
    before = last - dt.timedelta(seconds=1)
    desk.enrol(desk.request("GW001", new, at=before), before)


def test_a_wrong_code_is_counted_five_an_hour_and_ten_lock_the_code(desk: Desk) -> None:
    right = desk.claim("GW001")
    wrong = identity.claim_code(1)
    at = START
    for hour in range(2):
        at = START + hour * HOUR + hour * dt.timedelta(seconds=1)
        for _ in range(5):
            with pytest.raises(enroll.WrongClaim):
                desk.enrol(desk.request("GW001", wrong, at=at), at)
        with pytest.raises(enroll.TooManyTries):
            desk.enrol(desk.request("GW001", right, at=at), at)
    at += 2 * HOUR
    with pytest.raises(enroll.CodeLocked):
        desk.enrol(desk.request("GW001", right, at=at), at)
    at += HOUR
    desk.enrol(desk.request("GW001", desk.claim("GW001", at), at=at), at)


def test_a_code_of_another_gateway_and_an_unknown_gateway_sound_the_same(desk: Desk) -> None:
    code = desk.claim("GW001")
    desk.claim("GW002")
    for serial in ("GW002", "GW404"):
        with pytest.raises(enroll.WrongClaim) as told:
            desk.enrol(desk.request(serial, code))
        assert told.value.facts == {"serial": serial}
    desk.enrol(desk.request("GW001", code))


def test_a_request_that_was_tampered_with_does_not_use_the_code_up(desk: Desk) -> None:
    code = desk.claim("GW001")
    good, other = desk.request("GW001", code), desk.request("GW001", code)
    for bad, problem in (
        (replace(good, csr_pem=other.csr_pem), identity.BadProof),
        (replace(good, signing_key=other.signing_key), identity.BadProof),
        (replace(good, nonce=good.nonce[:-1] + ("0" if good.nonce[-1] != "0" else "1")), enroll.StaleNonce),
        (replace(good, csr_pem=b"nonsense"), identity.BadRequest),
    ):
        with pytest.raises(problem):
            desk.enrol(bad)
    with pytest.raises(enroll.StaleNonce):
        desk.enrol(good, START + dt.timedelta(minutes=11))
    desk.enrol(good)


def test_two_at_once_with_one_code_make_one_gateway(desk: Desk) -> None:
    import concurrent.futures

    code = desk.claim("GW001")

    def attempt(request: enroll.Request) -> str:
        try:
            desk.enrol(request)
        except Refused as problem:
            return problem.key
        return "enrolled"

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        ends = list(threads.map(attempt, [desk.request("GW001", code) for _ in range(4)]))
    assert sorted(ends) == ["claim_used", "claim_used", "claim_used", "enrolled"]
    assert desk.row("SELECT count(*) FROM gateway_key") == (1,)


@pytest.mark.parametrize("state", ["revoked", "suspended", "suspect"])
def test_a_gateway_that_was_shut_out_stays_out(desk: Desk, state: str) -> None:
    code = desk.claim("GW001")
    with desk.pool.connection() as conn:
        conn.execute("UPDATE gateway SET state = %s", (state,))
    with pytest.raises(enroll.NotEnrollable):
        desk.enrol(desk.request("GW001", code))
    with pytest.raises(enroll.NotEnrollable):
        desk.claim("GW001")


def test_revocation_goes_database_list_broker_connection(desk: Desk, authority: ca.Authority) -> None:
    given = desk.enrol(desk.request("GW001", desk.claim("GW001")))
    serial = x509.load_pem_x509_certificate(given.certificate_pem.encode()).serial_number
    seen: list[str] = []

    def look(step: str) -> None:
        (state,) = desk.row("SELECT state FROM gateway")
        crl = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
        listed = crl.get_revoked_certificate_by_serial_number(serial) is not None
        seen.append(f"{step} {state} {listed}")

    enroll.revoke(
        desk.pool, authority, "GW001", "keyCompromise", actor="test", now=START,
        reload_broker=lambda: look("reload"), kick=lambda name: look(f"kick {name}"),
    )  # fmt: skip
    assert seen == ["reload revoked True", "kick GW001 revoked True"]
    assert desk.row("SELECT count(*) FROM gateway_key WHERE upper_inf(valid)") == (0,)


def test_the_provisioning_role_can_do_no_more_than_it_must(desk: Desk, database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("SET ROLE shoudian_provision")
        for statement in (
            "SELECT * FROM app_user",
            "DELETE FROM gateway_event",
            "SELECT password_hash FROM app_user",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(statement)


# -- the commands, as people run them ------------------------------------------------------------------------------


@dataclass
class Site:
    """A site with its office commands and its enrolment server."""

    folder: Path
    environment: dict[str, str]
    url: str
    label: str

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = provision(*arguments, environment=self.environment)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def enrol(
        self, out: Path, *more: str, label: str | None = None, expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.run(
            "enrol",
            "--url",
            self.url,
            "--label",
            label or self.label,
            "--out",
            str(out),
            *more,
            expect=expect,
        )


def provision(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioning", *arguments],
        capture_output=True, text=True, env=environment, timeout=60, check=False,
    )  # fmt: skip


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def label_in(output: str) -> str:
    found = re.search(r"EGW1:\S+", output)
    assert found is not None
    return found[0]


@pytest.fixture
def site(database: str, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Site]:
    secret = tmp_path / "dsn"
    secret.write_text(database)
    environment = {**os.environ, "SHOUDIAN_DSN_FILE": str(secret)}
    folder, port = tmp_path / "ca", free_port()
    provision("ca", "init", "--ca", str(folder), environment=environment).check_returncode()
    claim = provision("claim", "GW001", "--name", "1号楼", "--ca", str(folder), environment=environment)
    assert claim.returncode == 0, claim.stderr
    command = [sys.executable, "-m", "provisioning", "api", "--ca", str(folder), "--port", str(port)]
    with serving([*command, "--broker-host", "localhost", "--broker-port", "8883"], environment, port):
        yield Site(folder, environment, f"https://localhost:{port}", label_in(claim.stdout))


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
    program("mosquitto")
    site.enrol(tmp_path / "gw")
    port = free_port()
    with running_broker(
        tmp_path / "broker", port=port, pki=BrokerPki.from_folder(site.folder), kind="mosquitto"
    ) as broker:
        command = [sys.executable, "-c", WATCH, str(tmp_path / "gw"), str(port)]
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert watcher.stdout is not None
        try:
            assert watcher.stdout.readline().strip() == "in"
            # where CA and broker do not share a folder, the list is carried over before the broker is told
            home = Path(os.readlink(f"/proc/{broker.pid}/cwd"))
            (home / "crl.pem").unlink()
            (home / "crl.pem").symlink_to(site.folder / "crl.pem")
            site.run(
                "revoke", "GW001", "--ca", str(site.folder), "--broker-host", "127.0.0.1", "--broker-port", str(port),
                "--broker-pid-file", str(broker.folder / "pid"),
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
