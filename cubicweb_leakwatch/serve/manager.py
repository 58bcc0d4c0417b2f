"""The service manager above the launcher: ``sd_notify`` upward, and its watchdog."""

from __future__ import annotations

import os

from cubicweb_leakwatch.serve.sdnotify import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Manager:
    """Tells systemd, or whatever gave us NOTIFY_SOCKET, how we are; without one every call does nothing.

    Takes the variables out of ``environment``: the children must speak to the launcher, not past it.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", None)
        interval = environment.pop("WATCHDOG_USEC", "")
        for_pid = environment.pop("WATCHDOG_PID", "")
        ours = interval.isdigit() and for_pid in ("", str(os.getpid()))
        # Half of what is allowed, as systemd's manual recommends.
        self._interval_s = int(interval) / 2_000_000 if ours else None
        self._next_at = 0.0
        self._status = ""

    def say(self, **values: object) -> None:
        """Send NAME=VALUE lines."""
        notify(self._address, **values)

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``; sent only when it changed."""
        if text != self._status:
            self._status = text
            self.say(STATUS=text)

    def tick(self, now: float) -> float | None:
        """Feed the watchdog when it is due; return when it is due next."""
        if self._interval_s is None:
            return None
        if now >= self._next_at:
            self.say(WATCHDOG=1)
            self._next_at = now + self._interval_s
        return self._next_at

    def restore(self, environment: MutableMapping[str, str]) -> None:
        """Put the variables back for the launcher that takes our place by exec."""
        if self._address:
            environment["NOTIFY_SOCKET"] = self._address
        if self._interval_s is not None:
            environment["WATCHDOG_USEC"] = str(int(self._interval_s * 2_000_000))
