"""The pages in a real headless Chromium against a real server and database.

Every page opened here must end without a word in the console, without a request to another host, and without a
horizontal scroll bar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final

import psycopg
import pypdfium2
import pytest
from pages import world
from pages.site import Site
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

FLAGS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1280, 860), (390, 844)
PAGES: Final = {
    "yunling": (
        f"/accounts/{world.WORKSHOP}/live",
        f"/accounts/{world.SHOP}/live",
        f"/accounts/{world.SOLAR}/live",
        f"/accounts/{world.WORKSHOP}/months/2026-08",
        f"/accounts/{world.WORKSHOP}/months/2026-02",
        f"/accounts/{world.WORKSHOP}/days/2026-08-11",
        f"/accounts/{world.WORKSHOP}/days/2026-02-01",
        f"/accounts/{world.WORKSHOP}/bills",
        f"/accounts/{world.SHOP}/bills",
        "/bills/{bill_id}",
        "/accounts",
        "/docs",
    ),
    "zhou": (f"/accounts/{world.HOME}/live",),
    "staff": (
        "/fleet",
        "/gateways/GW002",
        "/gateways/GW003",
        "/accounts",
        "/field",
        "/bills/{draft_bill_id}",
    ),
    "tech": ("/field", "/gateways/GW001"),
}

# What the bill's lines must be, computed by hand from the published table of 2026-08 (tariffs-and-settlement 5.3):
# 尖峰 20,000 x (0.398598 x 2.04 - 0.012885) = 16,005.0984; 线损 115,000 x 0.011778; 输配 115,000 x 0.1365;
# 容量 800 kVA x 23.6.
BY_HAND: Final = ("16,005.10", "1,354.47", "15,697.50", "18,880.00")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright, program: Callable[[str], Path]) -> Iterator[Browser]:
    opened = playwright.chromium.launch(executable_path=str(program("chromium")), args=FLAGS)
    yield opened
    opened.close()


class Visitor:
    """A browser window that notes what must not happen."""

    def __init__(self, browser: Browser, site: Site, size: tuple[int, int]) -> None:
        self.site = site
        width, height = size
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            is_mobile=size == PHONE,
            has_touch=size == PHONE,
            accept_downloads=True,
        )
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{self.page.url}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"{self.page.url}: {error}"))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((self.site.base, "data:", "blob:")):
            self.elsewhere.append(url)

    def go(self, path: str) -> Page:
        self.page.goto(self.site.base + path)
        return self.page

    def sign_in(self, login: str) -> Page:
        page = self.go("/login")
        page.fill("#login", login)
        page.fill("#password", world.PASSWORD)
        page.click("button.first")
        page.wait_for_url(lambda url: "/login" not in url)
        return page

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        wider = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return int(wider)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def open_window(size: tuple[int, int] = DESKTOP) -> Visitor:
        visitors.append(Visitor(browser, site, size))
        return visitors[-1]

    yield open_window
    for visitor in visitors:
        visitor.context.close()
    assert [line for visitor in visitors for line in visitor.said] == []
    assert [url for visitor in visitors for url in visitor.elsewhere] == []


def test_a_live_value_changes_without_reload(site: Site, visit: Callable[..., Visitor]) -> None:
    page = visit().sign_in("yunling")
    page.goto(f"{site.base}/accounts/{world.WORKSHOP}/live")
    page.evaluate("window.notReloaded = true")
    streams = site.app.state.hub
    page.wait_for_function("document.querySelector('#curve canvas') !== null")
    _until(page, lambda: streams.streams == 1)

    with psycopg.connect(site.world.dsn) as conn:  # 123.4 W at the face x 2,000 = 246.8 kW
        world.live(conn, site.world.workshop_meter_key, datetime.now(UTC), 1234)  # noqa: TID251

    expect(page.locator("#power-value")).to_have_text("246.8", timeout=5000)
    expect(page.locator("#power-now .chip")).to_have_class("chip live")
    with psycopg.connect(site.world.dsn) as conn:
        world.live(conn, site.world.workshop_meter_key, datetime.now(UTC), 1500)  # noqa: TID251
    expect(page.locator("#power-value")).to_have_text("300.0", timeout=5000)
    expect(page.locator("#phases-now")).to_contain_text("230.12")
    assert page.evaluate("window.notReloaded") is True

    page.goto(f"{site.base}/accounts/{world.WORKSHOP}/bills")
    _until(page, lambda: streams.streams == 0)


def test_the_curve_of_a_single_sample_names_the_time_of_that_sample(
    site: Site, visit: Callable[..., Visitor]
) -> None:
    """A page just opened has one sample, and one whose meter went silent keeps it: the axis is still its minute."""
    visitor = visit()
    visitor.sign_in("yunling")
    visitor.context.add_init_script(
        """window.written = [];
        const write = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
          window.written.push(text);
          return write.call(this, text, ...rest);
        };"""
    )
    page = visitor.go(f"/accounts/{world.WORKSHOP}/live")
    page.wait_for_function("document.querySelector('#curve canvas') !== null && written.length > 0")

    times = [text for text in page.evaluate("written") if re.fullmatch(r"\d\d:\d\d:\d\d", text)]
    taken_ms = int(page.locator("#power-now").get_attribute("data-taken-ms") or 0)
    last = datetime.fromtimestamp(taken_ms / 1000, world.BEIJING)

    assert len(set(times)) > 1
    assert all(last - timedelta(seconds=61) <= _at(last, each) <= last for each in times)


def test_an_old_sample_says_so_and_turns_old_before_ones_eyes(
    site: Site, visit: Callable[..., Visitor]
) -> None:
    now = datetime.now(UTC)  # noqa: TID251  # against the server's own clock
    with psycopg.connect(site.world.dsn) as conn:
        row = conn.execute("SELECT meter_key FROM meter WHERE meter_id = 'M0002'").fetchone()
        assert row
        world.live(conn, row[0], now - timedelta(seconds=27), 80_000)
    page = visit().sign_in("yunling")

    page.goto(f"{site.base}/accounts/{world.SHOP}/live")

    chip = page.locator("#power-now .chip")
    expect(chip).to_have_class("chip stale", timeout=8000)
    expect(chip).to_contain_text("数据陈旧")
    page.goto(f"{site.base}/accounts/{world.SHOP}/live")
    expect(page.locator("#power-now .note")).to_be_visible()


def test_a_meter_that_never_answered_shows_no_number(visit: Callable[..., Visitor]) -> None:
    page = visit().sign_in("zhou")

    expect(page).to_have_url(re.compile(world.HOME))
    expect(page.locator("#power-value")).to_have_text("无数据")
    expect(page.locator("#power-now .chip")).to_have_text("缺失")


def test_todays_bars_are_coloured_by_period_and_readable_without_colour(
    site: Site, visit: Callable[..., Visitor]
) -> None:
    page = visit().sign_in("yunling")

    page.goto(f"{site.base}/accounts/{world.WORKSHOP}/days/2026-08-11")

    # August (冀发改能价〔2025〕1275号): 谷 0-7 and 23-24, 平 7-10 …, 峰 10-12 …, 尖 18-21.
    fills = page.eval_on_selector_all(
        "#day-chart .slot", "slots => slots.map(slot => slot.querySelector('rect').getAttribute('fill'))"
    )
    assert len(fills) == 96
    assert (fills[0], fills[30], fills[40], fills[72], fills[95]) == (
        "url(#pat-valley)",
        "url(#pat-flat)",
        "url(#pat-peak)",
        "url(#pat-tip)",
        "url(#pat-valley)",
    )
    assert fills[20:23] == ["url(#pat-gap)"] * 3
    page.focus("#day-chart")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#day-readout")).to_contain_text("00:30–00:45 低谷")
    page.locator("details.more summary").click()
    assert page.locator("details.more tbody tr").count() == 96


def test_a_bill_opens_explains_itself_and_its_pdf_has_the_amounts(
    site: Site, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    page = visit().sign_in("yunling")
    page.goto(f"{site.base}/accounts/{world.WORKSHOP}/bills")

    page.click("a.row")
    expect(page).to_have_url(f"{site.base}/bills/{site.world.bill_id}")
    for amount in BY_HAND:
        expect(page.locator(".charges")).to_contain_text(amount)
    page.locator("details.how summary").first.click()
    how = page.locator("details.how[open] .how-in")
    for part in ("0.398598", "2.04", "16,005.10", "冀发改能价〔2025〕1275号"):
        expect(how).to_contain_text(part)
    with page.expect_download() as waiting:
        page.click("#take-pdf")
    waiting.value.save_as(tmp_path / "bill.pdf")

    pdf = pypdfium2.PdfDocument(tmp_path / "bill.pdf")
    text = "".join(pdf[number].get_textpage().get_text_range() for number in range(len(pdf)))
    pdf.close()
    total = page.locator("#bill-total").inner_text().split()[0]
    assert all(amount in text for amount in (*BY_HAND, total.rstrip("元")))
    with page.expect_download() as waiting:
        page.click("#take-json")
    assert waiting.value.suggested_filename == f"bill-{world.WORKSHOP}-2026-08.json"


def test_another_customers_bill_is_not_found(site: Site, visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.sign_in("yunling")

    answer = page.goto(f"{site.base}/bills/{site.world.foreign_bill_id}")

    assert answer
    assert answer.status == 404
    expect(page.locator("h1")).to_have_text("没有找到")
    assert "Failed to load resource" in visitor.said.pop()  # the browser's own note of the 404
    page.click("a.button.first")
    expect(page).to_have_url(f"{site.base}/accounts")


@pytest.mark.parametrize(
    ("size", "language"),
    [(DESKTOP, "zh"), (PHONE, "zh"), (PHONE, "en")],
    ids=["desktop-zh", "phone-zh", "phone-en"],
)
def test_every_page_fits_the_window_in_both_languages(
    site: Site, visit: Callable[..., Visitor], size: tuple[int, int], language: str
) -> None:
    too_wide = []
    for login, paths in PAGES.items():
        visitor = visit(size)
        visitor.sign_in(login)
        for path in paths:
            filled = path.format(bill_id=site.world.bill_id, draft_bill_id=site.world.draft_bill_id)
            page = visitor.go(f"{filled}?lang={language}")
            assert page.locator("h1").count() == 1
            assert page.locator("html").get_attribute("lang") == {"zh": "zh-Hans", "en": "en"}[language]
            if visitor.overflow() > 0:
                too_wide.append(f"{login} {filled} by {visitor.overflow()} px")

    assert too_wide == []


def test_the_language_switch_is_remembered(site: Site, visit: Callable[..., Visitor]) -> None:
    page = visit().sign_in("staff")
    page.click("a.language")
    expect(page.locator("h1")).to_have_text("Fleet")

    page.goto(f"{site.base}/field")

    expect(page.locator("h1")).to_have_text("Field list")


def test_text_and_controls_have_enough_contrast_in_light_and_dark(
    site: Site, visit: Callable[..., Visitor]
) -> None:
    """WCAG 2.2 1.4.3: 4.5:1, or 3:1 for large text; measured on what is drawn on a plain ground."""
    page = visit().sign_in("yunling")
    poor = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        for path in (
            f"/accounts/{world.WORKSHOP}/live",
            f"/bills/{site.world.bill_id}",
            f"/accounts/{world.WORKSHOP}/bills",
        ):
            page.goto(site.base + path)
            poor += [f"{scheme} {path} {found}" for found in page.evaluate(CONTRAST)]

    assert poor == []


CONTRAST: Final = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const light = (c) => c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join("");
    const box = element.getBoundingClientRect();
    if (!text || element.closest("svg, .unseen, .skip, [hidden], .hero") || box.width < 2 || box.height < 2) continue;
    if (!element.checkVisibility()) continue;
    const grounds = []; let picture = false;
    for (let up = element; up; up = up.parentElement) {
      const style = getComputedStyle(up);
      if (style.backgroundImage !== "none") picture = true;
      grounds.push(read(style.backgroundColor));
      if (read(style.backgroundColor)[3] === 1) break;
    }
    if (picture) continue;
    let ground = [255, 255, 255];
    for (const each of grounds.reverse()) ground = over(each, ground);
    const style = getComputedStyle(element);
    const [a, b] = [light(over(read(style.color), ground)), light(ground)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${element.tagName}.${element.className} "${text.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


def _at(day: datetime, clock: str) -> datetime:
    """The instant of that clock time that is nearest to `day`."""
    same_day = datetime.combine(day.date(), time.fromisoformat(clock), day.tzinfo)
    return min((same_day + timedelta(days=n) for n in (-1, 0, 1)), key=lambda each: abs(each - day))


def _until(page: Page, is_so: Callable[[], bool]) -> None:
    """Wait for something of the server's, at most some seconds, letting the browser work meanwhile."""
    for _ in range(60):
        if is_so():
            return
        page.wait_for_timeout(100)
    raise AssertionError("waited six seconds in vain")
