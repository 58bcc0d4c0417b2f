"""What the launcher is told: which sockets, which commands, which limits. Numbers only, units in the names."""

from __future__ import annotations

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.serve.sockets import parse_address
from cubicweb_leakwatch.serve.values import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Limits(Values):
    """When a worker asks to be replaced; 0 means no such limit."""

    memory_bytes: int = 0
    max_requests: int = 0
    max_age_s: float = 0.0


class Timing(Values):
    """How long the launcher waits, in seconds."""

    ready_timeout_s: float = 60.0
    drain_timeout_s: float = 30.0
    # What a worker may need after its drain: shutdown hooks, the autopsy. It can ask for more (EXTEND_TIMEOUT_USEC).
    exit_grace_s: float = 5.0
    retry_first_s: float = 2.0
    retry_last_s: float = 300.0


class Policy(Values):
    """What may be replaced without a person asking, and when.

    ``mode``: ``auto``, ``advise`` (only say what would be done) or ``off``. ``budget_count`` 0: no bound.
    The window is local time in seconds after midnight and may pass midnight; ``window_start_s`` below 0: any time.
    """

    mode: str = "auto"
    budget_count: int = 0
    budget_s: float = 3600.0
    window_start_s: int = -1
    window_end_s: int = -1


class CrashBudget(Values):
    """How many deaths of one worker within how many seconds are replaced at once; beyond, it is retried slowly."""

    deaths: int = 5
    seconds: float = 60.0


class Child(Values):
    """How a kind of worker is started and treated.

    ``announces``: it takes SIGUSR1/SIGUSR2 as "a successor was started" / "it failed" (a stranger would die of them).
    ``guards_itself``: it checks its own limits; else the launcher reads its memory from ``/proc``.
    ``fcgi``: it takes the socket as descriptor 0, as FastCGI programs do, instead of by ``LISTEN_FDS``.
    """

    command: tuple[str, ...]
    announces: bool = True
    guards_itself: bool = True
    fcgi: bool = False


class LaunchSpec(Values):
    """Everything the launcher needs.

    ``bind``: ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``; sockets handed down by a service manager
    (``LISTEN_FDS``) are taken instead when there are some. ``socket_mode``: permissions of a Unix socket.
    ``environment`` is added to the launcher's own for every child. ``scheduler`` None: no scheduler is run.
    """

    instance: str
    runtime_dir: str
    bind: tuple[str, ...]
    web: Child
    scheduler: Child | None = None
    workers: int = 1
    threads: int = 4
    environment: dict[str, str] = {}
    limits: Limits = Limits()
    timing: Timing = Timing()
    policy: Policy = Policy()
    crash_budget: CrashBudget = CrashBudget()
    socket_mode: int = 0o660


PARTS: dict[str, type[Values]] = {
    "web": Child,
    "scheduler": Child,
    "limits": Limits,
    "timing": Timing,
    "policy": Policy,
    "crash_budget": CrashBudget,
}


def read_spec(fields: dict[str, Any]) -> LaunchSpec:
    """Return the specification of :meth:`LaunchSpec.fields`; raises ConfigurationError with what is wrong in it."""
    try:
        given = dict(fields)
        for name, kind in PARTS.items():
            if given.get(name) is not None:
                given[name] = kind(**_tuples(given[name]))
        spec = LaunchSpec(**_tuples(given))
        check_spec(spec)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"the launch specification cannot be read: {error}") from None
    return spec


def check_spec(spec: LaunchSpec) -> None:
    """Raise ConfigurationError when the specification cannot work."""
    if spec.workers < 1:
        raise ConfigurationError(f"{spec.workers} workers serve nothing", "give --workers 1 or more")
    if spec.threads < 1:
        raise ConfigurationError(f"{spec.threads} threads serve nothing", "give --threads 1 or more")
    if not spec.web.command:
        raise ConfigurationError("no command to run as a worker")
    for address in spec.bind:
        parse_address(address)
    if spec.web.fcgi and len(spec.bind) > 1:
        raise ConfigurationError("a FastCGI program takes one socket only", "give a single --bind")
    if spec.policy.mode not in ("auto", "advise", "off"):
        raise ConfigurationError(f"{spec.policy.mode!r} is no restart mode", "use auto, advise or off")
    if spec.timing.drain_timeout_s <= 0:
        raise ConfigurationError("the drain time limit must be more than 0 seconds", "the default is 30s")


def _tuples(given: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
