"""What a manager sees and does, in a real browser."""

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browsing import (
    chromium,
    complaints,
    hosts_asked,
    log_in,
    narrow,
    one,
    open_all,
    press,
    seen,
    shoot,
    tab_to,
    text_of,
    too_wide,
    violations,
    wait_for,
)
from cubicweb_leakdemo.runner.instance import HOST
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sites import Site, Visitor, ctl

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

DASHBOARD = "?vid=leakwatch"
PAGES = {"dashboard": DASHBOARD, "gc": "?vid=gc", "gc-scheduler": "?vid=gc&process=scheduler"}
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
LEAKED_PAGES = 40
"""Of about 250 kB each, which the worker that shows them keeps."""


@pytest.fixture(scope="module")
def manager(browser: WebDriver, site: Site) -> WebDriver:
    """Log in as the manager."""
    return log_in(browser, site.address)


@pytest.fixture(scope="module", autouse=True)
def pictures(manager: WebDriver, site: Site) -> Iterator[None]:
    """When all is over the site has a history and restarts: show it with a leak that is found, for the manual.

    That takes minutes, which only ``make screenshots`` has (LEAKWATCH_PICTURES).
    """
    yield
    if os.environ.get("LEAKWATCH_PICTURES"):
        leak_on(site)
        manager.get(site.address + DASHBOARD)
        shoot(manager, "dashboard")
        open_all(manager)
        shoot(manager, "findings", "#lw-findings article")


def leak_on(site: Site) -> None:
    """Let the scheduler begin again, and leak until that is found."""
    settings = site.instance.home / "etc" / site.instance.name / "all-in-one.conf"
    settings.write_text(re.sub(r"(?m)^(leakdemo-poll-at-most)=.*$", r"\1=1000000", settings.read_text()))
    assert ctl(site.instance, "leak-restart", site.instance.name, "--process", "scheduler", "--wait").returncode == 0
    site.wait_for(lambda: "scheduler" in leaking(site), "the leak in the scheduler", timeout_s=540, every_s=5.0)


def leaking(site: Site) -> set[str]:
    """Return the names of the processes that leak now, by the dashboard's findings."""
    findings = panel(site, "findings")["data"]
    return {found["process"] for found in findings if found["leak"] and not found.get("closed_at")}


@pytest.fixture(scope="module")
def hostile(site: Site) -> float:
    """Record a snapshot whose note means harm; return the moment after it (Unix seconds)."""
    assert ctl(site.instance, "leak-snapshot", site.instance.name, "--note", HOSTILE).returncode == 0
    return time.time()


def panel(site: Site, name: str) -> dict[str, Any]:
    """Return the JSON twin of a panel."""
    import json

    return dict(json.loads(Visitor(site.address).log_in().get(f"/_leakwatch/{name}.json").text))


def test_the_gc_page_shows_the_leak_in_the_scheduler(manager: WebDriver, site: Site) -> None:
    """Handler, count and keeper stand on the page of the scheduler, as leak-gc has them."""
    text = text_of(manager, site.address + PAGES["gc-scheduler"])
    assert "mercurial.url.httphandler" in text
    assert "2,000" in text
    assert "cubicweb_leakdemo.polling.POLLER.handlers" in text
    shoot(manager, "gc-scheduler")


def test_the_gc_tab_of_siteinfo_is_ours(manager: WebDriver, site: Site) -> None:
    """The tab that CubicWeb had shows the new page."""
    manager.get(site.address + "siteinfo")
    wait_for(manager, lambda: one(manager, "a[href*='gc']"), "the tab").click()
    wait_for(manager, lambda: "garbage" in seen(manager).lower(), "the page in the tab")
    assert "scheduler" in seen(manager)


def test_the_dashboard_shows_processes_and_a_chart(manager: WebDriver, site: Site, hostile: float) -> None:
    """Every process of the instance, and the recorded memory as a picture with a title."""
    text = text_of(manager, site.address + DASHBOARD)
    assert all(name in text for name in ("web-1", "web-2", "scheduler"))
    assert one(manager, "svg.lw-chart[role='img'] title").get_attribute("textContent")
    shoot(manager, "dashboard")
    shoot(manager, "dashboard-verdict", "#lw-verdict")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_accessible_and_asks_nobody_else(manager: WebDriver, site: Site, page: str, hostile: float) -> None:
    """No serious violation for axe-core with all unfolded, no error of a script, no request to another host."""
    hosts_asked(manager), complaints(manager)
    manager.get(site.address + PAGES[page])
    open_all(manager)
    assert violations(manager) == []
    assert complaints(manager) == []
    assert hosts_asked(manager) == {HOST}


