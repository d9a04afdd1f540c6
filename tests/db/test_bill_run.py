"""A bill run: everybody is billed or listed, low risk is issued, papers are printed once, and a second run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import proof_world
import psycopg
import pytest
from proof_world import ACCOUNT, ProofWorld

from cloud.__main__ import main
from cloud.billing.run.verify import verify_file
from cloud.paper.signer import make_signer

pytestmark = pytest.mark.timeout(180)

SECOND = "3700000000002"  # has terms and no meter: cannot be billed
FILE = f"bill-{ACCOUNT}-2026-08.pdf"


@pytest.fixture(scope="module")
def world(postgres_dsn: str, template_database: str) -> Iterator[ProofWorld]:
    with proof_world.own_database(postgres_dsn, template_database) as dsn:
        world = proof_world.fill(dsn, is_billed=False)
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "INSERT INTO account (account_id, party_id, name, address) SELECT %s, party_id, '空户', '—' FROM account",
                (SECOND,),
            )
            conn.execute(
                """INSERT INTO account_terms (account_id, effective, category, purchase, structure, voltage)
                   VALUES (%s, '[2026-01-01,)', 'commercial', 'agency', 'single_part', '1-10kV')""",
                (SECOND,),
            )
        with world.pool:
            yield world


def run(world: ProofWorld, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    monkeypatch.setenv("SHOUDIAN_DSN", world.dsn)
    monkeypatch.setenv("SHOUDIAN_BILL_SIGNER_KEY_FILE", str(folder / "signer" / "signer.key"))
    monkeypatch.setenv("SHOUDIAN_BILL_SIGNER_CERTIFICATE_FILE", str(folder / "signer" / "signer.pem"))
    return main(["bill-run", "2026-08", "--pdf-dir", str(folder / "bills"), "--processes", "1", *more])


def test_a_run_bills_issues_prints_and_goes_on(
    world: ProofWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_signer(tmp_path / "signer", "示范售电有限公司", datetime(2026, 1, 1, tzinfo=UTC), key_bits=2048)

    assert run(world, tmp_path, monkeypatch, "--issue-low") == 1
    said = capsys.readouterr().out
    assert "drawn 1" in said
    assert "issued 1" in said
    assert "printed 1" in said
    assert f"✗ {SECOND}: " in said
    paper = tmp_path / "bills" / FILE
    before = paper.read_bytes()
    assert verify_file(paper).is_right

    run(world, tmp_path, monkeypatch, "--issue-low")
    assert "unchanged 1" in (said := capsys.readouterr().out)
    assert "there 1" in said
    paper.unlink()
    run(world, tmp_path, monkeypatch)
    assert paper.read_bytes() == before  # signed again, as of the same instant
    assert [each.name for each in paper.parent.iterdir()] == [FILE]

    capsys.readouterr()
    folder, root = tmp_path / "evidence", str(tmp_path / "signer" / "root.pem")
    assert main(["evidence", str(paper), str(folder)]) == 0
    assert (
        main(["verify-bill", str(paper), "--evidence", str(folder), "--trust", root, "--language", "en"]) == 0
    )
    tree = capsys.readouterr().out
    assert "✓ Signed by 示范售电有限公司" in tree
    assert "✓ 7 signatures hold, 1 gateways" in tree
    assert main(["verify-bill", str(paper), "--database"]) == 0
    assert "7 个签名有效" in capsys.readouterr().out
    assert main(["evidence", str(paper), str(folder)]) == 2
    monkeypatch.delenv("SHOUDIAN_DSN")
    assert main(["verify-bill", str(folder / "bill.json"), "--evidence", str(folder), "--brief"]) == 0


def test_half_a_signer_is_refused(
    world: ProofWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["signer", "init", str(tmp_path / "s")]) == 0
    assert main(["signer", "init", str(tmp_path / "s")]) == 2
    monkeypatch.setenv("SHOUDIAN_DSN", world.dsn)
    monkeypatch.setenv("SHOUDIAN_BILL_SIGNER_KEY_FILE", str(tmp_path / "s" / "signer.key"))

    assert main(["bill-run", "2026-08"]) == 2
    assert "only one of the two is set" in capsys.readouterr().err
