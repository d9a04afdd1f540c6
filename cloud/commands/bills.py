"""shoudian-cloud bill, bill-run, verify-bill, evidence, signer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloud import commands

if TYPE_CHECKING:
    from cloud.db import Conn

RUN_EXAMPLE = "例 / e.g. shoudian-cloud bill-run 2026-08 --pdf-dir bills"
VERIFY_EXAMPLE = "例 / e.g. shoudian-cloud verify-bill bill-3700000000001-2026-08.pdf --trust root.pem"
EVIDENCE_EXAMPLE = "例 / e.g. shoudian-cloud evidence 17 evidence-17"


def add_to(add: commands.Add) -> None:
    """Name the commands of this topic."""
    command = add("bill", _bill, "出一个户号一个月的电费账单 / draw an account's bill of a month")
    command.add_argument("account", metavar="ACCOUNT", help="户号 / account number")
    command.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM")
    command.add_argument(
        "--issue", action="store_true", help="同时出账，客户可见 / issue it: its customer sees it"
    )
    command.add_argument(
        "--pdf", type=Path, metavar="FILE", help="同时写出 PDF / also write the PDF to this file"
    )
    command.add_argument("--language", choices=("zh", "en"), default="zh")
    _add_run(add)
    _add_proof(add)
    command = add("signer", _signer, "制作账单签名密钥 / make a key that signs bills (signer init DIR)")
    command.add_argument(
        "deed", choices=("init",), help="init: 制作根证书与签名证书 / make a root and a signer"
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="例 / e.g. signer")
    command.add_argument("--name", default="示范售电有限公司", help="签名人名称 / name of the signer")


def _add_run(add: commands.Add) -> None:
    command = add(
        "bill-run",
        _run,
        "全部户号出账并打印；可中断后继续 / draw the month's bills of all accounts and print them; may be stopped and "
        f"started again. {RUN_EXAMPLE}",
    )
    command.add_argument("month", metavar="MONTH", type=commands.month, help="YYYY-MM")
    command.add_argument(
        "--pdf-dir",
        type=Path,
        metavar="DIR",
        help="PDF 写入此文件夹，已有的不再打印 / print into this folder; what is there stays",
    )
    command.add_argument(
        "--issue-low",
        action="store_true",
        help="低风险草稿直接出账，其余待审 / issue drafts of low risk, leave the others for review",
    )
    command.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="打印进程数，默认等于处理器数 / printing processes, default: one a CPU",
    )
    command.add_argument("--language", choices=("zh", "en"), default="zh")


def _add_proof(add: commands.Add) -> None:
    command = add(
        "verify-bill",
        _verify_bill,
        "离线核验账单文件：签名、页面、计算；给出证据则一直核到表计 / check a bill's .pdf or .json offline: signature, pages, "
        "computation; with evidence down to the meters. 退出码 / exit code: 0 正确 right, 1 不对或未证实 wrong or unproven. "
        f"{VERIFY_EXAMPLE}",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="例 / e.g. bill-3700000000001-2026-08.pdf")
    command.add_argument(
        "--trust", type=Path, metavar="PEM", help="可信根证书 / root certificates that are trusted"
    )
    evidence = command.add_mutually_exclusive_group()
    evidence.add_argument("--evidence", type=Path, metavar="DIR", help="证据文件夹 / a folder of evidence")
    evidence.add_argument(
        "--database",
        action="store_true",
        help="从数据库取证据（SHOUDIAN_DSN）/ take the evidence from the database",
    )
    command.add_argument("--language", choices=("zh", "en"), default="zh")
    command.add_argument("--brief", action="store_true", help="只说结论 / the verdict only")
    command = add(
        "evidence",
        _evidence,
        "导出一张账单的证据：密封批次、公钥、分时电量、价格文件 / write what a bill rests on into a folder, so that anybody can "
        f"check it without the database. {EVIDENCE_EXAMPLE}",
    )
    command.add_argument(
        "bill", metavar="BILL", help="账单编号，或它的 PDF、JSON / number of the bill, or its .pdf or .json"
    )
    command.add_argument(
        "folder", type=Path, metavar="DIR", help="新的或空的文件夹 / a folder that is new or empty"
    )


def _bill(arguments: argparse.Namespace) -> None:
    from cloud import db
    from cloud.billing.labels import Language, money_text
    from cloud.billing.run import bill as billing
    from cloud.billing.run import review
    from cloud.billing.run.issue import issue
    from cloud.billing.run.print import bill_pdf, signer_of
    from cloud.billing.store import bills, display

    config = commands.config()
    pdf = b""
    with (
        db.open_pool(config.dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor="cli:bill")) as conn,
    ):
        now = commands.now()
        drawn = billing.bill_month(conn, arguments.account, arguments.month, now)
        review.assess(conn, drawn.bill_id, "cli:bill", now)
        if arguments.issue:
            review.clear(conn, drawn.bill_id, "cli:bill", now)
            issue(conn, drawn.bill_id, "cli:bill", now)
        row = display.find_bill(conn, drawn.bill_id, with_drafts=True)
        if arguments.pdf and row is not None:
            bill = bills.load(conn, drawn.bill_id)
            around = display.around(conn, row, bill)
            pdf = bill_pdf(bill, Language(arguments.language), around, signer_of(config.bill_signer))
    if arguments.pdf:
        arguments.pdf.write_bytes(pdf)
    how = "新账单 / new" if drawn.is_new else "数据未变 / unchanged"
    print(
        f"{arguments.account} {arguments.month:%Y-%m}: {money_text(drawn.total_fen)} 元 / yuan, "
        f"#{drawn.bill_id} revision {drawn.revision}, {how}, 差额 / change {money_text(drawn.change_fen)}"
    )


def _run(arguments: argparse.Namespace) -> int:
    from cloud.commands.billrun import bill_run

    return bill_run(arguments, commands.config(), commands.now)


def _verify_bill(arguments: argparse.Namespace) -> int:
    from cloud.billing.run import witness
    from cloud.billing.run.verify import Beside, bill_of, read_file, verify
    from cloud.paper.sign import trusted_roots

    content = read_file(arguments.file)
    roots = trusted_roots(arguments.trust) if arguments.trust else ()
    found = kept = None
    if arguments.evidence:
        found = witness.read(arguments.evidence)
    elif arguments.database:
        bill, around, _ = bill_of(content)
        with _connected("cli:verify-bill") as conn:
            found, kept = witness.load_for(conn, bill), witness.kept(conn, bill, around)
    verdict = verify(content, Beside(roots, found, kept))
    print(verdict.text)
    if not arguments.brief:
        print(verdict.tree(arguments.language))
    return 0 if verdict.is_right else 1


def _evidence(arguments: argparse.Namespace) -> None:
    from cloud.billing.run import witness
    from cloud.billing.run.verify import bill_of, read_file

    with _connected("cli:evidence") as conn:
        if arguments.bill.isdecimal():
            bill, around, found = witness.load(conn, int(arguments.bill))
        else:
            bill, around, _ = bill_of(read_file(Path(arguments.bill)))
            found = witness.load_for(conn, bill)
    files = witness.write(arguments.folder, bill, around, found)
    print(
        f"{arguments.folder}: {files} 个文件 / files, {len(found.batches)} 个密封批次 / sealed batches; "
        f"shoudian-cloud verify-bill {arguments.folder}/{witness.BILL_FILE} --evidence {arguments.folder}"
    )


def _signer(arguments: argparse.Namespace) -> None:
    from cloud.paper.signer import make_signer

    made = make_signer(arguments.folder, arguments.name, commands.now())
    print(
        f"{made.folder}: root.key root.pem signer.key signer.pem\n"
        f"根证书 SHA-256 / root: {made.root_sha256}\n"
        f"有效期至 / valid until {made.valid_until:%Y-%m-%d}\n"
        f"export SHOUDIAN_BILL_SIGNER_KEY_FILE={made.folder / 'signer.key'}\n"
        f"export SHOUDIAN_BILL_SIGNER_CERTIFICATE_FILE={made.folder / 'signer.pem'}\n"
        "root.key 只在续期时用，请离线保存；root.pem 请公布 / keep root.key away from this machine, publish root.pem"
    )


@contextmanager
def _connected(actor: str) -> Iterator[Conn]:
    from cloud import db

    with (
        db.open_pool(commands.config().dsn, size_max=1) as pool,
        db.transaction(pool, db.Scope(db.ProcessRole.WORKER, actor=actor)) as conn,
    ):
        yield conn
