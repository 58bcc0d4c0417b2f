"""``python -m cubicweb_leakwatch.watch diagnose FILE [--json]``: the engine of ``leak-diagnose``.

A process of its own, so that NumPy and SciPy never land in a worker.
"""

import argparse
import json
import sys
import time
from typing import Any

from cubicweb_leakwatch.errors import EXIT_DONE, EXIT_INTERRUPTED, LeakwatchError
from cubicweb_leakwatch.watch.diagnose import as_text, diagnose
from cubicweb_leakwatch.watch.finding import iso_utc

EXAMPLES = """\
examples:
  python -m cubicweb_leakwatch.watch diagnose samples.jsonl
  cubicweb-ctl leak-history INSTANCE --json | python -m cubicweb_leakwatch.watch diagnose --json -
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cubicweb_leakwatch.watch", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("diagnose", help="say what a file of samples shows, one finding a process")
    command.add_argument("file", metavar="FILE", help="samples, one JSON object a line; - reads standard input")
    command.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    try:
        findings = diagnose(options.file)
    except LeakwatchError as error:
        return _failed(error, options.json)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if options.json:
        _print_document({"ok": True, "instance": None, "data": [finding.as_json() for finding in findings]})
    else:
        print("\n\n".join(as_text(finding) for finding in findings))
    return EXIT_DONE


def _failed(error: LeakwatchError, as_json: bool) -> int:
    """Tell the error, in the document or on stderr, and return its exit status."""
    if as_json:
        _print_document({"ok": False, "error": error.as_json()})
    else:
        print(f"leak-diagnose: {error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
    return error.exit_code


def _print_document(document: dict[str, Any]) -> None:
    print(json.dumps({**document, "generated_at": iso_utc(time.time())}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
