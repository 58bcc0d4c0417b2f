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
        return _by_cubicweb(request.path_info.strip("/").split("/")[0], _form(request), vreg)
    except (UnicodeDecodeError, ValueError):  # what the visitor sent is no text
        return OTHER_VIEWS


def _form(request: Request) -> Mapping[str, Any]:
    """Return the parameters as CubicWeb has parsed them; before that, those of the address alone."""
    cw_request = vars(request).get("cw_request")
    return request.GET if cw_request is None else cw_request.form


def _by_cubicweb(first: str, form: Mapping[str, Any], vreg: Any) -> str:
    function, view = form.get("fname"), form.get("vid")
    if isinstance(view, str) and view in vreg["views"]:
        return f"?vid={view}"
    if first == "ajax" and isinstance(function, str) and function in vreg["ajax-func"]:
        return f"/ajax?fname={function}"
    known = not first or first in vreg["controllers"] or first.lower() in vreg.case_insensitive_etypes
    return f"/{first.lower()}" if known else OTHER_VIEWS
