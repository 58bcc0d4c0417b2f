"""Real instances, served by real processes on free ports, and people who visit them."""

import http.client
import http.cookiejar
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cubicweb_leakdemo.runner import processes, traffic
from cubicweb_leakdemo.runner.instance import ADMIN, HOST, PASSWORD, Instance


def ctl(
    instance: Instance, name: str, *arguments: str, environment: dict[str, str] | None = None, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run ``cubicweb-ctl NAME`` to its end, whatever its exit code; ``environment`` replaces variables."""
    return subprocess.run(
        instance.command(name, *arguments),
        env=instance.environment() | (environment or {}),
        cwd=instance.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@dataclass(frozen=True)
class Site:
    """A served instance."""

    instance: Instance
    server: processes.Running

    @property
    def address(self) -> str:
        """The site's root URL, with the slash."""
        return self.instance.address

    @property
    def port(self) -> int:
        """The TCP port of 127.0.0.1 that it listens on."""
        return self.instance.port

    def ask(self, name: str, *arguments: str) -> Any:
        """Return the ``data`` of a command's ``--json``; fail with what it said."""
        done = ctl(self.instance, name, self.instance.name, *arguments, "--json")
        assert done.returncode == 0, f"{name} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        document = json.loads(done.stdout)
        assert document["ok"] is True
        return document["data"]

    def names(self) -> list[str]:
        """Return the names of the processes that leak-status sees."""
        return [process["name"] for process in self.ask("leak-status")["processes"]]

    def wait_for(
        self, condition: Callable[[], bool], what: str, timeout_s: float = 120.0, every_s: float = 0.5
    ) -> None:
        """Wait until ``condition()``; stop at once, with the log, when the server has died."""
        processes.wait_until(condition, what, self.server, timeout_s, every_s)

    def rows(self, rql: str) -> list[list[Any]]:
        """Return what a query finds in the instance's database."""
        return query(self.instance, rql)


@contextmanager
def served(instance: Instance, *options: str) -> Iterator[Site]:
    """Serve ``instance`` with leak-serve until the end of the block, and check that it ends in order."""
    command = instance.command("leak-serve", instance.name, *options)
    server = processes.start("leak-serve", command, instance.environment(), instance.home / "leak-serve.log")
    site = Site(instance, server)
    try:
        site.wait_for(lambda: answers(site.port, "/_leakwatch/readyz"), "the first answer")
        yield site
    finally:
        status = server.stop()
    assert status == 0, f"leak-serve ended with {status}:\n{processes.tail(server.log)}"


def answers(port: int, path: str) -> bool:
    """Return whether the site answers ``path`` with status 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


QUERY = """
import json, sys
from cubicweb.cwconfig import CubicWebConfiguration
with CubicWebConfiguration.config_for(sys.argv[1]).repository().internal_cnx() as cnx:
    json.dump(cnx.execute(sys.argv[2]).rows, sys.stdout, default=str)
"""


def query(instance: Instance, rql: str) -> list[list[Any]]:
    """Return the rows of an RQL query, by a process of its own."""
    done = subprocess.run(
        [str(instance.programs / "python"), "-c", QUERY, instance.name, rql],
        env=instance.environment(),
        cwd=instance.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows: list[list[Any]] = json.loads(done.stdout)
    return rows


@dataclass(frozen=True)
class Page:
    """What a visitor got: the status, the text, and where redirections led."""

    status: int
    text: str
    url: str


class Visitor:
    """A browser without a screen: it keeps cookies, follows redirections and sends CubicWeb's CSRF token."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def get(self, path: str, **headers: str) -> Page:
        """Ask for a page; an error status is a page too."""
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.address, path), headers=headers))

    def post(self, path: str, fields: dict[str, str], *, token: bool = True) -> Page:
        """Send a form, with the CSRF token unless told otherwise."""
        if token:
            fields = {**fields, "csrf_token": self._token()}
        data = urllib.parse.urlencode(fields).encode()
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.address, path), data))

    def log_in(self, login: str = ADMIN, password: str = PASSWORD) -> "Visitor":
        """Log in; fail when the site does not let us."""
        page = self.post("/login", {"__login": login, "__password": password})
        assert page.status == 200, page
        assert any(cookie.name == "auth_tkt" for cookie in self._cookies), [cookie.name for cookie in self._cookies]
        return self

    def _token(self) -> str:
        if not self._find_token():
            self.get("/login")
        return self._find_token() or ""

    def _find_token(self) -> str | None:
        return next((cookie.value for cookie in self._cookies if cookie.name == "csrf_token"), None)

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=60) as response:
                return Page(response.status, response.read().decode(errors="replace"), response.url)
        except urllib.error.HTTPError as error:
            return Page(error.code, error.read().decode(errors="replace"), error.url or request.full_url)


DATABASE: dict[str, str] = {}
"""The system source of instances that name none, but for ``db-name``; empty: a SQLite file each."""


def make_instance(home: Path, *cubes: str, options: dict[str, str] | None = None, **fields: Any) -> Instance:
    """Create an instance in ``home``, to be served on a free port."""
    if DATABASE and "database" not in fields:
        fields["database"] = {**DATABASE, "db-name": f"leakwatch_{uuid.uuid4().hex}"}
    instance = Instance(home, traffic.free_port(), name="site", cubes=cubes, options=options or {}, **fields)
    instance.create()
    return instance
