"""What the panels of a page share: the reader's language and parameters, and what is asked of the instance, once."""

from functools import cached_property
from typing import Any
from urllib.parse import quote

from pyramid.csrf import get_csrf_token

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.recording import kept_chart
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Html, element
from cubicweb_leakwatch.views.span import Span, asked_span


class _AsTyped:
    """The form validator that CubicWeb asks for: parameters as they came, for :meth:`Sheet.parameter` to judge."""

    @staticmethod
    def validate(form: dict[str, Any]) -> dict[str, Any]:
        """Return the form."""
        return form


class Sheet:
    """One request for a page or for the JSON twin of a panel; ``request`` is CubicWeb's."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.told: set[str] = set()
        """The failures that the page has told."""

    @property
    def _(self) -> Any:
        """Translate into the reader's language."""
        return self.request._

    @cached_property
    def figures(self) -> Figures:
        """Numbers and times in the reader's language."""
        return Figures(self.request._, self.request.lang or "en")

    @cached_property
    def span(self) -> Span:
        """The time that is shown."""
        return asked_span(self.parameter)

    @cached_property
    def _form(self) -> dict[str, Any]:
        return dict(self.request.get_cleaned_form(_AsTyped))

    def parameter(self, name: str) -> str | None:
        """Return one parameter of the address as text; the last one when it was given twice."""
        value = self._form.get(name)
        value = value[-1] if isinstance(value, list | tuple) and value else value
        return value.strip() or None if isinstance(value, str) else None

    @cached_property
    def _root(self) -> str:
        return str(self.request.base_url())

    def address(self, path: str, **parameters: str) -> str:
        """Return an address of the site; CubicWeb's own ``build_url`` asks its configuration anew for each."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        return f"{self._root}{path}?{query}" if query else f"{self._root}{path}"

    def url(self, **parameters: str) -> str:
        """Return the address of the dashboard with these parameters."""
        return self.address("view", vid="leakwatch", **parameters)

    def button(self, action: str, label: str, **fields: str) -> Html:
        """Return a form of one button that posts ``fields`` to ``action``."""
        values = {"csrf_token": get_csrf_token(self.request._request), **fields}
        hidden = [element("input", type="hidden", name=name, value=value) for name, value in values.items()]
        named = fields.get("process", "")
        described = None if clean(named) in label else f"{label} {named}"
        do = element("button", label, type="submit", class_="lw-do", aria_label=described)
        return element("form", *hidden, do, action=self.address(action), method="post", class_="lw-action")

    # what is asked of the instance

    @cached_property
    def status(self) -> dict[str, Any]:
        """The data of ``leak-status``, with ``failures``. Raises ``LeakwatchError`` when no process answers."""
        return dict(self.request.call_service("leakwatch_processes"))

    @cached_property
    def launcher(self) -> dict[str, Any] | None:
        """What the launcher says of itself; None where there is none to ask."""
        try:
            return dict(self.request.call_service("leakwatch_launcher"))
        except LeakwatchError:
            return None

    @cached_property
    def replacements(self) -> list[dict[str, Any]]:
        """The launcher's last restarts, oldest first, those under way last; none where no launcher runs."""
        try:
            return list(self.request.call_service("leakwatch_replacements"))
        except LeakwatchError:
            return []

    @cached_property
    def recorded(self) -> dict[str, Any]:
        """What was recorded in the time that is shown, as coarse as a chart wants it. Raises ``LeakwatchError``."""
        return dict(
            self.ask_database("leakwatch_history", since=self.span.start, until=self.span.end, points=kept_chart.POINTS)
        )

    @cached_property
    def happened(self) -> dict[str, Any]:
        """``restarts`` and ``events`` of the time that is shown, without the samples. Raises ``LeakwatchError``."""
        if "recorded" in self.__dict__:
            return self.recorded
        return dict(self.ask_database("leakwatch_history", since=self.span.start, until=self.span.end, points=0))

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """Every recorded finding, open and closed, oldest first. Raises ``LeakwatchError``."""
        return list(self.ask_database("leakwatch_findings", closed=True))

    @cached_property
    def open_findings(self) -> list[dict[str, Any]]:
        """What was concluded last; where nothing was in the last hour, the recorded findings that hold."""
        current = list(self.request.call_service("leakwatch_conclusions"))
        return current or [finding for finding in self.findings if not finding.get("closed_at")]

    def ask_database(self, service: str, **parameters: Any) -> Any:
        """Call a service that reads the database. Raises ``LeakwatchError`` (code ``database``) when it is away."""
        try:
            return self.request.call_service(service, **parameters)
        except LeakwatchError:
            raise
        except Exception as error:  # whatever a database driver may raise
            if not _of_a_database(error):
                raise
            told = " ".join(str(error).split()) or type(error).__name__
            raise LeakwatchError(
                f"the database does not answer: {told}",
                "the processes are asked without it: cubicweb-ctl leak-status works all the same",
                "database-away",
            ) from error


def _of_a_database(error: Exception) -> bool:
    """Whether a driver raised it: each has its own ``Error`` as the base of all (PEP 249)."""
    return any(base.__name__ == "Error" and base.__module__ != "builtins" for base in type(error).__mro__)
