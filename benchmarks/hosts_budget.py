"""Two hosts whose workers all leak, for a simulated day: is the budget of automatic restarts ever exceeded?

``python benchmarks/hosts_budget.py [--hours 24] [--budget 6/h] [--away]`` needs PostgreSQL (Debian package postgresql).

Seven web workers and a scheduler on each host; a web worker is over its hard limit within forty to eighty minutes of
its start, and asks for its successor until it has one. Launchers' fleets, arrangers, turns (advisory locks) and records
are the real ones, on a real database; processes and clocks are pretended, so that a day takes minutes. With ``--away``
the database is away for ten minutes every four hours: then each host counts its own restarts alone.
"""

import argparse
import heapq
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "helpers"))

from clusters import postgresql, program
from cubicweb_leakdemo.runner.instance import Instance
from cubicweb_leakdemo.runner.traffic import free_port

from cubicweb_leakwatch.serve import answers
from cubicweb_leakwatch.serve.answers import Answers
from cubicweb_leakwatch.serve.fleet import Fleet
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, Policy
from cubicweb_leakwatch.watch.policy import Budget, parse_budget

START = 1_795_000_000.0
HOSTS, WORKERS = ("alpha", "beta"), 7
BOOT_S, DRAIN_S, ASK_EVERY_S = (2.0, 6.0), (1.0, 8.0), 30.0
LIFE_S = (2400.0, 4800.0)
AWAY_EVERY_S, AWAY_S = 4 * 3600.0, 600.0


class Clock:
    """The seconds since the start of the day, and what is to happen when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Have ``act`` called then."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, act))

    def forward(self, to: float) -> None:
        """Do what is due until then."""
        while self._due and self._due[0][0] <= to:
            self.now, _count, act = heapq.heappop(self._due)
            act()
        self.now = to


class Host:
    """A launcher without processes: they boot, leak and end by the clock. It is its own fleet's hands."""

    def __init__(self, name: str, clock: Clock, policy: Policy, seed: int) -> None:
        self.name, self.clock, self.random = name, clock, random.Random(seed)
        self.records: list[dict[str, Any]] = []
        self.begun: list[float] = []
        self._pids = iter(range(1000, 10**6))
        child = Child(command=("pretended",))
        more = {"scheduler": child, "workers": WORKERS, "policy": policy}
        spec = LaunchSpec(instance="day", runtime_dir=name, bind=(), web=child, **more)
        self.fleet = Fleet(spec, self)
        self.answers = Answers(self.fleet, None, [], 0.0)  # type: ignore[arg-type]
        self.fleet.start(0.0)

    def start(self, name: str, role: str, _generation: int, _broken: bool) -> int:
        """Boot, and if it is a web worker leak."""
        pid = next(self._pids)
        boot_s = self.random.uniform(*BOOT_S)
        self.clock.later(boot_s, lambda: self.fleet.became_ready(pid, self.clock.now))
        if role == "web":
            self.clock.later(boot_s + self.random.uniform(*LIFE_S), lambda: self._over_its_limit(pid))
        return pid

    def _over_its_limit(self, pid: int) -> None:
        if pid in self.fleet.workers:
            self.fleet.replacements.wanted_by(pid, "over its limit", self.clock.now, repeated=True)
            self.clock.later(ASK_EVERY_S, lambda: self._over_its_limit(pid))

    def signal(self, pid: int, number: int) -> None:
        """Drain on SIGTERM."""
        if number == 15:
            self.begun.append(self.clock.now)
            self.clock.later(self.random.uniform(*DRAIN_S), lambda: self.fleet.ended(pid, 0, self.clock.now))

    def record(self, restart: Any) -> None:
        """Keep a finished restart, as the journal does."""
        self.records.append(restart.as_json())

    def wall(self) -> float:
        """Return Unix time."""
        return START + self.clock.now

    def rss(self, _pid: int | None) -> int:
        """Return one size for all."""
        return 10**8

    def ready(self, _worker: Any) -> None:
        """Nothing to do."""

    def note(self, _event: str, **_fields: object) -> None:
        """Nothing to log."""

    def room(self) -> None:
        """Return that there is room."""


