"""Alipay's open gateway as its documents describe it: requests, signed answers, calls and the day statement."""

from __future__ import annotations

import io
import json
import re
import urllib.parse
import zipfile
from datetime import date, datetime
from typing import Any, Final

from cloud.outside.paysim import keys
from cloud.outside.paysim.book import MARKET, Book, Edit, Trade, market_text

_COLUMNS: Final = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,退款批次号/请求号,服务费（元）,备注"
)


class Alipay:
    """The provider's side."""

    def __init__(self, book: Book, held: keys.Keys, base: str) -> None:
        self._book, self._keys, self._base = book, held, base

    def answer(self, query: str) -> bytes:
        """Answer a gateway request, signed; a request that is not the app's gets an error."""
        asked = self._asked(query)
        if asked is None:
            return _unsigned("40002", "isv.invalid-signature")
        method, content = asked["method"], json.loads(asked.get("biz_content", "{}"))
        known = {
            "alipay.trade.precreate": self._precreate,
            "alipay.trade.query": self._query,
            "alipay.trade.close": self._close,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._refund_query,
            "alipay.data.dataservice.bill.downloadurl.query": self._bill,
        }
        if method not in known:
            return _unsigned("40004", "isv.invalid-method")
        found = json.dumps(known[method](content, asked), ensure_ascii=False, separators=(",", ":"))
        name = method.replace(".", "_") + "_response"
        signature = keys.sign(self._keys.alipay, found)
        return f'{{"{name}":{found},"sign":"{signature}"}}'.encode()

    def page(self, query: str) -> Trade | None:
        """Open the trade of a signed page address (wap, page); None when the address is not the app's."""
        asked = self._asked(query)
        if asked is None or asked.get("method") not in ("alipay.trade.wap.pay", "alipay.trade.page.pay"):
            return None
        content = json.loads(asked.get("biz_content", "{}"))
        return self._book.open(_trade(content, asked))

    def call(self, trade: Trade, step: str, notify_id: str) -> tuple[dict[str, str], bytes]:
        """Make a call about a paid trade; `step` says what is wrong with it."""
        assert trade.paid_at is not None
        fields = {
            "app_id": "2021000000009999" if step == "other_app" else keys.ALIPAY_APP_ID,
            "seller_id": "2088999999999999" if step == "other_seller" else keys.ALIPAY_SELLER_ID,
            "notify_type": "trade_status_sync",
            "notify_id": notify_id,
            "notify_time": market_text(
                datetime.fromtimestamp(self._book.now().timestamp() - (400 if step == "stale" else 0), MARKET)
            ),
            "charset": "utf-8",
            "version": "1.0",
            "trade_no": trade.transaction_id,
            "out_trade_no": trade.order_no,
            "trade_status": "TRADE_SUCCESS",
            "total_amount": _yuan(trade.amount_fen + (step == "other_amount")),
            "buyer_logon_id": "159****5620",
            "subject": trade.subject,
            "gmt_payment": market_text(trade.paid_at),
        }
        key = self._keys.stranger if step in ("forged", "other_serial") else self._keys.alipay
        sign = keys.sign(key, "&".join(f"{name}={value}" for name, value in sorted(fields.items())))
        if step == "tampered":
            fields["total_amount"] = _yuan(trade.amount_fen * 100)
        body = urllib.parse.urlencode(fields | {"sign": sign, "sign_type": "RSA2"}).encode()
        return {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body

    def bill_file(self, token: str) -> bytes:
        """The ZIP of a day's statement."""
        day = date.fromisoformat(token)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            name = f"{keys.ALIPAY_SELLER_ID}_{day:%Y%m%d}"
            archive.writestr(f"{name}_业务明细(汇总).csv", "#汇总\r\n".encode("gb18030"))
            archive.writestr(f"{name}_业务明细.csv", self._bill_text(day).encode("gb18030"))
        return out.getvalue()

    def _asked(self, query: str) -> dict[str, str] | None:
        fields = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        sign = fields.pop("sign", "")
        text = "&".join(f"{name}={value}" for name, value in sorted(fields.items()))
        is_ours = fields.get("app_id") == keys.ALIPAY_APP_ID and keys.is_signed(
            self._keys.alipay_app, text, sign
        )
        return fields if is_ours else None

    def _precreate(self, content: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        trade = self._book.open(_trade(content, asked))
        if trade is None:
            return _failed("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改")
        return _done(out_trade_no=trade.order_no, qr_code=f"{self._base}/pay/alipay/{trade.order_no}")

    def _query(self, content: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        trade = self._book.find("alipay", content["out_trade_no"])
        if trade is None:
            return _failed("ACQ.TRADE_NOT_EXIST", "交易不存在")
        states = {"open": "WAIT_BUYER_PAY", "paid": "TRADE_SUCCESS", "closed": "TRADE_CLOSED"}
        found = _done(
            out_trade_no=trade.order_no,
            trade_status=states[trade.state],
            total_amount=_yuan(trade.amount_fen),
        )
        if trade.paid_at is not None:
            found |= {
                "trade_no": trade.transaction_id,
                "send_pay_date": market_text(trade.paid_at),
                "buyer_logon_id": "159****5620",
            }
        return found

    def _close(self, content: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        trade = self._book.close("alipay", content["out_trade_no"])
        if trade is None:
            return _failed("ACQ.TRADE_NOT_EXIST", "交易不存在")
        if trade.state == "paid":
            return _failed("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        return _done(out_trade_no=trade.order_no)

    def _refund(self, content: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        trade = self._book.find_paid("alipay", content.get("trade_no", ""))
        if trade is None:
            return _failed("ACQ.TRADE_NOT_EXIST", "交易不存在")
        is_new = content["out_request_no"] not in trade.refunds
        if not self._book.refund(trade, content["out_request_no"], _fen(content["refund_amount"])):
            return _failed("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")
        return _done(trade_no=trade.transaction_id, fund_change="Y" if is_new else "N")

    def _refund_query(self, content: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        trade = self._book.find_paid("alipay", content.get("trade_no", ""))
        number = content["out_request_no"]
        if trade is None or number not in trade.refunds:
            return _done()
        return _done(
            out_request_no=number,
            refund_status="REFUND_SUCCESS",
            refund_amount=_yuan(trade.refunds[number][0]),
        )

    def _bill(self, content: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        day = content["bill_date"]
        if not self._bill_rows(date.fromisoformat(day)):
            return _failed("isp.bill_not_exist", "账单不存在")
        return _done(bill_download_url=f"{self._base}/alipay-bill/{day}")

    def _bill_text(self, day: date) -> str:
        rows = ["\t,".join(row) + "\t" for row in self._bill_rows(day)]
        head = ["#支付宝业务明细查询", f"#账号：[{keys.ALIPAY_SELLER_ID}]", f"#起始日期：[{day}]", _COLUMNS]
        return "\r\n".join([*head, *rows, "#业务明细列表结束", ""])

    def _bill_rows(self, day: date) -> list[list[str]]:
        paid, refunded, edits = self._book.day("alipay", day)
        rows = [
            _row(trade.paid_at, trade.order_no, trade.transaction_id, trade.amount_fen, fee_fen=trade.fee_fen)
            for trade in paid
            if trade.paid_at is not None
        ]
        rows += [
            _row(at, trade.order_no, trade.transaction_id, -fen, refund_no=number)
            for trade, number, fen, at in refunded
        ]
        return _edited(rows, edits, day)


def _trade(content: dict[str, Any], asked: dict[str, str]) -> Trade:
    return Trade(
        "alipay",
        content["out_trade_no"],
        _fen(content["total_amount"]),
        content["subject"],
        asked.get("notify_url", ""),
        asked.get("return_url", ""),
    )


def _row(
    at: datetime, order_no: str, trade_no: str, fen: int, *, fee_fen: int = 0, refund_no: str = ""
) -> list[str]:
    kind = "退款" if refund_no else "交易"
    return [
        *(trade_no, order_no, kind, "电费", market_text(at), market_text(at), "", "", "", "", "159****5620"),
        *(_yuan(fen), _yuan(fen), refund_no, _yuan(-fee_fen), ""),
    ]


def _edited(rows: list[list[str]], edits: tuple[Edit, ...], day: date) -> list[list[str]]:
    for edit in edits:
        mine = [row for row in rows if edit.reference in (row[0], row[13])]
        if edit.op == "drop":
            rows = [row for row in rows if row not in mine]
        elif edit.op == "twice":
            rows = rows + mine
        elif edit.op == "amount":
            for row in mine:
                row[11] = _yuan(-edit.amount_fen if row[2] == "退款" else edit.amount_fen)
        else:
            noon = datetime(day.year, day.month, day.day, 12, tzinfo=MARKET)
            rows = [*rows, _row(noon, edit.order_no, edit.reference, edit.amount_fen)]
    return rows


def _yuan(fen: int) -> str:
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def _fen(yuan: str) -> int:
    found = re.fullmatch(r"(\d+)(?:\.(\d{1,2}))?", str(yuan))
    return int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0")) if found else -1


def _done(**facts: str) -> dict[str, Any]:
    return {"code": "10000", "msg": "Success", **facts}


def _failed(sub_code: str, message: str) -> dict[str, Any]:
    return {"code": "40004", "msg": "Business Failed", "sub_code": sub_code, "sub_msg": message}


def _unsigned(code: str, sub_code: str) -> bytes:
    return json.dumps(
        {"error_response": {"code": code, "msg": "Invalid Arguments", "sub_code": sub_code}}
    ).encode()
