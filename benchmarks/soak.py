"""A long run of ``leak-serve`` with the demo's leaks under load.

``python benchmarks/soak.py [--minutes 120] [--rate 50]``

Two workers with a cache that never expires (limit 110 MiB), a scheduler whose polling leaks, a snapshot each five
seconds. Each minute it prints what was sent and lost, the memory of launcher and scheduler, and how many replacements
there have been; at the end the findings. Exits with 1 when a request was lost or the launcher has grown by over 256 KiB
since the first five minutes (or half of a shorter run).
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from cubicweb_leakdemo.runner import processes
from cubicweb_leakdemo.runner.demo import path_of
from cubicweb_leakdemo.runner.instance import HOST, Instance
from cubicweb_leakdemo.runner.traffic import Traffic, free_port

from cubicweb_leakwatch.metrics.gather import gather
from cubicweb_leakwatch.recording.conclusions import read_findings
from cubicweb_leakwatch.recording.restartlog import finished_restarts
from cubicweb_leakwatch.serve.control import ask_launcher

OPTIONS = {
    "leakdemo-polls": "2",
    "leakdemo-poll-at-most": "100000",
    "leakwatch-interval": "5s",
    "leakwatch-restart-budget": "600/h",
}
GROWTH_KIB = 256


class Soak:
    """One run: the site, its load, and what is known of it."""

    def __init__(self, stack: ExitStack, rate: float) -> None:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        log = home.with_name("repository.log")
        command = [sys.executable, "-m", "cubicweb_leakdemo.repository", str(home.with_name("hg"))]
        repository = processes.start("the repository", command, dict(os.environ), log)
        stack.callback(repository.stop)
        processes.wait_until(lambda: "http" in log.read_text(), "the repository", repository)
        options = {**OPTIONS, "leakdemo-repository-url": log.read_text().split()[-1]}
        self.instance = Instance(home, free_port(), name="soak", options=options)
        self.instance.create()
        self.directory = home / "run" / "leakwatch"
        words = self.instance.command("leak-serve", "soak", "--workers", "2", "--memory-limit", "110MiB")
        self.site = processes.start("leak-serve", words, self.instance.environment(), home / "leak-serve.log")
        stack.callback(self.site.stop)
        processes.wait_until(self._serves, "the site", self.site)
        self.traffic = Traffic(HOST, self.instance.port, path_of, rate)
        self.traffic.start()
        stack.callback(self.traffic.stop)

    def _serves(self) -> bool:
        return any(
            row["state"] == "serving" and row["role"] == "web" for row in gather(self.directory, "soak").processes
        )

    def row(self) -> dict[str, float]:
        """Return the figures of this moment; memory in KiB."""
        rows = gather(self.directory, "soak").processes
        launcher = psutil.Process(ask_launcher(str(self.directory), "status")["pid"])
        scheduler = next((row for row in rows if row["role"] == "scheduler"), {})
        restarts = finished_restarts(self.directory)
        count = self.traffic.count()
        return {
            "sent": count.sent,
            "answered": count.answered,
            "lost": count.lost,
            "slowest ms": round(count.slowest_ms or 0),
            "replaced": sum(each["outcome"] == "replaced" for each in restarts),
            "other": sum(each["outcome"] != "replaced" for each in restarts),
            "abandoned": sum(each["abandoned"] or 0 for each in restarts),
            "launcher KiB": launcher.memory_info().rss // 1024,
            "scheduler KiB": (scheduler.get("uss") or 0) // 1024,
        }


def main() -> int:
    """Run, print, and judge."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--minutes", type=float, default=120.0)
    options.add_argument("--rate", type=float, default=50.0)
    asked = options.parse_args()
    with ExitStack() as stack:
        soak = Soak(stack, asked.rate)
        began, found = time.monotonic(), []
        print("".join(f"{name:>14}" for name in ("minute", *soak.row())), flush=True)
        while (minute := (time.monotonic() - began) / 60) < asked.minutes:
            time.sleep(min(60.0, max(0.0, asked.minutes * 60 - minute * 60)))
            soak.site.check()
            found.append(soak.row())
            shown = ((time.monotonic() - began) / 60, *found[-1].values())
            print(f"{shown[0]:>14.1f}" + "".join(f"{value:>14}" for value in shown[1:]), flush=True)
        count = soak.traffic.stop()
        for finding in read_findings(soak.directory):
            print(f"{finding['process']}: {finding['kind']}: {finding['advice']}")
    early = found[min(5, len(found) // 2)]
    grown = found[-1]["launcher KiB"] - early["launcher KiB"]
    print(f"sent {count.sent}, lost {count.lost} {count.failed}; the launcher grew by {grown} KiB")
    return int(bool(count.lost) or grown > GROWTH_KIB)


if __name__ == "__main__":
    sys.exit(main())
