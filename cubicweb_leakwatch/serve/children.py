"""Starting one child: fork, place the sockets, exec. Nothing of the application is ever forked."""

from __future__ import annotations

import fcntl
import os

from cubicweb_leakwatch.serve import procfs
from cubicweb_leakwatch.serve.signals import restore_defaults, signal
from cubicweb_leakwatch.serve.sockets import FIRST_LISTEN_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from cubicweb_leakwatch.serve.spec import Child

EXIT_CANNOT_EXEC = 127
BOOT_NICE = 5
CAP_SYS_NICE = 23
# getrlimit(2): RLIMIT_NICE counts from 20 downward, so that 20 allows nice 0.
RLIMIT_OF_NICE_0 = 20
PR_SET_PDEATHSIG = 1
# Above any descriptor the launcher itself or the places from 3 on may use.
SPARE_FD = 200


def spawn(kind: Child, environment: dict[str, str], listen_fds: list[int]) -> int:
    """Start one child and return its pid; a command that cannot be run makes a child that exits with 127."""
    launcher = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(kind, environment, listen_fds, launcher)
    return pid


def calm_boot(pid: int) -> None:
    """Let serving processes go first while this one boots.

    By nice where that can be taken back afterwards, which needs a privilege; else as far as SCHED_BATCH goes.
    """
    _schedule(pid, os.SCHED_BATCH, BOOT_NICE if may_lower_nice() else None)


def end_calm_boot(pid: int) -> None:
    """Treat every thread of a booted child like any other: they inherited the policy of the boot."""
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208
    except OSError:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0) if may_lower_nice() else None
    for thread in threads:
        _schedule(thread, os.SCHED_OTHER, nice)


def may_lower_nice() -> bool:
    """Whether this process may bring another one's nice value down again: CAP_SYS_NICE, or a limit that allows 0."""
    return bool(procfs.effective_capabilities() >> CAP_SYS_NICE & 1) or procfs.nice_limit() >= RLIMIT_OF_NICE_0


def _schedule(pid: int, policy: int, nice: int | None) -> None:
    try:
        os.sched_setscheduler(pid, policy, os.sched_param(0))
        if nice is not None:
            os.setpriority(os.PRIO_PROCESS, pid, nice)
    except OSError:
        return


def _become(kind: Child, environment: dict[str, str], listen_fds: list[int], launcher: int) -> NoReturn:
    try:
        restore_defaults()
        # A group of its own: Ctrl-C in a terminal reaches the launcher alone, which then stops its children in order.
        os.setpgid(0, 0)
        _end_with(launcher)
        _silence_stdin()
        _place(listen_fds, 0 if kind.fcgi else FIRST_LISTEN_FD)
        if listen_fds and not kind.fcgi:
            environment = {**environment, "LISTEN_FDS": str(len(listen_fds)), "LISTEN_PID": str(os.getpid())}
        os.execvpe(kind.command[0], kind.command, environment)
    except BaseException as error:
        os.write(2, f"leakwatch: cannot run {kind.command[0]}: {error}\n".encode())
    finally:
        os._exit(EXIT_CANNOT_EXEC)


def _end_with(launcher: int) -> None:
    """Have the kernel send SIGTERM when the launcher dies, even by SIGKILL: the child then drains and exits.

    ctypes is imported here, in the child, so that the launcher never carries it.
    """
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        os._exit(0)


def _silence_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0, inheritable=True)


def _place(fds: list[int], first: int) -> None:
    """Bring the sockets to their places; by way of high numbers, as ``dup2(3, 3)`` would leave close-on-exec set."""
    spares = [fcntl.fcntl(fd, fcntl.F_DUPFD, SPARE_FD) for fd in fds]
    for place, spare in enumerate(spares, start=first):
        os.dup2(spare, place, inheritable=True)
        os.close(spare)


def ended_child() -> int | None:
    """Return the pid of a child that has ended and is still to be reaped, None when there is none; never blocks."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid


def reap(pid: int) -> int:
    """Let go of a child that has ended; return its wait status. From now on its pid may be another's."""
    return os.waitpid(pid, 0)[1]
