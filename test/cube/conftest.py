"""The databases that the cube's tests run on."""

from collections.abc import Callable, Iterator

import pytest
from clusters import postgresql
from cubicweb.devtools import DEFAULT_PSQL_SOURCES


@pytest.fixture(scope="session")
def postgres(needs_program: Callable[[str, str], str]) -> Iterator[None]:
    """Have CubicWeb's test configuration for PostgreSQL use a cluster of this run's own."""
    before = dict(DEFAULT_PSQL_SOURCES["system"])
    with postgresql(needs_program) as source:
        DEFAULT_PSQL_SOURCES["system"].update(source)
        yield
    DEFAULT_PSQL_SOURCES["system"].clear()
    DEFAULT_PSQL_SOURCES["system"].update(before)
