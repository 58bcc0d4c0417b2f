"""Sentences of a conclusion: English text that remembers what it was made of."""

import json

from cubicweb_leakwatch.watch.deployed import effect_of, rates_of
from cubicweb_leakwatch.watch.sentences import Sentence, made_of, with_note


def test_a_sentence_is_its_english_text() -> None:
    """Whoever knows nothing of templates reads and stores it as before; figures have the unit their name tells."""
    said = Sentence(
        "%(free_bytes)s free, %(rate_bytes_per_h)s, %(name)s", free_bytes=3 << 20, rate_bytes_per_h=5e6, name="x"
    )
    assert said == "3.0 MiB free, +4.8 MiB/h, x"
    assert json.loads(json.dumps([said])) == ["3.0 MiB free, +4.8 MiB/h, x"]


def test_what_it_was_made_of_is_kept_beside_it() -> None:
    """By its text, so that no list can fall behind another; plain text has nothing to keep."""
    said = Sentence("objects of %(type)s grow", type="a.B")
    assert made_of(said, "plain") == {
        "objects of a.B grow": {"template": "objects of %(type)s grow", "figures": {"type": "a.B"}}
    }


def test_a_note_comes_with_what_it_was_made_of() -> None:
    """Evidence of an earlier version, which has no messages, takes notes all the same."""
    noted = with_note(with_note({"notes": ["first"]}, "second"), Sentence("not recorded: %(meters)s", meters="rss"))
    assert noted["notes"] == ["first", "second", "not recorded: rss"]
    assert list(noted["messages"]) == ["not recorded: rss"]
    assert "messages" not in with_note({}, "plain")


def test_a_deployment_is_told_with_and_without_rates() -> None:
    """What was installed, and what it did; one that did nothing is not told without rates."""
    fixed = {"t": 0, "text": "x 1 → 2", "effect": "fixed", "rate_before_bytes_per_h": 30.0 * 1024**2}
    assert effect_of(fixed) == "fixed by the deployment of 1970-01-01T00:00:00Z (x 1 → 2)"
    assert rates_of(fixed, 0.0) == (
        "fixed by the deployment of 1970-01-01T00:00:00Z (x 1 → 2): +30.0 MiB/h before, 0 B/day after"
    )
    nothing = {**fixed, "effect": "no leak before or after", "text": ""}
    assert effect_of(nothing) == ""
    assert rates_of(nothing, 0.0).startswith("since the deployment of 1970-01-01T00:00:00Z: ")
