"""Rules of a sample: the shape of the public contract, and nothing else gets in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubicweb_leakwatch.probe.sample import Sample


def test_only_t_and_rss_are_needed():
    """A line with nothing but a time and a resident size is a sample, the rest unknown."""
    sample = Sample.from_json({"t": 1.5, "rss": 4096})
    assert (sample.t, sample.rss, sample.uss, sample.types) == (1.5, 4096, None, None)


def test_unknown_numbers_are_left_out_never_zero():
    """What was not measured does not appear in the document."""
    assert Sample(t=1.0, rss=2, garbage=0).as_json() == {"t": 1.0, "rss": 2, "process": "", "garbage": 0}


def test_a_sample_survives_the_way_through_json():
    """Writing and reading back gives the same sample."""
    sample = Sample(t=1.0, rss=2, process="web-1", pid=3, cgroup_pressure=4.25, types={"a.B": 5}, views={"index": 6})
    assert Sample.from_json(json.loads(json.dumps(sample.as_json()))) == sample


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([1], "a JSON object"),
        ({"rss": 1}, "needs 't'"),
        ({"t": 1, "rss": None}, "needs 'rss'"),
        ({"t": 1, "rss": "12"}, "'rss' is a number"),
        ({"t": 1, "rss": True}, "'rss' is a number"),
        ({"t": float("nan"), "rss": 1}, "no measurement"),
        ({"t": 1, "rss": -4}, "negative"),
        ({"t": 1, "rss": 4, "types": ["a"]}, "maps names"),
        ({"t": 1, "rss": 4, "types": {"a.B": float("inf")}}, "no measurement"),
        ({"t": 1, "rss": 10**400}, "too large"),
        ({"t": 1, "rss": 4, "process": 7}, "is a name"),
    ],
)
def test_what_is_no_sample_is_refused_with_a_sentence(data, sentence):
    """Each kind of nonsense is told apart."""
    with pytest.raises(ValueError, match=sentence):
        Sample.from_json(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["t", "rss", "process", "pid", "uss", "types", "views", "gc_objects", "other"])


@given(st.dictionaries(KEYS, JSON, max_size=6) | JSON)
def test_any_json_is_a_sample_or_a_sentence(data):
    """Nothing that JSON can say makes reading fail in another way."""
    try:
        sample = Sample.from_json(data)
    except ValueError as error:
        assert str(error)
    else:
        assert sample.t >= 0 and sample.rss >= 0
