"""Calls to the merchant after a payment: good ones are repeated until they are taken; others are as planned.

A plan is a list of steps: good · wait:SECONDS · parallel:COUNT (good ones at once) · replay (the last call's very bytes)
· tampered · forged · stale · other_app · other_seller · other_amount · other_serial · same_nonce (a used nonce with
another message) · hold (until the next payment, so that calls come in another order). The empty plan never calls.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from cloud.outside.paysim.alipay import Alipay
from cloud.outside.paysim.book import Book, Trade
from cloud.outside.paysim.wechat import Wechat

RETRY_S: Final = (
    0.2,
    0.5,
    *(1.0,) * 60,
    5,
    15,
    30,
    60,
)  # a provider waits longer; a person at a demonstration would not
TIMEOUT_S: Final = 10.0
STEPS_MAX: Final = 20
PARALLEL_MAX: Final = 200


@dataclass(slots=True)
class Caller:
    """Sends what the plans say, each payment in a thread of its own."""

    book: Book
    wechat: Wechat
    alipay: Alipay
    stop: threading.Event
    held: list[Trade]
    last: dict[str, tuple[str, dict[str, str], bytes]]  # by provider: nonce, headers, body

    def paid(self, trade: Trade) -> None:
        """Begin to tell the merchant of a payment."""
        steps = self.book.steps_for(trade)[:STEPS_MAX]
        if "hold" in steps:
            self.held.append(trade)
            return
        self._begin(trade, steps)
        for earlier in tuple(self.held):
            self.held.remove(earlier)
            self._begin(earlier, ("wait:0.3", "good"))

    def _begin(self, trade: Trade, steps: tuple[str, ...]) -> None:
        threading.Thread(target=self._run, args=(trade, steps), daemon=True).start()

    def _run(self, trade: Trade, steps: tuple[str, ...]) -> None:
        for step in steps:
            name, _, number = step.partition(":")
            if name == "wait":
                self.stop.wait(float(number))
            elif name == "parallel":
                threads = [
                    threading.Thread(target=self._until_taken, args=(trade,), daemon=True)
                    for _ in range(min(int(number), PARALLEL_MAX))
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            elif name == "good":
                self._until_taken(trade)
            elif name == "replay":
                _, headers, body = self.last[trade.provider]
                self._send(trade, step, headers, body)
            else:
                self._once(trade, step)

    def _until_taken(self, trade: Trade) -> None:
        for pause_s in (0.0, *RETRY_S):
            if self.stop.wait(pause_s) or self._once(trade, "good"):
                return

    def _once(self, trade: Trade, step: str) -> bool:
        nonce = self.last[trade.provider][0] if step == "same_nonce" else secrets.token_hex(16)
        provider = self.wechat if trade.provider == "wechat" else self.alipay
        headers, body = provider.call(trade, step, nonce)
        if step == "good":
            self.last[trade.provider] = nonce, headers, body
        return self._send(trade, step, headers, body)

    def _send(self, trade: Trade, step: str, headers: dict[str, str], body: bytes) -> bool:
        request = urllib.request.Request(trade.notify_url, body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        status, said = 0, b""
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                status, said = answer.status, answer.read(1000)
        except urllib.error.HTTPError as problem:
            with contextlib.closing(problem):
                status = problem.code
        except (OSError, ValueError):
            status = 0
        self.book.note_call(trade, step, status)
        return 200 <= status < 300 and (trade.provider == "wechat" or said == b"success")
