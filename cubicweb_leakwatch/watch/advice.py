"""The sentence an operator reads; nothing is decided here, and no NumPy is needed."""

from cubicweb_leakwatch.watch.finding import Finding, Kind
from cubicweb_leakwatch.watch.units import format_bytes, format_duration, format_rate

_NEXT: dict[Kind, str] = {
    "steady": "Nothing to do.",
    "warming-up": "Wait: caches are still filling.",
    "plateau": "No leak; see that the ceiling fits under the memory limit.",
    "python-objects": "Ask leak-holders who keeps them.",
    "uncollectable": "Ask leak-gc for the objects no one reaches: a reference count is too high, or a C type has no"
    " tp_clear.",
    "python-memory": "Not objects the collector tracks but strings, bytes or blocks of theirs: leak-trace says which"
    " lines allocate them.",
    "native": "Not Python objects, nor strings of up to 512 bytes: look for a C extension with leak-trace --native, or"
    " for long strings and buffers.",
    "fragmentation": "No leak: memory that was freed is kept by the allocators; malloc_trim or fewer malloc arenas"
    " (MALLOC_ARENA_MAX) give some back, a restart all.",
    "file-descriptors": "Files or sockets are opened and not closed: compare the entries of /proc/PID/fd.",
    "threads": "Threads are started and do not end: leak-holders threading.Thread says who keeps them.",
    "not-enough-data": "Wait for more samples.",
}


def advice_for(finding: Finding) -> str:
    """Return one sentence of what happens and one of what to do next."""
    return f"{_what(finding)} {_NEXT[finding.kind]}"


def _what(finding: Finding) -> str:
    """Say kind, rate, culprit, view and the time left."""
    if finding.kind == "plateau" and finding.ceiling is not None:
        return f"Memory grew and ends at about {format_bytes(finding.ceiling)}."
    if not finding.leak and finding.kind != "fragmentation":
        return {"steady": "Memory is steady.", "warming-up": "Memory grows ever more slowly."}.get(
            finding.kind, "It is too soon to say anything."
        )
    parts = [f"{finding.kind} {'leak' if finding.leak else 'grows'}: {format_rate(finding.rate_bytes_per_h)}"]
    if finding.culprits:
        parts.append(f"most likely {finding.culprits[0].type}")
    if finding.views:
        view = finding.views[0]
        parts.append(
            f"{view.view} keeps {format_bytes(view.bytes_per_request)} a {'run' if view.of_task else 'request'}"
            f" ({format_bytes(view.low)} to {format_bytes(view.high)})"
        )
    if finding.seconds_to_limit is not None:
        parts.append(f"the limit is reached in {format_duration(finding.seconds_to_limit)}")
    return ", ".join(parts) + "."
