"""The Debian package: it builds, lintian finds no error in it, and what it ships is in its place."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import run

PLACES = (
    "./lib/systemd/system/leak-serve@.service",
    "./lib/systemd/system/leak-serve@.socket",
    "./lib/systemd/system/leak-collect@.service",
    "./usr/bin/leakwatch",
    "./usr/lib/python3/dist-packages/cubicweb_leakwatch/__pkginfo__.py",
    "./usr/lib/python3/dist-packages/cubicweb_leakwatch/data/cubes.leakwatch.css",
    "./usr/share/bash-completion/completions/leakwatch",
    "./usr/share/doc/python3-cubicweb-leakwatch/README.Debian",
    "./usr/share/doc/python3-cubicweb-leakwatch/examples/prometheus/leakwatch.rules.yml",
    "./usr/share/man/man1/leakwatch.1.gz",
    "./usr/share/munin/plugins/leakwatch_",
)
DEBIANS_PYTHON = "/usr/bin:/bin:/usr/sbin:/sbin"


@pytest.fixture(scope="module")
def package(sources: Path, needs_program: Callable[[str, str], str]) -> Path:
    """Build the package from a copy of the sources, with Debian's own Python."""
    needs_program("dh", "debhelper")
    needs_program("dh_python3", "dh-python")
    builder = needs_program("dpkg-buildpackage", "dpkg-dev")
    environment = {**os.environ, "PATH": DEBIANS_PYTHON}
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        environment.pop(name, None)
    command = [builder, "-us", "-uc", "-b"]
    done = subprocess.run(command, cwd=sources, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return next(sources.parent.glob("*.deb"))


def test_what_is_shipped_is_in_its_place(package: Path) -> None:
    """Units, plugin, man page, completion, examples, and the program itself."""
    listed = {line.split()[-1] for line in run("dpkg-deb", "-c", str(package), cwd=package.parent).splitlines()}
    assert set(PLACES) - listed == set()


def test_lintian_finds_no_error(package: Path, needs_program: Callable[[str, str], str]) -> None:
    """Warnings are read by people; an error is a fault."""
    lintian = needs_program("lintian", "lintian")
    run(lintian, "--allow-root", "--fail-on", "error", str(package.with_suffix(".deb")), cwd=package.parent)


@pytest.mark.parametrize("unit", ["leak-serve@root.service", "leak-serve@root.socket", "leak-collect@root.service"])
def test_systemd_understands_the_units(
    unit: str, tmp_path: Path, sources: Path, needs_program: Callable[[str, str], str]
) -> None:
    """Not one line that it would ignore."""
    analyze = needs_program("systemd-analyze", "systemd")
    for path in (sources / "contrib" / "systemd").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    command = [analyze, "verify", "--man=no", str(tmp_path / unit)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "leak-" in line]
    assert (done.returncode, told) == (0, [])
