"""The first story: a repeated task polls a Mercurial repository over HTTP and keeps what it polled with.

Each ``hg.peer`` has a ``urllib.request.OpenerDirector`` of its own, in a cycle with a ``mercurial.url.httphandler``,
which had a ``__del__`` when this happened. Python collects such cycles since 3.4, so today it takes somebody who keeps
them: here the poller remembers each peer "to close it later", and nobody ever does.
"""

from mercurial import hg
from mercurial import ui as mercurial_ui
from mercurial.url import httphandler


def restore_the_finalizer() -> None:
    """Give Mercurial's handler back the ``__del__`` that it had until this leak was reported to its authors."""
    httphandler.__del__ = lambda self: self.close_all()


restore_the_finalizer()


def quiet_ui() -> mercurial_ui.ui:
    """Return Mercurial's user interface object, without the user's own configuration and without talk."""
    ui = mercurial_ui.ui()
    ui.setconfig(b"ui", b"quiet", b"yes")
    ui.setconfig(b"ui", b"interactive", b"no")
    return ui


class VCSPoller:
    """Polls remote repositories; ``handlers`` maps the number of each poll to the peer it was made with: the leak."""

    def __init__(self) -> None:
        self.handlers: dict[int, object] = {}
        self._ui = quiet_ui()

    def poll(self, url: str) -> list[bytes]:
        """Return the heads of the repository at ``url``; Mercurial's errors pass through."""
        peer = hg.peer(self._ui, {}, url.encode())
        with peer.commandexecutor() as executor:
            heads: list[bytes] = executor.callcommand(b"heads", {}).result()
        self.handlers[len(self.handlers) + 1] = peer
        return heads


POLLER = VCSPoller()


def poll_round(url: str, polls: int, at_most: int) -> int:
    """Poll ``url`` up to ``polls`` times, until ``at_most`` peers are kept in all (0: no end); return how many are."""
    for _ in range(polls):
        if at_most and len(POLLER.handlers) >= at_most:
            break
        POLLER.poll(url)
    return len(POLLER.handlers)
