"""The tariff designer, the bench and the comparison in a real Chromium: painting, progress, two persons, both languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from pages import tariff_world, world
from pages.site import Site
from pages.test_browser import DESKTOP, FLAGS, PHONE, Visitor
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PACKAGES: Final = f"/accounts/{world.WORKSHOP}/packages"


@pytest.fixture(scope="module")
def browser(program: Callable[[str], Path]) -> Iterator[Browser]:
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(program("chromium")), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module", autouse=True)
def tariffs(site: Site) -> None:
    tariff_world.add(site.world.dsn)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    visitors: list[Visitor] = []

    def open_window(size: tuple[int, int] = DESKTOP) -> Visitor:
        visitors.append(Visitor(browser, site, size))
        visitors[-1].page.set_default_timeout(10_000)
        return visitors[-1]

    yield open_window
    for visitor in visitors:
        visitor.context.close()
    assert [line for visitor in visitors for line in visitor.said] == []
    assert [url for visitor in visitors for url in visitor.elsewhere] == []


def start(page: Page, site: Site, copy: str, title: str) -> None:
    page.goto(f"{site.base}/tariffs")
    page.fill("#title", title)
    page.select_option("#origin", copy)
    page.click("form.stack button.first")
    page.wait_for_url("**/tariffs/drafts/*")


def test_a_tariff_goes_from_draft_to_publication(site: Site, visit: Callable[..., Visitor]) -> None:
    author, reviewer = visit(), visit()
    page = author.sign_in("staff")
    start(page, site, "jibei-transmission@1", "容量电价试验")
    body = page.input_value("#body")

    page.fill("#body", body.replace('"23.6"', "23.6"))
    page.click("text=保存并检查")
    expect(page.locator(".problem-line")).to_contain_text("capacity_yuan_per_kva_month")
    page.fill("#body", body.replace('"23.6"', '"24.6"'))
    page.click("text=保存并检查")
    expect(page.locator(".problem-line")).to_have_count(0)
    expect(page.locator(".diff")).to_contain_text('+capacity_yuan_per_kva_month = "24.6"')
    draft = page.url

    page.fill("#first", "2026-08")
    page.fill("#last", "2026-08")
    page.click("text=运行试算")
    page.wait_for_url("**/tariffs/benches/*")
    expect(page.locator("progress")).to_have_attribute("value", "0")
    tariff_world.work(site.world.dsn)
    expect(page.locator("#losers")).to_have_text("1", timeout=8000)  # the page looks by itself
    page.click(f"text={world.WORKSHOP} >> nth=0")
    expect(page.locator("tbody").first).to_contain_text("+800.00")

    page.goto(draft)
    expect(page.locator("#publish-hint")).to_contain_text("另一位员工")
    expect(page.locator("#publish")).to_have_count(0)
    other = reviewer.sign_in("second")
    other.goto(draft)
    other.click("#publish")
    expect(other.locator(".chip.ok").first).to_have_text("已发布")
    other.goto(f"{site.base}/tariffs")
    expect(other.locator("body")).to_contain_text("jibei-transmission@2")


def test_painting_a_calendar_writes_its_hours(site: Site, visit: Callable[..., Visitor]) -> None:
    page = visit().sign_in("staff")
    start(page, site, "jibei-tou@2", "时段试验")
    summer = page.locator(".season").first
    cells = summer.locator(".paint-grid span")
    expect(cells).to_have_count(96)
    expect(cells.nth(72)).to_have_class("tip")  # 18:00

    page.click(".brush[data-period=tip]")
    cells.nth(68).scroll_into_view_if_needed()
    box, end = cells.nth(68).bounding_box(), cells.nth(71).bounding_box()
    assert box is not None
    assert end is not None
    page.mouse.move(box["x"] + 2, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["x"] + 2, end["y"] + 5, steps=12)
    page.mouse.up()

    assert summer.locator("input[data-period=tip]").input_value() == "17:00-21:00"
    page.click("text=保存时段")
    expect(page.locator(".diff")).to_contain_text('+tip = ["17:00-21:00"]')
    expect(page.locator(".problem-line")).to_have_count(0)


def test_a_customer_compares_packages_and_shifts_energy(site: Site, visit: Callable[..., Visitor]) -> None:
    page = visit().sign_in("yunling")
    page.goto(site.base + PACKAGES)
    if not page.locator("#verdict").count():
        pytest.skip("August 2026, the month with published prices, is more than a year ago")
    before = page.locator("tr.today td.num").first.inner_text()

    page.evaluate("window.notReloaded = true")
    page.locator("#shift").fill("20")
    expect(page.locator("#shift-now")).to_have_text("20")
    expect(page.locator("tr.today td.num").first).not_to_have_text(before)

    assert page.evaluate("window.notReloaded") is True


def test_pages_fit_and_are_silent(site: Site, visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.sign_in("staff")
    start(page, site, "jibei-agency-2026-08@1", "价格表试验")
    draft = page.url.removeprefix(site.base)

    for language, (width, height) in (("zh", DESKTOP), ("en", DESKTOP), ("zh", PHONE), ("en", PHONE)):
        page.set_viewport_size({"width": width, "height": height})
        for path in ("/tariffs", "/tariffs/files/jibei-agency-2026-08/1", draft, PACKAGES):
            visitor.go(f"{path}?lang={language}")
            assert visitor.overflow() <= 0, (path, width)
