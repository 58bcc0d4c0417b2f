"""What each kind of finding means and what to do about it, in words that the catalogues translate."""

from cubicweb import _

MEANINGS = {
    "steady": _("Memory is steady."),
    "warming-up": _("Memory grows ever more slowly: caches are still filling."),
    "plateau": _("Memory grew and has an end."),
    "python-objects": _("Objects that the collector tracks are made and kept."),
    "uncollectable": _("Objects are left that no one reaches and the collector cannot free."),
    "python-memory": _("Python memory that the collector does not track grows: strings, bytes, or counts too high."),
    "native": _("Memory outside Python's objects grows: a C extension."),
    "fragmentation": _("Memory that was freed is kept by the allocators: no leak."),
    "file-descriptors": _("Files or sockets are opened and not closed."),
    "threads": _("Threads are started and do not end."),
    "not-enough-data": _("It is too soon to say anything."),
}
NEXT_STEPS = {
    "steady": _("Nothing to do."),
    "warming-up": _("Wait."),
    "plateau": _("See that the ceiling fits under the memory limit."),
    "python-objects": _("Ask leak-holders who keeps them."),
    "uncollectable": _(
        "Look at the garbage of the gc page: a reference count is too high, or a C type has no tp_clear."
    ),
    "python-memory": _("leak-trace says which lines allocate it."),
    "native": _("leak-trace --native says which functions allocate it."),
    "fragmentation": _("Fewer malloc arenas (MALLOC_ARENA_MAX) give some back, a restart all."),
    "file-descriptors": _("Compare the entries of /proc/PID/fd."),
    "threads": _("leak-holders threading.Thread says who keeps them."),
    "not-enough-data": _("Wait for more snapshots."),
}
