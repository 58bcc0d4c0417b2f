"""Whether there is room for a copy of the process."""

import pytest

from cubicweb_leakwatch.heap.room import needed_bytes, why_no_room
from cubicweb_leakwatch.room import Room

MIB = 1 << 20


def test_a_copy_may_need_all_the_process_has():
    """What is needed is the resident size and a margin."""
    assert 70 * MIB < needed_bytes() < 4096 * MIB


@pytest.mark.parametrize(
    ("available", "limit", "used", "where"),
    [(100 * MIB, None, None, "the host"), (900 * MIB, 500 * MIB, 400 * MIB, "the control group")],
)
def test_the_tighter_of_host_and_group_refuses_with_the_figures(
    available: int, limit: int | None, used: int | None, where: str
):
    """The sentence says what is needed, what is left, and where."""
    said = why_no_room(164 * MIB, Room(2000 * MIB, available, limit, used))
    assert said == f"a copy of this process may need 164 MiB, and {where} has only 100 MiB left"


def test_room_enough_or_unknown_refuses_nothing():
    """What cannot be read limits nothing."""
    assert why_no_room(164 * MIB, Room(2000 * MIB, 164 * MIB, None, None)) is None
    assert why_no_room(164 * MIB, Room(None, None, None, None)) is None
