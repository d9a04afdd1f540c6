"""The simulator's HTTP process: gateway of both providers, the page on which a person pays, and a control door.

/v3/…, /gateway.do, /alipay-bill/…      the providers
/pay/{provider}/{order_no}              what a phone shows after scanning: pay, or fail
/control/…                              plan, pay, statement, diary: for tests and the curious; this machine only
"""

from __future__ import annotations

import html
import json
import threading
import urllib.parse
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from cloud.outside.paysim.alipay import Alipay
from cloud.outside.paysim.book import Book, Edit, Trade
from cloud.outside.paysim.calls import Caller
from cloud.outside.paysim.keys import keys_in
from cloud.outside.paysim.wechat import Wechat
from cloud.outside.simserver import Handler, Server

_NAMES: Final = {"wechat": ("微信支付", "WeChat Pay", "#07c160"), "alipay": ("支付宝", "Alipay", "#1677ff")}
_STYLE: Final = """
body{margin:0;background:#ededed;font:17px/1.5 system-ui,sans-serif;color:#111}
main{max-width:22rem;margin:0 auto;min-height:100vh;background:#fff;padding:1.5rem;box-sizing:border-box;text-align:center}
h1{font-size:1.05rem;font-weight:600;color:COLOUR;margin:.5rem 0 2rem}
.sum{font-size:2.6rem;font-weight:700;margin:.5rem 0}.muted{color:#666;font-size:.9rem;overflow-wrap:anywhere}
button,a.go{display:block;width:100%;box-sizing:border-box;border:0;border-radius:.6rem;padding:.9rem;font:inherit;font-weight:600;
margin:.8rem 0;background:COLOUR;color:#fff;text-decoration:none;cursor:pointer}
button.no{background:#f2f2f2;color:#b3261e}.note{margin-top:2rem;font-size:.8rem;color:#777}
"""


class Simulator:
    """Both providers at one address."""

    def __init__(self, folder: Path, address: tuple[str, int], now: Callable[[], datetime]) -> None:
        self.server = _Server(address, self)
        self.base = self.server.base
        held = keys_in(folder, self.base)
        self.stop = threading.Event()
        self.book = Book(folder, now)
        self.wechat = Wechat(self.book, held, self.base)
        self.alipay = Alipay(self.book, held, self.base)
        self.caller = Caller(self.book, self.wechat, self.alipay, self.stop, [], {})

    def run(self) -> None:
        """Serve until `close`."""
        self.server.run()

    def close(self) -> None:
        """Stop serving and calling."""
        self.stop.set()
        self.server.end()
        self.book.shut()

    def pay(self, provider: str, order_no: str) -> Trade | None:
        """Take the money of an order and tell the merchant."""
        trade = self.book.pay(provider, order_no)
        if trade is not None:
            self.caller.paid(trade)
        return trade

    def control(self, what: str, asked: dict[str, Any]) -> object:
        """Carry out a wish of the control door."""
        match what:
            case "plan":
                self.book.plan(asked["provider"], asked.get("order_no", ""), tuple(asked["steps"]))
            case "pay":
                trade = self.pay(asked["provider"], asked["order_no"])
                return {"transaction_id": trade.transaction_id if trade else ""}
            case "statement":
                edits = tuple(Edit(**each) for each in asked["edits"])
                self.book.edit(asked["provider"], date.fromisoformat(asked["day"]), edits)
            case "diary":
                return self.book.diary()
            case _:
                return {"problem": "plan | pay | statement | diary"}
        return {"done": True}


class _Server(Server):
    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        super().__init__(address, _Handler)
        self.simulator = simulator


class _Handler(Handler):
    server: _Server

    def answer(self, method: str, body: bytes) -> None:
        """Answer the merchant, a person who pays, or the control door."""
        route, _, query = self.path.partition("?")
        parts = route.strip("/").split("/")
        try:
            match parts:
                case ["v3", *_]:
                    authorization = self.headers.get("Authorization", "")
                    status, kind, content = self.server.simulator.wechat.answer(
                        method, self.path, authorization, body
                    )
                    self._send(status, kind, content, self.server.simulator.wechat.headers(content))
                case ["gateway.do"]:
                    self._gateway(query)
                case ["alipay-bill", day]:
                    self._send(200, "application/zip", self.server.simulator.alipay.bill_file(day))
                case ["pay", provider, order_no] if method == "GET":
                    self._page(self.server.simulator.book.find(provider, order_no), query)
                case ["pay", provider, order_no, deed] if method == "POST":
                    self._pressed(provider, order_no, deed)
                case ["control", what]:
                    answer = self.server.simulator.control(what, json.loads(body) if body else {})
                    self._send(200, "application/json", json.dumps(answer).encode())
                case _:
                    self._send(404, "text/plain", b"not found")
        except (KeyError, ValueError, TypeError, IndexError) as problem:
            self._send(400, "text/plain", f"{type(problem).__name__}: {problem}".encode())

    def _gateway(self, query: str) -> None:
        trade = self.server.simulator.alipay.page(query)
        if trade is not None:
            self._page(trade, "")
        else:
            self._send(200, "application/json", self.server.simulator.alipay.answer(query))

    def _page(self, trade: Trade | None, query: str) -> None:
        if trade is None:
            self._send(404, "text/html; charset=utf-8", "<p>没有这个订单 · No such order".encode())
            return
        back = dict(urllib.parse.parse_qsl(query)).get("redirect_url", "")
        trade.return_url = back or trade.return_url
        self._send(200, "text/html; charset=utf-8", _page(trade).encode())

    def _pressed(self, provider: str, order_no: str, deed: str) -> None:
        if deed == "pay":
            self.server.simulator.pay(provider, order_no)
        elif deed == "fail":
            self.server.simulator.book.close(provider, order_no)
        trade = self.server.simulator.book.find(provider, order_no)
        target = f"/pay/{provider}/{order_no}" if trade is None or not trade.return_url else trade.return_url
        self.send_response(303)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, status: int, kind: str, content: bytes, extra: dict[str, str] | None = None) -> None:
        self.send(status, content, (extra or {}) | {"Content-Type": kind})


def _page(trade: Trade) -> str:
    zh, en, colour = _NAMES[trade.provider]
    sum_text = f"¥ {trade.amount_fen // 100:,}.{trade.amount_fen % 100:02d}"
    path = f"/pay/{trade.provider}/{trade.order_no}"
    buttons = {
        "open": f"<form method=post action={path}/pay><button>确认支付 · Pay</button></form>"
        f"<form method=post action={path}/fail><button class=no>放弃 · Fail</button></form>",
        "paid": "<p><strong>✓ 支付成功 · Paid</strong></p>",
        "closed": "<p><strong>✗ 已关闭 · Closed</strong></p>",
    }[trade.state]
    if trade.return_url and trade.state != "open":
        buttons += f'<a class=go href="{html.escape(trade.return_url, quote=True)}">返回商家 · Back</a>'
    return (
        f"<!doctype html><html lang=zh-Hans><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{zh} 模拟</title><style>{_STYLE.replace('COLOUR', colour)}</style><main><h1>{zh} · {en} 模拟 simulator</h1>"
        f"<p class=muted>{html.escape(trade.subject)}</p><p class=sum>{sum_text}</p>"
        f"<p class=muted>订单 Order {html.escape(trade.order_no)}</p>{buttons}"
        f"<p class=note>模拟支付，不发生真实资金往来。<br>A simulation: no money moves.</p></main></html>"
    )
