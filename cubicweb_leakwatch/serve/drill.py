"""A drill: load a served instance through forced replacements, and say what its clients noticed."""

import asyncio
import datetime
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.serve.clients import Address
from cubicweb_leakwatch.serve.control import ask_launcher
from cubicweb_leakwatch.serve.load import LoadResult, Mix, run_load

POLL_S = 0.1
WARM_UP_S = 3.0
"""Load before the first replacement, so that there are figures to compare with."""


@dataclass(frozen=True)
class DrillPlan:
    """What to do: ``replacements`` forced one after another while ``mix`` runs, within ``seconds``."""

    replacements: int = 5
    seconds: float = 300.0
    broken_successor: bool = False
    pause_s: float = 1.0
    mix: Mix = field(default_factory=Mix)


@dataclass(frozen=True)
class DrillResult:
    """What came of it: the load's outcomes, the restarts' records, and the windows they spanned (monotonic)."""

    load: LoadResult
    restarts: list[Mapping[str, Any]]
    windows: list[tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        """Return the figures: all, inside the replacement windows, outside."""
        everything = self.load.figures()
        return {
            "sent": everything.sent,
            "failed": everything.failed,
            "failures": self.load.failures(),
            "all": asdict(everything),
            "inside": asdict(self.load.figures(self.windows)),
            "outside": asdict(self.load.figures(self.windows, inside=False)),
            "replaced": sum(restart["outcome"] == "replaced" for restart in self.restarts),
            "restarts": [dict(restart) for restart in self.restarts],
        }


def run_drill(address: Address, runtime_dir: str, plan: DrillPlan) -> DrillResult:
    """Run a drill against the launcher of a runtime directory; returns when all replacements ended, or in time.

    Raises LauncherError when no launcher answers, ConfigurationError for a target beyond this machine.
    """
    return asyncio.run(_run(address, runtime_dir, plan))


async def _run(address: Address, runtime_dir: str, plan: DrillPlan) -> DrillResult:
    await _ask(runtime_dir, "status")
    stop = asyncio.Event()
    load = asyncio.create_task(run_load(address, plan.mix, plan.seconds, stop=stop))
    try:
        records = await _replace(runtime_dir, plan, load)
    finally:
        stop.set()
        result = await load
    return DrillResult(result, records, [window_of(record) for record in records])


async def _replace(runtime_dir: str, plan: DrillPlan, load: "asyncio.Task[LoadResult]") -> list[Mapping[str, Any]]:
    await asyncio.sleep(WARM_UP_S)
    slots = [row["name"] for row in (await _ask(runtime_dir, "status"))["processes"] if row["role"] == "web"]
    records: list[Mapping[str, Any]] = []
    for number in range(plan.replacements + plan.broken_successor):
        broken = plan.broken_successor and number == 0
        records.append(await _replace_one(runtime_dir, slots[number % len(slots)], broken, load))
        await asyncio.sleep(plan.pause_s)
        if load.done():
            break
    return records


async def _replace_one(
    runtime_dir: str, slot: str, broken: bool, load: "asyncio.Task[LoadResult]"
) -> Mapping[str, Any]:
    asked = await _ask(runtime_dir, "restart", process=slot, reason="drill", by="leak-drill", broken=broken)
    wish = asked["requested"][0]["id"]
    while not load.done():
        for record in (await _ask(runtime_dir, "restarts"))["restarts"]:
            if record["id"] == wish and record["stage"] == "done":
                return dict(record)
        await asyncio.sleep(POLL_S)
    raise LeakwatchError(f"the replacement of {slot} did not end while the load ran", "give the drill more --seconds")


async def _ask(runtime_dir: str, question: str, **parameters: Any) -> dict[str, Any]:
    """Ask the launcher without holding up the clients."""
    return await asyncio.to_thread(ask_launcher, runtime_dir, question, **parameters)


def window_of(record: Mapping[str, Any]) -> tuple[float, float]:
    """Return from when to when a replacement went on, in monotonic seconds of this machine."""
    shift = time.monotonic() - time.time()
    times = [record.get(name) for name in ("requested_at", "ready_at", "drained_at", "exited_at")]
    known = [datetime.datetime.fromisoformat(text).timestamp() + shift for text in times if text]
    return min(known), max(known)
