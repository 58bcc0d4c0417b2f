"""``python -m cubicweb_leakwatch.serve``: the launcher for anything, without CubicWeb.

Any WSGI callable (``--wsgi MODULE:APP``), or any command that takes its socket by ``LISTEN_FDS`` (or, with ``--fcgi``,
as descriptor 0), tells readiness by ``sd_notify`` and drains on SIGTERM.
"""

import argparse
import sys
from pathlib import Path

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.serve.run import policy_of, run_launcher
from cubicweb_leakwatch.serve.spec import Child, LaunchSpec, Limits, Timing
from cubicweb_leakwatch.serve.wsgi import default_runtime_dir
from cubicweb_leakwatch.watch.policy import Rules, parse_budget, parse_mode, parse_window
from cubicweb_leakwatch.watch.units import parse_duration, parse_size

EXAMPLES = """\
examples:
  python -m cubicweb_leakwatch.serve --bind 127.0.0.1:8000 --workers 2 --memory-limit 300MiB --wsgi mysite.wsgi:app
  python -m cubicweb_leakwatch.serve --bind unix:/run/trac.sock --memory-limit 90MB --fcgi -- ./trac.fcgi
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(
        prog="python -m cubicweb_leakwatch.serve",
        description="Serve an application and replace its workers before they grow too big, without losing a request.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--bind", action="append", metavar="ADDRESS", help="HOST:PORT or unix:PATH; may be repeated (127.0.0.1:8080)")
    add("--socket-mode", type=octal, default=0o660, metavar="MODE", help="permissions of a Unix socket (660)")
    add("--workers", type=int, default=1, metavar="N", help="web workers (1)")
    add("--threads", type=int, default=4, metavar="N", help="threads of each worker, with --wsgi (4)")
    add(
        "--memory-limit",
        type=parse_size,
        default=0,
        metavar="SIZE",
        help="replace a worker beyond it, e.g. 300MiB (0: off)",
    )
    add("--max-requests", type=int, default=0, metavar="N", help="replace a worker after N requests (0: off)")
    add("--max-age", type=parse_duration, default=0.0, metavar="DURATION", help="replace a worker of this age (0: off)")
    add(
        "--drain-timeout", type=parse_duration, default=30.0, metavar="DURATION", help="longest drain of a worker (30s)"
    )
    add("--restart", type=parse_mode, default="auto", metavar="MODE",
        help="auto replaces, advise only says what it would do, off leaves it to you (auto)")  # fmt: skip
    add("--restart-budget", type=parse_budget, metavar="N/TIME", help="automatic restarts at most, e.g. 6/h (no bound)")
    add(
        "--restart-window",
        type=parse_window,
        metavar="HH:MM-HH:MM",
        help="when workers are replaced for requests or age",
    )
    add("--ready-timeout", type=parse_duration, default=60.0, metavar="DURATION", help="longest boot (60s)")
    add("--ready-path", default="/", metavar="PATH", help="what a new worker asks itself first, with --wsgi (/)")
    add("--runtime-dir", metavar="DIR", help="for sockets, lock and journal (below XDG_RUNTIME_DIR or the temp folder)")
    add("--name", metavar="NAME", help="what logs and titles call it (after the application)")
    add("--fcgi", action="store_true", help="the command takes the socket as descriptor 0, as FastCGI programs do")
    add("--wsgi", metavar="MODULE:APP", help="the WSGI callable to serve; MODULE:FACTORY() is called first")
    add("command", nargs="*", metavar="COMMAND", help="a command to run as the worker, after --")
    return options


def specification(options: argparse.Namespace) -> LaunchSpec:
    """Return what the launcher is to do; raises ConfigurationError when the options contradict each other."""
    if bool(options.wsgi) == bool(options.command):
        raise ConfigurationError("give either --wsgi MODULE:APP or -- COMMAND")
    if options.fcgi and options.wsgi:
        raise ConfigurationError("--fcgi is for a command, --wsgi serves HTTP itself")
    name = options.name or options.wsgi or Path(options.command[0]).name
    return LaunchSpec(
        instance=name,
        runtime_dir=options.runtime_dir or default_runtime_dir(name),
        bind=tuple(options.bind or ("127.0.0.1:8080",)),
        web=child(options),
        workers=options.workers,
        socket_mode=options.socket_mode,
        threads=options.threads,
        environment={"LEAKWATCH_INSTANCE": name},
        limits=Limits(memory_bytes=options.memory_limit, max_requests=options.max_requests, max_age_s=options.max_age),
        timing=Timing(drain_timeout_s=options.drain_timeout, ready_timeout_s=options.ready_timeout),
        policy=policy_of(Rules(options.restart, options.restart_budget, options.restart_window)),
    )


def child(options: argparse.Namespace) -> Child:
    """Return how a worker is started: ours for a WSGI callable, else the command as it is."""
    if options.wsgi:
        module = "cubicweb_leakwatch.serve.wsgi"
        return Child(command=(sys.executable, "-m", module, options.wsgi, options.ready_path))
    return Child(command=tuple(options.command), announces=False, guards_itself=False, fcgi=options.fcgi)


def octal(text: str) -> int:
    """Return the permissions that digits like 660 mean."""
    return int(text, 8)


def main() -> None:
    """Become the launcher, or say in one line why not."""
    try:
        run_launcher(specification(parser().parse_args()))
    except LeakwatchError as error:
        sys.stderr.write(f"leakwatch: {error.message}" + (f" ({error.hint})" if error.hint else "") + "\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
