"""No input from outside crashes a parser, or keeps it busy. LEAKWATCH_FUZZ=N tries N inputs of each (default 60).

``benchmarks/fuzz.py`` tries millions.
"""

import os

import pytest
from fuzz_targets import TARGETS, Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("LEAKWATCH_FUZZ", "60"))
DEADLINE_MS = 2000


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Return any bytes, and what the parser is made for with a piece cut out and another put in."""

    def changed(seed: bytes, at: int, cut: int, put: bytes) -> bytes:
        at %= len(seed) + 1
        return seed[:at] + put + seed[at + cut :]

    near = st.builds(
        changed, st.sampled_from(target.seeds), st.integers(0, 6000), st.integers(0, 20), st.binary(max_size=40)
    )
    return st.one_of(
        st.binary(max_size=400), near, st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_crashes_a_parser(target: Target) -> None:
    """Anything is answered with a value or with one of the parser's own errors, within two seconds."""

    @settings(
        max_examples=EXAMPLES,
        deadline=DEADLINE_MS,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(inputs(target))
    def feed(data: bytes) -> None:
        try:
            target.feed(data)
        except target.allowed:
            return

    feed()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_examples_are_what_the_parser_takes(target: Target) -> None:
    """The inputs that others are made of are themselves answered, the hostile ones among them with an error."""
    for seed in target.seeds:
        try:
            target.feed(seed)
        except target.allowed:
            assert seed[:1] in (b"[", b"L")