@pytest.mark.parametrize("page", PAGES)
def test_a_telephone_shows_a_page_without_scrolling_sideways(manager: WebDriver, site: Site, page: str) -> None:
    """320 pixels are enough; wide tables scroll by themselves."""
    with narrow(manager):
        manager.get(site.address + PAGES[page])
        open_all(manager)
        assert too_wide(manager) == []
        assert one(manager, ".lw-page").size["width"] >= 250
        shoot(manager, f"{page}-320")


def test_hostile_words_are_text(manager: WebDriver, site: Site, hostile: float) -> None:
    """The note of a snapshot does nothing: it is read."""
    manager.get(f"{site.address}{DASHBOARD}&from={hostile - 3600:.0f}&to={hostile + 1:.0f}")
    open_all(manager)
    assert HOSTILE in one(manager, "#lw-snapshots").get_attribute("textContent")
    assert manager.execute_script("return window.hacked") is None


A_SNAPSHOT = """
var svg = arguments[0], points = svg.querySelector(".lw-series").getAttribute("data-points").trim().split(/\\s+/);
var of = function (name) { return Number(svg.getAttribute("data-" + name)); };
var share = (Number(points[points.length >> 1].split(":")[0]) - of("from")) / (of("to") - of("from"));
var x = of("left") + share * (of("right") - of("left"));
return (x / svg.viewBox.baseVal.width - 0.5) * svg.getBoundingClientRect().width;
"""
"""How many pixels from the middle of a chart a snapshot lies, which has a value to tell."""


def test_values_are_told_under_the_pointer_and_a_drag_zooms(manager: WebDriver, site: Site) -> None:
    """The server is asked for the narrower time: it is in the address, and the way back works."""
    manager.get(site.address + DASHBOARD)
    plot = one(manager, "svg.lw-chart")
    manager.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    offset = round(manager.execute_script(A_SNAPSHOT, plot))
    ActionChains(manager).move_to_element_with_offset(plot, offset, 0).perform()
    assert "MiB" in one(manager, ".lw-values").text
    ActionChains(manager).move_to_element_with_offset(plot, -100, 0).click_and_hold().move_by_offset(
        150, 0
    ).release().perform()
    wait_for(manager, lambda: "from=" in manager.current_url, "the zoom")
    wait_for(manager, lambda: not manager.find_elements(By.CSS_SELECTOR, "[aria-busy]"), "the chart")
    assert manager.find_elements(By.CSS_SELECTOR, "svg.lw-chart") or "Nothing was recorded" in seen(manager)
    manager.back()
    wait_for(manager, lambda: one(manager, "a[aria-current='true']").text == "24 hours", "the whole day again")


def test_the_keyboard_reaches_all_that_the_pointer_does(manager: WebDriver, site: Site) -> None:
    """Arrow keys tell values, Shift chooses a time, Enter zooms, a header sorts, a button restarts."""
    manager.get(site.address + DASHBOARD)
    tab_to(manager, ".lw-plot")
    press(manager, Keys.END)
    assert "MiB" in one(manager, ".lw-values").text
    shoot(manager, "chart-values", "#lw-chart")
    ActionChains(manager).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT * 5).key_up(Keys.SHIFT).perform()
    press(manager, Keys.ENTER)
    wait_for(manager, lambda: "from=" in manager.current_url, "the zoom")
    wait_for(manager, lambda: manager.execute_script("return document.activeElement.matches('.lw-plot')"), "the focus")
    tab_to(manager, "#lw-processes .lw-sort")
    press(manager, Keys.ENTER)
    assert one(manager, "#lw-processes th[aria-sort]").get_attribute("aria-sort") == "descending"
    tab_to(manager, "#lw-processes form[action*='leakwatch-restart'] button")


