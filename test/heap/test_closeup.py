"""The close look with objgraph and Pympler, in the copy."""

import pytest
from heap_programs import run_program

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.heap.closeup import take_closeup


class Watched:
    """Something to look at."""

    def __init__(self, rows: int) -> None:
        self.rows = ["row" + str(number) for number in range(rows)]


def test_it_counts_sizes_and_draws():
    """Pympler's deep size includes what the object leads to; objgraph draws who refers to it."""
    small, large = Watched(1), Watched(1000)
    name = f"{Watched.__module__}.Watched"
    seen = take_closeup(name)
    assert seen.instances == 2
    assert seen.deep_bytes > 1000 * 40
    assert seen.refers_to["builtins.list"] == 1
    assert seen.dot.startswith("digraph")
    assert "Watched" in seen.dot
    assert len(large.rows) > len(small.rows)


def test_a_type_without_objects_is_refused_by_name():
    """The sentence names the type."""
    with pytest.raises(LeakwatchError, match=r"no tracked object of type no\.Such"):
        take_closeup("no.Such")


def test_the_close_look_leaves_the_process_as_it_was():
    """asizeof makes dictionaries of the instances it sizes: in the copy only."""
    before, after = run_program(
        """
        import gc, json
        from cubicweb_leakwatch.heap.closeup import take_closeup
        class Plain:
            def __init__(self): self.a, self.b = [], []
        kept = [Plain() for _ in range(10)]
        def inline():
            return [len(gc.get_referents(found)) for found in kept]
        before = inline()
        take_closeup("__main__.Plain")
        print(json.dumps([before, inline()]))
        """,
        warnings="ignore",
    )
    assert before == after