def day(repo: Any, budget: Budget, hours: float, *, away: bool) -> list[Host]:
    """Live through the day, second by second."""
    from cubicweb_leakwatch.recording import arranger, records

    policy = Policy(budget_count=budget.count, budget_s=budget.per_s)
    clock = Clock()
    hosts = {name: Host(name, clock, policy, seed) for seed, name in enumerate(HOSTS, start=1)}

    def ask(directory: str, _question: str, **parameters: object) -> dict[str, Any]:
        return hosts[directory].answers.turn(parameters)

    def record(host: Host) -> None:
        with repo.internal_cnx() as cnx:
            records.record_restarts(cnx, host.name, host.records[-20:])
            cnx.commit()

    def is_away() -> bool:
        return away and clock.now % AWAY_EVERY_S > AWAY_EVERY_S - AWAY_S

    real_cnx = repo.internal_cnx

    def internal_cnx() -> Any:
        if is_away():
            raise OSError("the database is away")
        return real_cnx()

    arrangers = [
        (arranger.Arranger(repo, Path(name), budget, lambda host=host: record(host)), [0.0])
        for name, host in hosts.items()
    ]
    told, turns = SimpleNamespace(monotonic=lambda: clock.now), random.Random(0)
    with (
        mock.patch.object(arranger, "ask_launcher", ask),
        mock.patch.object(answers, "time", told),
        mock.patch.object(records, "database_now", lambda _cnx: START + clock.now),
        mock.patch.object(repo, "internal_cnx", internal_cnx),
    ):
        while clock.now < hours * 3600:
            clock.forward(clock.now + 1.0)
            for each, due in turns.sample(arrangers, len(arrangers)):
                if clock.now >= due[0]:
                    due[0] = clock.now + each._step_logged()
            for host in hosts.values():
                host.fleet.tick(clock.now)
                if clock.now % 60 == 0 and not is_away():
                    record(host)
    return list(hosts.values())


def most_within(times: list[float], seconds: float) -> int:
    """Return how many of the times lie within so many seconds, at most."""
    times = sorted(times)
    return max((sum(t <= other < t + seconds for other in times[at:]) for at, t in enumerate(times)), default=0)


def main() -> int:
    """Simulate the day; return 1 when the budget was exceeded."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--hours", type=float, default=24.0)
    options.add_argument("--budget", type=parse_budget, default=parse_budget("6/h"))
    options.add_argument("--away", action="store_true")
    asked = options.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, postgresql(program) as source:
        database = {**source, "db-name": "budget"}
        instance = Instance(Path(folder) / "home", free_port(), name="day", cubes=("leakwatch",), database=database)
        instance.create()
        os.environ.update(instance.environment())
        from cubicweb.cwconfig import CubicWebConfiguration

        repo = CubicWebConfiguration.config_for("day").repository()
        hosts = day(repo, asked.budget, asked.hours, away=asked.away)
        with repo.internal_cnx() as cnx:
            ((recorded,),) = cnx.execute("Any COUNT(X) WHERE X is WorkerRestart").rows
        repo.shutdown()
    budget, all_begun = asked.budget, [t for host in hosts for t in host.begun]
    most, single = most_within(all_begun, budget.per_s), [most_within(host.begun, budget.per_s) for host in hosts]
    print(
        f"{asked.hours:g} h, {len(HOSTS)} hosts x {WORKERS + 1} processes, budget {budget.count} in {budget.per_s:g} s"
    )
    print(f"replacements: {len(all_begun)} ({', '.join(f'{host.name} {len(host.begun)}' for host in hosts)})")
    print(f"recorded: {recorded}; most within the budget's time: {most} of all hosts, {single} of one")
    print(f"two at once: {overlaps(hosts)}; took {time.monotonic() - began:.0f} s")
    allowed = budget.count * (len(HOSTS) if asked.away else 1)
    return int(most > allowed or max(single) > budget.count or recorded != len(all_begun))


def overlaps(hosts: list[Host]) -> int:
    """Return how many replacements of one host began while another host's went on."""
    spans = sorted((row["ready_at"], row["exited_at"]) for host in hosts for row in host.records if row["exited_at"])
    return sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))


if __name__ == "__main__":
    sys.exit(main())
