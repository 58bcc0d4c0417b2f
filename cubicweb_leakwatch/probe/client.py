"""Asking the probes of an instance, from outside."""

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.host import this_host
from cubicweb_leakwatch.probe import wire
from cubicweb_leakwatch.probe.runtime import ProbeAddress, find_probes, reachable

__all__ = ["ProbeAddress", "ProbeError", "ask", "ask_all", "ask_patiently", "choose", "find_probes"]

SIGN_OF_LIFE_S = 10.0
"""What a process has to answer the shortest question, before one that takes long is put to it."""

LAST_S = 0.2
"""What the last ones that are asked have to hand over an answer, when the first took all the time."""


class ProbeError(LeakwatchError):
    """A probe did not answer, or said that it cannot."""

    code = "probe"


def ask(address: ProbeAddress, question: str, *, timeout_s: float = 5.0, **parameters: object) -> Any:
    """Return the answer's ``data`` to ``question`` ("status", "sample", "ring", "counts", "gc", "dump", "trace").

    Raises ``ProbeError`` with the probe's own sentence, or with why there was no answer.
    """
    (answer,) = ask_all([address], question, timeout_s=timeout_s, **parameters)
    if isinstance(answer, ProbeError):
        raise answer
    return answer


def ask_patiently(address: ProbeAddress, question: str, *, timeout_s: float, **parameters: object) -> Any:
    """Ask what may take minutes, of a process that shows a sign of life: a stopped one is told at once."""
    ask(address, "status", timeout_s=SIGN_OF_LIFE_S)
    return ask(address, question, timeout_s=timeout_s, **parameters)


def ask_all(
    addresses: Sequence[ProbeAddress], question: str, *, timeout_s: float = 5.0, **parameters: object
) -> list[Any]:
    """Ask several probes the same at once; return what ``ask`` would of each, a ``ProbeError`` where it would raise.

    They work at the same time, so that all of them together take as long as the slowest.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        asked = [stack.enter_context(_Asked(address, timeout_s)) for address in addresses]
        for each in asked:
            each.send({"ask": question, **parameters})
        return [each.answer(max(LAST_S, deadline - time.monotonic())) for each in asked]


class _Asked:
    """One probe that is being asked; the first thing that fails is its answer."""

    def __init__(self, address: ProbeAddress, timeout_s: float) -> None:
        self.address, self.timeout_s = address, timeout_s
        self.error: ProbeError | None = None

    def __enter__(self) -> "_Asked":
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(self.timeout_s)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    def send(self, question: dict[str, object]) -> None:
        """Send the question."""
        with self._noted(), reachable(self.address.path) as path:
            self._connection.connect(path)
            wire.send(self._connection, question)

    def answer(self, timeout_s: float) -> Any:
        """Return the answer's data or what was wrong."""
        data: Any = None
        if self.error is None:
            with self._noted():
                data = _data(wire.receive(self._connection, wire.MAX_ANSWER, timeout_s))
        return self.error or data

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        who = f"{self.address.name} (pid {self.address.pid}) did not answer"
        try:
            yield
        except ProbeError as error:
            self.error = error
        except TimeoutError:
            hint = "it may be stopped, or too busy to answer; ask again"
            self.error = ProbeError(f"{who} within {self.timeout_s:g} s", hint, "no-answer")
        except (OSError, wire.WireError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.error = ProbeError(f"{who}: {reason}", code="no-answer")


def _data(answer: dict[str, Any]) -> Any:
    if answer.get("ok") is True:
        return answer.get("data")
    error = answer.get("error")
    told = error if isinstance(error, dict) else {}
    raise ProbeError(
        str(told.get("message", "the probe gave no reason")), str(told.get("hint", "")), str(told.get("code", ""))
    )


def choose(directory: Path, process: str | None) -> list[ProbeAddress]:
    """Return the probes that ``process`` (a slot or a pid) names, or all of them for ``None``.

    Raises ``ConfigurationError`` when there is none, naming those that there are.
    """
    probes = find_probes(directory)
    if not probes:
        raise ConfigurationError(
            f"no probe answers in {directory}",
            hint="is the instance running, with the cube leakwatch?",
            code="no-probe",
        )
    if process is None:
        return probes
    host, colon, name = process.rpartition(":")
    if colon and host != this_host():
        raise ConfigurationError(
            f"{process} does not run on this host, {this_host()}", hint="look into it there", code="other-host"
        )
    process = name
    chosen = [probe for probe in probes if process in (probe.name, str(probe.pid))]
    if not chosen:
        raise ConfigurationError(
            f"no process {process} answers", hint=f"there are: {_names(probes)}", code="unknown-process"
        )
    return chosen


def _names(probes: Iterable[ProbeAddress]) -> str:
    return ", ".join(f"{probe.name} (pid {probe.pid})" for probe in probes)
