"""What a manager sees, in a real browser."""

import pytest
from cubicweb_leakdemo.runner.instance import ADMIN, PASSWORD
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from sites import Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def manager(browser: WebDriver, site: Site) -> WebDriver:
    """Log in as the manager."""
    browser.get(site.address + "login")
    browser.find_element(By.NAME, "__login").send_keys(ADMIN)
    password = browser.find_element(By.NAME, "__password")
    password.send_keys(PASSWORD)
    password.submit()
    WebDriverWait(browser, 30).until(lambda driver: "/login" not in driver.current_url)
    return browser


def text_of(browser: WebDriver, address: str) -> str:
    """Return the text that a person sees at ``address``."""
    browser.get(address)
    return str(browser.find_element(By.TAG_NAME, "body").text)


def test_the_gc_page_shows_the_leak_in_the_scheduler(manager: WebDriver, site: Site) -> None:
    """Handler, count and keeper stand on the page of the scheduler, as leak-gc has them."""
    text = text_of(manager, site.address + "?vid=gc&process=scheduler")
    assert "mercurial.url.httphandler" in text
    assert "2,000" in text
    assert "cubicweb_leakdemo.polling.POLLER.handlers" in text


def test_the_gc_tab_of_siteinfo_is_ours(manager: WebDriver, site: Site) -> None:
    """The tab that CubicWeb had shows the new page."""
    manager.get(site.address + "siteinfo")
    tab = WebDriverWait(manager, 30).until(lambda driver: driver.find_element(By.CSS_SELECTOR, "a[href*='gc']"))
    tab.click()
    WebDriverWait(manager, 60).until(
        lambda driver: "garbage" in str(driver.find_element(By.TAG_NAME, "body").text).lower()
    )
    assert "scheduler" in str(manager.find_element(By.TAG_NAME, "body").text)


def test_the_dashboard_shows_processes_and_a_chart(manager: WebDriver, site: Site) -> None:
    """Every process of the instance, and the recorded memory as a picture with a title."""
    text = text_of(manager, site.address + "?vid=leakwatch")
    assert all(name in text for name in ("web-1", "web-2", "scheduler"))
    charts = manager.find_elements(By.CSS_SELECTOR, "svg[role='img']")
    assert charts
    assert charts[0].find_elements(By.CSS_SELECTOR, "title")


def test_the_restart_button_replaces_a_worker(manager: WebDriver, site: Site) -> None:
    """A click on the button of web-1 gives it another pid."""

    def pid() -> int:
        processes = site.ask("leak-status", "--process", "web-1")["processes"]
        serving = [process["pid"] for process in processes if process["state"] == "serving"]
        return int(serving[-1]) if serving else 0

    before = pid()
    manager.get(site.address + "?vid=leakwatch")
    manager.find_element(By.CSS_SELECTOR, "form[action*='leakwatch-restart'] button").click()
    site.wait_for(lambda: pid() not in (0, before), "the replacement")


def test_no_script_of_the_pages_fails(manager: WebDriver, site: Site) -> None:
    """The browser's console has no error of ours after both pages."""
    for page in ("?vid=gc&process=scheduler", "?vid=leakwatch"):
        manager.get(site.address + page)
        severe = [entry["message"] for entry in manager.get_log("browser") if entry["level"] == "SEVERE"]
        assert [message for message in severe if "leakwatch" in message] == []
