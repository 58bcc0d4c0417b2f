"""What was recorded in English, as a reader of another language sees it."""

import re

import pytest
from face_data import HOSTILE, catalogue

from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.launcher_words import SENTENCES, autopsy_in_words, in_words
from cubicweb_leakwatch.views.sentences import notes, sentence
from cubicweb_leakwatch.watch.sentences import Sentence, made_of, with_note

FRENCH = {message: translated for (_context, message), translated in catalogue("fr").items()}
IN_FRENCH, IN_ENGLISH = Figures(lambda text: FRENCH.get(text, text), "fr"), Figures(str)
GROWS = "objects tracked by the collector grow with the memory"


def test_evidence_is_told_in_the_readers_language() -> None:
    """Its sentences with their figures, sizes with the reader's decimals and units."""
    free = Sentence(
        "%(free_bytes)s are free inside malloc: malloc_trim would give most of it back", free_bytes=1.5 * 2**30
    )
    evidence = with_note({"why": GROWS}, free)
    assert sentence("p", GROWS, evidence, IN_FRENCH) == (
        "<p>les objets suivis par le ramasse-miettes croissent avec la mémoire</p>"
    )
    assert list(notes(evidence, IN_FRENCH)) == [
        "<li>1\u202f536,0 Mio sont libres dans malloc : malloc_trim en rendrait la plus grande part</li>"
    ]
    assert list(notes(evidence, IN_ENGLISH)) == [
        "<li>1,536.0 MiB are free inside malloc: malloc_trim would give most of it back</li>"
    ]


def test_a_known_retention_is_told_in_the_readers_language() -> None:
    """Also where it is a part of another sentence."""
    known = Sentence(
        "known: %(what_said)s (%(reference)s)",
        what_said="a cache of the standard library with a limit of its own",
        reference="x",
    )
    assert "un cache de la bibliothèque standard" in sentence("li", known, {"messages": made_of(known)}, IN_FRENCH)


@pytest.mark.parametrize("recorded", ["1.5 GiB are free inside malloc", "", HOSTILE, "100 % of %(nothing)s"])
def test_what_no_catalogue_knows_stays_english_and_says_so(recorded: str) -> None:
    """A finding of an earlier version is told all the same, and a screen reader knows how to pronounce it."""
    shown = sentence("p", recorded, {}, IN_FRENCH)
    assert shown.startswith('<p lang="en">') and "<script>" not in shown
    assert 'lang="en"' not in sentence("p", recorded, {}, IN_ENGLISH)


def test_figures_that_do_not_fit_leave_the_recorded_text() -> None:
    """What somebody wrote into the database by hand breaks no page."""
    messages = {
        "x": {
            "template": "%(free_bytes)s are free inside malloc: malloc_trim would give most of it back",
            "figures": {},
        }
    }
    assert sentence("p", "x", {"messages": messages}, IN_FRENCH) == "<p>x</p>"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("by hand", "à la main"),
        ("private memory 250.5 MiB over its limit 1.0 GiB",
         "mémoire privée de 250,5 Mio au-dessus de sa limite de 1,0 Gio"),
        ("the limit of 400.0 MiB is predicted in 1 d 5 h", "la limite de 400,0 Mio est prédite dans 1 j 5 h"),
        ("12000 requests served, its limit is 10000", "12\u202f000 requêtes servies, sa limite est de 10\u202f000"),
        ("web-2 died 5 times within 60 s: killed by SIGKILL", "web-2 est mort 5 fois en 60 s : tué par SIGKILL"),
        ("web-1 waits to be replaced (by hand): planned for the restart window 02:00 to 05:00",
         "web-1 attend d'être remplacé (à la main) : prévu dans la plage de remplacement, de 02:00 à 05:00"),
        ("back above 80 % of its limit", "revenu au-dessus de 80 % de sa limite"),
        ("by hand (autopsy: +5,000 a.B2; c.D held by e.f[…])",
         "à la main (autopsie : +5\u202f000 a.B2; c.D retenu par e.f[…])"),
        ("slow since 9.30, see ticket 1,234", "slow since 9.30, see ticket 1,234"),
        (HOSTILE, HOSTILE),
    ],
)  # fmt: skip
def test_the_launchers_words_are_told_in_french(said: str, told: str) -> None:
    """Sentence, figures, units and what is quoted in it; what somebody gave as the reason stays as it was given."""
    assert in_words(said, IN_FRENCH) == told
    assert in_words(said, IN_ENGLISH) == said


@pytest.mark.parametrize("template", SENTENCES)
def test_no_sentence_of_the_launcher_is_taken_for_another(template: str) -> None:
    """Each is found by its own template, whichever stands before it."""
    named = re.findall(r"%\((\w+)\)s", template)
    shown = template % {name: name if name.endswith("_said") else "7" for name in named}
    numbered = Figures(lambda text: str(SENTENCES.index(text)) if text in SENTENCES else text, "fr")
    assert in_words(shown, numbered) == str(SENTENCES.index(template))


def test_an_autopsy_is_told_in_french() -> None:
    """Counts and who holds; the names of types are left alone."""
    assert autopsy_in_words("+1,500 a.B1; 12 x.Y", IN_FRENCH) == "+1\u202f500 a.B1; 12 x.Y"
