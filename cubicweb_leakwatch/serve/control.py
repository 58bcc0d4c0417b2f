"""Talking to a running launcher: status, restarts. Standard library only; works while the database is down."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.serve.controlsocket import SOCKET


class LauncherError(LeakwatchError):
    """No launcher answers, or it refuses what it was asked."""

    code = "launcher"


def ask_launcher(runtime_dir: str, question: str, timeout_s: float = 5.0, **parameters: object) -> dict[str, Any]:
    """Ask the launcher of a runtime directory and return its answer.

    Questions: ``status``; ``restart`` (``process`` or None for all, ``reason``, ``by``); ``restarts`` (``after``, an
    id or None); ``turn`` (``for_s`` seconds in which only the wish ``grant`` may begin, ``spent_s`` seconds for which
    the budget of all hosts is spent). Raises LauncherError when none runs there, it stays silent for ``timeout_s``
    seconds, or it refuses.
    """
    line = json.dumps({"ask": question, **parameters}).encode() + b"\n"
    try:
        text = _exchange(runtime_dir, line, timeout_s)
        answer = json.loads(text)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise LauncherError(
            "no launcher is running for this instance", "start it by: cubicweb-ctl leak-serve <instance>", "no-launcher"
        ) from None
    except PermissionError:
        raise LauncherError("the launcher runs as another user", "run this as the instance's user") from None
    except (OSError, ValueError) as error:
        raise LauncherError(f"the launcher gave no answer: {error}") from None
    if "error" in answer:
        refusal = answer["error"]
        raise LauncherError(refusal["message"], refusal.get("hint", ""), refusal.get("code", ""))
    return dict(answer)


def _exchange(runtime_dir: str, line: bytes, timeout_s: float) -> bytes:
    directory_fd = os.open(runtime_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            # By the descriptor: a long path does not fit into a socket address.
            connection.connect(f"/proc/self/fd/{directory_fd}/{SOCKET}")
            connection.sendall(line)
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
    finally:
        os.close(directory_fd)
    return b"".join(chunks)
