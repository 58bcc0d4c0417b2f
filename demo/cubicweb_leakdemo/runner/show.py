"""What the demo says: where to look, how it goes, what was found; as text or as one JSON document."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .instance import ADMIN, PASSWORD, Instance
from .judge import Result
from .traffic import Count

WHERE_TO_LOOK = """\

The demo's site runs at {address}   (login {login}, password {password})

Look at
  {address}?vid=gc&process=scheduler   Mercurial's handlers, in cycles, and who holds them
  {address}?vid=leakwatch              memory over time, restarts, findings
or in a second terminal, from this folder:
  . {shell_lines}
  cubicweb-ctl leak-gc {instance} --process scheduler
  cubicweb-ctl leak-status {instance}
"""


def where_to_look(instance: Instance, shell_lines: Path) -> str:
    """Return what a person who started the demo wants to know."""
    return WHERE_TO_LOOK.format(
        address=instance.address, login=ADMIN, password=PASSWORD, instance=instance.name, shell_lines=shell_lines
    )


def running_count(seconds: float, traffic: Count) -> str:
    """Return one line on the requests so far."""
    line = f"{seconds:5.0f} s   sent {traffic.sent}, failed {traffic.lost}"
    if traffic.median_ms is not None and traffic.slowest_ms is not None:
        line += f"   (median {traffic.median_ms:.0f} ms, slowest {traffic.slowest_ms:.0f} ms)"
    return "\n".join([line, *(f"          {example}" for example in traffic.examples)])


def as_text(result: Result) -> str:
    """Return what was found, for a person."""
    lines = ["", *_leak_lines(result), *_restart_lines(result), f"Requests   {_traffic_line(result.traffic)}"]
    if result.problems:
        lines += ["", "Not what the demo is for:", *(f"  - {problem}" for problem in result.problems)]
    return "\n".join(lines)


def _leak_lines(result: Result) -> list[str]:
    if result.leak is None:
        return ["Leak       not found"]
    leak = result.leak
    return [
        f"Leak       {leak.count} cycles with {leak.finalizer} in {leak.process}, {leak.bytes / 2**20:.1f} MiB",
        f"           cycle {' '.join(leak.path)}",
        f"           held by {leak.holder}",
    ]


def _restart_lines(result: Result) -> list[str]:
    lines = [f"Restarts   {len(result.restarts)} recorded"]
    for restart in result.restarts:
        lines.append(f"           {restart.get('outcome')}: {restart.get('reason')}")
    return lines


def _traffic_line(traffic: Count) -> str:
    return f"{traffic.sent} sent, {traffic.answered} answered, {traffic.lost} failed"


def as_json(result: Result, instance: str) -> str:
    """Return the JSON document; ``ok`` is false, with an ``error`` member, when something was not as it should be."""
    document: dict[str, Any] = {
        "ok": not result.problems,
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "instance": instance,
        "data": asdict(result),
    }
    if result.problems:
        document["error"] = {"code": "demo", "message": "; ".join(result.problems), "hint": "read the logs in the home"}
    return json.dumps(document, indent=2, default=str)
