"""Counting the requests a process serves, by the view or route that served them.

Only totals: requests in flight are the server's to count, since CubicWeb commits after all tweens have returned.
Names come from the application's own registries, never from the visitor: whatever is unknown there is ``(other)``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from cubicweb_leakwatch import probing
from cubicweb_leakwatch.probe.process import OTHER_VIEWS, this_process

Handler = Callable[[Request], Response]


def counting_tween(handler: Handler, registry: Any) -> Handler:
    """Return the tween: it counts each request once it has been handled, however that ended."""
    config, vreg = registry["cubicweb.config"], registry["cubicweb.registry"]

    def count(request: Request) -> Response:
        # a server that forks after loading (uWSGI, gunicorn --preload) leaves its workers without a probe
        probing.start(config, "web")
        try:
            return handler(request)
        finally:
            this_process().count_request(served_by(request, vreg))

    return count


def served_by(request: Request, vreg: Any) -> str:
    """Return what served the request: ``?vid=gc``, ``/ajax?fname=x``, ``/person``, ``/`` or ``route NAME``."""
    try:
        if getattr(request, "matched_route", None) is not None:
            return f"route {request.matched_route.name}"
        first = request.path_info.strip("/").split("/")[0].lower()
        return _by_cubicweb(first, request.GET, _form(request), vreg)
    except (UnicodeDecodeError, ValueError):  # what the visitor sent is no text
        return OTHER_VIEWS


def _form(request: Request) -> Mapping[str, Any]:
    """Return the parameters as CubicWeb has parsed and completed them; before that, those of the address alone."""
    cw_request = vars(request).get("cw_request")
    form: Mapping[str, Any] = request.GET if cw_request is None else cw_request.form
    return form


def _by_cubicweb(first: str, address: Mapping[str, Any], form: Mapping[str, Any], vreg: Any) -> str:
    view, function = _known(address.get("vid"), vreg["views"]), _known(form.get("fname"), vreg["ajax-func"])
    if first == "ajax" and function and function != "view":
        return f"/ajax?fname={function}"
    if view:
        return f"?vid={view}"
    # an entity's page before the view that CubicWeb chose for it, which is "primary" for all of them
    if first not in ("", "view", "ajax") and (first in vreg["controllers"] or first in vreg.case_insensitive_etypes):
        return f"/{first}"
    view = _known(form.get("vid"), vreg["views"])
    if view:
        return f"?vid={view}"
    return "/" if first in ("", "view") else OTHER_VIEWS


def _known(name: Any, registry: Mapping[str, Any]) -> str:
    return name if isinstance(name, str) and name in registry else ""
