"""What is built, and virtual environments of the interpreters that there are."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import Built, copy_of_the_sources, run


@pytest.fixture(scope="session")
def make_environment() -> Callable[[Path, str], Path]:
    """Return ``make(folder, interpreter)``: a new virtual environment; its Python is returned."""

    def make(folder: Path, interpreter: str) -> Path:
        subprocess.run([interpreter, "-m", "venv", str(folder)], check=True, timeout=120)
        return folder / "bin" / "python"

    return make


def _runs(interpreter: str, version: str) -> bool:
    # A version manager puts names on the PATH of interpreters that it then does not run.
    script = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([interpreter, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return False
    return done.stdout.strip() == version


def interpreter_named(version: str) -> str | None:
    """Return the first program on the PATH called ``pythonVERSION`` that runs, or None."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    candidates = (str(folder / f"python{version}") for folder in folders)
    return next((candidate for candidate in candidates if _runs(candidate, version)), None)


def interpreters() -> dict[str, str]:
    """Return, by version, our own interpreter and the other supported ones on the PATH.

    A test is made for each that there is, rather than skipped for each that there is not: a skip is a failure in CI.
    """
    found = {version: interpreter_named(version) for version in ("3.11", "3.12", "3.13")}
    found[f"{sys.version_info.major}.{sys.version_info.minor}"] = sys.executable
    return {version: path for version, path in sorted(found.items()) if path}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that asks for ``interpreter`` once an interpreter."""
    if "interpreter" in metafunc.fixturenames:
        found = interpreters()
        metafunc.parametrize("interpreter", list(found.values()), ids=list(found))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the sources."""
    return copy_of_the_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build as a release is: the sdist from the sources, the wheel from the sdist."""
    output = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(output), ".", cwd=sources)
    return Built(next(output.glob("*.tar.gz")), next(output.glob("*.whl")))
