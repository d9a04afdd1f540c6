"""WeChat Pay v3 as its documents describe it: requests, answers, calls and the trade bill."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import secrets
from datetime import date, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloud.outside.paysim import keys
from cloud.outside.paysim.book import MARKET, Book, Edit, Trade, market_text

_AUTHORIZATION: Final = re.compile(
    r'WECHATPAY2-SHA256-RSA2048 mchid="(\w+)",nonce_str="(\w+)",signature="([^"]+)",timestamp="(\d+)",serial_no="(\w+)"'
)
_COLUMNS: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,"
    "手续费,费率,订单金额,申请退款金额,费率备注"
)
Answer = tuple[int, str, bytes]


class Wechat:
    """The provider's side."""

    def __init__(self, book: Book, held: keys.Keys, base: str) -> None:
        self._book, self._keys, self._base = book, held, base

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> Answer:
        """Answer a request of the API."""
        if not self._is_ours(method, path, authorization, body):
            return _problem(401, "SIGN_ERROR", "签名错误")
        route, _, query = path.partition("?")
        asked = json.loads(body) if body else {}
        match route.strip("/").split("/"):
            case ["v3", "pay", "transactions", ("native" | "h5") as kind] if method == "POST":
                return self._open(kind, asked)
            case ["v3", "pay", "transactions", "out-trade-no", order_no] if method == "GET":
                trade = self._book.find("wechat", order_no)
                return (
                    _problem(404, "ORDER_NOT_EXIST", "订单不存在")
                    if trade is None
                    else _json(self.content(trade))
                )
            case ["v3", "pay", "transactions", "out-trade-no", order_no, "close"] if method == "POST":
                trade = self._book.close("wechat", order_no)
                if trade is not None and trade.state == "paid":
                    return _problem(400, "ORDER_PAID", "订单已支付")
                return (
                    (204, "application/json", b"")
                    if trade
                    else _problem(404, "ORDER_NOT_EXIST", "订单不存在")
                )
            case ["v3", "refund", "domestic", "refunds"] if method == "POST":
                return self._refund(asked)
            case ["v3", "bill", "tradebill"]:
                return self._bill(query)
            case ["v3", "billdownload", "file"]:
                return (
                    200,
                    "application/octet-stream",
                    gzip.compress(self._bill_text(query).encode("utf-8")),
                )
            case _:
                return _problem(404, "NOT_FOUND", route)

    def headers(self, body: bytes) -> dict[str, str]:
        """Sign an answer."""
        return self._signed(body, int(self._book.now().timestamp()), secrets.token_hex(16))

    def call(self, trade: Trade, step: str, nonce: str) -> tuple[dict[str, str], bytes]:
        """Make a call about a paid trade; `step` says what is wrong with it."""
        content = self.content(trade)
        if step == "other_app":
            content["appid"] = "wx0000000000000000"
        if step == "other_seller":
            content["mchid"] = "1900000999"
        if step == "other_amount":
            content["amount"] |= {"total": trade.amount_fen + 1, "payer_total": trade.amount_fen + 1}
        body = self._sealed(content, trade)
        at = int(self._book.now().timestamp()) - (400 if step == "stale" else 0)
        headers = self._signed(body, at, nonce, is_stranger=step == "forged")
        if step == "other_serial":
            headers["Wechatpay-Serial"] = "7132D72A03E93CDDF8C03BBD1F37EEDF"
        if step == "tampered":
            body = body.replace(b"TRANSACTION.SUCCESS", b"TRANSACTION.SUCCESs")
        return headers, body

    def content(self, trade: Trade) -> dict[str, Any]:
        """What an order looks like to the merchant."""
        states = {"open": "NOTPAY", "paid": "REFUND" if trade.refunds else "SUCCESS", "closed": "CLOSED"}
        found: dict[str, Any] = {
            "appid": keys.APP_ID,
            "mchid": keys.MERCHANT_ID,
            "out_trade_no": trade.order_no,
            "trade_state": states[trade.state],
            "trade_state_desc": "",
            "amount": {"total": trade.amount_fen, "currency": "CNY"},
        }
        if trade.paid_at is not None:
            found["amount"] |= {"payer_total": trade.amount_fen, "payer_currency": "CNY"}
            found |= {
                "transaction_id": trade.transaction_id,
                "trade_type": "NATIVE",
                "bank_type": "OTHERS",
                "success_time": trade.paid_at.astimezone(MARKET).isoformat(timespec="seconds"),
                "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
            }
        return found

    def _is_ours(self, method: str, path: str, authorization: str, body: bytes) -> bool:
        found = _AUTHORIZATION.match(authorization)
        if found is None or (found[1], found[5]) != (keys.MERCHANT_ID, keys.MERCHANT_SERIAL):
            return False
        # The library signs an empty body for a GET and the JSON text it sends otherwise.
        text = f"{method}\n{path}\n{found[4]}\n{found[2]}\n{body.decode()}\n"
        age_s = abs(self._book.now().timestamp() - int(found[4]))
        return age_s <= 300 and keys.is_signed(self._keys.wechat_merchant, text, found[3])

    def _open(self, kind: str, asked: dict[str, Any]) -> Answer:
        if (asked.get("appid"), asked.get("mchid")) != (keys.APP_ID, keys.MERCHANT_ID):
            return _problem(400, "APPID_MCHID_NOT_MATCH", "appid 与 mchid 不匹配")
        trade = self._book.open(
            Trade(
                "wechat",
                asked["out_trade_no"],
                asked["amount"]["total"],
                asked["description"],
                asked["notify_url"],
            )
        )
        if trade is None:
            return _problem(400, "OUT_TRADE_NO_USED", "商户订单号重复")
        url = f"{self._base}/pay/wechat/{trade.order_no}"
        return _json({"code_url": url} if kind == "native" else {"h5_url": url})

    def _refund(self, asked: dict[str, Any]) -> Answer:
        trade = self._book.find_paid("wechat", asked.get("transaction_id", ""))
        if trade is None:
            return _problem(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        if not self._book.refund(trade, asked["out_refund_no"], asked["amount"]["refund"]):
            return _problem(403, "NOT_ENOUGH", "退款金额超出")
        found = {
            "out_refund_no": asked["out_refund_no"],
            "status": "SUCCESS",
            "transaction_id": trade.transaction_id,
        }
        return _json(found)

    def _bill(self, query: str) -> Answer:
        text = self._bill_text(query)
        if not text:
            return _problem(400, "NO_STATEMENT_EXIST", "账单不存在")
        found = {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(text.encode("utf-8")).hexdigest(),
            "download_url": f"{self._base}/v3/billdownload/file?{query}",
        }
        return _json(found)

    def _bill_text(self, query: str) -> str:
        day = date.fromisoformat(re.findall(r"bill_date=([\d-]+)", query)[0])
        paid, refunded, edits = self._book.day("wechat", day)
        rows = [
            _row(trade.paid_at, trade.order_no, trade.transaction_id, trade.amount_fen, trade.fee_fen)
            for trade in paid
            if trade.paid_at is not None
        ]
        rows += [
            _row(at, trade.order_no, trade.transaction_id, fen, 0, number)
            for trade, number, fen, at in refunded
        ]
        rows = _edited(rows, edits, day)
        if not rows:
            return ""
        lines = [",".join(f"`{cell}" for cell in row) for row in rows]
        return "\r\n".join(
            ["\ufeff" + _COLUMNS, *lines, "总交易单数,应结订单总金额", f"`{len(rows)},`0.00", ""]
        )

    def _sealed(self, content: dict[str, Any], trade: Trade) -> bytes:
        nonce, about = secrets.token_hex(6), "transaction"
        plain = json.dumps(content, ensure_ascii=False).encode()
        sealed = AESGCM(keys.APIV3_KEY.encode()).encrypt(nonce.encode(), plain, about.encode())
        body = {
            "id": f"EV-{trade.transaction_id}",
            "create_time": self._book.now().astimezone(MARKET).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": {
                "original_type": "transaction",
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": base64.b64encode(sealed).decode(),
                "associated_data": about,
                "nonce": nonce,
            },
        }
        return json.dumps(body, ensure_ascii=False).encode()

    def _signed(self, body: bytes, at: int, nonce: str, *, is_stranger: bool = False) -> dict[str, str]:
        key = self._keys.stranger if is_stranger else self._keys.wechat
        text = f"{at}\n{nonce}\n{body.decode('latin-1' if body[:2] == bytes((31, 139)) else 'utf-8')}\n"
        return {
            "Content-Type": "application/json",
            "Wechatpay-Timestamp": str(at),
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": keys.PUBLIC_KEY_ID,
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Wechatpay-Signature": keys.sign(key, text),
        }


