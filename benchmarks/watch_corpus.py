"""The conclusions on leaks that happen: cases of a corpus, each in a served instance amid ordinary traffic.

    python benchmarks/watch_corpus.py CORPUS [CASE…] [--seconds 240] [--interval 3s] [--at-once 2] [--in-scheduler CASE]

CORPUS is a folder of ``NAME/run.py``, each with ``step()``, what one request leaks, and ``TRUTH``, what a right
diagnosis says. Each case gets an instance of its own, made and removed: one web worker and the scheduler, a page that
does some steps, a quarter of all requests, among other pages in a mix that varies. A case named after
``--in-scheduler`` is stepped by a looping task instead. The clock is a fast one: some minutes stand for some hours.

A case of which ``TRUTH`` says ``varied_queries`` has every other page ask a query that nobody asked before, so that
CubicWeb's caches fill: with a ``step()`` that leaks nothing, that is how a clean instance is watched:
``python benchmarks/watch_corpus.py benchmarks watch_clean --seconds 300``.
"""

import argparse
import importlib.util
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cubicweb_leakdemo.runner import processes, traffic
from cubicweb_leakdemo.runner.instance import HOST, Instance

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.live import taken_dump  # noqa: F401 - fails early where the cube is not installed

KINDS = {
    "reachable": {"python-objects"},
    "uncollectable": {"uncollectable"},
    "untracked": {"python-memory"},
    "native": {"native"},
    "plateau": {"plateau"},
    "fragmentation": {"fragmentation"},
    "garbage": {"steady"},
    "clean": {"steady", "warming-up", "plateau"},
}
CASE_SHARE = 4
WANTED_GROWTH = 60 * 1024**2
OTHERS = ("/", "/?vid=manage", "/cwgroup", "/cwuser", "/?rql=Any+X+WHERE+X+is+CWEType&vid=table", "/cwetype/Bookmark")
CUBE = {
    "cubicweb_leakcases/__init__.py": "",
    "cubicweb_leakcases/__pkginfo__.py": (
        'modname, distname = "cubicweb_leakcases", "cubicweb-leakcases"\nnumversion, version = (0, 1, 0), "0.1.0"\n'
        'license, author, description, web = "LGPL", "us", "leaks", "http://localhost/"\n'
        '__depends__ = {"cubicweb": None, "cubicweb-web": None, "cubicweb-leakwatch": None}\n'
    ),
    "cubicweb_leakcases-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: cubicweb-leakcases\nVersion: 0.1.0\n",
    "cubicweb_leakcases-0.1.0.dist-info/entry_points.txt": "[cubicweb.cubes]\nleakcases = cubicweb_leakcases\n",
    "cubicweb_leakcases/case.py": """
import importlib.util, os, sys
from pathlib import Path

path = Path(os.environ["LEAK_CASE"])
spec = importlib.util.spec_from_file_location("leakcase_" + path.parent.name, path)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)


def steps(count):
    for _ in range(count):
        module.step()
""",
    "cubicweb_leakcases/views.py": """
from cubicweb_web.view import StartupView


class CaseView(StartupView):
    __regid__ = "leakcase"
    title = "case"

    def call(self, **kwargs):
        from cubicweb_leakcases import case
        case.steps(int(self._cw.form.get("n", 1)))
        self.w("<p>done</p>")
""",
    "cubicweb_leakcases/hooks.py": """
import os
from cubicweb.server.hook import Hook


def harmless_task():
    return sorted(str(number) for number in range(2000))


def leaking_task(count):
    from cubicweb_leakcases import case
    case.steps(count)


class Start(Hook):
    __regid__ = "leakcases.start"
    events = ("server_startup",)

    def __call__(self):
        if self.repo.has_scheduler():
            self.repo.looping_task(1.3, harmless_task)
            if os.environ.get("LEAK_STEPS"):
                self.repo.looping_task(1, leaking_task, int(os.environ["LEAK_STEPS"]))
""",
}


@dataclass(frozen=True)
class Case:
    """One case and how it is run: ``steps`` at a request, or at a round of the looping task; ``rate`` requests a s."""

    path: Path
    truth: dict[str, Any]
    steps: int
    rate: float
    in_scheduler: bool

    @property
    def name(self) -> str:
        """The case's folder, and where it ran when that was not a web worker."""
        return self.path.parent.name + (" (scheduler)" if self.in_scheduler else "")


def read_case(path: Path, seconds: float, rate: float, *, in_scheduler: bool) -> Case:
    """Return a case with so many steps a request that it leaks, or fills, an amount that can be seen."""
    spec = importlib.util.spec_from_file_location("case", path)
    assert spec is not None
    text = path.read_text()
    start = text.index("TRUTH = ")
    truth = eval(text[start + len("TRUTH = ") :], {"__builtins__": {}})
    requests = seconds if in_scheduler else seconds * rate / CASE_SHARE
    if truth.get("plateau_after"):
        steps = truth["plateau_after"] / (0.35 * requests)
    elif truth.get("sawtooth_period"):
        steps = 8 * truth["sawtooth_period"] / requests
    else:
        steps = WANTED_GROWTH / (truth.get("rss_per_step") or truth["bytes_per_step"] or 20_000) / requests
    if truth["class"] == "fragmentation":
        steps = 2
    return Case(path, truth, min(1000, math.ceil(steps)), rate, in_scheduler)


