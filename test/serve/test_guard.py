"""A worker's own guard: when it asks for its successor, and when it does not."""

import os
import subprocess
import sys

import pytest

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.serve.ceilings import Ceiling, ceilings
from cubicweb_leakwatch.serve.guard import Guard, GuardLimits, Surroundings
from cubicweb_leakwatch.serve.quiet import QuietMinutes

MIB = 1024 * 1024


class Subject:
    """A guard over pretended memory, ceilings, time and requests."""

    def __init__(self, memory=50 * MIB, jitter=0.0, trimmed=0, **limits):
        self.memory, self.time, self.served, self.asked, self.planned = memory, 0.0, 0, [], []
        self.trimmed, self.trims, self.near, self.ceilings = trimmed, [], [], []
        around = Surroundings(
            ask=self._ask,
            requests=lambda: self.served,
            near=self.near.append,
            trimmed=self.trims.append,
            measure=lambda: self.memory,
            trim=self._trim,
            ceilings=lambda: self.ceilings,
            clock=lambda: self.time,
            jitter=lambda: jitter,
        )
        self.guard = Guard(GuardLimits(**limits), around)

    def _ask(self, reason, planned):
        self.asked.append(reason)
        self.planned.append(planned)

    def _trim(self):
        self.memory -= self.trimmed

    def seconds(self, count):
        """Let time pass, checking each second."""
        for _each in range(count):
            self.time += 1
            self.guard.check()


def test_below_its_limit_a_worker_is_quiet():
    """No limit reached, nothing asked."""
    subject = Subject(memory_bytes=100 * MIB, max_requests=10, max_age_s=100)
    subject.seconds(60)
    assert subject.asked == []


def test_over_its_memory_limit_for_three_seconds_it_asks():
    """The third sample over the limit asks, with both figures."""
    subject = Subject(memory_bytes=100 * MIB)
    subject.memory = 120 * MIB
    subject.seconds(2)
    assert subject.asked == []
    subject.seconds(1)
    assert subject.asked == ["private memory 120.0 MiB over its limit 100.0 MiB"]


def test_a_spike_does_not_count():
    """Two seconds over, one below, and again: nothing is asked."""
    subject = Subject(memory_bytes=100 * MIB)
    for _round in range(10):
        subject.memory = 120 * MIB
        subject.seconds(2)
        subject.memory = 90 * MIB
        subject.seconds(1)
    assert subject.asked == []


def test_memory_that_the_allocator_gives_back_is_no_reason():
    """Free memory held by malloc is given back first; if that is enough, no restart."""
    subject = Subject(memory_bytes=100 * MIB, trimmed=30 * MIB)
    subject.memory = 120 * MIB
    subject.seconds(3)
    assert subject.asked == []
    assert subject.trims == [30 * MIB]


def test_memory_that_is_needed_again_at_once_is_not_given_back_for_ever():
    """Back over the limit within ten minutes of the trim: now it is the successor's turn."""
    subject = Subject(memory_bytes=100 * MIB, trimmed=30 * MIB)
    subject.memory = 120 * MIB
    subject.seconds(10)
    subject.memory = 120 * MIB
    subject.seconds(10)
    assert len(subject.trims) == 1
    assert subject.asked == ["private memory 120.0 MiB over its limit 100.0 MiB"]


def test_the_launcher_hears_once_of_a_worker_near_its_limit():
    """Above 80 % for three seconds: so it sees whether its last restart helped."""
    subject = Subject(memory_bytes=100 * MIB)
    subject.memory = 81 * MIB
    subject.seconds(10)
    assert subject.near == [81 * MIB]


def test_a_limit_is_urgent_and_an_age_is_not():
    """Requests and age may wait for the restart window."""
    subject = Subject(memory_bytes=100 * MIB, max_requests=10)
    subject.served = 10
    subject.seconds(1)
    subject.memory = 120 * MIB
    subject.seconds(60)
    assert subject.planned == [True, False, False]


def test_descriptors_about_to_run_out_are_a_reason():
    """91 of 100 for three seconds; what its clients hold is not the worker's."""
    subject = Subject()
    subject.ceilings = [Ceiling("descriptors", 91, 91, 100)]
    subject.seconds(2)
    assert subject.asked == []
    subject.seconds(1)
    assert subject.asked == ["91 descriptors, 100 are allowed"]


