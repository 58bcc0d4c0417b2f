"""Counting by type."""

from heap_programs import run_program

from cubicweb_leakwatch.heap.counts import take_counts


class Counted:
    """Something to count."""

    def __init__(self, number: int) -> None:
        self.text = f"the number {number} as text"


NAME = f"{Counted.__module__}.Counted"


def test_tracked_objects_are_counted_with_their_sizes():
    """Every instance is counted once, its shallow size added."""
    kept = [Counted(number) for number in range(500)]
    counts = take_counts()
    assert counts.tracked[NAME] == len(kept)
    assert counts.everything is None
    assert counts.bytes[NAME] > 500 * 40
    assert counts.gc_objects == sum(counts.tracked.values())


def test_untracked_objects_are_counted_once_however_often_they_are_referred_to():
    """Strings are reached through their owners; sharing one does not count it twice."""
    counts = run_program(
        """
        import gc, json
        from cubicweb_leakwatch.heap.counts import take_counts
        gc.disable()  # a collection would untrack tuples, and some of those are then out of reach
        def take():
            found = take_counts(untracked=True).everything
            return {name: found[name] for name in ("builtins.str", "builtins.bytes", "builtins.list")}
        for _ in range(2):
            before = take()
        shared = "shared " + str(len(before))
        kept = [["own %d" % number, shared, b"bytes %d" % number] for number in range(1000)]
        after = take()
        print(json.dumps({name: after[name] - before[name] for name in before}))
        """
    )
    assert 1001 <= counts["builtins.str"] <= 1020
    assert 1000 <= counts["builtins.bytes"] <= 1003
    assert 1001 <= counts["builtins.list"] <= 1005


def test_frozen_objects_count_and_stay_frozen():
    """``gc.freeze`` hides objects from ``gc.get_objects``; the copy thaws its own only."""
    counted, frozen = run_program(
        """
        import gc, json
        from cubicweb_leakwatch.heap.counts import take_counts
        class Kept: pass
        kept = [Kept() for _ in range(50)]
        gc.freeze()
        frozen = gc.get_freeze_count()
        print(json.dumps([take_counts().tracked["__main__.Kept"], gc.get_freeze_count() == frozen > 50]))
        """
    )
    assert (counted, frozen) == (50, True)
