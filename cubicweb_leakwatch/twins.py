"""The JSON twin of each panel of the dashboard: ``/_leakwatch/NAME.json``, for managers.

The document is that of a command's ``--json``. It is never kept without asking: ``ETag`` and ``no-cache`` let a client
that asks again be told that nothing has changed.
"""

import hashlib
import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.views.panels import PANELS
from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.sheet import Sheet

AWAY = ("database-away", "no-probe", "no-launcher", "launcher")
"""Codes of what may be there again in a moment: 503, so that a client tries again."""


def includeme(config: Configurator, context: type) -> None:
    """Add the routes; ``context`` lets managers alone."""
    for panel in PANELS:
        name = f"leakwatch-{panel.name}-json"
        config.add_route(name, f"/_leakwatch/{panel.name}.json", request_method="GET", factory=context)
        config.add_view(partial(twin, panel), route_name=name, permission="leakwatch")


def twin(panel: type[Panel], request: Request) -> Response:
    """Return the data of a panel as a JSON document."""
    try:
        shown = panel(Sheet(request.cw_request))
        data = shown.data()
        return _document(request, {"data": data, **shown.beside()})
    except LeakwatchError as error:
        status = 503 if error.code in AWAY else 404 if isinstance(error, ConfigurationError) else 500
        body = json.dumps({"ok": False, "error": error.as_json()})
        return _kept(Response(body, content_type="application/json", charset="utf-8", status=status))


def _document(request: Request, content: dict[str, Any]) -> Response:
    """Return the content in its envelope; the time in it does not count as a change."""
    told = json.dumps(content, sort_keys=True)  # once: a chart of a month is half a megabyte
    etag = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    envelope = {
        "ok": True,
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "instance": request.registry["cubicweb.config"].appid,
    }
    document = f"{json.dumps(envelope)[:-1]}, {told[1:]}"
    response = Response(document, content_type="application/json", charset="utf-8")
    response.etag = (etag, False)
    response.conditional_response = True
    return _kept(response)


def _kept(response: Response) -> Response:
    """Say that the answer is for this reader, and to be asked for again each time."""
    response.headers["Cache-Control"] = "no-cache, private"
    response.headers["X-Content-Type-Options"] = "nosniff"  # a type name may look like a page
    response.vary = ("Cookie",)
    return response
