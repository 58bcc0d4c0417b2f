"""The recorded things as CubicWeb shows them: a title that says which and when."""

from cubicweb.entities import AnyEntity, fetch_config

from cubicweb_leakwatch.watch.finding import iso_utc


class LeakwatchProcess(AnyEntity):
    """One process of the instance."""

    __regid__ = "LeakwatchProcess"
    fetch_attrs, cw_fetch_order = fetch_config(("host", "name", "pid", "started_at"), mainattr="started_at")

    def dc_title(self) -> str:
        """Return the slot, host and pid."""
        return f"{self.host}:{self.name} (pid {self.pid})"


class MemorySnapshot(AnyEntity):
    """One process at one moment."""

    __regid__ = "MemorySnapshot"
    fetch_attrs, cw_fetch_order = fetch_config(("t", "rss"), mainattr="t")

    def dc_title(self) -> str:
        """Return when it was taken."""
        return iso_utc(self.t)


class LeakFinding(AnyEntity):
    """A conclusion about one process."""

    __regid__ = "LeakFinding"
    fetch_attrs, cw_fetch_order = fetch_config(("process", "kind", "opened_at"), mainattr="opened_at")

    def dc_title(self) -> str:
        """Return the process and what was concluded."""
        return f"{self.process}: {self.kind}"


class WorkerRestart(AnyEntity):
    """One replacement of a worker."""

    __regid__ = "WorkerRestart"
    fetch_attrs, cw_fetch_order = fetch_config(("process", "outcome", "requested_at"), mainattr="requested_at")

    def dc_title(self) -> str:
        """Return the process and what became of the restart."""
        return f"{self.process}: {self.outcome or self.reason}"
