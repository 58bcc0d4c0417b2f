"""The demo's verdict: it fails unless the leak was named, a worker replaced and no request lost."""

from typing import Any

from cubicweb_leakdemo.runner.judge import FINALIZER, judge
from cubicweb_leakdemo.runner.show import as_json, as_text
from cubicweb_leakdemo.runner.traffic import Count


def cycle(**changes: Any) -> dict[str, Any]:
    """Build one cycle of leak-gc's list."""
    return {
        "count": 1900,
        "objects": 24_000,
        "bytes": 9_000_000,
        "reachable": True,
        "finalizers": [FINALIZER],
        "types": [],
        "path": [FINALIZER, ".parent", "urllib.request.OpenerDirector", ".handlers", "list", "[…]"],
        "holder": "cubicweb_leakdemo.polling.POLLER.handlers[…]",
        **changes,
    }


def report(*cycles: dict[str, Any]) -> dict[str, Any]:
    """Build one item of leak-gc's list, of the scheduler."""
    return {"process": {"name": "scheduler", "pid": 7, "role": "scheduler"}, "cycles": list(cycles)}


def count(sent: int = 100, **failed: int) -> Count:
    """Build the traffic generator's final count."""
    return Count(sent, sent - sum(failed.values()), failed, 5.0, 20.0, ())


REPLACED = {"outcome": "replaced", "reason": "memory limit"}


def test_all_is_well_when_the_leak_is_named_a_worker_replaced_and_nothing_lost() -> None:
    """The run that shows both stories has no problem and says so."""
    result = judge([report(cycle())], [REPLACED], count())
    assert result.problems == ()
    assert result.leak is not None
    assert (result.leak.count, result.leak.process) == (1900, "scheduler")
    assert '"ok": true' in as_json(result, "demo")
    assert "held by cubicweb_leakdemo.polling.POLLER.handlers" in as_text(result)


def test_the_largest_shape_is_the_leak() -> None:
    """Of several shapes with Mercurial's handler, the one that counts most is told."""
    result = judge([report(cycle(count=2), cycle(count=1500))], [REPLACED], count())
    assert result.leak is not None
    assert result.leak.count == 1500


def test_a_leak_that_was_not_found_is_a_problem() -> None:
    """No shape with Mercurial's handler: the demo has failed, and its JSON says so."""
    result = judge([report(cycle(finalizers=["other.Thing"]))], [REPLACED], count())
    assert result.problems == (f"leak-gc found no cycle with {FINALIZER} in the scheduler",)
    assert '"ok": false' in as_json(result, "demo")


def test_a_holder_that_names_nothing_is_a_problem() -> None:
    """The keeping attribute must be in the holder's text."""
    result = judge([report(cycle(holder=None))], [REPLACED], count())
    assert len(result.problems) == 1
    assert "POLLER.handlers" in result.problems[0]


def test_no_replaced_worker_is_a_problem() -> None:
    """A restart that failed does not count as one."""
    result = judge([report(cycle())], [{"outcome": "successor-failed", "reason": "x"}], count())
    assert result.problems == ("no replaced worker is recorded",)


def test_a_lost_request_is_a_problem() -> None:
    """One failed request fails the demo, and its kind is told."""
    result = judge([report(cycle())], [REPLACED], count(empty=1))
    assert result.problems == ("1 of 100 requests failed: 1 empty",)


def test_no_request_at_all_is_a_problem() -> None:
    """Nothing lost proves nothing when nothing was sent."""
    assert judge([report(cycle())], [REPLACED], count(sent=0)).problems
