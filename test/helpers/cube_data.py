"""Data for the tests of the cube, built in one line each."""

import datetime
import json

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording.measuring import Identity, Measured, Measurement

HOST = "host-a"
NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC).timestamp()


def identity(name="web-1", pid=4711, started_at=NOON, **changes):
    """Return which process it is."""
    role = "scheduler" if name == "scheduler" else "web"
    return Identity(host=HOST, pid=pid, started_at=started_at, name=name, role=role, **changes)


def sample(t=NOON + 60, rss=80 * 1024**2, **changes):
    """Return a sample; times in Unix seconds."""
    return Sample(t=t, rss=rss, **changes)


def measured(*samples, **of):
    """Return what was measured of one process."""
    return Measured(identity(**of), samples or (sample(),))


def measurement(*processes, failures=()):
    """Return a round in which exactly these processes were found."""
    return Measurement(processes, frozenset(each.identity.pid for each in processes), tuple(failures))


def iso(t):
    """Return Unix seconds as the launcher writes them."""
    return datetime.datetime.fromtimestamp(t, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def restart(number=1, t=NOON + 600, **changes):
    """Return a finished restart of web-1, as the launcher's journal has it."""
    record = {
        "id": f"{NOON:.0f}-{number:06}",
        "process": "web-1",
        "reason": "memory limit",
        "by": "worker",
        "requested_at": iso(t),
        "ready_at": iso(t + 2),
        "drained_at": iso(t + 3),
        "exited_at": iso(t + 4),
        "in_flight_at_drain": 2,
        "accepted": 1000,
        "answered": 999,
        "client_left": 1,
        "abandoned": 0,
        "rss_before": 400 * 1024**2,
        "rss_after": 80 * 1024**2,
        "old_pid": 4711,
        "new_pid": 4712,
        "outcome": "replaced",
        "stage": "done",
    }
    return {**record, **changes}


def write_journal(directory, *records):
    """Write the launcher's journal of finished restarts."""
    (directory / "restarts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
