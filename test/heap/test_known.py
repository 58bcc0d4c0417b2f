"""Known retention and the identity of a leak."""

import pytest

from cubicweb_leakwatch.heap.known import fingerprint, known_retention


@pytest.mark.parametrize(
    ("holder", "harmless"),
    [
        ("site.APP.registry._view_lookup_cache[…]", False),
        ("app.GRAPH.namespace_manager._NamespaceManager__cache[…]", False),
        ("app.REPO._type_cache[…]", False),
        ("ast.Module held by C code or a running frame: .body[…] × 3.value.func", False),
        ("cubicweb.pyramid.tools.cached_build_user.__self__.data[…]", True),
        ("app.REPO.querier.rql_cache._data[…]", True),
        ("re._cache[…]", True),
    ],
)
def test_retention_that_is_understood_is_recognised_by_its_path(holder: str, harmless: bool):
    """It is told whether it comes to an end, with a reference."""
    known = known_retention(holder)
    assert known is not None
    assert known.harmless is harmless
    assert known.reference


@pytest.mark.parametrize(
    "holder", ["app.views.CACHE[…]", "rdflib.plugin._plugins[…]", "vcsfile.hooks.POLLER.handlers[…]"]
)
def test_anything_else_is_not_excused(holder: str):
    """A leak of the application's own is never labelled as known."""
    assert known_retention(holder) is None


def test_the_fingerprint_leaves_out_what_changes_from_run_to_run():
    """Indices, keys, addresses, lines, lengths and threads; the type and the names stay."""
    same = {
        fingerprint("a.B", "mod.CACHE['k1'].next × 12 of poll() at x/y.py:88 in thread pool-1"),
        fingerprint("a.B", "mod.CACHE[…].next × 300 of poll() at x/y.py:91 in thread pool-2"),
    }
    assert len(same) == 1
    assert (
        fingerprint("a.C", "mod.CACHE[…]") != fingerprint("a.B", "mod.CACHE[…]") != fingerprint("a.B", "mod.OTHER[…]")
    )