def _row(
    at: datetime, order_no: str, transaction_id: str, fen: int, fee_fen: int, refund_no: str = ""
) -> list[str]:
    yuan = f"{fen // 100}.{fen % 100:02d}"
    row = [""] * len(_COLUMNS.split(","))
    row[0:3] = [market_text(at), keys.APP_ID, keys.MERCHANT_ID]
    row[5:13] = [
        transaction_id,
        order_no,
        "openid",
        "NATIVE",
        "REFUND" if refund_no else "SUCCESS",
        "OTHERS",
        "CNY",
        yuan,
    ]
    row[14:17] = [
        f"5{transaction_id[1:]}" if refund_no else "0",
        refund_no or "0",
        yuan if refund_no else "0.00",
    ]
    row[20] = "电费"
    row[22:26] = [
        f"{fee_fen // 100}.{fee_fen % 100:02d}",
        "0.60%",
        "0.00" if refund_no else yuan,
        yuan if refund_no else "0.00",
    ]
    return row


def _edited(rows: list[list[str]], edits: tuple[Edit, ...], day: date) -> list[list[str]]:
    for edit in edits:
        mine = [row for row in rows if edit.reference in (row[5], row[15])]
        if edit.op == "drop":
            rows = [row for row in rows if row not in mine]
        elif edit.op == "twice":
            rows = rows + mine
        elif edit.op == "amount":
            for row in mine:
                row[25 if row[9] == "REFUND" else 24] = (
                    f"{edit.amount_fen // 100}.{edit.amount_fen % 100:02d}"
                )
        else:
            noon = datetime(day.year, day.month, day.day, 12, tzinfo=MARKET)
            rows = [*rows, _row(noon, edit.order_no, edit.reference, edit.amount_fen, 0)]
    return rows


def _json(found: dict[str, Any]) -> Answer:
    return 200, "application/json", json.dumps(found, ensure_ascii=False).encode()


def _problem(status: int, code: str, message: str) -> Answer:
    return (
        status,
        "application/json",
        json.dumps({"code": code, "message": message}, ensure_ascii=False).encode(),
    )
