"""What every test shares: system programs by name, and no silent skip under ``CI=true``."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Debian keeps the server side of PostgreSQL, and what root runs, off an ordinary user's PATH.
EXTRA_FOLDERS = ("usr/sbin", "sbin", "usr/lib/postgresql/*/bin")


def find_program(name: str) -> str | None:
    """Return the path of program ``name``, or None where it is not installed."""
    folders = [str(folder) for pattern in EXTRA_FOLDERS for folder in sorted(Path("/").glob(pattern), reverse=True)]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


@pytest.fixture(scope="session")
def needs_program() -> Callable[[str, str], str]:
    """Return ``needs_program(name, debian_package)``: the program's path, or a skip that names the package."""

    def needs(name: str, debian_package: str) -> str:
        path = find_program(name)
        if path is None:
            pytest.skip(f"{name} is not installed (Debian package {debian_package})")
        return path

    return needs


def skips_are_failures() -> bool:
    """Return whether this run is one where everything must have been tested."""
    return os.environ.get("CI", "").lower() in ("true", "1")


def skipped_reports(config: pytest.Config) -> list[pytest.TestReport]:
    """Return the reports of the tests and modules that were skipped so far."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get("skipped", [])) if reporter else []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a passing run that skipped something into a failed one under ``CI=true``."""
    if exitstatus == pytest.ExitCode.OK and skips_are_failures() and skipped_reports(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a run without a failed test failed all the same."""
    if skips_are_failures() and skipped_reports(terminalreporter.config):
        terminalreporter.section("a skip is a failure under CI=true", red=True)
        terminalreporter.line("install what the skipped tests name, or run without CI=true")
