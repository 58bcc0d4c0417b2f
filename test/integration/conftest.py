"""One leaking site that most integration tests look at, and a browser."""

import os
import sys
from collections.abc import Callable, Iterator

import pytest
from browsing import chromium
from clusters import postgresql
from cubicweb_leakdemo.runner import processes
from selenium.webdriver.chrome.webdriver import WebDriver
from sites import DATABASE, Site, make_instance, served

LEAKED = 2000


@pytest.fixture(scope="session", autouse=True)
def engine(needs_program: Callable[[str, str], str]) -> Iterator[None]:
    """Give every instance a database on PostgreSQL where LEAKWATCH_TEST_DB=postgres says so (make test-postgresql)."""
    if os.environ.get("LEAKWATCH_TEST_DB") != "postgres":
        yield
        return
    with postgresql(needs_program) as source:
        DATABASE.update(source)
        yield
        DATABASE.clear()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a Mercurial repository over HTTP and return its address."""
    folder = tmp_path_factory.mktemp("repository")
    log = folder / "repository.log"
    command = [sys.executable, "-m", "cubicweb_leakdemo.repository", str(folder / "hg")]
    server = processes.start("the repository", command, dict(os.environ), log)
    try:
        processes.wait_until(lambda: "http" in log.read_text(), "starting the repository", server)
        yield log.read_text().split()[-1]
    finally:
        server.stop()


@pytest.fixture(scope="session")
def site(repository: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a site with two workers and a scheduler in which LEAKED handlers have leaked by polling."""
    options = {
        "leakdemo-repository-url": repository,
        "leakdemo-polls": "200",
        "leakdemo-poll-at-most": str(LEAKED),
        "leakwatch-interval": "5s",
    }
    instance = make_instance(tmp_path_factory.mktemp("site") / "home", "leakdemo", options=options)
    with served(instance, "--workers", "2") as site:
        site.wait_for(lambda: handlers_in_the_scheduler(site) >= LEAKED, "the leak", timeout_s=240, every_s=2.0)
        yield site


def handlers_in_the_scheduler(site: Site) -> int:
    """Return how many of Mercurial's handlers the scheduler holds, by the cheap counts."""
    (report,) = site.ask("leak-gc", "--process", "scheduler", "--types-only", "--limit", "1000")
    return sum(item["count"] for item in report["types"] if item["type"] == "mercurial.url.httphandler")


@pytest.fixture(scope="session")
def browser(needs_program: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Start Chromium without a screen."""
    with chromium(needs_program, tmp_path_factory.mktemp("chromium")) as driver:
        yield driver
