"""A long run of ``leak-serve`` with the demo's leaks under load.

``python benchmarks/soak.py [--minutes 120] [--rate 50]``

Two workers with a cache that never expires (limit 300 MiB), a scheduler whose polling leaks until it keeps two thousand
handlers, a snapshot each five seconds. Of five requests one asks for a page that is not in the cache yet, one for the
front page, three for a health check. Each minute it prints what was sent and lost, the memory of launcher and
scheduler, how many replacements there have been, and what is concluded of each process.

Exits with 1 when a request was lost, the launcher has grown by over 256 KiB since the first five minutes (or half of a
shorter run), the scheduler by over 4 MiB in the last quarter, when its leak has long ended, a restart had another
outcome than ``replaced``, or a leak was not found.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from cubicweb_leakdemo.runner import processes
from cubicweb_leakdemo.runner.instance import HOST, Instance
from cubicweb_leakdemo.runner.traffic import Count, Traffic, free_port

from cubicweb_leakwatch.metrics.gather import gather
from cubicweb_leakwatch.recording.conclusions import read_findings
from cubicweb_leakwatch.recording.restartlog import finished_restarts
from cubicweb_leakwatch.serve.control import ask_launcher

LEAKED = 2000
OPTIONS = {
    "leakdemo-polls": "2",
    "leakdemo-poll-at-most": str(LEAKED),
    "leakwatch-interval": "5s",
    "leakwatch-restart-budget": "600/h",
}
CULPRIT = "mercurial.url.httphandler"
LAUNCHER_KIB, SCHEDULER_KIB = 256, 4096
HEALTH = "/_leakwatch/livez"


def path_of(number: int) -> str:
    """Return what request ``number`` asks for."""
    page = {0: f"/?vid=leakdemo-changeset&revision={number // 5}", 1: "/"}
    return page.get(number % 5, HEALTH)


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
        words = self.instance.command("leak-serve", "soak", "--workers", "2", "--memory-limit", "300MiB")
        self.site = processes.start("leak-serve", words, self.instance.environment(), home / "leak-serve.log")
        stack.callback(self.site.stop)
        processes.wait_until(self._serves, "the site", self.site)
        self.found: dict[str, str] = {}
        self.traffic = Traffic(HOST, self.instance.port, path_of, rate)
        self.traffic.start()
        stack.callback(self.traffic.stop)

    def _serves(self) -> bool:
        rows = gather(self.directory, "soak").processes
        return any(row["state"] == "serving" and row["role"] == "web" for row in rows)

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
            # Not what is its own: while a copy of it is looked at, a process shares nearly all of its pages.
            "scheduler KiB": (scheduler.get("rss") or 0) // 1024,
        }

    def news(self) -> list[str]:
        """Return what is concluded of a process now, where that is new."""
        told = []
        for finding in read_findings(self.directory):
            culprits = ", ".join(culprit["type"] for culprit in finding.get("culprits") or ())
            text = f"{finding['kind']}{f' ({culprits})' if culprits else ''}: {finding['advice']}"
            if self.found.get(finding["process"], "").split(":")[0] != text.split(":")[0]:
                told.append(f"    {finding['process']}: {text}")
            self.found[finding["process"]] = text
        return told


def problems(rows: list[dict[str, Any]], count: Count, told: list[str]) -> list[str]:
    """Return what was not as it must be."""
    early, late, last = rows[min(5, len(rows) // 2)], rows[len(rows) * 3 // 4], rows[-1]
    launcher = last["launcher KiB"] - early["launcher KiB"]
    scheduler = last["scheduler KiB"] - late["scheduler KiB"]
    wrong = {
        f"{count.lost} requests were lost: {count.failed}": count.lost > 0,
        f"the launcher grew by {launcher} KiB": launcher > LAUNCHER_KIB,
        f"the scheduler grew by {scheduler} KiB in the last quarter": scheduler > SCHEDULER_KIB,
        f"{last['other']} restarts failed, {last['abandoned']} requests abandoned": last["other"] + last["abandoned"]
        > 0,
        f"{CULPRIT} was never named": not any(CULPRIT in line for line in told),
    }
    return [sentence for sentence, is_so in wrong.items() if is_so]


def main() -> int:
    """Run, print, and judge."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--minutes", type=float, default=120.0)
    options.add_argument("--rate", type=float, default=50.0)
    asked = options.parse_args()
    rows, told = [], []
    with ExitStack() as stack:
        soak = Soak(stack, asked.rate)
        began = time.monotonic()
        print("".join(f"{name:>14}" for name in ("minute", *soak.row())), flush=True)
        while (left_s := began + asked.minutes * 60 - time.monotonic()) > 0:
            time.sleep(min(60.0, left_s))
            soak.site.check()
            rows.append(soak.row())
            news = soak.news()
            told += news
            minute = (time.monotonic() - began) / 60
            print(f"{minute:>14.1f}" + "".join(f"{value:>14}" for value in rows[-1].values()), flush=True)
            for line in news:
                print(line, flush=True)
        count = soak.traffic.stop()
    print(f"sent {count.sent}, answered {count.answered}, lost {count.lost} {count.failed}")
    wrong = problems(rows, count, told)
    print("\n".join(wrong) or "all as it must be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
