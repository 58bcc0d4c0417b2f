"""Asking the probes of an instance, from outside."""

import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.host import this_host
from cubicweb_leakwatch.probe import wire
from cubicweb_leakwatch.probe.runtime import ProbeAddress, find_probes, reachable

__all__ = ["ProbeAddress", "ProbeError", "ask", "choose", "find_probes"]


class ProbeError(LeakwatchError):
    """A probe did not answer, or said that it cannot."""

    code = "probe"


def ask(address: ProbeAddress, question: str, *, timeout_s: float = 5.0, **parameters: object) -> Any:
    """Return the answer's ``data`` to ``question`` ("status", "sample", "ring", "counts", "gc", "dump", "trace").

    Raises ``ProbeError`` with the probe's own sentence, or with why there was no answer.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            with reachable(address.path) as path:
                connection.connect(path)
            wire.send(connection, {"ask": question, **parameters})
            answer = wire.receive(connection, wire.MAX_ANSWER, max(0.001, deadline - time.monotonic()))
    except TimeoutError as error:
        raise ProbeError(
            f"{address.name} (pid {address.pid}) did not answer within {timeout_s:g} s",
            hint="it may be stopped, or too busy to answer; ask again",
            code="no-answer",
        ) from error
    except (OSError, wire.WireError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ProbeError(f"{address.name} (pid {address.pid}) did not answer: {reason}", code="no-answer") from error
    return _data(answer)


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
