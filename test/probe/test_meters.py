"""Rules of the meters: they measure this process, each in its unit."""

import gc
import os
import sys
import threading
import time
from dataclasses import replace

import psutil

from cubicweb_leakwatch.heap import forked
from cubicweb_leakwatch.probe import meters
from cubicweb_leakwatch.probe.process import ProcessState


def state():
    """A web worker's state."""
    return ProcessState(name="web-1", role="web")


def test_a_sample_tells_this_process():
    """Pid, name, sizes, descriptors and threads are those of the running process."""
    sample = meters.take_sample(state())
    assert (sample.process, sample.pid) == ("web-1", os.getpid())
    assert 0 < sample.uss <= sample.pss <= sample.rss
    assert sample.threads >= threading.active_count()
    assert sample.fds > 2


def test_a_hundred_megabytes_show_in_every_meter_of_native_memory():
    """RSS, private memory and the allocator's figure grow by what was allocated; Python's blocks hardly."""
    before, private = meters.take_sample(state()), meters.private_bytes()
    ballast = bytearray(os.urandom(1) * (100 * 1024 * 1024))
    after = meters.take_sample(state())
    grown = 95 * 1024 * 1024
    assert after.rss - before.rss > grown
    assert after.uss - before.uss > grown
    assert meters.private_bytes() - private > grown
    assert after.malloc_used - before.malloc_used > grown
    assert after.python_blocks - before.python_blocks < 10_000
    assert len(ballast) == 100 * 1024 * 1024


def test_between_two_walks_over_the_pages_private_memory_tells():
    """USS and PSS follow what is allocated though the kernel walks no pages, and are what it finds when it does."""
    meters.take_sample(state())
    walk = meters._last_walk
    ballast = bytearray(os.urandom(1) * (50 * 1024 * 1024))
    follows = meters.take_sample(state())
    assert meters._last_walk is walk, "no second walk within a minute"
    exact = psutil.Process().memory_full_info()
    assert abs(follows.uss - exact.uss) < 2 * 1024 * 1024
    assert abs(follows.pss - exact.pss) < 2 * 1024 * 1024
    assert len(ballast) == 50 * 1024 * 1024


def test_the_pages_are_walked_when_it_is_due_but_not_beside_a_copy(monkeypatch):
    """A copy shares every page: the kernel would find hardly any that is this process's own."""
    before = meters.take_sample(state())
    monkeypatch.setattr(meters, "_last_walk", replace(meters._last_walk, due=0.0))
    with forked._one_at_a_time:
        beside = meters.take_sample(state())
        assert meters._last_walk.due == 0.0
    assert abs(beside.uss - before.uss) < 2 * 1024 * 1024
    meters.take_sample(state())
    assert meters._last_walk.due > time.monotonic() + 0.9 * meters.WALK_EVERY_S


def test_a_fork_of_the_process_is_walked_for_itself():
    """The child's own memory is small: it shares its pages with its parent."""
    mine = meters.take_sample(state())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(meters.take_sample(state()).uss).encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = int(os.read(reader, 100))
    os.close(reader)
    os.waitpid(child, 0)
    assert told < mine.uss / 2


def test_python_objects_show_in_the_block_count():
    """A hundred thousand objects are a hundred thousand blocks."""
    before = sys.getallocatedblocks()
    kept = [object() for _ in range(100_000)]
    assert meters.take_sample(state()).python_blocks - before >= len(kept)


def test_a_sample_neither_collects_nor_walks():
    """Taking samples leaves the collector's counters and settings alone."""
    settings, collections = gc.get_threshold(), [generation["collections"] for generation in gc.get_stats()]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(50):
            meters.take_sample(state())
    finally:
        if was_enabled:
            gc.enable()
    assert [generation["collections"] for generation in gc.get_stats()] == collections
    assert gc.get_threshold() == settings


def test_an_allocator_without_mallinfo2_is_unknown_never_zero(monkeypatch):
    """Off glibc the allocator's figures are None."""
    monkeypatch.setattr(meters, "_MALLINFO2", None)
    sample = meters.take_sample(state())
    assert sample.malloc_used is None and sample.malloc_free is None


def test_the_limit_of_the_control_group_is_told(monkeypatch):
    """It is read again only after a while."""
    meters._cgroup_limit.cache_clear()
    monkeypatch.setattr(meters, "read_cgroup_limit", lambda: 512 * 1024 * 1024)
    assert meters.take_sample(state()).cgroup_limit == 512 * 1024 * 1024
    monkeypatch.setattr(meters, "read_cgroup_limit", lambda: None)
    monkeypatch.setattr(meters.time, "monotonic", lambda: 0.0)
    assert meters.take_sample(state()).cgroup_limit is None
    monkeypatch.setattr(meters, "read_cgroup_limit", lambda: 1)
    assert meters.take_sample(state()).cgroup_limit is None
    meters._cgroup_limit.cache_clear()


def test_memory_pressure_is_told_as_it_is_read(monkeypatch):
    """In percent, and left out where the kernel does not count it."""
    monkeypatch.setattr(meters, "read_pressure", lambda _place: 12.34)
    assert meters.take_sample(state()).as_json()["cgroup_pressure"] == 12.34
    monkeypatch.setattr(meters, "read_pressure", lambda _place: None)
    assert "cgroup_pressure" not in meters.take_sample(state()).as_json()


def test_requests_are_counted_by_view_within_bounds():
    """A site that invents view names for ever fills one counter, not our memory."""
    counted = state()
    for number in range(1000):
        counted.count_request(f"view-{number}")
    assert counted.requests_served == 1000
    assert len(counted.views) <= 201
    assert sum(counted.views.values()) == 1000
