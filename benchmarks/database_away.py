"""A served site whose PostgreSQL goes away under load: what is answered, what is replaced, what is recorded afterwards.

``python benchmarks/database_away.py [--away 300] [--silent 60] [--dropped 0] [--rate 20]`` needs PostgreSQL (package
postgresql), and for ``--dropped`` iptables, iproute2 and root.

Two workers over a memory limit again and again, because a page that needs no database keeps 256 KiB a request;
``--rate`` of such requests a second, and a quarter as many for the front page, which needs the database; a snapshot of
each process each ten seconds. After a while the database is stopped for ``--away`` seconds, later restarted three times
(``pg_ctl -m immediate``), and paused (SIGSTOP) for ``--silent`` seconds. With ``--dropped`` all of it runs in a network
namespace of its own, the database is asked by TCP, and the kernel drops every packet of it for so many seconds. In the
midst of its absence the scheduler, which keeps what was measured, is replaced as well.

Exits with 1 when a page that needs no database was not answered, one that needs it took over 25 s to fail or did not
come back within 30 s, a replacement failed, or a snapshot is missing or doubled.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "helpers"))

from clusters import cluster, program
from cubicweb_leakdemo.runner import processes
from cubicweb_leakdemo.runner.instance import HOST, Instance
from cubicweb_leakdemo.runner.traffic import ANSWERED, Outcome, Traffic, free_port, send
from sites import query

from cubicweb_leakwatch.recording.restartlog import finished_restarts
from cubicweb_leakwatch.serve.control import ask_launcher

INTERVAL_S, SETTLE_S = 10.0, 30.0
OPTIONS = {"leakwatch-interval": f"{INTERVAL_S:g}s", "leakwatch-types": "0", "leakwatch-restart-budget": "600/h"}
LEAK_MIB, LATE_S, ERROR_S, BACK_S = 100, 30.0, 25.0, 30.0
NAMESPACE = "LEAKWATCH_IN_A_NAMESPACE"
PAGE, FREE = "/", "/keeps"

CUBE = {
    "cubicweb_keeps/__init__.py": """
from pyramid.response import Response
KEPT = []

def keep(request):
    KEPT.append(b"x" * 262144)
    return Response("kept", content_type="text/plain")

def includeme(config):
    config.add_route("keeps", "/keeps")
    config.add_view(keep, route_name="keeps", permission="__no_permission_required__")
""",
    "cubicweb_keeps/__pkginfo__.py": """
