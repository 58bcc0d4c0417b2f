"""The second story: a page whose cache never expires, so that a web worker outgrows what its host can give."""

from functools import cache

from cubicweb.predicates import match_form_params
from cubicweb_web.view import StartupView

CHANGES_A_REVISION = 2500


@cache
def rendered_changes(revision: int) -> str:
    """Return the table of what ``revision`` changed (about 250 kB of HTML), kept for as long as the process lives."""
    rows = (
        f'<tr><td>{line}</td><td class="removed">- old line {line} of revision {revision}</td>'
        f'<td class="added">+ new line {line} of revision {revision}</td></tr>'
        for line in range(CHANGES_A_REVISION)
    )
    return f"<table><caption>Changes of revision {revision}</caption>{''.join(rows)}</table>"


class ChangesetView(StartupView):
    """``?vid=leakdemo-changeset&revision=N``: the changes of one revision, as a repository browser shows them."""

    __regid__ = "leakdemo-changeset"
    __select__ = StartupView.__select__ & match_form_params("revision")
    title = "Changeset"

    def call(self, **_kwargs: object) -> None:
        """Write the rendered changes, from the cache where this worker has shown them before."""
        self.w(rendered_changes(int(self._cw.form["revision"])))
