"""``python -m cubicweb_leakwatch.heap``: analyse a dump in a process of its own, print JSON.

The web pages use it so that NumPy never lands in a worker.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cubicweb_leakwatch.errors import EXIT_DONE, LeakwatchError


def _gc(options: argparse.Namespace) -> dict[str, Any]:
    from cubicweb_leakwatch.heap.report import gc_report

    return gc_report(options.dump, limit=options.limit)


def _holders(options: argparse.Namespace) -> dict[str, Any]:
    from cubicweb_leakwatch.heap.holders import holders_report

    if options.dot:
        _draw(options)
    return holders_report(
        options.dump, options.type, limit=options.limit, depth=options.depth, examined=options.examples
    )


def _draw(options: argparse.Namespace) -> None:
    from cubicweb_leakwatch.heap.dot import dot_text
    from cubicweb_leakwatch.heap.graph import read_graph
    from cubicweb_leakwatch.heap.holders import holder_groups
    from cubicweb_leakwatch.heap.reach import reach

    graph = read_graph(options.dump)
    found = reach(graph)
    groups = holder_groups(graph, found, options.type)[: options.limit]
    Path(options.dot).write_text(dot_text(graph, found, groups), encoding="utf-8")


def _analyze(options: argparse.Namespace) -> dict[str, Any]:
    from cubicweb_leakwatch.heap.analyze import analyze

    return analyze(options.dump, baseline=options.baseline, limit=options.limit, only=options.type)


def _leaking(options: argparse.Namespace) -> dict[str, Any]:
    from cubicweb_leakwatch.heap.leaking import leaking_report

    return leaking_report(options.dump, options.types)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cubicweb_leakwatch.heap", description=__doc__)
    reports = parser.add_subparsers(required=True, metavar="REPORT")
    _add(reports, "gc", "garbage, type counts and growth, cycles with finalizers", _gc)
    holders = _add(reports, "holders", "who keeps objects of a type alive", _holders)
    holders.add_argument("type", metavar="TYPE", help="the type: module.Class, or Class alone")
    holders.add_argument("--depth", type=int, default=40, metavar="N", help="at most N links of a chain (40)")
    holders.add_argument("--examples", type=int, default=1000, metavar="N", help="examine N objects (1000)")
    holders.add_argument("--dot", metavar="FILE", help="also draw the chains as dot text into FILE")
    analysis = _add(reports, "analyze", "retained sizes, suspects, trash, cycles; growth since another dump", _analyze)
    analysis.add_argument("--baseline", metavar="DUMP", help="an earlier dump to compare with")
    analysis.add_argument("--type", metavar="TYPE", help="only this type")
    leaking = _add(reports, "leaking", "whether anything holds objects of types that grow, and what", _leaking)
    leaking.add_argument("types", nargs="*", metavar="TYPE", help="full names of types, the likeliest culprit first")
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
