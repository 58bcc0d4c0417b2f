"""How a failure is told on a page: what failed, what to do, in the reader's language.

Errors come from parts that know nothing of languages, in English and with the details in the sentence. Whoever reads
another language gets a sentence for the error's code, and the English one, which has the details, behind it.
"""

from collections.abc import Callable
from typing import Any

from cubicweb import _

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.views.markup import Html, element

SENTENCES: dict[str, tuple[str, str]] = {
    "no-probe": (
        _("No process of this instance answers."),
        _("Is it running, with the cube leakwatch? Start it by cubicweb-ctl leak-serve."),
    ),
    "unknown-process": (_("There is no such process."), _("It may have been replaced: choose another one.")),
    "no-answer": (
        _("The process does not answer."),
        _("It may be stopped, or too busy to answer; ask again."),
    ),
    "no-launcher": (
        _("No launcher runs for this instance."),
        _("Serve the instance by cubicweb-ctl leak-serve to have workers replaced."),
    ),
    "launcher": (_("The launcher gives no answer."), _("See the log of leak-serve.")),
    "busy": (_("Another look is going on."), _("Wait for it, then ask again.")),
    "replaced": (_("The worker that took the look is being replaced."), _("Ask again: its successor serves.")),
    "unknown-type": (
        _("There is no object of that type in the process."),
        _("The types that it has most of stand in the table."),
    ),
    "no-mark": (_("There is no mark to compare with."), _("Set a mark first; it goes with its process.")),
    "copy-refused": (
        _("There is no room for a copy of the process."),
        _("Wait until memory is free, or look at the counts alone: leak-gc --types-only."),
    ),
    "failed-apart": (_("The analysis failed."), _("See the log of the site.")),
    "timeout": (_("It took too long, and was ended."), _("Try again when the host is less busy.")),
    "runtime-directory": (
        _("The runtime directory cannot be used."),
        _("It must belong to the user whom the instance runs as."),
    ),
    "database-away": (
        _("The database does not answer, so nothing that was recorded can be shown."),
        _("The processes are asked without it: cubicweb-ctl leak-status works all the same."),
    ),
    "bad-option": (_("An option of the instance means nothing."), _("Correct it in all-in-one.conf.")),
    "nothing-recorded": (_("No process could be measured."), _("See whether they answer.")),
    "system": (_("The system refused."), _("See the log of the site.")),
}
"""What is told, and what to do, by the code of an error."""

OTHER = (_("That failed."), _("See the log of the site."))


def told(error: LeakwatchError, translate: Callable[[str], str], lang: str) -> tuple[str, str, str]:
    """Return the sentence, the hint, and the English details where the sentence is not they."""
    if lang == "en":
        return error.message, error.hint, ""
    message, hint = SENTENCES.get(error.code, OTHER)
    return translate(message), translate(hint), f"{error.message}. {error.hint}".strip(". ")


def reader(request: Any) -> Any:
    """Return CubicWeb's request behind a route's, in the language of the reader's browser.

    CubicWeb asks the browser for its own pages alone; a route's answer would be in the site's language.
    """
    known = request.cw_request
    if known.vreg.config.get("language-mode") in ("http-negotiation", "url-prefix"):
        language = known.negotiated_language()
        if language:
            known.set_language(language)
    return known


def failure(error: LeakwatchError, translate: Callable[[str], str], lang: str) -> Html:
    """Return what failed and what to do, as a part of a page."""
    message, hint, details = told(error, translate, lang)
    shown = [element("p", message), element("p", hint) if hint else None]
    if details:
        shown.append(element("p", details, lang="en", class_="lw-note"))
    return element("div", *shown, class_="lw-verdict lw-open lw-failure", role="status")
