"""What a look into the process adds to a conclusion."""

from cubicweb_leakwatch.recording.refining import deployed_sentence, refined
from cubicweb_leakwatch.watch.finding import Culprit, Finding

NOW = 1.6e9
LEAK = Finding("web-1", "python-objects", since=NOW - 36000, culprits=(Culprit("app.Entry", 100.0),))


def about(name: str = "app.Entry", instances: int = 1000, **more: object) -> dict[str, object]:
    """Return what a look says of one type."""
    told = {"type": name, "instances": instances, "unreached": 0, "holder": "app.CACHE", "fingerprint": "ab"}
    return {**told, "known": None, **more}


def test_the_holder_and_the_fingerprint_are_taken_over():
    """What most objects are held by is the holder; the fingerprint goes into the evidence."""
    found = refined(LEAK, {"types": [about()], "piles": []}, NOW)
    assert (found.kind, found.holder, found.evidence["fingerprint"]) == ("python-objects", "app.CACHE", "ab")


def test_only_what_came_since_counts_as_unreached():
    """Ten hours at a hundred an hour: six hundred that nothing reaches are most of what came, among many more."""
    look = {"types": [about(instances=9000, unreached=600)], "piles": []}
    assert refined(LEAK, look, NOW).kind == "uncollectable"
    look = {"types": [about(instances=9000, unreached=300)], "piles": []}
    assert refined(LEAK, look, NOW).kind == "python-objects"


def test_trash_that_waits_for_the_collector_is_no_leak_yet() -> None:
    """Cycles that a collection will take are told as such; after six hours nobody will take them."""
    trash = {"types": [about(unreached=900, unreachable=900)], "piles": []}
    assert refined(LEAK, trash, NOW - 30000).kind == "steady"
    assert refined(LEAK, trash, NOW).kind == "uncollectable"


def test_caches_that_have_an_end_are_no_leak() -> None:
    """Parsed queries, in CubicWeb's cache for the most part and else waiting for the collector: warming up."""
    filling = {"types": [about(unreachable=300, unreached=300, ending=400)], "piles": []}
    assert refined(LEAK, filling, NOW - 30000).kind == "warming-up"


def test_containers_are_named_by_their_owner():
    """Where only dictionaries were seen to grow, the class that piles up with them comes first."""
    plumbing = Finding("web-1", "python-objects", since=NOW - 3600, culprits=(Culprit("builtins.dict", 50.0),))
    pile = {"type": "app.Session", "objects": 500, "holder": "app.SESSIONS", "fingerprint": "cd", "known": None}
    found = refined(plumbing, {"types": [about("builtins.dict")], "piles": [pile]}, NOW)
    assert [culprit.type for culprit in found.culprits] == ["app.Session", "builtins.dict"]
    assert found.holder == "app.SESSIONS"


def test_a_known_library_leak_is_named():
    """It stays a leak, and says which one."""
    known = {"harmless": False, "sentence": "rdflib remembers every name", "reference": "rdflib"}
    found = refined(LEAK, {"types": [about(known=known)], "piles": []}, NOW)
    assert found.leak
    assert any("rdflib remembers every name" in note for note in found.evidence["notes"])


def test_a_deployment_without_effect_is_no_sentence():
    """Only what fixed, brought or did not fix a leak is told."""
    assert deployed_sentence({"evidence": {"deployment": {"t": 0, "effect": "no leak before or after"}}}) == ""
    assert deployed_sentence({"evidence": {}}) == ""


HOUR_AGO = NOW - 3600
PAGES = {"type": "builtins.str", "objects": 200, "bytes": 50_000_000, "holder": "app.render (functools.cache)"}
PAGES |= {"fingerprint": "ef", "known": None}


def test_long_strings_that_somebody_holds_are_no_c_extensions_memory() -> None:
    """Pages of 250 kB come from malloc; a cache of them is Python's, and its holder is named."""
    why = "memory from malloc grows, Python objects and blocks do not"
    native = Finding("web-1", "native", since=HOUR_AGO, rate_bytes_per_h=6e7, evidence={"why": why})
    found = refined(native, {"types": [], "piles": [], "long": [PAGES], "short": [], "t": NOW}, NOW)
    assert (found.kind, found.holder) == ("python-objects", "app.render (functools.cache)")
    assert [culprit.type for culprit in found.culprits] == ["builtins.str"]
    assert found.evidence["why"] == "memory from malloc grows, and Python's own strings and the like take it"
    assert "ask leak-holders" in found.advice.lower()


def test_strings_that_are_too_few_explain_nothing() -> None:
    """Fifty MB of texts are not what a growth of two hundred is made of, whatever the kind."""
    look = {"types": [], "piles": [], "long": [PAGES], "short": [PAGES], "t": NOW}
    for kind in ("native", "python-memory"):
        fast = Finding("web-1", kind, since=HOUR_AGO, rate_bytes_per_h=2e8)
        assert refined(fast, look, NOW).kind == kind and refined(fast, look, NOW).holder is None


def test_short_strings_that_somebody_holds_have_a_holder() -> None:
    """They are Python's own blocks already; who holds them is told."""
    look = {"types": [], "piles": [], "long": [], "short": [PAGES], "t": NOW}
    found = refined(Finding("web-1", "python-memory", since=HOUR_AGO, rate_bytes_per_h=6e7), look, NOW)
    assert (found.kind, found.holder) == ("python-memory", "app.render (functools.cache)")


def test_what_was_looked_at_is_laid_beside_what_had_grown_by_then() -> None:
    """Three hours later the same look still explains the same growth."""
    look = {"types": [], "piles": [], "long": [PAGES], "short": [], "t": NOW}
    native = Finding("web-1", "native", since=HOUR_AGO, rate_bytes_per_h=6e7)
    assert refined(native, look, NOW + 3 * 3600).kind == "python-objects"


def test_what_came_is_laid_beside_what_will_go() -> None:
    """A hundred came in an hour, among many that stay; two hundred wait for the collector: nothing has leaked yet."""
    trash = {"types": [about(instances=800, unreached=200, unreachable=200)], "piles": [], "t": NOW}
    for kind in ("python-objects", "python-memory"):
        soon = Finding("web-1", kind, since=HOUR_AGO, rate_bytes_per_h=6e7, culprits=LEAK.culprits)
        assert refined(soon, trash, NOW).kind == "steady"
        much = Finding("web-1", kind, since=HOUR_AGO, rate_bytes_per_h=6e7, culprits=(Culprit("app.Entry", 700.0),))
        assert refined(much, trash, NOW).leak
