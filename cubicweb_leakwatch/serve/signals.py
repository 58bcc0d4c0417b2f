"""Signals: the handlers only queue, and wake the loop by a pipe."""

from __future__ import annotations

import os
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
else:  # the C module itself, for all of the launcher: the Python one above it costs 0.2 MB, for names in enumerations
    import _signal as signal

HANDLED = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGCHLD")

# What the module has under such a name beside the signals: the second names of three, and what a handler may be.
_NO_SIGNALS = ("SIGCLD", "SIGIOT", "SIGPOLL", "SIG_DFL", "SIG_IGN", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK")


class SignalQueue:
    """The signals received and not yet acted on.

    SIGUSR1 ("I want a successor") is blocked and collected by ``sigtimedwait``: only that tells which worker sent it.
    """

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal came."""
        return self._read_fd

    def install(self) -> None:
        """Take over the signals of this process."""
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for name in HANDLED:
            signal.signal(getattr(signal, name), self._queue)
        # After a handover all are still blocked: from here on the queue takes them.
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1])

    def take(self) -> list[int]:
        """Return the queued signal numbers, oldest first, and empty the queue."""
        try:
            while os.read(self._read_fd, 512):
                pass
        except BlockingIOError:
            pass
        taken = []
        while self._pending:
            taken.append(self._pending.popleft())
        return taken

    def are_waiting(self) -> bool:
        """Whether a signal came that nobody has taken yet."""
        return bool(self._pending)

    @staticmethod
    def take_senders() -> list[int]:
        """Return the pids that sent SIGUSR1 since the last call."""
        senders = []
        while (info := signal.sigtimedwait([signal.SIGUSR1], 0)) is not None:
            senders.append(info.si_pid)
        return senders

    def _queue(self, number: int, _frame: object) -> None:
        self._pending.append(number)


def restore_defaults() -> None:
    """Undo, between fork and exec, what exec would pass on: the blocked and the ignored signals."""
    signal.set_wakeup_fd(-1)
    for name in (*HANDLED, "SIGPIPE", "SIGUSR1"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def signal_name(number: int) -> str:
    """Return ``SIGSEGV`` for 11; the number itself when it has no name."""
    for name, value in vars(signal).items():
        if value == number and name.startswith("SIG") and name not in _NO_SIGNALS:
            return name
    return f"signal {number}"
