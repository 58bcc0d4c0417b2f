"""Who is no manager gets nothing from any page, route or service; another Unix user cannot open the sockets."""

import errno
import os
import socket
from pathlib import Path

import pytest
from sites import Page, Site, Visitor, ctl

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PAGES = (
    "?vid=gc",
    "?vid=gc&process=scheduler",
    "?vid=leakwatch",
    "ajax?fname=view&vid=gc",
    "ajax?fname=view&vid=leakwatch",
    "siteinfo?tab=gc",
    "workerrestart",
    "memorysnapshot",
    "leakwatchprocess",
    "view?rql=Any%20X%20WHERE%20X%20is%20MemorySnapshot",
)
SECRETS = ("mercurial.url.httphandler", "POLLER", "gc.garbage", "httphandler", "RSS", "web-1")


ADD_USER = """
users = rql("Any G WHERE G is CWGroup, G name 'users'")[0][0]
create_entity("CWUser", login="bob", upassword="bobbob", in_group=users)
commit()
"""


@pytest.fixture(scope="module")
def anonymous(site: Site) -> Visitor:
    """Somebody who has not logged in."""
    return Visitor(site.address)


@pytest.fixture(scope="module")
def user(site: Site) -> Visitor:
    """Somebody with an account, who is in the group ``users`` alone."""
    script = site.instance.home / "adduser.py"
    script.write_text(ADD_USER)
    done = ctl(site.instance, "shell", "--force", site.instance.name, str(script))
    assert done.returncode == 0, done.stderr
    return Visitor(site.address).log_in("bob", "bobbob")


@pytest.fixture(params=["anonymous", "user"])
def stranger(request: pytest.FixtureRequest) -> Visitor:
    """Each kind of visitor who is no manager."""
    visitor: Visitor = request.getfixturevalue(request.param)
    return visitor


def says_nothing(page: Page) -> bool:
    """Return whether a page tells nothing that only managers may know."""
    return not any(secret in page.text for secret in SECRETS)


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_sees_nothing(stranger: Visitor, path: str) -> None:
    """No page, tab, ajax call or list of records tells a stranger anything."""
    page = stranger.get(path)
    assert says_nothing(page), page.text[:2000]


@pytest.mark.parametrize("vid", ["gc", "leakwatch"])
def test_a_user_is_refused(user: Visitor, vid: str) -> None:
    """Who has an account and is no manager gets 403."""
    assert user.get(f"?vid={vid}").status == 403


@pytest.mark.parametrize("path", ["leakwatch-restart", "leakwatch-snapshot"])
def test_a_stranger_can_do_nothing(site: Site, stranger: Visitor, path: str) -> None:
    """The actions are refused, with a valid CSRF token too, and nothing happens."""
    before = site.ask("leak-status")["processes"]
    page = stranger.post(path, {"process": "web-1"})
    assert page.status in (401, 403, 404) or "/login" in page.url, page
    assert [process["pid"] for process in site.ask("leak-status")["processes"]] == [
        process["pid"] for process in before
    ]


def test_a_manager_without_the_token_can_do_nothing(site: Site) -> None:
    """Another site cannot make a manager's browser restart a worker."""
    manager = Visitor(site.address).log_in()
    assert manager.post("leakwatch-restart", {"process": "web-1"}, token=False).status == 400
    assert manager.get("leakwatch-restart?process=web-1").status in (400, 404, 405)


def sockets_that_open(paths: list[Path], user: int) -> int:
    """Return how many sockets a process of ``user`` can open: a fork, so that it need not reach our interpreter."""
    pid = os.fork()
    if not pid:
        opened = 255
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            opened = sum(socket.socket(socket.AF_UNIX).connect_ex(str(path)) != errno.EACCES for path in paths)
        finally:
            os._exit(opened)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def as_root() -> None:
    """Skip where we cannot act as another user."""
    if os.geteuid():
        pytest.skip("only root can act as another user: run as root")


@pytest.mark.usefixtures("as_root")
def test_another_user_cannot_open_the_sockets(site: Site) -> None:
    """A process of the user nobody is refused by the kernel, for every probe and for the launcher."""
    sockets = sorted((site.instance.home / "run" / "leakwatch").glob("*.sock"))
    assert {path.stem.split("-")[0] for path in sockets} == {"launcher", "scheduler", "web"}
    # pytest's own folders are for root alone: opened up, so that it is ours that refuse.
    for folder in sockets[0].parent.parents:
        if "pytest" in str(folder):
            folder.chmod(0o755)
    assert sockets_that_open(sockets, user=65534) == 0
    assert sockets_that_open(sockets, user=0) == len(sockets)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in sockets)
    assert sockets[0].parent.stat().st_mode & 0o777 == 0o700
