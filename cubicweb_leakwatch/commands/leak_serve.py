"""``leak-serve``: the instance under a launcher that replaces its workers."""

import os
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable
from typing import Any

from cubicweb_leakwatch.commands.base import Command
from cubicweb_leakwatch.commands.options import Option, count, duration, number, size
from cubicweb_leakwatch.commands.running import require_cube
from cubicweb_leakwatch.commands.terminal import Screen, say
from cubicweb_leakwatch.errors import EXIT_DONE
from cubicweb_leakwatch.watch.units import format_duration


def addresses(text: str) -> tuple[str, ...]:
    """Read the addresses of ``--bind``, separated by commas."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ArgumentTypeError("it names no address; write HOST:PORT or unix:PATH")
    return found


class LeakServe(Command):
    """Serve an instance: a small launcher, its web workers and its scheduler, in the foreground."""

    name = "leak-serve"
    own_options = (
        Option("--workers", "web workers, each a process of its own", count, "N", default=1),
        Option("--threads", "threads of each worker", count, "N", default=4),
        Option(
            "--bind",
            "where to listen: HOST:PORT or unix:PATH, several separated by commas",
            addresses,
            "ADDRESS",
            default_text="interface and port of the instance's configuration",
        ),
        Option("--scheduler", "run the instance's looping tasks as well", default=True, negatable=True),
        Option(
            "--memory-limit",
            "private memory past which a worker is replaced, e.g. 400MiB; 0 for a share of what there is",
            size,
            "SIZE",
            default_text="option leakwatch-memory-limit",
        ),
        Option(
            "--max-requests",
            "requests after which a worker is replaced; 0 for no such limit",
            number,
            "N",
            default_text="option leakwatch-max-requests",
        ),
        Option(
            "--max-age",
            "age at which a worker is replaced, e.g. 12h; 0 for no such limit",
            duration,
            "DURATION",
            default_text="option leakwatch-max-age",
        ),
        Option(
            "--drain-timeout",
            "time that a retiring worker gets to finish its requests, e.g. 30s",
            duration,
            "DURATION",
            default_text="option leakwatch-drain-timeout",
        ),
        Option("--dry-run", "say what would be started, and start nothing; so does --json"),
    )
    examples = (
        ("cubicweb-ctl leak-serve mysite --workers 2", "two workers and the scheduler, as the instance's options say"),
        (
            "cubicweb-ctl leak-serve mysite --bind unix:/run/mysite.sock --memory-limit 400MiB",
            "behind nginx, each worker replaced at 400 MiB",
        ),
    )

    def data(self, asked: Namespace) -> dict[str, Any]:
        """Return the plan as data; raises what would keep it from starting, except with ``--dry-run``."""
        self.planned = self._plan(asked) if asked.dry_run else self._startable(asked)
        return dict(self.planned[1].fields())

    def _plan(self, asked: Namespace) -> Any:
        from cubicweb_leakwatch.commands import serving
        from cubicweb_leakwatch.room import read_room
        from cubicweb_leakwatch.serve.spec import check_spec

        instance = self.instance(asked)
        require_cube(instance)
        # the configuration reads the overrides where every other process of the instance reads them
        os.environ.update(serving.environment(asked))
        loaded = serving.load(instance)
        spec = serving.plan(instance, loaded, asked, read_room())
        check_spec(spec)
        return loaded.settings, spec

    def _startable(self, asked: Namespace) -> Any:
        """Return the plan once nothing stands in its way: a refusal comes before any of it is told."""
        from cubicweb_leakwatch.probe.runtime import runtime_dir
        from cubicweb_leakwatch.serve.preflight import check_start

        settings, spec = self._plan(asked)
        runtime_dir(self.instance(asked).data_home)
        check_start(spec)
        return settings, spec

    def lines(self, data: dict[str, Any], asked: Namespace, screen: Screen) -> Iterable[str]:
        """Return the plan for people."""
        return plan_lines(*self.planned)

    def run(self, asked: Namespace) -> int:
        """Become the launcher; with ``--dry-run`` show the plan."""
        if asked.dry_run or asked.json:
            return super().run(asked)
        from cubicweb_leakwatch.serve.run import run_launcher

        settings, spec = self._startable(asked)
        for line in plan_lines(settings, spec):
            say(line, sys.stderr)
        say(f"next: cubicweb-ctl leak-status {asked.instance}", sys.stderr)
        run_launcher(spec)
        return EXIT_DONE


def plan_lines(settings: Any, spec: Any) -> list[str]:
    """Return what is about to be served, how, and within which limits."""
    from cubicweb_leakwatch.commands.serving import told_limit

    limits = spec.limits
    scheduler = "with the scheduler" if spec.scheduler else "without a scheduler: looping tasks do not run"
    return [
        f"{spec.instance}: {spec.workers} web worker{'s' if spec.workers > 1 else ''} of {spec.threads} threads,"
        f" {scheduler}",
        f"listening on:   {', '.join(spec.bind)}",
        f"memory limit:   {told_limit(settings, spec)}",
        f"other limits:   {_other_limits(limits.max_requests, limits.max_age_s)}",
        f"drain timeout:  {format_duration(spec.timing.drain_timeout_s)}",
        f"restarts:       {settings.rules.mode}",
        f"sockets in:     {spec.runtime_dir}",
    ]


def _other_limits(max_requests: int, max_age_s: float) -> str:
    told = []
    if max_requests:
        told.append(f"{max_requests:,} requests")
    if max_age_s:
        told.append(f"an age of {format_duration(max_age_s)}")
    return " and ".join(told) or "none"
