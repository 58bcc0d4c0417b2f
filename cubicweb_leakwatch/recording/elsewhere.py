"""The processes of the instance's other hosts: read from the shared database each interval, kept beside the probes.

So pages and commands show all hosts without a database of their own to ask. Clocks are not compared: a process is there
for as long as this host sees new snapshots of it arrive.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.apart import DAMAGED, write_private
from cubicweb_leakwatch.recording.history import iso

FILE = "elsewhere.json"
STALE_S = 900.0
"""What this host has heard of the others is told for so long, and so long a silent process is believed to be there."""

SILENT_S = 120.0
SILENT_INTERVALS = 3
"""A process of which nothing arrives for both is told as silent: a host that died says nothing of it."""

NUMBERS = ("requests", "in_flight", "rss", "uss", "pss", "gc_objects", "garbage", "threads", "fds")
FOUND = ("kind", "leak", "rate_bytes_per_h", "seconds_to_limit", "holder", "advice", "ceiling", "confidence")


class Elsewhere:
    """Follows the processes of other hosts than ``host``, recorded each ``interval_s``, for one runtime directory."""

    def __init__(self, host: str, directory: Path, interval_s: float = 60.0) -> None:
        self.host, self.directory = host, directory
        self._silent_s = max(SILENT_S, SILENT_INTERVALS * interval_s)
        self._seen: dict[int, tuple[float, float]] = {}

    def update(self, cnx: Any) -> list[dict[str, Any]]:
        """Read what is known of them, keep it for pages and commands, and return it."""
        now, rows = time.monotonic(), []
        last_seen = self._seen
        self._seen = {}
        for process, row in _living(cnx, self.host):
            t = row.pop("t")
            known = last_seen.get(process)
            self._seen[process] = known if known is not None and known[0] == t else (t, now)
            quiet_s = now - self._seen[process][1]
            row["silent"] = quiet_s >= self._silent_s
            if quiet_s < max(STALE_S, 2 * self._silent_s):
                rows.append(row)
        if rows or (self.directory / FILE).exists():
            write_private(self.directory / FILE, json.dumps({"t": time.time(), "processes": rows}))
        return rows


def read_elsewhere(directory: Path) -> list[dict[str, Any]]:
    """Return the processes of other hosts, named ``HOST:SLOT``, as rows of ``leak-status``."""
    try:
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
        fresh = time.time() - float(document["t"]) <= STALE_S
        return list(document["processes"]) if fresh else []
    except DAMAGED:
        return []


def _living(cnx: Any, host: str) -> list[tuple[int, dict[str, Any]]]:
    """Return each process of another host that has not ended and was recorded, the newest of each slot."""
    rows = cnx.execute(
        "Any P, H, N, R, I, S, G, M ORDERBY H, N, S WHERE P is LeakwatchProcess, P host H, P name N, P role R, P pid I,"
        " P started_at S, P generation G, P memory_limit M, P ended_at NULL, NOT P host %(h)s",
        {"h": host},
    ).rows
    found: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
    for process, other, name, role, pid, started_at, generation, limit in rows:
        sample = _last_sample(cnx, process)
        if sample is None:
            continue
        about = {
            "name": f"{other}:{name}",
            "host": other,
            "role": role,
            "pid": pid,
            "generation": generation,
            "state": "serving",
            "limit": limit,
            "started_at": iso(started_at),
            "age_s": max(0.0, sample["t"] - started_at.timestamp()),
        }
        found[other, name] = process, {**about, **sample, **_conclusion(cnx, other, name)}
    return list(found.values())


def _last_sample(cnx: Any, process: int) -> dict[str, Any] | None:
    columns = ", ".join(f"C{index}" for index in range(len(NUMBERS)))
    wanted = ", ".join(f"S {name} C{index}" for index, name in enumerate(NUMBERS))
    rows = cnx.execute(
        f"Any T, {columns} ORDERBY T DESC LIMIT 1 WHERE S snapshot_of P, P eid %(p)s, S t T, {wanted}", {"p": process}
    ).rows
    return dict(zip(("t", *NUMBERS), rows[0], strict=True)) if rows else None


def _conclusion(cnx: Any, host: str, name: str) -> dict[str, Any]:
    """Return what the other host concluded: only leaks are recorded, so without one nothing is known to be wrong."""
    columns = ", ".join(f"C{index}" for index in range(len(FOUND)))
    wanted = ", ".join(f"F {name} C{index}" for index, name in enumerate(FOUND))
    rows = cnx.execute(
        f"Any {columns}, B, U WHERE F is LeakFinding, F host %(h)s, F process %(n)s, F closed_at NULL, {wanted},"
        " F culprits B, F since U",
        {"h": host, "n": name},
    ).rows
    values: Mapping[str, Any] = dict(zip((*FOUND, "culprits", "since"), rows[0], strict=True)) if rows else {}
    told = {name: values.get(name) for name in FOUND if name != "kind"}
    culprits = json.loads(values["culprits"]) if values.get("culprits") else []
    return {
        **told,
        "verdict": values.get("kind"),
        "leak": bool(values.get("leak")),
        "culprits": [culprit["type"] for culprit in culprits],
        "since": iso(values.get("since")),
        "samples": None,
    }
