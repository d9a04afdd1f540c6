"""The rules of enrolment around a real database, with the clock in our hands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cloud.db import Pool, open_pool
from cloud.errors import Refused
from provisioning import ca, enroll, handout, identity

START = dt.datetime.now(dt.UTC).replace(microsecond=0)  # noqa: TID251  # certificates are checked by the real clock
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init_authority(tmp_path_factory.mktemp("pki") / "ca", server_names=["localhost"], now=START)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    with open_pool(database, size_max=4) as pool:
        yield pool


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


def test_revocation_goes_database_list_broker_connection(
    desk: Desk, authority: ca.Authority, tmp_path: Path
) -> None:
    given = desk.enrol(desk.request("GW001", desk.claim("GW001")))
    serial = x509.load_pem_x509_certificate(given.certificate_pem.encode()).serial_number
    copy = tmp_path / "crl.pem"
    seen: list[str] = []

    def look(step: str) -> None:
        (state,) = desk.row("SELECT state FROM gateway")
        listed = copy.exists() and x509.load_pem_x509_crl(
            copy.read_bytes()
        ).get_revoked_certificate_by_serial_number(serial)
        seen.append(f"{step} {state} {listed not in (None, False)}")

    def publish() -> None:
        look("publish")
        handout.publish_crl(authority, enroll.revoked_now(desk.pool, START), copy, START)

    enroll.revoke(
        desk.pool, authority, "GW001", "keyCompromise", actor="test", now=START,
        publish=publish, kick=lambda name: look(f"kick {name}"),
    )  # fmt: skip
    assert seen == ["publish revoked False", "kick GW001 revoked True"]
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
