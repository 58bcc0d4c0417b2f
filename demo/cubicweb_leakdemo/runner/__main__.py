"""``python -m cubicweb_leakdemo.runner``: the demo's command line; ``make demo`` calls it."""

import argparse
import signal
import sys
from pathlib import Path

from . import show
from .demo import Demo, Settings
from .instance import CommandFailed
from .processes import ProcessDied
from .traffic import port_in_use

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 2
EXIT_CONFIGURATION = 4


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="serve a CubicWeb site that leaks, and watch leakwatch at work on it")
    add = parser.add_argument
    add("--home", type=Path, default=Path("build/demo"), help="folder of the instance, made anew (default %(default)s)")
    add("--port", type=int, default=8080, help="TCP port of 127.0.0.1 (default %(default)s)")
    add("--for", dest="seconds", type=float, help="end after so many seconds and judge what was found")
    add("--json", action="store_true", help="print what was found as one JSON document")
    add("--memory-limit", default=Settings.memory_limit, help="of one web worker (default %(default)s)")
    add("--polls", type=int, default=Settings.polls, help="handlers leaked a second (default %(default)s)")
    add("--at-most", type=int, default=Settings.at_most, help="handlers leaked in all (default %(default)s)")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(message: str, status: int) -> int:
    _say(f"demo: {message}")
    return status


def _interrupt(_signal: int, _frame: object) -> None:
    # Only the first: a second Ctrl-C must not break off the clean-up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo and return its exit status."""
    options = _arguments()
    if port_in_use(options.port):
        return _fail(f"port {options.port} is in use; take another: make demo DEMO_PORT=8081", EXIT_CONFIGURATION)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    settings = Settings(
        options.home.resolve(), options.port, options.seconds, options.memory_limit, options.polls, options.at_most
    )
    try:
        demo = Demo(settings, _say)
        result = demo.run()
    except (CommandFailed, ProcessDied) as error:
        return _fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if result is None:
        return EXIT_DONE if options.seconds is None else EXIT_INTERRUPTED
    print(show.as_json(result, demo.instance.name) if options.json else show.as_text(result), flush=True)
    return EXIT_FAILED if result.problems else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