def test_a_finding_is_copied_as_text(manager: WebDriver, site: Site) -> None:
    """The evidence, and what one pastes into a ticket."""
    site.wait_for(
        lambda: {found["kind"] for found in panel(site, "findings")["data"]} - {"not-enough-data"}, "a finding"
    )
    manager.get(site.address + DASHBOARD)
    open_all(manager)
    findings = one(manager, "#lw-findings")
    assert "Confidence" in findings.text
    one(manager, "#lw-findings .lw-copy").click()
    wait_for(manager, lambda: one(manager, "#lw-findings .lw-copy").text == "Copied", "the copy")
    shoot(manager, "findings", "#lw-findings article")


def test_from_the_dashboard_to_the_holder_to_a_restart_to_the_flat_line(manager: WebDriver, site: Site) -> None:
    """The walk of an operator: who is big, what keeps it, replace it with every stage told, and it stays small."""
    visitor = Visitor(site.address)
    for revision in range(LEAKED_PAGES):
        assert visitor.get(f"/?vid=leakdemo-changeset&revision={revision}").status == 200
    before = site.ask("leak-status", "--process", "web-1")["processes"][0]
    manager.get(site.address + DASHBOARD)
    one(manager, "#lw-processes a[href*='process=scheduler']").click()
    wait_for(manager, lambda: "cubicweb_leakdemo.polling.POLLER.handlers" in seen(manager), "the holder")
    manager.get(site.address + DASHBOARD)
    one(manager, "form[action*='leakwatch-restart'] button[aria-label='Restart web-1']").click()
    wait_for(manager, lambda: one(manager, ".lw-steps [aria-current='step']"), "the first stage")
    shoot(manager, "restart-stages", "#lw-restarts")
    wait_for(manager, lambda: "web-1: replaced, requests lost: 0." in seen(manager), "the end of the restart")
    shoot(manager, "restart-done", "#lw-restarts")
    for _snapshot in range(3):
        assert ctl(site.instance, "leak-snapshot", site.instance.name).returncode == 0
    (after,) = site.ask("leak-status", "--process", "web-1")["processes"]
    assert after["pid"] != before["pid"]
    samples = [s["rss"] for s in panel(site, "chart")["data"] if s["pid"] == after["pid"]]
    assert samples
    assert max(samples) - min(samples) < 0.1 * max(samples)


def test_without_a_script_the_pages_work(
    needs_program: Callable[[str, str], str], tmp_path: Any, site: Site, hostile: float
) -> None:
    """The chart, its numbers, another time, a comparison of snapshots, a snapshot by a button."""
    off = {"profile.managed_default_content_settings.javascript": 2}
    with chromium(needs_program, tmp_path, **off) as browser:
        log_in(browser, site.address)
        browser.get(site.address + DASHBOARD)
        assert not browser.find_elements(By.CSS_SELECTOR, ".lw-script, .lw-sort")
        assert one(browser, "svg.lw-chart").is_displayed()
        one(browser, "#lw-chart nav a[href*='span=1h']").click()
        assert one(browser, "#lw-chart nav a[aria-current='true']").text == "1 hour"
        one(browser, "#lw-growth form button").click()
        assert "a=" in browser.current_url
        one(browser, "form[action*='leakwatch-snapshot'] button").click()
        assert "snapshots recorded" in seen(browser)
        shoot(browser, "without-script")


def test_the_pages_read_french(needs_program: Callable[[str, str], str], tmp_path: Any, site: Site) -> None:
    """For a browser that prefers French: words, numbers, dates, the language said to a screen reader."""
    with chromium(needs_program, tmp_path, "--lang=fr", **{"intl.accept_languages": "fr,fr-FR"}) as browser:
        log_in(browser, site.address)
        text = text_of(browser, site.address + DASHBOARD)
        for told in ("Mémoire enregistrée", "Remplacements et déploiements", "Ce qui croît", "Réglages et coût"):
            assert told in text
        assert one(browser, ".lw-page").get_attribute("lang") == "fr"
        assert violations(browser) == []
        shoot(browser, "dashboard-fr")
        assert "2\u202f000" in text_of(browser, site.address + PAGES["gc-scheduler"])


def test_who_is_no_manager_sees_no_page(needs_program: Callable[[str, str], str], tmp_path: Any, site: Site) -> None:
    """The refusal is a page, too."""
    visitor = Visitor(site.address)
    for path in (*PAGES.values(), "_leakwatch/processes.json"):
        page = visitor.get(f"/{path}")
        assert "web-1" not in page.text
