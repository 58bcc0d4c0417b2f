"""``python -m cubicweb_leakwatch.recording.judge``: draw conclusions from samples, in a process that ends afterwards.

The methods need NumPy and SciPy, tens of megabytes that a scheduler or a web worker must not keep. Standard input is
one JSON object: ``samples`` (as documented), ``limits`` (bytes by process) and ``events`` (what happened to which
process); standard output is a list of findings.
"""

import json
import os
import sys
from typing import Any

from cubicweb_leakwatch.errors import EXIT_DONE
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.finding import Event


def judged(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a finding for each process that has samples."""
    from cubicweb_leakwatch.watch.conclude import conclude

    by_process: dict[str, list[Sample]] = {}
    events: dict[str, list[Event]] = {}
    for data in question["samples"]:
        sample = Sample.from_json(data)
        by_process.setdefault(sample.process, []).append(sample)
    for event in question.get("events") or ():
        events.setdefault(event["process"], []).append(Event(event["t"], event["kind"], event["text"]))
    limits = question.get("limits") or {}
    return [
        conclude(samples, limit=limits.get(process), events=events.get(process, ())).as_json()
        for process, samples in sorted(by_process.items())
    ]


def main() -> int:
    """Answer the question on standard input."""
    # the matrices are small: threads would only wait for one another; NumPy reads this when it is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    json.dump(judged(json.load(sys.stdin)), sys.stdout, allow_nan=False)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
