"""``python -m cubicweb_leakwatch.heap``: analyse a dump in a process of its own, print JSON.

The web pages use it so that NumPy never lands in a worker.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from cubicweb_leakwatch.errors import EXIT_DONE, LeakwatchError


def _gc(options: argparse.Namespace) -> dict[str, Any]:
    from cubicweb_leakwatch.heap.report import gc_report

    return gc_report(options.dump, limit=options.limit)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cubicweb_leakwatch.heap", description=__doc__)
    reports = parser.add_subparsers(required=True, metavar="REPORT")
    _add(reports, "gc", "garbage, type counts and growth, cycles with finalizers", _gc)
    return parser


def _add(reports: Any, name: str, purpose: str, run: Callable[[argparse.Namespace], Any]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = reports.add_parser(name, help=purpose, description=purpose)
    parser.add_argument("dump", metavar="DUMP", help="the heap dump file")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="at most N types, shapes or groups (20)")
    parser.set_defaults(run=run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one report; return the exit status. A failure is one JSON object with ``error`` and one line of talk."""
    options = _parser().parse_args(arguments)
    try:
        report = options.run(options)
    except LeakwatchError as error:
        print(json.dumps({"error": error.as_json()}))
        print(error.message, file=sys.stderr)
        return error.exit_code
    print(json.dumps(report))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