distname, numversion, version = "cubicweb-keeps", (0, 1, 0), "0.1.0"
license, author, author_email, description = "LGPL", "x", "x@example.org", "keeps"
__depends__ = {"cubicweb": None, "cubicweb-leakwatch": None}
""",
    "cubicweb_keeps-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: cubicweb-keeps\nVersion: 0.1.0\n",
    "cubicweb_keeps-0.1.0.dist-info/entry_points.txt": "[cubicweb.cubes]\nkeeps = cubicweb_keeps\n",
}
"""A cube whose page needs no database, and leaks."""


class Load(Traffic):
    """Traffic that also tells how long what failed took."""

    def outcomes(self) -> list[Outcome]:
        """Return what became of each request so far."""
        return list(self._outcomes)


class Run:
    """The site, and what went wrong so far."""

    def __init__(self, stack: ExitStack, rate: float, *, tcp: bool) -> None:
        self.rate = rate
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, text in CUBE.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
        self.cluster = stack.enter_context(cluster(program, HOST if tcp else ""))
        database = {**self.cluster.source, "db-name": "away"}
        self.instance = Instance(
            folder / "home", free_port(), name="away", cubes=("keeps",), options=OPTIONS, database=database
        )
        self.instance.create()
        self.directory = folder / "home" / "run" / "leakwatch"
        self.log = folder / "home" / "leak-serve.log"
        self.wrong: list[str] = []
        self.site = self.serve(stack)

    def serve(self, stack: ExitStack) -> processes.Running:
        """Serve it with two workers that may grow by about LEAK_MIB."""
        words = self.instance.command("leak-serve", "away", "--workers", "2", "--memory-limit", f"{110 + LEAK_MIB}MiB")
        site = processes.start("leak-serve", words, self.instance.environment(), self.log)
        stack.callback(site.stop)
        processes.wait_until(lambda: self.get(PAGE).kind == ANSWERED, "the first page", site, every_s=0.5)
        return site

    def get(self, path: str) -> Outcome:
        """Ask for a page once."""
        return send(HOST, self.instance.port, path, LATE_S)

    def replaced(self) -> int:
        """Return how many replacements there have been."""
        return sum(each["outcome"] == "replaced" for each in finished_restarts(self.directory))

    @contextmanager
    def phase(self, name: str, *, away: bool) -> Iterator[None]:
        """Print what a block's requests met; with ``away`` pages that need the database may fail, in time."""
        before, began = self.replaced(), time.monotonic()
        free = Load(HOST, self.instance.port, lambda _number: FREE, self.rate, LATE_S)
        page = Load(HOST, self.instance.port, lambda _number: PAGE, self.rate / 4, LATE_S)
        free.start()
        page.start()
        try:
            yield
        finally:
            free.stop()
            page.stop()
        took, count = time.monotonic() - began, self.replaced() - before
        print(f"{name}: {took:.0f} s, {count} replaced", flush=True)
        self.told("no database", free, may_fail=False)
        self.told("database", page, may_fail=away)
        if count == 0 and took > 120:
            self.wrong.append(f"{name}: nobody was replaced")

    def told(self, name: str, load: Load, *, may_fail: bool) -> None:
        """Print one kind of request, and note what must not be."""
        outcomes = load.outcomes()
        kinds = Counter(each.kind if each.kind == ANSWERED else each.detail or each.kind for each in outcomes)
        times = sorted(each.seconds for each in outcomes)
        late = [each for each in outcomes if each.seconds > ERROR_S]
        print(
            f"    {name:<12} sent {len(outcomes):>5}  median {statistics.median(times):7.3f} s"
            f"  slowest {times[-1]:7.3f} s  {dict(kinds)}",
            flush=True,
        )
        bad = [each for each in outcomes if each.kind not in (ANSWERED, *(("status",) if may_fail else ()))]
        if bad or late:
            self.wrong.append(f"{name}: {len(bad)} failed, {len(late)} later than {ERROR_S:g} s: {bad[:3]}")

    def until_back(self) -> None:
        """Measure after how long the front page is answered again."""
        began = time.monotonic()
        while self.get(PAGE).kind != ANSWERED:
            if time.monotonic() - began > BACK_S:
                self.wrong.append(f"the front page did not come back within {BACK_S:g} s")
                break
            time.sleep(0.2)
        print(f"    the front page is back after {time.monotonic() - began:.1f} s", flush=True)

    def stopped(self, seconds: float) -> None:
        """Stop the database for a while; the process that keeps the measurements is replaced in the middle."""
        self.cluster.stop()
        with self.phase("the database is stopped", away=True):
            time.sleep(seconds / 2)
            ask_launcher(str(self.directory), "restart", process="scheduler", reason="test", by="me")
            time.sleep(seconds / 2)
        self.cluster.start()
        self.until_back()

    def restarted(self) -> None:
        """Restart the database again and again."""
        with self.phase("it is restarted three times", away=True):
            for _time in range(3):
                self.cluster.restart()
                time.sleep(5.0)
        self.until_back()

    def silent(self, seconds: float) -> None:
        """Have the database say nothing for a while."""
        with self.phase("it is silent", away=True), self.cluster.paused():
            time.sleep(seconds)
        self.until_back()

    def dropped(self, seconds: float) -> None:
        """Have the kernel drop every packet to and from the database for a while."""
        iptables = program("iptables-legacy", "iptables")
        with self.phase("every packet of it is dropped", away=True), self.cluster.dropped(iptables):
            time.sleep(seconds)
        self.until_back()

    def judge_records(self) -> None:
        """Compare what is recorded with what was."""
        journal = finished_restarts(self.directory)
        time.sleep(2.5 * INTERVAL_S)  # until what has finished by now is recorded
        rows = query(self.instance, "Any N, I, T ORDERBY T WHERE S snapshot_of P, P name N, P pid I, S t T")
        times: dict[tuple[str, int], list[float]] = defaultdict(list)
        for name, pid, t in rows:
            times[name, pid].append(t)
        gaps = [(b - a, key) for key, found in times.items() for a, b in itertools.pairwise(found)]
        # Where a round was late, the next one is close to it; one that was recorded twice has one time.
        doubled = [key for gap, key in gaps if gap < 1.0]
        # A process notes a sample by itself each ten seconds: where a round was late, those stand for it.
        missing = [(round(gap, 1), key) for gap, key in gaps if gap > 2.5 * INTERVAL_S]
        print(f"{len(rows)} snapshots of {len(times)} processes; the longest gap {max(gaps)[0]:.1f} s")
        recorded = [i for (i,) in query(self.instance, "Any I WHERE X is WorkerRestart, X restart_id I")]
        failed = [each for each in journal if each["outcome"] != "replaced"]
        print(f"{len(journal)} restarts, {len(recorded)} recorded, {len(failed)} failed")
        wrong = {
            f"doubled: {doubled[:5]}": doubled,
            f"missing: {missing[:5]}": missing,
            f"failed: {failed[:3]}": failed,
            "a restart is recorded twice": len(recorded) != len(set(recorded)),
            "a restart is not recorded": not {each["id"] for each in journal} <= set(recorded),
        }
        self.wrong += [sentence for sentence, is_so in wrong.items() if is_so]


def in_a_namespace() -> None:
    """Begin anew in a network namespace of our own, which has a loopback device and nothing else."""
    script = 'ip link set lo up && exec "$@"'
    os.environ[NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, *sys.argv])


def main() -> int:
    """Run, print, and judge."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--away", type=float, default=300.0)
    options.add_argument("--silent", type=float, default=60.0)
    options.add_argument("--dropped", type=float, default=0.0)
    options.add_argument("--steady", type=float, default=20.0)
    options.add_argument("--rate", type=float, default=20.0)
    asked = options.parse_args()
    if asked.dropped and NAMESPACE not in os.environ:
        in_a_namespace()
    with ExitStack() as stack:
        run = Run(stack, asked.rate, tcp=bool(asked.dropped))
        with run.phase("all is well", away=False):
            time.sleep(asked.steady)
        if asked.away:
            run.stopped(asked.away)
        run.restarted()
        if asked.silent:
            run.silent(asked.silent)
        if asked.dropped:
            run.dropped(asked.dropped)
        with run.phase("all is well again", away=False):
            time.sleep(SETTLE_S)
        run.judge_records()
        text = run.log.read_text()
        for event in ("boot-without-database", "boot-confirmed", "database-silent"):
            print(f"event={event}: {text.count(f'event={event}')}")
    print("\n".join(run.wrong) or "all as it must be")
    return int(bool(run.wrong))


if __name__ == "__main__":
    sys.exit(main())
