"""A finding in its documented shape, and what may be imported for it."""

import dataclasses
import subprocess
import sys

from cubicweb_leakwatch.watch.finding import KINDS, LEAKS, Culprit, Finding, ViewShare


def test_the_json_shape_is_the_documented_one() -> None:
    """Every key of the public contract, and times as ISO text."""
    finding = Finding(
        "web-1", "native", since=0.0, culprits=(Culprit("a.B", 3.0),), views=(ViewShare("x", 1, 1, 0, 2),)
    )
    data = finding.as_json()
    assert set(data) >= {
        *("process", "kind", "leak", "since", "rate_bytes_per_h", "rate_low", "rate_high", "bytes_per_request"),
        *("confidence", "culprits", "holder", "views", "ceiling", "seconds_to_limit", "advice", "evidence"),
    }
    assert data["since"] == "1970-01-01T00:00:00Z" and data["leak"] is True
    assert data["culprits"] == [{"type": "a.B", "objects_per_h": 3.0, "bytes_per_h": None}]


def test_only_what_grows_for_ever_is_a_leak() -> None:
    """A plateau, fragmentation and ignorance are no leaks."""
    assert set(KINDS) - LEAKS == {"steady", "warming-up", "plateau", "fragmentation", "not-enough-data"}


def test_a_finding_is_read_back_as_it_was_written() -> None:
    """JSON and back: nothing is lost but what lies below a second."""
    views = (ViewShare("?vid=report", 48e3, 0.9, 41e3, 55e3),)
    found = Finding("web-1", "native", since=1.5e9, culprits=(Culprit("a.B", 3.0),), views=views, evidence={"why": "x"})
    assert Finding.from_json(found.as_json()) == found


def test_a_worker_can_hold_findings_without_numpy() -> None:
    """Neither finding, policy, thinning nor units bring NumPy or SciPy into a worker."""
    names = ", ".join(f"cubicweb_leakwatch.watch.{name}" for name in ("finding", "policy", "thinning", "units"))
    code = f"import sys, {names}; sys.exit(any(name in sys.modules for name in ('numpy', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_limit_is_no_nearer_than_what_is_held_now_allows() -> None:
    """What was concluded may be about the process before; what has an end, or is not known, is told as it was."""
    reached = Finding("web-1", "native", rate_bytes_per_h=100.0, seconds_to_limit=0.0)
    assert reached.seconds_left(50.0, 250.0) == 7200.0
    assert (
        reached.seconds_left(300.0, 250.0) == reached.seconds_left(None, 250.0) == reached.seconds_left(50.0, None) == 0
    )
    later = dataclasses.replace(reached, seconds_to_limit=9000.0)
    assert later.seconds_left(50.0, 250.0) == 9000.0
    assert dataclasses.replace(reached, kind="plateau").seconds_left(50.0, 250.0) == 0.0
