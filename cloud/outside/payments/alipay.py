"""Alipay by python-alipay-sdk: face-to-face QR (precreate), web and phone pages, query, close, refund, day statement.

The library verifies a call's signature and nothing else; app, seller, time and amount are looked at here and by the
order. Its `verify` takes sign_type out of the dictionary it is given, so it gets a copy (tried: 3.4.0).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import urllib.parse
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from alipay import AliPay
from alipay.exceptions import AliPayException, AliPayValidationError

from cloud.billing.payment import FoundBy, Notified, Order, Provider
from cloud.billing.reconcile import Statement, StatementLine, What
from cloud.config import AlipayConfig
from cloud.errors import Unavailable
from cloud.markettime import MARKET_ZONE
from cloud.money import fen_of, yuan
from cloud.outside.payments.port import (
    ANSWER_BYTES_MAX,
    Asked,
    CallAnswer,
    Genuine,
    ProviderRefused,
    RefundOrder,
    Standing,
    UntrueCall,
    check_age,
    fetch,
)

PAID: Final = ("TRADE_SUCCESS", "TRADE_FINISHED")
FIELDS_MAX: Final = 200
_STANDING: Final = {
    "TRADE_SUCCESS": Standing.PAID,
    "TRADE_FINISHED": Standing.PAID,
    "WAIT_BUYER_PAY": Standing.PENDING,
    "TRADE_CLOSED": Standing.CLOSED,
}


class _Client(AliPay):  # type: ignore[misc]  # the library has no types
    """The library, with our own bounded fetch in place of its urlopen."""

    def verified_sync_response(self, data: dict[str, Any], response_type: str) -> dict[str, Any]:
        """Ask the gateway and verify its answer."""
        raw = fetch(f"{self._gateway}?{self.sign_data(data)}").decode("utf-8", "replace")
        found: dict[str, Any] = self._verify_and_return_sync_response(raw, response_type)
        return found


class Alipay:
    """The merchant's side of Alipay."""

    provider = Provider.ALIPAY

    def __init__(self, config: AlipayConfig, notify_url: str) -> None:
        self._config = config
        self._client = _Client(
            appid=config.app_id,
            app_notify_url=notify_url,
            app_private_key_string=config.app_key,
            alipay_public_key_string=config.public_key,
            sign_type="RSA2",
        )
        self._client._gateway = config.gateway

    def offer(self, order: Order, return_url: str) -> str:
        """Precreate for a QR code; for a phone the signed address of Alipay's page, which needs no call at all."""
        facts = {
            "subject": f"电费 {order.account_id}",
            "out_trade_no": order.order_no,
            "total_amount": str(yuan(order.amount_fen)),
            "time_expire": order.expires_at.astimezone(MARKET_ZONE).strftime("%Y-%m-%d %H:%M:%S"),
        }
        if order.is_phone:
            query = self._client.api_alipay_trade_wap_pay(**facts, return_url=return_url)
            return f"{self._config.gateway}?{query}"
        return str(self._ask(lambda: self._client.api_alipay_trade_precreate(**facts))["qr_code"])

    def ask(self, order_no: str) -> Asked:
        """Ask for the trade by our number; a QR code that nobody has scanned is unknown to Alipay."""
        try:
            found = self._ask(lambda: self._client.api_alipay_trade_query(out_trade_no=order_no))
        except ProviderRefused as refused:
            if refused.facts["code"] == "ACQ.TRADE_NOT_EXIST":
                return Asked(Standing.UNKNOWN, None)
            raise
        standing = _STANDING.get(str(found.get("trade_status")), Standing.PENDING)
        if standing is not Standing.PAID:
            return Asked(standing, None)
        return Asked(standing, _notified(found, str(found.get("send_pay_date", "")), FoundBy.QUERY))

    def close(self, order_no: str) -> None:
        """Close the trade; one that is unknown cannot be paid (its QR code has expired with the order)."""
        try:
            self._ask(lambda: self._client.api_alipay_trade_close(out_trade_no=order_no))
        except ProviderRefused as refused:
            if refused.facts["code"] not in ("ACQ.TRADE_NOT_EXIST", "ACQ.TRADE_STATUS_ERROR"):
                raise

    def refund(self, refund: RefundOrder) -> Standing:
        """Ask for the refund by our number; when Alipay does not say it moved money, ask how that number stands."""
        found = self._ask(
            lambda: self._client.api_alipay_trade_refund(
                refund_amount=str(yuan(refund.refund_fen)),
                trade_no=refund.transaction_id,
                out_request_no=refund.refund_no,
                refund_reason=refund.reason[:80],
            )
        )
        if found.get("fund_change") == "Y":
            return Standing.PAID
        asked = self._ask(
            lambda: self._client.api_alipay_trade_fastpay_refund_query(
                refund.refund_no, trade_no=refund.transaction_id
            )
        )
        return Standing.PAID if asked.get("refund_status") == "REFUND_SUCCESS" else Standing.PENDING

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Genuine:
        """Verify the signature over all fields, then look at time, app and seller."""
        fields = _fields(body)
        sign = fields.pop("sign", "")
        try:
            is_right = bool(sign) and self._client.verify(dict(fields), sign)
        except Exception as problem:  # whatever base64, RSA and a foreign sign_type raise on nonsense
            raise UntrueCall("forged", type(problem).__name__) from problem
        if not is_right:
            raise UntrueCall("forged", "signature")
        check_age(_instant(fields.get("notify_time", ""), "stale"), now)
        if fields.get("app_id") != self._config.app_id or fields.get("seller_id") != self._config.seller_id:
            raise UntrueCall("foreign", f"app {fields.get('app_id')}, seller {fields.get('seller_id')}"[:200])
        about = f"{fields.get('notify_type', '')} {fields.get('trade_status', '')}"
        is_payment = fields.get("trade_status") in PAID and "refund_fee" not in fields
        notified = (
            _notified(fields, fields.get("gmt_payment", fields["notify_time"]), FoundBy.CALLBACK)
            if is_payment
            else None
        )
        # Alipay repeats a message under the same notify_id; what is new in each sending is its time.
        return Genuine(f"{fields.get('notify_id', '')[:90]} {fields['notify_time']}", about, notified)

    def answer(self, *, is_taken: bool) -> CallAnswer:
        """Alipay wants the seven letters, and calls again after anything else."""
        return CallAnswer(200 if is_taken else 401, "text/plain", "success" if is_taken else "failure")

    def statement(self, day: date) -> Statement:
        """Fetch the day's trade statement: a ZIP of GBK CSV files, of which the one with the lines is read."""
        try:
            found = self._ask(
                lambda: self._client.server_api(
                    "alipay.data.dataservice.bill.downloadurl.query",
                    biz_content={"bill_type": "trade", "bill_date": day.isoformat()},
                )
            )
        except ProviderRefused as refused:
            if str(refused.facts["code"]) in ("isp.bill_not_exist", "BILL_NOT_EXIST"):
                return Statement(self.provider, day, hashlib.sha256(b"").digest(), ())
            raise
        text = _detail(fetch(str(found["bill_download_url"])))
        return Statement(self.provider, day, hashlib.sha256(text.encode()).digest(), _lines(text))

    def _ask(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            found = call()
        except AliPayValidationError as problem:
            raise Unavailable("provider_unavailable", problem="answer not signed by Alipay") from problem
        except AliPayException as problem:
            raise ProviderRefused(
                "provider_refused", code=_sub_code(problem), problem=str(problem)[:200]
            ) from problem
        except ValueError as problem:
            raise Unavailable("provider_unavailable", problem=f"answer: {problem}"[:200]) from problem
        if found.get("code") == "10000":
            return found
        code, message = str(found.get("sub_code", found.get("code"))), str(found.get("sub_msg", ""))[:200]
        if found.get("code") == "20000" or code in ("ACQ.SYSTEM_ERROR", "isp.unknow-error"):
            raise Unavailable("provider_unavailable", problem=f"{code} {message}")
        raise ProviderRefused("provider_refused", code=code, problem=message)


def _sub_code(problem: AliPayException) -> str:
    """The sub_code inside the answer that the library carries as its message."""
    text = str(problem).partition("message:")[2]
    try:
        answer = json.loads(text)
    except ValueError:
        return "0"
    for value in answer.values() if isinstance(answer, dict) else ():
        if isinstance(value, dict):
            return str(value.get("sub_code", value.get("code", "0")))
    return "0"


def _fields(body: bytes) -> dict[str, str]:
    try:
        pairs = urllib.parse.parse_qsl(
            body.decode("ascii"), encoding="utf-8", errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError as problem:
        raise UntrueCall("forged", "not a form") from problem
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise UntrueCall("forged", "a field twice")
    return fields


def _instant(text: str, kind: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=MARKET_ZONE).astimezone(UTC)
    except ValueError as problem:
        raise UntrueCall(kind, f"time {text[:40]}") from problem


def _notified(found: Mapping[str, Any], paid_at: str, found_by: FoundBy) -> Notified:
    try:
        amount_yuan = Decimal(str(found["total_amount"]))
        amount_fen = fen_of(amount_yuan)
        if amount_fen <= 0 or amount_yuan * 100 != amount_fen:
            raise ValueError(str(amount_yuan))
        return Notified(
            provider=Provider.ALIPAY,
            transaction_id=str(found["trade_no"])[:64],
            order_no=str(found["out_trade_no"])[:32],
            amount_fen=amount_fen,
            paid_at=_instant(paid_at, "foreign"),
            payer=str(found.get("buyer_logon_id", found.get("buyer_id", "")))[:60],
            found_by=found_by,
        )
    except (KeyError, ValueError, InvalidOperation) as problem:
        raise UntrueCall("foreign", f"content: {problem}"[:200]) from problem


def _detail(packed: bytes) -> str:
    """The CSV with the lines out of the ZIP (the other file holds totals)."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for entry in archive.infolist():
                name = entry.filename if entry.flag_bits & 0x800 else _gbk_name(entry.filename)
                if "汇总" in name or entry.file_size > ANSWER_BYTES_MAX:
                    continue
                return archive.read(entry).decode("gb18030")
    except (zipfile.BadZipFile, UnicodeDecodeError, OSError) as problem:
        raise Unavailable("provider_unavailable", problem=f"statement: {problem}"[:200]) from problem
    raise Unavailable("provider_unavailable", problem="statement: no file with lines")


def _gbk_name(name: str) -> str:
    return name.encode("cp437", "replace").decode("gb18030", "replace")


def _lines(text: str) -> tuple[StatementLine, ...]:
    """Read the statement: remarks begin with #, the header names its columns, cells end with tabs."""
    rows = [
        [cell.strip() for cell in row]
        for row in csv.reader(io.StringIO(text))
        if row and not row[0].startswith("#")
    ]
    header = {name: index for index, name in enumerate(rows[0])} if rows else {}
    found = []
    for row in rows[1:]:
        cell = {name: row[index] for name, index in header.items() if index < len(row)}
        try:
            is_refund = cell["业务类型"] == "退款"
            amount = fen_of(Decimal(cell["订单金额（元）"]))
            found.append(
                StatementLine(
                    what=What.REFUND if is_refund else What.PAYMENT,
                    reference=cell["退款批次号/请求号"] if is_refund else cell["支付宝交易号"],
                    order_no=cell["商户订单号"],
                    amount_fen=abs(amount),
                    fee_fen=-fen_of(Decimal(cell["服务费（元）"])),  # printed negative when kept by Alipay
                    at=datetime.strptime(cell["完成时间"], "%Y-%m-%d %H:%M:%S")
                    .replace(tzinfo=MARKET_ZONE)
                    .astimezone(UTC),
                )
            )
        except (KeyError, ValueError, InvalidOperation) as problem:
            raise Unavailable("provider_unavailable", problem=f"statement line: {problem}"[:200]) from problem
    return tuple(found)
