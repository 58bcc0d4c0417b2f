"""Builds the project as a release is built: an sdist of a copy of the sources, a wheel of that sdist."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Built:
    """An sdist made of a copy of the sources, and a wheel made of that sdist."""

    sdist: Path
    wheel: Path


def run(*command: str, cwd: Path, timeout_s: float = 300.0) -> str:
    """Run a command and return its output; fail the test with what it said."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy_of_the_sources(target: Path) -> Path:
    """Copy what git knows, links as links: a build leaves nothing in the sources and finds nothing stray there."""
    for name in filter(None, run("git", "ls-files", "-z", cwd=ROOT).split("\0")):
        if os.path.lexists(ROOT / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target
