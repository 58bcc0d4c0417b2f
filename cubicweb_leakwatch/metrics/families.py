"""The metrics that there are: each is declared once, here; formats, documents and tests read it from this table.

Names, units and types follow the OpenMetrics specification: base units, ``_total`` for counters, a bounded set of label
values (slots, never pids or addresses).
"""

from dataclasses import dataclass
from typing import Literal

SITE = ("site",)
PROCESS = ("site", "process", "role")


@dataclass(frozen=True)
class Family:
    """One metric: its name without what a format adds to it (``_total``, ``_info``), and the labels it is told by.

    ``unit`` is the base unit that the name ends with; empty for a count or a state.
    """

    name: str
    kind: Literal["gauge", "counter", "info"]
    help: str
    unit: str = ""
    labels: tuple[str, ...] = PROCESS


def _bytes(name: str, help_text: str, labels: tuple[str, ...] = PROCESS) -> Family:
    return Family(f"{name}_bytes", "gauge", help_text, "bytes", labels)


def _seconds(name: str, help_text: str, labels: tuple[str, ...] = PROCESS) -> Family:
    return Family(f"{name}_seconds", "gauge", help_text, "seconds", labels)


BUILD = Family("leakwatch_build", "info", "Version of cubicweb-leakwatch that tells these figures.", "", ("version",))
PROCESSES = Family(
    "leakwatch_processes",
    "gauge",
    "Processes by role and state, those being replaced included.",
    "",
    ("site", "role", "state"),
)
SILENT = Family("leakwatch_processes_silent", "gauge", "Processes that did not answer in time.", "", SITE)

PRIVATE = _bytes("leakwatch_process_private_memory", "Memory that would come back if the process ended (USS).")
LIMIT = _bytes("leakwatch_process_memory_limit", "Private memory past which the process is replaced.")
REQUESTS = Family("leakwatch_process_requests", "counter", "Requests served since the process started.")
FROM_STATUS = {
    "rss": _bytes("leakwatch_process_resident_memory", "Resident set size."),
    "uss": PRIVATE,
    "pss": _bytes("leakwatch_process_proportional_memory", "Fair share of the memory, shared pages divided (PSS)."),
    "limit": LIMIT,
    "requests": REQUESTS,
    "in_flight": Family("leakwatch_process_requests_in_flight", "gauge", "Requests accepted and not yet answered."),
    "gc_objects": Family("leakwatch_process_gc_objects", "gauge", "Objects that the garbage collector tracks."),
    "garbage": Family("leakwatch_process_garbage_objects", "gauge", "Objects in gc.garbage, which nobody will free."),
    "threads": Family("leakwatch_process_threads", "gauge", "Threads."),
    "fds": Family("leakwatch_process_open_fds", "gauge", "Open file descriptors."),
    "generation": Family(
        "leakwatch_process_generation", "gauge", "Which process of its slot it is, counted by the launcher."
    ),
}
"""By the key of a row of ``leak-status``."""

FROM_SAMPLE = {
    "python_blocks": Family(
        "leakwatch_process_python_blocks", "gauge", "Blocks that Python's allocator has given out."
    ),
    "malloc_used": _bytes("leakwatch_process_malloc_used", "In use, as the C allocator counts it."),
    "malloc_free": _bytes(
        "leakwatch_process_malloc_free", "Free, but not given back to the system by the C allocator."
    ),
}
"""By the key of a sample."""

STARTED = _seconds("leakwatch_process_start_time", "When the process started, since 1970.")
LEAKING = Family("leakwatch_process_leaking", "gauge", "1 when what was concluded last is that it leaks.")
VERDICT = Family(
    "leakwatch_process_verdict", "gauge", "1 for what was concluded last about it.", "", (*PROCESS, "verdict")
)
GROWTH = Family(
    "leakwatch_process_growth_bytes_per_second", "gauge", "How fast its memory grows, as concluded last.", "", PROCESS
)
TO_LIMIT = _seconds("leakwatch_process_time_to_limit", "Until it reaches its memory limit, as concluded last.")

CONCLUDED = _seconds("leakwatch_last_conclusion_timestamp", "When the looping task concluded last, since 1970.", SITE)
AVAILABLE = _bytes("leakwatch_available_memory", "What the host and the control group can still give.", SITE)

LAUNCHER_UP = Family("leakwatch_launcher_up", "gauge", "1 when the launcher answers.", "", SITE)
LAUNCHER_RSS = _bytes("leakwatch_launcher_resident_memory", "Resident set size of the launcher.", SITE)
LAUNCHER_STARTED = _seconds("leakwatch_launcher_start_time", "When the launcher started, since 1970.", SITE)
WORKERS = Family("leakwatch_launcher_workers_wanted", "gauge", "Web workers that there should be.", "", SITE)
COMPLAINTS = Family("leakwatch_launcher_complaints", "gauge", "Troubles that the launcher reports now.", "", SITE)
RESTARTS = Family(
    "leakwatch_restarts",
    "counter",
    "Replacements of a process that came to an end, by outcome, since the launcher started.",
    "",
    ("site", "process", "outcome"),
)

FAMILIES = (
    BUILD,
    PROCESSES,
    SILENT,
    STARTED,
    *FROM_STATUS.values(),
    *FROM_SAMPLE.values(),
    LEAKING,
    VERDICT,
    GROWTH,
    TO_LIMIT,
    CONCLUDED,
    AVAILABLE,
    LAUNCHER_UP,
    LAUNCHER_RSS,
    LAUNCHER_STARTED,
    WORKERS,
    COMPLAINTS,
    RESTARTS,
)
"""Every metric, in the order in which they are told."""
