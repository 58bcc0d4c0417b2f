"""What is built from the sources: wheel, sdist, editable install; each must be a whole cube."""

import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email import message_from_string
from pathlib import Path

import pytest
from builds import ROOT, Built, run

FOLDERS_A_CUBE_NEEDS = ("data", "i18n", "migration")


@pytest.fixture
def wheel_names(built: Built) -> set[str]:
    """Return the names of the wheel's files."""
    with zipfile.ZipFile(built.wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def sdist(built: Built) -> Iterator[tarfile.TarFile]:
    """Open the sdist."""
    with tarfile.open(built.sdist) as archive:
        yield archive


def package_files(folder: str) -> set[str]:
    """Return what git knows below a folder of the package."""
    return set(run("git", "ls-files", f"cubicweb_leakwatch/{folder}", cwd=ROOT).split())


@pytest.mark.parametrize("folder", FOLDERS_A_CUBE_NEEDS)
def test_the_wheel_holds_what_a_cube_needs(folder: str, wheel_names: set[str]) -> None:
    """Every file of data/, i18n/ and migration/ is in the wheel, and there is at least one."""
    files = package_files(folder)
    assert files
    assert files <= wheel_names


def test_the_wheel_holds_the_package_and_nothing_else(wheel_names: set[str]) -> None:
    """No test, no demo, no top-level module lands in site-packages."""
    assert {name.split("/")[0].split("-")[0] for name in wheel_names} == {"cubicweb_leakwatch"}


def test_the_wheel_names_the_cube_and_its_version(built: Built) -> None:
    """The entry point that CubicWeb looks for is there, and the version is __pkginfo__'s."""
    with zipfile.ZipFile(built.wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith("METADATA"))
        entry_points = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
        metadata = message_from_string(archive.read(info).decode())
    pkginfo: dict[str, object] = {}
    exec((ROOT / "cubicweb_leakwatch" / "__pkginfo__.py").read_text(), pkginfo)
    assert "[cubicweb.cubes]\nleakwatch = cubicweb_leakwatch" in entry_points
    assert metadata["Version"] == pkginfo["version"]
    assert {"setuptools<82", "cachetools<6.1"} <= set(metadata.get_all("Requires-Dist", []))


def test_pypi_takes_both(built: Built) -> None:
    """twine finds nothing to refuse, check-wheel-contents nothing that does not belong into a wheel."""
    run(sys.executable, "-m", "twine", "check", "--strict", str(built.wheel), str(built.sdist), cwd=built.wheel.parent)
    settings = str(ROOT / "pyproject.toml")
    run(sys.executable, "-m", "check_wheel_contents", "--config", settings, str(built.wheel), cwd=built.wheel.parent)


def test_the_wheel_carries_its_licence(built: Built, wheel_names: set[str]) -> None:
    """The LGPL's text travels with the package."""
    assert any(name.endswith("COPYING.LESSER") for name in wheel_names)


def test_links_at_the_top_are_plain_files_in_the_sdist(sdist: tarfile.TarFile) -> None:
    """``__pkginfo__.py`` and ``data/`` are links to the package's in git, and whole copies in the sdist."""
    members = {member.name.partition("/")[2]: member for member in sdist.getmembers()}
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]
    real = sdist.extractfile(members["cubicweb_leakwatch/__pkginfo__.py"])
    copy = sdist.extractfile(members["__pkginfo__.py"])
    assert real is not None and copy is not None
    assert copy.read() == real.read()
    assert package_files("data") <= {f"cubicweb_leakwatch/{name}" for name in members if name.startswith("data/")}


def test_the_links_point_inside_the_package() -> None:
    """The two top-level names are relative links, as in CubicWeb's own cubes."""
    assert (ROOT / "__pkginfo__.py").readlink() == Path("cubicweb_leakwatch/__pkginfo__.py")
    assert (ROOT / "data").readlink() == Path("cubicweb_leakwatch/data")


def test_the_manifest_misses_nothing(sources: Path) -> None:
    """check-manifest agrees that the sdist holds what git holds."""
    run("git", "init", "--quiet", cwd=sources)
    run("git", "add", "--all", cwd=sources)
    run(sys.executable, "-m", "check_manifest", cwd=sources)


def test_no_version_is_written_twice() -> None:
    """The version stands in __pkginfo__.py alone: no other file of the build repeats it."""
    pkginfo: dict[str, object] = {}
    exec((ROOT / "cubicweb_leakwatch" / "__pkginfo__.py").read_text(), pkginfo)
    repeated = run("git", "ls-files", "pyproject.toml", "cubicweb_leakwatch/*.py", cwd=ROOT).split()
    assert not [name for name in repeated if f'version = "{pkginfo["version"]}"' in (ROOT / name).read_text()]


def test_an_editable_install_is_a_whole_cube(
    sources: Path, tmp_path: Path, make_environment: Callable[..., Path]
) -> None:
    """``pip install -e`` finds data/ through the entry point, in the sources themselves."""
    python = make_environment(tmp_path / "env", sys.executable)
    run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-e", str(sources), cwd=tmp_path)
    script = (
        "from importlib.metadata import entry_points;"
        "import importlib, pathlib;"
        "(point,) = [p for p in entry_points(group='cubicweb.cubes') if p.name == 'leakwatch'];"
        "print(pathlib.Path(point.load().__file__).parent)"
    )
    folder = Path(run(str(python), "-c", script, cwd=tmp_path).strip())
    assert folder == sources / "cubicweb_leakwatch"
    assert all((folder / name).is_dir() for name in FOLDERS_A_CUBE_NEEDS)


def test_the_real_files_are_inside_the_package() -> None:
    """Git holds links at the top and no link in the package, so an archive that loses links still builds."""
    listed = run("git", "ls-files", "-s", "__pkginfo__.py", "data", cwd=ROOT).split("\n")
    assert [line.split()[0] for line in listed if line] == ["120000", "120000"]
    assert not any(path.is_symlink() for path in (ROOT / "cubicweb_leakwatch").rglob("*"))


def test_ci_can_be_run() -> None:
    """.ci/run has its run bit, in git too."""
    assert run("git", "ls-files", "-s", ".ci/run", cwd=ROOT).startswith("100755")
