"""Becoming the launcher: the calling process is replaced by a bare interpreter that knows its specification only."""

from __future__ import annotations

import compileall
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from cubicweb_leakwatch.serve.spec import LaunchSpec, Policy, check_spec
from cubicweb_leakwatch.watch.policy import Rules

PACKAGE = Path(__file__).resolve().parents[1]

# -S and -I keep site-packages, .pth files and the environment out: 4 MB less, and nothing that could grow.
START = "import sys; sys.path.insert(0, sys.argv[1]); from cubicweb_leakwatch.serve import launcher; launcher.main()"


def run_launcher(spec: LaunchSpec) -> NoReturn:
    """Exec the launcher in place of this process; raises ConfigurationError when the specification cannot work."""
    check_spec(spec)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, launcher_command(spec))


def _compile() -> None:
    """Compile the launcher's modules where that was not done yet: in the launcher it would cost a megabyte for good.

    Whatever this process has imported without writing it down (``PYTHONDONTWRITEBYTECODE``), the launcher has not.
    Where the folder may not be written to, the launcher compiles for itself.
    """
    for folder in (PACKAGE, PACKAGE / "serve"):
        compileall.compile_dir(folder, maxlevels=0, quiet=2, optimize=0)


def launcher_command(spec: LaunchSpec) -> list[str]:
    """Return the argument list of the launcher; the specification travels in an anonymous file it inherits."""
    _compile()
    given = pass_on(json.dumps({"spec": spec.fields(), "state": None}))
    return [sys.executable, "-I", "-S", "-c", START, str(PACKAGE.parent), str(given), f"leakwatch:{spec.instance}"]


def pass_on(text: str) -> int:
    """Return the descriptor of an anonymous, inheritable file that holds the text."""
    descriptor = os.memfd_create("leakwatch", 0)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def policy_of(rules: Rules) -> Policy:
    """Return the operator's rules as the launcher takes them: plain numbers."""
    budget, window = rules.budget, rules.window
    return Policy(
        mode=rules.mode,
        budget_count=budget.count if budget else 0,
        budget_s=budget.per_s if budget else 3600.0,
        window_start_s=window.start_s if window else -1,
        window_end_s=window.end_s if window else -1,
    )
