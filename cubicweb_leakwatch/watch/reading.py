"""Reading samples from a file of one JSON object a line, or from the document of ``leak-history --json``.

What cannot be read is never guessed at: a value that is no measurement (NaN, negative, a text) is left out and counted,
a line without a time or an RSS is skipped and counted, and a file that is mostly such, or no JSON, is refused.
"""

import dataclasses
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.probe.sample import Sample, tasks_from_json

# More samples of a process than this add nothing to a conclusion: every other one is dropped, again and again.
_MOST_SAMPLES = 20_000
# Unix seconds stay below this for three thousand years: more are milliseconds, and every rate would be wrong.
_LATEST_T = 1e11
_NUMBERS = tuple(f.name for f in dataclasses.fields(Sample) if f.name not in ("process", "types", "views", "tasks"))
_WITH_FRACTIONS = ("t", "cgroup_pressure")
_HINT = 'write one JSON object a line, for example {"t": 1700000000, "process": "web-1", "rss": 104857600}'


class UnreadableSamples(LeakwatchError):
    """The input holds no samples, or something else than samples."""

    code = "unreadable-samples"


@dataclasses.dataclass(frozen=True)
class Reading:
    """The samples in the order read, and how often which part of the input had to be left out."""

    samples: list[Sample]
    ignored: dict[str, int]


def read_samples(lines: Iterable[str]) -> list[Sample]:
    """Return the samples of ``lines`` in the order read; raises UnreadableSamples, which says why."""
    return read(lines).samples


def read(lines: Iterable[str]) -> Reading:
    """Return the samples of ``lines`` and what was left out; raises UnreadableSamples."""
    ignored: Counter[str] = Counter()
    kept = _Kept()
    seen = 0
    for number, data in _objects(iter(lines), ignored):
        seen += 1
        reason = _refusal(data)
        if reason:
            ignored[reason] += 1
            if seen == ignored.total() == 1:
                first = f"line {number}: {reason}"
        elif kept.wants(data):
            kept.add(data, ignored)
    skipped = sum(count for reason, count in ignored.items() if reason.startswith("skipped"))
    if not kept.samples:
        raise UnreadableSamples(f"no samples: {first}" if seen else "no samples: the input is empty", _HINT)
    if skipped > seen / 2:
        raise UnreadableSamples(
            f"{skipped} of {seen} lines are no samples, mostly: {ignored.most_common(1)[0][0]}", _HINT
        )
    return Reading(kept.samples, dict(ignored))


class _Kept:
    """Samples kept, each process thinned evenly for itself once it has too many."""

    def __init__(self) -> None:
        self._by_process: dict[object, list[tuple[int, Sample]]] = {}
        self._stride: Counter[object] = Counter()
        self._seen: Counter[object] = Counter()
        self._order = itertools.count()

    def wants(self, data: dict[str, Any]) -> bool:
        """Whether this one is kept."""
        key = _process_key(data)
        self._seen[key] += 1
        return (self._seen[key] - 1) % (1 << self._stride[key]) == 0

    def add(self, data: dict[str, Any], ignored: Counter[str]) -> None:
        """Keep a sample whose time and RSS are known to be good."""
        key = _process_key(data)
        members = self._by_process.setdefault(key, [])
        members.append((next(self._order), _sample(data, ignored)))
        if len(members) > 2 * _MOST_SAMPLES:
            del members[1::2]
            self._stride[key] += 1

    @property
    def samples(self) -> list[Sample]:
        """All that was kept, in the order read."""
        return [sample for _, sample in sorted(itertools.chain(*self._by_process.values()), key=lambda item: item[0])]


def _process_key(data: dict[str, Any]) -> object:
    return (str(data.get("process")), str(data.get("pid")))


def _objects(lines: Iterator[str], ignored: Counter[str]) -> Iterator[tuple[int, Any]]:
    """Yield line numbers and the JSON values of the lines, or the members of a document that is one list."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        return
    if not _is_sample_line(first[1]):
        yield from _members(first[1] + "".join(line for _, line in numbered))
        return
    waiting = first
    for following in itertools.chain(numbered, [(0, "")]):
        number, line = waiting
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            # the last line of a file that is still written may be cut off
            if following[1] or line.endswith("\n"):
                raise UnreadableSamples(f"line {number} is not JSON: {_shown(line)}", _HINT) from error
            ignored["cut-off last line"] += 1
        waiting = following


def _is_sample_line(line: str) -> bool:
    """Whether the input looks like one object a line, from its first line."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not isinstance(data, list) and not (isinstance(data, dict) and isinstance(data.get("data"), list))


def _members(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the members of a JSON list, alone or as ``data`` of a command's document."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableSamples(f"line 1 is not JSON: {_shown(text)}", _HINT) from None
    members = document.get("data") if isinstance(document, dict) else document
    if not isinstance(members, list):
        raise UnreadableSamples("the document holds no list of samples", _HINT)
    yield from enumerate(members, 1)


def _shown(text: str) -> str:
    """Return the start of a line, fit for a terminal."""
    return repr(text.strip()[:40])


def _refusal(data: object) -> str:
    """Return why this is no sample, or an empty text."""
    if not isinstance(data, dict):
        return f"skipped: a {type(data).__name__} instead of an object"
    for key in ("t", "rss"):
        if not _is_measurement(data.get(key)):
            return f"skipped: '{key}' is {'missing' if data.get(key) is None else 'no measurement'}"
    if data["t"] > _LATEST_T:
        return "skipped: 't' is not in Unix seconds (milliseconds?)"
    return "skipped: 'rss' is 0" if data["rss"] == 0 else ""


def _is_measurement(value: object) -> bool:
    """Whether this is a number that can have been measured."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and value < 2**63 and math.isfinite(value)


def _sample(data: dict[str, Any], ignored: Counter[str]) -> Sample:
    """Return the sample of an object, without the values that are no measurements."""
    values: dict[str, Any] = {}
    for key in _NUMBERS:
        value = data.get(key)
        if value is None:
            continue
        if _is_measurement(value):
            values[key] = float(value) if key in _WITH_FRACTIONS else round(value)
        else:
            ignored[f"'{key}' left out: no measurement"] += 1
    for key in ("types", "views"):
        if data.get(key) is not None:
            values[key] = _counts(key, data[key], ignored)
    if data.get("tasks") is not None:
        values["tasks"] = _tasks(data["tasks"], ignored)
    process = data.get("process")
    return Sample(process="" if process is None else str(process), **values)


def _tasks(told: object, ignored: Counter[str]) -> dict[str, dict[str, int]] | None:
    """Return what is told of looping tasks; None when it makes no sense."""
    try:
        return tasks_from_json(told)
    except ValueError:
        ignored["'tasks' left out: no measurement"] += 1
        return None


def _counts(key: str, counts: object, ignored: Counter[str]) -> dict[str, int] | None:
    """Return the counts that are numbers; None when this is no mapping."""
    if not isinstance(counts, dict):
        ignored[f"'{key}' left out: not a mapping of names to counts"] += 1
        return None
    good = {name: round(count) for name, count in counts.items() if _is_measurement(count)}
    if len(good) < len(counts):
        ignored[f"counts in '{key}' left out: no measurement"] += len(counts) - len(good)
    return good
