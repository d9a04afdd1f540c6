"""WeChat Pay v3 by wechatpayv3, in public-key mode: nothing is ever downloaded to verify a call.

The library verifies and decrypts, but accepts any timestamp, raises on a foreign signature type, and goes to the network
for a serial it does not know; so time, type and serial are looked at here first (tried: 2.0.4).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import requests
from wechatpayv3 import WeChatPay, WeChatPayType

from cloud.billing.payment import FoundBy, Notified, Order, Provider
from cloud.billing.reconcile import Statement, StatementLine, What
from cloud.config import WechatConfig
from cloud.errors import Unavailable
from cloud.markettime import MARKET_ZONE
from cloud.money import fen_of
from cloud.outside.payments.port import (
    ANSWER_BYTES_MAX,
    TIMEOUT_S,
    Asked,
    CallAnswer,
    Genuine,
    ProviderRefused,
    RefundOrder,
    Standing,
    UntrueCall,
    check_age,
)

SIGNATURE_TYPE: Final = "WECHATPAY2-SHA256-RSA2048"
_STANDING: Final = {
    "SUCCESS": Standing.PAID,
    "REFUND": Standing.PAID,
    "NOTPAY": Standing.PENDING,
    "USERPAYING": Standing.PENDING,
    "ACCEPT": Standing.PENDING,
    "CLOSED": Standing.CLOSED,
    "REVOKED": Standing.CLOSED,
    "PAYERROR": Standing.CLOSED,
}


class Wechat:
    """The merchant's side of WeChat Pay."""

    provider = Provider.WECHAT

    def __init__(self, config: WechatConfig, notify_url: str) -> None:
        self._config = config
        self._client = WeChatPay(
            WeChatPayType.NATIVE,
            config.merchant_id,
            config.merchant_key,
            config.merchant_serial,
            config.app_id,
            config.apiv3_key,
            notify_url=notify_url,
            timeout=TIMEOUT_S,
            proxy={"http": "", "https": ""} if config.gateway.startswith("http://") else None,
            public_key=config.public_key,
            public_key_id=config.public_key_id,
        )
        self._client._core._gate_way = config.gateway

    def offer(self, order: Order, return_url: str) -> str:
        """Make a Native order (QR code) or an H5 order (page on the phone)."""
        found = self._ask(
            lambda: self._client.pay(
                description=f"电费 {order.account_id}",
                out_trade_no=order.order_no,
                amount={"total": order.amount_fen, "currency": "CNY"},
                time_expire=order.expires_at.astimezone(MARKET_ZONE).isoformat(timespec="seconds"),
                attach=order.account_id,
                scene_info={"payer_client_ip": "127.0.0.1", "h5_info": {"type": "Wap"}}
                if order.is_phone
                else None,
                pay_type=WeChatPayType.H5 if order.is_phone else WeChatPayType.NATIVE,
            )
        )
        if not order.is_phone:
            return str(found["code_url"])
        back = requests.models.PreparedRequest()
        back.prepare_url(str(found["h5_url"]), {"redirect_url": return_url})
        return str(back.url)

    def ask(self, order_no: str) -> Asked:
        """Ask for the order by our number."""
        try:
            found = self._ask(lambda: self._client.query(out_trade_no=order_no))
        except ProviderRefused as refused:
            if refused.facts["code"] in ("ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"):
                return Asked(Standing.UNKNOWN, None)
            raise
        standing = _STANDING.get(str(found.get("trade_state")), Standing.PENDING)
        notified = self._notified(found, FoundBy.QUERY) if standing is Standing.PAID else None
        return Asked(standing, notified)

    def close(self, order_no: str) -> None:
        """Close the order; one that is closed or unknown is closed."""
        try:
            self._ask(lambda: self._client.close(out_trade_no=order_no))
        except ProviderRefused as refused:
            if refused.facts["code"] not in ("ORDER_CLOSED", "ORDER_NOT_EXIST", "ORDERNOTEXIST"):
                raise

    def refund(self, refund: RefundOrder) -> Standing:
        """Ask for the refund by our number: the same number again is the same refund."""
        found = self._ask(
            lambda: self._client.refund(
                out_refund_no=refund.refund_no,
                transaction_id=refund.transaction_id,
                reason=refund.reason[:80],
                amount={"refund": refund.refund_fen, "total": refund.whole_fen, "currency": "CNY"},
            )
        )
        match found.get("status"):
            case "SUCCESS":
                return Standing.PAID
            case "CLOSED" | "ABNORMAL" as status:
                raise ProviderRefused("provider_refused", code=status, problem="refund")
            case _:
                return Standing.PENDING

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Genuine:
        """Verify the signature, decrypt, then look at time, app and merchant."""
        named = {name.lower(): value for name, value in headers.items()}
        if named.get("wechatpay-signature-type", SIGNATURE_TYPE) != SIGNATURE_TYPE:
            raise UntrueCall("forged", "signature type")
        if named.get("wechatpay-serial") != self._config.public_key_id:
            raise UntrueCall("foreign", f"serial {named.get('wechatpay-serial', '')[:60]}")
        found = self._opened(named | {"wechatpay-signature-type": SIGNATURE_TYPE}, body)
        try:
            at = datetime.fromtimestamp(int(named["wechatpay-timestamp"]), UTC)
        except (KeyError, ValueError, OverflowError, OSError) as problem:
            raise UntrueCall("stale", "timestamp") from problem
        check_age(at, now)
        about, resource = str(found.get("event_type", "")), found["resource"]
        notified = None
        if about == "TRANSACTION.SUCCESS" and resource.get("trade_state") == "SUCCESS":
            notified = self._notified(resource, FoundBy.CALLBACK)
        elif resource.get("mchid") != self._config.merchant_id:
            raise UntrueCall("foreign", f"merchant {resource.get('mchid')}")
        return Genuine(named.get("wechatpay-nonce", "")[:128], about, notified)

    def answer(self, *, is_taken: bool) -> CallAnswer:
        """WeChat Pay is content with any 2xx, and calls again after anything else."""
        body = {"code": "SUCCESS", "message": "OK"} if is_taken else {"code": "FAIL", "message": "refused"}
        return CallAnswer(200 if is_taken else 401, "application/json", json.dumps(body))

    def statement(self, day: date) -> Statement:
        """Fetch the day's trade bill, check its digest, and read its lines by their column names."""
        try:
            found = self._ask(lambda: self._client.trade_bill(day.isoformat()))
        except ProviderRefused as refused:
            if refused.facts["code"] == "NO_STATEMENT_EXIST":
                return Statement(self.provider, day, hashlib.sha256(b"").digest(), ())
            raise
        status, content = self._called(lambda: self._client.download_bill(str(found["download_url"])))
        if status != 200:
            raise Unavailable("provider_unavailable", problem=f"statement: HTTP {status}")
        packed = content.encode() if isinstance(content, str) else content
        text = _unpacked(packed)
        if hashlib.sha1(text).hexdigest() != str(found.get("hash_value", "")).lower():
            raise Unavailable("provider_unavailable", problem="statement: digest differs")
        return Statement(self.provider, day, hashlib.sha256(text).digest(), _lines(text.decode("utf-8-sig")))

    def _opened(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        try:
            found = self._client.callback(dict(headers), body)
        except (
            Exception
        ) as problem:  # the library raises bare Exception, and whatever its parts raise on nonsense
            raise UntrueCall("forged", type(problem).__name__) from problem
        if not isinstance(found, dict) or not isinstance(found.get("resource"), dict):
            raise UntrueCall("forged", "signature or content")
        return found

    def _notified(self, found: Mapping[str, Any], found_by: FoundBy) -> Notified:
        if found.get("appid") != self._config.app_id or found.get("mchid") != self._config.merchant_id:
            raise UntrueCall("foreign", f"app {found.get('appid')}, merchant {found.get('mchid')}")
        try:
            amount = found["amount"]
            if (
                amount.get("currency", "CNY") != "CNY"
                or type(amount["total"]) is not int
                or amount["total"] <= 0
            ):
                raise UntrueCall("foreign", f"amount {amount}"[:200])
            return Notified(
                provider=self.provider,
                transaction_id=str(found["transaction_id"])[:64],
                order_no=str(found["out_trade_no"])[:32],
                amount_fen=amount["total"],
                paid_at=datetime.fromisoformat(found["success_time"]).astimezone(UTC),
                payer=str(found.get("payer", {}).get("openid", ""))[:60],
                found_by=found_by,
            )
        except (KeyError, ValueError, TypeError, AttributeError) as problem:
            raise UntrueCall("foreign", f"content: {problem}"[:200]) from problem

    def _ask(self, call: Callable[[], tuple[int, Any]]) -> dict[str, Any]:
        status, content = self._called(call)
        try:
            found = json.loads(content) if content else {}
        except ValueError:
            found = {}
        if not isinstance(found, dict):
            found = {}
        if 200 <= status < 300:
            return found
        code, message = str(found.get("code", status)), str(found.get("message", ""))[:200]
        if status >= 500 or status == 429:
            raise Unavailable("provider_unavailable", problem=f"HTTP {status} {code} {message}")
        raise ProviderRefused("provider_refused", code=code, problem=message)

    def _called(self, call: Callable[[], tuple[int, Any]]) -> tuple[int, Any]:
        try:
            return call()
        except requests.RequestException as problem:
            raise Unavailable("provider_unavailable", problem=str(problem)[:200]) from problem
        except Exception as problem:  # bare Exception: an answer whose signature is not the provider's
            raise Unavailable("provider_unavailable", problem=f"{problem}"[:200]) from problem


def _unpacked(packed: bytes) -> bytes:
    if packed[:2] != b"\x1f\x8b":
        return packed
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            text = file.read(ANSWER_BYTES_MAX + 1)
    except (OSError, EOFError) as problem:
        raise Unavailable("provider_unavailable", problem=f"statement: {problem}") from problem
    if len(text) > ANSWER_BYTES_MAX:
        raise Unavailable("provider_unavailable", problem="statement: too large")
    return text


def _lines(text: str) -> tuple[StatementLine, ...]:
    """Read the trade bill: a header, rows whose cells begin with a backtick, then two lines of totals."""
    rows = list(csv.reader(io.StringIO(text)))
    header = {name.strip("\ufeff `"): index for index, name in enumerate(rows[0])} if rows else {}
    found = []
    for row in rows[1:]:
        if not row or not re.match(r"`?\d{4}-\d\d-\d\d ", row[0]):
            break
        cell = {name: row[index].lstrip("`").strip() for name, index in header.items() if index < len(row)}
        try:
            is_refund = cell["交易状态"] == "REFUND"
            amount = cell["申请退款金额" if is_refund else "订单金额"]
            found.append(
                StatementLine(
                    what=What.REFUND if is_refund else What.PAYMENT,
                    reference=cell["商户退款单号" if is_refund else "微信订单号"],
                    order_no=cell["商户订单号"],
                    amount_fen=fen_of(Decimal(amount)),
                    fee_fen=fen_of(Decimal(cell["手续费"])),
                    at=datetime.strptime(cell["交易时间"], "%Y-%m-%d %H:%M:%S")
                    .replace(tzinfo=MARKET_ZONE)
                    .astimezone(UTC),
                )
            )
        except (KeyError, ValueError, InvalidOperation) as problem:
            raise Unavailable("provider_unavailable", problem=f"statement line: {problem}"[:200]) from problem
    return tuple(found)
