"""The second story's lesson: a restart that loses one request is a failure."""

import time

import pytest
from cubicweb_leakdemo.runner.instance import HOST
from cubicweb_leakdemo.runner.traffic import Traffic
from sites import Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RATE = 20.0
SECONDS = 60.0
REPLACEMENTS = 3


def test_no_request_is_lost_over_six_replacements(site: Site) -> None:
    """20 requests a second for a minute, each of two workers replaced three times: every request is answered."""
    traffic = Traffic(HOST, site.port, lambda number: "/" if number % 4 else f"/login?n={number}", RATE)
    begun = time.monotonic()
    traffic.start()
    outcomes = []
    try:
        for _ in range(REPLACEMENTS):
            for process in ("web-1", "web-2"):
                (restart,) = site.ask("leak-restart", "--process", process, "--reason", "test", "--wait")
                outcomes.append((restart["process"], restart["outcome"], restart["abandoned"]))
        time.sleep(max(0.0, begun + SECONDS - time.monotonic()))
    finally:
        count = traffic.stop()
    assert outcomes == [("web-1", "replaced", 0), ("web-2", "replaced", 0)] * REPLACEMENTS
    assert count.failed == {}, count.examples
    assert count.answered == count.sent >= RATE * SECONDS * 0.95


def test_each_replacement_is_recorded_once(site: Site) -> None:
    """The database holds a WorkerRestart for every replacement, with its reason, and no second one."""
    (before,) = site.rows("Any COUNT(R) WHERE R is WorkerRestart, R reason 'recorded once'")[0]
    site.ask("leak-restart", "--process", "web-2", "--reason", "recorded once", "--wait")

    def recorded() -> list[list[str]]:
        return site.rows("Any P, O WHERE R is WorkerRestart, R reason 'recorded once', R process P, R outcome O")

    site.wait_for(lambda: len(recorded()) > before, "the record")
    # two more rounds of the looping task must not write it again
    rounds = site.rows("Any COUNT(S) WHERE S is MemorySnapshot")[0][0]
    site.wait_for(lambda: site.rows("Any COUNT(S) WHERE S is MemorySnapshot")[0][0] >= rounds + 6, "two more rounds")
    assert recorded() == [["web-2", "replaced"]] * (before + 1)
