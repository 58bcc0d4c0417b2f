"""The text formats, as the parsers of Prometheus' own client read them."""

from typing import Any

import pytest
from metric_data import LAUNCHER, figures, row
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from cubicweb_leakwatch.metrics.families import FAMILIES, Family
from cubicweb_leakwatch.metrics.gather import Figures
from cubicweb_leakwatch.metrics.text import number, openmetrics, prometheus

HOSTILE = 'a"b\\c\nd{x="y"} 1\n# EOF\n'
READERS = [(prometheus, read_prometheus), (openmetrics, read_openmetrics)]


def samples(write: Any, read: Any, told: Figures) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the value of each sample by its name and labels."""
    found = [sample for family in read(write(told)) for sample in family.samples]
    values = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
    assert len(values) == len(found), "a sample is told twice"
    return values


@pytest.mark.parametrize(("write", "read"), READERS)
def test_every_metric_is_read_with_its_type(write: Any, read: Any) -> None:
    """The parsers find each declared metric, of its type, and no other."""
    kinds = {"gauge": "gauge", "counter": "counter", "info": "info" if write is openmetrics else "gauge"}
    suffix = "_info" if write is prometheus else ""
    read_kinds = {family.name: family.type for family in read(write(figures()))}
    declared = {f.name + (suffix if f.kind == "info" else ""): kinds[f.kind] for f in FAMILIES}
    assert read_kinds == declared


@pytest.mark.parametrize(("write", "read"), READERS)
def test_the_values_are_those_of_the_process(write: Any, read: Any) -> None:
    """To the byte, with the slot as a label."""
    values = samples(write, read, figures())
    web = (("process", "web-1"), ("role", "web"), ("site", "site"))
    assert values["leakwatch_process_private_memory_bytes", web] == 100 * 1024**2
    assert values["leakwatch_process_requests_total", web] == 1234
    assert values["leakwatch_process_growth_bytes_per_second", web] == 1.0
    assert values["leakwatch_process_verdict", tuple(sorted((*web, ("verdict", "python-objects"))))] == 1
    failed = (("outcome", "successor-failed"), ("process", "web-1"), ("site", "site"))
    assert values["leakwatch_restarts_total", failed] == 1


def test_openmetrics_tells_units_and_when_a_counter_began() -> None:
    """What Prometheus' older format has no place for."""
    read = {family.name: family for family in read_openmetrics(openmetrics(figures()))}
    assert {f.name: f.unit for f in FAMILIES} == {name: family.unit for name, family in read.items()}
    created = [s for s in read["leakwatch_process_requests"].samples if s.name.endswith("_created")]
    assert [sample.value for sample in created] == [1795348800.5]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_rules(family: Family) -> None:
    """A unit is a base unit and ends the name; no metric is labelled by what never ends: a pid, an address, a host."""
    assert family.unit in ("", "bytes", "seconds")
    assert family.unit == "" or family.name.endswith(f"_{family.unit}")
    assert not family.name.endswith(("_total", "_info", "_created"))
    assert set(family.labels) <= {"site", "process", "role", "state", "outcome", "verdict", "version"}
    assert family.help.endswith(".")


@pytest.mark.parametrize(("write", "read"), READERS)
def test_what_is_unknown_is_left_out(write: Any, read: Any) -> None:
    """Not known is no zero: no limit, nobody who counts requests, nothing concluded."""
    unknown = row(limit=None, requests=None, uss=None, gc_objects=None)
    names = {name for name, _labels in samples(write, read, figures(unknown, findings={}, launcher=None))}
    assert not names & {
        "leakwatch_process_memory_limit_bytes",
        "leakwatch_process_requests_total",
        "leakwatch_process_private_memory_bytes",
        "leakwatch_process_leaking",
        "leakwatch_launcher_resident_memory_bytes",
    }
    assert "leakwatch_process_resident_memory_bytes" in names


@pytest.mark.parametrize(("write", "read"), READERS)
def test_a_slot_that_is_being_replaced_is_told_once(write: Any, read: Any) -> None:
    """The process that serves speaks for its slot; the one that drains is only counted."""
    old = row(state="draining", generation=2, uss=7)
    new = row(state="serving", generation=3, uss=5)
    values = samples(write, read, figures(old, new))
    web = (("process", "web-1"), ("role", "web"), ("site", "site"))
    assert values["leakwatch_process_private_memory_bytes", web] == 5
    assert values["leakwatch_processes", (("role", "web"), ("site", "site"), ("state", "draining"))] == 1


@pytest.mark.parametrize(("write", "read"), READERS)
def test_a_hostile_name_stays_a_label(write: Any, read: Any) -> None:
    """Quotes, backslashes and line ends in a name break out of nothing."""
    told = Figures(HOSTILE, processes=(row(),), launcher=LAUNCHER)
    values = samples(write, read, told)
    assert {dict(labels)["site"] for _name, labels in values if "site" in dict(labels)} == {HOSTILE}


@pytest.mark.parametrize(("write", "read"), READERS)
def test_a_process_that_went_away_is_told_no_more(write: Any, read: Any) -> None:
    """Its slot's metrics go with it."""
    both = samples(write, read, figures(row(), row("web-2")))
    one = samples(write, read, figures(row()))
    gone = {labels for _name, labels in both} - {labels for _name, labels in one}
    assert {dict(labels)["process"] for labels in gone} == {"web-2"}


def test_nothing_runs() -> None:
    """An instance of which nothing runs has metrics that say so."""
    values = samples(openmetrics, read_openmetrics, Figures("site"))
    assert values["leakwatch_launcher_up", (("site", "site"),)] == 0


@pytest.mark.parametrize(("value", "text"), [(2**53, "9007199254740992"), (0.5, "0.5"), (-3.0, "-3"), (1e-9, "1e-09")])
def test_numbers_lose_nothing(value: float, text: str) -> None:
    """Whole numbers have no fraction and no exponent."""
    assert number(value) == text
    assert float(number(value)) == value