def make_cube(folder: Path) -> None:
    """Write the throw-away cube."""
    for name, text in CUBE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def run(case: Case, home: Path, seconds: float, interval: str, packages: str | None) -> dict[str, Any]:
    """Serve and load an instance with one case; return the finding about the process it ran in."""
    cube = home / "cube"
    make_cube(cube)
    paths = [str(cube), *([packages] if packages else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    options = {"leakwatch-interval": interval, "leakwatch-restart": "off"}
    instance = Instance(home / "instance", traffic.free_port(), name="case", cubes=("leakcases",), options=options)
    instance.create()
    environment = instance.environment() | {"PYTHONPATH": os.pathsep.join(paths), "LEAK_CASE": str(case.path)}
    if case.in_scheduler:
        environment["LEAK_STEPS"] = str(case.steps)
    command = instance.command("leak-serve", instance.name, "--workers", "1", "--memory-limit", "4GiB")
    server = processes.start("leak-serve", command, environment, home / "leak-serve.log")
    try:
        processes.wait_until(lambda: traffic.send(HOST, instance.port, "/", 10.0).kind == "answered", "start", server)
        return _watched(case, instance, server, seconds)
    finally:
        server.stop()


def _watched(case: Case, instance: Instance, server: processes.Running, seconds: float) -> dict[str, Any]:
    chance = random.Random(case.name)

    def path_of(number: int) -> str:
        if chance.random() < 1 / CASE_SHARE and not case.in_scheduler:
            return f"/?vid=leakcase&n={chance.randint(max(1, case.steps // 2), case.steps + (case.steps + 1) // 2)}"
        if case.truth.get("varied_queries") and number % 2:
            return f"/?rql=Any+X+WHERE+X+is+CWGroup,+X+name+'group-{number}'&vid=list"
        weights = [1 + 3 * ((number // 100 + k) % len(OTHERS) == 0) for k in range(len(OTHERS))]
        return chance.choices(OTHERS, weights)[0]

    load = traffic.Traffic(HOST, instance.port, path_of, case.rate)
    load.start()
    started, first, kinds = time.monotonic(), None, []
    finding: dict[str, Any] = {}
    while time.monotonic() - started < seconds:
        time.sleep(5)
        server.check()
        finding = said(instance, "scheduler" if case.in_scheduler else "web-1") or finding
        if finding and (not kinds or kinds[-1][1] != finding["kind"]):
            kinds.append((round(time.monotonic() - started), finding["kind"]))
        if first is None and finding.get("leak"):
            first = round(time.monotonic() - started)
    count = load.stop()
    opened = json.loads(instance.run("leak-findings", instance.name, "--all", "--json"))["data"]
    history = json.loads(instance.run("leak-history", instance.name, "--types", "--json"))["data"]
    return {
        "finding": finding, "first": first, "kinds": kinds, "count": count, "opened": opened, "history": history,
    }  # fmt: skip


def said(instance: Instance, process: str) -> dict[str, Any] | None:
    """Return what was concluded last about a process."""
    for path in (instance.home / "run").rglob("findings.json"):
        document = json.loads(path.read_text())
        return next((found for found in document["findings"] if found["process"] == process), None)
    return None


def told(case: Case, result: dict[str, Any]) -> str:
    """Return one row of the table."""
    finding, truth = result["finding"], case.truth
    kind = finding.get("kind", "nothing")
    right = "yes" if kind in KINDS[truth["class"]] else "**no**"
    culprits = [culprit["type"] for culprit in finding.get("culprits") or ()]
    views = [view["view"] for view in finding.get("views") or ()]
    wanted = " or ".join(sorted(KINDS[truth["class"]]))
    cells = (
        case.name, wanted, kind, right, ", ".join(culprits[:2]) or "–", finding.get("holder") or "–",
        ", ".join(views) or "–", f"{result['first']} s" if result["first"] else "–",
        ", ".join(f"{said_kind} at {at} s" for at, said_kind in result["kinds"]),
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--interval", default="3s")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--in-scheduler", action="append", default=[], metavar="CASE")
    parser.add_argument("--packages", help="a folder with what the cases need and is not installed")
    parser.add_argument("--keep", type=Path, help="write each whole result here, as JSON")
    options = parser.parse_args()
    names = options.cases or sorted(path.parent.name for path in options.corpus.glob("*/run.py"))
    chosen = [
        read_case(
            options.corpus.resolve() / name / "run.py",
            options.seconds,
            options.rate,
            in_scheduler=name in options.in_scheduler,
        )
        for name in names
    ]
    print("| case | truth | said | right | culprits | holder | views or tasks | a leak after | on the way |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")

    def one(case: Case) -> None:
        home = Path(tempfile.mkdtemp(prefix="leakcase-"))
        try:
            result = run(case, home, options.seconds, options.interval, options.packages)
            print(told(case, result), flush=True)
            if options.keep:
                options.keep.mkdir(exist_ok=True)
                (options.keep / f"{case.name}.json").write_text(json.dumps(result, default=str, indent=1))
        except (processes.ProcessDied, LeakwatchError, OSError) as error:
            print(f"{case.name}: {error}", file=sys.stderr)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(one, chosen))


if __name__ == "__main__":
    main()
