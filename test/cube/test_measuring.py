"""Measuring the processes of an instance, whatever each of them answers."""

from pathlib import Path

import pytest

from cubicweb_leakwatch.probe.client import ProbeAddress, ProbeError
from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.recording import measuring
from cubicweb_leakwatch.recording.measuring import Meter, apart, most_telling

STATUS = {
    "instance": "site",
    "host": "host-a",
    "pid": 11,
    "name": "web-1",
    "role": "web",
    "generation": 3,
    "started_at": "2026-11-22T12:00:00.123Z",
}
SAMPLE = {"t": 1000.0, "rss": 5, "process": "web-1", "pid": 11}


class Probes:
    """Stands for the probes of an instance: what each answers to each question, or raises."""

    def __init__(self, monkeypatch):
        self.answers = {}
        monkeypatch.setattr(measuring, "find_probes", self.find)
        monkeypatch.setattr(measuring, "ask", self.ask)

    def add(self, pid=11, name="web-1", **answers):
        """Add a process that answers so; what is not given is answered as usual."""
        status = {**STATUS, "pid": pid, "name": name}
        usual = {"status": status, "counts": {**SAMPLE, "pid": pid, "types": {"dict": 7}}, "sample": SAMPLE, "ring": []}
        self.answers[pid] = {**usual, **answers}

    def find(self, directory):
        """List the addresses."""
        return [ProbeAddress(answers["status"]["name"], pid, Path("/x")) for pid, answers in self.answers.items()]

    def ask(self, address, question, **_parameters):
        """Answer, or raise what was given as the answer."""
        answer = self.answers[address.pid][question]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def probes(monkeypatch):
    """The probes of the instance ``site``."""
    return Probes(monkeypatch)


def meter(types=50, interval_s=60.0):
    """Return a meter of the instance ``site``."""
    return Meter(Path("/nowhere"), "site", types=types, interval_s=interval_s)


def test_a_process_is_known_by_host_pid_and_start(probes):
    """The same process measured twice has the same identity, with or without type counts."""
    probes.add()
    (first,) = meter().measure().processes
    (second,) = meter(types=0).measure().processes
    assert first.identity.key == second.identity.key == ("host-a", 11, 1795348800.123)
    assert (first.samples[0].types, second.samples[0].types) == ({"dict": 7}, None)


def test_without_room_for_a_copy_there_is_a_sample_without_types(probes):
    """A process whose types cannot be counted is measured all the same."""
    probes.add(counts=ProbeError("no room for a copy", code="copy-refused"))
    (found,) = meter().measure().processes
    assert (found.samples[0].rss, found.samples[0].types) == (5, None)


def test_one_that_is_silent_does_not_hide_the_others(probes):
    """The failure is told, the process counts as present, the others are measured."""
    probes.add(pid=11, counts=ProbeError("web-1 did not answer", code="no-answer"))
    probes.add(pid=12, name="web-2")
    found = meter().measure()
    assert [each.identity.name for each in found.processes] == ["web-2"]
    assert [failure.code for failure in found.failures] == ["no-answer"]
    assert found.present == {11, 12}


def test_nonsense_is_a_failure_of_its_own(probes):
    """An answer that is no sample, or lacks what names the process, is told and recorded nowhere."""
    probes.add(pid=11, counts={"t": "yesterday", "rss": 5})
    probes.add(pid=12, counts={**SAMPLE, "rss": -1})
    probes.add(pid=13, name="web-3")
    found = meter().measure()
    assert [each.identity.pid for each in found.processes] == [13]
    assert [failure.code for failure in found.failures] == ["nonsense", "nonsense"]
    assert found.present == {11, 12, 13}


def test_another_instance_in_the_same_directory_is_left_alone(probes):
    """Two instances may share a runtime directory: each collector keeps to its own processes."""
    probes.add(pid=11)
    probes.add(pid=12, status={**STATUS, "pid": 12, "instance": "other"})
    found = meter().measure()
    assert [each.identity.pid for each in found.processes] == [11]
    assert found.present == {11}


def test_a_new_collector_finds_what_the_process_noted_meanwhile(probes):
    """The first look at a process takes the samples that it kept, at the interval; later looks do not."""
    probes.add(ring=[{**SAMPLE, "t": 500.0 + 10 * i} for i in range(13)])
    one = meter(interval_s=60.0)
    (first,) = one.measure().processes
    assert [sample.t for sample in first.samples] == [500.0, 560.0, 620.0, 1000.0]
    (second,) = one.measure().processes
    assert [sample.t for sample in second.samples] == [1000.0]


def test_a_look_that_comes_late_finds_what_the_process_noted_meanwhile(probes):
    """A round that hung on a silent database leaves no hole; what is too near to either end is left out."""
    one = meter(interval_s=60.0)
    probes.add()
    one.measure()
    ring = [{**SAMPLE, "t": 1000.0 + 10 * i} for i in range(1, 24)]
    probes.add(counts={**SAMPLE, "t": 1235.0, "types": {"dict": 7}}, ring=ring)
    (found,) = one.measure().processes
    assert [sample.t for sample in found.samples] == [1060.0, 1120.0, 1180.0, 1235.0]


def test_a_process_that_went_is_forgotten(probes):
    """A pid that is used again starts with counts of its own."""
    one = meter()
    probes.add()
    one.measure()
    probes.answers.clear()
    one.measure()
    assert (one._first_counts, one._measured) == ({}, {})


def test_types_that_grow_are_kept_before_types_that_are_many():
    """A leak of two thousand handlers is recorded although a hundred types are more numerous."""
    first = {f"many{i}": 100_000 - i for i in range(100)}
    counts = {**first, "hg.httphandler": 2000, "few": 3}
    kept = most_telling(counts, first, 10)
    assert len(kept) == 10
    assert kept["hg.httphandler"] == 2000
    assert kept["many0"] == 100_000


def test_at_the_first_look_the_most_numerous_are_kept():
    """Where nothing has grown yet there is nothing but numbers to choose by."""
    counts = {"a": 1, "b": 2, "y": 30, "z": 40}
    assert most_telling(counts, counts, 2) == {"z": 40, "y": 30}


def test_fewer_types_than_asked_for_are_all_kept():
    """Nothing is invented where there are few types."""
    assert most_telling({"a": 1, "b": 2}, {}, 50) == {"a": 1, "b": 2}


def test_samples_are_taken_apart():
    """None is closer to the one before than was asked for, nor to what is recorded already."""
    samples = [Sample(t=t, rss=1) for t in (0, 10, 55, 60, 119, 130)]
    assert [sample.t for sample in apart(samples, 54)] == [0, 55, 119]
    assert [sample.t for sample in apart(samples, 54, last=5)] == [60, 119]
