"""The routes of the gc page: a further look, a dump to download, the picture of the last holders. For managers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response

from cubicweb_leakwatch import looks
from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.views.failures import reader
from cubicweb_leakwatch.views.failures import told as told_failure

LOOK, DUMP, PICTURE = "/leakwatch-look", "/leakwatch-dump", "/_leakwatch/holders.{form}"
PIECE_BYTES = 1 << 20
MAX_SIGN = 32


def includeme(config: Configurator, context: type) -> None:
    """Add the routes; ``context`` lets managers alone."""
    config.add_route("leakwatch-look", LOOK, request_method="POST", factory=context)
    config.add_view(look, route_name="leakwatch-look", permission="leakwatch")
    config.add_route("leakwatch-dump", DUMP, request_method="POST", factory=context)
    config.add_view(dump, route_name="leakwatch-dump", permission="leakwatch")
    config.add_route("leakwatch-holders-picture", PICTURE, request_method="GET", factory=context)
    config.add_view(picture, route_name="leakwatch-holders-picture", permission="leakwatch")


def look(request: Request) -> Response:
    """Take a look (form fields ``process``, ``kind``, ``type``), then lead to the page that shows what is kept."""
    process, kind = request.POST.get("process") or "", request.POST.get("kind") or ""
    type_name = (request.POST.get("type") or "").strip()
    told = {}
    try:
        request.cw_cnx.call_service("leakwatch_look", process=process, kind=kind, type_name=type_name)
    except LeakwatchError as error:
        told["__message"] = _sentence(request, error)
        if kind == looks.HOLDERS:
            told["type"] = type_name  # to be corrected, not typed again
    page = request.cw_request.build_url("view", vid="gc", process=process, show="kept", **told)
    return HTTPSeeOther(location=page if told else f"{page}#lw-{kind if kind in looks.KINDS else 'look'}")


def dump(request: Request) -> Response:
    """Take a heap dump (form field ``process``) and send it; nothing is kept here.

    The field ``sign`` comes back as a cookie with it: so the page knows that the dump is there.
    """
    process = request.POST.get("process") or ""
    try:
        taken = request.cw_cnx.call_service("leakwatch_dump", process=process)
    except LeakwatchError as error:
        said = _sentence(request, error)
        return HTTPSeeOther(
            location=request.cw_request.build_url("view", vid="gc", process=process, show="kept", __message=said)
        )
    response = Response(content_type="application/octet-stream")
    response.content_length = taken["bytes"]
    response.content_disposition = f'attachment; filename="{taken["name"]}"'
    response.cache_control = "no-store"
    response.app_iter = _Sent(Path(taken["path"]))
    sign = request.POST.get("sign") or ""
    if sign.isascii() and sign.isalnum() and len(sign) <= MAX_SIGN:
        response.set_cookie("leakwatch-sent", sign, max_age=60, samesite="Strict")
    return response


def _sentence(request: Request, error: LeakwatchError) -> str:
    """Return what failed and what to do, in the reader's language."""
    known = reader(request)
    parts = told_failure(error, known._, known.lang or "en")
    return ". ".join(part.rstrip(".") for part in parts if part)


class _Sent:
    """The bytes of a file that is removed before they are sent: whatever happens then, nothing stays behind."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        path.unlink()
        self.close: Callable[[], None] = self._file.close

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._file.read(PIECE_BYTES):
            yield piece


def picture(request: Request) -> Response:
    """Send the last picture of holders of ``process``, as ``svg`` or ``dot``; it can run nothing in a browser."""
    form = str(request.matchdict["form"])
    try:
        found: Any = request.cw_cnx.call_service("leakwatch_picture", process=request.GET.get("process", ""), form=form)
    except LeakwatchError as error:
        return HTTPNotFound(error.message)
    if found is None:
        return HTTPNotFound()
    response = Response(found, content_type=looks.PICTURES[form], charset="utf-8")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.cache_control = "no-store"
    if form == "dot":
        response.content_disposition = 'attachment; filename="holders.dot"'
    return response