def test_threads_that_others_have_are_no_reason():
    """A control group full of other processes' threads is not helped by replacing this one."""
    subject = Subject()
    subject.ceilings = [Ceiling("threads", 10, 95, 100)]
    subject.seconds(10)
    assert subject.asked == []
    subject.ceilings = [Ceiling("threads", 60, 95, 100)]
    subject.seconds(3)
    assert subject.asked == ["60 threads, 95 with the others of its control group, 100 are allowed"]


def test_the_ceilings_of_this_process_are_read():
    """Descriptors are known everywhere; clients' connections are neither counted nor allowed twice."""
    alone, crowded = ceilings()[0], ceilings(connections=3)[0]
    assert 3 <= alone.own < alone.allowed
    assert (alone.own - crowded.own, alone.allowed - crowded.allowed) == (3, 3)


MANY_THREADS = """
import os, resource, threading
from cubicweb_leakwatch.serve.ceilings import ceilings
os.setuid(64123)
resource.setrlimit(resource.RLIMIT_NPROC, (80, 80))
for _each in range(75):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print([str(ceiling) for ceiling in ceilings() if ceiling.reached])
"""


def test_threads_that_the_user_may_not_have_any_more_are_a_reason():
    """``ulimit -u`` 80 and 76 threads: the next request that needs a thread would fail."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become a user of whom nothing else runs")
    done = subprocess.run([sys.executable, "-c", MANY_THREADS], capture_output=True, text=True, check=False)
    assert done.stdout == "['76 threads, 80 are allowed']\n", done.stderr


def test_it_asks_again_when_nothing_came_of_it():
    """A successor that failed is asked for again every 30 seconds, not every second."""
    subject = Subject(memory_bytes=100 * MIB)
    subject.memory = 120 * MIB
    subject.seconds(65)
    assert len(subject.asked) == 3


def test_the_limit_has_jitter_so_that_workers_do_not_end_together():
    """The most unlucky draw lies 10 % below the limit."""
    assert Subject(memory_bytes=100 * MIB, jitter=1.0).guard.memory_bytes == 90 * MIB
    assert Subject(memory_bytes=100 * MIB, jitter=0.0).guard.memory_bytes == 100 * MIB


def test_jitter_never_brings_the_limit_near_a_fresh_worker():
    """A worker that needs 95 of 100 MiB keeps the whole limit."""
    assert Subject(memory=95 * MIB, memory_bytes=100 * MIB, jitter=1.0).guard.memory_bytes == 100 * MIB


@pytest.mark.parametrize("used", [100 * MIB, 130 * MIB])
def test_a_limit_that_a_fresh_worker_exceeds_is_refused_with_figures(used):
    """It would be replaced for ever: refused at start, as a configuration error."""
    with pytest.raises(ConfigurationError, match=rf"100\.0 MiB is below the {used // MIB}\.0 MiB") as caught:
        Subject(memory=used, memory_bytes=100 * MIB)
    assert "--memory-limit" in caught.value.hint


def test_requests_and_age_have_limits_too():
    """Served its number of requests, or lived its time: it asks."""
    busy = Subject(max_requests=10)
    busy.served = 10
    busy.seconds(1)
    assert busy.asked == ["10 requests served, its limit is 10"]
    old = Subject(max_age_s=60)
    old.seconds(60)
    assert len(old.asked) == 1


def test_no_limit_no_question():
    """0 means no limit."""
    subject = Subject(memory=10_000 * MIB)
    subject.served = 10**9
    subject.seconds(1000)
    assert subject.asked == []


def test_a_minute_is_quiet_by_the_sites_own_measure():
    """Half the usual number of requests or fewer; told when it changes, not every minute."""
    told, state = [], {"served": 0, "now": 0.0}
    quiet = QuietMinutes(lambda: state["served"], told.append, lambda: state["now"])
    for per_minute in (100, 100, 100, 40, 30, 90, 0):
        state["served"] += per_minute
        state["now"] += 60
        quiet.look()
    assert told == [False, True, False, True]
