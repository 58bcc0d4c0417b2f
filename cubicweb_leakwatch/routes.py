"""What leakwatch adds to the web application: its probe, the count of requests, health checks, metrics, two actions.

The health checks are for balancers and say one word to anybody; everything else is for managers, and the metrics for a
monitoring server that has the token.
"""

import hmac
import json
from typing import Any

from pyramid import tweens
from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import DENY_ALL, NO_PERMISSION_REQUIRED, Allow

from cubicweb_leakwatch import heap_routes, probing, twins
from cubicweb_leakwatch.errors import ConfigurationError, LeakwatchError
from cubicweb_leakwatch.probe.process import this_process
from cubicweb_leakwatch.probe.runtime import runtime_path
from cubicweb_leakwatch.settings import read_settings
from cubicweb_leakwatch.views.failures import reader
from cubicweb_leakwatch.views.failures import told as told_failure

METRICS = "/_leakwatch/metrics"
HEALTH = {"livez": "/_leakwatch/livez", "readyz": "/_leakwatch/readyz", "healthz": "/_leakwatch/healthz"}
ACTIONS = {"restart": "/leakwatch-restart", "snapshot": "/leakwatch-snapshot"}


class Managers:
    """The context of the routes that only managers may use."""

    __acl__ = [(Allow, "managers", "leakwatch"), DENY_ALL]

    def __init__(self, request: Request) -> None:
        self.request = request


def includeme(config: Configurator) -> None:
    """Add all of it to an application; called by the cube's own ``includeme``."""
    probing.start(config.registry["cubicweb.config"], "web")
    config.add_subscriber(serving, ApplicationCreated)
    config.add_tween("cubicweb_leakwatch.counting.counting_tween", under=tweens.INGRESS)
    for name, path in HEALTH.items():
        config.add_route(f"leakwatch-{name}", path)
    # Without a token: it changes nothing, and the uploads of leak-drill go there.
    config.add_view(livez, route_name="leakwatch-livez", permission=NO_PERMISSION_REQUIRED, require_csrf=False)
    config.add_view(livez, route_name="leakwatch-healthz", permission=NO_PERMISSION_REQUIRED)
    config.add_view(readyz, route_name="leakwatch-readyz", permission=NO_PERMISSION_REQUIRED)
    config.add_route("leakwatch-metrics", METRICS, request_method=("GET", "HEAD"))
    config.add_view(metrics, route_name="leakwatch-metrics", permission=NO_PERMISSION_REQUIRED)
    for name, path in ACTIONS.items():
        config.add_route(f"leakwatch-{name}", path, request_method="POST", factory=Managers)
    config.add_view(restart, route_name="leakwatch-restart", permission="leakwatch")
    config.add_view(snapshot, route_name="leakwatch-snapshot", permission="leakwatch")
    twins.includeme(config, Managers)
    heap_routes.includeme(config, Managers)


def serving(_event: ApplicationCreated) -> None:
    """Note that the application is there; under the launcher its server knows better when it answers."""
    import os

    if "LEAKWATCH_PROCESS" not in os.environ:
        this_process().state = "serving"


def livez(_request: Request) -> Response:
    """Say that the process answers."""
    return Response("ok\n", content_type="text/plain")


def readyz(_request: Request) -> Response:
    """Say whether the process takes requests; 503 while it starts or drains."""
    state = this_process().state
    return Response(f"{state}\n", content_type="text/plain", status=200 if state == "serving" else 503)


def metrics(request: Request) -> Response:
    """Tell the metrics of all processes on this host to a manager, or to who has the token; others learn nothing."""
    config = request.registry["cubicweb.config"]
    if not (has_token(request, read_settings(config).metrics_token) or "managers" in request.effective_principals):
        return Response("the token, please\n", 401, content_type="text/plain", www_authenticate="Bearer")
    # here alone: a site that nobody monitors does not carry it
    from cubicweb_leakwatch.metrics import text
    from cubicweb_leakwatch.metrics.gather import gather

    figures = gather(runtime_path(config.appdatahome), config.appid)
    if "application/openmetrics-text" in request.headers.get("Accept", ""):
        return _text(text.openmetrics(figures), text.OPENMETRICS_TYPE)
    return _text(text.prometheus(figures), text.PROMETHEUS_TYPE)


def has_token(request: Request, token: str | None) -> bool:
    """Say whether the request bears the token; how long that takes does not depend on how much of it is right."""
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    # latin-1: what a client sends may be any bytes, and must not raise
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), (token or "").encode())
    return token is not None and scheme.lower() == "bearer" and same


def _text(body: str, content_type: str) -> Response:
    return Response(body.encode(), headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def restart(request: Request) -> Response:
    """Have a worker replaced, or all of them: form fields ``process`` (a slot, or empty for all) and ``reason``."""
    process = request.POST.get("process") or None
    _ = reader(request)._
    return _done(
        request,
        "leakwatch_restart",
        lambda data: _("leakwatch: replacement asked for: %s") % ", ".join(asked["process"] for asked in data),
        process=process,
        reason=request.POST.get("reason") or "",
    )


def snapshot(request: Request) -> Response:
    """Take and record a snapshot of every process now; form field ``note``."""
    _ = reader(request)._
    return _done(
        request,
        "leakwatch_snapshot",
        lambda data: _("leakwatch: snapshots recorded: %s") % len(data["recorded"]),
        note=request.POST.get("note") or "",
    )


def _done(request: Request, service: str, told: Any, **parameters: Any) -> Response:
    """Call the service; answer with JSON who asks for it, and others with the dashboard and what was done."""
    wants_json = "application/json" in request.headers.get("Accept", "")
    try:
        data = request.cw_cnx.call_service(service, **parameters)
    except LeakwatchError as error:
        status = 404 if isinstance(error, ConfigurationError) else 409
        if wants_json:
            return _json({"ok": False, "error": error.as_json()}, status)
        message, hint, details = told_failure(error, request.cw_request._, request.cw_request.lang or "en")
        return _dashboard(request, " ".join(part for part in (message, hint, details) if part))
    return _json({"ok": True, "data": data}, 200) if wants_json else _dashboard(request, told(data))


def _json(document: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(document), content_type="application/json", charset="utf-8", status=status)


def _dashboard(request: Request, message: str) -> Response:
    """Lead back to the page, to where the stages of a restart are."""
    location = request.cw_request.build_url("view", vid="leakwatch", __message=message)
    return HTTPSeeOther(location=f"{location}#lw-restarts")
