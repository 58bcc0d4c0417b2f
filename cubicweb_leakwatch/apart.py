"""Heavy work done in a process of its own, so that NumPy never lands in a web worker or the scheduler; and files that
only the instance's user reads. Imports nothing of CubicWeb.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TypeVar

from cubicweb_leakwatch.errors import LeakwatchError

Answer = TypeVar("Answer", dict, list)  # type: ignore[type-arg] # of JSON's types

DAMAGED = (OSError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading one of our own JSON files raises where it is missing, cut short, or nobody of ours wrote it."""


def run_apart(
    module: str, *arguments: str, kind: type[Answer], what: str, time_limit_s: float, given: str = ""
) -> Answer:
    """Run ``python -m MODULE ARGUMENTS`` with ``given`` on its standard input; return the JSON of this kind it printed.

    ``what`` names the work in the error: ``LeakwatchError`` when it fails or takes more than ``time_limit_s`` seconds.
    """
    # -P: whatever lies in the current directory must not stand in for a module
    command = [python_program(), "-P", "-m", module, *arguments]
    try:
        done = subprocess.run(command, input=given.encode(), capture_output=True, timeout=time_limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise LeakwatchError(f"{what} took more than {time_limit_s:g} s", code="timeout") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        raise LeakwatchError(**answer["error"])
    if not isinstance(answer, kind) or done.returncode:
        raise LeakwatchError(f"{what} failed: {_last_line(done.stderr)}", code="failed-apart")
    return answer


def python_program() -> str:
    """Return the interpreter of this environment: under an embedding server ``sys.executable`` is that server."""
    if Path(sys.executable).name.startswith("python"):
        return sys.executable
    return str(Path(sys.prefix) / "bin" / "python3")


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, readable by the instance's user alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
