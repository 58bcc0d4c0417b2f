"""A real browser, and what one does in it: log in, look at a page, press keys, take its picture."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cubicweb_leakdemo.runner.instance import ADMIN, PASSWORD
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
WAIT_S = 150.0
TABS = 250
"""Presses of the Tab key after which something counts as out of the keyboard's reach."""


@contextmanager
def chromium(
    needs_program: Callable[[str, str], str], profile: Path, *arguments: str, **preferences: object
) -> Iterator[WebDriver]:
    """Start Chromium without a screen; ``preferences`` are those of its profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = needs_program("chromium", "chromium")
    usual = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1200,900")
    for argument in (*usual, f"--user-data-dir={profile}", *arguments):
        options.add_argument(argument)
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(needs_program("chromedriver", "chromium-driver")))
    try:
        driver.set_page_load_timeout(240)
        yield driver
    finally:
        driver.quit()


def log_in(browser: WebDriver, address: str) -> WebDriver:
    """Log in as the manager."""
    browser.get(address + "login")
    browser.find_element(By.NAME, "__login").send_keys(ADMIN)
    password = browser.find_element(By.NAME, "__password")
    password.send_keys(PASSWORD)
    password.submit()
    WebDriverWait(browser, WAIT_S).until(lambda driver: "/login" not in driver.current_url)
    return browser


def text_of(browser: WebDriver, address: str) -> str:
    """Return the text that a person sees at ``address``."""
    browser.get(address)
    return seen(browser)


def seen(browser: WebDriver) -> str:
    """Return the text that a person sees now."""
    return str(browser.find_element(By.TAG_NAME, "body").text)


def wait_for(browser: WebDriver, condition: Callable[[], Any], what: str) -> Any:
    """Wait until ``condition()`` gives something; what a fresh panel has replaced meanwhile is looked up again."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

    waiting = WebDriverWait(
        browser, WAIT_S, 0.1, ignored_exceptions=(NoSuchElementException, StaleElementReferenceException)
    )
    return waiting.until(lambda _driver: condition(), f"{what}\n{seen(browser)[:3000]}")


def one(browser: WebDriver, selector: str) -> WebElement:
    """Return the first element that matches."""
    return browser.find_element(By.CSS_SELECTOR, selector)


def tab_to(browser: WebDriver, selector: str) -> None:
    """Press Tab until something that matches has the focus."""
    for _press in range(TABS):
        press(browser, Keys.TAB)
        if browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


def press(browser: WebDriver, *keys: str) -> None:
    """Press keys, one after the other."""
    ActionChains(browser).send_keys(*keys).perform()


def open_all(browser: WebDriver) -> None:
    """Open everything that is folded."""
    browser.execute_script("document.querySelectorAll('.lw-page details').forEach(function (d) { d.open = true; });")


def violations(browser: WebDriver) -> list[str]:
    """Return what axe-core calls serious or critical of the page as it is, and where."""
    browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "var done = arguments[arguments.length - 1];"
        "axe.run(document, {resultTypes: ['violations']}).then(function (told) { done(told.violations); });"
    )
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def too_wide(browser: WebDriver) -> list[str]:
    """Return what reaches beyond the right edge of the window and does not scroll by itself."""
    return list(
        browser.execute_script(
            "var edge = document.documentElement.clientWidth + 1;"
            "if (document.documentElement.scrollWidth < edge) { return []; }"
            "return [].filter.call(document.body.querySelectorAll('*'), function (e) {"
            "  return e.getBoundingClientRect().right > edge && !e.closest('.lw-scroll');"
            "}).map(function (e) { return e.outerHTML.slice(0, 200); });"
        )
    )


def hosts_asked(browser: WebDriver) -> set[str]:
    """Return the hosts that pages asked since the last time this was called."""
    asked = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            address = urlsplit(message["params"]["request"]["url"])
            if address.scheme in ("http", "https", "ws", "wss"):
                asked.add(address.hostname or "")
    return asked


def complaints(browser: WebDriver) -> list[str]:
    """Return what the console calls an error since the last time this was called."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@contextmanager
def narrow(browser: WebDriver, width: int = 320) -> Iterator[None]:
    """Show pages as a telephone of so many pixels does."""
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def shoot(browser: WebDriver, name: str, selector: str = ".lw-page") -> Path:
    """Take the picture of a part of the page, whole, into the build folder."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    box = browser.execute_script(
        "var box = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [box.left + window.scrollX, box.top + window.scrollY, box.width, box.height];",
        selector,
    )
    clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    path = SCREENSHOTS / f"{name}.png"
    path.write_bytes(base64.b64decode(taken["data"]))
    return path
